"""Ten drawn classes of 32×32 RGB pictures that stand in for CIFAR-10.

A shape is a function of the plane, positive inside it: its distance from the rim, or close to that. The larger of
two such functions is the union of two shapes, the smaller one is what they share.
"""

import numpy as np

from helpers.arguments import number

SIDE = 32  # pixels of an image


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


def shapes(train=10_000, test=2_000, seed=0):
    """Draw shapes of any colour, size, place and angle, before a ground of colours, stripes and noise.

    What tells a class is its form alone: colours are as likely in one class as in another, so that a linear classifier
    finds next to nothing and a convolutional network almost everything.

    Args:
        train, test: number of training and of test images, each at most a million.
        seed: whole number from 0; the same seed gives the same images.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 `(n, 32, 32, 3)`, 0–255, labels int64 `(n,)`, indices into
        `SHAPES`. Every shape appears equally often, to within one image.

    Raises:
        ValueError: if a number is out of its range.
    """
    train, test = (number(*count, 0, 10**6, whole=True) for count in (("train", train), ("test", test)))
    random = np.random.default_rng(number("seed", seed, 0, whole=True))
    return _draw(train, random), _draw(test, random)


def _draw(count, random):
    labels = random.permutation(np.arange(count) % len(SHAPES))
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for start in range(0, count, 1000):  # in parts, to keep the arrays of coordinates small
        part = slice(start, min(start + 1000, count))
        cover = _cover(labels[part], random)[..., None]
        ground, ink = _colours(len(cover), random)
        images[part] = _finish(ground * (1 - cover) + ink * cover, random)
    return images, labels.astype(np.int64)


def _cover(labels, random):
    """Return how much of each pixel its shape covers: `(n, 32, 32)`, 0–1."""
    count = len(labels)
    size, angle = _each(random, 6, 11, count), _each(random, 0, 2 * np.pi, count)
    stretch = _each(random, 0.85, 1.18, count)
    grid = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    down, across = grid[:, None] - _each(random, -4, 4, count), grid - _each(random, -4, 4, count)
    sine, cosine = np.sin(angle), np.cos(angle)
    x = (cosine * across + sine * down) / (size * stretch)
    y = (cosine * down - sine * across) / (size / stretch)
    distance = np.empty_like(x)
    for label, inside in enumerate(INSIDE.values()):
        distance[labels == label] = inside(x[labels == label], y[labels == label])
    return np.clip(distance * size + 0.5, 0, 1)  # a pixel through which the rim goes is covered in part


def _colours(count, random):
    """Return grounds and inks, `(n, 32, 32, 3)`, 0–255; an ink is 60 to 120 grey levels off its ground on average."""
    ground = _patches(count, random, 40) + _stripes(count, random, 25)
    tint = random.uniform(30, 225, (count, 1, 1, 3)).astype(np.float32)
    away = random.standard_normal((count, 1, 1, 3), np.float32)
    away *= _each(random, 60, 120, count)[..., None] / np.sqrt(np.mean(away**2, axis=-1, keepdims=True))
    away = np.where((tint + away < 0) | (tint + away > 255), -away, away)
    return tint + ground, tint + away + _patches(count, random, 20) + _stripes(count, random, 12)


def _patches(count, random, strength):
    """Return soft patches of colour: a few random values, interpolated."""
    few = strength * random.standard_normal((count, 4, 4, 3), np.float32)
    between = np.stack([np.interp(np.linspace(0, 3, SIDE), range(4), one) for one in np.eye(4)], 1).astype(np.float32)
    return np.einsum("yi,xj,nijc->nyxc", between, between, few, optimize=True)


def _stripes(count, random, strength):
    """Return waves in a direction, of a length and of a colour of their own for each image."""
    angle, length, phase = (_each(random, *limits, count) for limits in ((0, np.pi), (3, 12), (0, 2 * np.pi)))
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    waves = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / length + phase)
    return waves[..., None] * (strength * random.standard_normal((count, 1, 1, 3), np.float32))


def _finish(images, random):
    """Add noise of each image's own strength and return uint8."""
    grain = _each(random, 2, 18, len(images))[..., None]
    return np.clip(images + grain * random.standard_normal(images.shape, np.float32), 0, 255).round().astype(np.uint8)


def _each(random, low, high, count):
    """Return one random number for each image, float32 `(count, 1, 1)`."""
    return random.uniform(low, high, (count, 1, 1)).astype(np.float32)
