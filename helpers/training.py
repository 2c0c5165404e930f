"""What training loops share: batches, augmentation, learning-rate schedules, and callbacks."""

import keras
import numpy as np
import tensorflow as tf

from helpers.distribution import strategy as strategy
from helpers.records import processor_flags


def as_input(images):
    """Return images as networks take them: float32, 0–1, `(n, h, w, channels)`.

    Args:
        images: uint8, 0–255, `(n, h, w)` for grey images or `(n, h, w, 3)`.
    """
    images = images.astype(np.float32) / 255
    return images[..., None] if images.ndim == 3 else images


def batches(images, labels, batch_size, generations, seed=0):
    """Yield `generations` random batches; no image comes twice before every image has come once.

    Each epoch is shuffled anew. What is left at an epoch's end, fewer than `batch_size` images, is left out.

    Args:
        images: array `(n, ...)`.
        labels: array `(n,)`.
        batch_size: images per batch, 1 to n.
        generations: number of batches, from 0.
        seed: the same seed gives the same batches.

    Yields:
        `(images, labels)` of `batch_size` items.

    Raises:
        ValueError: if `images` and `labels` differ in number, or `batch_size` does not fit.
    """
    _check(images, labels, batch_size)
    random = np.random.default_rng(seed)
    per_epoch = len(images) // batch_size
    for generation in range(generations):
        place = generation % per_epoch
        if place == 0:
            order = random.permutation(len(images))
        chosen = order[place * batch_size : (place + 1) * batch_size]
        yield images[chosen], labels[chosen]


def _check(images, labels, batch_size):
    if len(images) != len(labels):
        raise ValueError(f"There are {len(images)} images but {len(labels)} labels. Give one label for each image.")
    if not 1 <= batch_size <= len(images):
        raise ValueError(f"batch_size={batch_size} does not fit {len(images)} images. Give 1 to {len(images)}.")


def accuracy(model, images, labels, batch_size=1000):
    """Return the share of `images` whose largest logit is at `labels`: a float, 0–1.

    Args:
        model: a `keras.Model` that returns logits `(batch, classes)`.
        images: float32 `(n, height, width, channels)`.
        labels: int `(n,)`.
        batch_size: images at a time; it changes the memory needed, not the result.
    """
    return float(np.mean(predict(model, images, batch_size).argmax(1) == labels))


def predict(model, images, batch_size=1000):
    """Return `model`'s output for `images` in inference mode, `batch_size` at a time, as one NumPy array.

    Unlike `model.predict` it starts no progress bar and no data pipeline, which for small arrays cost more than the
    network does.
    """
    run = _inference(model)
    return np.concatenate([run(images[i : i + batch_size]).numpy() for i in range(0, len(images), batch_size)])


def mirrored_predict(model, images, batch_size=1000):
    """Return the mean of `model`'s output for `images` and for their mirror images, as `predict` does.

    Two looks make fewer mistakes than one: test-time augmentation (Krizhevsky et al., 2012, section 4.1).
    """
    return (predict(model, images, batch_size) + predict(model, images[:, :, ::-1], batch_size)) / 2


def fastest_precision():
    """Return the Keras dtype policy in which this machine trains convolutions fastest and still learns as well.

    "mixed_bfloat16" where the processor multiplies 16-bit floats by itself (AVX512-BF16 or AMX), and on GPUs of compute
    capability 8 or more; "float32" elsewhere. Weights are float32 in both.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "mixed_bfloat16" if capability >= (8, 0) else "float32"
    return "mixed_bfloat16" if {"avx512_bf16", "amx_bf16"} & processor_flags() else "float32"


def _inference(model):
    """Return the model's forward pass as a traced function, kept with the model so that it is traced once."""
    if not hasattr(model, "_atelier_inference"):
        model._atelier_inference = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    return model._atelier_inference


def random_affine(images, rotation=10.0, scale=0.1, shear=0.1, shift=2.0):
    """Turn, scale, shear and shift each image by its own random amount; what comes in from outside is black.

    Args:
        images: float32 tensor `(batch, height, width, channels)`.
        rotation: largest angle either way, degrees.
        scale: largest change of size either way, as a share: 0.1 gives sizes of about 90 % to 110 %.
        shear: largest shear either way, as a share of the distance from the centre.
        shift: largest shift either way along each axis, pixels.

    Returns:
        A tensor of the same shape and dtype, sampled bilinearly.
    """
    count = tf.shape(images)[0]
    height, width = tf.shape(images)[1], tf.shape(images)[2]

    def amount(largest):
        return tf.random.uniform([count], -largest, largest)

    angle, size = amount(rotation * np.pi / 180), 1 + amount(scale)
    # Output pixel (x, y) is read from (a0 x + a1 y + a2, b0 x + b1 y + b2); the centre stays where it is, then shifts.
    a0, a1 = size * tf.cos(angle), -size * tf.sin(angle) + amount(shear)
    b0, b1 = size * tf.sin(angle), size * tf.cos(angle)
    x, y = (tf.cast(width, tf.float32) - 1) / 2, (tf.cast(height, tf.float32) - 1) / 2
    a2 = x - a0 * x - a1 * y + amount(shift)
    b2 = y - b0 * x - b1 * y + amount(shift)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a0, a1, a2, b0, b1, b2, tf.zeros_like(a0), tf.zeros_like(a0)], axis=1),
        output_shape=tf.stack([height, width]),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )


def image_pipeline(images, labels, batch_size, seed=0, augment=None):
    """Return a `tf.data.Dataset` of one epoch: shuffle, batch, augment, prefetch.

    Args:
        images: `(n, height, width, channels)`, of any dtype; uint8 ones stay small until `augment` makes them floats.
        labels: int `(n,)`, or one-hot `(n, classes)`.
        batch_size: images per batch; an incomplete last batch is left out, so that every step weighs the same.
        seed: seeds the order; each epoch has another one.
        augment: function from a batch of images to a batch of images, or None.

    Raises:
        ValueError: if `images` and `labels` differ in number, or `batch_size` does not fit.
    """
    _check(images, labels, batch_size)
    options = tf.data.Options()  # workers of a cluster share the images, not the files that they came from
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    options.autotune.enabled = False  # its thread sleeps 10 ms, 20 ms, … 10 s …, and an epoch that ends waits for it
    pipeline = tf.data.Dataset.from_tensor_slices((images, labels)).with_options(options)
    pipeline = pipeline.shuffle(len(images), seed=seed).batch(batch_size, drop_remainder=True)
    if augment is not None:
        pipeline = pipeline.map(lambda batch, targets: (augment(batch), targets))
    return pipeline.prefetch(2)


def digit_pipeline(images, labels, batch_size, seed=0, augment=random_affine):
    """Return `image_pipeline` for digits, float32 `(n, 28, 28, 1)`, 0–1, which are turned and shifted by default."""
    return image_pipeline(images, labels, batch_size, seed, augment)


@keras.saving.register_keras_serializable("cnn_atelier")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises to its peak and falls to almost nothing, once (Smith and Topin, 2018).

    It rises linearly from `peak / 25` during the first `warmup` of the steps, and falls as half a cosine towards 0, but
    never below `peak / 10,000`. Smith and Topin's rises and falls in straight lines.
    """

    def __init__(self, peak, steps, warmup=0.25):
        """Take the highest rate, the number of steps, and the share of them that rises (between 0 and 1)."""
        if not peak > 0 or not steps >= 1 or not 0 < warmup < 1:
            given = f"peak={peak}, steps={steps}, warmup={warmup}"
            raise ValueError(f"OneCycle({given}): peak must be above 0, steps 1 or more, warmup between 0 and 1.")
        self.peak, self.steps, self.warmup = peak, steps, warmup

    def __call__(self, step):
        """Return the rate at `step`, counted from 0: a float32 tensor of the shape of `step`."""
        done = keras.ops.cast(step, "float32") / self.steps
        rising = 0.04 + 0.96 * done / self.warmup
        falling = 0.5 * (1 + keras.ops.cos(np.pi * keras.ops.minimum((done - self.warmup) / (1 - self.warmup), 1.0)))
        return self.peak * keras.ops.where(done < self.warmup, rising, keras.ops.maximum(falling, 1e-4))

    def get_config(self):
        """Return the arguments, so that a saved model brings its schedule along."""
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup}


class EverySteps(keras.callbacks.Callback):
    """Call `action(step, model)` after every `every` training steps, counted from 1 through all epochs."""

    def __init__(self, every, action):
        super().__init__()
        self.every, self.action, self.step = every, action, 0

    def on_train_batch_end(self, batch, logs=None):
        """Count the step, and act if it is one of those."""
        self.step += 1
        if self.step % self.every == 0:
            self.action(self.step, self.model)
