"""Pictures as arrays: RGB, float32, `(height, width, 3)`, 0–255. Reading, resizing, matching colours, writing."""

import importlib.util
import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from helpers import arguments
from helpers.arguments import did_you_mean, number, short, sides
from helpers.storage import DATA, whole_file

FOLDER = DATA / "images"
LARGEST = 100_000_000  # pixels; a file that claims more is refused before it is unpacked
DIRECT = 4_000_000  # pixels; a file of more is shrunk in two steps where it is much too large
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G and B in Y of YIQ (ITU-R BT.601)
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_PHOTOGRAPHS = {  # in packages that the course needs anyway
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}


class ImageError(ValueError):
    """A picture that cannot be used; the message says what was given, what was expected, and what to do."""


def load_image(source, max_side=None, shape=None):
    """Return a picture as RGB, float32, `(height, width, 3)`, 0–255.

    A photograph is turned the way it was taken (EXIF), transparency goes onto white, and grey, palette, CMYK and 16-bit
    pictures become RGB. The aspect ratio is kept: nothing is ever squeezed.

    Args:
        source: a path, a name of `sample_names()`, the bytes of a file, an open file, or an array (`(height, width)` or
            `(height, width, 1, 3 or 4)`; 0–255 in any dtype, 0–65535 in uint16; what lies outside is clipped).
        max_side: longest side of the result in pixels, from 1; a smaller picture is left as it is.
        shape: `(height, width)` of the result in pixels. What does not fit is cut off, evenly on both sides.

    Raises:
        ImageError: if the source is missing, broken, too large (100 million pixels) or no picture, or a size is none.
    """
    if max_side is not None:
        max_side = number("max_side", max_side, 1, whole=True, error=ImageError)

    def goal(given):
        return _covering(given, shape) if shape is not None else _within(given, max_side)

    if isinstance(source, np.ndarray):
        image = _from_array(source)
        image = _lanczos(image, goal(image.shape))
    else:
        image = _from_file(source, goal)
    return np.clip(image if shape is None else _middle(image, shape), 0, 255)


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
    """Return the names that `sample_image` knows: three photographs, and every picture in `data/images/`, sorted."""
    return sorted({*_PHOTOGRAPHS, *_pictures()})


def sample_image(name, max_side=None, shape=None):
    """Return the picture of that name, as `load_image` does.

    Raises:
        ImageError: if there is none; the message lists the names.
    """
    pictures = _pictures()
    if isinstance(name, str) and name in pictures:
        return load_image(pictures[name], max_side, shape)
    if isinstance(name, str) and name in _PHOTOGRAPHS:
        return load_image(_photograph(name), max_side, shape)
    raise ImageError(
        f"There is no sample image {short(name)}.{did_you_mean(name, sample_names())} "
        f"Choose one of {', '.join(sample_names())}, or copy a picture to data/images/."
    )


def fitted(shape, max_side):
    """Return `(height, width)` of a picture of `shape` whose longest side is `max_side` pixels; no side is below 1."""
    height, width = shape[:2]
    scale = number("max_side", max_side, 1, whole=True, error=ImageError) / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(image, shape):
    """Return `image` at `(height, width)`, smoothed when it shrinks (Lanczos).

    Values keep their range, except that a sharp edge may overshoot it a little.

    Args:
        image: `(height, width, channels)`, any real dtype.
        shape: `(height, width)` in pixels, at most 100 million in all.

    Returns:
        float32 `(height, width, channels)`.

    Raises:
        ImageError: if that is no picture or no size.
    """
    image = _numbers(image).astype(np.float32, copy=False)
    if image.ndim != 3 or not image.size:
        raise ImageError(f"resize expects one picture, (height, width, channels), got the shape {image.shape}.")
    height, width = _size(shape)
    return image.copy() if image.shape[:2] == (height, width) else _lanczos(image, (height, width))


def to_uint8(image):
    """Return `image` as uint8: rounded to whole grey levels, clipped to 0–255 before the cast.

    Args:
        image: array of any shape and real dtype, grey levels 0–255.

    Raises:
        ImageError: if a value is NaN, infinite or no number.
    """
    image = _numbers(image)
    if image.dtype == np.uint8:
        return image
    if not np.isfinite(image).all():
        raise ImageError("The image holds NaN or infinite values: the run that made it diverged. Use a smaller step.")
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def save_image(path, image, quality=95):
    """Write `image` to `path`; the ending says how (.png keeps every value). The file is never half there.

    Args:
        path: where it goes; missing folders are made.
        image: `(height, width, 3)` or `(height, width)`, grey levels 0–255, any real dtype.
        quality: of a JPEG or WebP, 1–100.

    Raises:
        ImageError: if the ending names no picture format, or the array is no picture.
        UnwritableError: if the disk is full, or the file cannot be written there.
    """
    path = arguments.path("path, the first argument of save_image,", path, ImageError)
    quality = number("quality", quality, 1, 100, whole=True, error=ImageError)
    if path.suffix.lower() not in ENDINGS:
        raise ImageError(
            f"Cannot tell a picture format from {path.name!r}. End the name with one of {', '.join(ENDINGS)}."
        )
    pixels = to_uint8(image)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] != 3) or not pixels.size:
        raise ImageError(f"save_image expects (height, width, 3) or (height, width), got the shape {pixels.shape}.")
    options = {"quality": quality} if path.suffix.lower() in (".jpg", ".jpeg", ".webp") else {}
    with whole_file(path) as partial:
        Image.fromarray(pixels).save(partial, **options)


def luminance(image):
    """Return the brightness Y of YIQ, `(..., height, width)`, float32, 0–255, of an RGB image or a batch of them."""
    image = np.asarray(image, np.float32)
    if image.ndim < 3 or image.shape[-1] not in (3, 4):
        raise ImageError(f"luminance expects RGB, (..., height, width, 3), got the shape {image.shape}.")
    return image[..., :3] @ LUMINANCE


def match_color(image, reference, mode="luminance"):
    """Return `image` with the colours of `reference` (Gatys et al., "Preserving Color in Neural Artistic Style
    Transfer", 2016).

    Args:
        image: `(height, width, 3)`, 0–255.
        reference: `(height, width, 3)`, 0–255; for `"luminance"` of the same size as `image`.
        mode: `"luminance"` keeps the brightness of `image` and takes the hue of `reference`, pixel by pixel (section
            5). `"histogram"` moves all colours of `image` by one linear map so that their mean and covariance become
            those of `reference`: A = Σ_r^½ Σ_i^−½ (section 4).

    Returns:
        float32 `(height, width, 3)`, clipped to 0–255.

    Raises:
        ImageError: if one of them is no such picture or holds NaN, or the mode is unknown.
    """
    image, reference = (_numbers(picture).astype(np.float32) for picture in (image, reference))
    for picture in (image, reference):
        if picture.ndim != 3 or picture.shape[-1] != 3 or not picture.size or not np.isfinite(picture).all():
            raise ImageError(
                "match_color expects two pictures, (height, width, 3), 0–255, without NaN or infinite values, "
                f"got one of shape {picture.shape}."
            )
    if mode == "luminance":
        if image.shape != reference.shape:
            raise ImageError(
                f"match_color by luminance needs two pictures of one size, got {image.shape} and {reference.shape}."
            )
        # I and Q of YIQ hold no brightness, so adding the same amount to R, G and B changes Y alone.
        return np.clip(reference + (luminance(image) - luminance(reference))[..., None], 0, 255)
    if mode == "histogram":
        return np.clip(_match_covariance(image, reference), 0, 255)
    raise ImageError(f"mode must be 'luminance' or 'histogram', got {mode!r}.")


def _match_covariance(image, reference):
    pixels, others = (values.reshape(-1, 3).astype(np.float64) for values in (image, reference))
    spread, target = (np.cov(values, rowvar=False, bias=True) + 1e-3 * np.eye(3) for values in (pixels, others))
    transform = _power(target, 0.5) @ _power(spread, -0.5)
    moved = (pixels - pixels.mean(axis=0)) @ transform.T + others.mean(axis=0)
    return moved.reshape(image.shape).astype(np.float32)


def _power(symmetric, exponent):
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * values**exponent) @ vectors.T


def _lanczos(image, size, box=None):
    """Return float32 `image`, or its part `(left, top, right, bottom)`, at the size `(height, width)`."""
    if box is None and image.shape[:2] == size:
        return image
    channels = [Image.fromarray(np.ascontiguousarray(one)) for one in np.moveaxis(image, -1, 0)]
    return np.stack([np.asarray(one.resize(size[::-1], Image.LANCZOS, box)) for one in channels], axis=-1)


def _within(given, max_side):
    """Return the size of a picture of the shape `given` whose longest side is `max_side` at most."""
    return fitted(given, max_side) if max_side is not None and max(given[:2]) > max_side else tuple(given[:2])


def _covering(given, shape):
    """Return the size of a picture of the shape `given` when it just fills `shape`."""
    height, width = _size(shape)
    scale = max(height / given[0], width / given[1])
    return _size((max(height, round(given[0] * scale)), max(width, round(given[1] * scale))))


def _middle(image, shape):
    """Cut `shape` out of the middle."""
    height, width = _size(shape)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _size(shape):
    """Return `(height, width)` if a picture may be so large."""
    height, width = sides("shape", shape, ImageError)
    if height * width > LARGEST:
        raise ImageError(f"A picture of {height} × {width} pixels was asked for; at most {LARGEST:,} in all are made.")
    return height, width


def _numbers(values):
    """Return an array of real numbers."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of unequal lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "buif":
        raise ImageError(f"A picture is an array of numbers from 0 to 255, got {short(values)} ({array.dtype}).")
    return array


def _pictures():
    """Return {name: path} of the pictures in `data/images/`."""
    if not FOLDER.is_dir():
        return {}
    return {
        path.stem: path for path in sorted(FOLDER.iterdir()) if path.suffix.lower() in ENDINGS and path.name[0] != "."
    }


def _photograph(name):
    package, file = _PHOTOGRAPHS[name]
    found = importlib.util.find_spec(package)  # finds the folder without importing the package
    path = found and Path(found.submodule_search_locations[0]) / file
    if not path or not path.is_file():
        raise ImageError(
            f"The photograph {name!r} is part of the package {package}, which lacks it here: reinstall {package}."
        )
    return path


def _from_array(array):
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or not array.size:
        raise ImageError(
            f"A picture as an array is (height, width) or (height, width, 1, 3 or 4), got the shape {array.shape}."
        )
    image = _numbers(array).astype(np.float32) / (257 if array.dtype == np.uint16 else 1)
    if not np.isfinite(image).all():
        raise ImageError("The array holds NaN or infinite values; a picture holds 0–255.")
    if array.dtype.kind in "bf" and 0 < image.max() <= 1:
        raise ImageError("The array's values lie between 0 and 1; a picture holds 0–255. Multiply it by 255.")
    return _on_white(image)


def _from_file(source, goal):
    """Read a picture; `goal` is a function from its `(height, width)` to those wanted."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, file = "the bytes given", io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        name, file = str(source), _path(source)
    elif hasattr(source, "read"):
        name, file = str(getattr(source, "name", "the open file")), source
    else:
        raise ImageError(
            f"load_image takes a path, a sample's name, bytes, an open file or an array, got {type(source).__name__}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags, and of sizes for which `LARGEST` is the course's own limit
            with Image.open(file) as picture:
                return _unpacked(picture, name, goal)
    except Image.DecompressionBombError:  # raised for twice as many pixels as Pillow's limit
        raise _too_large(name, "") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is no picture that can be read here. Convert it to PNG or JPEG.") from None
    except PermissionError:
        raise ImageError(f"{name} cannot be read: this account may not. Ask for the right to, or copy it.") from None
    except ImageError:
        raise
    except Exception as error:  # what a damaged picture raises is anything
        raise ImageError(f"{name} cannot be read: {error}. Open and save it anew in an image program.") from error


def _path(source):
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise ImageError(f"{source} is a folder; name a picture in it.")
    if str(source) in _pictures():
        return _pictures()[str(source)]
    if str(source) in _PHOTOGRAPHS:
        return _photograph(str(source))
    hint, names = did_you_mean(source, sample_names()), ", ".join(sample_names())
    raise ImageError(f"There is no file {source}.{hint} Check the path, or use one of the names {names}.")


def _unpacked(picture, name, goal):
    """Return the pixels of an open PIL picture as float32 RGB, at the size that `goal` tells."""
    width, height = picture.size
    if width * height > LARGEST:
        raise _too_large(name, f"{width} × {height} pixels, ")
    ImageOps.exif_transpose(picture, in_place=True)
    width, height = picture.size
    size = goal((height, width))
    factor = _spare((height, width), size)
    box = None if factor == 1 else (0, 0, width / factor, height / factor)
    return _lanczos(_pixels(picture, factor), size, box)


def _spare(given, size):
    """Return by which whole number a file's picture is reduced first, so that more than twice `size` is left of it.

    Averaging squares of pixels costs a quarter of the memory that its floats would take, and shows no more than a grey
    level in what Lanczos makes of it. A picture that is not large, or no more than 4 times too large, stays: 1.
    """
    if given[0] * given[1] <= DIRECT:
        return 1
    return max(1, min((one - 1) // (2 * wanted) for one, wanted in zip(given, size, strict=True)))


def _pixels(picture, factor):
    """Return the pixels of a PIL picture, reduced by `factor`, as float32 RGB."""
    if picture.mode.startswith("I;16"):
        return _on_white(_averaged(np.asarray(picture, np.float32) / 257, factor)[..., None])
    if picture.mode in ("I", "F"):  # 32-bit grey; files of 16 bits come as I too
        grey = np.asarray(picture, np.float32)
        grey = np.clip(grey / (257 if grey.max() > 255 else 1), 0, 255)
        return _from_array(_averaged(grey, factor))
    transparent = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    mode = "RGBA" if transparent else "RGB"
    picture = picture if picture.mode == mode else picture.convert(mode)
    return _on_white(np.asarray(picture.reduce(factor) if factor > 1 else picture, np.float32))


def _averaged(grey, factor):
    return np.asarray(Image.fromarray(grey).reduce(factor)) if factor > 1 else grey


def _too_large(name, size):
    return ImageError(f"{name} has {size}more than {LARGEST:,} pixels. Make it smaller in an image program first.")


def _on_white(image):
    if image.shape[-1] == 4:
        opacity = image[..., 3:] / 255
        return image[..., :3] * opacity + 255 * (1 - opacity)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
