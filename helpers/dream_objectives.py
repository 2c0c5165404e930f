"""What a dream climbs: a layer, one of its channels, or the likeness to another picture's features.

An objective has three parts. `network(backbone)` gives the features that it looks at; `values(features_of)` gives the
numbers that may change from run to run without tracing anew; `loss(features, values)` is a scalar to be raised. Each
loss is a mean over positions, so that it means the same for pictures and tiles of every size.
"""

import numpy as np
import tensorflow as tf

from helpers.arguments import having, number
from helpers.backbones import feature_extractor, layer_names
from helpers.images import fitted, load_image, resize

BORDER = 2  # positions left out on each side, where a convolution saw the padding


def interior_mean(values):
    """Return the sum over all positions but the `BORDER` on each side, divided by the number of all values.

    A map too small for the border keeps at least its middle.

    Args:
        values: `(batch, height, width, channels)` or `(batch, height, width)`.
    """
    height, width = tf.shape(values)[1], tf.shape(values)[2]
    rows, columns = (tf.minimum(BORDER, (side - 1) // 2) for side in (height, width))
    inside = values[:, rows : height - rows, columns : width - columns]
    return tf.reduce_sum(inside) / tf.cast(tf.size(values), tf.float32)


class LayerObjective:
    """Whatever a layer sees, more of it: Σ c_l · mean(F_l²), F_l being the features of layer l (Mordvintsev, Olah and
    Tyka, "Inceptionism", 2015; the normalisation is that of Keras' DeepDream example).

    Args:
        layers: {name: coefficient c_l}, or names, whose coefficient is 1. A negative one makes a layer fall silent.

    `layers` may get other coefficients between runs, without tracing anew.

    Raises:
        ValueError: if there is no layer, or a coefficient is not finite.
    """

    def __init__(self, layers):  # noqa: D107 - the class says it
        names = [layers] if isinstance(layers, str) else layers
        having("layers", names, "__iter__", "names of layers, or {name: coefficient}")
        self.layers = dict(names) if isinstance(names, dict) else {name: 1.0 for name in names}

    def network(self, backbone):
        """Return the `keras.Model` from preprocessed pictures to `{name: features}`."""
        return feature_extractor(backbone, self.layers)

    def values(self, features_of):
        """Return the coefficients as tensors."""
        if not self.layers:
            raise ValueError("LayerObjective needs at least one layer, got none.")
        coefficients = {name: number(f"the coefficient of {name}", value) for name, value in self.layers.items()}
        if not any(coefficients.values()):
            raise ValueError("LayerObjective: all coefficients are 0, so there is nothing to climb.")
        return {name: tf.constant(coefficient, tf.float32) for name, coefficient in coefficients.items()}

    def loss(self, features, values):
        """Return Σ c_l · mean(F_l²), the outer positions left out."""
        return tf.add_n([values[name] * interior_mean(tf.square(features[name])) for name in self.layers])


class ChannelObjective:
    """What excites one feature: the mean of one channel, before its ReLU.

    After a ReLU a silent channel has no gradient, so that a start that does not excite it would stay as it is. Before
    it, every channel can be woken.

    Args:
        layer: name of a layer.
        channel: from 0; `channel` may be changed between runs, without tracing anew.
    """

    def __init__(self, layer, channel):  # noqa: D107 - the class says it
        self.layer, self.channel = having("layer", layer, "lower", "the name of a layer"), channel

    def network(self, backbone):
        """Return the `keras.Model` from preprocessed pictures to `{layer: values before the activation}`."""
        network = before_activation(backbone, self.layer)
        self._channels = network.output[self.layer].shape[-1]
        return network

    def values(self, features_of):
        """Return the channel as a tensor.

        Raises:
            ValueError: if the layer has no such channel.
        """
        channel = number(f"channel of {self.layer}", self.channel, 0, self._channels - 1, whole=True)
        return {"channel": tf.constant(channel, tf.int32)}

    def loss(self, features, values):
        """Return the mean of the channel, the outer positions left out."""
        return interior_mean(tf.gather(features[self.layer], values["channel"], axis=-1))


class GuideObjective:
    """A guided dream: each position looks for the place in the guide that it is most like, and becomes more like it.

    The loss is mean_i max_j x_i · y_j / N: x_i are the features of the dream at position i, y_j those of the guide at
    position j, N is the number of channels (the guided objective of Google's DeepDream notebook, 2015).

    Args:
        image: the guide, `(height, width, 3)`, 0–255.
        layer: name of a layer.
        max_side: longest side at which the guide is looked at, pixels.
        positions: at most so many positions of the guide are compared; of more, an even selection.
    """

    def __init__(self, image, layer, max_side=224, positions=1024):  # noqa: D107 - the class says it
        image, max_side = load_image(image), number("max_side", max_side, 1, whole=True)
        self.image = resize(image, fitted(image.shape, min(max_side, max(image.shape[:2])))).clip(0, 255)
        self.layer = having("layer", layer, "lower", "the name of a layer")
        self.positions = number("positions", positions, 1, whole=True)

    def network(self, backbone):
        """Return the `keras.Model` from preprocessed pictures to `{layer: features}`."""
        return feature_extractor(backbone, self.layer)

    def values(self, features_of):
        """Return the guide's features, `(positions, channels)`."""
        features = features_of(self.image)[self.layer]
        rows = tf.reshape(features, (-1, features.shape[-1]))
        chosen = np.linspace(0, rows.shape[0] - 1, min(self.positions, rows.shape[0])).round().astype(int)
        return {"guide": tf.gather(rows, chosen)}

    def loss(self, features, values):
        """Return mean_i max_j x_i · y_j / N, the outer positions left out."""
        likeness = tf.einsum("bhwc,jc->bhwj", features[self.layer], values["guide"])
        return interior_mean(tf.reduce_max(likeness, axis=-1)) / features[self.layer].shape[-1]


def layer_channels(backbone):
    """Return {layer: number of channels} of the layers worth dreaming with, from shallow to deep.

    These are the convolutions of a VGG and the `mixed` blocks of an Inception; every other layer can be named too.
    """
    layers = [backbone.model.get_layer(name) for name in layer_names(backbone)]
    mixed = [layer for layer in layers if layer.name.startswith("mixed")]
    convolutions = [layer for layer in layers if hasattr(layer, "kernel")]
    return {layer.name: layer.output.shape[-1] for layer in mixed or convolutions}


def before_activation(backbone, name):
    """Return the `keras.Model` from preprocessed pictures to `{name: what the layer computes before its ReLU}`.

    A layer that joins several, as Inception's `mixed` blocks do, is joined anew from what they are before theirs.

    Args:
        backbone: of `load_backbone`.
        name: of a layer.

    Raises:
        BackboneError: if there is no such layer.
    """
    import keras

    network = feature_extractor(backbone, name)  # checks the name
    return keras.Model(network.input, {name: _linear_output(network.get_layer(name))})


def _linear_output(layer):
    """Return the symbolic output of `layer` without its activation."""
    import keras

    if isinstance(layer, keras.layers.Activation | keras.layers.ReLU):
        return layer.input
    if isinstance(layer, keras.layers.Concatenate):
        parts = [_linear_output(tensor._keras_history.operation) for tensor in layer.input]
        return keras.layers.Concatenate(axis=layer.axis)(parts)
    if getattr(layer, "activation", None) not in (None, keras.activations.linear):
        settings = {**layer.get_config(), "activation": "linear", "name": f"{layer.name}_linear"}
        copy = type(layer).from_config(settings)
        values = copy(layer.input)
        copy.set_weights(layer.get_weights())
        return values
    return layer.output
