"""The panel of style transfer."""

from types import SimpleNamespace

from helpers.backbones import layer_names
from helpers.optimizers import adam, gradient_descent, lbfgs
from helpers.panels.knobs import PictureChooser, choice, log_slider, several, slider
from helpers.panels.panel import Panel
from helpers.run import Record
from helpers.style_transfer import INITS, StyleTransfer

OPTIMIZERS = {  # what a cell calls, what it is called here, what makes it
    "lbfgs()": ("L-BFGS", lbfgs),
    "adam(learning_rate=6)": ("Adam, learning rate 6", adam),
    "gradient_descent(learning_rate=2)": ("gradient descent, learning rate 2", gradient_descent),
}


class StyleTransferPanel(Panel):
    """Style transfer behind buttons; see `style_transfer_panel`."""

    title, file_name = "Style transfer, live", "style_transfer"

    def __init__(self, backbone, content, style, size, steps):
        self.backbone, self._transfer, self._made_for = backbone, None, None
        layers = layer_names(backbone)
        knobs = {
            "content": PictureChooser("Content", content),
            "style": PictureChooser("Style", style),
            "content_weight": log_slider("Content weight", 0.01, 100, 1, zero=True),
            "style_weight": log_slider("Style weight", 0.1, 10_000, 50, zero=True),
            "tv_weight": log_slider("Smoothness", 0.1, 1000, 20, zero=True, tip="weight of the total variation"),
            "size": slider("Longest side", 64, 512, size, step=32, tip="pixels"),
            "steps": slider("Steps", 5, 300, steps, step=5),
            "optimizer": choice("Optimiser", [(name, code) for code, (name, _) in OPTIMIZERS.items()], "lbfgs()"),
            "init": choice("Start from", list(INITS), "recolored"),
            "preserve_color": choice(
                "Colours", [("of the style", ""), ("luminance", "luminance"), ("histogram", "histogram")], ""
            ),
            "content_layers": several("Content layers", layers, list(backbone.content_layers), rows=3),
            "style_layers": several("Style layers", layers, list(backbone.style_layers), rows=3),
        }
        super().__init__(knobs, choosers=("content", "style"))

    def steps(self, values):
        """Load the pictures and yield the steps of `StyleTransfer.iterate`."""
        self._record = Record()
        content, style = self.knobs["content"].load(values["size"]), self.knobs["style"].load()
        transfer = self._fitting(values, content.shape, style.shape)
        settings = {name: values[name] or None for name in ("init", "steps", "preserve_color")}
        optimizer = OPTIMIZERS[values["optimizer"]][1]()
        for number, step in enumerate(transfer.iterate(content, style, optimizer=optimizer, **settings), 1):
            yield SimpleNamespace(number=number, **vars(step))

    def losses(self, step):
        """Keep the best image, and return the weighted terms."""
        self._record.add(step)
        return step.losses

    def outcome(self):
        """Return the best image, as `stylize` does."""
        return self._record.image

    def code(self, values, stopped_at=None):
        """Return the cell that makes the same picture."""
        optimizer = values["optimizer"]
        return f"""from helpers.backbones import load_backbone
from helpers.figures import show_images
from helpers.images import load_image
from helpers.optimizers import {optimizer.partition("(")[0]}
from helpers.files import CACHE
from helpers.style_transfer import StyleTransfer

content = {self.knobs["content"].code(values["size"])}
style = {self.knobs["style"].code()}
transfer = StyleTransfer(
    load_backbone("{self.backbone.name}"),
    content_layers={list(values["content_layers"])},
    style_layers={list(values["style_layers"])},
    content_weight={values["content_weight"]:g},
    style_weight={values["style_weight"]:g},
    tv_weight={values["tv_weight"]:g},
)
result = transfer.stylize(
    content,
    style,
    init="{values["init"]}",
    optimizer={optimizer},
    steps={stopped_at or values["steps"]},
    preserve_color={values["preserve_color"] or None!r},
)
show_images([result.image], size=4)
"""

    def _fitting(self, values, *shapes):
        """Return a transfer with these weights; the last one, with its traced function, if layers and sizes fit."""
        made_for = (values["content_layers"], values["style_layers"], shapes)
        if self._made_for != made_for:
            self._transfer, self._made_for = None, None
            self._transfer = StyleTransfer(self.backbone, list(made_for[0]), list(made_for[1]))
            self._made_for = made_for
        for weight in ("content_weight", "style_weight", "tv_weight"):
            setattr(self._transfer, weight, values[weight])
        return self._transfer


def style_transfer_panel(backbone, content="china", style="night_swirls", size=256, steps=60):
    """Return a panel that paints one picture in the style of another, live.

    Args:
        backbone: from `load_backbone`.
        content: what is chosen at first: a name of `sample_names()`, or the path of a picture.
        style: the same.
        size: longest side of the result, pixels, 64 to 512.
        steps: evaluations of loss and gradient, 5 to 300.

    Returns:
        A widget with Run and Stop, for the last line of a cell.

    Raises:
        ImageError: if a picture cannot be loaded.
    """
    return StyleTransferPanel(backbone, content, style, size, steps)
