"""Measure style transfer against the plain recipe, in one run: seconds per step, seconds to the same loss.

The plain recipe is the one of most tutorials: content, style and generated image as one batch through the whole network
in every step, eagerly, with Adam. This project computes the targets once, stops the network at the deepest layer in
use, compiles loss and gradient, and descends with L-BFGS. Both minimise the same loss.
"""

import time

import numpy as np

from helpers.commands._dream_benchmark import peak_memory

PLAIN_STEPS = 100


def add_arguments(parser):
    """Add what `benchmark style` may be told."""
    parser.add_argument("--backbone", default="vgg19", help="vgg19, vgg16 or mini_vgg (default: vgg19)")
    parser.add_argument(
        "--weights", default="random", help="random (the default: fine for timing), imagenet, or a file"
    )
    parser.add_argument("--size", type=int, default=256, metavar="PIXELS", help="height and width (default: 256)")
    parser.add_argument(
        "--plain-steps", type=int, default=PLAIN_STEPS, metavar="N", help=f"of the plain recipe ({PLAIN_STEPS})"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=6.0, help="of the plain recipe's Adam, in grey levels (default: 6)"
    )
    parser.add_argument("--sizes", action="store_true", help="also one step at 384, 512 and 1024 px, with peak memory")


def run(arguments):
    """Measure, print, and return None."""
    import keras

    from helpers.backbones import load_backbone
    from helpers.images import sample_image

    keras.utils.set_random_seed(0)  # of random weights
    weights = {"random": None}.get(arguments.weights, arguments.weights)
    backbone = load_backbone(arguments.backbone, weights=weights)
    shape = (arguments.size, arguments.size)
    content, style = sample_image("china", shape=shape), sample_image("night_swirls", shape=shape)
    print(f"Style transfer, {backbone.name} ({backbone.source}), {shape[0]} × {shape[1]} pixels")
    compare(backbone, content, style, arguments.plain_steps, arguments.learning_rate)
    if arguments.sizes:
        for size in (384, 512, 1024):
            measure_size(backbone, size)


def compare(backbone, content, style, plain_steps=PLAIN_STEPS, learning_rate=6.0):
    """Print both recipes' seconds per step and seconds to the plain recipe's loss; return the two ratios.

    The plain recipe runs first, `plain_steps` steps after one that is not counted; its least loss is the mark. Then
    this project runs until it is at or below the mark, twice: from the content, as the plain recipe does, and from the
    content in the style's colours, its own way. The second ratio returned is that of its own way.
    """
    from helpers.style_transfer import StyleTransfer

    settings = dict(content_weight=1.0, style_weight=100.0, normalization="mean")
    plain_seconds, plain_losses = plain_recipe(backbone, content, style, plain_steps, learning_rate, settings)
    plain_step, plain_total, mark = float(np.median(plain_seconds)), float(np.sum(plain_seconds)), min(plain_losses)
    transfer = StyleTransfer(backbone, **settings, margin=0)
    began = time.perf_counter()
    transfer.evaluator(content, [style], [1.0])(content)
    compiled = time.perf_counter() - began
    same, own = (
        seconds_to(mark, transfer, content, style, init, 20 * plain_steps) for init in ("content", "recolored")
    )
    step = float(np.median(same[0] + own[0]))

    print(f"  plain recipe   {plain_step:8.3f} s a step, {plain_total:7.1f} s for {plain_steps} steps, to {mark:.4g}")
    print(f"  this project   {step:8.3f} s a step, after {compiled:.1f} s to compile")
    print(f"  a step is {plain_step / step:.1f}× faster (medians of all steps, without the tracing)")
    for name, (seconds, loss) in (("the content too", same), ("the recoloured content", own)):
        total = sum(seconds)
        word = "reached" if loss <= mark else "NOT reached"
        print(
            f"  from {name}, the plain recipe's loss is {word} in {total:.1f} s and {len(seconds)} steps: "
            f"{plain_total / total:.1f}× sooner ({plain_total / (total + compiled):.1f}× with the compiling)"
        )
    reached, possible = multiply_rates(backbone, transfer, content.shape, step)
    print(
        f"  a step's convolutions run at {reached / 1e9:.0f} GFLOP/s, {reached / possible:.0%} of the "
        f"{possible / 1e9:.0f} GFLOP/s of a matrix product, 2048 × 2048, measured in this run"
    )
    return plain_step / step, plain_total / sum(own[0])


def seconds_to(mark, transfer, content, style, init, most):
    """Return the seconds of each step until the loss is at or below `mark`, targets included, and the last loss."""
    moments, loss = [time.perf_counter()], np.inf
    for step in transfer.iterate(content, style, init, steps=most):
        moments.append(time.perf_counter())
        loss = step.losses["total"]
        if loss <= mark:
            break
    return np.diff(moments).tolist(), loss


def plain_recipe(backbone, content, style, steps, learning_rate, settings):
    """Run the recipe of most tutorials; return the seconds and the loss of each step but the first."""
    import keras
    import tensorflow as tf

    from helpers.losses import content_loss, gram_matrix, style_loss

    backbone.model.trainable = True  # as it is in the recipe, so that its tape follows the kernels too
    outputs = {layer.name: layer.output for layer in backbone.model.layers[1:]}
    network = keras.Model(backbone.model.input, outputs)
    image = tf.Variable(content[None])
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-20)  # small beside the gradient, as for a loss of 1e6
    seconds, losses = [], []
    for _ in range(steps + 1):
        began = time.perf_counter()
        with tf.GradientTape() as tape:
            batch = tf.concat([content[None], style[None], image], axis=0)
            features = network(backbone.preprocess(batch))
            loss = 0.0
            for name in backbone.content_layers:
                share = settings["content_weight"] / len(backbone.content_layers)
                loss += share * content_loss(features[name][2:], features[name][:1], "mean")
            for name in backbone.style_layers:
                share = settings["style_weight"] / len(backbone.style_layers)
                target = features[name][1:2]
                size = target.shape[1] * target.shape[2]
                loss += share * style_loss(features[name][2:], gram_matrix(target), size, "mean")
        optimizer.apply_gradients([(tape.gradient(loss, image), image)])
        losses.append(float(loss))
        seconds.append(time.perf_counter() - began)
    backbone.model.trainable = False
    return seconds[1:], losses[1:]


def multiply_rates(backbone, transfer, shape, seconds):
    """Return the floating-point operations a second of a step's convolutions, and of a large matrix product here."""
    import tensorflow as tf

    from helpers.backbones import feature_extractor

    network = feature_extractor(backbone, [*transfer.content_layers, *transfer.style_layers])
    operations, sides = 0, {}
    probe = tf.TensorSpec((1, *shape), tf.float32)
    for layer in network.layers[1:]:
        if hasattr(layer, "kernel"):
            name = layer.name
            if name not in sides:
                part = feature_extractor(backbone, [name])
                sides[name] = tf.function(part).get_concrete_function(probe).structured_outputs[name].shape
            _, height, width, channels = sides[name]
            operations += 2 * height * width * channels * int(np.prod(layer.kernel.shape[:-1]))
    square = tf.random.normal((2048, 2048))
    product = tf.function(lambda: tf.linalg.matmul(square, square + 0.0))
    product()
    times = []
    for _ in range(7):
        began = time.perf_counter()
        product().numpy()
        times.append(time.perf_counter() - began)
    return 2 * operations / seconds, 2 * 2048**3 / float(np.median(times))  # forward, and once more for the gradient


def measure_size(backbone, size):
    """Print the seconds of a step and the peak memory of the process at `size` × `size` pixels."""
    from helpers.images import sample_image
    from helpers.style_transfer import StyleTransfer

    content, style = (sample_image(name, shape=(size, size)) for name in ("china", "night_swirls"))
    moments = [time.perf_counter() for _ in StyleTransfer(backbone).iterate(content, style, steps=2)]
    seconds, memory = moments[1] - moments[0], peak_memory() / 1e9
    print(f"  {size:5} px       {seconds:8.3f} s a step (the second of two), peak memory {memory:.1f} GB")
