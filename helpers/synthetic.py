"""Pictures drawn by code that stand in for a dataset that is not there: same shapes, same dtypes, no download."""

import hashlib
import inspect
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter1d

from helpers import archives, storage
from helpers.arguments import number
from helpers.shapes import SHAPES as SHAPES
from helpers.shapes import shapes as shapes

# Fonts that matplotlib ships. Training and test digits share none, so that knowing a font by heart is of no use.
TRAIN_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBolIta", "cmr10", "cmtt10", "cmmi10",
)  # fmt: skip
TEST_FONTS = (
    "DejaVuSans-BoldOblique", "DejaVuSansMono-Oblique", "DejaVuSerif-Bold", "DejaVuSerif-Italic",
    "STIXGeneralBol", "STIXGeneralItalic", "cmb10", "cmss10",
)  # fmt: skip

SIDE = 28  # pixels of an image
ZOOM = 3  # glyphs are drawn this many times larger, so that distorting them leaves no steps
STROKES = (0, 1, 2, 3)  # pixels added on each side of a stroke, at the larger size


def digits(train=10_000, test=2_000, seed=0):
    """Draw digits: 28×28 grey levels, white on black, of a size and place like MNIST's.

    Each is a glyph from a font, its stroke widened, then turned, scaled, sheared, shifted and bent: the affine and
    elastic distortions of Simard, Steinkraus and Platt, 2003. Noise and a blur of varying strength follow.

    Args:
        train: number of training images, from `TRAIN_FONTS`; at most a million.
        test: number of test images, from `TEST_FONTS`, which share no font with the training images.
        seed: whole number from 0; the same seed gives the same images.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 `(n, 28, 28)`, 0–255, labels int64 `(n,)`, 0–9. Every
        digit appears equally often, to within one image.

    Raises:
        ValueError: if a number is out of its range.
    """
    train, test = (number(*count, 0, 10**6, whole=True) for count in (("train", train), ("test", test)))
    random = np.random.default_rng(number("seed", seed, 0, whole=True))
    return _draw(train, TRAIN_FONTS, random), _draw(test, TEST_FONTS, random)


def cached(draw):
    """Return `draw()`, from `data/cache/` if the same code drew it before.

    A file there that is damaged is drawn again; a folder that cannot be written to costs the drawing time, no more.
    """
    recipe = inspect.getsource(inspect.getmodule(draw)) + np.__version__ + matplotlib.__version__ + PIL.__version__
    tag = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    path = storage.CACHE / f"{draw.__name__}-{tag}.npz"
    try:
        arrays = archives.load_arrays(path)
        return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])
    except (*archives.ARCHIVE_ERRORS, KeyError):
        (x_train, y_train), (x_test, y_test) = drawn = draw()
    try:
        with storage.whole_file(path) as partial:
            np.savez(partial, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    except OSError:
        pass
    return drawn


def _draw(count, fonts, random):
    glyphs = np.stack([_glyphs(font) for font in fonts])
    labels = random.permutation(np.arange(count) % 10)
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for start in range(0, count, 2000):  # in parts, to keep the arrays of coordinates small
        part = slice(start, min(start + 2000, count))
        size = len(labels[part])
        chosen = glyphs[random.integers(len(fonts), size=size), labels[part], random.integers(len(STROKES), size=size)]
        images[part] = _finish(_bilinear(chosen, *_coordinates(size, random)), random)
    return images, labels.astype(np.int64)


@lru_cache
def _glyphs(font):
    """Return a font's ten digits with each of the `STROKES`: float32 `(10, strokes, 84, 84)`, 0–1, centred by mass."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    height, side = 20 * ZOOM, SIDE * ZOOM
    big = ImageFont.truetype(str(path), 100)
    left, top, right, bottom = big.getbbox("8")
    face = ImageFont.truetype(str(path), round(100 * height / (bottom - top)))
    drawn = np.zeros((10, len(STROKES), side, side), np.float32)
    for digit in range(10):
        for index, stroke in enumerate(STROKES):
            canvas = Image.new("L", (side, side))
            pen = ImageDraw.Draw(canvas)
            pen.text((side / 2, side / 2), str(digit), font=face, fill=255, anchor="mm", stroke_width=stroke)
            drawn[digit, index] = _centred(np.asarray(canvas, np.float32) / 255)
    return drawn


def _centred(glyph):
    """Move a glyph so that its centre of mass is the centre of the picture, as MNIST's are."""
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in glyph.shape)
    down, across = (glyph.sum(1) @ rows / glyph.sum(), glyph.sum(0) @ columns / glyph.sum())
    return np.roll(glyph, (-round(down), -round(across)), (0, 1))


def _coordinates(count, random):
    """Return where in its large glyph each pixel of `count` distorted images comes from: y and x, `(n, 28, 28)`."""
    angle, shear = random.normal(0, 0.13, count), random.normal(0, 0.18, count)
    scale_y, scale_x = random.uniform(0.85, 1.2, count), random.uniform(0.8, 1.35, count)
    shift_y, shift_x = random.normal(0, 1.0, (2, count))
    grid = np.arange(SIDE) - (SIDE - 1) / 2
    y, x = grid[None, :, None], grid[None, None, :]

    def each(values):
        return values[:, None, None]

    turned_y = each(np.cos(angle) * scale_y) * y + each(np.sin(angle) * scale_y) * x + each(shift_y)
    turned_x = each((shear - np.sin(angle)) * scale_x) * y + each(np.cos(angle) * scale_x) * x + each(shift_x)
    bend_y, bend_x = (_smooth_field(count, random) for _ in range(2))
    centre = (SIDE * ZOOM - 1) / 2
    return (turned_y + bend_y) * ZOOM + centre, (turned_x + bend_x) * ZOOM + centre


def _smooth_field(count, random, smoothness=4.0, strength=1.3):
    """Return elastic displacements: white noise smoothed by a Gaussian, its standard deviation `strength` pixels."""
    field = random.normal(size=(count, SIDE, SIDE)).astype(np.float32)
    for axis in (1, 2):
        field = gaussian_filter1d(field, smoothness, axis=axis, mode="reflect")
    return field * (strength / field.std())


def _bilinear(images, y, x):
    """Sample each of `images` `(n, h, w)` at its own coordinates; outside it, the value is that of the rim."""
    height, width = images.shape[1:]
    y, x = np.clip(y, 0, height - 1.001), np.clip(x, 0, width - 1.001)
    top, left = y.astype(np.intp), x.astype(np.intp)
    down, across = (y - top).astype(np.float32), (x - left).astype(np.float32)
    flat = images.reshape(-1)
    corner = np.arange(len(images))[:, None, None] * (height * width) + top * width + left
    upper = flat[corner] * (1 - across) + flat[corner + 1] * across
    lower = flat[corner + width] * (1 - across) + flat[corner + width + 1] * across
    return upper * (1 - down) + lower * down


def _finish(images, random):
    """Blur each image by its own amount, add its own ink and noise, and return uint8."""
    blurred = images
    for axis in (1, 2):
        blurred = gaussian_filter1d(blurred, 0.8, axis=axis)

    def one_each(low, high):
        return random.uniform(low, high, (len(images), 1, 1))

    blur, ink, grain = one_each(0, 1), one_each(0.75, 1.1), one_each(0, 0.06)
    images = ink * (blur * blurred + (1 - blur) * images) + grain * random.normal(size=images.shape)
    return (np.clip(images, 0, 1) * 255).round().astype(np.uint8)
