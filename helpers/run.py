"""A run is a generator of steps; whoever holds it decides what becomes of them.

A generator yields a `Step`, an image, a dictionary of numbers, or `(image, numbers)`. `follow` consumes it with a
progress bar and a record; the panel of `helpers.live` consumes the same generator behind buttons.
"""

import os
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from helpers.check import checked, having, optional
from helpers.images import ENDINGS, resize, save_image

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


def image_path(value):
    """Return the path of an image file; a rule of `helpers.check`."""
    if not isinstance(value, str | os.PathLike) or Path(value).suffix.lower() not in ENDINGS:
        raise ValueError("the path of an image file, such as 'painting.png'")
    return Path(value)


@checked(
    recorder=optional(having("add", "a GifRecorder, or another object with add(image)")), save_to=optional(image_path)
)
def follow(steps, *, recorder=None, save_to=None, size=None, progress=True):
    """Consume a generator of steps and return a `Result`.

    Ctrl-C, or the kernel's stop button, ends the run and returns what there is by then.

    Args:
        steps: a generator; see the module.
        recorder: anything with `add(image)`, called with the image of each step that has one.
        save_to: path of an image file that is kept up to date with the best image, every few seconds. Where it cannot
            be written, the run says so once and goes on.
        size: `(height, width)` to which the images for `recorder`, `save_to` and the result are brought, or a function
            that does it; None leaves them as they are.
        progress: show a bar with the numbers of the step.

    Raises:
        DivergedError: as `steps` raises it, with `result`.
        KeyboardInterrupt: if the run is stopped before its first step.
    """
    record, saved, interrupted = Record(), time.perf_counter(), False

    def fitted(image):
        if callable(size) and image is not None:
            return size(image)
        if size is None or image is None or image.shape[:2] == tuple(size):
            return image
        return np.clip(resize(image, size), 0, 255)

    def save():
        nonlocal save_to, saved
        try:
            save_image(save_to, fitted(record.image))
        except OSError as error:
            print(f"{error} The run goes on, and its image is not saved.")
            save_to = None
        saved = time.perf_counter()

    def result():
        return replace(record.result(interrupted), image=fitted(record.image))

    bar = tqdm(total=None, disable=not progress, file=sys.stdout, leave=False, unit="step", mininterval=0.5)
    try:
        for value in steps:
            step = as_step(value)
            record.add(step)
            if recorder is not None and step.image is not None:
                recorder.add(fitted(step.image))
            if save_to is not None and record.image is not None and time.perf_counter() - saved > SAVE_EVERY:
                save()
            bar.total = step.of
            bar.update()
            bar.set_postfix({name: f"{value:.3g}" for name, value in step.losses.items()}, refresh=False)
    except KeyboardInterrupt:
        if not record.rows:
            raise
        interrupted = True
    except DivergedError as error:
        error.result = result() if record.rows else None
        raise
    finally:
        bar.close()
        if hasattr(steps, "close"):
            steps.close()
        if save_to is not None and record.image is not None:
            save()
    return result()
