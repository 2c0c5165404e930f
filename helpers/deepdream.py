"""DeepDream after Mordvintsev, Olah and Tyka ("Inceptionism: Going Deeper into Neural Networks", 2015): change a
picture until a network sees in it more of what it sees.

An objective says what is climbed; `DeepDream.iterate` is the one loop, over sizes from small to large: it yields a
`Step` for each change of the picture. `dream` consumes it with a progress bar and a record; `zoom` dreams into its own
middle, again and again.
"""

import sys
import time
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from helpers import arguments
from helpers.dream_objectives import ChannelObjective, GuideObjective, LayerObjective, layer_channels
from helpers.images import match_color, resize
from helpers.style_runs import as_picture, as_recorder
from helpers.style_transfer import DivergedError
from helpers.tiles import tiled_gradient

__all__ = [
    "ChannelObjective", "DeepDream", "DivergedError", "DreamResult", "GuideObjective", "LayerObjective", "Step",
    "layer_channels", "octave_shapes", "smooth_gradient", "tiled_gradient", "zoom",
]  # fmt: skip

WIDEST = 100  # pixels; a Gaussian as wide as a picture leaves its mean alone
EPSILON = 1e-12  # keeps a division by an all-zero gradient finite; a mean's gradient is itself about 1e-8


@dataclass(frozen=True)
class Step:
    """One change of the picture.

    Attributes:
        number: 1 … `of`. An octave that `max_loss` stops leaves numbers out.
        of: steps in the whole run, over all octaves.
        octave: 0 is the smallest.
        image: after the step, at the octave's size, float32 `(height, width, 3)`, 0–255.
        loss: the objective before the step: that of the picture which the gradient was taken at.
    """

    number: int
    of: int
    octave: int
    image: np.ndarray
    loss: float


@dataclass(frozen=True)
class DreamResult:
    """What a run dreamt.

    Attributes:
        image: the picture after the last step, at the input's size, float32 `(height, width, 3)`, 0–255.
        history: {"loss", "octave": array with a value for each step}.
        seconds: how long the run took.
        interrupted: whether it was stopped before its last step.
    """

    image: np.ndarray
    history: dict
    seconds: float
    interrupted: bool = False


class DeepDream:
    """An objective on a network's features, and the ascent along its gradient.

    Loss and gradient are one traced function, which serves every octave, every tile and every picture.

    Args:
        backbone: from `load_backbone`.
        objective: `LayerObjective`, `ChannelObjective`, `GuideObjective`, or anything with their three methods.
            Default: all of the backbone's `dream_layers`, with a coefficient of 1.

    Raises:
        ValueError: if the network has no such layer.
    """

    def __init__(self, backbone, objective=None):  # noqa: D107 - the class says it
        self.backbone = arguments.having("backbone", backbone, "model", "what load_backbone(...) returns")
        objective = LayerObjective(backbone.dream_layers) if objective is None else objective
        self.objective = arguments.having("objective", objective, "network", "LayerObjective(...), or one of its kind")
        self._network = self.objective.network(backbone)
        self._traced = tf.function(self.loss_and_gradient)

    @property
    def traces(self):
        """How often loss and gradient were traced."""
        return self._traced.experimental_get_tracing_count()

    def features(self, image):
        """Return the objective's features of a picture `(height, width, 3)`, 0–255: {name: `(1, h, w, channels)`}."""
        return self._network(self.backbone.preprocess(tf.constant(image, tf.float32)[None]))

    def loss_and_gradient(self, image, values):
        """The traced function: only the picture is watched, so that no gradient of a kernel is ever computed."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            features = self._network(self.backbone.preprocess(image[None]))
            loss = self.objective.loss(features, values)
        return loss, tape.gradient(loss, image)

    def evaluator(self):
        """Return the function picture → (loss, gradient), float and float32 `(height, width, 3)`, for any size.

        Raises:
            ValueError: if the objective's numbers do not fit the network.
        """
        values = self.objective.values(self.features)
        specs = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), values)
        traced = self._traced.get_concrete_function(tf.TensorSpec((None, None, 3), tf.float32), specs)

        def evaluate(image):
            loss, gradient = traced(tf.constant(image), values)
            return float(loss), gradient.numpy()

        return evaluate

    def iterate(
        self,
        image,
        octaves=4,
        octave_scale=1.4,
        steps=10,
        step_size=1.5,
        jitter=16,
        tile_size=512,
        max_loss=None,
        smoothing=1.0,
        *,
        overlap=64,
        normalize=True,
        seed=0,
    ):
        """Yield a `Step` for each change of the picture. The last one has the size of `image`.

        Each octave starts from the enlarged result of the one before, with the detail put back that the picture loses
        when it is shrunk to that one's size.

        Args:
            image: `(height, width, 3)`, 0–255.
            octaves: number of sizes, from 1, which is plain ascent at the full size.
            octave_scale: ratio of a size to the one before, above 1.
            steps: for each octave, or a list with a number for each, the smallest first.
            step_size: mean change of a pixel in one step, grey levels, from 0; or a list, as for `steps`.
            jitter: before each step, the picture is rolled by up to so many pixels each way, at random, so that neither
                the pooling's grid nor a tile's edge is always in the same place. 0 for none. Of more than the border
                that objectives leave out, twice the layer's stride, the picture's own edges are dreamt of.
            tile_size: longest side of what is computed at once, pixels: see `tiled_gradient`.
            max_loss: an octave ends when its loss is above this; None for never.
            smoothing: width of `smooth_gradient`, pixels, up to 100; 0 for none.
            overlap: of neighbouring tiles, pixels.
            normalize: divide the gradient by its mean magnitude. False takes it as it is, times `step_size`.
            seed: of the jitter. On a CPU the same seed gives the same picture, bit for bit.

        Raises:
            ValueError: if an argument does not fit; the message says what would.
            DivergedError: if the loss becomes NaN or infinite.
        """
        original = as_picture(image)
        smallest = self.backbone.smallest_side
        shapes = octave_shapes(original.shape, octaves, octave_scale, smallest)
        octaves, jitter = len(shapes), arguments.number("jitter", jitter, 0, whole=True)
        tile_size = arguments.number("tile_size", tile_size, smallest, whole=True)
        overlap = arguments.number("overlap", overlap, 0, tile_size - 1, whole=True)
        max_loss = None if max_loss is None else arguments.number("max_loss", max_loss)
        smoothing = arguments.number("smoothing", smoothing, 0, WIDEST)
        counts = arguments.numbers("steps", steps, octaves, "octaves", low=1, whole=True)
        sizes = arguments.numbers("step_size", step_size, octaves, "octaves", low=0)
        seed = arguments.number("seed", seed, 0, whole=True)
        evaluate, generator = self.evaluator(), np.random.default_rng(seed)
        position, image, shrunk = 0, None, None
        for octave, shape in enumerate(shapes):
            sharp = resize(original, shape).clip(0, 255)
            image = sharp if image is None else add_detail(image, shrunk, sharp)
            for number in range(position + 1, position + counts[octave] + 1):
                roll = generator.integers(-jitter, jitter, 2, endpoint=True)
                loss, gradient = tiled_gradient(evaluate, np.roll(image, roll, (0, 1)), tile_size, overlap)
                gradient = np.roll(gradient, -roll, (0, 1))
                _check_finite(loss, gradient, number, sizes[octave])
                stop = max_loss is not None and loss > max_loss
                if not stop:
                    image = ascend(image, gradient, sizes[octave], smoothing, normalize)
                yield Step(number, sum(counts), octave, image, loss)
                if stop:
                    break
            position, shrunk = position + counts[octave], sharp

    def dream(self, image, octaves=4, octave_scale=1.4, steps=10, *, progress=True, recorder=None, **settings):
        """Run `iterate` and return a `DreamResult`.

        Ctrl-C, or the kernel's stop button, ends the run and returns the picture so far, at full size.

        Args:
            image, octaves, octave_scale, steps, settings: as in `iterate`.
            progress: show a bar with the loss.
            recorder: anything with `add(image)`, called with each step's picture at full size.

        Raises:
            ValueError: as in `iterate`.
            DivergedError: as in `iterate`; its `result` is the run up to then.
        """
        original, began, recorder = as_picture(image), time.perf_counter(), as_recorder(recorder)
        record = []  # (octave, loss) of each step
        picture, interrupted = None, False

        def result():
            octave, loss = np.array(record).reshape(-1, 2).T
            history = {"loss": loss.astype(np.float32), "octave": octave.astype(int)}
            return DreamResult(full_size(picture, original), history, time.perf_counter() - began, interrupted)

        iteration = self.iterate(original, octaves, octave_scale, steps, **settings)
        bar = tqdm(total=None, disable=not progress, file=sys.stdout, leave=False, unit="step", mininterval=0.5)
        with closing(iteration), closing(bar):
            try:
                for step in iteration:
                    picture = step.image
                    record.append((step.octave, step.loss))
                    if recorder is not None:
                        recorder.add(full_size(picture, original))
                    bar.total = step.of
                    bar.update(step.number - bar.n)
                    bar.set_postfix({"octave": step.octave, "loss": f"{step.loss:.3g}"}, refresh=False)
            except KeyboardInterrupt:
                if picture is None:
                    raise
                interrupted = True
            except DivergedError as error:
                error.result = None if picture is None else result()
                raise
        return result()


def ascend(image, gradient, step_size, smoothing=0.0, normalize=True):
    """Return the picture one step up: x ← clip(x + s · g / mean |g|), s being the step size.

    Args:
        image: float32 `(height, width, 3)`, 0–255.
        gradient: of the same shape, any magnitude.
        step_size: mean change, grey levels.
        smoothing: width of `smooth_gradient`, pixels; 0 for none.
        normalize: whether to divide by the mean magnitude.
    """
    if smoothing:
        gradient = smooth_gradient(gradient, smoothing)
    if normalize:
        gradient = gradient / (np.abs(gradient).mean() + EPSILON)
    return np.clip(image + np.float32(step_size) * gradient, 0, 255)


def smooth_gradient(gradient, width):
    """Return the mean of the gradient at three widths of a Gaussian: half of `width`, `width` and twice that.

    A gradient is full of single-pixel noise, which excites features but means nothing to people. Each width has a say
    of its own, as every level is brought to the mean magnitude of the gradient.

    Args:
        gradient: float32 `(height, width, channels)`.
        width: standard deviation of the middle Gaussian, pixels, above 0, up to 100.
    """
    width = arguments.number("width", width, above=0, high=WIDEST)
    magnitude, total = np.abs(gradient).mean(), np.zeros_like(gradient)
    for sigma in (width / 2, width, 2 * width):
        level = gaussian_filter(gradient, (sigma, sigma, 0))
        level *= magnitude / (np.abs(level).mean() + EPSILON)
        total += level
    return total / 3


def octave_shapes(shape, octaves, octave_scale, smallest_side=32):
    """Return `(height, width)` of each octave, the last one being that of `shape`.

    Args:
        shape: of the picture.
        octaves: number of sizes, from 1.
        octave_scale: ratio of a size to the one before, above 1.
        smallest_side: least height and width, pixels.

    Raises:
        ValueError: if an argument is out of its range, or the smallest octave would be too small.
    """
    octaves = arguments.number("octaves", octaves, 1, 100, whole=True)
    octave_scale = arguments.number("octave_scale", octave_scale, above=1)
    smallest_side = arguments.number("smallest_side", smallest_side, 1, whole=True)
    full = arguments.sides("shape", arguments.having("shape", shape, "__len__", "(height, width)")[:2])
    shapes = [tuple(round(side / octave_scale**power) for side in full) for power in reversed(range(octaves))]
    if min(shapes[0]) < smallest_side:
        raise ValueError(
            f"The smallest of {octaves} octaves would be {shapes[0][0]} × {shapes[0][1]} pixels; each side needs "
            f"{smallest_side}. Use fewer octaves, a smaller octave_scale, or a larger picture."
        )
    return shapes


def add_detail(image, shrunk, sharp):
    """Return `image` enlarged to the size of `sharp`, with what `shrunk` lacks of it: up(x) + (sharp − up(shrunk)).

    Args:
        image: the dream at one size, float32 `(height, width, 3)`, 0–255.
        shrunk: the original at the same size.
        sharp: the original at the larger size.

    Returns:
        float32 of the shape of `sharp`, clipped to 0–255. A dream that changed nothing gives `sharp` again.
    """
    enlarged, blurred = (resize(small, sharp.shape[:2]) for small in (image, shrunk))
    return (enlarged + sharp - blurred).clip(0, 255)


def full_size(image, original):
    """Return the dream of some octave at the original's size, with the original's detail."""
    if image.shape == original.shape:
        return image
    return add_detail(image, resize(original, image.shape[:2]).clip(0, 255), original)


def zoom(dreamer, image, frames=40, factor=1.05, *, keep_colors=True, recorder=None, progress=True, seed=0, **settings):
    """Dream, enlarge the middle, dream again: an endless zoom. Return the `DreamResult` of the last frame.

    Ctrl-C, or the kernel's stop button, ends it and returns the last frame so far.

    Args:
        dreamer: a `DeepDream`.
        image: the first picture, `(height, width, 3)`, 0–255.
        frames: number of pictures.
        factor: from one frame to the next, above 1; 1.05 is 5 % closer.
        keep_colors: give each frame the first picture's colours (`match_color`) before it is dreamt on: without it they
            grow more garish from frame to frame.
        recorder: a `GifRecorder`, or anything with `add(image)`, called with each frame.
        progress: show a bar.
        seed: of the jitter; each frame has its own.
        settings: of `DeepDream.iterate`, for each frame: few octaves and few steps are enough, as the next frame goes
            on from this one.

    Raises:
        ValueError: if a number is out of its range.
    """
    frames, seed = arguments.number("frames", frames, 1, whole=True), arguments.number("seed", seed, 0, whole=True)
    factor, recorder = arguments.number("factor", factor, above=1), as_recorder(recorder)
    first = image = as_picture(image)
    began, losses, interrupted = time.perf_counter(), [], False
    numbers = tqdm(range(frames), disable=not progress, file=sys.stdout, leave=False, unit="frame")
    with closing(numbers):
        try:
            for number in numbers:
                if number > 0:
                    image = enlarge_middle(image, factor)
                    image = match_color(image, first, "histogram") if keep_colors else image
                frame = dreamer.dream(image, progress=False, seed=seed + number, **settings)
                image = frame.image
                losses.append(frame.history["loss"][-1])
                if recorder is not None:
                    recorder.add(image)
                if frame.interrupted:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            if not losses:
                raise
            interrupted = True
    history = {"loss": np.array(losses, np.float32), "frame": np.arange(len(losses))}
    return DreamResult(image, history, time.perf_counter() - began, interrupted)


def enlarge_middle(image, factor):
    """Return the middle of a picture, `factor` times as large, at the picture's size; parts of pixels count."""
    height, width = image.shape[:2]
    rim = width * (1 - 1 / factor) / 2, height * (1 - 1 / factor) / 2
    box = (*rim, width - rim[0], height - rim[1])
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(image, -1, 0)]
    larger = [np.asarray(channel.resize((width, height), Image.Resampling.BICUBIC, box)) for channel in channels]
    return np.stack(larger, axis=-1).clip(0, 255)


def _check_finite(loss, gradient, number, step_size):
    if not (np.isfinite(loss) and np.isfinite(gradient).all()):
        raise DivergedError(
            f"Step {number}: the loss is {loss:g} and its gradient is not all finite. Lower the objective's "
            f"coefficients or step_size (now {step_size:g})."
        )
