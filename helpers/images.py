"""Pictures as arrays: RGB, float32, `(height, width, 3)`, 0–255. Reading, resizing, writing."""

import numpy as np


class ImageError(ValueError):
    """A picture that cannot be used; the message says what was given, what was expected, and what to do."""


def to_uint8(image):
    """Return `image` as uint8: rounded to whole grey levels, clipped to 0–255 before the cast.

    Args:
        image: array of any shape and real dtype, grey levels 0–255.

    Raises:
        ImageError: if a value is NaN or infinite.
    """
    image = np.asarray(image)
    if image.dtype == np.uint8:
        return image
    if not np.isfinite(image).all():
        raise ImageError("The image holds NaN or infinite values: the run that made it diverged. Use a smaller step.")
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
