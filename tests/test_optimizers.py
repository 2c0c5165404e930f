"""The optimisers on functions whose lowest point is known."""

import itertools
import threading
from contextlib import closing

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from helpers.optimizers import adam, gradient_descent, lbfgs

TARGET = np.random.default_rng(0).uniform(40, 200, (8, 9, 3)).astype(np.float32)
CURVATURE = np.random.default_rng(1).uniform(0.2, 5, TARGET.shape).astype(np.float32)
START = np.full(TARGET.shape, 128, np.float32)
OPTIMIZERS = {
    "lbfgs": lbfgs(), "adam": adam(learning_rate=20, decay=0.8, decay_every=10), "descent": gradient_descent(2.0),
}  # fmt: skip
each = pytest.mark.parametrize("descend", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def bowl(image, scale=1e-2):
    """A valley, wide in some directions and narrow in others, whose lowest point is TARGET."""
    difference = image.astype(np.float64) - TARGET
    loss = scale * float((CURVATURE * difference**2).sum())
    return {"total": loss, "content": loss}, (2 * scale * CURVATURE * difference).astype(np.float32)


def run(descend, steps, evaluate=bowl, start=START):
    """Return images and total losses of up to so many steps."""
    with closing(descend(start, evaluate)) as descent:
        pairs = list(itertools.islice(descent, steps))
    return [image for image, _ in pairs], np.array([losses["total"] for _, losses in pairs])


@each
def test_finds_the_lowest_point_and_yields_each_image_with_its_losses(descend):
    images, totals = run(descend, 150)
    assert totals.min() < (2e-2 if descend is OPTIMIZERS["descent"] else 1e-3) * totals[0]
    assert {image.dtype for image in images} == {np.dtype(np.float32)} and images[0].shape == TARGET.shape
    np.testing.assert_array_equal(images[0], START)
    np.testing.assert_allclose(totals, [bowl(image)[0]["total"] for image in images])  # none was changed afterwards
    assert START.min() == START.max() == 128


@each
@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_indifferent_to_the_scale_of_the_loss(descend, scale):
    scaled, plain = (run(descend, 40, lambda image, by=by: bowl(image, by))[1] for by in (scale, 1.0))
    np.testing.assert_allclose(scaled[:20] / scaled[0], plain[:20] / plain[0], rtol=0.05)


def test_gradient_descent_by_hand():
    gradient = np.full(TARGET.shape, -3e-7, np.float32)
    images, _ = run(gradient_descent(2.0), 70, lambda image: ({"total": 0.0}, gradient))
    assert [image.max() for image in images[:3]] == pytest.approx([128, 130, 132])
    assert images[-1].max() == 255  # and never beyond


def test_adam_against_the_algorithm():
    images, _ = run(adam(learning_rate=2), 5)
    reference, mean, square = np.full(TARGET.shape, 128.0), 0.0, 0.0
    for step in range(1, 5):
        gradient = bowl(reference)[1].astype(np.float64)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        reference = reference - 2 * (mean / (1 - 0.9**step)) / np.sqrt(square / (1 - 0.999**step))
    np.testing.assert_allclose(images[-1], reference, rtol=1e-4)


def test_adams_momentum_carries_on_where_the_gradient_ends():
    gradients = iter([1.0, 0.0, 0.0])
    images, _ = run(adam(1.0), 3, lambda image: ({"total": 0.0}, np.full_like(image, next(gradients))))
    assert images[2].max() < images[1].max() - 0.5  # the gradient was 0 at images[1]


def test_adams_learning_rate_falls_in_stairs():
    one = np.ones((4, 4, 3), np.float32)
    images, _ = run(adam(2, decay=0.5, decay_every=3), 10, lambda image: ({"total": 0.0}, one), 99 * one)
    moves = -np.diff([image.mean() for image in images])
    np.testing.assert_allclose(moves, [2, 2, 2, 1, 1, 1, 0.5, 0.5, 0.5], rtol=1e-3)


def test_lbfgs_needs_the_fewest_evaluations():
    above = {name: (run(descend, 60)[1] > 1.0).sum() for name, descend in OPTIMIZERS.items()}
    assert above["lbfgs"] < min(above["adam"], above["descent"])


def test_the_first_step_of_lbfgs_is_four_grey_levels():
    (first, second), _ = run(lbfgs(), 2)
    assert np.sqrt(np.mean((second - first) ** 2)) == pytest.approx(4, rel=1e-4)


def test_lbfgs_ends_where_nothing_is_better_and_leaves_no_thread():
    before = threading.active_count()
    images, totals = run(lbfgs(), 2000)
    assert len(totals) < 2000
    np.testing.assert_allclose(images[-1], TARGET, atol=0.05)
    descent = lbfgs()(START, bowl)
    next(descent)
    assert threading.active_count() == before + 1
    descent.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("fault", [ArithmeticError("diverged"), KeyboardInterrupt(), "no gradient"])
def test_lbfgs_hands_on_an_error_and_leaves_no_thread(fault):
    before = threading.active_count()

    def evaluate(image):
        if isinstance(fault, BaseException):
            raise fault
        return {"total": 1.0}, fault

    with pytest.raises(type(fault) if isinstance(fault, BaseException) else ValueError):
        run(lbfgs(), 5, evaluate)
    assert threading.active_count() == before


def test_two_searches_of_lbfgs_take_turns_and_leave_the_threads_of_blas_as_they_were():
    def threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        descents = [lbfgs()(START, bowl) for _ in range(2)]
        images = [[image for image, _ in itertools.islice(descent, 2)] for _ in range(3) for descent in descents]
        descents.pop(0).close()
        assert threads() == {2}
        descents.pop().close()
        assert threads() == {2}
    np.testing.assert_array_equal(np.array(images[::2]), np.array(images[1::2]))


@pytest.mark.parametrize(
    "make, settings",
    [
        (gradient_descent, {"learning_rate": 0}), (adam, {"learning_rate": "6"}), (adam, {"decay": 1.1}),
        (adam, {"decay": 0}), (adam, {"decay_every": 0}),
    ],
)  # fmt: skip
def test_refusals(make, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        make(**settings)
