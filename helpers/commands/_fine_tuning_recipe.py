"""The long run of notebook 03: how accurate a network becomes from how many images, fine-tuned and from scratch."""

import json
import time

from helpers import files
from helpers.commands import _cifar10_recipes

EPOCHS = {10: 30, 50: 20, 250: 12, 1000: 8}  # passes over so many images of each class
FROM_SCRATCH = "from-scratch-all"
RATES = {"fine-tuned": 0.01, "from scratch": 0.03}  # highest learning rates; each tried on validation images


def add_recipes(recipes):
    """Add the sub-commands."""
    summary = "accuracy against images per class, notebook 03"
    curve = recipes.add_parser("fine-tuning", help=summary, description=summary)
    curve.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    sizes = list(EPOCHS)
    curve.add_argument("--per-class", type=int, nargs="+", choices=sizes, default=sizes, help="default: all of them")
    curve.add_argument("--restart", action="store_true", help="begin anew although a run was stopped")
    curve.set_defaults(run=run_curve)
    common = {"epochs": 4, "small_epochs": 1, "rate": 0.08, "precision": "fastest"}
    _cifar10_recipes.add_recipe(
        recipes, "fine-tuning-all", "fine-tuning on all training images, notebook 03", run_all, **common
    )
    _cifar10_recipes.add_recipe(
        recipes, FROM_SCRATCH, "the same network and images from random weights, notebook 03", run_all, **common
    )


def run_curve(arguments):
    """Train every network of the curve, each tested on all test images; a run that was stopped goes on.

    Seeds and sizes may be others than before; images may not. Returns 0 or 1.
    """
    from helpers import datasets, notebook, records

    notebook.setup(seed=0)
    data = datasets.load_cifar10()
    print(data)
    path = files.CACHE / "fine-tuning.json"
    made_with, results = {"data": _cifar10_recipes.images_of(data)}, []
    if path.is_file() and not arguments.restart:
        kept = json.loads(path.read_text())
        kept = kept if isinstance(kept, dict) else {}
        if _cifar10_recipes.differs(path, kept.get("made_with"), made_with):
            return 1
        results = kept["runs"]
    done = {(result["seed"], result["per_class"], result["method"]) for result in results}
    for seed in arguments.seeds:
        for per_class in arguments.per_class:
            for method in ("frozen", *RATES):
                if (seed, per_class, method) in done:
                    continue
                result = {"seed": seed, "per_class": per_class, "method": method}
                result |= _train(data, seed, per_class, method)
                results.append(result)
                with files.whole_file(path) as partial:
                    partial.write_text(json.dumps({"made_with": made_with, "runs": results}))
                reached = f"{100 * result['test_accuracy']:.2f} % after {result['seconds']:.0f} s"
                print(f"seed {seed}, {per_class} per class, {method}: {reached}", flush=True)
    seeds, sizes = (" ".join(map(str, values)) for values in (arguments.seeds, arguments.per_class))
    command = f"python -m helpers train fine-tuning --seeds {seeds} --per-class {sizes}"
    record = {"command": command, "data": str(data), "rates": RATES, "runs": results}
    records.save_run("fine-tuning", data, record)
    path.unlink(missing_ok=True)
    return 0


def _train(data, seed, per_class, method, weights="imagenet"):
    """Train one network on the first `per_class` images of each class that `seed` draws; return what came of it."""
    import keras
    import numpy as np

    from helpers import fine_tuning, image_folders, training
    from helpers.backbones import load_backbone

    keras.utils.set_random_seed(seed)
    order = np.random.default_rng(seed).permutation(len(data.y_train))
    images, labels = image_folders.by_class(data.x_train[order], data.y_train[order], per_class)
    backbone = load_backbone("mini_vgg", None if method == "from scratch" else weights)
    network = fine_tuning.transfer_network(backbone, len(data.class_names))
    wall, processor = time.perf_counter(), time.process_time()
    if method != "from scratch":
        fine_tuning.train_head(network, fine_tuning.features(network, images), labels, seed=seed)
    if method != "frozen":
        fine_tuning.unfreeze(network)
        fine_tuning.train(network, images, labels, EPOCHS[per_class], RATES[method], seed=seed)
    return {
        "epochs": EPOCHS[per_class],
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - processor, 1),
        "test_accuracy": training.accuracy(network, data.x_test, data.y_test),
    }


def run_all(arguments):
    """Train as the modern recipe of notebook 02 does, from pretrained weights; test on all test images and record it.

    The first three convolutions stay as they are: they are a quarter of the work, and opening them gained nothing.
    Without batch normalisation a few steps are far too long: gradients are clipped. In four epochs the network does not
    learn its images by heart: no dropout, no smoothing of labels, no shifts. From scratch, everything is open and no
    head is trained first. Returns 0 or 1.
    """
    data = _cifar10_recipes.begin(arguments)
    import numpy as np

    from helpers import augmentation, fine_tuning, recipes, training
    from helpers.backbones import load_backbone

    _cifar10_recipes.choose_precision(arguments)
    wall, processor = time.perf_counter(), time.process_time()
    pretrained = arguments.name != FROM_SCRATCH
    backbone = load_backbone("mini_vgg", "imagenet" if pretrained else None)
    backbone = fine_tuning.in_precision(backbone, arguments.precision)
    network = fine_tuning.transfer_network(backbone, len(data.class_names), side="any", dropout=0.0)
    if pretrained:
        x_some, y_some = data.x_train[:5000], data.y_train[:5000]
        fine_tuning.train_head(network, fine_tuning.features(network, x_some), y_some, epochs=10)
    spent = time.perf_counter() - wall, time.process_time() - processor
    fine_tuning.unfreeze(network, "block2_conv2" if pretrained else None)
    generations = arguments.epochs * (len(data.x_train) // _cifar10_recipes.BATCH)
    recipes.compile_modern(network, arguments.rate, generations, decay=1e-3, smoothing=0.0, clip=2.0)
    labels = np.eye(len(data.class_names), dtype=np.float32)[data.y_train]

    def epoch_of(number):
        side = 24 if number < arguments.small_epochs else 32
        return training.image_pipeline(
            data.x_train, labels, _cifar10_recipes.BATCH, arguments.seed + number,
            lambda images: augmentation.random_window(images, side),
        )  # fmt: skip

    def accuracy(images, labels):
        return float(np.mean(training.mirrored_predict(network, images).argmax(1) == labels))

    return _cifar10_recipes.train(arguments, data, network, epoch_of, accuracy, generations, spent)
