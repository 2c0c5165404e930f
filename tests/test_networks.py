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
