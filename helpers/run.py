"""A run is a generator of steps; whoever holds it decides what becomes of them.

A generator yields a `Step`, an image, a dictionary of numbers, or `(image, numbers)`. `follow` consumes it with a
progress bar and a record; the panel of `helpers.live` consumes the same generator behind buttons.
"""

import sys
import time
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from helpers.images import resize, save_image

SAVE_EVERY = 5.0  # seconds between two images that `save_to` writes


class DivergedError(ArithmeticError):
    """A loss, gradient or image became NaN or infinite; `result` is the run up to then, or None."""

    result = None


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        image: float32 `(height, width, 3)`, 0–255, at the size of this phase, or None.
        losses: {name: number}: what a curve is drawn of; "total" decides which image is the best.
        of: steps of the whole run, or None where it is not known.
        phase: 0, 1, ...: the scale, octave or crop size; a best image is sought within the last phase.
    """

    image: np.ndarray | None = None
    losses: dict = field(default_factory=dict)
    of: int | None = None
    phase: int = 0


@dataclass(frozen=True)
class Result:
    """What a run left.

    Attributes:
        image: the best image of the last phase, or the last image where no step has a "total" loss; None without one.
        history: {name: float array with a value for each step, NaN where a step has none}, and "phase".
        seconds: how long the run took.
        interrupted: whether it was stopped before its last step.
    """

    image: np.ndarray | None
    history: dict
    seconds: float
    interrupted: bool = False


def as_step(value):
    """Return what a generator yielded as a `Step`."""
    if isinstance(value, Step):
        return value
    if isinstance(value, dict):
        return Step(losses=value)
    if isinstance(value, tuple) and len(value) == 2:
        return Step(value[0], value[1] if isinstance(value[1], dict) else {"loss": value[1]})
    if np.ndim(value) == 0:
        return Step(losses={"loss": value})
    return Step(value)


class Record:
    """What is kept of a run while it goes on: the history, and the best image of the phase it is in."""

    def __init__(self):
        """Start the clock."""
        self.began, self.rows, self.image, self.least, self.phase = time.perf_counter(), [], None, np.inf, 0

    def add(self, step):
        """Keep the numbers of a step, and its image if it is the best so far."""
        self.rows.append({name: float(value) for name, value in step.losses.items()} | {"phase": step.phase})
        if step.phase != self.phase:
            self.phase, self.least = step.phase, np.inf
        total = self.rows[-1].get("total")
        if step.image is not None and (total is None or total < self.least):
            self.image, self.least = step.image, np.inf if total is None else total

    def result(self, interrupted=False):
        """Return a `Result` of the steps so far."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        history = {name: np.array([row.get(name, np.nan) for row in self.rows], np.float32) for name in names}
        return Result(self.image, history, time.perf_counter() - self.began, interrupted)


def follow(steps, *, recorder=None, save_to=None, size=None, progress=True):
    """Consume a generator of steps and return a `Result`.

    Ctrl-C, or the kernel's stop button, ends the run and returns what there is by then.

    Args:
        steps: a generator; see the module.
        recorder: anything with `add(image)`, called with the image of each step that has one.
        save_to: path of an image file that is kept up to date with the best image, every few seconds.
        size: `(height, width)` to which images are brought for `recorder` and `save_to`; None leaves them as they are.
        progress: show a bar with the numbers of the step.

    Raises:
        DivergedError: as `steps` raises it, with `result`.
        KeyboardInterrupt: if the run is stopped before its first step.
    """
    record, saved = Record(), time.perf_counter()
    interrupted = False

    def fitted(image):
        return image if size is None or image.shape[:2] == tuple(size) else np.clip(resize(image, size), 0, 255)

    bar = tqdm(total=None, disable=not progress, file=sys.stdout, leave=False, unit="step", mininterval=0.5)
    try:
        for value in steps:
            step = as_step(value)
            record.add(step)
            if recorder is not None and step.image is not None:
                recorder.add(fitted(step.image))
            if save_to is not None and record.image is not None and time.perf_counter() - saved > SAVE_EVERY:
                save_image(save_to, fitted(record.image))
                saved = time.perf_counter()
            bar.total = step.of
            bar.update()
            bar.set_postfix({name: f"{value:.3g}" for name, value in step.losses.items()}, refresh=False)
    except KeyboardInterrupt:
        if not record.rows:
            raise
        interrupted = True
    except DivergedError as error:
        error.result = record.result() if record.rows else None
        raise
    finally:
        bar.close()
        if hasattr(steps, "close"):
            steps.close()
        if save_to is not None and record.image is not None:
            save_image(save_to, fitted(record.image))
    return record.result(interrupted)
