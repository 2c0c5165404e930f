"""The long recipes for CIFAR-10: what `python -m helpers train cifar10-…` runs, stops, resumes and records."""

import time
from pathlib import Path

from helpers import files

BATCH = 128


def add_recipes(recipes):
    """Add the classic recipe, the modern one in two precisions, and it with a larger network and more time."""
    add_recipe(recipes, "cifar10-classic", "the classic recipe of notebook 02, to its end", run_classic,
                generations=20_000)  # fmt: skip
    modern = {"epochs": 8, "small_epochs": 5, "width": 32, "rate": 0.3, "shift": 2}
    add_recipe(recipes, "cifar10-modern", "the modern recipe of notebook 02", run_modern,
                **modern, precision="float32")  # fmt: skip
    add_recipe(recipes, "cifar10-modern-fastest", "the modern recipe in this machine's fastest precision", run_modern,
                **modern, precision="fastest")  # fmt: skip
    add_recipe(recipes, "cifar10-modern-long", "the modern recipe, larger and for longer", run_modern,
                epochs=14, small_epochs=8, width=64, rate=0.3, shift=3, precision="fastest")  # fmt: skip


def add_recipe(recipes, name, summary, run, **defaults):
    """Add a sub-command that calls `run`; `defaults` are its numbers, each an option of its own."""
    parser = recipes.add_parser(name, help=summary, description=summary)
    for option, value in defaults.items():
        flag = f"--{option.replace('_', '-')}"
        parser.add_argument(flag, type=type(value), default=value, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default: 0)")
    checkpoint = files.CACHE / f"{name}.npz"
    parser.add_argument("--checkpoint", type=Path, default=checkpoint, help=f"default: data/cache/{name}.npz")
    parser.add_argument("--restart", action="store_true", help="begin anew although there is a checkpoint")
    parser.add_argument("--note", help="what else the machine did meanwhile; kept in the record")
    parser.set_defaults(run=run, name=name, options=tuple(defaults))


def run_classic(arguments):
    """Train the classic recipe, or go on training, test it on all test images and record it. Returns 0 or 1."""
    data = begin(arguments)
    from helpers import augmentation, networks, recipes, training

    model = networks.classic_cifar10_cnn()
    recipes.compile_classic(model)

    def epoch_of(number):
        seed = arguments.seed + number
        return training.image_pipeline(data.x_train, data.y_train, BATCH, seed, augmentation.distort)

    def accuracy(images, labels):
        return training.accuracy(model, augmentation.centre(images), labels)

    return train(arguments, data, model, epoch_of, accuracy, arguments.generations)


def run_modern(arguments):
    """Train the modern recipe, or go on training, test it on all test images and record it. Returns 0 or 1."""
    data = begin(arguments)
    import keras
    import numpy as np

    from helpers import augmentation, networks, recipes, training

    choose_precision(arguments)
    keras.config.set_dtype_policy(arguments.precision)
    model = networks.modern_cifar10_cnn(arguments.width)
    generations = arguments.epochs * (len(data.x_train) // BATCH)
    recipes.compile_modern(model, arguments.rate, generations)
    labels = np.eye(len(data.class_names), dtype=np.float32)[data.y_train]

    def epoch_of(number):
        shift, side = (0, 24) if number < arguments.small_epochs else (arguments.shift, None)
        return training.image_pipeline(
            data.x_train, labels, BATCH, arguments.seed + number,
            lambda images: augmentation.flip_and_shift(images, shift, side),
        )  # fmt: skip

    def accuracy(images, labels):
        return float(np.mean(training.mirrored_predict(model, augmentation.scaled(images)).argmax(1) == labels))

    return train(arguments, data, model, epoch_of, accuracy, generations)


def begin(arguments):
    """Set everything up for a run and return CIFAR-10."""
    from helpers import notebook

    notebook.setup(seed=arguments.seed)
    from helpers import datasets

    data = datasets.load_cifar10()
    print(data, flush=True)
    return data


def choose_precision(arguments):
    """Put this machine's fastest precision in place of "fastest"."""
    from helpers import training

    if arguments.precision == "fastest":
        arguments.precision = training.fastest_precision()


def train(arguments, data, model, epoch_of, accuracy, generations, spent=(0.0, 0.0)):
    """Train epoch by epoch up to so many generations, a checkpoint after each; then test and record. Returns 0 or 1.

    `spent`: seconds, and seconds of processor time, that were spent on the model before; they count.
    """
    import keras

    from helpers import checkpoints, records

    options = {name: getattr(arguments, name) for name in arguments.options}
    made_with = options | {"seed": arguments.seed, "data": images_of(data)}
    state = {"generation": 0, "seconds": spent[0], "cpu_seconds": spent[1], "history": [], "made_with": made_with}
    if not arguments.restart:
        try:
            state = checkpoints.load(arguments.checkpoint, model) or state
        except checkpoints.CheckpointError as error:
            print(error)
            return 1
        if differs(arguments.checkpoint, state.get("made_with"), made_with):
            return 1
    steps = len(data.x_train) // BATCH
    while state["generation"] < generations:
        epoch = state["generation"] // steps
        keras.utils.set_random_seed(arguments.seed + 1000 * epoch)  # a run that is resumed draws what it would have
        batches = epoch_of(epoch).take(generations - state["generation"])
        wall, processor = time.perf_counter(), time.process_time()
        logs = model.fit(batches, verbose=0, shuffle=False).history
        state["seconds"] += time.perf_counter() - wall
        state["cpu_seconds"] += time.process_time() - processor
        state["generation"] = min(generations, state["generation"] + steps)
        point = {"generation": state["generation"], "loss": logs["loss"][0], "accuracy": logs["accuracy"][0]}
        point["val_accuracy"] = accuracy(data.x_val, data.y_val)
        point |= {name: state[name] for name in ("seconds", "cpu_seconds")}
        state["history"].append({name: round(value, 4) for name, value in point.items()})
        checkpoints.save(arguments.checkpoint, model, state)
        print(f"generation {point['generation']:,} of {generations:,}: loss {point['loss']:.3f}, validation accuracy "
              f"{100 * point['val_accuracy']:.2f} %, {state['seconds']:.0f} s", flush=True)  # fmt: skip
    reached = accuracy(data.x_test, data.y_test)
    print(f"test accuracy {100 * reached:.2f} % after {state['seconds']:.0f} s of training")
    given = "".join(f" --{name.replace('_', '-')} {value}" for name, value in options.items())
    record = {
        "command": f"python -m helpers train {arguments.name}{given} --seed {arguments.seed}",
        "data": str(data),
        "options": options,
        "note": arguments.note or "",
        "test_accuracy": reached,
        "generations": generations,
        "seconds": round(state["seconds"], 1),
        "cpu_seconds": round(state["cpu_seconds"], 1),
        "history": {name: [point[name] for point in state["history"]] for name in state["history"][0]},
    }
    records.save_run(arguments.name, data, record)
    arguments.checkpoint.unlink()
    return 0


def images_of(data):
    """Say in a few words what is trained on: the same whether a set was downloaded or was on this machine."""
    kind = "drawn" if data.source == "synthetic" else "real"
    return f"{data.name}, {len(data.x_train):,} {kind} training images"


def differs(path, made_with, asked):
    """Return whether a run that was stopped is another one than what is asked for; if so, print one line about it.

    `made_with` is the dict of settings that the file `path` holds, or None if it holds none; `asked` has the same keys.
    """
    if made_with == asked:
        return False
    known = made_with or {}
    names = [name for name in asked if known.get(name) != asked[name]]
    before, now = (_in_words({name: one.get(name) for name in names}) for one in (known, asked))
    before = before if made_with else "settings that it does not tell"
    print(f"{path} was made with {before}; asked for is {now}. Use the same again, or begin anew with --restart.")
    return True


def _in_words(settings):
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
