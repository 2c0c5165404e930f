"""The classifiers that the course trains from scratch, each a function that builds a Keras model."""

import keras
import numpy as np
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
    start = TruncatedNormal(stddev=stddev)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(features[0], kernel_size, padding="same", activation="relu", kernel_initializer=start),
            layers.MaxPooling2D(2),
            layers.Conv2D(features[1], kernel_size, padding="same", activation="relu", kernel_initializer=start),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(dense, activation="relu", kernel_initializer=start, bias_initializer=start),
            layers.Dense(10, kernel_initializer=start, bias_initializer=start),
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
