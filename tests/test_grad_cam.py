import keras
import numpy as np
import pytest

from helpers import networks
from helpers.grad_cam import grad_cam


def two_channels(weights):
    """A network whose maps are its input's two channels, and whose logits are weighted means of theirs."""
    images = keras.Input((4, 5, 2))
    maps = keras.layers.Conv2D(2, 1, use_bias=False, name="maps")(images)
    logits = keras.layers.Dense(len(weights[0]), use_bias=False)(keras.layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(images, logits)
    model.set_weights([np.eye(2).reshape(1, 1, 2, 2), np.array(weights, np.float32)])
    return model


def test_by_hand():
    images = np.random.default_rng(0).random((3, 4, 5, 2), np.float32)
    model = two_channels([[2.0, -1.0], [-1.0, 3.0]])
    for label, weights in enumerate(([2, -1], [-1, 3])):
        expected = np.maximum(images @ weights, 0)  # the gradient of a mean is the same everywhere
        expected /= expected.max((1, 2), keepdims=True)
        assert np.allclose(grad_cam(model, "maps", images, [label] * 3), expected, atol=1e-5)


def test_a_map_weighs_as_much_as_the_mean_of_its_gradient():
    """The logit sees one position of each map, so that the gradient is 0 at all others."""
    inputs = keras.Input((4, 5, 2))
    maps = keras.layers.Conv2D(2, 1, use_bias=False, name="maps")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(keras.layers.Flatten()(maps)))
    seen = np.zeros((4, 5, 2))
    seen[3, 4, 0], seen[2, 1, 1] = 2, 1
    model.set_weights([np.eye(2).reshape(1, 1, 2, 2), seen.reshape(-1, 1)])
    images = np.random.default_rng(0).random((1, 4, 5, 2), np.float32)
    expected = images @ [2, 1]
    assert np.allclose(grad_cam(model, "maps", images), expected / expected.max(), atol=1e-5)


def test_without_classes_it_explains_what_is_predicted():
    images = np.random.default_rng(1).random((6, 4, 5, 2), np.float32)
    model = two_channels([[1.0, 0.0], [0.0, 1.0]])
    predicted = model(images).numpy().argmax(1)
    assert set(predicted) == {0, 1}
    assert np.array_equal(grad_cam(model, "maps", images), grad_cam(model, "maps", images, predicted))


def test_nothing_that_speaks_for_a_class_is_black_and_no_nan():
    images = np.ones((1, 4, 5, 2), np.float32)
    assert not grad_cam(two_channels([[-1.0], [-1.0]]), "maps", images).any()


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_on_the_modern_network(precision):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = networks.modern_cifar10_cnn(width=4)
    finally:
        keras.config.set_dtype_policy(before)
    heat = grad_cam(model, "block2", np.random.default_rng(2).normal(size=(2, 32, 32, 3)).astype(np.float32))
    assert heat.shape == (2, 8, 8) and heat.dtype == np.float32 and heat.min() >= 0
    assert heat.max((1, 2)) == pytest.approx(1) or not heat.any()


def test_wrong_layers_are_explained():
    model = two_channels([[1.0], [1.0]])
    with pytest.raises(ValueError, match="no layer 'block9'.*maps"):
        grad_cam(model, "block9", np.zeros((1, 4, 5, 2), np.float32))
    with pytest.raises(ValueError, match="expected are rows and columns"):
        grad_cam(model, model.layers[-1].name, np.zeros((1, 4, 5, 2), np.float32))
