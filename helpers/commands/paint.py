"""Paint the six style images that ship with the course and write them to `data/images/`.

Each painting is a function of its size and a random generator: the same seed gives the same painting.
"""

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, zoom
from scipy.spatial import cKDTree

from helpers.images import FOLDER, save_image

SHAPE = (672, 864)  # height and width in pixels
OVERSIZE = 2  # a canvas is painted at twice its size and shrunk at the end, which smooths every edge


def add_arguments(parser):
    """Add the options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(PAINTINGS)} (default: all)")


def run(arguments):
    """Paint, save, and print the size of each file."""
    if unknown := set(arguments.names) - PAINTINGS.keys():
        raise SystemExit(f"No painting is called {', '.join(sorted(unknown))}. There are {', '.join(PAINTINGS)}.")
    for name in arguments.names or PAINTINGS:
        path = FOLDER / f"{name}.jpg"
        save_image(path, paint(name), quality=88)
        print(f"{name}: {path.stat().st_size / 1000:.0f} KB")


def paint(name, shape=SHAPE, seed=7):
    """Return a painting of `PAINTINGS`, RGB, float32 `(height, width, 3)`, 0–255; strokes keep their size in pixels."""
    return PAINTINGS[name](shape, np.random.default_rng(seed))


# Brushes. Positions are (x, y) in pixels of the finished picture, colours are RGB 0–255.


class Canvas:
    """A canvas of one colour, with a height for every pixel, so that light can fall on thick paint."""

    def __init__(self, shape, color):
        """Prime a canvas of `(height, width)` pixels."""
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

    def polygon(self, points, color):
        """Fill the polygon through `points`, `(count, 2)`."""
        self._draw.polygon([tuple(point) for point in np.asarray(points) * OVERSIZE], _whole(color))

    def disc(self, center, radius, color, outline=None, width=1, height=None):
        """Fill a disc; `outline` is the colour of its edge."""
        box = [(value - radius) * OVERSIZE for value in center] + [(value + radius) * OVERSIZE for value in center]
        edge = None if outline is None else _whole(outline)
        self._draw.ellipse(box, _whole(color), edge, max(1, round(width * OVERSIZE)) if edge else 0)
        if height is not None:
            self._raise.ellipse(box, int(height))

    def stroke(self, points, color, width, random, bristles=6, contrast=14):
        """Draw a brush stroke of parallel bristles; the brightness of each varies by about `contrast` grey levels."""
        points = np.asarray(points, float)
        along = np.gradient(points, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
        taper = np.sin(np.linspace(0.35, np.pi - 0.25, len(points)))[:, None] ** 0.5
        gap = width / bristles
        for bristle in random.permutation(bristles):
            shifted = points + across * taper * gap * (bristle - (bristles - 1) / 2)
            begin, end = random.integers(0, 2), len(points) - random.integers(0, 2)
            if end - begin < 2:
                begin, end = 0, len(points)
            tint = color + random.normal(0, contrast) + random.normal(0, contrast / 4, 3)
            self.line(shifted[begin:end], tint, gap * 1.5, random.integers(60, 255))

    def picture(self, relief=0.0):
        """Return float32 `(height, width, 3)`, 0–255, lit from the upper left; `relief` 0 is flat."""
        paint = np.asarray(self.paint, np.float32)
        if relief:
            down, across = np.gradient(gaussian_filter(np.asarray(self.height, np.float32), 0.9) / 255)
            shade = relief * (-0.7 * across + -0.7 * down)
            paint = paint * (1 + np.clip(shade, -0.35, 0.4))[..., None] + 90 * np.clip(shade - 0.08, 0, 0.4)[..., None]
        return shrink(paint)


def shrink(pixels):
    """Return `pixels` at the finished size, each the mean of `OVERSIZE`² of them, float32, clipped to 0–255."""
    height, width = pixels.shape[0] // OVERSIZE, pixels.shape[1] // OVERSIZE
    return np.clip(pixels.reshape(height, OVERSIZE, width, OVERSIZE, -1).mean(axis=(1, 3)), 0, 255).astype(np.float32)


def noise(shape, grain, random, octaves=3):
    """Return fractal noise of mean 0 and deviation 1; its largest blots have `grain` pixels, each octave halves it."""
    total = np.zeros(shape)
    for octave in range(octaves):
        size = max(grain / 2**octave, 1)
        coarse = random.normal(size=(int(shape[0] / size) + 4, int(shape[1] / size) + 4))
        fine = zoom(coarse, (shape[0] / (coarse.shape[0] - 3), shape[1] / (coarse.shape[1] - 3)), order=3)
        total += fine[: shape[0], : shape[1]] / 2**octave
    return (total - total.mean()) / total.std()


def at(field, points):
    """Return the values of `field`, `(height, width, …)`, at `points`, `(…, 2)`; outside, those of the nearest edge."""
    row = np.clip(np.rint(points[..., 1]), 0, field.shape[0] - 1).astype(int)
    column = np.clip(np.rint(points[..., 0]), 0, field.shape[1] - 1).astype(int)
    return field[row, column]


def follow(angle, starts, lengths):
    """Return paths `(starts, 9, 2)` of these lengths along a flow of directions `angle`, centred on the starts."""
    step = (lengths / 7)[:, None]
    halves = []
    for sign in (-1, 1):
        points, half = starts, []
        for _ in range(4):
            direction = at(angle, points)
            points = points + sign * step * np.stack([np.cos(direction), np.sin(direction)], axis=1)
            half.append(points)
        halves.append(half)
    return np.stack(halves[0][::-1] + [starts] + halves[1], axis=1)


def scattered(shape, gap, random):
    """Return points about `gap` pixels apart that cover `(height, width)`, in random order, `(count, 2)`."""
    height, width = shape
    y, x = np.mgrid[-gap : height + gap : gap, -gap : width + gap : gap]
    points = np.stack([x.ravel(), y.ravel()], axis=1) + random.uniform(-gap / 2, gap / 2, (x.size, 2))
    return random.permutation(points)


def smear(values, angle, length):
    """Return `values` averaged over `length` pixels along a flow (line integral convolution, Cabral & Leedom 1993)."""
    row, column = np.mgrid[: values.shape[0], : values.shape[1]].astype(float)
    total = values.copy()
    for sign in (-1, 1):
        y, x = row.copy(), column.copy()
        for _ in range(length // 2):
            direction = at(angle, np.stack([x, y], axis=-1))
            x, y = x + sign * np.cos(direction), y + sign * np.sin(direction)
            total += map_coordinates(values, [y, x], order=1, mode="nearest")
    return total / (2 * (length // 2) + 1)


def paper(shape, random, strength):
    """Return the fibres of a sheet of paper: grey levels to add, `(height, width, 1)`."""
    fine = gaussian_filter(random.normal(size=shape), 0.8)
    fibres = gaussian_filter(random.normal(size=shape), (0.7, 3)) + gaussian_filter(random.normal(size=shape), (3, 0.7))
    texture = strength * (fine / fine.std() + fibres / fibres.std())[..., None] / 2
    return texture + 1.5 * noise(shape, 120, random)[..., None]


def mix(first, second, amount):
    """Return colours between `first` (amount 0) and `second` (amount 1); each may be an array."""
    amount = np.clip(np.asarray(amount, float), 0, 1)[..., None]
    return np.asarray(first, float) * (1 - amount) + np.asarray(second, float) * amount


def ramp(colors, amount):
    """Return colours along a list of evenly spaced ones; `amount` is an array, 0–1."""
    colors = np.asarray(colors, float)
    places = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(amount, places, colors[:, channel]) for channel in range(3)], axis=-1)


def _whole(color):
    return tuple(int(value) for value in np.clip(np.rint(color), 0, 255))


def _pil(pixels):
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


# Paintings.


def night_swirls(shape, random):
    """Oil: a night sky that turns about its stars, over dark hills."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(float)
    stars = [(0.80, 0.17, 52), (0.12, 0.13, 26), (0.33, 0.09, 18), (0.27, 0.36, 22), (0.55, 0.12, 20), (0.93, 0.45, 22)]
    stars = [(a * width, b * height, radius * height / 672) for a, b, radius in stars]
    whirls = [(0.45 * width, 0.36 * height, 0.24 * height, 1, 7), (0.66 * width, 0.47 * height, 0.15 * height, -1, 7)]
    whirls += [(a, b, 2.4 * radius, 1 if index % 2 else -1, 16) for index, (a, b, radius) in enumerate(stars)]

    across, down = np.ones(shape), 0.35 * np.sin(x / width * 9 + y / height * 4)
    arms = np.zeros(shape)
    for center_x, center_y, radius, turn, strength in whirls:
        distance = np.hypot(x - center_x, y - center_y)
        pull = strength * np.exp(-((distance / radius) ** 2))
        across, down = across - turn * pull * (y - center_y) / radius, down + turn * pull * (x - center_x) / radius
        bearing = np.arctan2(y - center_y, x - center_x)
        arms += np.cos(distance / radius * 7 - turn * bearing) * np.exp(-((distance / radius) ** 2) * 0.9)
    angle = np.arctan2(down, across)

    blues = [(14, 24, 74), (26, 52, 128), (44, 92, 164), (96, 150, 178), (150, 178, 150)]
    sky = ramp(blues, (y / height / 0.78) ** 1.25)
    sky = mix(sky, (152, 196, 214), 0.62 * np.clip(arms, 0, 1) + 0.10 * np.clip(noise(shape, 60, random), 0, 2))
    sky = mix(sky, (10, 18, 62), 0.65 * np.clip(-arms, 0, 1))
    for center_x, center_y, radius in stars:
        distance = np.hypot(x - center_x, y - center_y) / radius
        sky = mix(sky, (226, 190, 70), 0.9 * np.exp(-((distance / 1.55) ** 2)))
        sky = mix(sky, (242, 226, 130), np.exp(-(((distance - 1.35) / 0.25) ** 2)) * 0.7)
        sky = mix(sky, (255, 248, 206), np.exp(-((distance / 0.75) ** 4)))
    ridge = height * (0.77 + 0.035 * np.sin(x / width * 7 + 1) + 0.025 * np.sin(x / width * 17))
    slope = np.arctan2(np.gradient(ridge, axis=1), 1)
    near = height * (0.88 + 0.03 * np.sin(x / width * 5 + 4))
    hills = mix((26, 58, 92), (12, 26, 46), (y - ridge) / (0.12 * height))
    hills = mix(hills, (58, 104, 112), 0.7 * (np.sin((y - ridge) / 9 + 2 * noise(shape, 50, random)) > 0.45))
    field = mix((34, 62, 44), (122, 118, 44), 0.5 + 0.5 * np.sin((y - near) / 7 + x / 60))
    scene = np.where((y > near)[..., None], field, np.where((y > ridge)[..., None], hills, sky))
    angle = np.where(y > ridge, slope + 0.25 * np.sin(x / 40), angle)

    canvas = Canvas(shape, (20, 34, 84))
    for gap, brush, length in ((11, 15, 62), (8, 9, 44), (6.5, 6, 30)):
        starts = scattered(shape, gap, random)
        paths = follow(angle, starts, length * random.uniform(0.7, 1.2, len(starts)))
        colors = at(scene, starts) + random.normal(0, 9, (len(starts), 1)) + random.normal(0, 5, (len(starts), 3))
        for path, color in zip(paths, colors, strict=True):
            canvas.stroke(path, color, brush * random.uniform(0.8, 1.15), random)
    _cypress(canvas, shape, random)
    return canvas.picture(relief=1.1)


def _cypress(canvas, shape, random):
    """Paint a dark tree of flame-like strokes that reaches from the ground into the sky."""
    height, width = shape
    foot, top = np.array([0.175 * width, 1.02 * height]), 0.26 * height
    for _ in range(900):
        rise = random.uniform(0, 1) ** 0.8
        spread = 0.062 * width * (1 - rise) ** 0.7 * (0.75 + 0.25 * np.sin(rise * 14))
        x, y = foot[0] + random.normal(0, 0.5) * spread + 6 * np.sin(rise * 9), foot[1] - rise * (foot[1] - top)
        bend = random.normal(0, 3.5)
        t = np.linspace(0, 1, 7)
        path = np.stack([x + bend * np.sin(t * np.pi * 1.3) + 5 * np.sin(rise * 9 + t * 3), y - 46 * t], axis=1)
        color = mix((10, 22, 22), (48, 70, 36), random.uniform(0, 1) ** 2)
        color = color + (random.random() < 0.07) * np.array([52, 36, 6])
        canvas.stroke(path, color, random.uniform(4, 9), random, bristles=4, contrast=9)


def stained_glass(shape, random):
    """Glass and lead: a rose window, lit from behind."""
    oversize = (shape[0] * 2, shape[1] * 2)
    height, width = oversize
    center, unit = np.array([0.5 * width, 0.5 * height]), height / 2
    panes, inks = _rose(center, unit)
    outside = scattered(oversize, unit * 0.17, random)
    outside = outside[np.linalg.norm(outside - center, axis=1) > 0.985 * unit]
    corner = np.array([(24, 60, 138), (16, 96, 120), (36, 120, 92), (66, 44, 128), (190, 134, 36)])
    choice = random.choice(5, len(outside), p=[0.34, 0.24, 0.18, 0.16, 0.08])
    panes, inks = np.concatenate([panes, outside]), np.concatenate([inks, corner[choice]])
    y, x = np.mgrid[:height, :width].astype(float)
    warp = 5 * np.stack([noise(oversize, 160, random), noise(oversize, 160, random)], axis=-1)
    distance, nearest = cKDTree(panes).query((np.stack([x, y], axis=-1) + warp).reshape(-1, 2), k=2)
    distance, pane = distance.reshape(*oversize, 2), nearest[:, 0].reshape(oversize)
    apart = np.linalg.norm(panes[nearest[:, 0]] - panes[nearest[:, 1]], axis=1).reshape(oversize)
    edge = (distance[..., 1] ** 2 - distance[..., 0] ** 2) / (2 * np.maximum(apart, 1))  # pixels to the border

    turn = random.uniform(0, np.pi, len(panes))[pane]
    streaks = smear(noise(oversize, 14, random), turn, 40)
    streaks /= streaks.std()
    tone = random.normal(0, 0.12, len(panes))[pane] + 0.13 * streaks + 0.10 * noise(oversize, 260, random)
    glow = np.exp(-(np.hypot((x - center[0]) / unit, (y - center[1]) / unit) ** 2) * 0.55)
    depth = np.clip(edge / 30, 0, 1)
    glass = inks[pane] * (0.62 + 0.30 * depth + 0.35 * glow + tone)[..., None]
    glass += (255 - glass) * (0.20 * np.clip(streaks - 0.6, 0, 2) * depth)[..., None]
    bubbles = gaussian_filter((random.random(oversize) > 0.9997).astype(float), 1.6) * 14
    glass += 70 * np.clip(bubbles, 0, 1)[..., None]

    lead_width = (8.5 + 1.2 * noise(oversize, 90, random)) * unit / 672
    lead = np.clip(lead_width - edge + 0.5, 0, 1)[..., None]
    round_top = np.clip(1 - edge / lead_width, 0, 1)
    metal = (22 + 34 * np.sqrt(round_top) + 9 * noise(oversize, 12, random))[..., None] * np.array([1.0, 1.0, 1.06])
    return shrink(np.clip(glass, 0, 255) * (1 - lead) + np.clip(metal, 0, 255) * lead)


def _rose(center, unit):
    """Return middles and colours of the panes of a rose window."""
    red, amber, blue, violet, sky = (188, 24, 34), (240, 168, 34), (28, 58, 172), (112, 34, 132), (70, 150, 206)
    rings = [(0.0, 1, 0, [amber]), (0.15, 8, 0, [(250, 214, 92)]), (0.30, 8, 0, [red]), (0.335, 8, 0.5, [violet])]
    rings += [(0.46, 16, 0, [sky, blue]), (0.60, 16, 0.5, [amber, red]), (0.735, 16, 0, [(30, 128, 66), (16, 84, 120)])]
    rings += [(0.76, 16, 0.5, [violet]), (0.885, 32, 0, [blue, (198, 40, 52)])]
    rings += [(0.955, 32, 0.5, [(236, 178, 60), (22, 44, 120)])]
    middles, colors = [], []
    for radius, count, shift, cycle in rings:
        bearing = (np.arange(count) + shift) * 2 * np.pi / count - np.pi / 2
        middles.append(center + unit * radius * np.stack([np.cos(bearing), np.sin(bearing)], axis=1))
        colors.append([cycle[index % len(cycle)] for index in range(count)])
    return np.concatenate(middles), np.concatenate(colors).astype(float)


def pointillism(shape, random):
    """Dots of pure colour: a sunny river bank, mixed by the eye."""
    scene = _river_bank(shape, random)
    pure = np.array(
        [(28, 52, 140), (58, 116, 196), (130, 190, 222), (40, 128, 70), (134, 176, 56), (240, 206, 64), (240, 150, 44)]
        + [(214, 66, 46), (150, 44, 98), (112, 84, 170), (246, 236, 208), (232, 168, 160), (20, 66, 62)],
        float,
    )
    canvas = Canvas(shape, (232, 222, 196))
    for gap, radius in ((6.2, 3.6), (5.2, 2.7), (4.6, 2.1)):
        points = scattered(shape, gap, random)
        wanted = at(scene, points) + random.normal(0, 34, (len(points), 3))
        nearest = pure[cKDTree(pure).query(wanted)[1]]
        colors = 0.62 * nearest + 0.38 * at(scene, points) + random.normal(0, 7, (len(points), 3))
        radii = radius * random.uniform(0.75, 1.2, len(points))
        for point, color, size in zip(points, colors, radii, strict=True):
            canvas.disc(point, size, color, height=random.integers(90, 255))
    return canvas.picture(relief=0.55)


def _river_bank(shape, random):
    """Return the colours of a river, trees, a meadow and a sail, smooth."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(float)
    u, v = x / width, y / height
    soft = noise(shape, 70, random)
    sky = ramp([(116, 168, 220), (168, 200, 224), (238, 222, 190), (248, 206, 150)], v / 0.40)
    sky = mix(sky, (252, 244, 226), 0.8 * np.clip(noise(shape, 190, random) - 0.4, 0, 1))
    water = ramp([(236, 206, 158), (120, 172, 200), (52, 104, 164), (34, 74, 134)], (v - 0.40) / 0.45)
    water = mix(water, (240, 240, 226), 0.55 * (np.sin(y / 4.2 + 3 * soft) > 0.72))
    far = 0.385 - 0.055 * np.clip(noise((1, width), 90, random), -1, 2)
    trees = mix((72, 120, 116), (122, 158, 96), 0.5 + 0.4 * soft)
    scene = np.where((v < 0.40)[..., None], sky, water)
    scene = np.where(((v > far) & (v < 0.415))[..., None], trees, scene)
    mirror = np.clip((0.55 - v) / 0.13, 0, 1) * (v > 0.415) * (0.5 + 0.5 * (np.sin(y / 3.4) > -0.3))
    scene = mix(scene, (62, 102, 104), 0.6 * mirror)
    boats = [(0.56, 0.60, 0.53, 0.20, (250, 240, 216)), (0.74, 0.755, 0.475, 0.10, (236, 140, 76))]
    for left, mast, base, size, color in boats:
        inside = (v < base) & (v > base - size) & (u < mast) & (u > mast - (mast - left) * (v - base + size) / size)
        scene = np.where(inside[..., None], color, scene)
        hull = (abs(u - mast + 0.008) < size * 0.26) & (v >= base) & (v < base + 0.016)
        scene = np.where(hull[..., None], (70, 40, 60), scene)
        glint = (abs(u - mast + 0.02) < 0.02 * size / 0.2) & (v > base + 0.02) & (v < base + size * 0.7)
        scene = np.where((glint & (np.sin(y / 3) > 0))[..., None], color, scene)
    bank = v > 0.80 - 0.30 * np.clip(0.45 - u, 0, 1) ** 1.0 + 0.012 * soft
    meadow = mix((74, 128, 48), (206, 196, 70), 0.5 + 0.35 * noise(shape, 110, random) + 0.25 * np.sin(u * 8 - v * 20))
    meadow = mix(meadow, (38, 76, 92), 0.85 * (np.hypot((u - 0.20) / 0.24, (v - 0.86) / 0.06) < 1 + 0.2 * soft))
    scene = np.where(bank[..., None], meadow, scene)
    trunk = abs(u - 0.165 - 0.02 * np.sin(v * 9)) < 0.013 + 0.012 * np.clip(v - 0.7, 0, 1)
    bark = mix((64, 38, 60), (150, 90, 62), (u - 0.155) / 0.02)
    scene = np.where((trunk & (v > 0.30) & (v < 0.86))[..., None], bark, scene)
    crown = np.hypot((u - 0.16) / 0.22, (v - 0.22) / 0.27) + 0.10 * noise(shape, 60, random) < 1
    sunlight = 0.45 + 0.3 * noise(shape, 34, random) + 0.9 * (u - 0.16) - 0.9 * (v - 0.2)
    return np.where(crown[..., None], mix((24, 76, 72), (178, 190, 62), sunlight), scene)


def woodcut_waves(shape, random):
    """Woodblock print: rolling waves with foam, four inks on paper."""
    height, width = shape
    deep, middle, pale, cream, line = (24, 48, 96), (62, 108, 156), (158, 190, 200), (240, 230, 206), (18, 30, 60)
    canvas = Canvas(shape, (226, 210, 176))
    for row in np.arange(0, height * 0.62, 3.0):  # the grain of the block, printed in the sky
        wobble = row + 2.4 * np.sin(np.arange(0, width + 12, 12) / 90 + row / 23) + random.normal(0, 0.3)
        tint = mix((228, 196, 150), (240, 228, 198), row / (0.5 * height)) + random.normal(0, 3)
        canvas.line(np.stack([np.arange(0, width + 12, 12), wobble], axis=1), tint, 2.6)
    canvas.disc((0.71 * width, 0.20 * height), 0.095 * height, (206, 74, 48), (150, 44, 34), 2)
    rows = [(0.4, 0.3, 0.05, 0.1), (0.5, 0.36, 0.085, 1.9), (0.64, 0.5, 0.13, 0.4), (0.8, 0.42, 0.12, 3.3)]
    for index, (level, period, size, phase) in enumerate([*rows, (0.97, 0.55, 0.12, 5.0)]):
        crest = _crest(shape, level, period, size, phase)
        body = np.concatenate([crest, [[width + 60, height + 20], [-60, height + 20]]])
        canvas.polygon(body, middle if index % 2 else mix(middle, pale, 0.45))
        steps = int(size * height / 5.5) + 7
        for depth in range(1, steps):
            fall = depth / steps
            lower, flatter = level + 0.02 * depth + 0.10 * fall, size * (1 - 0.75 * fall)
            wave = _crest(shape, lower, period, flatter, phase + 0.10 * depth)
            thick = (5.4 - 3.6 * fall) * (0.8 + 0.4 * (depth % 2))
            canvas.line(wave, deep if depth % 3 else pale, thick)
        canvas.line(crest, line, 3.2)
        _foam(canvas, crest, size * height, cream, line, pale, random)
    grain = smear(random.normal(size=shape), 0.06 * noise(shape, 160, random), 34)
    worn = gaussian_filter(random.normal(size=shape), 1.1)
    speck = (worn / worn.std() > 2.3)[..., None] * 34
    printed = canvas.picture() + 4.2 * (grain / grain.std())[..., None] + speck
    return np.clip(printed + paper(shape, random, 2.5), 0, 255).astype(np.float32)


def _crest(shape, level, period, size, phase):
    """Return the outline of a row of waves that lean over to the right, `(count, 2)`."""
    height, width = shape
    turn = np.linspace(-2, 2 * np.pi / period + 2, 420) + phase
    lift = np.maximum(np.cos(turn), -0.6) + 0.16 * np.cos(2 * turn + 0.5)
    lean = 1.25 * np.sin(turn + 0.35) + 0.75 * np.clip(lift, 0, 2) ** 2
    x = (turn - phase) / (2 * np.pi) * period * width + lean * size * height * 0.62 - 40
    return np.stack([x, level * height - lift * size * height * (1 + 0.15 * np.sin(1.7 * turn + phase))], axis=1)


def _foam(canvas, crest, size, cream, line, pale, random):
    """Paint foam on the upper part of each wave: a scalloped band that hangs over, and drops in the air."""
    scale = np.clip(size / 70, 0.45, 1.3)
    places = crest[crest[:, 1] < crest[:, 1].min() + 0.95 * size]
    for below, radius, color in ((13, 6.5, pale), (5, 8.0, cream)):
        middles = places + np.array([0, below * scale]) + random.normal(0, 2.6 * scale, places.shape)
        radii = radius * scale * random.uniform(0.45, 1.25, len(places))
        for grow, fill in ((1.5, line), (0, color)):  # all edges first, so that the scallops run into one band
            for middle, one in zip(middles, radii, strict=True):
                canvas.disc(middle, one + grow, fill)
    for place in places[:: max(1, int(3 * scale))]:
        if random.random() < 0.45:
            away = np.array([random.normal(14, 20), -abs(random.normal(6, 20))]) * scale
            canvas.disc(place + away, scale * random.uniform(1.2, 3.4), cream, line, 0.7)


def abstraction(shape, random):
    """Oil on canvas: discs, wedges and bands that cut one another, each piece in a colour of its own."""
    oversize = (shape[0] * 2, shape[1] * 2)
    height, width = oversize
    y, x = np.mgrid[:height, :width].astype(float)
    x, y = x + 3 * noise(oversize, 120, random), y + 3 * noise(oversize, 120, random)
    u, v = x / height, y / height
    right = width / height
    piece = np.zeros(oversize, int)
    discs = [(0.37, 0.40, 0.30, 5), (0.93 * right - 0.16, 0.62, 0.29, 4), (0.62, 0.83, 0.14, 3), (0.80, 0.16, 0.13, 3)]
    for a, b, radius, rings in discs:
        distance = np.hypot(u - a, v - b)
        ring = np.clip((distance / radius * rings).astype(int), 0, rings)
        sector = ((np.arctan2(v - b, u - a) + a * 9) / (np.pi / 3)).astype(int)
        piece = piece * 31 + np.where(ring < rings, ring * 7 + sector + 3, 0)
    for a, b, slope in ((0.0, 0.95, -0.62), (0.25, 0.0, 1.35), (1.05, 0.0, 3.4)):
        piece = piece * 3 + (v - b > slope * (u - a))
    band = abs(v - 0.62 + 0.22 * np.sin(u * 4.2)) < 0.035
    piece = piece * 5 + band * (1 + ((u * 14).astype(int) % 2))
    identity, index = np.unique(piece, return_inverse=True)
    palette = np.array(
        [(206, 54, 42), (236, 146, 38), (246, 206, 78), (30, 64, 126), (84, 146, 178), (38, 110, 92), (238, 228, 204)]
        + [(30, 28, 38), (150, 52, 96), (226, 152, 140), (160, 178, 92), (108, 74, 138)],
        float,
    )
    weights = np.array([3, 3, 3, 3, 3, 2, 4, 1.2, 1.5, 2, 1.5, 1.5])
    choice = random.choice(len(palette), len(identity), p=weights / weights.sum())
    index = index.reshape(oversize)
    turn = random.uniform(0, np.pi, len(identity))
    light = random.uniform(0.08, 0.3, len(identity))[index]
    slant = np.cos(turn)[index] * (u - right / 2) + np.sin(turn)[index] * (v - 0.5)
    oil = mix(palette[choice][index], (255, 246, 226), light * (0.5 + 1.2 * slant))
    oil = mix(oil, (34, 26, 44), np.clip(-slant, 0, 1) * 1.3 * light)
    streaks = smear(random.normal(size=oversize), turn[index] + 0.05 * noise(oversize, 200, random), 60)
    streaks = gaussian_filter(streaks / streaks.std(), 1.2)
    down, across = np.gradient(streaks)
    oil += (5.5 * streaks - 9 * (across + down))[..., None]
    oil += 4.5 * (np.sin(x * np.pi / 3.2) * np.sin(y * np.pi / 3.2))[..., None]  # the weave of the canvas
    border = np.zeros(oversize, bool)
    border[1:], border[:, 1:] = index[1:] != index[:-1], border[:, 1:] | (index[:, 1:] != index[:, :-1])
    near = distance_transform_edt(~border)
    oil *= (1 - 0.42 * np.exp(-((near / 3.2) ** 2)) * (0.7 + 0.3 * noise(oversize, 30, random)))[..., None]
    canvas = Canvas(shape, (0, 0, 0))
    canvas.paint.paste(_pil(oil))
    bars = [((0.06, 0.1), (0.62, 0.97), 4.5), ((0.1, 0.05), (0.68, 0.94), 2), ((0.55, 0.06), (0.97, 0.34), 5)]
    t = np.linspace(0, 1, 30)[:, None]
    for begin, end, thick in bars:
        canvas.line((np.array(begin) * (1 - t) + np.array(end) * t) * (shape[1], shape[0]), (26, 22, 32), thick)
    for bead, color in enumerate(palette[[0, 7, 2, 3, 6]]):
        center = np.array([0.47 + 0.035 * bead, 0.13 + 0.055 * bead]) * (shape[1], shape[0])
        canvas.disc(center, (9 - bead) * shape[0] / 672, color, (26, 22, 32), 1.6)
    return canvas.picture()


def ink_wash(shape, random):
    """Ink and water on paper: mountains in mist, pines, a boat, a seal."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(float)
    ink = np.zeros(shape)
    ranges = [(0.34, 0.14, 0.2, 0.2), (0.44, 0.2, 0.34, 0.2), (0.6, 0.17, 0.5, 0.17), (0.86, 0.13, 0.8, 0.16)]
    for level, size, dark, mist in ranges:
        ridge = height * (level - size * _mountains(width, random))[None]
        depth = (y - ridge) / (mist * height)
        bleed = 0.5 + 0.5 * np.tanh((y - ridge + 1.6 * noise(shape, 14, random)) / 1.5)
        wash = dark * np.exp(-np.clip(depth, 0, None) * (1.25 + 0.25 * noise(shape, 90, random)))
        edge = 0.30 * dark * np.exp(-((depth / 0.035) ** 2))
        grain = 1 + 0.16 * noise(shape, 40, random, 5) + 0.10 * noise(shape, 5, random)
        ink = np.where(y > ridge - 4, np.clip(bleed * (wash + edge) * grain, 0, 1) + (1 - bleed) * ink, ink)
        slope = np.arctan2(np.gradient(gaussian_filter(ridge[0], 6)), 1)[None]
        dry = smear(random.normal(size=shape), np.clip(slope * 1.6, -1.2, 1.2) + 0.4 * np.sign(slope), 30)
        dry = np.clip(dry / dry.std() - 0.75, 0, 2) * np.exp(-np.clip(depth, 0, None) * 2.0) * (depth > 0.03)
        ink = np.clip(ink + 0.30 * dark * dry, 0, 1)
    sheet = np.array([238, 230, 212]) + paper(shape, random, 4.5)
    picture = sheet * (1 - ink[..., None]) + np.array([26, 27, 33]) * ink[..., None]
    return _brushwork(np.clip(picture, 0, 255), shape, random)


def _mountains(width, random):
    """Return the outline of a mountain range, `(width,)`, about −1 to 1: steep peaks and long shoulders."""
    broad = noise((1, width), width / 2.6, random, 2)[0]
    peaks = 1 - 2 * np.abs(noise((1, width), width / 5, random, 5)[0]) / 2
    return 0.55 * broad + 0.45 * peaks


def _brushwork(picture, shape, random):
    """Paint what is drawn with the tip of the brush: pines on the near bank, a boat, birds, and the red seal."""
    height, width = shape
    canvas = Canvas(shape, (0, 0, 0))
    canvas.paint.paste(_pil(np.repeat(np.repeat(picture, 2, 0), 2, 1)))
    for base_x, base_y, tall in ((0.12, 1.04, 0.62), (0.21, 1.03, 0.44), (0.045, 1.02, 0.36)):
        _pine(canvas, np.array([base_x * width, base_y * height]), tall * height, random)
    boat = np.array([0.66 * width, 0.80 * height])
    for row in range(3):  # ripples
        middle = boat + (random.normal(0, 26), 12 + 4.5 * row)
        reach = random.uniform(16, 46)
        canvas.line([middle - (reach, 0), middle, middle + (reach, 0.8)], np.full(3, 150 + 9 * row), 1)
    t = np.linspace(-1, 1, 21)
    hull = np.stack([boat[0] + 34 * t, boat[1] + 5 - 7 * t**2], axis=1)
    canvas.polygon(np.concatenate([hull, (hull - (0, 5))[::-1]]), (52, 50, 54))
    canvas.line([boat + (-3, -2), boat + (-1, -17)], (40, 38, 42), 4)
    canvas.line([boat + (6, -14), boat + (30, 12)], (60, 58, 60), 1.4)
    for _ in range(7):
        bird = np.array([random.uniform(0.5, 0.75) * width, random.uniform(0.08, 0.2) * height])
        wing, t = random.uniform(5, 10), np.linspace(0, 1, 6)
        for side in (-1, 1):
            path = np.stack([bird[0] + side * wing * t, bird[1] - wing * 0.7 * np.sin(t * 2.4)], axis=1)
            canvas.line(path, (64, 62, 66), 1.5)
    seal = np.array([0.93 * width, 0.86 * height])
    canvas.polygon(seal + np.array([(-17, -18), (18, -17), (17, 18), (-18, 17)]), (178, 42, 34))
    sign = [[(-10, -10), (10, -10)], [(0, -10), (0, 10)], [(-10, 0), (-10, 11), (10, 11), (10, 0)], [(-5, 2), (5, 2)]]
    for stroke in sign:
        canvas.line(seal + np.array(stroke), (236, 222, 200), 2.2)
    return np.clip(canvas.picture() + paper(shape, random, 2.0), 0, 255).astype(np.float32)


def _pine(canvas, foot, tall, random):
    """Paint a pine: a crooked trunk in one stroke, boughs, and fans of needles."""
    t = np.linspace(0, 1, 18)
    bend = random.normal(0, 1, 3)
    sway = tall * 0.10 * (bend[0] * np.sin(3 * t) + bend[1] * t + 0.6 * np.sin(7 * t + bend[2]))
    trunk = foot + np.stack([sway, -tall * t], axis=1)
    for piece in range(len(trunk) - 1):
        canvas.line(trunk[piece : piece + 2], np.full(3, random.uniform(24, 58)), tall * 0.036 * (1 - 0.8 * t[piece]))
    for rise in np.linspace(0.38, 1.0, 9):
        root = trunk[int(rise * (len(trunk) - 1))]
        side = random.choice([-1, 1])
        reach = tall * random.uniform(0.14, 0.32) * (1.25 - 0.8 * rise)
        s = np.linspace(0, 1, 9)[:, None]
        bough = root + np.concatenate([side * reach * s, -0.12 * reach * np.sin(s * 4) - 0.10 * reach * s], axis=1)
        canvas.line(bough, np.full(3, 40.0), tall * 0.009)
        for tip in bough[2:]:
            for _ in range(5):
                middle = tip + random.normal(0, tall * 0.016, 2)
                shade = random.uniform(22, 92)
                for bearing in np.linspace(-2.9, -0.25, 9) + random.normal(0, 0.08, 9):
                    needle = tall * random.uniform(0.022, 0.045) * np.array([np.cos(bearing), np.sin(bearing) * 0.8])
                    canvas.line([middle, middle + needle], np.full(3, shade), 1.0)


_PAINTERS = (night_swirls, stained_glass, pointillism, woodcut_waves, abstraction, ink_wash)
PAINTINGS = {painter.__name__: painter for painter in _PAINTERS}
