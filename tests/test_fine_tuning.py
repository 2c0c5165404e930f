import keras
import numpy as np
import pytest

from helpers import fine_tuning as tuning
from helpers import training
from helpers.backbones import BackboneError, load_backbone
from helpers.grad_cam import grad_cam


@pytest.fixture(scope="module")
def images():
    """Forty pictures of two classes that differ in which half is bright."""
    random = np.random.default_rng(0)
    made = random.integers(0, 100, (40, 32, 32, 3))
    labels = np.arange(40) % 2
    made[labels == 0, :16] += 120
    made[labels == 1, 16:] += 120
    return made.astype(np.uint8), labels


def network(weights="imagenet", **settings):
    keras.utils.set_random_seed(0)
    return tuning.transfer_network(load_backbone("mini_vgg", weights), classes=2, **settings)


def test_only_the_head_is_trained_at_first():
    made = network()
    assert tuning.trainable_weights(made) == 256 * 2 + 2
    assert [layer.name for layer in made.layers if layer.trainable_weights] == ["head"]


def test_the_features_are_the_mean_of_what_the_backbone_says(images):
    backbone = load_backbone("mini_vgg")
    found = tuning.features(tuning.transfer_network(backbone, classes=2), images[0], batch_size=7)
    expected = np.asarray(backbone.model(backbone.preprocess(images[0]))).mean((1, 2))
    assert found.shape == (40, 256) and found.dtype == np.float32
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_images_are_resized_inside_the_model(images):
    made = network(side=48)
    large = made(np.repeat(np.repeat(images[0][:2], 2, 1), 2, 2))
    assert made(images[0][:2]).shape == large.shape == (2, 2)
    prepared = keras.Model(made.input, made.get_layer("preprocess").output)(images[0][:2])
    assert prepared.shape == (2, 48, 48, 3)


@pytest.mark.parametrize(
    ("settings", "said"), [({"side": 16}, "32 pixels and more"), ({"side": 32, "classes": 1}, "2 and more")]
)
def test_what_does_not_fit_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        tuning.transfer_network(load_backbone("mini_vgg", None), **{"classes": 2} | settings)


def test_unfreezing_opens_the_end_of_the_body():
    made = network()
    tuning.unfreeze(made, "block5_conv1")
    body = made.get_layer("body")
    assert [layer.name for layer in body.layers if layer.trainable_weights] == ["block5_conv1", "block5_conv2"]
    assert tuning.trainable_weights(made) == 192 * 256 * 9 + 256 + 256 * 256 * 9 + 256 + 256 * 2 + 2
    tuning.unfreeze(made)
    assert tuning.trainable_weights(made) == made.count_params()
    with pytest.raises(BackboneError, match="did you mean 'block5_conv1'"):
        tuning.unfreeze(made, "blck5_conv1")


def test_the_head_learns_from_features_and_the_body_stays(images):
    made = network()
    before = made.get_layer("body").get_weights()
    history = tuning.train_head(made, tuning.features(made, images[0]), images[1], epochs=20, batch_size=10)
    assert history["loss"][-1] < history["loss"][0] / 2
    assert training.accuracy(made, *images) > 0.9
    assert all(map(np.array_equal, before, made.get_layer("body").get_weights()))


def test_training_changes_what_is_open_and_nothing_else(images):
    made = network()
    tuning.unfreeze(made, "block5_conv2")
    before = {layer.name: layer.get_weights() for layer in made.get_layer("body").layers if layer.weights}
    tuning.train(made, *images, epochs=1, rate=0.01, batch_size=10)
    after = {layer.name: layer.get_weights() for layer in made.get_layer("body").layers if layer.weights}
    changed = [name for name in before if not all(map(np.array_equal, before[name], after[name]))]
    assert changed == ["block5_conv2"]


def test_dropout_is_there_in_training_alone(images):
    made = network(dropout=0.5)
    one, two = (made(images[0][:4], training=True).numpy() for _ in range(2))
    assert not np.allclose(one, two) and np.array_equal(made(images[0][:4]), made(images[0][:4]))


def test_a_head_begins_at_zero(images):
    made = network()
    tuning.train_head(made, tuning.features(made, images[0]), images[1], epochs=1, rate=1e-9)
    assert np.abs(made(images[0])).max() < 1e-4


class Watching(keras.layers.Layer):
    """Keeps the last batch that passed through it."""

    def build(self, shape):
        self.seen = self.add_weight(shape=(100, *shape[1:]), initializer="zeros", trainable=False)

    def call(self, images):
        self.seen.assign(keras.ops.cast(images, "float32"))
        return images


def test_what_is_trained_on_is_mirrored_and_shifted_by_up_to_an_eighth():
    watching = Watching()
    model = keras.Sequential([keras.Input((16, 16, 3)), watching, keras.layers.Flatten(), keras.layers.Dense(2)])
    down, across, _ = np.mgrid[:16, :16, :3]
    given = np.repeat((16 * down + across)[None], 100, 0).astype(np.uint8)
    tuning.train(model, given, np.arange(100) % 2, epochs=1, rate=0.01, batch_size=100)
    seen = np.asarray(watching.seen)[..., 0]
    rows, columns = seen[:, 8, 8] // 16, seen[:, 8, 8] % 16
    mirrored = seen[:, 8, 9] < seen[:, 8, 8]
    assert set(rows) == {6, 7, 8, 9, 10} == set(columns[~mirrored]) and 30 < mirrored.sum() < 70


def step(factors, learning_rate=0.1, first=1.0):
    """Two steps on two one-weight layers, whose gradients are `first` and 0.5; return how far each weight moved."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, name="early")])
    model.add(keras.layers.Dense(1, use_bias=False, name="late"))
    optimizer = tuning.LayerRates(learning_rate, factors)
    optimizer.build(model.trainable_variables)
    before = np.array([float(np.squeeze(weight)) for weight in model.get_weights()])
    for _ in range(2):
        optimizer.apply([np.full((1, 1), first, "float32"), np.full((1, 1), 0.5, "float32")], model.trainable_variables)
    return before - [float(np.squeeze(weight)) for weight in model.get_weights()]


def test_layer_rates_multiply_the_rate_by_hand():
    # Nesterov: v1 = -r g, w += m v1 - r g; v2 = m v1 - r g, w += m v2 - r g; with m = 0.9: 1.9 + 2.71 = 4.61 times r g
    assert np.allclose(step({}), [0.461, 0.2305], atol=1e-6)
    assert np.allclose(step({"early": 0.1}), [0.0461, 0.2305], atol=1e-6)
    assert np.allclose(step({"early": 0.1}), step({}, 0.01) * [1, 10], atol=1e-6)
    assert np.allclose(step({"late": 0.0}), [0.461, 0.0], atol=1e-6)


def test_a_long_gradient_is_shortened_before_its_factor():
    assert np.allclose(step({"early": 0.1}, first=20.0), step({"early": 0.1}), atol=1e-6)
    assert np.allclose(step({"early": 10.0}), step({}) * [10, 1], atol=1e-6)


def test_rates_fall_from_block_to_block():
    rates = tuning.rates_by_depth(network(), decay=2.0)
    assert rates["block5_conv2"] == rates["block5_conv1"] == 1 / 2 and rates["block1_conv1"] == 1 / 32
    assert "head" not in rates


def test_few_images_are_one_batch(images):
    made = network()
    history = tuning.train_head(made, tuning.features(made, images[0][:6]), images[1][:6], epochs=2)
    assert len(history["loss"]) == 2 and np.abs(made.get_layer("head").get_weights()[0]).max() > 0


def test_a_saved_network_predicts_the_same(images, tmp_path):
    made = network(side=48)
    tuning.unfreeze(made)
    tuning.train(made, *images, epochs=1, rate=0.01, batch_size=10, factors=tuning.rates_by_depth(made))
    made.save(tmp_path / "mine.keras")
    loaded = keras.models.load_model(tmp_path / "mine.keras")
    assert np.array_equal(training.predict(loaded, images[0]), training.predict(made, images[0]))
    assert loaded.optimizer.factors == made.optimizer.factors


def test_a_layer_of_the_body_can_be_named_for_grad_cam(images):
    made = network(side=48)
    opened = tuning.opened_at(made, "block4_conv2")
    assert np.allclose(opened(images[0][:3]), made(images[0][:3]), atol=1e-5)
    assert grad_cam(opened, "block4_conv2", images[0][:3]).shape == (3, 6, 6)
    with pytest.raises(BackboneError, match="did you mean 'block4_conv2'"):
        tuning.opened_at(made, "blck4_conv2")


def test_images_can_stay_as_large_as_they_come(images):
    made = network(side="any")
    assert keras.Model(made.input, made.get_layer("preprocess").output)(images[0][:2, :24, :24]).shape == (2, 24, 24, 3)


def test_another_precision_computes_nearly_the_same_and_can_be_trained(images):
    plain = load_backbone("mini_vgg")
    half = tuning.in_precision(plain, "mixed_bfloat16")
    said, expected = (np.asarray(one.model(one.preprocess(images[0])), np.float32) for one in (half, plain))
    assert 0 < np.abs(said - expected).mean() < 0.02 * np.abs(expected).mean()
    assert {weight.dtype for weight in half.model.weights} == {"float32"}
    made = tuning.transfer_network(half, classes=2)
    tuning.unfreeze(made)
    assert tuning.trainable_weights(made) == made.count_params()
    assert made(images[0][:2]).dtype == "float32"


def test_unfolded_batch_normalization_changes_nothing(images):
    plain = load_backbone("mini_vgg")
    normal = tuning.with_batch_normalization(plain, images[0])
    said, expected = (np.asarray(one.model(one.preprocess(images[0]), training=False)) for one in (normal, plain))
    assert np.allclose(said, expected, rtol=1e-3, atol=1e-3)
    assert sum("norm" in layer.name for layer in normal.model.layers) == 10


@pytest.mark.parametrize("opened", [False, True])
def test_statistics_stay_unless_batch_normalization_is_opened(images, opened):
    made = tuning.transfer_network(tuning.with_batch_normalization(load_backbone("mini_vgg"), images[0]), 2)
    tuning.unfreeze(made, batch_normalization=opened)
    normalization = made.get_layer("body").get_layer("block1_conv1_norm")
    before = normalization.get_weights()
    tuning.train(made, *images, epochs=1, rate=0.01, batch_size=10)
    same = [np.array_equal(*pair) for pair in zip(before, normalization.get_weights(), strict=True)]
    assert same == [not opened] * 4
