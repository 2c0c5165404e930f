"""A drawing as MNIST would show it."""

import numpy as np
from PIL import Image

SIDE, BOX = 28, 20  # pixels of an MNIST picture, and of the box that a digit fits into


def as_mnist(drawing):
    """Return a drawing as MNIST shows its digits, or None if it is empty.

    The digit is cut out, scaled to fit a box of 20×20 pixels with its aspect ratio kept, and placed in 28×28 pixels
    with its centre of mass in the centre (LeCun, Bottou, Bengio and Haffner, 1998).

    Args:
        drawing: uint8 `(height, width)`, white on black, of any size.

    Returns:
        uint8 `(28, 28)`.
    """
    rows, columns = np.nonzero(np.asarray(drawing) > 127)
    if not len(rows):
        return None
    digit = drawing[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = BOX / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    digit = np.asarray(Image.fromarray(digit).resize((width, height), Image.Resampling.BOX))
    top, left = (_offset(digit.sum(axis, dtype=float)) for axis in (1, 0))
    placed = np.zeros((SIDE, SIDE), np.uint8)
    placed[top : top + height, left : left + width] = digit
    return placed


def _offset(profile):
    """Return where a digit with this profile of brightness starts, so that its centre of mass is that of the picture.

    It never starts so far out that a part of it would be cut off.
    """
    centre_of_mass = profile @ np.arange(len(profile)) / profile.sum()
    return int(np.clip(round((SIDE - 1) / 2 - centre_of_mass), 0, SIDE - len(profile)))
