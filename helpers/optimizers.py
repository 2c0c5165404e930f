"""Ways downhill for an image: L-BFGS, Adam and plain gradient descent.

Each is called with its settings and returns a generator function, `descend(start, evaluate)`:

    descend = adam(learning_rate=6)
    for image, losses in itertools.islice(descend(start, evaluate), 100):
        ...

`evaluate(image)` returns `(losses, gradient)`: a dictionary whose "total" is minimised, and that total's gradient. Each
evaluation is one step, so optimisers are compared at equal work. Images and gradients are float32 arrays of one shape,
grey levels 0–255; an image that was yielded is never changed afterwards. Close a generator that you do not exhaust.
"""

import itertools
import queue
import threading

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

from helpers.check import above, checked, whole

FIRST_STEP = 4.0  # of L-BFGS: grey levels, root mean square over the pixels
_one_at_a_time = threading.Lock()  # the number of BLAS threads belongs to the whole process


@checked(learning_rate=above(0))
def gradient_descent(learning_rate=2.0):
    """Return gradient descent: image ← image − learning rate · gradient, clipped to 0–255.

    The gradient is divided by its root mean square, so that one learning rate, the length of a step in grey levels,
    fits every loss.
    """

    def descend(start, evaluate):
        image = np.array(start, np.float32)
        while True:
            losses, gradient = evaluate(image)
            yield image, losses
            image = np.clip(image - learning_rate * gradient / _root_mean_square(gradient), 0, 255)

    return descend


@checked(learning_rate=above(0), decay=above(0, 1), decay_every=whole(1))
def adam(learning_rate=6.0, decay=1.0, decay_every=100):
    """Return Adam (Kingma and Ba, 2015, arXiv:1412.6980, algorithm 1), clipped to 0–255.

    The gradient is divided by the root mean square of the first one. That changes no step, and lets epsilon mean the
    same for a loss of 1e-6 as for one of 1e+12.

    Args:
        learning_rate: about how far a pixel moves in a step, grey levels.
        decay: factor on the learning rate after each `decay_every` steps.
        decay_every: steps.
    """
    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-8

    def descend(start, evaluate):
        image, mean, square, unit = np.array(start, np.float32), 0.0, 0.0, None
        for step in itertools.count(1):
            losses, gradient = evaluate(image)
            yield image, losses
            unit = _root_mean_square(gradient) if unit is None else unit
            gradient = gradient / unit
            mean = beta_1 * mean + (1 - beta_1) * gradient
            square = beta_2 * square + (1 - beta_2) * np.square(gradient)
            unbiased_mean, unbiased_square = mean / (1 - beta_1**step), square / (1 - beta_2**step)
            rate = learning_rate * decay ** ((step - 1) // decay_every)
            image = np.clip(image - rate * unbiased_mean / (np.sqrt(unbiased_square) + epsilon), 0, 255)

    return descend


def lbfgs():
    """Return L-BFGS as in SciPy (Byrd, Lu, Nocedal and Zhu, 1995): gradient, and curvature from the last ten steps.

    A line search takes one evaluation, and one more where it overshoots. The image is not clipped. SciPy's own first
    step, one grey level shared among all pixels, would waste several evaluations: pixels are measured in a unit that
    makes it 4 grey levels each. The generator ends where nothing better is found.
    """

    def descend(start, evaluate):
        start = np.array(start, np.float32)
        unit = FIRST_STEP * np.sqrt(start.size)
        asked, told = queue.SimpleQueue(), queue.SimpleQueue()

        def value_and_gradient(point):
            asked.put((point * unit).reshape(start.shape).astype(np.float32))
            answer = told.get()
            if answer is None:
                raise _Closed
            return answer

        def search():
            options = {"maxcor": 10, "maxiter": 10**9, "maxfun": 10**9, "ftol": 0.0, "gtol": 0.0}
            point, least, end = start.ravel().astype(np.float64) / unit, np.inf, None
            try:
                while True:  # where rounding ends a line search, a fresh start often finds the way on
                    found = minimize(value_and_gradient, point, jac=True, method="L-BFGS-B", options=options)
                    if not found.fun < least:
                        break
                    point, least = found.x, found.fun
            except _Closed:
                return
            except Exception as error:  # raised again by the generator
                end = error
            asked.put(end)

        # SciPy calls for values; a generator yields them. So SciPy runs in a thread, and one of the two always waits.
        thread, blas = threading.Thread(target=search, name="lbfgs", daemon=True), ThreadpoolController()
        thread.start()
        try:
            image = asked.get()
            while isinstance(image, np.ndarray):
                losses, gradient = evaluate(image)
                yield image, losses
                # BLAS threads keep a core busy for a while after each call: one thread leaves it to the network.
                with _one_at_a_time, blas.limit(limits=1, user_api="blas"):
                    told.put((float(losses["total"]), np.asarray(gradient, np.float64).ravel() * unit))
                    image = asked.get()
            if image is not None:
                raise image
        finally:
            told.put(None)
            thread.join()

    return descend


class _Closed(BaseException):
    """Ends SciPy's search when the generator is closed."""


def _root_mean_square(values):
    return np.float32(max(np.sqrt(np.mean(np.square(values, dtype=np.float64))), np.finfo(np.float32).tiny))
