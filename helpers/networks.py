"""The classifiers that the course trains from scratch, each a function that builds a Keras model."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from keras.initializers import TruncatedNormal


def classic_mnist_cnn(features=(25, 50), dense=100, kernel_size=4, stddev=0.1):
    """Return the four-layer network of the *TensorFlow Machine Learning Cookbook* (McClure, 2017, chapter 8).

    Args:
        features: feature maps of the first and the second convolution.
        dense: units of the fully connected layer.
        kernel_size: side of the convolutions' kernels, in pixels.
        stddev: standard deviation of the truncated normal distribution that the weights start from.

    Returns:
        A `keras.Model` from images `(batch, 28, 28, 1)`, float32, 0–1, to logits `(batch, 10)`. At its defaults it has
        266,585 weights.
    """

    def start():  # one for each array: an initializer that is used again gives the same numbers again
        return TruncatedNormal(stddev=stddev)

    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(features[0], kernel_size, padding="same", activation="relu", kernel_initializer=start()),
            layers.MaxPooling2D(2),
            layers.Conv2D(features[1], kernel_size, padding="same", activation="relu", kernel_initializer=start()),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(dense, activation="relu", kernel_initializer=start(), bias_initializer=start()),
            layers.Dense(10, kernel_initializer=start(), bias_initializer=start()),
        ],
        name="classic",
    )


def modern_mnist_cnn(width=32, dropout=0.3):
    """Return a small convolutional network with batch normalisation (Ioffe and Szegedy, 2015).

    The first convolution is 5×5 and pooled at once, which leaves little to compute at full size; three 3×3
    convolutions follow.

    Args:
        width: feature maps of the first convolution; the later ones have 2 and 4 times as many.
        dropout: share of the last features that is zeroed in training, 0 to below 1 (Srivastava et al., 2014).

    Returns:
        A `keras.Model` from images `(batch, 28, 28, 1)`, float32, 0–1, to logits `(batch, 10)`.
    """

    def convolution(x, features, kernel_size):
        x = layers.Conv2D(features, kernel_size, use_bias=False)(x)  # the normalisation that follows has a bias
        x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.ReLU()(x)

    images = keras.Input((28, 28, 1))
    x = convolution(images, width, 5)
    x = layers.MaxPooling2D(2)(x)
    x = convolution(x, 2 * width, 3)
    x = convolution(x, 2 * width, 3)
    x = layers.MaxPooling2D(2)(x)
    x = convolution(x, 4 * width, 3)
    x = layers.Flatten()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(images, layers.Dense(10)(x), name="modern")


@keras.saving.register_keras_serializable("cnn_atelier")
class LocalResponseNormalization(layers.Layer):
    """Divide each activation by what its neighbours in the channels have (Krizhevsky et al., 2012, section 3.3).

    `b = a / (bias + alpha * sum of a² over the channels c - radius … c + radius) ** beta`, the sum cut off at the first
    and the last channel. Here it is a product with a band matrix, which on a CPU takes a part of the time of
    `tf.nn.local_response_normalization` and its gradient, and gives the same numbers.
    """

    def __init__(self, radius=5, bias=2.0, alpha=1e-3, beta=0.75, **keywords):
        """Take the number of neighbours on each side, and the constants of the formula."""
        super().__init__(**keywords)
        self.radius, self.bias, self.alpha, self.beta = radius, bias, alpha, beta

    def build(self, input_shape):
        """Make the matrix that sums over the neighbours."""
        channel = np.arange(input_shape[-1])
        self.neighbours = (abs(channel[:, None] - channel) <= self.radius).astype(np.float32)

    def call(self, inputs):
        """Return the normalised activations, of the shape of `inputs`, `(batch, height, width, channels)`."""
        neighbours = ops.convert_to_tensor(self.neighbours, inputs.dtype)
        energy = self.bias + self.alpha * ops.tensordot(ops.square(inputs), neighbours, axes=1)
        if self.beta != 0.75:
            return inputs * ops.power(energy, -self.beta)
        root = ops.rsqrt(energy)
        return inputs * (root * ops.sqrt(root))  # two square roots are faster than a power

    def get_config(self):
        """Return the arguments, so that a saved model brings them along."""
        names = ("radius", "bias", "alpha", "beta")
        return super().get_config() | {name: getattr(self, name) for name in names}


def classic_cifar10_cnn(features=64, dense=(384, 192), kernel_size=5, stddev=0.05, side=24):
    """Return the network of TensorFlow's first CIFAR-10 tutorial, as McClure's *Cookbook* (2017, chapter 8) has it.

    Args:
        features: feature maps of each of the two convolutions.
        dense: units of the two fully connected layers.
        kernel_size: side of the convolutions' kernels, in pixels.
        stddev: standard deviation of the truncated normal distribution that the weights start from.
        side: of the images, pixels.

    Returns:
        A `keras.Model` from images `(batch, side, side, 3)`, float32, standardised, to logits `(batch, 10)`. At its
        defaults it has 1,068,298 weights.
    """

    def start():
        return TruncatedNormal(stddev=stddev)

    def convolution():
        return [
            layers.Conv2D(features, kernel_size, padding="same", activation="relu", kernel_initializer=start()),
            layers.MaxPooling2D(3, strides=2, padding="same"),
            LocalResponseNormalization(),
        ]

    hidden = [layers.Dense(units, activation="relu", kernel_initializer=start()) for units in dense]
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            *convolution(),
            *convolution(),
            layers.Flatten(),
            *hidden,
            layers.Dense(10, kernel_initializer=start()),
        ],
        name="classic",
    )


@keras.saving.register_keras_serializable("cnn_atelier")
class FusedBatchNormalization(layers.BatchNormalization):
    """Keras' `BatchNormalization` for images, computed by TensorFlow's fused operation: the same numbers, sooner.

    Keras takes mean, variance and the normalised values in turn, each a pass over the activations; on a CPU that costs
    as much as the convolutions.
    """

    def call(self, inputs, training=False, mask=None):
        """Return the normalised activations, `(batch, height, width, channels)`, in their dtype."""
        scale, shift = tf.cast(self.gamma, tf.float32), tf.cast(self.beta, tf.float32)
        fused = tf.compat.v1.nn.fused_batch_norm
        if not training or not self.trainable:
            mean, variance = tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance)
            return fused(inputs, scale, shift, mean, variance, self.epsilon, is_training=False)[0]
        outputs, mean, variance = fused(inputs, scale, shift, epsilon=self.epsilon, is_training=True)
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        variance *= (count - 1) / count  # the operation divides by count - 1, Keras by count
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return outputs


def modern_cifar10_cnn(width=32):
    """Return a small residual network (He et al., 2016) with batch normalisation, for images of 16 pixels or more.

    A convolution and a pooling at full size; then three blocks of two convolutions, at a half, a quarter and an eighth
    of it. In each the second convolution learns what to add to the first one's result.

    Args:
        width: feature maps of the first block; the later ones have 2 and 4 times as many.

    Returns:
        A `keras.Model` from images `(batch, height, width, 3)`, float32, as `augmentation.scaled` returns them, to
        logits `(batch, 10)`, float32. At its default it has 298,986 weights. The outputs of its blocks are the layers
        `block1`, `block2` and `block3`.
    """

    def convolution(x, features):
        x = layers.Conv2D(features, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        return layers.ReLU()(FusedBatchNormalization(momentum=0.9)(x))

    images = keras.Input((None, None, 3))
    x = convolution(images, width)
    for block, features in enumerate((width, 2 * width, 4 * width), 1):
        x = layers.MaxPooling2D(2)(x)
        x = convolution(x, features)
        x = layers.Add(name=f"block{block}")([x, convolution(x, features)])
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(images, layers.Dense(10, dtype="float32")(x), name="modern")
