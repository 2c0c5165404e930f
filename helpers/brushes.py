"""What a painter in code needs: soft noise, strokes with bristles along a flow, light on thick paint, paper.

Positions are `(x, y)` in pixels of the finished picture, colours are RGB 0–255. A `Canvas` is painted at twice its size
and shrunk at the end, which smooths every edge.
"""

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

OVERSIZE = 2


class Canvas:
    """A sheet to paint on, with a height for every pixel, so that light can fall on thick paint.

    Args:
        shape: `(height, width)` in pixels.
        color: of the ground.
    """

    def __init__(self, shape, color):  # noqa: D107 - the class says it
        self.shape = shape
        size = (shape[1] * OVERSIZE, shape[0] * OVERSIZE)
        self.paint, self.height = Image.new("RGB", size, _whole(color)), Image.new("L", size, 0)
        self._draw, self._raise = ImageDraw.Draw(self.paint), ImageDraw.Draw(self.height)

    def line(self, points, color, width, height=None):
        """Draw a line with round ends through `points`, `(count, 2)`."""
        points = [tuple(point) for point in np.asarray(points) * OVERSIZE]
        width = max(1, round(width * OVERSIZE))
        layers = [(self._draw, _whole(color))] + ([] if height is None else [(self._raise, int(height))])
        for draw, fill in layers:
            draw.line(points, fill, width, joint="curve")
            for x, y in (points[0], points[-1]) if width > 2 else ():
                draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill)

    def polygon(self, points, color, outline=None, width=1):
        """Fill the polygon through `points`, `(count, 2)`; `outline` is the colour of its edge."""
        points = [tuple(point) for point in np.asarray(points) * OVERSIZE]
        self._draw.polygon(points, _whole(color))
        if outline is not None:
            self._draw.line([*points, points[0]], _whole(outline), max(1, round(width * OVERSIZE)), joint="curve")

    def disc(self, center, radius, color, outline=None, width=1, height=None):
        """Fill a disc; `outline` is the colour of its edge."""
        box = [(value - radius) * OVERSIZE for value in center] + [(value + radius) * OVERSIZE for value in center]
        edge = None if outline is None else _whole(outline)
        self._draw.ellipse(box, _whole(color), edge, max(1, round(width * OVERSIZE)) if edge else 0)
        if height is not None:
            self._raise.ellipse(box, int(height))

    def stroke(self, points, color, width, random, bristles=6, contrast=14):
        """Draw a brush stroke: parallel bristles, each with a colour and a load of paint of its own.

        Args:
            points: `(count, 2)`, at least two of them.
            color: of the paint.
            width: of the brush, in pixels.
            random: a NumPy generator.
            bristles: how many.
            contrast: how far a bristle's brightness strays, in grey levels.
        """
        points = np.asarray(points, float)
        along = np.gradient(points, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
        taper = np.sin(np.linspace(0.35, np.pi - 0.25, len(points)))[:, None] ** 0.5
        gap = width / bristles
        for place in random.permutation(bristles):
            shifted = points + across * taper * gap * (place - (bristles - 1) / 2)
            begin, end = random.integers(0, 2), len(points) - random.integers(0, 2)
            if end - begin < 2:
                begin, end = 0, len(points)
            tint = color + random.normal(0, contrast) + random.normal(0, contrast / 4, 3)
            self.line(shifted[begin:end], tint, gap * 1.5, random.integers(60, 255))

    def picture(self, relief=0.0, light=(-0.7, -0.7)):
        """Return the picture, float32 `(height, width, 3)`, 0–255.

        Args:
            relief: how strongly the light falls on thick paint; 0 is flat.
            light: from where, `(x, y)`.
        """
        paint = np.asarray(self.paint, np.float32)
        if relief:
            down, across = np.gradient(gaussian_filter(np.asarray(self.height, np.float32), 0.9) / 255)
            shade = relief * (light[0] * across + light[1] * down)
            paint = paint * (1 + np.clip(shade, -0.35, 0.4))[..., None] + 90 * np.clip(shade - 0.08, 0, 0.4)[..., None]
        return shrink(paint)


def shrink(pixels):
    """Return an array at the finished size: each pixel is the mean of its `OVERSIZE`² parts, clipped to 0–255."""
    height, width = pixels.shape[0] // OVERSIZE, pixels.shape[1] // OVERSIZE
    return np.clip(pixels.reshape(height, OVERSIZE, width, OVERSIZE, -1).mean(axis=(1, 3)), 0, 255).astype(np.float32)


def noise(shape, grain, random, octaves=3):
    """Return soft fractal noise, `(height, width)`, of mean 0 and standard deviation 1.

    Args:
        shape: `(height, width)`.
        grain: size of the largest blots, in pixels; each octave halves it.
        random: a NumPy generator.
        octaves: how many sizes.
    """
    total = np.zeros(shape)
    for octave in range(octaves):
        size = max(grain / 2**octave, 1)
        coarse = random.normal(size=(int(shape[0] / size) + 4, int(shape[1] / size) + 4))
        fine = zoom(coarse, (shape[0] / (coarse.shape[0] - 3), shape[1] / (coarse.shape[1] - 3)), order=3)
        total += fine[: shape[0], : shape[1]] / 2**octave
    return (total - total.mean()) / total.std()


def at(field, points):
    """Return the values of `field`, `(height, width, …)`, at `points`, `(…, 2)`; beyond the edge, the edge's own."""
    points = np.asarray(points)
    row = np.clip(np.rint(points[..., 1]), 0, field.shape[0] - 1).astype(int)
    column = np.clip(np.rint(points[..., 0]), 0, field.shape[1] - 1).astype(int)
    return field[row, column]


def follow(angle, starts, length, count=8):
    """Return paths along a flow: `(starts, count, 2)`, centred on the starts.

    Args:
        angle: direction of the flow, `(height, width)`, radians.
        starts: `(starts, 2)`.
        length: of the paths in pixels, one number or one for each start.
        count: points on each path.
    """
    starts = np.asarray(starts, float)
    step = (np.broadcast_to(length, len(starts)) / (count - 1))[:, None]
    halves = []
    for sign in (-1, 1):
        points, half = starts, []
        for _ in range((count + 1) // 2):
            direction = at(angle, points)
            points = points + sign * step * np.stack([np.cos(direction), np.sin(direction)], axis=1)
            half.append(points)
        halves.append(half)
    return np.stack(halves[0][::-1] + [starts] + halves[1], axis=1)


def scattered(shape, gap, random):
    """Return points about `gap` pixels apart that cover a sheet of `shape`, in random order, `(count, 2)`."""
    height, width = shape
    y, x = np.mgrid[-gap : height + gap : gap, -gap : width + gap : gap]
    points = np.stack([x.ravel(), y.ravel()], axis=1) + random.uniform(-gap / 2, gap / 2, (x.size, 2))
    return random.permutation(points)


def smear(values, angle, length):
    """Return `values` averaged along a flow (line integral convolution, Cabral and Leedom 1993): streaks as of a brush.

    Args:
        values, angle: `(height, width)`.
        length: of the streaks, in pixels.
    """
    row, column = np.mgrid[: values.shape[0], : values.shape[1]].astype(float)
    total = values.copy()
    for sign in (-1, 1):
        y, x = row.copy(), column.copy()
        for _ in range(length // 2):
            direction = at(angle, np.stack([x, y], axis=-1))
            x, y = x + sign * np.cos(direction), y + sign * np.sin(direction)
            total += map_coordinates(values, [y, x], order=1, mode="nearest")
    return total / (2 * (length // 2) + 1)


def paper(shape, random, strength=4.0):
    """Return the fibres of a sheet of paper: a brightness to add, `(height, width, 1)`, in grey levels."""
    fine = gaussian_filter(random.normal(size=shape), 0.8)
    fibres = gaussian_filter(random.normal(size=shape), (0.7, 3)) + gaussian_filter(random.normal(size=shape), (3, 0.7))
    return (
        strength * (fine / fine.std() + fibres / fibres.std())[..., None] / 2
        + 1.5 * noise(shape, 120, random)[..., None]
    )


def mix(first, second, amount):
    """Return colours between `first` (amount 0) and `second` (amount 1); amounts may be arrays."""
    amount = np.clip(np.asarray(amount, float), 0, 1)[..., None]
    return np.asarray(first, float) * (1 - amount) + np.asarray(second, float) * amount


def ramp(colors, amount):
    """Return colours along a list of them, evenly spaced, for `amount` 0–1 (an array)."""
    colors = np.asarray(colors, float)
    places = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(amount, places, colors[:, channel]) for channel in range(3)], axis=-1)


def _whole(color):
    return tuple(int(value) for value in np.clip(np.rint(color), 0, 255))
