"""Measure this project against the plain recipe, side by side, as a ratio.

Each measurement runs in a process of its own, because TensorFlow reads its settings once, and those that are compared
take turns, because a machine's speed drifts.
"""

import inspect
import statistics
import time
from types import SimpleNamespace

from helpers import commands
from helpers.commands._own_process import in_own_process

SETTINGS = {
    "as chosen": {},
    "oneDNN off": {"environment": {"TF_ENABLE_ONEDNN_OPTS": "0"}},
    "1 thread in an operation": {"threads": 1},
    "1 thread between operations": {"between": 1},
    "XLA (jit_compile=True)": {"jit_compile": True},
}
DIGITS = {"classic": 100, "modern": 128}  # images in a batch
CASES = {"classic, 24 px": ("classic", 24), "modern, 24 px": ("modern", 24), "modern, 32 px": ("modern", 32)}
STEPS, BATCH = 40, 128


def add_arguments(parser):
    """Add one sub-command for each benchmark."""
    from helpers.commands import _dream_benchmark, _style_benchmark

    own = {
        name: SimpleNamespace(__doc__=inspect.getdoc(run), run=run, add_arguments=_add_rounds)
        for name, run in (("cifar10", run_cifar10), ("mnist", run_mnist))
    }
    commands.add_commands(parser, own | {"style": _style_benchmark, "dream": _dream_benchmark}, "NAME")


def run(arguments):
    """Never called: a benchmark's name is required, and its own `run` takes this one's place."""


def _add_rounds(parser):
    parser.add_argument("--rounds", type=int, default=3, help="how often each of them is timed (default: 3)")


def run_mnist(arguments):
    """Time a training step of both MNIST networks under each setting that `setup` chooses.

    A ratio above 1 means that the setting is slower than what `setup` chooses.
    """
    seconds = {}
    for _ in range(arguments.rounds):
        for network in DIGITS:
            for name, setting in SETTINGS.items():
                one = in_own_process(time_digits, network=network, **setting)
                seconds.setdefault((network, name), []).append(one)
    print(f"milliseconds per training step, median of {arguments.rounds} runs in turns; ratio to `as chosen`")
    for network, batch_size in DIGITS.items():
        print(f"\n{network} network, batch of {batch_size}")
        for name in SETTINGS:
            times = seconds[network, name]
            pairs = zip(times, seconds[network, "as chosen"], strict=True)
            ratio = statistics.median(one / chosen for one, chosen in pairs)
            print(f"  {name:<29}{1000 * statistics.median(times):7.1f} ms   ×{ratio:.2f}")


def time_digits(network, threads=None, between=None, jit_compile=False):
    """Return the seconds that one step of `model.fit` takes on digits, its pipeline included."""
    from helpers import notebook

    notebook.THREADS_BETWEEN_OPERATIONS = between or notebook.THREADS_BETWEEN_OPERATIONS
    notebook.setup(seed=0, threads=threads)
    import keras
    import numpy as np

    from helpers import networks, training

    random = np.random.default_rng(0)
    images = random.random((STEPS * DIGITS[network], 28, 28, 1), np.float32)
    labels = random.integers(0, 10, len(images))
    model = getattr(networks, f"{network}_mnist_cnn")()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9), loss, jit_compile=jit_compile)
    return _seconds_per_step(model, training.digit_pipeline(images, labels, DIGITS[network]))


def _seconds_per_step(model, pipeline):
    model.fit(pipeline, epochs=1, verbose=0, shuffle=False)  # compiling and warming up
    began = time.perf_counter()
    model.fit(pipeline, epochs=1, verbose=0, shuffle=False)
    return (time.perf_counter() - began) / STEPS


def run_cifar10(arguments):
    """Time a training step of both CIFAR-10 recipes, and compare how long they take to equal accuracy.

    How many steps a recipe needs is taken from its recorded run in data/runs/. A ratio above 1 means that the classic
    recipe takes longer.
    """
    from helpers import records

    classic, modern = records.load_run("cifar10-classic"), records.load_run("cifar10-modern")
    options, measured = modern["options"], {name: [] for name in CASES}
    for _ in range(arguments.rounds):
        for name, (recipe, side) in CASES.items():
            settings = {"recipe": recipe, "side": side, "width": options["width"], "precision": options["precision"]}
            measured[name].append(in_own_process(time_photographs, **settings))
    seconds = {name: statistics.median(values) for name, values in measured.items()}
    print(
        f"one training step, batch of {BATCH}, median of {arguments.rounds} in turns; modern in {options['precision']}"
    )
    for name, one in seconds.items():
        print(f"  {name:<16}{1000 * one:7.1f} ms {BATCH / one:9,.0f} images/s")
    for line in compare(seconds, classic, modern):
        print(line)


def compare(seconds, classic, modern):
    """Yield what to print about two recorded runs, given the `seconds` of a step in each of `CASES`."""
    options, step = modern["options"], seconds["classic, 24 px"]
    epochs = [24 if epoch < options["small_epochs"] else 32 for epoch in range(options["epochs"])]
    steps = modern["generations"] // options["epochs"]
    spent = [sum(steps * seconds[f"modern, {side} px"] for side in epochs[: end + 1]) for end in range(len(epochs))]
    whole = classic["generations"] * step
    yield (
        f"\nclassic: {100 * classic['test_accuracy']:.2f}% of the test images after {classic['generations']:,} steps "
        f"of {1000 * step:.0f} ms, {whole:,.0f} s"
    )
    yield (
        f"modern: {100 * modern['test_accuracy']:.2f}% of the test images after {modern['generations']:,} steps, "
        f"{spent[-1]:,.0f} s: ×{whole / spent[-1]:.1f}"
    )
    accuracies = classic["history"]["val_accuracy"]
    best = max(accuracies)
    longer = classic["history"]["generation"][accuracies.index(best)] * step
    for shorter, accuracy in zip(spent, modern["history"]["val_accuracy"], strict=False):
        if accuracy >= best:
            yield (
                f"to the classic recipe's best validation accuracy, {100 * best:.2f}%: {longer:,.0f} s and "
                f"{shorter:,.0f} s: ×{longer / shorter:.1f}"
            )
            break
    one, other = classic["cpu_seconds"], modern["cpu_seconds"]
    yield f"processor time of the recorded runs: {one:,.0f} s and {other:,.0f} s: ×{one / other:.1f}"


def time_photographs(recipe, side, width, precision):
    """Return the seconds that one step of `model.fit` takes on photographs, its pipeline included."""
    from helpers import notebook

    notebook.setup(seed=0)
    import keras
    import numpy as np

    from helpers import augmentation, networks, recipes, training

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (STEPS * BATCH, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, len(images))
    if recipe == "classic":
        model, augment = networks.classic_cifar10_cnn(), augmentation.distort
        recipes.compile_classic(model)
    else:
        keras.config.set_dtype_policy(precision)
        model = networks.modern_cifar10_cnn(width)
        recipes.compile_modern(model, 0.01, 10 * STEPS)
        labels = np.eye(10, dtype=np.float32)[labels]

        def augment(batch):
            return augmentation.flip_and_shift(batch, side=side)

    return _seconds_per_step(model, training.image_pipeline(images, labels, BATCH, augment=augment))
