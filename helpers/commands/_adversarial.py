"""Adversarial training for `pretrain`: perturbations in an L2 ball, the network that is trained on them, and its watch.

Madry et al. (arXiv:1706.06083): a network that is trained on the perturbations that confuse it most uses the shapes and
colours that people use too (Santurkar et al., arXiv:1906.09453; Engstrom et al., arXiv:1906.00945). One gradient step
finds a perturbation that is good enough (Wong et al., arXiv:2001.03994), as long as a stronger attack is watched.

Lengths are L2 norms over all values of an image whose pixels run from 0 to 1, at 64×64 pixels; `at_side` scales them to
other sizes, so that the change of a single pixel stays the same.
"""

import numpy as np

from helpers import mini_vgg

REFERENCE_SIDE = 64  # pixels a side at which the length of a perturbation is given
WATCHED = 256  # training images on which a strong attack is tried after each epoch
WATCH_STEPS = 10
LARGEST_FALL = 0.2  # of the accuracy under that attack, from its best: then one-step training has collapsed


def at_side(epsilon, side):
    """Return the L2 length at `side` pixels that changes a single pixel as much as `epsilon` does at 64 pixels."""
    return epsilon * side / REFERENCE_SIDE


def length(perturbation):
    """Return the L2 norm of each perturbation, `(batch, 1, 1, 1)`."""
    return np.sqrt(np.square(perturbation).sum(axis=(1, 2, 3), keepdims=True))


def project(perturbation, epsilon):
    """Return perturbations, `(batch, height, width, 3)`, with those that are longer than `epsilon` shortened to it."""
    return perturbation * np.minimum(1, epsilon / np.maximum(length(perturbation), 1e-12))


def attack(gradient, images, labels, epsilon, steps, generator):
    """Return `images` moved within a distance of `epsilon` so that the network takes them for something else.

    Projected gradient ascent from a random point of the ball: each step has the same length whatever the size of the
    gradient, `epsilon` for a single step, 2.5 · epsilon / steps for several.

    Args:
        gradient: as `loss_gradient` returns it.
        images: float32 `(batch, height, width, 3)`, 0–255; left as they were.
        labels: int `(batch,)`.
        epsilon: greatest L2 distance, with pixels from 0 to 1, at this size.
        steps: gradient steps, at least 1.
        generator: a NumPy random generator.

    Returns:
        float32 of the same shape, 0–255.
    """
    clean = np.asarray(images, np.float32) / np.float32(255)
    direction = generator.standard_normal(clean.shape, np.float32)
    radius = generator.random((len(clean), 1, 1, 1), np.float32) * np.float32(epsilon)
    perturbation = direction * (radius / length(direction))
    step = np.float32(epsilon if steps == 1 else 2.5 * epsilon / steps)
    for _ in range(steps):
        moved = np.clip(clean + perturbation, 0, 1)
        slope = np.asarray(gradient(moved * np.float32(255), labels))
        moved = moved + slope * (step / np.maximum(length(slope), 1e-12))
        perturbation = np.clip(clean + project(moved - clean, epsilon), 0, 1) - clean
    return (clean + perturbation) * np.float32(255)


def loss_gradient(network):
    """Return a compiled function of (images, labels): the gradient of each image's cross-entropy to the image.

    It follows the weights of `network` as they change. Images are float32 `(batch, height, width, 3)`, 0–255, labels
    int `(batch,)`. This needs TensorFlow or JAX under Keras.
    """
    import keras
    from keras import ops

    def loss(logits, labels):
        return ops.sum(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))

    if keras.backend.backend() == "jax":
        import jax

        def jax_loss(images, labels, trained, fixed):
            logits, _ = network.stateless_call(trained, fixed, mini_vgg.preprocess(images), training=False)
            return loss(logits, labels)

        compiled = jax.jit(jax.grad(jax_loss))

        def gradient(images, labels):
            trained = [variable.value for variable in network.trainable_variables]
            fixed = [variable.value for variable in network.non_trainable_variables]
            return compiled(ops.convert_to_tensor(images), labels, trained, fixed)

        return gradient
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def gradient(images, labels):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            value = loss(network(mini_vgg.preprocess(images), training=False), labels)
        return tape.gradient(value, images)

    return lambda images, labels: gradient(tf.constant(images), tf.constant(labels)).numpy()


def accuracy_under_attack(network, images, labels, epsilon, steps=10, seed=0, batch=250, gradient=None):
    """Return the top-1 accuracy, 0 to 1, on `images` (uint8, RGB) after each was attacked with `epsilon` at 64 px."""
    from keras import ops

    gradient, generator, hits = gradient or loss_gradient(network), np.random.default_rng(seed), 0
    for start in range(0, len(images), batch):
        part, names = images[start : start + batch], np.asarray(labels[start : start + batch], np.int64)
        moved = attack(gradient, part, names, at_side(epsilon, part.shape[1]), steps, generator)
        logits = ops.convert_to_numpy(network(mini_vgg.preprocess(moved), training=False))
        hits += int((logits.argmax(axis=1) == names).sum())
    return hits / len(images)
