"""A training as a generator of steps: whoever consumes it decides to draw, record and stop."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from helpers.training import as_input, batches, predict

MEASURE_EVERY = 20  # steps
OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "gradient descent": keras.optimizers.SGD,
}


@dataclass(frozen=True)
class TrainingStep:
    """One training step.

    Attributes:
        number: 1 … `of`.
        of: steps of the whole training.
        loss: mean cross-entropy of this step's batch.
        accuracy: share of the validation images that are read rightly, 0–1; None where it was not measured.
        probabilities: of the classes, for each of those images, `(images, classes)`; None where not measured.
    """

    number: int
    of: int
    loss: float
    accuracy: float | None = None
    probabilities: np.ndarray | None = None


class Training:
    """A network and an optimiser, behind one traced step.

    Args:
        model: a `keras.Model` from images, as `prepare` makes them, to logits `(batch, classes)`.
        optimizer: `"adam"`, `"momentum"` (gradient descent with a momentum of 0.9) or `"gradient descent"`.

    Raises:
        ValueError: if the optimiser is not known.
    """

    def __init__(self, model, optimizer="adam"):  # noqa: D107 - the class says it
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer={optimizer!r} is not known. Choose one of {', '.join(map(repr, OPTIMIZERS))}.")
        self.model, self.optimizer = model, OPTIMIZERS[optimizer](0.001)
        self.optimizer.build(model.trainable_variables)
        self.cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._traced_step = tf.function(self.step)

    def step(self, images, labels):
        """Take one training step on a batch; return its mean cross-entropy."""
        with tf.GradientTape() as tape:
            loss = self.cross_entropy(labels, self.model(images, training=True))
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return loss

    def iterate(
        self,
        dataset,
        learning_rate=0.001,
        batch_size=128,
        steps=300,
        augment=None,
        prepare=as_input,
        measure_every=MEASURE_EVERY,
        measure_on=1000,
        seed=0,
    ):
        """Yield a `TrainingStep` for each step. The weights go on from where they are; the optimiser starts afresh.

        Args:
            dataset: a `Dataset`; its test images are never looked at.
            learning_rate: above 0.
            batch_size: images per step.
            steps: how many, 1 and up.
            augment: function from a batch of prepared images to such a batch, or None.
            prepare: function from the dataset's images to what the network takes.
            measure_every: steps between two measurements; the first and the last step are measured too.
            measure_on: how many validation images are measured on, always the first ones.
            seed: of the order of the images.

        Raises:
            ValueError: if an argument does not fit.
            FloatingPointError: if the loss becomes NaN or infinite.
        """
        if not (np.isfinite(learning_rate) and learning_rate > 0):
            raise ValueError(f"learning_rate={learning_rate!r}: give a number above 0.")
        if min(steps, measure_every, measure_on) < 1:
            raise ValueError(f"steps={steps}, measure_every={measure_every}, measure_on={measure_on}: give 1 or more.")
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        self.optimizer.learning_rate = learning_rate
        watched, labels = np.asarray(prepare(dataset.x_val[:measure_on])), dataset.y_val[:measure_on]
        stream = batches(dataset.x_train, dataset.y_train, batch_size, steps, seed)
        for number, (images, targets) in enumerate(stream, start=1):
            images = prepare(images)
            loss = float(self._traced_step(images if augment is None else augment(images), targets))
            if not np.isfinite(loss):
                at = f"Step {number}: the loss is {loss}"
                raise FloatingPointError(f"{at}. Lower the learning rate (now {learning_rate:g}).")
            if number % measure_every and number not in (1, steps):
                yield TrainingStep(number, steps, loss)
            else:
                probabilities = softmax(predict(self.model, watched), axis=1)
                accuracy = float(np.mean(probabilities.argmax(1) == labels))
                yield TrainingStep(number, steps, loss, accuracy, probabilities)
