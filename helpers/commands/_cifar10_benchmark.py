"""Time a training step of both CIFAR-10 recipes, and compare how long they take to equal accuracy.

Each measurement runs in a process of its own, and they take turns, because a machine's speed drifts. How many steps a
recipe needs is taken from its recorded run in data/runs/, so that steps and seconds per step are each measured where
they are not disturbed. A ratio above 1 means that the classic recipe takes longer.
"""

import statistics
import time

from helpers.commands._own_process import in_own_process

STEPS, BATCH = 40, 128
CASES = {
    "classic, 24 px": {"recipe": "classic", "side": 24},
    "modern, 24 px": {"recipe": "modern", "side": 24},
    "modern, 32 px": {"recipe": "modern", "side": 32},
}


def add_arguments(parser):
    """Add the options."""
    parser.add_argument("--rounds", type=int, default=3, help="how often each step is timed (default: 3)")


def run(arguments):
    """Time both recipes in turns and print images per second and the ratios."""
    from helpers import records

    classic, modern = records.load_run("cifar10-classic"), records.load_run("cifar10-modern")
    options = modern["options"]
    measured = {name: [] for name in CASES}
    for _ in range(arguments.rounds):
        for name, case in CASES.items():
            one = in_own_process(time_step, **case, width=options["width"], precision=options["precision"])
            measured[name].append(one)
    seconds = {name: statistics.median(values) for name, values in measured.items()}
    print(
        f"one training step, batch of {BATCH}, median of {arguments.rounds} in turns; modern in {options['precision']}"
    )
    for name, one in seconds.items():
        print(f"  {name:<16}{1000 * one:7.1f} ms {BATCH / one:9,.0f} images/s")
    for line in compare(seconds, classic, modern):
        print(line)


def compare(seconds, classic, modern):
    """Yield what to print of two recorded runs, given the `seconds` of a step in each of `CASES`."""
    small = modern["options"]["small_epochs"]
    sides = [24 if epoch < small else 32 for epoch in range(modern["options"]["epochs"])]
    steps = modern["generations"] // modern["options"]["epochs"]
    whole = classic["generations"] * seconds["classic, 24 px"]
    yield (
        f"\nclassic: {100 * classic['test_accuracy']:.2f} % of the test images after {classic['generations']:,} steps "
        f"of {1000 * seconds['classic, 24 px']:.0f} ms, {whole:,.0f} s"
    )
    spent = sum(steps * seconds[f"modern, {side} px"] for side in sides)
    yield (
        f"modern: {100 * modern['test_accuracy']:.2f} % of the test images after {modern['generations']:,} steps, "
        f"{spent:,.0f} s: ×{whole / spent:.1f}"
    )
    best = max(classic["history"]["val_accuracy"])
    for epoch, accuracy in enumerate(modern["history"]["val_accuracy"], 1):
        if accuracy >= best:
            first = classic["history"]["generation"][classic["history"]["val_accuracy"].index(best)]
            longer, shorter = (
                first * seconds["classic, 24 px"],
                sum(steps * seconds[f"modern, {side} px"] for side in sides[:epoch]),
            )
            yield (
                f"to the classic recipe's best validation accuracy, {100 * best:.2f} %: {longer:,.0f} s and "
                f"{shorter:,.0f} s: ×{longer / shorter:.1f}"
            )
            break
    yield (
        f"processor time of the recorded runs: {classic['cpu_seconds']:,.0f} s and {modern['cpu_seconds']:,.0f} s: "
        f"×{classic['cpu_seconds'] / modern['cpu_seconds']:.1f}"
    )


def time_step(recipe, side, width, precision):
    """Return the seconds that one step of `model.fit` takes, its pipeline included."""
    from helpers import notebook

    notebook.setup(seed=0)
    import keras
    import numpy as np

    from helpers import augmentation, networks, recipes, training

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (STEPS * BATCH, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, len(images))
    if recipe == "classic":
        model = networks.classic_cifar10_cnn()
        recipes.compile_classic(model)
        augment = augmentation.distort
    else:
        keras.config.set_dtype_policy(precision)
        model = networks.modern_cifar10_cnn(width)
        recipes.compile_modern(model, 0.01, 10 * STEPS)
        labels = np.eye(10, dtype=np.float32)[labels]

        def augment(batch):
            return augmentation.flip_and_shift(batch, side=side)

    pipeline = training.image_pipeline(images, labels, BATCH, augment=augment)
    model.fit(pipeline, epochs=1, verbose=0, shuffle=False)  # tracing and warming up
    started = time.perf_counter()
    model.fit(pipeline, epochs=1, verbose=0, shuffle=False)
    return (time.perf_counter() - started) / STEPS
