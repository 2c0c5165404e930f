import keras
import numpy as np
import pytest

from helpers.datasets import Dataset
from helpers.training import as_input
from helpers.training_loop import Training


def two_halves(count=200, channels=None, seed=0):
    """A dataset that is easy: class 1 is bright above, class 0 below."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    images = random.integers(0, 60, (count, 8, 8, *([] if channels is None else [channels])), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:4] += np.uint8(150 * label)
        image[4:] += np.uint8(150 * (1 - label))
    return Dataset(
        images, labels, images[:50], labels[:50], images[:1], labels[:1], ("below", "above"), "local", "MNIST"
    )


def linear(channels=1):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8, 8, channels)), keras.layers.Flatten(), keras.layers.Dense(2)])


def test_images_become_what_networks_take():
    grey = as_input(np.array([[[0, 51], [102, 255]]], np.uint8))
    assert (
        grey.shape == (1, 2, 2, 1) and grey.dtype == np.float32 and np.allclose(grey[0, :, :, 0], [[0, 0.2], [0.4, 1]])
    )
    assert as_input(np.zeros((4, 8, 8, 3), np.uint8)).shape == (4, 8, 8, 3)


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "gradient descent"])
@pytest.mark.parametrize("channels", [None, 3])
def test_it_learns_and_measures_at_the_first_each_nth_and_the_last_step(optimizer, channels):
    training = Training(linear(channels or 1), optimizer)
    steps = list(training.iterate(two_halves(channels=channels), 0.05, 20, steps=23, measure_every=10))
    assert [step.number for step in steps] == list(range(1, 24)) and {step.of for step in steps} == {23}
    assert [step.number for step in steps if step.accuracy is not None] == [1, 10, 20, 23]
    assert steps[-1].loss < steps[0].loss / 2 and steps[-1].accuracy > 0.95
    assert steps[-1].probabilities.shape == (50, 2) and np.allclose(steps[-1].probabilities.sum(1), 1, atol=1e-5)


def test_a_step_of_gradient_descent_is_the_one_that_is_worked_out_by_hand():
    data, model = two_halves(count=4), linear()
    weights, bias = model.get_weights()
    images, labels = as_input(data.x_train).reshape(4, -1), np.eye(2)[data.y_train]
    logits = images @ weights + bias
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    (step,) = Training(model, "gradient descent").iterate(data, learning_rate=0.3, batch_size=4, steps=1)
    assert step.loss == pytest.approx(-np.log((probabilities * labels).sum(1)).mean(), rel=1e-5)
    assert np.allclose(model.weights[0], weights - 0.3 * images.T @ (probabilities - labels) / 4, atol=1e-6)


def test_the_optimiser_starts_afresh_with_each_run():
    data, curves = two_halves(), []
    training = Training(linear(), "adam")
    start = training.model.get_weights()
    for _ in range(2):
        training.model.set_weights(start)
        curves.append([step.loss for step in training.iterate(data, 0.01, 20, steps=8)])
    assert curves[0] == curves[1]


def test_augmentation_is_for_training_images_alone():
    seen = []

    def augment(images):
        seen.append(images.shape)
        return 0 * images

    model = linear()
    (step,) = Training(model, "gradient descent").iterate(two_halves(), 1.0, 20, steps=1, augment=augment)
    assert seen == [(20, 8, 8, 1)] and step.loss == pytest.approx(np.log(2), rel=1e-5)
    assert len(np.unique(step.probabilities[:, 0])) > 1


def test_images_are_prepared_as_the_network_takes_them_for_measuring_too():
    model, data = linear(), two_halves()
    (step,) = Training(model).iterate(data, 1e-9, 20, steps=1, prepare=lambda images: as_input(images) * 0)
    assert np.allclose(step.probabilities, 0.5, atol=1e-6) and step.loss == pytest.approx(np.log(2), rel=1e-5)


def test_a_loss_that_is_no_number_says_what_to_lower():
    training = Training(linear(), "gradient descent")
    run = training.iterate(two_halves(), 2.0, 20, steps=20)
    next(run)
    training.model.weights[0].assign(np.full((64, 2), np.inf))
    with pytest.raises(FloatingPointError, match=r"Step 2: the loss is nan. Lower the learning rate \(now 2\)"):
        next(run)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"learning_rate": 0}, "above 0"),
        ({"learning_rate": np.nan}, "above 0"),
        ({"steps": 0}, "1 or more"),
        ({"measure_every": 0}, "1 or more"),
        ({"batch_size": 1000}, "1 to 200"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        next(Training(linear()).iterate(two_halves(), **arguments))


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(ValueError, match="'adam', 'momentum'"):
        Training(linear(), "hope")
