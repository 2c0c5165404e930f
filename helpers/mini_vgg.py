"""`mini_vgg`, the network that comes with the course: its shape, its training form, and the way from one to the other.

The plain form is VGG's (Simonyan and Zisserman, arXiv:1409.1556), narrower and with two convolutions in every block:
3×3 convolution, ReLU, and pooling between blocks. It is trained in a form whose convolutions normalise themselves, as
batch normalisation does (Ioffe and Szegedy, arXiv:1502.03167); `fold` writes the normalisation into the kernels, so
that nothing of it is left when the network is used.

Everything here is Keras and NumPy, so it runs on each of Keras' backends.
"""

import io
import json
from contextlib import contextmanager
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers, ops

from helpers import files

CHANNELS = (16, 48, 96, 192, 256)  # filters of blocks 1 to 5
CONVOLUTIONS = (2, 2, 2, 2, 2)  # convolutions in each block
POOLING = "average"
SMALLEST_SIDE = 32  # pixels; four poolings leave 2 of them

MEAN = (123.675, 116.28, 103.53)  # grey levels of R, G, B: the averages over ImageNet
DEVIATION = 58.4  # grey levels: their standard deviation, one number for the three, so that colours keep their balance


def preprocess(images):
    """Return `images` centred and scaled as `mini_vgg` wants them; the input is left as it was.

    Args:
        images: RGB, `(height, width, 3)` or `(batch, height, width, 3)`, 0–255: a NumPy array or a tensor.

    Returns:
        The same kind and shape, float32, roughly -2.1 to 2.6.
    """
    if isinstance(images, np.ndarray):
        return (images.astype(np.float32) - np.float32(MEAN)) / np.float32(DEVIATION)
    return (ops.cast(images, "float32") - ops.convert_to_tensor(MEAN, "float32")) / DEVIATION


def layer_names(convolutions=CONVOLUTIONS):
    """Return VGG's names for the convolutions, `block1_conv1` first."""
    return [f"block{block}_conv{j}" for block, count in enumerate(convolutions, 1) for j in range(1, count + 1)]


def _stack(make_convolution, channels, convolutions, pooling):
    """Return input and output of the chain of blocks; `make_convolution(filters, block, name)` makes each layer."""
    kinds = {"average": layers.AveragePooling2D, "max": layers.MaxPooling2D}
    if pooling not in kinds:
        raise ValueError(f"pooling is {pooling!r}; choose 'average' or 'max'.")
    inputs = features = keras.Input((None, None, 3), name="images")
    for block, (filters, count) in enumerate(zip(channels, convolutions, strict=True), 1):
        for j in range(1, count + 1):
            features = make_convolution(filters, block, f"block{block}_conv{j}")(features)
        if block < len(channels):
            features = kinds[pooling](2, name=f"block{block}_pool")(features)
    return inputs, features


def plain_network(channels=CHANNELS, convolutions=CONVOLUTIONS, pooling=POOLING, initializer="he_normal"):
    """Return the network as it is used: convolutions with ReLU and pooling, any input size from 32 px.

    Args:
        channels, convolutions: filters and number of convolutions, for each block.
        pooling: "average" or "max", between the blocks.
        initializer: of the kernels, as Keras names it.

    Returns:
        A `keras.Model` from `(batch, height, width, 3)`, preprocessed, to the activations of the last convolution.
    """

    def convolution(filters, block, name):
        return layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer=initializer, name=name)

    return keras.Model(*_stack(convolution, channels, convolutions, pooling), name="mini_vgg")


def with_classifier(backbone, classes):
    """Return `backbone` with global average pooling and a dense layer, `predictions`, of `(batch, classes)` logits."""
    pooled = layers.GlobalAveragePooling2D(name="average")(backbone.output)
    logits = layers.Dense(classes, dtype="float32", name="predictions")(pooled)
    return keras.Model(backbone.input, logits, name=f"{backbone.name}_classifier")


class NormalizedConvolution(layers.Layer):
    """A 3×3 convolution with batch normalisation and ReLU that normalises its kernel in place of its output.

    Batch normalisation multiplies each channel by a = gamma / sqrt(variance + epsilon) and adds beta - a · mean. As the
    convolution is linear, its kernel can take the factor: one pass over the activations instead of several, which is
    half of the time on a CPU. While training, mean and variance come from a part of the batch, which is convolved a
    second time; the gradient reaches the kernel through them, but not the layer below.

    Args:
        filters: number of output channels.
        sample: while training, mean and variance are taken over so many images of the batch; None is all of them.
        momentum: how much of the running mean and variance a step keeps.
        epsilon: added to the variance.
    """

    def __init__(self, filters, sample=None, momentum=0.98, epsilon=1e-3, **keywords):
        """Keep the settings; the weights are made when the input is known."""
        super().__init__(**keywords)
        self.filters, self.sample, self.momentum, self.epsilon = filters, sample, momentum, epsilon

    def build(self, input_shape):
        """Create kernel, scale and shift, and the running mean and variance; all stay float32 in mixed precision."""

        def weight(name, shape, initializer, trainable=True):
            return self.add_weight(
                name=name, shape=shape, initializer=initializer, trainable=trainable, autocast=False, dtype="float32"
            )

        each = (self.filters,)
        self.kernel = weight("kernel", (3, 3, input_shape[-1], self.filters), "he_normal")
        self.gamma = weight("gamma", each, "ones")
        self.beta = weight("beta", each, "zeros")
        self.mean = weight("mean", each, "zeros", trainable=False)
        self.variance = weight("variance", each, "ones", trainable=False)

    def convolve(self, inputs, kernel):
        """Return the 'same' convolution of `inputs`, `(batch, height, width, channels)`, in their dtype."""
        return ops.conv(inputs, ops.cast(kernel, inputs.dtype), padding="same", data_format="channels_last")

    def folded(self, mean, variance):
        """Return the kernel and the bias that give the normalised convolution for this mean and variance."""
        factor = self.gamma * ops.rsqrt(variance + self.epsilon)
        return self.kernel * factor, self.beta - mean * factor

    def call(self, inputs, training=False):
        """Return the activations, `(batch, height, width, filters)`, none below zero."""
        mean, variance = ops.convert_to_tensor(self.mean), ops.convert_to_tensor(self.variance)
        if training:
            part = ops.stop_gradient(inputs[: self.sample])
            part = ops.cast(self.convolve(part, self.kernel), "float32")
            mean, variance = ops.moments(part, axes=(0, 1, 2))
            self.mean.assign(self.momentum * self.mean + (1 - self.momentum) * mean)
            self.variance.assign(self.momentum * self.variance + (1 - self.momentum) * variance)
        kernel, bias = self.folded(mean, variance)
        return ops.relu(self.convolve(inputs, kernel) + ops.cast(bias, inputs.dtype))

    def compute_output_shape(self, input_shape):
        """Return the input's shape with `filters` channels."""
        return (*input_shape[:-1], self.filters)


def training_network(
    classes, channels=CHANNELS, convolutions=CONVOLUTIONS, pooling=POOLING, samples=(16, 16, 16, 32, 32)
):
    """Return the network as it is trained, from preprocessed images to `classes` logits.

    Args:
        classes: number of classes.
        channels, convolutions, pooling: as for `plain_network`.
        samples: for each block, over how many images of a batch its statistics are taken; deep blocks have few
            positions, so they need more images.
    """

    def convolution(filters, block, name):
        return NormalizedConvolution(filters, sample=samples[block - 1], name=name)

    backbone = keras.Model(*_stack(convolution, channels, convolutions, pooling), name="mini_vgg")
    return with_classifier(backbone, classes)


def measure_statistics(network, images):
    """Set each running mean and variance of a training network to those over `images`, layer by layer.

    Needed after weights were averaged, because the statistics of averaged weights are not the average of statistics.

    Args:
        network: what `training_network` returned.
        images: `(batch, height, width, 3)`, preprocessed; a thousand are enough.
    """
    features = ops.convert_to_tensor(images, "float32")
    for layer in network.layers[1:]:
        if isinstance(layer, NormalizedConvolution):
            mean, variance = ops.moments(layer.convolve(features, layer.kernel), axes=(0, 1, 2))
            layer.mean.assign(mean)
            layer.variance.assign(variance)
            kernel, bias = layer.folded(mean, variance)
            features = ops.relu(layer.convolve(features, kernel) + bias)
        elif layer.name.endswith("_pool"):
            features = ops.cast(layer(features), "float32")


def fold(network, pooling=POOLING):
    """Return a plain classifier that computes what the training network computes with `training=False`.

    Args:
        network: what `training_network` returned.
        pooling: the pooling it was made with.

    Returns:
        `with_classifier(plain_network(...))`, with the normalisation written into kernels and biases.
    """
    convolutions = [layer for layer in network.layers if isinstance(layer, NormalizedConvolution)]
    blocks = [layer.name.partition("_")[0] for layer in convolutions]
    channels = [layer.filters for layer in convolutions if layer.name.endswith("_conv1")]
    counts = [blocks.count(block) for block in dict.fromkeys(blocks)]
    head = network.get_layer("predictions")
    with plain_precision():
        plain = with_classifier(plain_network(channels, counts, pooling), head.units)
    for layer in convolutions:
        kernel, bias = layer.folded(ops.convert_to_tensor(layer.mean), ops.convert_to_tensor(layer.variance))
        plain.get_layer(layer.name).set_weights([ops.convert_to_numpy(kernel), ops.convert_to_numpy(bias)])
    plain.get_layer("predictions").set_weights(head.get_weights())
    return plain


@contextmanager
def plain_precision():
    """Build what is inside in float32, whatever precision is set."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def balance(classifier, images):
    """Scale each convolution so that its mean activation over `images` is 1, and the next so that the logits stay.

    Gatys et al. (CVPR 2016, section 2) did this to VGG19: without it a style layer's Gram matrix is large or small for
    no reason that has to do with style. ReLU and pooling commute with a positive factor, so the scaling undoes itself.

    Args:
        classifier: a plain classifier, as `fold` returns it; changed in place.
        images: `(batch, height, width, 3)`, preprocessed natural images.

    Returns:
        The factors by which activations were multiplied, `{layer name: factor}`.
    """
    factors, before = {}, 1.0
    convolutions = [layer for layer in classifier.layers if isinstance(layer, layers.Conv2D)]
    means = mean_activations(classifier, images)
    for layer in convolutions:
        factor = 1.0 / max(means[layer.name], 1e-12)
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * (factor / before), bias * factor])
        factors[layer.name] = before = factor
    kernel, bias = classifier.get_layer("predictions").get_weights()
    classifier.get_layer("predictions").set_weights([kernel / before, bias])
    return factors


def mean_activations(network, images, batch=100):
    """Return `{name: mean over images, positions and channels}` for every convolution of a plain network."""
    names = [layer.name for layer in network.layers if isinstance(layer, layers.Conv2D)]
    probe = keras.Model(network.input, [network.get_layer(name).output for name in names])
    sums = np.zeros(len(names))
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        outputs = probe(ops.convert_to_tensor(part), training=False)
        sums += [len(part) * float(ops.mean(features)) for features in outputs]
    return dict(zip(names, sums / len(images), strict=True))


# Files -------------------------------------------------------------------------------------------------------------

WEIGHTS = "mini_vgg.weights.h5"


def facts_path(path):
    """Return where the facts about the weights in `path` are: beside them, `name.json` for `name.weights.h5`."""
    path = Path(path)
    return path.with_name(f"{path.name.removesuffix('.h5').removesuffix('.weights')}.json")


def save(classifier, path, facts):
    """Write a plain classifier's weights to `path`, as float16, and `facts` about it beside them.

    Args:
        classifier: of `fold`, balanced.
        path: `....weights.h5`: a group for each layer, with `kernel` and `bias`.
        facts: what JSON can hold; with `channels`, `convolutions`, `pooling` and `class_names`.

    Raises:
        ValueError: if a weight is too large for float16.
    """
    arrays = {}
    for layer in classifier.layers:
        for part, array in zip(("kernel", "bias"), layer.get_weights(), strict=False):
            arrays[f"{layer.name}/{part}"] = array.astype(np.float16)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("A weight is not finite in float16: nothing was written.")
    packed = io.BytesIO()  # on a full disk, HDF5 itself would take the whole process down
    with h5py.File(packed, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    with files.whole_file(path) as temporary:
        temporary.write_bytes(packed.getbuffer())
    with files.whole_file(facts_path(path)) as temporary:
        temporary.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path):
    """Return the plain classifier that `save` wrote to `path`, float32, with its facts as `classifier.facts`.

    Raises:
        OSError, KeyError, ValueError: if a file is missing, or does not hold what `save` writes.
    """
    facts = json.loads(facts_path(path).read_text(encoding="utf-8"))
    plain = plain_network(facts["channels"], facts["convolutions"], facts["pooling"], initializer="zeros")
    classifier = with_classifier(plain, len(facts["class_names"]))
    with h5py.File(path, "r") as file:
        for layer in classifier.layers:
            if layer.weights:
                layer.set_weights([file[f"{layer.name}/{part}"][()].astype(np.float32) for part in ("kernel", "bias")])
    classifier.facts = facts
    return classifier
