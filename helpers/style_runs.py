"""What a style transfer needs around its loss: sizes and starts, the record of a run, checkpoints, peak memory."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from helpers.arguments import having, number, short
from helpers.backbones import known, layer_names
from helpers.files import ARCHIVE_ERRORS, UnwritableError, load_arrays, whole_file
from helpers.images import load_image, luminance, match_color, resize

INITS = ("content", "recolored", "style", "noise", "blend")
SMALLEST_SIDE = 32  # pixels: below this, the deep layers of a VGG have no position left


@dataclass
class Position:
    """Where a run stands: what a checkpoint holds."""

    scale: int = 0
    number: int = 0  # steps finished, over all scales
    image: np.ndarray | None = None  # what the optimiser asked for last, before clipping
    memory: dict = field(default_factory=dict)  # the optimiser's own
    least: float = np.inf  # total loss of `best`
    best: np.ndarray | None = None  # of this scale, before clipping


class Record:
    """What `stylize` gathers: history, and the best image of the scale it is in."""

    def __init__(self):
        """Start the clock."""
        self.began, self.history, self.image = time.perf_counter(), {}, None
        self.scale, self.least, self.interrupted = 0, np.inf, False

    def add(self, step):
        """Keep the losses, and the image if it is the best so far."""
        for term, value in step.losses.items():
            self.history.setdefault(term, []).append(value)
        if step.scale > self.scale:
            self.scale, self.least = step.scale, np.inf
        if step.losses["total"] < self.least:
            self.least, self.image = step.losses["total"], step.image


class PeakMemory:
    """Measures the peak of this process's memory within a `with` block; `bytes` is None where it cannot be told."""

    bytes = None

    def __enter__(self):
        """Start to watch."""
        self._ended = threading.Event()
        try:
            import psutil  # comes with Jupyter's kernel

            self._process = psutil.Process()
        except ImportError:
            return self
        self.bytes = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self):
        while not self._ended.wait(0.01):
            self.bytes = max(self.bytes, self._process.memory_info().rss)

    def __exit__(self, *error):
        """Stop."""
        self._ended.set()
        if self.bytes is not None:
            self._thread.join()


def save_checkpoint(path, mark, position, record):
    """Write where the run stands, whole or not at all. The step in hand is not over yet and is done again.

    Return `path`, or None if it cannot be written: a full disk must not cost the run.
    """
    arrays = {f"memory/{name}": value for name, value in position.memory.items()}
    arrays |= {f"history/{term}": np.array(values[:-1]) for term, values in record.history.items()}
    arrays |= {name: getattr(position, name) for name in ("scale", "number", "image", "least", "best")}
    try:
        with whole_file(path) as partial, open(partial, "wb") as file:
            np.savez(file, mark=mark, picture=record.image, **arrays)
    except UnwritableError as error:
        print(f"{error} The run goes on without checkpoints; if there is an earlier one, it stays.")
        return None
    return path


def load_checkpoint(path, mark, record):
    """Return the position of the run that wrote `path`, and fill `record`; `mark` must be that run's own."""
    try:
        arrays = load_arrays(path)
        found = str(arrays["mark"])
    except (*ARCHIVE_ERRORS, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}). Name another file, or pass resume=False."
        ) from error
    if found != mark:
        raise ValueError(
            f"{path} was written by a run with other pictures or settings. Name another file, or pass resume=False."
        )

    def part(prefix):
        return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

    record.history = {term: list(values) for term, values in part("history/").items()}
    scale, number, least = int(arrays["scale"]), int(arrays["number"]), float(arrays["least"])
    record.scale, record.least, record.image = scale, least, arrays["picture"]
    return Position(scale, number, arrays["image"], part("memory/"), least, arrays["best"])


def layer_weights(layers, backbone):
    """Return {layer: weight}; names alone share a weight of 1; layers with a weight of 0 go."""
    if not isinstance(layers, dict):
        having("layers", layers, "__iter__", "names of layers, or {name: weight}")
        names = dict.fromkeys([layers] if isinstance(layers, str) else layers)
        layers = {name: 1 / len(names) for name in names}
    valid = layer_names(backbone)
    weights = {
        known(name, valid, f"layer of {backbone.name}"): number(f"the weight of {name}", weight, 0)
        for name, weight in layers.items()
    }
    return {name: weight for name, weight in weights.items() if weight}


def as_picture(image):
    """Return `image` as the project holds pictures; a small one is refused here rather than deep in the network."""
    array = np.asarray(image)
    if not array.ndim:
        raise ValueError(f"A picture must be an array, as load_image(...) returns it, got {short(image)}.")
    image = load_image(array)
    if min(image.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(
            f"A picture needs at least {SMALLEST_SIDE} pixels on each side, got {image.shape[0]} × {image.shape[1]}."
        )
    return image


def as_pictures(styles):
    """Return a list of pictures from one or several."""
    alone = isinstance(styles, np.ndarray) and styles.ndim == 3
    having("styles", styles, "__iter__", "a style image, or several")
    pictures = [as_picture(style) for style in ([styles] if alone else styles)]
    if not pictures:
        raise ValueError("styles is empty: give a style image, or several.")
    return pictures


def as_shares(shares, styles):
    """Return a share for each style; they sum to 1."""
    count = 1 if isinstance(styles, np.ndarray) and styles.ndim == 3 else len(styles)
    shares = [1] * count if shares is None else having("shares", shares, "__len__", f"a list of {count} numbers")
    if len(shares) != count:
        raise ValueError(f"shares must be {count} numbers, one for each style, got {short(shares)}.")
    shares = [number("each of shares", share, 0) for share in shares]
    if not sum(shares):
        raise ValueError("shares are all 0: give at least one style a share.")
    return [share / sum(shares) for share in shares]


def as_optimizer(optimizer):
    """Return `optimizer` if it is one."""
    return having("optimizer", optimizer, "search", "what lbfgs(), adam(...) or gradient_descent(...) returns")


def as_recorder(recorder):
    """Return `recorder` if it is None or can record."""
    return recorder if recorder is None else having("recorder", recorder, "add", "a GifRecorder, or have its add")


def scale_shapes(full, scales):
    """Return the sizes from coarse to fine, the last one being `full`."""
    if isinstance(scales, list | tuple | np.ndarray) and np.ndim(scales):
        parts = [number("each of scales", part, above=0, high=1) for part in scales]
    else:
        parts = [0.5**power for power in reversed(range(number("scales", scales, 1, 16, whole=True)))]
    if not parts or parts[-1] != 1 or sorted(parts) != parts:
        raise ValueError(
            f"scales must be a number from 1 up, or parts of the full size that rise to 1, got {short(scales)}."
        )
    shapes = [tuple(round(side * part) for side in full) for part in parts]
    if min(shapes[0]) < SMALLEST_SIDE:
        raise ValueError(
            f"The coarsest scale would be {shapes[0][0]} × {shapes[0][1]} pixels; each side needs {SMALLEST_SIDE}. "
            "Use fewer scales or a larger content image."
        )
    return shapes


def scale_counts(steps, scales):
    """Return how many steps each scale gets; the finest ones get what is left over."""
    if not isinstance(steps, list | tuple | np.ndarray) or np.ndim(steps) == 0:
        steps = number("steps", steps, scales, whole=True)
        return [(steps + index) // scales for index in range(scales)]
    if len(steps) != scales:
        raise ValueError(f"steps must be one number, or one for each of the {scales} scales, got {short(steps)}.")
    return [number("each of steps", count, 1, whole=True) for count in steps]


def first_image(init, content, styles, blend, seed):
    """Return the first image, at full size."""
    blend, seed = number("blend", blend, 0, 1), number("seed", seed, 0, whole=True)
    if isinstance(init, np.ndarray):
        return resize(load_image(init), content.shape[:2])
    if init not in INITS:
        raise ValueError(f"init must be an array or one of {INITS}, got {short(init)}.")
    if init == "content":
        return content
    if init == "recolored":
        return match_color(content, styles[0], "histogram")
    if init == "style":
        return load_image(styles[0], shape=content.shape[:2])
    noise = np.random.default_rng(seed).normal(127.5, 40, content.shape).astype(np.float32)
    return noise if init == "noise" else np.float32(1 - blend) * content + np.float32(blend) * noise


def fit_style(style, shape, style_scale):
    """Return a style image at the grain that was asked for: its longest side in parts of the generated image's."""
    factor = number("style_scale", style_scale, above=0) * max(shape) / max(style.shape[:2])
    factor = max(factor, SMALLEST_SIDE / min(style.shape[:2]))
    return resize(style, tuple(round(side * factor) for side in style.shape[:2]))


def seen_colors(content, styles, preserve_color):
    """Return content and styles as the network is to see them, and the picture whose hues the result takes, or None."""
    if preserve_color is None:
        return content, styles, None
    if preserve_color == "histogram":
        return content, [match_color(style, content, "histogram") for style in styles], None
    if preserve_color == "luminance":
        return grey(content), [match_brightness(grey(style), grey(content)) for style in styles], content
    raise ValueError(f"preserve_color must be None, 'luminance' or 'histogram', got {short(preserve_color)}.")


def grey(image):
    """Return the brightness of an image in all three channels."""
    return np.repeat(luminance(image)[..., None], 3, axis=-1)


def match_brightness(image, reference):
    """Return `image` with the mean and the spread of the reference's values."""
    spread = max(float(image.std()), 1e-6)
    return np.clip((image - image.mean()) / spread * reference.std() + reference.mean(), 0, 255)


def finisher(hues):
    """Return what makes a picture of the optimiser's image: clipped to 0–255, with `hues` unless that is None."""

    def finish(image):
        image = np.clip(image, 0, 255)
        return image if hues is None else match_color(image, hues, "luminance")

    return finish
