import keras
import numpy as np

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
