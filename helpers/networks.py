"""The classifiers that the course trains from scratch, each a function that builds a Keras model."""

import keras
from keras import layers
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
