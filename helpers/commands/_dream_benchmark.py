"""Measure DeepDream against the plain recipe, in one run: seconds per step, seconds per dream, peak memory.

The plain recipe is that of Keras' DeepDream example: the gradient of the whole picture in every step, eagerly, or with
the step as a `tf.function`, which is traced anew for each octave's size. It has neither jitter nor smoothing nor tiles.
This project traces once for all sizes and computes no gradient of a kernel. Both climb the same objective.

Each dream runs in a fresh process and is that process' first, so that tracing counts in full; the recipes take turns.
"""

import statistics
import sys
import time

from helpers.commands._own_process import in_own_process

EAGER, TRACED, SAME, OWN = "plain, eager", "plain, a trace per octave", "this project, the same", "this project"
RECIPES = {EAGER: "whole", TRACED: "whole", SAME: "tiles", OWN: "tiles"}
OCTAVES = {"octaves": 4, "octave_scale": 1.4, "steps": 10, "step_size": 2.0}


def add_arguments(parser):
    """Add the options."""
    parser.add_argument(
        "--backbone", default="inception_v3", help="inception_v3 (the default), vgg19, vgg16 or mini_vgg"
    )
    parser.add_argument(
        "--weights", default="random", help="random (the default: fine for timing), imagenet, or a file"
    )
    parser.add_argument("--size", type=int, default=512, metavar="PIXELS", help="height and width (default: 512)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each recipe dreams (default: 3)")
    parser.add_argument("--sizes", action="store_true", help="also two steps at 512, 1024 and 2048 px: peak memory")


def run(arguments):
    """Measure, print, and return None."""
    network = {"name": arguments.backbone, "weights": arguments.weights}
    compare(network, arguments.size, arguments.rounds)
    if arguments.sizes:
        measure_memory(network)


def compare(network, size, rounds):
    """Print seconds for each recipe; return the ratio of each plain one to this project, with its own settings."""
    seconds, steps, told = {}, {}, {}
    for _ in range(rounds):
        for recipe in RECIPES:
            told[recipe] = in_own_process(time_dream, recipe=recipe, size=size, **network)
            seconds.setdefault(recipe, []).append(told[recipe]["seconds"])
            steps.setdefault(recipe, []).append(told[recipe]["step"])
    print(f"DeepDream, {network['name']} ({network['weights']} weights), {size} × {size} pixels, ", end="")
    print("{octaves} octaves of {octave_scale}, {steps} steps each; ".format(**OCTAVES), end="")
    print(f"medians of {rounds} dreams in turns, each traced anew")
    ratios = {}
    for recipe in RECIPES:
        pairs = zip(seconds[recipe], seconds[OWN], strict=True)
        ratios[recipe] = statistics.median(one / other for one, other in pairs)
        dream, step = statistics.median(seconds[recipe]), statistics.median(steps[recipe])
        print(f"  {recipe:<26}{dream:7.2f} s a dream   ×{ratios[recipe]:.2f}", end="")
        print(f"   {step:6.3f} s a step at full size   loss {told[recipe]['loss']:.4g}")
    return ratios[EAGER], ratios[TRACED]


def measure_memory(network, sizes=(512, 1024, 2048)):
    """Print the peak memory of a process that takes two steps at full size, above what it held before them."""
    print("Peak memory of two steps, beyond TensorFlow and the network")
    for recipe in (TRACED, OWN):
        for size in sizes:
            bytes_ = in_own_process(time_dream, recipe=recipe, size=size, octaves=1, steps=2, **network)["memory"]
            picture = size * size * 3 * 4
            print(f"  {recipe:<26}{size:5} px {bytes_ / 1e6:7.0f} MB; the picture as float32: {picture / 1e6:.0f} MB")


def time_dream(recipe, size, name, weights, **changed):
    """Dream once; return {"seconds", "step", "loss", "memory"}: in all, of a step at full size, of the last step, and
    the most bytes held beyond those at the start.
    """
    from helpers.notebook import setup

    setup(seed=0)
    from helpers.backbones import load_backbone
    from helpers.images import sample_image

    backbone = load_backbone(name, weights={"random": None}.get(weights, weights))
    image, settings = sample_image("china", shape=(size, size)), OCTAVES | changed
    dream = plain_recipe if RECIPES[recipe] == "whole" else this_project
    moments, losses = [time.perf_counter()], []
    before = peak_memory()
    for loss in dream(backbone, image, recipe, **settings):
        losses.append(loss)
        moments.append(time.perf_counter())
    last = [end - begin for begin, end in zip(moments[:-1], moments[1:], strict=True)][-(settings["steps"] - 1) :]
    seconds = moments[-1] - moments[0]
    return {"seconds": seconds, "step": statistics.median(last), "loss": losses[-1], "memory": peak_memory() - before}


def peak_memory():
    """Return the most memory that this process has held so far, in bytes (not on Windows)."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def this_project(backbone, image, recipe, **settings):
    """Yield the loss of each step of `DeepDream`; `SAME` does no more than the plain recipe."""
    from helpers.deepdream import DeepDream

    if recipe == SAME:
        settings |= {"jitter": 0, "smoothing": 0}
    for step in DeepDream(backbone).iterate(image, **settings):
        yield step.losses["loss"]


def plain_recipe(backbone, image, recipe, octaves, octave_scale, steps, step_size):
    """Yield the loss of each step of the recipe of the examples, written as they write it."""
    import keras
    import tensorflow as tf

    backbone.model.trainable = True  # as it is in the recipe, so that an eager tape follows the kernels too
    outputs = {name: backbone.model.get_layer(name).output for name in backbone.dream_layers}
    network = keras.Model(backbone.model.input, outputs)

    def step(picture):
        with tf.GradientTape() as tape:
            tape.watch(picture)
            loss = tf.zeros(())
            for features in network(backbone.preprocess(picture)).values():
                count = tf.cast(tf.reduce_prod(tf.shape(features)), tf.float32)
                loss += tf.reduce_sum(tf.square(features[:, 2:-2, 2:-2])) / count
        gradient = tape.gradient(loss, picture)
        gradient /= tf.maximum(tf.reduce_mean(tf.abs(gradient)), 1e-12)
        return loss, tf.clip_by_value(picture + step_size * gradient, 0, 255)

    step = tf.function(step) if recipe == TRACED else step
    original = tf.constant(image[None])
    shapes = [tuple(int(side / octave_scale**power) for side in image.shape[:2]) for power in reversed(range(octaves))]
    shrunk = tf.image.resize(original, shapes[0])
    picture = shrunk
    for shape in shapes:
        sharp = tf.image.resize(original, shape)
        picture = tf.image.resize(picture, shape) + sharp - tf.image.resize(shrunk, shape)
        shrunk = sharp
        for _ in range(steps):
            loss, picture = step(picture)
            yield float(loss)
