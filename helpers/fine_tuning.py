"""Fine-tuning: a network that was trained for one task learns another one from few images.

`transfer_network` puts a new head on a `Backbone`; `features` computes, once, what the frozen body says of each image;
`train_head` trains the head on them in seconds; `unfreeze` opens the last blocks; `train` trains whatever is open, at
one rate or, with `LayerRates`, at a rate of its own for each layer.
"""

import dataclasses

import keras
import numpy as np
from keras import layers

from helpers import augmentation, backbones
from helpers.training import OneCycle, image_pipeline, predict

BODY, FEATURES, HEAD = "body", "features", "head"  # layers of a transfer network


@keras.saving.register_keras_serializable("cnn_atelier")
class Preprocess(layers.Layer):
    """RGB images, 0–255, as a backbone wants them and in the size that it wants, batch by batch, inside the model.

    Args:
        backbone: its name, such as "mini_vgg".
        side: height and width of the result, pixels; None leaves images as large as they come.
    """

    def __init__(self, backbone, side, **keywords):  # noqa: D107 - the class says it
        super().__init__(**keywords)
        self.backbone, self.side = backbone, side

    def call(self, images):
        """Return float32 `(batch, side, side, 3)`."""
        images = keras.ops.cast(images, "float32")
        if self.side is not None and tuple(images.shape[1:3]) != (self.side, self.side):
            images = keras.ops.image.resize(images, (self.side, self.side), data_format="channels_last")
        return backbones.RECIPES[self.backbone].preprocess(images)

    def get_config(self):
        """Return the arguments, so that a saved model brings its preprocessing along."""
        return super().get_config() | {"backbone": self.backbone, "side": self.side}


def transfer_network(backbone, classes, side=None, dropout=0.2):
    """Return a classifier: the backbone, frozen, the mean of its last features, and a new dense layer, the head.

    Args:
        backbone: of `load_backbone`. Its layers become a part of the classifier, and are trained with it.
        classes: number of classes, 2 and up.
        side: height and width to which images are brought inside the model, pixels; None: the backbone's smallest;
            "any": none, they stay as large as they come.
        dropout: share of the features that is zeroed in training, 0 to below 1.

    Returns:
        A `keras.Model` from RGB `(batch, height, width, 3)`, 0–255, to logits `(batch, classes)`. Its parts are the
        layers "body", "features" (the mean over all positions) and "head".

    Raises:
        ValueError: if the backbone cannot take such small images, or there are fewer than 2 classes.
    """
    side = backbone.smallest_side if side is None else side
    if side != "any" and side < backbone.smallest_side:
        raise ValueError(f"side={side}: {backbone.name} takes images of {backbone.smallest_side} pixels and more.")
    if classes < 2:
        raise ValueError(f"classes={classes}: a classifier needs 2 and more.")
    images = keras.Input((None, None, 3), name="images")
    prepared = Preprocess(backbone.name, None if side == "any" else side, name="preprocess")(images)
    body = keras.Model(backbone.model.input, backbone.model.output, name=BODY)
    body.trainable = False
    mean = layers.GlobalAveragePooling2D(name=FEATURES)(body(prepared))
    kept = layers.Dropout(dropout)(mean)
    return keras.Model(images, layers.Dense(classes, name=HEAD)(kept), name="transfer")


def features(network, images, batch_size=250):
    """Return what the body of a transfer network says of each image: float32 `(n, channels)`.

    Args:
        network: of `transfer_network`.
        images: RGB `(n, height, width, 3)`, 0–255.
        batch_size: images at a time; it changes the memory needed, not the result.
    """
    return predict(keras.Model(network.input, network.get_layer(FEATURES).output), images, batch_size)


def train_head(network, cached, labels, epochs=30, rate=2e-3, batch_size=50, seed=0):
    """Train the head of a transfer network, from zero, on features that were computed before.

    A head that begins with random numbers has opinions which a few images cannot make it unlearn.

    Args:
        network: of `transfer_network`; its head is changed.
        cached: what `features` returned, `(n, channels)`.
        labels: int `(n,)`.
        epochs: passes over the features.
        rate: highest learning rate of Adam's one cycle.
        batch_size: features in a step; all of them where they are fewer.
        seed: of the order.

    Returns:
        Keras' history, a dict of lists.
    """
    head = network.get_layer(HEAD)
    head.set_weights([np.zeros_like(weight) for weight in head.get_weights()])
    inputs = keras.Input(cached.shape[1:])
    classifier = keras.Model(inputs, head(inputs))
    return _fit(classifier, cached, labels, epochs, keras.optimizers.Adam, rate, batch_size, seed, None)


def unfreeze(network, from_layer=None, batch_normalization=False):
    """Open the body of a transfer network for training, from one layer to its end; the layers before it are frozen.

    Keras looks at this when it compiles: compile after it, as `train` does. Batch normalisation stays frozen, which in
    Keras means two things: its weights stay, and it runs on the means and variances that it was trained with.

    Args:
        network: of `transfer_network`.
        from_layer: the name of the body's first layer to train; None opens all of them.
        batch_normalization: open it too. It then runs on the statistics of each batch, and forgets its own.

    Raises:
        BackboneError: if the body has no such layer.
    """
    body = network.get_layer(BODY)
    names = [layer.name for layer in body.layers[1:]]
    first = 0 if from_layer is None else names.index(backbones.known(from_layer, names, "layer of the body"))
    body.trainable = True
    for place, layer in enumerate(body.layers[1:]):
        layer.trainable = place >= first and (batch_normalization or not _normalizes(layer))


def _normalizes(layer):
    return isinstance(layer, layers.BatchNormalization)


def opened_at(network, layer):
    """Return the same network in one piece less nested: a layer of the body is a layer of its own, for `grad_cam`.

    Args:
        network: of `transfer_network`; the two share their weights.
        layer: a layer of the body through which everything passes, such as `block4_conv2` or `mixed7`.

    Returns:
        A `keras.Model` from RGB images, 0–255, to logits.

    Raises:
        BackboneError: if the body has no such layer.
    """
    body = network.get_layer(BODY)
    maps = body.get_layer(backbones.known(layer, [one.name for one in body.layers[1:]], "layer of the body")).output
    first, rest = keras.Model(body.input, maps, name="first"), keras.Model(maps, body.output, name="rest")
    named = layers.Activation("linear", name=layer)  # a model within a model does not show its output, a layer does
    last = rest(named(first(network.get_layer("preprocess")(network.input))))
    return keras.Model(network.input, network.get_layer(HEAD)(network.get_layer(FEATURES)(last)), name=network.name)


def trainable_weights(network):
    """Return how many numbers of a network training changes: an int."""
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def train(network, images, labels, epochs, rate, batch_size=50, seed=0, factors=None, validation=None, callbacks=()):
    """Train what is open in a network, on mirrored and shifted images, with one cycle; return Keras' history, a dict.

    Args:
        network: a classifier of RGB images, 0–255, such as `transfer_network` gives.
        images: uint8 `(n, height, width, 3)`.
        labels: int `(n,)`.
        epochs: passes over the images.
        rate: highest learning rate of the cycle; gradient descent with Nesterov's momentum of 0.9.
        batch_size: images in a step; all of them where they are fewer.
        seed: of the order.
        factors: {layer: factor on the rate}, see `LayerRates`; None: 1 for all.
        validation: (images, labels), measured after each epoch, or None.
        callbacks: Keras' callbacks.
    """

    def optimizer(schedule):
        return LayerRates(schedule, factors or {})

    augment = mirrored_and_shifted
    return _fit(network, images, labels, epochs, optimizer, rate, batch_size, seed, augment, validation, callbacks)


def mirrored_and_shifted(images):
    """Return a batch of square images, each shifted by up to an eighth of its side, half of them mirrored."""
    return augmentation.random_window(images, images.shape[1], shift=images.shape[1] // 8)


def _fit(model, inputs, labels, epochs, optimizer, rate, batch_size, seed, augment, validation=None, callbacks=()):
    batch_size = min(batch_size, len(inputs))
    schedule = OneCycle(rate, epochs * (len(inputs) // batch_size))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(schedule), loss, metrics=["accuracy"], jit_compile=False)
    pipeline = image_pipeline(inputs, labels, batch_size, seed, augment)
    fit = model.fit(
        pipeline, epochs=epochs, validation_data=validation, verbose=0, shuffle=False, callbacks=list(callbacks)
    )
    return fit.history


@keras.saving.register_keras_serializable("cnn_atelier")
class LayerRates(keras.optimizers.SGD):
    """Gradient descent with Nesterov's momentum, whose rate is multiplied by a factor of its own in each layer.

    Howard and Ruder ("Universal Language Model Fine-tuning for Text Classification", 2018, arXiv:1801.06146, section
    3.2) call it discriminative fine-tuning: early layers, which see edges and colours, need the least change.

    Args:
        learning_rate: a number or a schedule.
        factors: {name of a layer: factor}; a layer that is not named has a factor of 1.
        momentum: share of the last step that is kept.
        clip_norm: largest norm of a gradient; a longer one is shortened to it, before it is multiplied.
    """

    def __init__(self, learning_rate=0.01, factors=None, momentum=0.9, clip_norm=1.0, nesterov=True, **keywords):  # noqa: D107
        super().__init__(learning_rate, momentum, nesterov=nesterov, **keywords)
        self.factors, self.clip_norm = dict(factors or {}), clip_norm

    def apply(self, grads, trainable_variables=None):
        """Move each variable. A gradient times a factor is a rate times that factor, with momentum too."""
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        factors = [self.factors.get(variable.path.split("/")[-2], 1.0) for variable in variables]
        scaled = [
            None if grad is None else factor * shortened(grad, self.clip_norm)
            for grad, factor in zip(grads, factors, strict=True)
        ]
        return super().apply(scaled, trainable_variables)

    def get_config(self):
        """Return the arguments, so that a saved model brings its rates along."""
        return super().get_config() | {"factors": self.factors, "clip_norm": self.clip_norm}


def shortened(gradient, clip_norm):
    """Return a gradient whose norm is at most `clip_norm`, in the same direction."""
    norm = keras.ops.sqrt(keras.ops.sum(keras.ops.square(gradient)))
    return gradient * keras.ops.minimum(1.0, clip_norm / (norm + 1e-12))


def rates_by_depth(network, decay=2.6):
    """Return `{layer: factor}` for `LayerRates`: 1 for the head, and a `decay`-th of it for each block below.

    A block is what shares the first part of its name, such as `block4_conv1` and `block4_conv2`; 2.6 is Howard and
    Ruder's.
    """
    names = [layer.name for layer in network.get_layer(BODY).layers if layer.weights]
    blocks = list(dict.fromkeys(name.partition("_")[0] for name in names))
    return {name: float(decay) ** (blocks.index(name.partition("_")[0]) - len(blocks)) for name in names}


def in_precision(backbone, policy):
    """Return the same backbone with layers that compute in another precision, such as "mixed_bfloat16".

    Args:
        backbone: of `load_backbone`; it stays as it was.
        policy: a Keras dtype policy. Weights stay float32.
    """

    def renewed(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": policy, "trainable": True})

    model = keras.models.clone_model(backbone.model, clone_function=renewed)
    model.set_weights(backbone.model.get_weights())
    return dataclasses.replace(backbone, model=model)


def with_batch_normalization(backbone, images):
    """Return a `mini_vgg` whose convolutions are followed by batch normalisation again, and which computes the same.

    The course's network was trained with batch normalisation (Ioffe and Szegedy, 2015), which was folded into its
    kernels. Here it is unfolded: each layer's mean and variance are measured over `images`, its scale and shift are set
    so that nothing changes as long as it runs on these statistics.

    Args:
        backbone: `mini_vgg`, of `load_backbone`.
        images: RGB `(n, height, width, 3)`, 0–255, at least 32 pixels high and wide; a few hundred are enough.

    Returns:
        A `Backbone` with layers of its own; the one given stays as it was.
    """
    features = keras.ops.convert_to_tensor(backbone.preprocess(np.asarray(images)))
    inputs = outputs = keras.Input((None, None, 3))
    for layer in backbone.model.layers[1:]:
        if not isinstance(layer, layers.Conv2D):
            features, outputs = layer(features), layer(outputs)
            continue
        convolution = layers.Conv2D(layer.filters, layer.kernel_size, padding="same", name=layer.name)
        normalization = layers.BatchNormalization(name=f"{layer.name}_norm")
        outputs = layers.ReLU(name=f"{layer.name}_relu")(normalization(convolution(outputs)))
        convolution.set_weights(layer.get_weights())
        mean, variance = keras.ops.moments(convolution(features), axes=(0, 1, 2))
        scale = keras.ops.sqrt(variance + normalization.epsilon)
        normalization.set_weights([np.asarray(values) for values in (scale, mean, mean, variance)])
        features = layer(features)
    return dataclasses.replace(backbone, model=keras.Model(inputs, outputs, name="mini_vgg"))
