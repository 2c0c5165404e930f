"""Images as arrays: RGB, float32, `(height, width, 3)`, 0–255. Reading, resizing, matching colours, writing."""

import importlib.util
import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from helpers.check import checked, one_of, optional, short, whole
from helpers.files import DATA, whole_file

FOLDER = DATA / "images"
LARGEST = 100_000_000  # pixels; a file with more is refused before it is unpacked
DIRECT = 4_000_000  # pixels; a larger file is shrunk in two steps, the first of them on bytes, which saves memory
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # weights of R, G and B in Y of YIQ (ITU-R BT.601)
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_PHOTOGRAPHS = {  # in packages that the course needs anyway
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}


class ImageError(ValueError):
    """An image that cannot be used; the message says what was given, what was expected, and what to do."""


def size(value):
    """Return `(height, width)`; a rule of `helpers.check`."""
    try:
        height, width = (whole(1)(side) for side in value)
    except (TypeError, ValueError):
        height = width = LARGEST
    if height * width > LARGEST:
        raise ValueError(f"(height, width) in whole pixels from 1, at most {LARGEST:,} in all")
    return height, width


def pixels(shape, fits=lambda array: True):
    """Return a rule of `helpers.check` for arrays of finite real numbers that fit, described to people as `shape`."""

    def rule(value):
        try:
            array = np.asarray(value)
        except ValueError:  # rows of unequal lengths
            array = np.empty(0, object)
        if array.dtype.kind not in "buif" or not array.size or not fits(array):
            raise ValueError(f"an array of numbers from 0 to 255, {shape}")
        if not np.isfinite(array).all():
            raise ValueError("no NaN or infinite value: the run that made them diverged, so use a smaller step")
        return array

    return rule


_RGB = pixels("(height, width, 3)", lambda array: array.ndim == 3 and array.shape[-1] == 3)
_RGB_OR_GREY = pixels("(height, width, 3) or (height, width)", lambda array: array.ndim == 2 or array.shape[2:] == (3,))


@checked(ImageError, max_side=optional(whole(1)), shape=optional(size))
def load_image(source, max_side=None, shape=None):
    """Return an image as RGB, float32, `(height, width, 3)`, 0–255; its aspect ratio is kept.

    A photograph is turned upright (EXIF), transparent parts become white, and grey, palette, CMYK and 16-bit images
    become RGB.

    Args:
        source: a path, a name of `sample_names()`, the bytes of a file, an open file, or an array (`(height, width)` or
            `(height, width, 1, 3 or 4)`; 0–255 in any dtype, 0–65535 in uint16).
        max_side: longest side of the result in pixels; a smaller image is not enlarged.
        shape: `(height, width)` of the result in pixels; the longer sides are cropped evenly.

    Raises:
        ImageError: if the source is missing, broken, larger than 100 million pixels, or not an image.
    """

    def goal(height, width):
        if shape is not None:  # just large enough to cover it
            scale = max(shape[0] / height, shape[1] / width)
            return max(shape[0], round(height * scale)), max(shape[1], round(width * scale))
        return (height, width) if max_side is None else fitted((height, width), min(max_side, max(height, width)))

    image = _from_array(source, goal) if isinstance(source, np.ndarray) else _from_file(source, goal)
    if shape is not None:
        top, left = (image.shape[0] - shape[0]) // 2, (image.shape[1] - shape[1]) // 2
        image = image[top : top + shape[0], left : left + shape[1]]
    return np.clip(image, 0, 255, out=image)


def image_array(smallest=1):
    """Return a rule of `helpers.check` for images as arrays, at least `smallest` pixels a side; see `load_image`."""
    expected = "an image as an array, as load_image(...) returns it"

    def rule(value):
        if not np.ndim(getattr(value, "shape", 0)):
            raise TypeError(expected)
        image = load_image(np.asarray(value))
        if min(image.shape[:2]) < smallest:
            raise ValueError(f"at least {smallest} pixels on each side")
        return image

    rule.expected = expected
    return rule


def sample_names():
    """Return the names that `sample_image` knows, sorted: three photographs, and every image in `data/images/`."""
    return sorted(_samples())


@checked(ImageError, name=lambda name: one_of(*sample_names())(name))
def sample_image(name, max_side=None, shape=None):
    """Return the image of that name, as `load_image` does; raise `ImageError` if there is none."""
    return load_image(_samples()[name], max_side, shape)


def fitted(shape, max_side):
    """Return `(height, width)` of an image of `shape` whose longest side is `max_side` pixels; no side is below 1."""
    scale = max_side / max(shape[:2])
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


@checked(ImageError, image=pixels("(height, width, channels)", lambda array: array.ndim == 3), shape=size)
def resize(image, shape):
    """Return `image`, `(height, width, channels)`, at `shape`, `(height, width)`, as float32.

    Lanczos: smoothed when it shrinks; a sharp edge may overshoot the range of its values a little.
    """
    image = image.astype(np.float32)
    if image.shape[:2] == shape:
        return image
    channels = [Image.fromarray(np.ascontiguousarray(one)) for one in np.moveaxis(image, -1, 0)]
    return np.stack([np.asarray(one.resize(shape[::-1], Image.Resampling.LANCZOS)) for one in channels], axis=-1)


@checked(ImageError, image=pixels("of any shape"))
def to_uint8(image):
    """Return `image`, 0–255 in any shape and dtype, as uint8: rounded, and clipped before the cast."""
    return image if image.dtype == np.uint8 else np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _image_path(value):
    if not isinstance(value, str | os.PathLike) or Path(value).suffix.lower() not in ENDINGS:
        raise ValueError(f"the path of a file that ends in one of {', '.join(ENDINGS)}")
    return Path(value)


@checked(ImageError, path=_image_path, image=_RGB_OR_GREY, quality=whole(1, 100))
def save_image(path, image, quality=95):
    """Write `image`, `(height, width, 3)` or `(height, width)`, 0–255, to `path`, whole or not at all.

    The ending decides the format (.png keeps every value); `quality`, 1–100, is that of a JPEG or WebP.
    """
    options = {"quality": quality} if path.suffix.lower() in (".jpg", ".jpeg", ".webp") else {}
    with whole_file(path) as partial:
        Image.fromarray(to_uint8(image)).save(partial, **options)


@checked(ImageError, image=pixels("(..., height, width, 3)", lambda array: array.ndim > 2 and array.shape[-1] == 3))
def luminance(image):
    """Return the brightness Y of YIQ, `(..., height, width)`, float32, 0–255, of RGB images."""
    return image.astype(np.float32) @ LUMINANCE


@checked(ImageError, image=_RGB, reference=_RGB, mode=one_of("luminance", "histogram"))
def match_color(image, reference, mode="luminance"):
    """Return `image` with the colours of `reference`, float32 `(height, width, 3)`, clipped to 0–255.

    Gatys et al., "Preserving Color in Neural Artistic Style Transfer", 2016. "luminance" keeps the brightness of
    `image` and takes the hue of `reference` pixel by pixel (section 5). "histogram" moves all colours by one linear
    map, so that their mean and covariance become those of `reference`: A = Σ_r^½ Σ_i^−½ (section 4).

    Args:
        image, reference: `(height, width, 3)`, 0–255; of one size for "luminance".
        mode: "luminance" or "histogram".
    """
    image, reference = image.astype(np.float32), reference.astype(np.float32)
    if mode == "histogram":
        return np.clip(_match_covariance(image, reference), 0, 255)
    if image.shape != reference.shape:
        raise ImageError(f"match_color: by luminance, images have one size, not {image.shape} and {reference.shape}.")
    # I and Q of YIQ hold no brightness, so adding the same amount to R, G and B changes Y alone.
    return np.clip(reference + (luminance(image) - luminance(reference))[..., None], 0, 255)


def _match_covariance(image, reference):
    colours, others = (values.reshape(-1, 3).astype(np.float64) for values in (image, reference))
    spread, target = (np.cov(values, rowvar=False, bias=True) + 1e-3 * np.eye(3) for values in (colours, others))
    transform = _power(target, 0.5) @ _power(spread, -0.5)
    moved = (colours - colours.mean(axis=0)) @ transform.T + others.mean(axis=0)
    return moved.reshape(image.shape).astype(np.float32)


def _power(symmetric, exponent):
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * values**exponent) @ vectors.T


def _samples():
    """Return {name: path}."""
    found = {}
    for name, (package, file) in _PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)  # finds the folder without importing the package
        if spec and (path := Path(spec.submodule_search_locations[0]) / file).is_file():
            found[name] = path
    own = sorted(FOLDER.iterdir()) if FOLDER.is_dir() else []
    return found | {path.stem: path for path in own if path.suffix.lower() in ENDINGS and path.name[0] != "."}


def _from_array(array, goal):
    """Return an array as `(height, width, 3)`, float32, transparent parts on white, at the size that `goal` returns."""
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or not array.size or array.dtype.kind not in "buif":
        raise ImageError(f"An image is (height, width) or (height, width, 1, 3 or 4), 0–255, not {short(array)}.")
    image = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(image).all():
        raise ImageError("An image holds 0–255, not NaN or infinite values.")
    if array.dtype.kind in "bf" and 0 < image.max() <= 1:
        raise ImageError("The values lie between 0 and 1; an image holds 0–255. Multiply it by 255.")
    if array.dtype == np.uint16:
        image /= 257
    if image.shape[-1] == 4:
        opacity = image[..., 3:] / 255
        image = image[..., :3] * opacity + 255 * (1 - opacity)
    image = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
    wanted = goal(*image.shape[:2])
    return image if image.shape[:2] == wanted else resize(image, wanted)


def _from_file(source, goal):
    """Read a path, a sample's name, bytes or an open file."""
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        source = _existing(Path(source).expanduser())
    elif not hasattr(source, "read"):
        raise ImageError(f"load_image expects a path, a name, bytes, an open file or an array, not {short(source)}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd tags, and about sizes, for which `LARGEST` is the limit here
            with Image.open(source) as picture:
                return _unpacked(picture, goal)
    except Exception as error:  # a damaged file can raise anything
        name = source if isinstance(source, Path) else getattr(source, "name", "The file")
        advice = f"Save a copy as PNG or JPEG, of at most {LARGEST:,} pixels, in an image program."
        raise ImageError(f"{name} cannot be read: {error} {advice}") from error


def _existing(path):
    if path.is_file():
        return path
    if path.is_dir():
        raise ImageError(f"{path} is a folder; name an image in it.")
    try:
        return _samples()[one_of(*sample_names())(str(path))]
    except ValueError as expected:
        raise ImageError(f"There is no file {path}. Check the path, or use {expected}.") from None


def _unpacked(picture, goal):
    """Return the pixels of an open PIL image as `_from_array` does."""
    count = picture.width * picture.height
    if count > LARGEST:
        raise ImageError(f"it has {picture.width} × {picture.height} pixels.")
    ImageOps.exif_transpose(picture, in_place=True)
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    if picture.mode[0] in "IF":  # 16 or 32 bits of grey
        grey = np.asarray(picture, np.float32)
        sixteen = picture.mode.startswith("I;16") or grey.max() > 255
        picture = Image.fromarray(np.clip(grey / (257 if sixteen else 1), 0, 255))
    elif picture.mode != mode:
        picture = picture.convert(mode)
    wanted = goal(*picture.size[::-1])
    if count > DIRECT and max(picture.size) > 4 * max(wanted):
        picture = picture.resize((2 * wanted[1], 2 * wanted[0]), Image.Resampling.LANCZOS)
    return _from_array(np.asarray(picture), lambda *_: wanted)
