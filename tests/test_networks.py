import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import networks


def test_classic_is_the_cookbooks_network():
    model = networks.classic_mnist_cnn()
    assert [layer.count_params() for layer in model.layers if layer.weights] == [425, 20_050, 245_100, 1_010]
    assert [layer.output.shape[1:3] for layer in model.layers[:4]] == [(28, 28), (14, 14), (14, 14), (7, 7)]
    first, second, hidden, last = (layer for layer in model.layers if layer.weights)
    for layer in (first, second, hidden, last):
        assert np.abs(layer.kernel).max() <= 0.2 + 1e-6  # cut off at two standard deviations
        assert 0.08 < np.std(layer.kernel) < 0.095  # 0.1 before the cut, 0.88 of it after
    numbers = [np.ravel(array)[:10] for layer in (hidden, last) for array in (layer.kernel, layer.bias)]
    numbers += [np.ravel(first.kernel)[:10], np.ravel(second.kernel)[:10]]
    assert len({tuple(some) for some in numbers}) == 6  # no array begins as another one
    assert not np.any(first.bias) and not np.any(second.bias)
    assert np.any(hidden.bias) and np.any(last.bias)
    assert last.activation is keras.activations.linear


def test_classic_follows_its_knobs():
    model = networks.classic_mnist_cnn(features=(3, 5), dense=7, kernel_size=2)
    assert model.count_params() == (2 * 2 * 3 + 3) + (2 * 2 * 3 * 5 + 5) + (7 * 7 * 5 * 7 + 7) + (7 * 10 + 10)


def test_modern_has_the_shape_it_says():
    model = networks.modern_mnist_cnn()
    assert model.output_shape == (None, 10)
    assert [layer.output.shape[1:] for layer in model.layers if isinstance(layer, keras.layers.ReLU)] == [
        (24, 24, 32), (10, 10, 64), (8, 8, 64), (2, 2, 128),
    ]  # fmt: skip


def test_dropout_changes_what_is_trained_on_and_no_prediction():
    images = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    for dropout in (0.0, 0.3):
        model = networks.modern_mnist_cnn(width=4, dropout=dropout)
        one, two = (model(images, training=True).numpy() for _ in range(2))
        assert np.allclose(one, two, atol=1e-5) == (dropout == 0)


def value_and_gradient(function, images):
    with tf.GradientTape() as tape:
        tape.watch(images)
        normalised = function(images)
        total = tf.reduce_sum(normalised * tf.cos(tf.range(normalised.shape[-1], dtype=tf.float32)))
    return normalised, tape.gradient(total, images)


@pytest.mark.parametrize("channels", [3, 64])
@pytest.mark.parametrize("constants", [(5, 2.0, 1e-3, 0.75), (2, 1.0, 1e-2, 0.5)])
def test_local_response_normalisation_is_tensorflows(channels, constants):
    images = 20 * tf.random.stateless_normal((2, 5, 4, channels), (1, 2))
    ours = value_and_gradient(networks.LocalResponseNormalization(*constants), images)
    theirs = value_and_gradient(lambda x: tf.nn.local_response_normalization(x, *constants), images)
    for one, other in zip(ours, theirs, strict=True):
        assert np.allclose(one, other, atol=1e-5, rtol=1e-5)


def test_local_response_normalisation_by_hand():
    layer = networks.LocalResponseNormalization(radius=1, bias=1.0, alpha=1.0, beta=0.75)
    given = np.array([1.0, 2.0, 3.0], np.float32).reshape(1, 1, 1, 3)
    expected = [1 / 6**0.75, 2 / 15**0.75, 3 / 14**0.75]  # 1 + (1 + 4), 1 + (1 + 4 + 9), 1 + (4 + 9)
    assert np.allclose(np.ravel(layer(given)), expected)


def test_classic_cifar10_is_the_tutorials_network():
    model = networks.classic_cifar10_cnn()
    assert [layer.count_params() for layer in model.layers if layer.weights] == [
        4_864, 102_464, 885_120, 73_920, 1_930,
    ]  # fmt: skip
    assert model.count_params() == 1_068_298
    assert [layer.output.shape[1:3] for layer in model.layers[:6]] == [(24, 24), (12, 12), (12, 12)] + [
        (12, 12), (6, 6), (6, 6),
    ]  # fmt: skip
    for layer in model.layers:
        if layer.weights:
            assert np.abs(layer.kernel).max() <= 0.1 + 1e-6 and 0.04 < np.std(layer.kernel) < 0.048
            assert not np.any(layer.bias)


def test_classic_cifar10_is_saved_and_loaded(tmp_path):
    model = networks.classic_cifar10_cnn(features=4, dense=(6, 5))
    model.save(tmp_path / "classic.keras")
    images = np.random.default_rng(0).normal(size=(3, 24, 24, 3)).astype(np.float32)
    assert np.allclose(keras.models.load_model(tmp_path / "classic.keras")(images), model(images), atol=1e-6)


def both_normalisations(dtype="float32"):
    ours = networks.FusedBatchNormalization(momentum=0.9, dtype=dtype)
    theirs = keras.layers.BatchNormalization(momentum=0.9, dtype=dtype)
    random = np.random.default_rng(0)
    values = [random.normal(size=6), random.normal(size=6), random.normal(size=6), random.uniform(0.5, 2, 6)]
    for layer in (ours, theirs):
        layer.build((None, 4, 5, 6))
        layer.set_weights(values)
    return ours, theirs, random.normal(3, 2, (7, 4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("training", [True, False])
def test_fused_batch_normalisation_is_keras(training):
    ours, theirs, images = both_normalisations()
    results = []
    for layer in (ours, theirs):
        given = tf.convert_to_tensor(images)
        with tf.GradientTape() as tape:
            tape.watch(given)
            outputs = layer(given, training=training)
            total = tf.reduce_sum(tf.sin(outputs))
        results.append([outputs, *tape.gradient(total, [given, *layer.trainable_variables]), *layer.get_weights()])
    assert np.abs(results[0][0]).max() > 1
    for one, other in zip(*results, strict=True):
        assert np.allclose(one, other, atol=1e-4)


def test_fused_batch_normalisation_in_16_bits():
    ours, theirs, images = both_normalisations("mixed_bfloat16")
    one, other = (layer(images, training=True) for layer in (ours, theirs))
    assert one.dtype == other.dtype == "bfloat16"
    assert np.allclose(np.float32(one), np.float32(other), atol=0.1)


def test_frozen_batch_normalisation_uses_its_averages():
    ours, _, images = both_normalisations()
    expected = ours(images, training=False)
    ours.trainable = False
    assert np.array_equal(ours(images, training=True), expected)


def test_modern_cifar10_has_the_shape_it_says():
    model = networks.modern_cifar10_cnn()
    assert model.count_params() == 298_986
    for side in (24, 32):
        probe = keras.Model(model.input, [model.get_layer(f"block{block}").output for block in (1, 2, 3)])
        features = probe(np.zeros((2, side, side, 3), np.float32))
        assert [part.shape[1:] for part in features] == [
            (side // 2, side // 2, 32), (side // 4, side // 4, 64), (side // 8, side // 8, 128),
        ]  # fmt: skip
    assert model(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 10)


@pytest.mark.parametrize("block", ["block1", "block2", "block3"])
def test_a_block_adds_what_it_learns_to_what_it_is_given(block):
    model = networks.modern_cifar10_cnn(width=4)
    joined = model.get_layer(block)
    probe = keras.Model(model.input, [*joined.input, joined.output])
    given, learnt, total = probe(np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32))
    assert np.allclose(total, given + learnt) and np.std(given) > 0.1 and np.std(learnt) > 0.1


def test_modern_cifar10_is_saved_and_loaded(tmp_path):
    model = networks.modern_cifar10_cnn(width=4)
    model.save(tmp_path / "modern.keras")
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    assert np.allclose(keras.models.load_model(tmp_path / "modern.keras")(images), model(images), atol=1e-5)
