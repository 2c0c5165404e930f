"""Where a classifier looks: Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391)."""

import keras
import numpy as np
import tensorflow as tf


def grad_cam(model, layer, images, classes=None):
    """Return for each image how much each place of it speaks for a class.

    With feature maps A_k at `layer` and the logit y of the class, each map weighs as much as the mean of its gradient,
    w_k = mean over places of dy / dA_k (the paper's equation 1), and the result is max(0, sum over k of w_k A_k)
    (equation 2), scaled so that its largest value is 1.

    Args:
        model: a `keras.Model` from images to logits `(batch, classes)`.
        layer: name of a layer of it whose output is `(batch, rows, columns, channels)`: a late one sees objects, an
            early one sees edges.
        images: as the model takes them, `(batch, height, width, channels)`.
        classes: int `(batch,)`, the class to explain for each image; None explains the class that it predicts.

    Returns:
        float32 `(batch, rows, columns)`, 0–1; all 0 where nothing speaks for the class.

    Raises:
        ValueError: if there is no such layer, or its output has no places.
    """
    names = [one.name for one in model.layers]
    if layer not in names:
        raise ValueError(f"The model has no layer {layer!r}. It has {', '.join(names)}.")
    output = model.get_layer(layer).output
    if len(output.shape) != 4:
        raise ValueError(f"The output of {layer!r} is {output.shape}; expected are rows and columns of maps.")
    both = keras.Model(model.input, [output, model.output])
    images = tf.convert_to_tensor(images)
    with tf.GradientTape() as tape:
        tape.watch(images)  # so that all that follows from them is recorded, the maps too
        maps, logits = both(images, training=False)
        chosen = tf.argmax(logits, axis=1) if classes is None else tf.convert_to_tensor(classes, tf.int64)
        score = tf.gather(logits, chosen, batch_dims=1)
    gradient = tf.cast(tape.gradient(score, maps), tf.float32)
    weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * tf.cast(maps, tf.float32), axis=-1)).numpy()
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)
