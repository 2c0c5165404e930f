"""The panel of DeepDream."""

from types import SimpleNamespace

from helpers.deepdream import ChannelObjective, DeepDream, LayerObjective, full_size, layer_channels
from helpers.figures import plot_history
from helpers.panels.knobs import PictureChooser, choice, slider
from helpers.panels.panel import Panel

ALL = -1  # stands for every channel of a layer
SETTINGS = ("octaves", "octave_scale", "steps", "step_size", "jitter")


class DeepDreamPanel(Panel):
    """DeepDream behind buttons; see `deepdream_panel`."""

    title, file_name = "DeepDream, live", "deepdream"

    def __init__(self, backbone, image, size, octaves, steps):
        self.backbone, self.channels = backbone, layer_channels(backbone)
        self._dreamer, self._made_for = None, None
        mixture = [(f"all {len(backbone.dream_layers)} dream layers", "")]
        knobs = {
            "image": PictureChooser("Picture", image),
            "size": slider("Longest side", 128, 768, size, step=32, tip="pixels"),
            "layer": choice("Layer", mixture + [(name, name) for name in self.channels], ""),
            "channel": choice("Channel", [("all", ALL)], ALL, tip="one feature of the layer, or all of them"),
            "octaves": slider("Octaves", 1, 6, octaves, tip="sizes from small to large"),
            "octave_scale": slider("Octave scale", 1.1, 2.0, 1.4, step=0.05, tip="ratio of a size to the one before"),
            "steps": slider("Steps", 1, 50, steps, tip="in each octave"),
            "step_size": slider("Step size", 0.5, 10.0, 2.0, step=0.5, tip="mean change of a pixel, grey levels"),
            "jitter": slider("Jitter", 0, 64, 32, tip="random roll before each step, pixels at most"),
        }
        knobs["layer"].observe(self._list_channels, "value")
        super().__init__(knobs, choosers=("image",))

    def steps(self, values):
        """Load the picture and yield the steps of `DeepDream.iterate`."""
        self._original = self.knobs["image"].load(values["size"])
        settings = {name: values[name] for name in SETTINGS}
        for number, step in enumerate(self._fitting(values).iterate(self._original, **settings), 1):
            yield SimpleNamespace(number=number, **vars(step))

    def frame(self, step):
        """Return the dream at full size."""
        return full_size(step.image, self._original)

    def draw_curve(self, history):
        """Return the figure of the objective; where a new octave begins, it falls back."""
        return plot_history(history, x="step", panels={"what is climbed": ["loss"]})

    def code(self, values, stopped_at=None):
        """Return the cell that dreams the same dream."""
        layer, channel = values["layer"], values["channel"]
        if channel != ALL:
            objective = f'ChannelObjective("{layer}", {channel})'
        else:
            objective = f"LayerObjective({[layer] if layer else list(self.backbone.dream_layers)})"
        settings = "".join(f"    {name}={values[name]:g},\n" for name in SETTINGS)
        kind = objective.partition("(")[0]
        if stopped_at is None:
            run = f"image = dreamer.dream(\n    picture,\n{settings}).image\n"
        else:
            run = f"steps = dreamer.iterate(\n    picture,\n{settings})\n"
            run += f"for number, step in enumerate(steps, 1):\n    if number == {stopped_at}:\n"
            run += "        break\nimage = full_size(step.image, picture)\n"
        return f"""from helpers.backbones import load_backbone
from helpers.deepdream import {kind}, DeepDream{"" if stopped_at is None else ", full_size"}
from helpers.figures import show_images
from helpers.images import load_image
from helpers.files import CACHE

picture = {self.knobs["image"].code(values["size"])}
dreamer = DeepDream(load_backbone("{self.backbone.name}"), {objective})
{run}show_images([image], size=5)
"""

    def _list_channels(self, change):
        count = self.channels.get(change.new, 0)
        self.knobs["channel"].options = [("all", ALL)] + [(str(number), number) for number in range(count)]

    def _fitting(self, values):
        """Return a dreamer for this objective; the last one, with its traced function, where it fits."""
        layer, channel = values["layer"], values["channel"]
        made_for = (layer, channel == ALL)
        if self._made_for != made_for:
            whole = LayerObjective([layer] if layer else list(self.backbone.dream_layers))
            self._dreamer = DeepDream(self.backbone, whole if channel == ALL else ChannelObjective(layer, channel))
            self._made_for = made_for
        if channel != ALL:
            self._dreamer.objective.channel = channel
        return self._dreamer


def deepdream_panel(backbone, image="china", size=320, octaves=4, steps=10):
    """Return a panel that dreams into a picture, live.

    Args:
        backbone: from `load_backbone`.
        image: what is chosen at first: a name of `sample_names()`, or the path of a picture.
        size: longest side of the picture, pixels, 128 to 768.
        octaves: sizes from small to large, 1 to 6.
        steps: in each octave, 1 to 50.

    Returns:
        A widget with Run and Stop, for the last line of a cell.

    Raises:
        ImageError: if the picture cannot be loaded.
    """
    return DeepDreamPanel(backbone, image, size, octaves, steps)
