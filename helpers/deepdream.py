"""DeepDream after Mordvintsev, Olah and Tyka ("Inceptionism: Going Deeper into Neural Networks", 2015): change an image
until a network sees in it more of what it sees.

An objective says what is climbed, `DeepDream` climbs it over sizes from small to large. `iterate` yields a `run.Step`
for each change of the image; `dream` follows it to the end; `zoom` dreams into its own middle, again and again.
"""

import operator
from dataclasses import replace
from functools import partial

import numpy as np
import tensorflow as tf
from PIL import Image
from scipy.ndimage import gaussian_filter

from helpers.backbones import feature_extractor, layer_names
from helpers.check import above, checked, did_you_mean, having, number, one_or_each, optional, weighted, whole
from helpers.images import fitted, image_array, match_color, resize
from helpers.run import DivergedError, Step, follow
from helpers.tiles import tiled_gradient

BORDER = 2  # feature-map cells left out on each side, where a convolution saw the padding
WIDEST = 100  # pixels; a Gaussian as wide as an image leaves its mean alone
EPSILON = 1e-12  # keeps a division by an all-zero gradient finite; a mean's gradient is itself about 1e-8

_layer_name = having("lower", "the name of a layer")


def _term(value):
    if isinstance(value, Objective):
        return value
    try:
        return number()(value)
    except ValueError:
        raise TypeError("an objective or a number") from None


class Objective:
    """What is climbed: a scalar. Objectives add, subtract and multiply, with each other and with numbers.

    `outputs(network)` gives the symbolic features that the objective looks at, by name; `values(features_of)` the
    numbers that may change from run to run without compiling again; `loss(features, values)` the scalar. A loss that is
    a mean over positions means the same for images and tiles of every size.
    """

    def outputs(self, network):
        """Return the features of `layers`, {name: `(batch, height, width, channels)`}."""
        return feature_extractor(network, self.layers).output

    def __add__(self, other):
        """Return the sum."""
        return Combination(operator.add, self, other)

    def __sub__(self, other):
        """Return the difference."""
        return Combination(operator.sub, self, other)

    def __mul__(self, other):
        """Return the product."""
        return Combination(operator.mul, self, other)

    def __neg__(self):
        """Return what descends where this climbs."""
        return self * -1

    __radd__, __rmul__ = __add__, __mul__


class Combination(Objective):
    """The sum, difference or product of two objectives, or of an objective and a number."""

    @checked(second=_term)
    def __init__(self, combine, first, second):
        self.terms = [term for term in (first, second) if isinstance(term, Objective)]
        self.combine = combine if len(self.terms) == 2 else lambda loss: combine(loss, second)

    def outputs(self, network):
        """Return the features of all terms, which one pass through the network computes."""
        return {name: output for term in self.terms for name, output in term.outputs(network).items()}

    def values(self, features_of):
        """Return the numbers of each term."""
        return [term.values(features_of) for term in self.terms]

    def loss(self, features, values):
        """Return the terms' losses, combined."""
        return self.combine(*(term.loss(features, each) for term, each in zip(self.terms, values, strict=True)))


class LayerObjective(Objective):
    """Whatever a layer sees, more of it: Σ c_l · mean(F_l²), with the features F_l of layer l ("Inceptionism", 2015;
    the normalisation is that of Keras' DeepDream example).

    Args:
        layers: {name: coefficient c_l}, or names, whose coefficient is 1. A negative one silences a layer. `layers` may
            get other coefficients between runs.
    """

    @checked(layers=weighted(number()))
    def __init__(self, layers):
        self.layers = layers

    def values(self, features_of):
        """Return the coefficients."""
        if not any(self.layers.values()):
            raise ValueError("LayerObjective: all coefficients of layers are 0, so there is nothing to climb.")
        return {name: tf.constant(coefficient, tf.float32) for name, coefficient in self.layers.items()}

    def loss(self, features, values):
        """Return Σ c_l · mean(F_l²), the outer cells left out."""
        return tf.add_n([values[name] * interior_mean(tf.square(features[name])) for name in self.layers])


class ChannelObjective(Objective):
    """What excites one feature: the mean of one channel, before its ReLU.

    After a ReLU, a silent channel has no gradient, and a start that does not excite it would stay as it is.

    Args:
        layer: name of a layer.
        channel: from 0; `channel` may be changed between runs.
    """

    @checked(layer=_layer_name, channel=whole(0))
    def __init__(self, layer, channel):
        self.layer, self.channel = layer, channel

    def outputs(self, network):
        """Return what the layer computes before its activation."""
        values = before_activation(network, self.layer)
        self._channels = values.shape[-1]
        return {f"{self.layer}_linear": values}

    def values(self, features_of):
        """Return the channel."""
        if not 0 <= self.channel < self._channels:
            raise ValueError(f"channel is {self.channel}; {self.layer} has channels from 0 to {self._channels - 1}.")
        return tf.constant(self.channel, tf.int32)

    def loss(self, features, values):
        """Return the mean of the channel, the outer cells left out."""
        return interior_mean(tf.gather(features[f"{self.layer}_linear"], values, axis=-1))


class GuideObjective(Objective):
    """A guided dream: each position looks for the position in the guide that it is most like, and becomes more like it.

    The loss is mean_i max_j x_i · y_j / N: x_i are the features of the dream at position i, y_j those of the guide at
    position j, N is the number of channels (the guided objective of Google's DeepDream notebook, 2015).

    Args:
        image: the guide, `(height, width, 3)`, 0–255. It is seen at 224 pixels at most, and of its positions at most
            1,024 are compared, an even selection.
        layer: name of a layer.
    """

    @checked(image=image_array(), layer=_layer_name)
    def __init__(self, image, layer):
        self.image = resize(image, fitted(image.shape, min(224, max(image.shape[:2])))).clip(0, 255)
        self.layers = layer

    def values(self, features_of):
        """Return the guide's features, `(positions, channels)`."""
        features = features_of(tf.constant(self.image))[self.layers]
        rows = tf.reshape(features, (-1, features.shape[-1]))
        return tf.gather(rows, np.linspace(0, rows.shape[0] - 1, min(1024, rows.shape[0])).round().astype(int))

    def loss(self, features, values):
        """Return mean_i max_j x_i · y_j / N, the outer cells left out."""
        likeness = tf.einsum("bhwc,jc->bhwj", features[self.layers], values)
        return interior_mean(tf.reduce_max(likeness, axis=-1)) / values.shape[-1]


class ClassObjective(Objective):
    """What raises the score of a class: its logit, for `DeepDream(load_classifier(), ClassObjective("tabby"))`.

    Args:
        label: a class of the classifier, by its name, by one word of it ("tabby" of "tabby, tabby cat") or by its
            number; `label` may be changed between runs.
    """

    def __init__(self, label):
        self.label = label

    def outputs(self, network):
        """Return the logits."""
        if not hasattr(network, "class_names"):
            raise ValueError("A ClassObjective needs a network with its classifier: what load_classifier(...) returns.")
        self._names = network.class_names
        return {"logits": network.model.output}

    def values(self, features_of):
        """Return the number of the class."""
        words = {word: index for index, name in enumerate(self._names) for word in (name, *name.split(", "))}
        index = words.get(self.label, self.label)
        if index not in range(len(self._names)):
            hint = did_you_mean(self.label, words)
            raise ValueError(f"label is {self.label!r}; expected a class or 0 to {len(self._names) - 1}{hint}.")
        return tf.constant(index, tf.int32)

    def loss(self, features, values):
        """Return the logit."""
        return tf.reduce_mean(tf.gather(features["logits"], values, axis=-1))


def interior_mean(values):
    """Return the sum over all positions but the `BORDER` on each side, divided by the number of all values.

    `values` are `(batch, height, width, channels)` or `(batch, height, width)`; a map too small for the border keeps
    at least its middle.
    """
    height, width = tf.shape(values)[1], tf.shape(values)[2]
    rows, columns = (tf.minimum(BORDER, (side - 1) // 2) for side in (height, width))
    inside = values[:, rows : height - rows, columns : width - columns]
    return tf.reduce_sum(inside) / tf.cast(tf.size(values), tf.float32)


def layer_channels(backbone):
    """Return {layer: number of channels} of the layers worth dreaming with, from shallow to deep.

    These are the convolutions of a VGG and the `mixed` blocks of an Inception; every other layer can be named too.
    """
    layers = [backbone.model.get_layer(name) for name in layer_names(backbone)]
    mixed = [layer for layer in layers if layer.name.startswith("mixed")]
    convolutions = [layer for layer in layers if hasattr(layer, "kernel")]
    return {layer.name: layer.output.shape[-1] for layer in mixed or convolutions}


def before_activation(backbone, name):
    """Return the symbolic output of the layer of this name before its ReLU.

    For a layer that joins several, as Inception's `mixed` blocks do, these are joined before theirs.
    """
    return _linear_output(feature_extractor(backbone, name).get_layer(name))


def _linear_output(layer):
    import keras

    if isinstance(layer, keras.layers.Activation | keras.layers.ReLU):
        return layer.input
    if isinstance(layer, keras.layers.Concatenate):
        parts = [_linear_output(tensor._keras_history.operation) for tensor in layer.input]
        return keras.layers.Concatenate(axis=layer.axis)(parts)
    if getattr(layer, "activation", None) not in (None, keras.activations.linear):
        settings = {**layer.get_config(), "activation": "linear", "name": f"{layer.name}_linear"}
        copy = type(layer).from_config(settings)
        values = copy(layer.input)
        copy.set_weights(layer.get_weights())
        return values
    return layer.output


# The ascent


class DeepDream:
    """An objective on a network's features, and the ascent along its gradient.

    Loss and gradient are compiled once, for every octave, every tile and every image.

    Args:
        network: from `load_backbone`, or from `load_classifier` for a `ClassObjective`.
        objective: `LayerObjective(...)` or another `Objective`. Default: all of the backbone's `dream_layers`.
    """

    @checked(
        network=having("model", "what load_backbone(...) or load_classifier(...) returns"),
        objective=optional(having("outputs", "LayerObjective(...), or another objective")),
    )
    def __init__(self, network, objective=None):
        import keras

        if objective is None and not hasattr(network, "dream_layers"):
            raise ValueError("DeepDream: objective is None; a classifier needs one, such as ClassObjective(...).")
        self.network, self.objective = network, objective or LayerObjective(list(network.dream_layers))
        self._features = keras.Model(network.model.input, self.objective.outputs(network))
        self._compiled = tf.function(self.loss_and_gradient, autograph=False)

    @property
    def traces(self):
        """How often loss and gradient were compiled."""
        return self._compiled.experimental_get_tracing_count()

    def features(self, image):
        """Return the objective's features of an image, a tensor `(height, width, 3)`, 0–255: {name: features}."""
        return self._features(self.network.preprocess(image[None]))

    def loss_and_gradient(self, image, values):
        """The compiled function: only the image is watched, so that no gradient of a kernel is ever computed."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            loss = self.objective.loss(self.features(image), values)
        return loss, tape.gradient(loss, image)

    def evaluator(self):
        """Return the function image → (loss, gradient), float and float32 `(height, width, 3)`, for any size."""
        values = self.objective.values(self.features)
        specs = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), values)
        compiled = self._compiled.get_concrete_function(tf.TensorSpec((None, None, 3)), specs)

        def evaluate(image):
            loss, gradient = compiled(tf.constant(image), values)
            return float(loss), gradient.numpy()

        return evaluate

    @checked(
        image=image_array(),
        octaves=whole(1, 100),
        octave_scale=above(1),
        steps=one_or_each(whole(1)),
        step_size=one_or_each(number(0)),
        jitter=whole(0),
        tile_size=whole(1),
        max_loss=optional(number()),
        smoothing=number(0, WIDEST),
        overlap=whole(0),
        seed=whole(0),
    )
    def iterate(
        self, image, octaves=4, octave_scale=1.4, steps=10, step_size=1.5, jitter=16, tile_size=512, max_loss=None,
        smoothing=1.0, *, overlap=64, normalize=True, seed=0,
    ):  # fmt: skip
        """Return a generator of one `run.Step` for each change of the image.

        Its loss, {"loss"}, is that before the change; its phase is the octave; the last image has the size of `image`.
        Each octave starts from the enlarged result of the one before, with the detail put back that the image loses
        when it is shrunk to that one's size.

        Args:
            image: `(height, width, 3)`, 0–255.
            octaves: number of sizes; 1 is plain ascent at the full size.
            octave_scale: ratio of a size to the one before, above 1.
            steps: for each octave, or a list with a number for each, the smallest first.
            step_size: mean change of a pixel in one step, grey levels; or a list, as for `steps`.
            jitter: before each step, the image is rolled at random by up to this many pixels each way, so that neither
                the pooling's grid nor a tile's edge is always in the same place. Beyond twice the layer's stride, the
                image's own edges are dreamt of.
            tile_size, overlap: see `tiled_gradient`.
            max_loss: an octave ends when its loss is above this; None for never.
            smoothing: width of `smooth_gradient`, pixels, up to 100; 0 for none.
            normalize: divide the gradient by its mean magnitude. False takes it as it is, times `step_size`.
            seed: of the jitter. On a CPU the same seed gives the same image, bit for bit.

        Raises:
            ValueError: at once, if an argument does not fit; the message says what would.
            DivergedError: from the generator, if the loss or its gradient becomes NaN or infinite.
        """
        smallest = self.network.smallest_side
        shapes = octave_shapes(image.shape, octaves, octave_scale, smallest)
        if not smallest <= tile_size or not overlap < tile_size:
            raise ValueError(
                f"tile_size is {tile_size} and overlap {overlap}; expected a tile_size from {smallest}, above overlap."
            )
        counts, sizes = _for_each_octave("steps", steps, octaves), _for_each_octave("step_size", step_size, octaves)
        evaluate, random = self.evaluator(), np.random.default_rng(seed)

        def octave_by_octave():
            dreamt, shrunk = None, None
            for octave, (shape, count, size) in enumerate(zip(shapes, counts, sizes, strict=True)):
                sharp = resize(image, shape).clip(0, 255)
                dreamt = sharp if dreamt is None else add_detail(dreamt, shrunk, sharp)
                for _ in range(count):
                    roll = random.integers(-jitter, jitter, 2, endpoint=True)
                    loss, gradient = tiled_gradient(evaluate, np.roll(dreamt, roll, (0, 1)), tile_size, overlap)
                    if not (np.isfinite(loss) and np.isfinite(gradient).all()):
                        raise DivergedError(
                            f"The loss is {loss:g} and its gradient is not all finite. Lower the objective's "
                            f"coefficients or step_size (now {size:g})."
                        )
                    stop = max_loss is not None and loss > max_loss
                    if not stop:
                        dreamt = ascend(dreamt, np.roll(gradient, -roll, (0, 1)), size, smoothing, normalize)
                    yield Step(dreamt, {"loss": loss}, sum(counts), octave)
                    if stop:
                        break
                shrunk = sharp

        return octave_by_octave()

    @checked(image=image_array())
    def dream(self, image, *arguments, recorder=None, save_to=None, progress=True, **settings):
        """Follow `iterate`, whose arguments it takes, to the end; return a `run.Result` with the last image.

        Ctrl-C, or the kernel's stop button, ends the run and returns the image so far, at full size. For `recorder`,
        `save_to` and `progress`, see `run.follow`.
        """
        steps = self.iterate(image, *arguments, **settings)
        fit = partial(full_size, original=image)
        return follow(steps, recorder=recorder, save_to=save_to, size=fit, progress=progress)


def _for_each_octave(name, value, octaves):
    values = value if isinstance(value, list) else [value] * octaves
    if len(values) != octaves:
        raise ValueError(f"{name} is {value}; expected one number, or a list with one for each of {octaves} octaves.")
    return values


def ascend(image, gradient, step_size, smoothing=0.0, normalize=True):
    """Return the image one step up: x ← clip(x + s · g / mean |g|), s being the step size; see `DeepDream.iterate`."""
    if smoothing:
        gradient = smooth_gradient(gradient, smoothing)
    if normalize:
        gradient = gradient / (np.abs(gradient).mean() + EPSILON)
    return np.clip(image + np.float32(step_size) * gradient, 0, 255)


@checked(width=above(0, WIDEST))
def smooth_gradient(gradient, width):
    """Return the mean of the gradient at three widths of a Gaussian: half of `width`, `width` and twice that.

    A gradient, `(height, width, channels)`, is full of single-pixel noise, which excites features but means nothing to
    people. Every level is brought to the gradient's mean magnitude. `width` is a standard deviation, 0–100 pixels.
    """
    magnitude, total = np.abs(gradient).mean(), np.zeros_like(gradient)
    for sigma in (width / 2, width, 2 * width):
        level = gaussian_filter(gradient, (sigma, sigma, 0))
        total += level * (magnitude / (np.abs(level).mean() + EPSILON))
    return total / 3


@checked(octaves=whole(1, 100), octave_scale=above(1))
def octave_shapes(shape, octaves, octave_scale, smallest_side=32):
    """Return `(height, width)` of each octave, each `octave_scale` times the one before, the last one that of `shape`.

    No side may be below `smallest_side` pixels.
    """
    shapes = [tuple(round(side / octave_scale**power) for side in shape[:2]) for power in reversed(range(octaves))]
    if min(shapes[0]) < smallest_side:
        raise ValueError(
            f"The smallest of {octaves} octaves would be {shapes[0][0]} × {shapes[0][1]} pixels; each side needs "
            f"{smallest_side} pixels. Use fewer octaves, a smaller octave_scale, or a larger image."
        )
    return shapes


def add_detail(image, shrunk, sharp):
    """Return the dream `image` enlarged to the size of `sharp`, with the detail that shrinking lost put back.

    That is up(image) + (sharp − up(shrunk)), clipped to 0–255; `shrunk` and `sharp` are the original at the smaller and
    the larger size. A dream that changed nothing gives `sharp` again.
    """
    enlarged, blurred = (resize(small, sharp.shape[:2]) for small in (image, shrunk))
    return (enlarged + sharp - blurred).clip(0, 255)


def full_size(image, original):
    """Return the dream of some octave at the original's size, with the original's detail."""
    if image.shape == original.shape:
        return image
    return add_detail(image, resize(original, image.shape[:2]).clip(0, 255), original)


@checked(image=image_array(), frames=whole(1), factor=above(1), seed=whole(0))
def zoom(
    dreamer, image, frames=40, factor=1.05, *, keep_colors=True, recorder=None, save_to=None, progress=True, seed=0,
    **settings,
):  # fmt: skip
    """Dream, enlarge the middle, dream again: an endless zoom. Return a `run.Result` with the last frame.

    Ctrl-C, or the kernel's stop button, ends it and returns the last frame so far.

    Args:
        dreamer: a `DeepDream`.
        image: the first frame before its dream, `(height, width, 3)`, 0–255.
        frames: how many.
        factor: how much closer each frame is, above 1.
        keep_colors: give each frame the first one's colours before its dream; left alone, they grow more garish.
        recorder, save_to, progress: see `run.follow`; each step is a frame.
        seed: of the jitter, which differs from frame to frame.
        settings: of `DeepDream.iterate`, for each frame: few octaves and few steps are enough, as the next frame goes
            on from this one.
    """

    def steps():
        shown = image
        for index in range(frames):
            if index:
                shown = enlarge_middle(shown, factor)
                shown = match_color(shown, image, "histogram") if keep_colors else shown
            for step in dreamer.iterate(shown, seed=seed + index, **settings):
                shown = step.image
            yield replace(step, of=frames, phase=0)

    return follow(steps(), recorder=recorder, save_to=save_to, progress=progress)


def enlarge_middle(image, factor):
    """Return the middle of an image, `factor` times as large, at the image's size; parts of pixels count."""
    height, width = image.shape[:2]
    rim = width * (1 - 1 / factor) / 2, height * (1 - 1 / factor) / 2
    box = (*rim, width - rim[0], height - rim[1])
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(image, -1, 0)]
    larger = [np.asarray(channel.resize((width, height), Image.Resampling.BICUBIC, box)) for channel in channels]
    return np.stack(larger, axis=-1).clip(0, 255)
