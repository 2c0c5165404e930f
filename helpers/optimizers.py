"""Ways downhill for an image: L-BFGS, Adam and plain gradient descent, behind one protocol.

An optimiser is asked and told. Its `search(start, memory)` is a coroutine: it yields the image that it wants to have
evaluated, and is sent back `(loss, gradient)` there, until it is closed or finds nothing better:

    search = adam(rate=6).search(start, {})
    image = next(search)
    for _ in range(100):
        image = search.send(evaluate(image))

Each evaluation is one step, so that optimisers compare at equal work. Images and gradients are float32 arrays of any
one shape. `memory` is a dictionary of arrays: the optimiser keeps in it what it needs to go on after a pause, and a
search that is given the memory of an earlier one, and its last image, continues it.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from helpers.arguments import number, short

GREY_LEVELS = (0.0, 255.0)


@dataclass(frozen=True)
class Optimizer:
    """A way downhill.

    Attributes:
        name: what it is called in a text, with its main setting: `"adam(rate=6)"`.
        search: `search(start, memory)` → coroutine; see the module.
        knob: the argument to turn down when a run diverges.
        bytes_per_value: memory that it needs for each value of the image, in bytes.
        settings: all its arguments, as a text that differs between optimisers that take different steps.
    """

    name: str
    search: Callable
    knob: str
    bytes_per_value: int
    settings: str


def gradient_descent(rate=2.0, normalize=True, box=GREY_LEVELS):
    """Return plain gradient descent: image ← image − rate · gradient.

    Args:
        rate: length of a step, above 0. With `normalize`, the root mean square over the pixels, in grey levels.
        normalize: divide the gradient by its own root mean square, so that `rate` fits every loss.
        box: smallest and largest value that a pixel may take, or None.

    Raises:
        ValueError: if a number is out of its range.
    """
    rate, normalize, box = number("rate", rate, above=0), bool(normalize), _box(box)

    def search(start, memory):
        image = np.array(start, np.float32)
        while True:
            _, gradient = yield image
            if normalize:
                gradient = gradient / _root_mean_square(gradient)
            image = _into(box, image - np.float32(rate) * gradient)

    settings = f"gradient_descent({rate=}, {normalize=}, {box=})"
    return Optimizer(f"gradient_descent(rate={rate:g})", search, knob="rate", bytes_per_value=12, settings=settings)


def adam(rate=6.0, decay=1.0, decay_every=100, staircase=True, beta_1=0.9, beta_2=0.999, epsilon=1e-8, box=GREY_LEVELS):
    """Return Adam (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, arXiv:1412.6980, algorithm 1).

    The gradient is divided by the root mean square of the first one, which leaves every step as it is and lets
    `epsilon` mean the same for a loss of 1e-6 as for one of 1e+12.

    Args:
        rate: about how far a pixel moves in a step, in grey levels, above 0.
        decay: factor on `rate` after each `decay_every` steps, above 0, up to 1, which keeps it constant.
            `adam(2.0, decay=0.94)` is a classic.
        decay_every: steps, counted from the start of the search.
        staircase: lower the rate in jumps (True) or a little with each step (False).
        beta_1: how much of the mean gradient is kept from one step to the next, from 0, below 1.
        beta_2: the same for the mean square of the gradient.
        epsilon: keeps the division finite where the gradient vanishes, above 0.
        box: smallest and largest value that a pixel may take, or None.

    Raises:
        ValueError: if a number is out of its range.
    """
    rate, decay, box = number("rate", rate, above=0), number("decay", decay, above=0, high=1), _box(box)
    decay_every, epsilon = number("decay_every", decay_every, 1, whole=True), number("epsilon", epsilon, above=0)
    beta_1, beta_2 = (number(name, beta, 0, below=1) for name, beta in (("beta_1", beta_1), ("beta_2", beta_2)))
    staircase = bool(staircase)

    def search(start, memory):
        image = np.array(start, np.float32)
        if not memory:
            memory.update(step=np.array(0), mean=np.zeros_like(image), square=np.zeros_like(image), unit=np.float32(0))
        while True:
            _, gradient = yield image
            if not memory["step"]:
                memory["unit"] = _root_mean_square(gradient)
            gradient = gradient / memory["unit"]
            memory["step"] = step = memory["step"] + 1
            memory["mean"] = beta_1 * memory["mean"] + (1 - beta_1) * gradient
            memory["square"] = beta_2 * memory["square"] + (1 - beta_2) * np.square(gradient)
            mean = memory["mean"] / np.float32(1 - beta_1**step)
            square = memory["square"] / np.float32(1 - beta_2**step)
            periods = (step - 1) // decay_every if staircase else (step - 1) / decay_every
            step_rate = np.float32(rate * decay**periods)
            image = _into(box, image - step_rate * mean / (np.sqrt(square) + np.float32(epsilon)))

    settings = f"adam({rate=}, {decay=}, {decay_every=}, {staircase=}, {beta_1=}, {beta_2=}, {epsilon=}, {box=})"
    return Optimizer(f"adam(rate={rate:g})", search, knob="rate", bytes_per_value=28, settings=settings)


def lbfgs(pairs=10, first_step=4.0, box=None):
    """Return L-BFGS-B as in SciPy (Byrd, Lu, Nocedal and Zhu, 1995): gradient and curvature from the last few steps.

    A line search takes one evaluation, and one more where it overshoots. SciPy's own first step, one grey level shared
    among all pixels, would waste several: pixels are measured in a unit that makes it `first_step`.

    Its `memory` holds the last image that it accepted; the curvature is gathered anew after a pause.

    Args:
        pairs: how many earlier steps describe the curvature, 1 to 100. Each costs 16 bytes per value of the image.
        first_step: length of the first step, in grey levels (root mean square over the pixels), above 0.
        box: smallest and largest value that a pixel may take, or None, which is faster.

    Raises:
        ValueError: if a number is out of its range.
    """
    pairs, first_step = number("pairs", pairs, 1, 100, whole=True), number("first_step", first_step, above=0)
    box = _box(box)

    def search(start, memory):
        start = np.asarray(memory.get("image", start), np.float32)
        unit = first_step * np.sqrt(start.size)
        bounds = None if box is None else [(box[0] / unit, box[1] / unit)] * start.size

        def image_of(point):
            return (point * unit).reshape(start.shape).astype(np.float32)

        def descend(evaluate):
            def value_and_gradient(point):
                loss, gradient = evaluate(image_of(point))
                return float(loss), np.asarray(gradient, np.float64).ravel() * unit

            def remember(point):
                memory["image"] = image_of(point)

            options = {"maxcor": pairs, "maxiter": 10**9, "maxfun": 10**9, "ftol": 0.0, "gtol": 0.0}
            point, before = np.asarray(start, np.float64).ravel() / unit, np.inf
            while True:  # where rounding ends a line search, a fresh start often finds the way on
                found = minimize(
                    value_and_gradient,
                    point,
                    jac=True,
                    method="L-BFGS-B",
                    bounds=bounds,
                    callback=remember,
                    options=options,
                )
                if not found.fun < before:
                    return
                point, before = found.x, found.fun

        return _asked(descend)

    settings = f"lbfgs({pairs=}, {first_step=}, {box=})"
    return Optimizer("lbfgs()", search, knob="first_step", bytes_per_value=16 * pairs + 64, settings=settings)


class _OneBlasThread:
    """Keeps BLAS at one thread from the first search that begins to the last that ends, in whatever order they do.

    The number of threads belongs to the whole process: were each search to set it back to what it found, the last one
    would set it back to one.
    """

    def __init__(self):
        self._lock, self._searches, self._limits = threading.RLock(), 0, None

    def __enter__(self):
        with self._lock:
            if not self._searches:
                self._limits = threadpool_limits(limits=1, user_api="blas")
            self._searches += 1

    def __exit__(self, *error):
        with self._lock:
            self._searches -= 1
            if not self._searches:
                self._limits.restore_original_limits()


_one_blas_thread = _OneBlasThread()


class _Closed(BaseException):
    """Ends `descend` in its thread when nobody asks for further images."""


def _asked(descend):
    """Turn `descend(evaluate)`, which calls, into a coroutine, which is asked and told.

    `descend` runs in a thread of its own; `evaluate` hands the image over and waits for the answer, so that one of the
    two sides is always at rest. Closing the coroutine ends the thread.
    """
    questions, answers = queue.SimpleQueue(), queue.SimpleQueue()

    def evaluate(image):
        questions.put((image, None))
        answer = answers.get()
        if answer is None:
            raise _Closed
        return answer

    def work():
        failure = None
        try:
            descend(evaluate)
        except _Closed:
            return
        except Exception as error:  # raised again in the thread that asks
            failure = error
        questions.put((None, failure))

    thread = threading.Thread(target=work, name="optimizer", daemon=True)
    thread.start()
    # The threads of a BLAS library keep a core busy for a while after each call: one thread leaves it to the network.
    with _one_blas_thread:
        try:
            while True:
                image, failure = questions.get()
                if failure is not None:
                    raise failure
                if image is None:
                    return
                answer = yield image
                answers.put(answer)
        finally:
            answers.put(None)
            thread.join()


def _root_mean_square(values):
    return np.float32(max(np.sqrt(np.mean(np.square(values, dtype=np.float64))), np.finfo(np.float32).tiny))


def _box(box):
    """Return the smallest and the largest value, or None."""
    if box is None:
        return None
    if not isinstance(box, list | tuple | np.ndarray) or np.shape(box) != (2,):
        raise ValueError(f"box must be (smallest, largest) or None, got {short(box)}.")
    smallest, largest = (number("each of box", value) for value in box)
    if not smallest < largest:
        raise ValueError(f"box must rise from the smallest to the largest value, got {short(box)}.")
    return smallest, largest


def _into(box, image):
    return image if box is None else np.clip(image, *box)
