"""Random changes of colour pictures that leave their class what it is; each takes a batch, each image has its own.

They are TensorFlow operations on whole batches, for the `map` of a `tf.data` pipeline, where they run while the network
trains.
"""

import tensorflow as tf


def random_window(images, side, shift=0, flip=True):
    """Cut a square out of each image at a random place, and mirror half of them left to right.

    Args:
        images: uint8 or float32 `(batch, height, width, channels)`.
        side: height and width of what is cut out, pixels.
        shift: how far the square may reach over the rim, pixels; outside the image all is 0.
        flip: False mirrors none.

    Returns:
        The same dtype, `(batch, side, side, channels)`.
    """
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]

    def place(size):
        return tf.cast(tf.random.uniform([count], -shift, size - side + shift + 1, tf.int32), tf.float32)

    down, across = place(height), place(width)
    mirrored = tf.cast(tf.random.uniform([count]) < (0.5 if flip else 0.0), tf.float32)
    zeros, ones = tf.zeros([count]), tf.ones([count])
    # x of the source is across + x, or across + side - 1 - x where mirrored; y is down + y
    rows = [1 - 2 * mirrored, zeros, across + (side - 1) * mirrored, zeros, ones, down, zeros, zeros]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack(rows, axis=1),
        output_shape=[side, side],
        interpolation="NEAREST",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )


def random_brightness(images, most=63.0):
    """Add a random number from -`most` to `most` grey levels to all of an image; float32, not clipped."""
    return tf.cast(images, tf.float32) + _each(images, -most, most)


def random_contrast(images, low=0.2, high=1.8):
    """Multiply each image's distance from the mean of its channel by a random factor from `low` to `high`; float32."""
    images = tf.cast(images, tf.float32)
    mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    return mean + (images - mean) * _each(images, low, high)


def _each(images, low, high):
    """One random number for each image, shaped so that it broadcasts."""
    return tf.random.uniform([tf.shape(images)[0], 1, 1, 1], low, high)


def distort(images, side=24):
    """Return training images as the official CIFAR-10 tutorial of TensorFlow distorted them (2015).

    Random crop, mirror, brightness ±63, contrast 0.2–1.8, and per-image standardisation, in this order.

    Args:
        images: uint8 `(batch, 32, 32, 3)`, 0–255.
        side: of the crop, pixels.

    Returns:
        float32 `(batch, side, side, 3)`; each image has mean 0 and standard deviation 1.
    """
    images = random_window(images, side)
    images = random_contrast(random_brightness(images))
    return tf.image.per_image_standardization(images)


def centre(images, side=24):
    """Return test images as a network trained on `distort` takes them: the central crop, standardised."""
    top, left = (images.shape[1] - side) // 2, (images.shape[2] - side) // 2
    return tf.image.per_image_standardization(images[:, top : top + side, left : left + side])


def scaled(images):
    """Return images, 0–255, as float32 of about mean 0 and standard deviation 1; CIFAR-10 has 121 and 64."""
    return (tf.cast(images, tf.float32) - 121.0) / 64.0


def flip_and_shift(images, shift=2, side=None):
    """Return training images mirrored at random and shifted by up to `shift` pixels either way, and scaled.

    Args:
        images: uint8 `(batch, height, width, 3)`, 0–255.
        shift: pixels; what comes in from outside is black.
        side: of the random square that is cut out, pixels; None takes all of the image. A smaller one trains faster.

    Returns:
        float32 `(batch, side, side, 3)`, about mean 0 and standard deviation 1.
    """
    return scaled(random_window(images, side or images.shape[1], shift))
