import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import networks, training


def test_as_input():
    images = np.array([[[0, 51], [102, 255]]], np.uint8)
    assert np.allclose(training.as_input(images), [[[[0], [0.2]], [[0.4], [1]]]])
    assert training.as_input(images).dtype == np.float32


def test_batches_take_every_image_once_per_epoch():
    images = np.arange(103)
    drawn = [batch for batch, _ in training.batches(images, -images, batch_size=10, generations=20)]
    for epoch in (drawn[:10], drawn[10:]):
        seen = np.concatenate(epoch)
        assert len(seen) == 100 == len(set(seen.tolist()))
    assert not np.array_equal(drawn[0], drawn[10])


def test_batches_keep_images_and_labels_together_and_repeat_with_the_seed():
    images = np.arange(50)
    one, two = (list(training.batches(images, -images, 8, 5, seed=3)) for _ in range(2))
    for (first, labels), (second, _) in zip(one, two, strict=True):
        assert np.array_equal(labels, -first) and np.array_equal(first, second)


@pytest.mark.parametrize("batch_size", [0, -1, 51])
def test_batches_refuse_a_size_that_does_not_fit(batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size} .*1 to 50"):
        next(training.batches(np.arange(50), np.arange(50), batch_size, 1))


def test_batches_refuse_labels_that_do_not_match():
    with pytest.raises(ValueError, match="50 images but 49 labels"):
        next(training.batches(np.arange(50), np.arange(49), 5, 1))


def brightest_quarter():
    """A network without weights to learn: its logits are the means of an image's four quarters."""
    images = keras.Input((4, 4, 1))
    return keras.Model(images, keras.layers.Flatten()(keras.layers.AveragePooling2D(2)(images)))


def test_accuracy_counts_every_image_once_whatever_the_batch_size():
    images, labels = np.zeros((7, 4, 4, 1), np.float32), np.array([0, 1, 2, 3, 0, 1, 2])
    images[range(7), 2 * (labels // 2), 2 * (labels % 2)] = 1
    labels[0] = 3
    for batch_size in (1, 2, 7, 100):
        assert training.accuracy(brightest_quarter(), images, labels, batch_size) == pytest.approx(6 / 7)


def test_predict_is_inference_and_follows_the_weights():
    model = networks.modern_mnist_cnn(width=4, dropout=0.9)
    images = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
    first = training.predict(model, images)
    assert np.array_equal(first, training.predict(model, images, batch_size=5))
    assert np.allclose(first, model(images, training=False), atol=1e-5)
    model.set_weights([2 * weight for weight in model.get_weights()])
    assert not np.allclose(first, training.predict(model, images))


def test_random_affine_with_nothing_asked_for_changes_nothing():
    images = tf.random.uniform((3, 28, 28, 1))
    assert np.allclose(training.random_affine(images, 0.0, 0.0, 0.0, 0.0), images, atol=1e-5)


def test_random_affine_keeps_the_centre_and_turns_by_no_more_than_asked():
    images = np.zeros((200, 29, 29, 1), np.float32)
    images[:, 14, 14] = 1
    images[:, 14, 24] = 1
    turned = training.random_affine(images, rotation=20.0, scale=0.0, shear=0.0, shift=0.0).numpy()[..., 0]
    assert np.allclose(turned[:, 14, 14], 1, atol=0.05)
    right = turned[:, :, 20:]
    height = (right * np.arange(29)[None, :, None]).sum((1, 2)) / right.sum((1, 2)) - 14
    angle = np.degrees(np.arcsin(np.clip(height / 10, -1, 1)))
    assert 15 < np.abs(angle).max() < 22 and abs(angle.mean()) < 3


def places(images):
    """Return the mean row and column of each image's light, counted from the centre."""
    grid = np.arange(images.shape[1]) - images.shape[1] // 2
    return [images.sum(axis) @ grid / images.sum((1, 2)) for axis in (2, 1)]


def test_random_affine_shears_rows_by_their_distance_from_the_centre():
    images = np.zeros((300, 29, 29, 1), np.float32)
    images[:, 24, 14] = 1  # 10 pixels below the centre
    down, across = places(training.random_affine(images, 0.0, 0.0, shear=0.2, shift=0.0).numpy()[..., 0])
    assert np.allclose(down, 10, atol=1e-3)
    assert -2.01 < across.min() < -1.8 and 1.8 < across.max() < 2.01 and abs(across.mean()) < 0.3


@pytest.mark.parametrize("axis", [0, 1])
def test_random_affine_scales_from_the_centre(axis):
    images = np.zeros((300, 29, 29, 1), np.float32)
    images[:, *((24, 14) if axis == 0 else (14, 24))] = 1
    found = places(training.random_affine(images, 0.0, scale=0.2, shear=0.0, shift=0.0).numpy()[..., 0])
    assert np.allclose(found[1 - axis], 0, atol=1e-3)
    assert 8.2 < found[axis].min() < 8.7 and 12 < found[axis].max() < 12.6  # from 10 / 1.2 to 10 / 0.8


def test_random_affine_shifts_each_image_by_its_own_amount():
    images = np.zeros((200, 29, 29, 1), np.float32)
    images[:, 14, 14] = 1
    moved = training.random_affine(images, 0.0, 0.0, 0.0, shift=3.0).numpy()[..., 0]
    for shifts in places(moved):
        assert 2.5 < np.abs(shifts).max() <= 3.05 and len(np.unique(shifts.round(3))) > 150


def test_pipeline_augments_and_repeats_no_order():
    images, labels = (
        np.arange(40, dtype=np.float32).reshape(40, 1, 1, 1) * np.ones((1, 28, 28, 1), np.float32),
        np.arange(40),
    )
    pipeline = training.digit_pipeline(images, labels, 8, seed=1, augment=lambda batch: batch + 0.5)
    epochs = [[(batch.numpy(), targets.numpy()) for batch, targets in pipeline] for _ in range(2)]
    for epoch in epochs:
        assert len(epoch) == 5 and sorted(np.concatenate([targets for _, targets in epoch])) == list(range(40))
        assert all(np.allclose(batch[:, 0, 0, 0], targets + 0.5) for batch, targets in epoch)
    assert not np.array_equal(epochs[0][0][1], epochs[1][0][1])


def test_a_batch_is_drawn_from_all_of_the_images():
    """Images often come sorted by class: a batch of neighbours would show one class alone."""
    first, _ = next(iter(training.image_pipeline(np.arange(1000.0), np.arange(1000), 50, seed=2)))
    assert np.ptp(first) > 800 and 350 < np.mean(first) < 650


@pytest.mark.parametrize(("labels", "size", "words"), [(7, 4, "8 images but 7"), (8, 9, "does not fit 8 images")])
def test_a_pipeline_without_a_batch_is_refused(labels, size, words):
    with pytest.raises(ValueError, match=words):
        training.image_pipeline(np.zeros((8, 4, 4, 1), np.uint8), np.arange(labels), size)


def test_no_epoch_waits_for_a_tuner():
    pipeline = training.image_pipeline(np.zeros((8, 4, 4, 1), np.uint8), np.arange(8), 4)
    assert pipeline.options().autotune.enabled is False


def test_one_cycle_rises_to_its_peak_and_falls_to_almost_nothing():
    rates = np.array(training.OneCycle(peak=0.4, steps=1000, warmup=0.3)(np.arange(1000)))
    assert rates[0] == pytest.approx(0.4 / 25) and rates[-1] == pytest.approx(0.4e-4, rel=0.01)
    assert rates.argmax() == 300 and rates.max() == pytest.approx(0.4, rel=1e-3)
    assert (np.diff(rates[:300]) > 0).all() and (np.diff(rates[300:-5]) < 0).all()
    assert rates[650] == pytest.approx(0.2, rel=0.01)  # half-way down the cosine
    assert float(training.OneCycle(1.0, 10)(500)) == pytest.approx(1e-4)


def test_one_cycle_really_reaches_the_optimizer():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(training.OneCycle(0.1, steps=4)), "mse", jit_compile=False)
    seen = []
    see = training.EverySteps(1, lambda step, model: seen.append(float(model.optimizer.learning_rate)))
    model.fit(np.ones((8, 1)), np.ones((8, 1)), batch_size=2, verbose=0, callbacks=[see])
    assert seen == pytest.approx([float(training.OneCycle(0.1, 4)(step)) for step in (1, 2, 3, 4)])


def test_one_cycle_is_saved_with_a_model():
    schedule = training.OneCycle(0.1, 50, 0.4)
    again = training.OneCycle.from_config(schedule.get_config())
    assert np.array_equal(schedule(np.arange(50)), again(np.arange(50)))


@pytest.mark.parametrize("arguments", [(0, 10), (-1, 10), (float("nan"), 10), (0.1, 0), (0.1, 10, 0), (0.1, 10, 1)])
def test_one_cycle_refuses_what_makes_no_cycle(arguments):
    with pytest.raises(ValueError, match="OneCycle"):
        training.OneCycle(*arguments)


def test_every_steps_counts_through_epochs():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    seen = []
    model.fit(
        np.ones((6, 1)), np.ones((6, 1)), batch_size=1, epochs=2, verbose=0,
        callbacks=[training.EverySteps(5, lambda step, model: seen.append(step))],
    )  # fmt: skip
    assert seen == [5, 10]


def test_mirrored_predictions_are_the_mean_of_two_looks():
    images = np.random.default_rng(0).random((5, 4, 4, 1), np.float32)
    model = brightest_quarter()
    expected = (training.predict(model, images) + training.predict(model, images)[:, [1, 0, 3, 2]]) / 2
    assert np.allclose(training.mirrored_predict(model, images), expected)


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        (set(), "float32"),
        ({"avx2", "avx512f"}, "float32"),
        ({"avx2", "avx512_bf16"}, "mixed_bfloat16"),
        ({"amx_bf16"}, "mixed_bfloat16"),
    ],
)
def test_the_fastest_precision_is_one_that_the_processor_has(monkeypatch, flags, precision):
    monkeypatch.setattr(training, "processor_flags", lambda: flags)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    assert training.fastest_precision() == precision


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "float32"), ((8, 0), "mixed_bfloat16")])
def test_the_fastest_precision_of_a_gpu(monkeypatch, capability, precision):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["gpu"])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    assert training.fastest_precision() == precision
