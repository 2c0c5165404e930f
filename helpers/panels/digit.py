"""The panel that reads a digit while it is drawn."""

from pathlib import Path

import anywidget
import ipywidgets as widgets
import numpy as np
from scipy.special import softmax

from helpers.digits import as_mnist
from helpers.panels.knobs import LivePicture
from helpers.training import as_input, predict


class DigitCanvas(anywidget.AnyWidget):
    """A square to draw on, which calls `on_drawing(drawing)` while it is drawn on: uint8 `(side, side)`, 0–255."""

    _esm = Path(__file__).with_name("digit_canvas.js")
    _css = ".atelier-canvas { width: 220px; height: 220px; touch-action: none; cursor: crosshair; display: block; }"

    def __init__(self, on_drawing):  # noqa: D107 - the class says it
        super().__init__()
        self.on_drawing = on_drawing
        self.on_msg(self._received)

    def _received(self, _, content, buffers):
        self.on_drawing(np.frombuffer(buffers[0], np.uint8).reshape(content["side"], content["side"]))


class DigitPanel(widgets.HBox):
    """A canvas, the digit as the network sees it, and its probabilities; see `digit_panel`."""

    def __init__(self, model):
        self.model, self.probabilities = model, None
        self.canvas = DigitCanvas(self.read)
        self.seen = LivePicture(alt="what the network sees")
        self.bars = widgets.HTML()
        column = widgets.VBox([widgets.Label("what the network sees"), self.seen])
        super().__init__([self.canvas, column, self.bars], layout={"grid_gap": "24px"})
        self._show(np.zeros((28, 28), np.uint8), None)

    def read(self, drawing):
        """Show how the network reads a drawing, uint8 `(side, side)`, white on black."""
        digit = as_mnist(drawing)
        if digit is None:
            self._show(np.zeros((28, 28), np.uint8), None)
        else:
            self._show(digit, softmax(predict(self.model, as_input(digit[None])), axis=1)[0])

    def _show(self, digit, probabilities):
        self.probabilities = probabilities
        self.seen.show(np.kron(digit, np.ones((8, 8), np.uint8)))
        self.bars.value = bars(probabilities)

    def _repr_mimebundle_(self, **options):
        """Add what a page without a kernel shows in the panel's place."""
        note = "<i>Draw a digit: run this cell in JupyterLab for a canvas that is read while you draw.</i>"
        return {**super()._repr_mimebundle_(**options), "text/plain": "Draw a digit", "text/html": note}


def digit_panel(model):
    """Return a canvas whose drawing is centred and scaled as MNIST's digits are, and read by `model` as you draw.

    Args:
        model: a `keras.Model` from images `(batch, 28, 28, 1)`, float32, 0–1, to logits `(batch, 10)`.

    Returns:
        A widget, for the last line of a cell.
    """
    return DigitPanel(model)


def bars(probabilities):
    """Return ten probabilities as bars, in HTML; the longest one is bold. None draws them empty."""
    values = np.zeros(10) if probabilities is None else probabilities
    rows = []
    for digit, value in enumerate(values):
        best = value > 0 and value == np.max(values)
        text = f"{100 * value:.0f} %" if probabilities is not None else ""
        rows.append(
            f'<div style="display:flex; height:22px; align-items:center; font-weight:{"bold" if best else "normal"}">'
            f'<span style="width:20px">{digit}</span>'
            f'<span style="width:{1 + 180 * value:.0f}px; height:14px; background:#1f77b4"></span>'
            f'<span style="padding-left:6px">{text}</span></div>'
        )
    return f'<div role="status" aria-label="probabilities">{"".join(rows)}</div>'
