"""The optimisers on functions whose lowest point is known."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from helpers.optimizers import adam, gradient_descent, lbfgs

TARGET = np.random.default_rng(0).uniform(40, 200, (8, 9, 3)).astype(np.float32)
CURVATURE = np.random.default_rng(1).uniform(0.2, 5, TARGET.shape).astype(np.float32)
OPTIMIZERS = [lbfgs(), adam(rate=20, decay=0.8, decay_every=10), gradient_descent(rate=8, normalize=False)]


def bowl(image, scale=1e-2):
    """A valley, wide in some directions and narrow in others, whose lowest point is TARGET."""
    difference = image.astype(np.float64) - TARGET
    return scale * float((CURVATURE * difference**2).sum()), (2 * scale * CURVATURE * difference).astype(np.float32)


def run(optimizer, steps, evaluate=bowl, start=None, memory=None):
    """Return the losses, the last image that was evaluated, and the memory before its loss was told."""
    memory = {} if memory is None else memory
    search = optimizer.search(np.full(TARGET.shape, 128, np.float32) if start is None else start, memory)
    losses, image, kept = [], next(search), {}
    try:
        for _ in range(steps):
            kept, last = dict(memory), image
            loss, gradient = evaluate(image)
            losses.append(loss)
            image = search.send((loss, gradient))
    except StopIteration:
        pass
    search.close()
    return losses, last, kept


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.name)
def test_finds_the_lowest_point(optimizer):
    losses, image, _ = run(optimizer, 150)
    assert losses[-1] < 1e-3 * losses[0]
    assert image.dtype == np.float32 and image.shape == TARGET.shape


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.name)
@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_indifferent_to_the_scale_of_the_loss(optimizer, scale):
    if "gradient_descent" in optimizer.name:
        optimizer = gradient_descent(rate=4)  # normalised, as by default
    losses, *_ = run(optimizer, 40, lambda image: bowl(image, scale))
    reference, *_ = run(optimizer, 40, lambda image: bowl(image, 1.0))
    assert losses[20] / losses[0] == pytest.approx(reference[20] / reference[0], rel=0.05)


def test_lbfgs_needs_the_fewest_evaluations():
    above = [sum(loss > 1.0 for loss in run(optimizer, 60)[0]) for optimizer in OPTIMIZERS]
    assert above[0] < min(above[1:])


def test_lbfgs_first_step_has_its_length():
    search = lbfgs(first_step=3).search(np.full(TARGET.shape, 128, np.float32), {})
    first = next(search)
    second = search.send(bowl(first))
    assert np.sqrt(np.mean((second - first) ** 2)) == pytest.approx(3, rel=1e-4)
    search.close()


def test_lbfgs_ends_where_nothing_is_better_and_closes_its_thread():
    before = threading.active_count()
    losses, image, _ = run(lbfgs(), 2000)
    assert len(losses) < 2000
    np.testing.assert_allclose(image, TARGET, atol=0.05)
    search = lbfgs().search(TARGET * 0, {})
    next(search)
    assert threading.active_count() == before + 1
    search.close()
    assert threading.active_count() == before


def test_lbfgs_hands_on_an_error_from_its_thread():
    search = lbfgs().search(TARGET * 0, {})
    next(search)
    with pytest.raises(ValueError):
        search.send(("no number", TARGET))


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("first_closed", [0, 1])
def test_lbfgs_gives_the_threads_of_blas_back_after_the_last_of_two_searches(first_closed):
    with threadpool_limits(2, user_api="blas"):
        searches = [lbfgs().search(TARGET * 0, {}) for _ in range(2)]
        for search in searches:
            next(search)
            assert blas_threads() == {1}
        searches.pop(first_closed).close()
        assert blas_threads() == {1}
        searches.pop().close()
        assert blas_threads() == {2}


@pytest.mark.parametrize(
    "optimizer", [lbfgs(box=(100, 150)), adam(20, box=(100, 150)), gradient_descent(8, box=(100, 150))]
)
def test_box_is_kept(optimizer):
    _, image, _ = run(optimizer, 60)
    assert image.min() >= 100 - 1e-3 and image.max() <= 150 + 1e-3
    inside = (TARGET > 105) & (TARGET < 145)
    assert np.abs(image - np.clip(TARGET, 100, 150))[inside].mean() < 12


def test_adam_against_the_algorithm():
    losses, image, _ = run(adam(rate=2, box=None, epsilon=1e-12), 4)
    reference, mean, square = np.full(TARGET.shape, 128.0), 0.0, 0.0
    for step in range(1, 4):
        gradient = bowl(reference)[1].astype(np.float64)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        reference = reference - 2 * (mean / (1 - 0.9**step)) / np.sqrt(square / (1 - 0.999**step))
    np.testing.assert_allclose(image, reference, rtol=1e-4)


def test_adam_rate_falls_in_stairs():
    search = adam(rate=2, decay=0.5, decay_every=3, box=None).search(np.zeros((4, 4, 3), np.float32), {})
    images = [next(search)] + [search.send((0.0, np.ones((4, 4, 3), np.float32))) for _ in range(9)]
    moves = [float((before - after).mean()) for before, after in zip(images, images[1:], strict=False)]
    np.testing.assert_allclose(moves, [2, 2, 2, 1, 1, 1, 0.5, 0.5, 0.5], rtol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS[1:], ids=lambda optimizer: optimizer.name)
def test_goes_on_after_a_pause_bit_for_bit(optimizer):
    _, whole, _ = run(optimizer, 30)
    _, half, memory = run(optimizer, 15)
    _, again, _ = run(optimizer, 16, start=half, memory=memory)
    np.testing.assert_array_equal(whole, again)


def test_lbfgs_goes_on_from_the_last_accepted_image():
    losses, half, memory = run(lbfgs(), 10)
    again, *_ = run(lbfgs(), 5, start=half * 0, memory=memory)
    assert again[0] <= min(losses) * 1.01 + losses[0] * 0.01


def test_start_is_left_alone():
    for optimizer in OPTIMIZERS:
        start = np.full(TARGET.shape, 128, np.float32)
        run(optimizer, 5, start=start)
        np.testing.assert_array_equal(start, 128)
