"""What style transfer minimises: the equations of Gatys, Ecker and Bethge, and the smoothness term.

Papers: "A Neural Algorithm of Artistic Style" (2015, arXiv:1508.06576) and "Image Style Transfer Using Convolutional
Neural Networks" (CVPR 2016); the equation numbers below are the same in both. N is the number of channels of a layer, M
the number of its positions (height times width), F its features, one row per position.

Every function takes tensors or arrays of any real dtype, computes in float32 and returns a tensor. A loss is a scalar,
summed over the batch. `normalization="paper"` is the papers' formula; `"mean"` divides it so that the same weights hold
for every image size, every layer and every network.
"""

import tensorflow as tf

from helpers.arguments import number, short

NORMALIZATIONS = ("paper", "mean")
_SMALLEST = 1e-12  # keeps a division by an all-zero target finite


def gram_matrix(features):
    """Return which channels fire together, wherever they do: G = FᵀF, summed over positions (equation 3).

    Args:
        features: `(batch, height, width, channels)`.

    Returns:
        float32 `(batch, channels, channels)`, symmetric and positive semi-definite. It has no trace of *where*.

    Raises:
        ValueError: if `features` has not four axes.
    """
    features = _features(features, "gram_matrix")
    batch, height, width, channels = _sizes(features)
    positions = tf.reshape(features, (batch, height * width, channels))
    return tf.matmul(positions, positions, transpose_a=True)


def content_loss(generated, target, normalization="paper"):
    """Return how far the features are from those of the content image: ½ Σ (F − P)² (equation 1).

    Args:
        generated: features F of the generated image, `(batch, height, width, channels)`.
        target: features P of the content image at the same layer, of the same shape (or with a batch of 1).
        normalization: `"paper"`, or `"mean"` for Σ (F − P)² / Σ P²: 0 at the target, 1 where F is all zero.

    Raises:
        ValueError: if the shapes differ or `normalization` is unknown.
    """
    _check_normalization(normalization)
    generated, target = _features(generated, "content_loss"), _features(target, "content_loss")
    if generated.shape[1:] != target.shape[1:] or target.shape[0] not in (1, generated.shape[0], None):
        raise ValueError(
            f"content_loss compares features of one shape, got {tuple(generated.shape)} and {tuple(target.shape)}. "
            "Resize the content image to the size of the generated one first."
        )
    squares = tf.reduce_sum(tf.square(generated - target), axis=(1, 2, 3))
    if normalization == "paper":
        return tf.reduce_sum(squares) / 2
    reference = tf.reduce_sum(tf.square(target), axis=(1, 2, 3))
    return tf.reduce_sum(squares / tf.maximum(reference, _SMALLEST))


def style_loss(generated, target_gram, target_size, normalization="paper"):
    """Return how far the Gram matrix is from that of the style image: E = Σ (G − A)² / (4 N² M²) (equation 4).

    The style image may have another size than the generated one: G is divided by the generated image's own M, A by the
    style image's, and then the sum by 4 N². Where both have the same M, that is equation 4.

    Args:
        generated: features of the generated image, `(batch, height, width, channels)`.
        target_gram: `gram_matrix` of the style image's features at the same layer, A: `(batch or 1, channels,
            channels)`.
        target_size: M of the style image's features: the positions (height times width) that A was summed over.
        normalization: `"paper"`, or `"mean"` for Σ (G/M − A/M')² / Σ (A/M')²: 0 at the target, 1 where F is all zero.

    Raises:
        ValueError: if the numbers of channels differ or `normalization` is unknown.
    """
    _check_normalization(normalization)
    generated = _features(generated, "style_loss")
    target_gram, target_size = _real(target_gram, "style_loss"), number("target_size", target_size, above=0)
    _, height, width, channels = _sizes(generated)
    if target_gram.shape.rank != 3 or generated.shape[-1] != target_gram.shape[-1]:
        raise ValueError(
            f"style_loss got features of {generated.shape[-1]} channels and a Gram matrix of shape "
            f"{tuple(target_gram.shape)}: both must come from the same layer of the same network."
        )
    gram = gram_matrix(generated) / tf.cast(height * width, tf.float32)
    target = target_gram / target_size
    squares = tf.reduce_sum(tf.square(gram - target), axis=(1, 2))
    if normalization == "paper":
        return tf.reduce_sum(squares) / (4 * tf.cast(channels, tf.float32) ** 2)
    reference = tf.reduce_sum(tf.square(target), axis=(1, 2))
    return tf.reduce_sum(squares / tf.maximum(reference, _SMALLEST))


def total_variation(image, exponent=1.25, normalization="paper"):
    """Return how rough an image is: Σ ((Δx)² + (Δy)²)^exponent over the pixels that have both neighbours.

    Δx and Δy are the differences to the next pixel on the right and below. This is the regulariser of Mahendran and
    Vedaldi ("Understanding Deep Image Representations by Inverting Them", 2015, arXiv:1412.0035, with β/2 = exponent);
    1.25 is the exponent of Keras' style transfer example, 1 is the plain squared difference.

    Args:
        image: `(batch, height, width, channels)`, grey levels 0–255.
        exponent: at least 1; below 1 the gradient is infinite wherever the image is flat.
        normalization: `"paper"`, or `"mean"` for the mean instead of the sum, with differences in parts of 255.

    Raises:
        ValueError: if `exponent` is below 1 or `normalization` is unknown.
    """
    _check_normalization(normalization)
    exponent = number("exponent", exponent, 1)
    image = _features(image, "total_variation")
    if 1 in image.shape[1:3]:
        raise ValueError(f"total_variation expects at least 2 × 2 pixels, got the shape {tuple(image.shape)}.")
    if normalization == "mean":
        image = image / 255
    across = image[:, :-1, 1:] - image[:, :-1, :-1]
    down = image[:, 1:, :-1] - image[:, :-1, :-1]
    squares = tf.square(across) + tf.square(down)
    if exponent != 1:
        squares = tf.pow(squares, exponent)
    return tf.reduce_sum(tf.reduce_mean(squares, axis=(1, 2, 3)) if normalization == "mean" else squares)


def _features(values, function):
    values = _real(values, function)
    if values.shape.rank != 4 or 0 in values.shape:
        raise ValueError(
            f"{function} expects the shape (batch, height, width, channels), got {tuple(values.shape)}. "
            "For a single picture, add the batch axis: image[None]."
        )
    return values


def _real(values, function):
    try:
        return tf.cast(values, tf.float32)
    except (TypeError, ValueError, tf.errors.OpError):
        raise ValueError(f"{function} expects an array or a tensor of numbers, got {short(values)}.") from None


def _sizes(features):
    """Return the four sizes, as numbers where they are known and as tensors where they are not."""
    dynamic = tf.shape(features)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(features.shape)]


def _check_normalization(normalization):
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization must be one of {NORMALIZATIONS}, got {short(normalization)}.")
