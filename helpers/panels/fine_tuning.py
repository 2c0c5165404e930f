"""The panel of a fine-tuning: from where the network is trained, on how many images, at which rate."""

import dataclasses

import keras
import numpy as np

from helpers.backbones import load_backbone
from helpers.fine_tuning import HEAD, features, mirrored_and_shifted, train_head, transfer_network, unfreeze
from helpers.image_folders import by_class
from helpers.panels.knobs import choice, log_slider, slider
from helpers.panels.training import SEED, ClassifierPanel

STARTS = {"pretrained": "imagenet", "random": None}


class FineTuningPanel(ClassifierPanel):
    """A fine-tuning behind buttons; see `fine_tuning_panel`."""

    title, file_name = "Fine-tuning, live", "fine_tuning"

    def __init__(self, dataset, backbone, side, from_layers, per_class, learning_rate, steps):
        self.backbone, self.side = backbone, side
        opened = [("the head alone", HEAD), *((f"{layer} to the end", layer) for layer in from_layers)]
        opened.append(("all layers", None))
        knobs = {
            "start": choice("Weights", list(STARTS), "pretrained", tip="what the network knows before the first step"),
            "head_first": choice("Head", [("random", False), ("trained first", True)], False, tip="how it begins"),
            "from_layer": choice("Train", opened, from_layers[0] if from_layers else None, tip="the rest stays frozen"),
            "per_class": choice("Images a class", list(per_class), per_class[len(per_class) // 2]),
            "learning_rate": log_slider("Learning rate", 1e-5, 1, learning_rate),
            "batch_size": choice("Batch size", [10, 25, 50, 100], 50, tip="images per step"),
            "steps": slider("Steps", 20, 1000, steps, step=20),
        }
        super().__init__(knobs, dataset)

    def steps(self, values):
        """Build the network, open it and yield the steps of `Training.iterate`."""
        keras.utils.set_random_seed(SEED)
        backbone = load_backbone(self.backbone, STARTS[values["start"]])
        network = transfer_network(backbone, len(self.dataset.class_names), self.side)
        x_train, y_train = by_class(self.dataset.x_train, self.dataset.y_train, values["per_class"])
        if values["head_first"]:
            train_head(network, features(network, x_train), y_train)
        if values["from_layer"] != HEAD:
            unfreeze(network, values["from_layer"])
        training = self.training_of(network, "momentum", (values["from_layer"],))
        settings = {name: values[name] for name in ("learning_rate", "batch_size", "steps")}
        few = dataclasses.replace(self.dataset, x_train=x_train, y_train=y_train)
        yield from training.iterate(few, augment=mirrored_and_shifted, prepare=np.asarray, **settings)

    def code(self, values, stopped_at=None):
        """Return the cell that fine-tunes the same network the same way."""
        loader = self.loader()
        used, prepared = ["mirrored_and_shifted", "transfer_network"], ""
        if values["head_first"]:
            used += ["features", "train_head"]
            prepared += "train_head(network, features(network, x_train), y_train)\n"
        if values["from_layer"] != HEAD:
            used.append("unfreeze")
            prepared += f"unfreeze(network, {values['from_layer']!r})\n"
        return f"""import dataclasses

import keras
import numpy as np

from helpers.backbones import load_backbone
from helpers.datasets import {loader}
from helpers.fine_tuning import {", ".join(sorted(used))}
from helpers.image_folders import by_class
from helpers.training_loop import Training

dataset = {loader}("{self.dataset.source}")
x_train, y_train = by_class(dataset.x_train, dataset.y_train, {values["per_class"]})
few = dataclasses.replace(dataset, x_train=x_train, y_train=y_train)
keras.utils.set_random_seed({SEED})
backbone = load_backbone({self.backbone!r}, {STARTS[values["start"]]!r})
network = transfer_network(backbone, {len(self.dataset.class_names)}, side={self.side})
{prepared}training = Training(network, "momentum")
for step in training.iterate(
    few,
    learning_rate={values["learning_rate"]:g},
    batch_size={values["batch_size"]},
    steps={stopped_at or values["steps"]},
    augment=mirrored_and_shifted,
    prepare=np.asarray,
):
    pass
print(f"validation accuracy: {{100 * step.accuracy:.1f}} %")
"""


def fine_tuning_panel(
    dataset, backbone="mini_vgg", side=None, from_layers=(), per_class=(10, 50, 250), learning_rate=0.01, steps=100
):
    """Return a panel that fine-tunes a network, live: loss, validation accuracy and predictions.

    Args:
        dataset: a `Dataset` of RGB images, such as `load_cifar10()` returns. Validation accuracy is of its first 1,000
            validation images; test images are never looked at.
        backbone: a name that `load_backbone` takes.
        side: as for `transfer_network`.
        from_layers: names of layers from which the network may be trained to its end; the head alone and all layers can
            be chosen too.
        per_class: numbers of training images of each class to choose from.
        learning_rate: what is chosen at first; gradient descent with a momentum of 0.9.
        steps: training steps, 20 to 1000.

    Returns:
        A widget with Run and Stop, for the last line of a cell. Its `model` is the network of the last run.
    """
    return FineTuningPanel(dataset, backbone, side, from_layers, per_class, learning_rate, steps)
