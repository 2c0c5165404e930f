"""A canvas to draw a digit on, and how a network reads it while you draw."""

from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image
from scipy.special import softmax

from helpers.training import predict

SIDE, BOX = 28, 20  # pixels of an MNIST image, and of the box that a digit fits into


class DigitCanvas(anywidget.AnyWidget):
    """A canvas, the digit as the network sees it, and its ten probabilities; for the last line of a cell.

    Args:
        model: a `keras.Model` from images `(batch, 28, 28, 1)`, float32, 0–1, to logits `(batch, 10)`.
    """

    _esm, _css = Path(__file__).with_name("digit_canvas.js"), Path(__file__).with_name("digit_canvas.css")
    seen = traitlets.Bytes(bytes(SIDE * SIDE)).tag(sync=True)  # grey levels, row by row
    probabilities = traitlets.List().tag(sync=True)  # ten, or none for an empty canvas

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.on_msg(self._received)

    def read(self, drawing):
        """Show how the network reads a drawing: uint8 `(height, width)`, white on black."""
        digit = as_mnist(drawing)
        if digit is None:
            self.seen, self.probabilities = bytes(SIDE * SIDE), []
        else:
            logits = predict(self.model, np.float32(digit[None, ..., None]) / 255)
            self.seen, self.probabilities = digit.tobytes(), softmax(logits[0].astype(float)).tolist()

    def _received(self, _, content, buffers):
        self.read(np.frombuffer(buffers[0], np.uint8).reshape(content["side"], content["side"]))

    def _repr_mimebundle_(self, **options):
        """Add what a page without a kernel shows in the canvas's place."""
        note = "<i>Draw a digit: run this cell in JupyterLab for a canvas that is read while you draw.</i>"
        data, metadata = super()._repr_mimebundle_(**options)
        return {**data, "text/plain": "Draw a digit", "text/html": note}, metadata


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
    """Return where a digit with this profile of brightness starts: its centre of mass in the middle, none cut off."""
    centre_of_mass = profile @ np.arange(len(profile)) / profile.sum()
    return int(np.clip(round((SIDE - 1) / 2 - centre_of_mass), 0, SIDE - len(profile)))
