"""What style transfer minimises: the equations of Gatys, Ecker and Bethge, and the smoothness term.

Papers: "A Neural Algorithm of Artistic Style" (2015, arXiv:1508.06576) and "Image Style Transfer Using Convolutional
Neural Networks" (CVPR 2016), with the same equation numbers. N is the number of channels of a layer, M the number of
its positions (height times width), F its features, one row per position.

Every function takes tensors or arrays, computes in float32 and returns a tensor. A loss is a scalar, summed over the
batch. `normalization="paper"` is the papers' formula; `"mean"` divides it so that the same weights hold for every image
size, every layer and every network.
"""

import tensorflow as tf

from helpers.check import above, at_least, checked, one_of

NORMALIZATIONS = ("paper", "mean")
_SMALLEST = 1e-12  # keeps a division by an all-zero target finite


def _tensor(expected, rank):
    """Return a rule for what becomes a float32 tensor of this rank, without an empty axis."""

    def rule(values):
        try:
            tensor = tf.cast(values, tf.float32)
        except (TypeError, ValueError, tf.errors.OpError):
            raise TypeError(expected) from None
        if tensor.shape.rank != rank or 0 in tensor.shape:
            raise ValueError(expected)
        return tensor

    return rule


_features = _tensor("(batch, height, width, channels); of a single image, pass image[None]", 4)
_gram = _tensor("a Gram matrix, (batch, channels, channels)", 3)


@checked(features=_features)
def gram_matrix(features):
    """Return which channels fire together, wherever they do: G = FᵀF, summed over positions (equation 3).

    Args:
        features: `(batch, height, width, channels)`.

    Returns:
        float32 `(batch, channels, channels)`, symmetric and positive semi-definite. It has no trace of *where*.
    """
    batch, height, width, channels = _sizes(features)
    positions = tf.reshape(features, (batch, height * width, channels))
    return tf.matmul(positions, positions, transpose_a=True)


@checked(generated=_features, target=_features, normalization=one_of(*NORMALIZATIONS))
def content_loss(generated, target, normalization="paper"):
    """Return how far the features are from those of the content image: ½ Σ (F − P)² (equation 1).

    Args:
        generated: features F of the generated image, `(batch, height, width, channels)`.
        target: features P of the content image at the same layer, of the same shape (or with a batch of 1).
        normalization: `"paper"`, or `"mean"` for Σ (F − P)² / Σ P²: 0 at the target, 1 where F is all zero.
    """
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


@checked(generated=_features, target_gram=_gram, target_size=above(0), normalization=one_of(*NORMALIZATIONS))
def style_loss(generated, target_gram, target_size, normalization="paper"):
    """Return how far the Gram matrix is from that of the style image: E = Σ (G − A)² / (4 N² M²) (equation 4).

    The two images may differ in size: G is divided by the generated image's own M, A by the style image's, and the sum
    by 4 N². Where both have the same M, that is equation 4.

    Args:
        generated: features of the generated image, `(batch, height, width, channels)`.
        target_gram: `gram_matrix` of the style image's features at the same layer, A.
        target_size: M of the style image's features: the number of positions that A was summed over.
        normalization: `"paper"`, or `"mean"` for Σ (G/M − A/M')² / Σ (A/M')²: 0 at the target, 1 where F is all zero.
    """
    _, height, width, channels = _sizes(generated)
    if generated.shape[-1] != target_gram.shape[-1]:
        raise ValueError(
            f"style_loss got features of {generated.shape[-1]} channels and a target_gram of shape "
            f"{tuple(target_gram.shape)}: both must come from the same layer of the same network."
        )
    gram = gram_matrix(generated) / tf.cast(height * width, tf.float32)
    target = target_gram / target_size
    squares = tf.reduce_sum(tf.square(gram - target), axis=(1, 2))
    if normalization == "paper":
        return tf.reduce_sum(squares) / (4 * tf.cast(channels, tf.float32) ** 2)
    reference = tf.reduce_sum(tf.square(target), axis=(1, 2))
    return tf.reduce_sum(squares / tf.maximum(reference, _SMALLEST))


@checked(image=_features, exponent=at_least(1), normalization=one_of(*NORMALIZATIONS))
def total_variation(image, exponent=1.25, normalization="paper"):
    """Return how rough an image is: Σ ((Δx)² + (Δy)²)^exponent over the pixels that have both neighbours.

    Δx and Δy are the differences to the next pixel on the right and below (Mahendran and Vedaldi, "Understanding Deep
    Image Representations by Inverting Them", 2015, arXiv:1412.0035, with β/2 = exponent).

    Args:
        image: `(batch, height, width, channels)`, grey levels 0–255, at least 2 × 2 pixels.
        exponent: at least 1; below 1 the gradient is infinite wherever the image is flat. 1.25 is that of Keras'
            style transfer example.
        normalization: `"paper"`, or `"mean"` for the mean instead of the sum, with differences in parts of 255.
    """
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


def _sizes(features):
    """Return the four sizes, as numbers where they are known and as tensors where they are not."""
    dynamic = tf.shape(features)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(features.shape)]
