"""Style transfer after Gatys, Ecker and Bethge: change an image until a network sees the content of one image and the
style of another (2015, arXiv:1508.06576; CVPR 2016).

`StyleTransfer` says what is minimised, an optimiser of `helpers.optimizers` says how. `iterate` yields a `run.Step` for
each evaluation of loss and gradient; `stylize` follows it to the end.
"""

from contextlib import closing
from itertools import islice

import numpy as np
import tensorflow as tf

from helpers import optimizers
from helpers.backbones import feature_extractor
from helpers.check import above, at_least, checked, having, one_of, one_or_each, optional, weighted, whole
from helpers.images import image_array, load_image, luminance, match_color, resize
from helpers.losses import NORMALIZATIONS, content_loss, gram_matrix, style_loss, total_variation
from helpers.run import DivergedError, Step, follow

KNOBS = {"content": "content_weight", "style": "style_weight", "variation": "tv_weight"}
INITS = ("content", "recolored", "style", "noise", "blend")
SMALLEST_SIDE = 32  # pixels: below this, the deep layers of a VGG have no position left

_image, _layers = image_array(SMALLEST_SIDE), weighted(at_least(0), shared=True)


def _optimizer(value):
    if not callable(value) or value in (optimizers.lbfgs, optimizers.adam, optimizers.gradient_descent):
        raise TypeError("what lbfgs(), adam(...) or gradient_descent(...) returns")
    return value


class StyleTransfer:
    """Content and style as losses on a network's features, and the descent along their sum.

    The loss is α Σ w_l · content_loss_l + β Σ v_l · style_loss_l + γ · total_variation (equation 7, plus smoothness).
    The targets are computed once for each size; loss and gradient are compiled once for all sizes.

    Args:
        backbone: from `load_backbone`.
        content_layers: {layer: weight w_l}, or names, which share a weight of 1. Default: the backbone's own.
        style_layers: {layer: weight v_l}, or names, which share a weight of 1. Default: the backbone's own.
        content_weight: α, from 0, which leaves the term out.
        style_weight: β. The three weights may be changed between runs.
        tv_weight: γ.
        normalization: see `helpers.losses`. The default weights fit `"mean"`; `"paper"` wants others for each network.
        margin: pixels by which each image is continued by its reflection, so that the zeros with which the network pads
            leave no scallops along the edges; 0, as in the papers, is faster.
    """

    @checked(
        backbone=having("model", "what load_backbone(...) returns"),
        content_layers=optional(_layers),
        style_layers=optional(_layers),
        content_weight=at_least(0),
        style_weight=at_least(0),
        tv_weight=at_least(0),
        normalization=one_of(*NORMALIZATIONS),
        margin=whole(0, SMALLEST_SIDE - 1),
    )
    def __init__(
        self, backbone, content_layers=None, style_layers=None, content_weight=1.0, style_weight=50.0, tv_weight=0.0,
        normalization="mean", margin=16,
    ):  # fmt: skip
        self.backbone, self.normalization = backbone, normalization
        self.content_layers = _layers(backbone.content_layers) if content_layers is None else content_layers
        self.style_layers = _layers(backbone.style_layers) if style_layers is None else style_layers
        self.content_weight, self.style_weight, self.tv_weight = content_weight, style_weight, tv_weight
        self._weights()
        self._features = feature_extractor(backbone, {**self.content_layers, **self.style_layers}, margin)
        self._compiled = tf.function(self.losses_and_gradient, autograph=False)

    @property
    def traces(self):
        """How often loss and gradient were compiled: once for each set of terms."""
        return self._compiled.experimental_get_tracing_count()

    @checked(
        content=_image,
        styles=one_or_each(_image),
        init=lambda value: image_array()(value) if hasattr(value, "shape") else one_of(*INITS)(value),
        optimizer=optional(_optimizer),
        steps=one_or_each(whole(1)),
        scales=lambda value: [above(0, 1)(part) for part in value] if np.ndim(value) == 1 else whole(1, 16)(value),
        shares=optional(one_or_each(at_least(0))),
        style_scale=above(0),
        preserve_color=one_of(None, "luminance", "histogram"),
        seed=whole(0),
    )
    def iterate(
        self, content, styles, init="content", optimizer=None, steps=100, scales=1, *, shares=None, style_scale=1.0,
        preserve_color=None, seed=0,
    ):  # fmt: skip
        """Return a generator of one `run.Step` for each evaluation of loss and gradient.

        Its losses are {"total", "content", "style", "variation"}: the weighted terms sum to the total, and one whose
        weight is 0 is left out. Its phase is the scale; the images of the last scale have the size of `content`.

        Args:
            content: `(height, width, 3)`, 0–255. It gives the size even where `content_weight` is 0.
            styles: one such array, of any size, or a list of them.
            init: where to start: `"content"`, `"recolored"` (the content in the colours of the first style), `"style"`
                (the first one, cut to size), `"noise"`, `"blend"` (of content and noise), or an array, to be resized.
            optimizer: `lbfgs()` (the default), `adam(...)` or `gradient_descent(...)`.
            steps: evaluations in all, shared evenly among the scales, or a list with a number for each scale.
            scales: coarse to fine. A number n stands for n sizes, each twice the one before; a list gives each as a
                part of the full size, the last one being 1. Each starts from the enlarged result of the one before.
            shares: how much of each style, as numbers of any sum. Default: equal.
            style_scale: longest side of the style, in parts of the generated image's: 0.5 is fine grain, 2 is coarse.
            preserve_color: None, `"luminance"` (style transfer on brightness alone, the content's hues put back) or
                `"histogram"` (the style's colours are first moved onto the content's). See `match_color`.
            seed: of the noise. On a CPU the same seed gives the same image, bit for bit.

        Raises:
            ValueError: at once, if an argument does not fit; the message says what would.
            DivergedError: from the generator, if a loss or gradient becomes NaN or infinite.
        """
        self._weights()
        shapes = scale_shapes(content.shape[:2], scales)
        counts = scale_steps(steps, len(shapes))
        styles = styles if isinstance(styles, list) else [styles]
        shares = as_shares(shares, len(styles))
        seen, styles = seen_colors(content, styles, preserve_color)
        start = first_image(init, seen, styles, seed)
        start = grey(start) if preserve_color == "luminance" else start
        descend = optimizers.lbfgs() if optimizer is None else optimizer

        def scale_by_scale(image):
            for scale, (shape, count) in enumerate(zip(shapes, counts, strict=True)):
                fitted = [fit_style(style, shape, style_scale) for style in styles]
                evaluate = self.evaluator(resize(seen, shape), fitted, shares)
                hues, least = resize(content, shape), np.inf
                with closing(descend(resize(image, shape), evaluate)) as descent:
                    for current, losses in islice(descent, count):
                        if losses["total"] < least:
                            least, image = losses["total"], current
                        shown = np.clip(current, 0, 255)
                        shown = match_color(shown, hues, "luminance") if preserve_color == "luminance" else shown
                        yield Step(shown, losses, sum(counts), scale)

        return scale_by_scale(start)

    def stylize(self, content, styles, *arguments, recorder=None, save_to=None, progress=True, **settings):
        """Follow `iterate`, whose arguments it takes, to the end; return a `run.Result` with the best image.

        Ctrl-C, or the kernel's stop button, ends the run and returns the best image so far. For `recorder`, `save_to`
        and `progress`, see `run.follow`.
        """
        steps = self.iterate(content, styles, *arguments, **settings)
        return follow(steps, recorder=recorder, save_to=save_to, size=np.shape(content)[:2], progress=progress)

    def evaluator(self, content, styles, shares):
        """Return a function of an image of content's size: ({"total" and each term: loss}, gradient)."""
        weights, targets = {term: tf.constant(weight) for term, weight in self._weights().items()}, {}
        if "content" in weights:
            features = self.features(tf.constant(content))
            targets["content"] = {name: features[name] for name in self.content_layers}
        if "style" in weights:
            targets["style"] = self._mixed_grams(styles, shares)
        compiled = self._compiled.get_concrete_function(
            tf.TensorSpec((None, None, 3)), tf.nest.map_structure(_of_any_size, targets), weights
        )

        def evaluate(image):
            losses, gradient = compiled(tf.constant(image), targets, weights)
            losses, gradient = {term: float(value) for term, value in losses.items()}, gradient.numpy()
            if not (np.isfinite(list(losses.values())).all() and np.isfinite(gradient).all()):
                term = max(KNOBS.keys() & losses.keys(), key=lambda term: (not np.isfinite(losses[term]), losses[term]))
                raise DivergedError(
                    f"The run diverged at a {term} loss of {losses[term]:.3g}. Lower {KNOBS[term]} (now "
                    f"{getattr(self, KNOBS[term]):g}) or the learning rate of the optimizer."
                )
            return losses, gradient

        return evaluate

    def features(self, image):
        """Return {layer: features} of an image, a tensor `(height, width, 3)`, 0–255."""
        return self._features(self.backbone.preprocess(image[None]))

    def losses_and_gradient(self, image, targets, weights):
        """The compiled function: only the image is watched, so that no gradient of a kernel is ever computed."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            features, losses = self.features(image), {}
            if "content" in weights:
                losses["content"] = weights["content"] * sum(
                    weight * content_loss(features[name], targets["content"][name], self.normalization)
                    for name, weight in self.content_layers.items()
                )
            if "style" in weights:
                losses["style"] = weights["style"] * sum(
                    weight * style_loss(features[name], targets["style"][name], 1, self.normalization)
                    for name, weight in self.style_layers.items()
                )
            if "variation" in weights:
                variation = total_variation(image[None], normalization=self.normalization)
                losses["variation"] = weights["variation"] * variation
            losses = {"total": tf.add_n(list(losses.values())), **losses}
        return losses, tape.gradient(losses["total"], image)

    def _mixed_grams(self, styles, shares):
        """Return {layer: Gram matrix per position}, mixed by share: one target for all styles, at the cost of one.

        With shares that sum to 1, Σ_k s_k (G − A_k)² and (G − Σ_k s_k A_k)² differ by a constant, so that with
        `normalization="paper"` the mixed target has the gradient of the weighted sum of the styles' losses. `"mean"`
        divides by the mixture's own size, (Σ_k s_k A_k)²: the loss of one style whose Gram matrix is the mixture.
        """
        mixed = {name: 0.0 for name in self.style_layers}
        for style, share in zip(styles, shares, strict=True):
            features = self.features(tf.constant(style))
            for name in mixed:
                positions = features[name].shape[1] * features[name].shape[2]
                mixed[name] += share * gram_matrix(features[name]) / positions
        return mixed

    def _weights(self):
        """Return {term: weight} of the terms that count."""
        weights = {term: float(getattr(self, knob)) for term, knob in KNOBS.items() if getattr(self, knob)}
        if not weights:
            raise ValueError("content_weight, style_weight and tv_weight are all 0: there is nothing to minimise.")
        for term, layers in {"content": self.content_layers, "style": self.style_layers}.items():
            if term in weights and not any(layers.values()):
                raise ValueError(f"{term}_layers is empty, or all 0: give at least one weight above 0.")
        return weights


def _of_any_size(target):
    """Return the `TensorSpec` of features of any height and width, or of a Gram matrix."""
    return tf.TensorSpec([1, None, None, target.shape[-1]] if target.shape.rank == 4 else target.shape)


def scale_shapes(full, scales):
    """Return `(height, width)` of each scale, from coarse to fine, the last one being `full`; see `iterate`."""
    parts = scales if isinstance(scales, list) else [0.5**power for power in reversed(range(scales))]
    if not parts or parts[-1] != 1 or sorted(parts) != parts:
        raise ValueError(f"scales is {scales}; expected a whole number from 1, or parts of the full size, rising to 1.")
    shapes = [tuple(round(side * part) for side in full) for part in parts]
    if min(shapes[0]) < SMALLEST_SIDE:
        raise ValueError(
            f"scales is {scales}: the coarsest scale would be {shapes[0][0]} × {shapes[0][1]} pixels; each side needs "
            f"{SMALLEST_SIDE}. Use fewer scales or a larger content image."
        )
    return shapes


def scale_steps(steps, scales):
    """Return how many steps each of so many scales gets; the finest ones get what is left over."""
    counts = steps if isinstance(steps, list) else [(steps + index) // scales for index in range(scales)]
    if len(counts) != scales or min(counts) < 1:
        raise ValueError(
            f"steps is {steps}; expected a number from {scales}, or a list of {scales}, one for each scale."
        )
    return counts


def as_shares(shares, styles):
    """Return a share for each of so many styles; they sum to 1."""
    shares = [1.0] * styles if shares is None else shares
    if not isinstance(shares, list) or len(shares) != styles or not sum(shares):
        raise ValueError(f"shares is {shares}; expected a list of {styles}, one for each style, not all of them 0.")
    return [share / sum(shares) for share in shares]


def seen_colors(content, styles, preserve_color):
    """Return content and styles as the network is to see them."""
    if preserve_color == "histogram":
        return content, [match_color(style, content, "histogram") for style in styles]
    if preserve_color == "luminance":
        return grey(content), [match_brightness(grey(style), grey(content)) for style in styles]
    return content, styles


def grey(image):
    """Return the brightness of an image in all three channels."""
    return np.repeat(luminance(image)[..., None], 3, axis=-1)


def match_brightness(image, reference):
    """Return `image` with the mean and the spread of the reference's values."""
    spread = max(float(image.std()), 1e-6)
    return np.clip((image - image.mean()) / spread * reference.std() + reference.mean(), 0, 255)


def first_image(init, content, styles, seed):
    """Return where to start, at the size of `content`; see `iterate`."""
    if isinstance(init, np.ndarray):
        return resize(init, content.shape[:2])
    if init == "recolored":
        return match_color(content, styles[0], "histogram")
    if init == "style":
        return load_image(styles[0], shape=content.shape[:2])
    noise = np.random.default_rng(seed).normal(127.5, 40, content.shape).astype(np.float32)
    share = {"content": 0.0, "blend": 0.5, "noise": 1.0}[init]
    return np.float32(1 - share) * content + np.float32(share) * noise


def fit_style(style, shape, style_scale):
    """Return a style image at the grain that was asked for: its longest side in parts of the generated image's."""
    factor = style_scale * max(shape) / max(style.shape[:2])
    factor = max(factor, SMALLEST_SIDE / min(style.shape[:2]))
    return resize(style, tuple(round(side * factor) for side in style.shape[:2]))
