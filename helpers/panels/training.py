"""The panel of a training, and the sheet of predictions that it shows."""

import keras
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from helpers.figures import plot_history
from helpers.panels.knobs import choice, log_slider, slider
from helpers.panels.panel import Panel
from helpers.training import as_input, random_affine
from helpers.training_loop import MEASURE_EVERY, OPTIMIZERS, Training

LOADERS = {"MNIST": "load_mnist", "CIFAR-10": "load_cifar10"}
SHOWN, COLUMNS, CELL, LINE = 20, 5, 74, 14  # images on the sheet, in a row; pixels of a field and of its line of text
SEED = 7


class ClassifierPanel(Panel):
    """A panel whose steps are those of `Training.iterate`: predictions, loss and validation accuracy.

    `model` is the network of the last run, or None.
    """

    def __init__(self, knobs, dataset):
        self.dataset, self.model = dataset, None
        self._training, self._made_for = None, None
        super().__init__(knobs)

    def losses(self, step):
        """Return the loss of the batch, and the validation accuracy where it was measured."""
        return {"loss": step.loss, "validation accuracy": step.accuracy}

    def shows(self, step):
        """Return whether predictions were measured."""
        return step.probabilities is not None

    def pictures(self, steps):
        """Return how many pictures a run of so many steps shows."""
        return steps // MEASURE_EVERY + 2

    def frame(self, step):
        """Return the sheet of predictions."""
        count = min(SHOWN, len(step.probabilities))
        images, labels = self.dataset.x_val[:count], self.dataset.y_val[:count]
        return prediction_sheet(images, labels, step.probabilities[:count], self.dataset.class_names)

    def draw_curve(self, history):
        """Return the figure of loss and accuracy."""
        return plot_history(history, x="step")

    def training_of(self, model, optimizer, made_for):
        """Return a `Training` of a new network; the last one, with its traced step, where it only needs new weights."""
        if self._made_for != made_for:
            self._training, self._made_for = Training(model, optimizer), made_for
        for kept, new in zip(self._training.model.variables, model.variables, strict=True):
            kept.assign(new)
        self.model = self._training.model
        return self._training

    def loader(self):
        """Return the name of the function that loads the dataset."""
        if self.dataset.name not in LOADERS:
            raise ValueError(f"There is no function of the course that loads {self.dataset.name}, so no cell can.")
        return LOADERS[self.dataset.name]


class TrainingPanel(ClassifierPanel):
    """A training behind buttons; see `training_panel`."""

    title, file_name = "Training, live", "training"

    def __init__(self, dataset, networks, augment, prepare, learning_rate, steps):
        self.augment, self.prepare = augment, prepare
        self.networks = {network.__name__: network for network in networks}
        widths = [8, 16, 24, 32, 48, 64]
        knobs = {
            "network": choice("Network", list(self.networks), next(iter(self.networks))),
            "width": choice("Width", widths, 32, tip="feature maps of the first convolution"),
            "optimizer": choice("Optimiser", list(OPTIMIZERS), "adam"),
            "learning_rate": log_slider("Learning rate", 1e-5, 10, learning_rate),
            "batch_size": choice("Batch size", [8, 16, 32, 64, 128, 256], 64, tip="images per step"),
            "steps": slider("Steps", 20, 1000, steps, step=20),
        }
        if augment is not None:
            knobs["augment"] = choice("Augmentation", [("off", False), (augment.__name__, True)], False)
        super().__init__(knobs, dataset)

    def steps(self, values):
        """Build the network and yield the steps of `Training.iterate`."""
        keras.utils.set_random_seed(SEED)
        made_for = tuple(values[name] for name in ("network", "width", "optimizer"))
        network = self.networks[values["network"]](values["width"])
        training = self.training_of(network, values["optimizer"], made_for)
        settings = {name: values[name] for name in ("learning_rate", "batch_size", "steps")}
        augment = self.augment if values.get("augment") else None
        yield from training.iterate(self.dataset, augment=augment, prepare=self.prepare, **settings)

    def code(self, values, stopped_at=None):
        """Return the cell that trains the same network the same way."""
        network = self.networks[values["network"]]
        augment = self.augment if values.get("augment") else None
        loader = self.loader()
        ours = [
            thing for thing in (network, augment, self.prepare) if thing is not None and thing.__module__ != "__main__"
        ]
        imports = "\n".join(f"from {thing.__module__} import {thing.__name__}" for thing in ours)
        return f"""import keras

from helpers.datasets import {loader}
{imports}
from helpers.training_loop import Training

dataset = {loader}("{self.dataset.source}")
keras.utils.set_random_seed({SEED})
model = {network.__name__}({values["width"]})
training = Training(model, "{values["optimizer"]}")
for step in training.iterate(
    dataset,
    learning_rate={values["learning_rate"]:g},
    batch_size={values["batch_size"]},
    steps={stopped_at or values["steps"]},
    augment={augment.__name__ if augment else None},
    prepare={self.prepare.__name__},
):
    pass
print(f"validation accuracy: {{100 * step.accuracy:.1f}} %")
"""


def training_panel(dataset, networks, augment=random_affine, prepare=as_input, learning_rate=0.001, steps=200):
    """Return a panel that trains a network, live: loss, validation accuracy and predictions.

    Args:
        dataset: a `Dataset`, such as `load_mnist()` returns. Validation accuracy is of its first 1,000 validation
            images; test images are never looked at.
        networks: functions that take a width, the feature maps of the first convolution, and return a `keras.Model`
            from images, as `prepare` makes them, to logits.
        augment: function from a batch of prepared images to such a batch, to choose in the panel, or None.
        prepare: function from the dataset's images to what the networks take; the default gives float32, 0–1.
        learning_rate: what is chosen at first.
        steps: training steps, 20 to 1000.

    Returns:
        A widget with Run and Stop, for the last line of a cell. Its `model` is the network of the last run.
    """
    return TrainingPanel(dataset, networks, augment, prepare, learning_rate, steps)


def prediction_sheet(images, labels, probabilities, class_names):
    """Return a picture of images with the class that each is read as and its probability, red where it is wrong.

    Args:
        images: uint8 `(n, h, w)` or `(n, h, w, 3)`.
        labels: int `(n,)`.
        probabilities: `(n, classes)`.
        class_names: sequence of str.

    Returns:
        uint8 `(height, width, 3)`.
    """
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * (CELL + 2)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (image, label, probability) in enumerate(zip(images, labels, probabilities, strict=True)):
        row, column = divmod(index, COLUMNS)
        left, top = column * CELL, row * (CELL + 2)
        side = CELL - LINE - 2
        picture = Image.fromarray(image).convert("RGB").resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(picture, (left + (CELL - side) // 2, top + LINE))
        guess = int(np.argmax(probability))
        text = f"{class_names[guess]}  {100 * probability[guess]:.0f} %"
        text = text if font.getlength(text) < CELL else class_names[guess]
        colour = "black" if guess == label else "crimson"
        pen.text((left + CELL / 2, top + LINE / 2), text, font=font, fill=colour, anchor="mm")
    return np.asarray(sheet)
