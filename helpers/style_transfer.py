"""Style transfer after Gatys, Ecker and Bethge: change an image until a network sees the content of one picture and the
style of another (2015, arXiv:1508.06576; CVPR 2016).

`StyleTransfer` says what is minimised, an optimiser of `helpers.optimizers` says how. `iterate` is the one loop: it
yields a `Step` for each evaluation of loss and gradient; `stylize` consumes it with a progress bar, a record and
checkpoints.
"""

import json
import sys
import time
import zlib
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from helpers import style_runs as runs
from helpers.arguments import having, number, path, short
from helpers.backbones import feature_extractor
from helpers.images import resize
from helpers.losses import NORMALIZATIONS, content_loss, gram_matrix, style_loss, total_variation
from helpers.optimizers import lbfgs

TERMS = {"content": "content_weight", "style": "style_weight", "variation": "tv_weight"}
LONG_RUN = 20.0  # seconds from which `stylize` says beforehand how long it will take


@dataclass(frozen=True)
class Step:
    """One evaluation of loss and gradient.

    Attributes:
        number: 1 … `of`.
        of: evaluations in the whole run, over all scales.
        scale: 0 is the coarsest.
        image: what was evaluated, float32 `(height, width, 3)`, 0–255.
        losses: {"total", "content", "style", "variation": float}; the terms are weighted, and sum to the total. A term
            whose weight is 0 is left out.
    """

    number: int
    of: int
    scale: int
    image: np.ndarray
    losses: dict


@dataclass(frozen=True)
class StyleResult:
    """What a run found.

    Attributes:
        image: the best image of the last scale (least total loss), float32 `(height, width, 3)`, 0–255.
        history: {term: float32 array with a value for each step}.
        seconds: how long the run took.
        interrupted: whether it was stopped before its last step.
    """

    image: np.ndarray
    history: dict
    seconds: float
    interrupted: bool = False


@dataclass(frozen=True)
class Estimate:
    """What a run will need, from two warm-up steps: `seconds` in all, `memory` (peak of the process, bytes; None:
    unknown).
    """

    seconds: float
    seconds_per_step: float
    memory: int | None

    def __str__(self):
        """Return one line for a person."""
        memory = "" if self.memory is None else f" and {self.memory / 1e9:.1f} GB of memory"
        return f"About {self.seconds:.0f} s ({self.seconds_per_step:.2f} s for a step at full size){memory}."


class DivergedError(ArithmeticError):
    """A loss became NaN or infinite; the message names the term and the knob. `result`: the run up to then, or None."""

    result = None


class StyleTransfer:
    """Content and style as losses on a network's features, and the descent along their sum.

    The loss is α Σ w_l · content_loss_l + β Σ v_l · style_loss_l + γ · total_variation (equation 7, plus smoothness).
    The targets are computed once for each size, the network stops at the deepest layer in use, and loss and gradient
    are one traced function for each size.

    Args:
        backbone: from `load_backbone`.
        content_layers: {layer: weight w_l}, or names, which share a weight of 1. Default: the backbone's own.
        style_layers: {layer: weight v_l}, or names, which share a weight of 1. Default: the backbone's own.
        content_weight: α. A weight of 0 leaves the term out, and its layers uncomputed.
        style_weight: β.
        tv_weight: γ.
        normalization: see `helpers.losses`. The default weights fit `"mean"`; `"paper"` wants others for each network.

    Raises:
        ValueError: if a layer or a normalisation is unknown, a weight is negative, or all of them are 0.

    `content_weight`, `style_weight` and `tv_weight` may be changed between runs, without tracing anew.
    """

    def __init__(  # noqa: D107 - the class says it
        self,
        backbone,
        content_layers=None,
        style_layers=None,
        content_weight=1.0,
        style_weight=50.0,
        tv_weight=0.0,
        normalization="mean",
    ):
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization must be one of {NORMALIZATIONS}, got {short(normalization)}.")
        self.backbone = having("backbone", backbone, "model", "what load_backbone(...) returns")
        self.content_layers = runs.layer_weights(
            backbone.content_layers if content_layers is None else content_layers, backbone
        )
        self.style_layers = runs.layer_weights(
            backbone.style_layers if style_layers is None else style_layers, backbone
        )
        self.content_weight, self.style_weight, self.tv_weight = content_weight, style_weight, tv_weight
        self.normalization = normalization
        self._check_weights()
        self._extractors = {}
        self._value_and_gradient = tf.function(self.losses_and_gradient)

    @property
    def traces(self):
        """How often loss and gradient were traced: once for each size and set of terms."""
        return self._value_and_gradient.experimental_get_tracing_count()

    def losses(self, image, content, styles, shares=None):
        """Return the weighted losses of `image`, as in `Step.losses`. All pictures are taken at their own size."""
        objective = self._objective(runs.as_picture(content), runs.as_pictures(styles), runs.as_shares(shares, styles))
        return objective(runs.as_picture(image))[0]

    def iterate(
        self,
        content,
        styles,
        init="content",
        optimizer=None,
        steps=100,
        scales=1,
        *,
        shares=None,
        style_scale=1.0,
        blend=0.5,
        preserve_color=None,
        seed=0,
        position=None,
    ):
        """Yield a `Step` for each evaluation of loss and gradient. The result has the size of `content`.

        Args:
            content: `(height, width, 3)`, 0–255. It gives the size even where `content_weight` is 0.
            styles: one such array, of any size, or a list of them.
            init: where to start: `"content"`, `"recolored"` (the content in the colours of the first style, from where
                the way is shortest), `"style"` (the first one, cut to size), `"noise"` (Gaussian, seeded), `"blend"` of
                content and noise, or an array, which is resized.
            optimizer: `lbfgs()` (the default), `adam(...)` or `gradient_descent(...)`.
            steps: evaluations in all, shared evenly among the scales, or a list with a number for each scale.
            scales: coarse to fine. A number n stands for n sizes, each twice the one before; a list gives each as a
                part of the full size, the last one being 1. Each starts from the enlarged result of the one before.
            shares: how much of each style, as numbers of any sum. Default: equal.
            style_scale: longest side of the style, in parts of the generated image's: 0.5 is fine grain, 2 is coarse.
            blend: for `init="blend"`, how much of it is noise, 0–1.
            preserve_color: None, `"luminance"` (style transfer on brightness alone, the content's hues put back) or
                `"histogram"` (the style's colours are first moved onto the content's). See `match_color`.
            seed: of the noise. On a CPU the same seed gives the same picture, bit for bit.
            position: used by `stylize` for checkpoints.

        Raises:
            ValueError: if an argument does not fit; the message says what would.
            DivergedError: if a loss becomes NaN or infinite.
        """
        content, styles = runs.as_picture(content), runs.as_pictures(styles)
        optimizer = runs.as_optimizer(lbfgs() if optimizer is None else optimizer)
        position = runs.Position() if position is None else position
        self._check_weights()
        shares = runs.as_shares(shares, styles)
        shapes = runs.scale_shapes(content.shape[:2], scales)
        counts = runs.scale_counts(steps, len(shapes))
        seen, styles, hues = runs.seen_colors(content, styles, preserve_color)
        start = runs.first_image(init, seen, styles, blend, seed)
        start = start if hues is None else runs.grey(start)

        while position.scale < len(shapes):
            scale, shape = position.scale, shapes[position.scale]
            fitted = [runs.fit_style(style, shape, style_scale) for style in styles]
            objective = self._objective(resize(seen, shape), fitted, shares)
            finish = runs.finisher(None if hues is None else resize(hues, shape))
            image = resize(start if position.image is None else position.image, shape)
            with closing(self.descend(objective, image, optimizer, sum(counts[: scale + 1]), position)) as descent:
                for image, losses in descent:
                    yield Step(position.number + 1, sum(counts), scale, finish(image), losses)
            position.scale, position.image = scale + 1, position.best
            position.memory, position.least, position.best = {}, np.inf, None

    def descend(self, objective, image, optimizer, last, position):
        """Yield image and losses of each step at one size, up to step `last`; `position` follows along.

        Args:
            objective: image → ({term: loss}, gradient).
            image: where to start.
            optimizer: as in `iterate`.
            last: number of this size's last step, counted over the whole run.
            position: a `Position`.
        """
        search = optimizer.search(image, position.memory)
        try:
            image = next(search)
            while position.number < last:
                losses, gradient = self._evaluate(objective, image, optimizer, position.number + 1)
                position.image = image
                if losses["total"] < position.least:
                    position.least, position.best = losses["total"], image
                yield image, losses
                position.number += 1
                image = search.send((losses["total"], gradient))
        except StopIteration:  # the optimiser found nothing better
            position.number = last
        finally:
            search.close()

    def stylize(
        self,
        content,
        styles,
        init="content",
        optimizer=None,
        steps=100,
        scales=1,
        *,
        progress=True,
        recorder=None,
        checkpoint=None,
        checkpoint_every=25,
        resume=False,
        **settings,
    ):
        """Run `iterate` and return a `StyleResult`.

        Before a run of 20 seconds or more, print how long it will take and how much memory. Ctrl-C, or the kernel's
        stop button, ends the run and returns the best image so far.

        Args:
            content, styles, init, optimizer, steps, scales, settings: as in `iterate`.
            progress: show a bar with the losses.
            recorder: anything with `add(image)`, called with each step's image, enlarged to the full size.
            checkpoint: path of a file (`.npz`) that is written every `checkpoint_every` steps. Where it cannot be, the
                run says so once and goes on without.
            checkpoint_every: steps.
            resume: go on from `checkpoint` if the file exists. With Adam and gradient descent the picture is the same
                as that of an uninterrupted run, bit for bit; L-BFGS gathers its curvature anew.

        Raises:
            ValueError: as in `iterate`, or if the checkpoint is damaged or belongs to another run.
            DivergedError: as in `iterate`; its `result` is the run up to then.
        """
        optimizer = runs.as_optimizer(lbfgs() if optimizer is None else optimizer)
        arguments = dict(init=init, optimizer=optimizer, steps=steps, scales=scales, **settings)
        recorder, every = runs.as_recorder(recorder), number("checkpoint_every", checkpoint_every, 1, whole=True)
        runs.scale_counts(steps, len(runs.scale_shapes(runs.as_picture(content).shape[:2], scales)))
        checkpoint = None if checkpoint is None else path("checkpoint", checkpoint)
        position, record = runs.Position(), runs.Record()
        mark = self._fingerprint(content, styles, arguments) if checkpoint else None
        if checkpoint and resume and checkpoint.exists():
            position = runs.load_checkpoint(checkpoint, mark, record)
        elif _may_be_long(content, steps):
            estimate = self.estimate(content, styles, **arguments)
            if estimate.seconds >= LONG_RUN:
                print(estimate)
        iteration = self.iterate(content, styles, position=position, **arguments)
        bar = tqdm(total=None, disable=not progress, file=sys.stdout, leave=False, unit="step", mininterval=0.5)
        try:
            for step in iteration:
                record.add(step)
                if recorder is not None:
                    recorder.add(np.clip(resize(step.image, np.shape(content)[:2]), 0, 255))
                if checkpoint and step.number % every == 0:
                    checkpoint = runs.save_checkpoint(checkpoint, mark, position, record)
                bar.total = step.of
                bar.update(step.number - bar.n)
                bar.set_postfix({term: f"{value:.3g}" for term, value in step.losses.items()}, refresh=False)
        except KeyboardInterrupt:
            record.interrupted = True
        except DivergedError as error:
            error.result = None if record.image is None else _result(record)
            raise
        finally:
            iteration.close()
            bar.close()
        if record.image is None:
            raise KeyboardInterrupt
        return _result(record)

    def estimate(self, content, styles, init="content", optimizer=None, steps=100, scales=1, **settings):
        """Return an `Estimate` for `iterate` with these arguments, from two steps at full size: one traces, one is
        timed.
        """
        content, optimizer = runs.as_picture(content), runs.as_optimizer(lbfgs() if optimizer is None else optimizer)
        shapes = runs.scale_shapes(content.shape[:2], scales)
        counts = runs.scale_counts(steps, len(shapes))
        arguments = {**settings, "init": init, "optimizer": optimizer, "steps": 2, "scales": 1}
        with runs.PeakMemory() as peak:
            iteration = self.iterate(content, styles, **arguments)
            next(iteration)
            began = time.perf_counter()
            next(iteration)
            seconds = time.perf_counter() - began
            iteration.close()
        pixels = [height * width for height, width in shapes]
        total = sum(count * seconds * size / pixels[-1] for count, size in zip(counts, pixels, strict=True))
        memory = peak.bytes and peak.bytes + optimizer.bytes_per_value * content.size
        return Estimate(total, seconds, memory)

    def _objective(self, content, styles, shares):
        """Return a function image → ({term: loss}, gradient) for pictures at the size of this scale."""
        targets = {}
        if self.content_weight:
            features = self._extractor(self.content_layers)(self._batch(content))
            targets["content"] = {name: features[name] for name in self.content_layers}
        if self.style_weight:
            targets["style"] = self._mixed_grams(styles, shares)
        weights = {
            term: tf.constant(getattr(self, knob), tf.float32) for term, knob in TERMS.items() if getattr(self, knob)
        }

        batch = tf.TensorSpec((1, *content.shape), tf.float32)
        traced = self._value_and_gradient.get_concrete_function(batch, targets, weights)  # traces new sizes only

        def evaluate(image):
            values, gradient = traced(tf.constant(image[None]), targets, weights)
            losses = {term: float(value) for term, value in values.items()}
            total = losses.pop("total")
            return {"total": total, **losses}, gradient.numpy()[0]

        return evaluate

    def _mixed_grams(self, styles, shares):
        """Return {layer: Gram matrix per position}, mixed by share: one target for all styles, at the cost of one.

        With shares that sum to 1, Σ_k s_k (G − A_k)² and (G − Σ_k s_k A_k)² differ by a constant, so that with
        `normalization="paper"` the mixed target has the gradient of the weighted sum of the styles' losses. `"mean"`
        divides by (Σ_k s_k A_k)², the mixture's own size: it is the loss of one style whose Gram matrix is the mixture,
        not the weighted sum, in which each style's loss is divided by its own size.
        """
        extract = self._extractor(self.style_layers)
        mixed = {name: 0.0 for name in self.style_layers}
        for style, share in zip(styles, shares, strict=True):
            features = extract(self._batch(style))
            for name in mixed:
                positions = features[name].shape[1] * features[name].shape[2]
                mixed[name] += share * gram_matrix(features[name]) / positions
        return mixed

    def losses_and_gradient(self, image, targets, weights):
        """The traced function: only the image is watched, so that no gradient of a kernel is ever computed."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            losses = {}
            layers = [name for term in ("content", "style") for name in targets.get(term, ())]
            features = self._extractor(layers)(self.backbone.preprocess(image)) if layers else {}
            if "content" in targets:
                losses["content"] = weights["content"] * sum(
                    weight * content_loss(features[name], targets["content"][name], self.normalization)
                    for name, weight in self.content_layers.items()
                )
            if "style" in targets:
                losses["style"] = weights["style"] * sum(
                    weight * style_loss(features[name], targets["style"][name], 1, self.normalization)
                    for name, weight in self.style_layers.items()
                )
            if "variation" in weights:
                losses["variation"] = weights["variation"] * total_variation(image, normalization=self.normalization)
            losses["total"] = tf.add_n(list(losses.values()))
        return losses, tape.gradient(losses["total"], image)

    def _extractor(self, layers):
        """Return the network up to the deepest of `layers`, made once."""
        key = tuple(sorted(set(layers)))
        if key not in self._extractors:
            self._extractors[key] = feature_extractor(self.backbone, list(key))
        return self._extractors[key]

    def _batch(self, picture):
        return self.backbone.preprocess(tf.constant(picture[None]))

    def _evaluate(self, objective, image, optimizer, number):
        """Return losses and gradient, or say what went wrong."""
        at = f"Step {number} of {optimizer.name}"
        if not np.isfinite(image).all():
            raise DivergedError(f"{at}: the image holds NaN or infinite values. Lower {optimizer.knob}.")
        losses, gradient = objective(image)
        for term, knob in TERMS.items():
            if not np.isfinite(losses.get(term, 0.0)):
                raise DivergedError(
                    f"{at}: the {term} loss is {losses[term]}. "
                    f"Lower {knob} (now {getattr(self, knob):g}) or {optimizer.knob}."
                )
        if not (np.isfinite(losses["total"]) and np.isfinite(gradient).all()):
            largest = max(TERMS.keys() & losses.keys(), key=losses.get)
            raise DivergedError(
                f"{at}: the gradient is not finite; the largest term is {largest} ({losses[largest]:.3g}). "
                f"Lower {TERMS[largest]} (now {getattr(self, TERMS[largest]):g})."
            )
        return losses, gradient

    def _check_weights(self):
        if not any([number(knob, getattr(self, knob), 0) for knob in TERMS.values()]):
            raise ValueError("content_weight, style_weight and tv_weight are all 0: there is nothing to minimise.")
        if (self.content_weight and not self.content_layers) or (self.style_weight and not self.style_layers):
            raise ValueError("A term without layers: give content_layers and style_layers at least one weight above 0.")

    def _fingerprint(self, content, styles, arguments):
        """Return a text that differs between runs that must not continue one another."""
        pictures = [runs.as_picture(content), *runs.as_pictures(styles)]
        if isinstance(arguments["init"], np.ndarray):
            pictures.append(arguments["init"])
            arguments = {**arguments, "init": "array"}
        settings = {**arguments, "optimizer": arguments["optimizer"].settings}
        mine = [self.backbone.name, self.backbone.source, self.content_layers, self.style_layers, self.normalization]
        mine += [getattr(self, knob) for knob in TERMS.values()]
        sums = [(picture.shape, zlib.crc32(np.ascontiguousarray(picture))) for picture in pictures]
        return json.dumps([mine, settings, sums], sort_keys=True, default=_plain)


def _plain(value):
    """Return what JSON can hold in the place of `value`."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _result(record):
    history = {term: np.array(values, np.float32) for term, values in record.history.items()}
    return StyleResult(record.image, history, time.perf_counter() - record.began, record.interrupted)


def _may_be_long(content, steps):
    """Whether a run is worth two warm-up steps: not if 50 thousand pixels a second would do it in time."""
    height, width = np.shape(content)[:2]
    return np.sum(steps) >= 20 and height * width * np.sum(steps) / 5e4 >= LONG_RUN
