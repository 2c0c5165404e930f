"""Synthetic images that replace a dataset where it cannot be had: same shapes and dtypes, no download.

`digits` replace MNIST, `shapes` replace CIFAR-10. A shape is a function of the plane that is positive inside it and
grows with the distance from its outline. The maximum of two such functions is a union, the minimum an intersection.
"""

import hashlib
import inspect
import sys
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter1d

from helpers import files
from helpers.check import checked, whole

# Fonts that matplotlib ships. Training and test digits share none, so that memorising a font is of no use.
TRAIN_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBolIta", "cmr10", "cmtt10", "cmmi10",
)  # fmt: skip
TEST_FONTS = (
    "DejaVuSans-BoldOblique", "DejaVuSansMono-Oblique", "DejaVuSerif-Bold", "DejaVuSerif-Italic",
    "STIXGeneralBol", "STIXGeneralItalic", "cmb10", "cmss10",
)  # fmt: skip
DIGIT_SIDE, SHAPE_SIDE = 28, 32  # pixels of an image
ZOOM = 3  # glyphs are drawn this many times larger, so that distorting them leaves no steps
STROKES = (0, 1, 2, 3)  # pixels added on each side of a stroke, at the larger size


@checked(train=whole(0, 10**6), test=whole(0, 10**6), seed=whole(0))
def digits(train=10_000, test=2_000, seed=0):
    """Draw digits in white on black, of a size and position like MNIST's.

    Each is a glyph of a font, its stroke thickened, then rotated, scaled, sheared, shifted and bent: the affine and
    elastic distortions of Simard, Steinkraus and Platt, 2003. Noise and a blur of varying strength follow.

    Args:
        train: number of training images, from `TRAIN_FONTS`; at most a million.
        test: number of test images, from `TEST_FONTS`.
        seed: whole number from 0; the same seed gives the same images.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 `(n, 28, 28)`, 0–255, labels int64 `(n,)`, 0–9. Every
        digit appears equally often, to within one image.
    """
    random = np.random.default_rng(seed)
    return _draw_digits(train, TRAIN_FONTS, random), _draw_digits(test, TEST_FONTS, random)


@checked(train=whole(0, 10**6), test=whole(0, 10**6), seed=whole(0))
def shapes(train=10_000, test=2_000, seed=0):
    """Draw shapes of any colour, size, position and angle, on a background of colours, stripes and noise.

    Only its form tells a class: colours are as likely in one class as in another, so that a linear classifier finds
    next to nothing and a convolutional network almost everything.

    Args:
        train, test: number of training and of test images, each at most a million.
        seed: whole number from 0; the same seed gives the same images.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 `(n, 32, 32, 3)`, 0–255, labels int64 `(n,)`, indices into
        `SHAPES`. Every shape appears equally often, to within one image.
    """
    random = np.random.default_rng(seed)
    return _draw_shapes(train, random), _draw_shapes(test, random)


def cached(draw):
    """Return `draw()`, from `data/cache/` if the same code and libraries drew it before.

    A damaged file there is drawn again; if the folder cannot be written to, drawing is repeated next time.
    """
    versions = np.__version__ + matplotlib.__version__ + PIL.__version__
    tag = hashlib.sha256((inspect.getsource(sys.modules[__name__]) + versions).encode()).hexdigest()[:12]
    path = files.CACHE / f"{draw.__name__}-{tag}.npz"
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        x_train, y_train, x_test, y_test = files.load_arrays(path, names).values()
    except files.ArraysError:
        (x_train, y_train), (x_test, y_test) = draw()
        try:
            with files.whole_file(path) as partial:
                np.savez(partial, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
        except files.UnwritableError:
            pass
    return (x_train, y_train), (x_test, y_test)


# Digits


def _draw_digits(count, fonts, random):
    glyphs = np.stack([_glyphs(font) for font in fonts])
    labels = random.permutation(np.arange(count) % 10)
    images = np.empty((count, DIGIT_SIDE, DIGIT_SIDE), np.uint8)
    for start in range(0, count, 2000):  # in parts, to keep the arrays of coordinates small
        part = slice(start, min(start + 2000, count))
        size = len(labels[part])
        chosen = glyphs[random.integers(len(fonts), size=size), labels[part], random.integers(len(STROKES), size=size)]
        images[part] = _with_ink(_bilinear(chosen, *_coordinates(size, random)), random)
    return images, labels.astype(np.int64)


@lru_cache
def _glyphs(font):
    """Return a font's ten digits with each of the `STROKES`: float32 `(10, strokes, 84, 84)`, 0–1, centred by mass."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    height, side = 20 * ZOOM, DIGIT_SIDE * ZOOM
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
    """Move a glyph's centre of mass to the centre of the image, as in MNIST."""
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in glyph.shape)
    down, across = (glyph.sum(1) @ rows / glyph.sum(), glyph.sum(0) @ columns / glyph.sum())
    return np.roll(glyph, (-round(down), -round(across)), (0, 1))


def _coordinates(count, random):
    """Return where in its large glyph each pixel of `count` distorted images comes from: y and x, `(n, 28, 28)`."""
    angle, shear = random.normal(0, 0.13, count), random.normal(0, 0.18, count)
    scale_y, scale_x = random.uniform(0.85, 1.2, count), random.uniform(0.8, 1.35, count)
    shift_y, shift_x = random.normal(0, 1.0, (2, count))
    grid = np.arange(DIGIT_SIDE) - (DIGIT_SIDE - 1) / 2
    y, x = grid[None, :, None], grid[None, None, :]

    def each(values):
        return values[:, None, None]

    turned_y = each(np.cos(angle) * scale_y) * y + each(np.sin(angle) * scale_y) * x + each(shift_y)
    turned_x = each((shear - np.sin(angle)) * scale_x) * y + each(np.cos(angle) * scale_x) * x + each(shift_x)
    bend_y, bend_x = (_smooth_field(count, random) for _ in range(2))
    centre = (DIGIT_SIDE * ZOOM - 1) / 2
    return (turned_y + bend_y) * ZOOM + centre, (turned_x + bend_x) * ZOOM + centre


def _smooth_field(count, random, smoothness=4.0, strength=1.3):
    """Return elastic displacements: white noise smoothed by a Gaussian, its standard deviation `strength` pixels."""
    field = random.normal(size=(count, DIGIT_SIDE, DIGIT_SIDE)).astype(np.float32)
    for axis in (1, 2):
        field = gaussian_filter1d(field, smoothness, axis=axis, mode="reflect")
    return field * (strength / field.std())


def _bilinear(images, y, x):
    """Sample each of `images` `(n, h, w)` at its own coordinates; outside it, the value is that of its border."""
    height, width = images.shape[1:]
    y, x = np.clip(y, 0, height - 1.001), np.clip(x, 0, width - 1.001)
    top, left = y.astype(np.intp), x.astype(np.intp)
    down, across = (y - top).astype(np.float32), (x - left).astype(np.float32)
    flat = images.reshape(-1)
    corner = np.arange(len(images))[:, None, None] * (height * width) + top * width + left
    upper = flat[corner] * (1 - across) + flat[corner + 1] * across
    lower = flat[corner + width] * (1 - across) + flat[corner + width + 1] * across
    return upper * (1 - down) + lower * down


def _with_ink(images, random):
    """Blur each image by its own amount, add its own ink and noise, and return uint8."""
    blurred = images
    for axis in (1, 2):
        blurred = gaussian_filter1d(blurred, 0.8, axis=axis)
    blur, ink, grain = (
        random.uniform(low, high, (len(images), 1, 1)) for low, high in ((0, 1), (0.75, 1.1), (0, 0.06))
    )
    images = ink * (blur * blurred + (1 - blur) * images) + grain * random.normal(size=images.shape)
    return (np.clip(images, 0, 1) * 255).round().astype(np.uint8)


# Shapes


def _disc(x, y, radius=1.0):
    return radius - np.hypot(x, y)


def _box(x, y, width, height):
    """A rectangle; `width` and `height` are halves."""
    return np.minimum(width - abs(x), height - abs(y))


def _wedge(x, y, corners):
    """Polar coordinates in which one of `corners` equal slices of the plane stands for all of them."""
    turn = 2 * np.pi / corners
    angle = np.arctan2(y, x)
    return np.hypot(x, y), angle - turn * np.round(angle / turn)


def _triangle(x, y):
    radius, angle = _wedge(x, y, 3)
    return 0.6 - radius * np.cos(angle)


def _star(x, y, inner=0.42):
    radius, angle = _wedge(x, y, 5)
    # the straight line from a tip, (1, 0), to the notch beside it, (inner, 36°)
    notch = inner * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    normal = np.array([notch[1], 1 - notch[0]]) / np.hypot(notch[1], 1 - notch[0])
    return normal[0] * (1 - radius * np.cos(angle)) - normal[1] * abs(radius * np.sin(angle))


def _heart(x, y, half=0.52):
    u, v = (x + y) / np.sqrt(2) + 0.25, (y - x) / np.sqrt(2) + 0.25
    lobes = np.maximum(_disc(u - half, v, half), _disc(u, v - half, half))
    return np.maximum(_box(u, v, half, half), lobes)


def _arrow(x, y):
    head = np.minimum(x + 0.05, (1 - x - abs(y) * 1.2) / 1.56)
    return np.maximum(head, _box(x + 0.45, y, 0.55, 0.22))


INSIDE = {
    "disc": _disc,
    "ring": lambda x, y: np.minimum(_disc(x, y), -_disc(x, y, 0.55)),
    "square": lambda x, y: _box(x, y, 0.8, 0.8),
    "triangle": _triangle,
    "star": _star,
    "cross": lambda x, y: np.maximum(_box(x, y, 1, 0.3), _box(x, y, 0.3, 1)),
    "crescent": lambda x, y: np.minimum(_disc(x, y), -_disc(x - 0.55, y, 0.85)),
    "heart": _heart,
    "arrow": _arrow,
    "bars": lambda x, y: np.maximum(_box(x, y - 0.5, 0.95, 0.25), _box(x, y + 0.5, 0.95, 0.25)),
}
SHAPES = tuple(INSIDE)


def _draw_shapes(count, random):
    labels = random.permutation(np.arange(count) % len(SHAPES))
    images = np.empty((count, SHAPE_SIDE, SHAPE_SIDE, 3), np.uint8)
    for start in range(0, count, 1000):  # in parts, to keep the arrays of coordinates small
        part = slice(start, min(start + 1000, count))
        cover = _cover(labels[part], random)[..., None]
        background, ink = _colours(len(cover), random)
        noisy = background * (1 - cover) + ink * cover
        grain = _each(random, 2, 18, len(cover))[..., None]
        noisy = noisy + grain * random.standard_normal(noisy.shape, np.float32)
        images[part] = np.clip(noisy, 0, 255).round().astype(np.uint8)
    return images, labels.astype(np.int64)


def _cover(labels, random):
    """Return the fraction of each pixel that its shape covers: `(n, 32, 32)`, 0–1."""
    count = len(labels)
    size, angle = _each(random, 6, 11, count), _each(random, 0, 2 * np.pi, count)
    stretch = _each(random, 0.85, 1.18, count)
    grid = np.arange(SHAPE_SIDE, dtype=np.float32) - (SHAPE_SIDE - 1) / 2
    down, across = grid[:, None] - _each(random, -4, 4, count), grid - _each(random, -4, 4, count)
    sine, cosine = np.sin(angle), np.cos(angle)
    x = (cosine * across + sine * down) / (size * stretch)
    y = (cosine * down - sine * across) / (size / stretch)
    distance = np.empty_like(x)
    for label, inside in enumerate(INSIDE.values()):
        distance[labels == label] = inside(x[labels == label], y[labels == label])
    return np.clip(distance * size + 0.5, 0, 1)  # a pixel on the outline is partly covered


def _colours(count, random):
    """Return backgrounds and inks, `(n, 32, 32, 3)`, 0–255, which differ by 60 to 120 grey levels on average."""
    ground = _patches(count, random, 40) + _stripes(count, random, 25)
    tint = random.uniform(30, 225, (count, 1, 1, 3)).astype(np.float32)
    away = random.standard_normal((count, 1, 1, 3), np.float32)
    away *= _each(random, 60, 120, count)[..., None] / np.sqrt(np.mean(away**2, axis=-1, keepdims=True))
    away = np.where((tint + away < 0) | (tint + away > 255), -away, away)
    return tint + ground, tint + away + _patches(count, random, 20) + _stripes(count, random, 12)


def _patches(count, random, strength):
    """Return soft patches of colour: a few random values, interpolated."""
    few = strength * random.standard_normal((count, 4, 4, 3), np.float32)
    steps = np.linspace(0, 3, SHAPE_SIDE)
    between = np.stack([np.interp(steps, range(4), one) for one in np.eye(4)], 1).astype(np.float32)
    return np.einsum("yi,xj,nijc->nyxc", between, between, few, optimize=True)


def _stripes(count, random, strength):
    """Return waves, each image's with its own direction, length and colour."""
    angle, length, phase = (_each(random, *limits, count) for limits in ((0, np.pi), (3, 12), (0, 2 * np.pi)))
    y, x = np.mgrid[:SHAPE_SIDE, :SHAPE_SIDE].astype(np.float32)
    waves = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / length + phase)
    return waves[..., None] * (strength * random.standard_normal((count, 1, 1, 3), np.float32))


def _each(random, low, high, count):
    """Return one random number for each image, float32 `(count, 1, 1)`."""
    return random.uniform(low, high, (count, 1, 1)).astype(np.float32)
