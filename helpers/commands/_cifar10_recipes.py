"""The long recipes for CIFAR-10: what `python -m helpers train cifar10-…` runs, stops, resumes and records."""

import time
from pathlib import Path

from helpers import storage

BATCH = 128


def add_recipe(recipes, name, summary, train, **defaults):
    """Add a sub-command whose run is `train`; `defaults` are its numbers, each an option of its own."""
    parser = recipes.add_parser(name, help=summary, description=summary)
    for option, value in defaults.items():
        flag = f"--{option.replace('_', '-')}"
        parser.add_argument(flag, type=type(value), default=value, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation (default: 0)")
    checkpoint = storage.CACHE / f"{name}.npz"
    parser.add_argument("--checkpoint", type=Path, default=checkpoint, help=f"default: data/cache/{name}.npz")
    parser.add_argument("--restart", action="store_true", help="begin anew although there is a checkpoint")
    parser.set_defaults(run=train, name=name, options=tuple(defaults))


def run_classic(arguments):
    """Train the classic recipe, or go on training, test it on all test images and record it."""
    from helpers import notebook

    notebook.setup(seed=arguments.seed)
    import keras

    from helpers import augmentation, datasets, networks, training

    data = datasets.load_cifar10()
    print(data)
    model = networks.classic_cifar10_cnn()
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=250, decay_rate=0.9, staircase=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"], jit_compile=False)

    def epoch_of(number):
        seed = arguments.seed + number
        return training.image_pipeline(data.x_train, data.y_train, BATCH, seed, augmentation.distort)

    def accuracy(images, labels):
        return training.accuracy(model, augmentation.centre(images), labels)

    return _train(arguments, data, model, epoch_of, accuracy, arguments.generations)


def _train(arguments, data, model, epoch_of, accuracy, generations):
    """Train epoch by epoch up to so many generations, a checkpoint after each; then test and record. Returns 0 or 1."""
    import keras

    from helpers import checkpoints, runs

    state = {"generation": 0, "seconds": 0.0, "cpu_seconds": 0.0, "history": []}
    if not arguments.restart:
        try:
            state = checkpoints.load(arguments.checkpoint, model) or state
        except checkpoints.CheckpointError as error:
            print(error)
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
    given = "".join(f" --{name.replace('_', '-')} {getattr(arguments, name)}" for name in arguments.options)
    record = {
        "command": f"python -m helpers train {arguments.name}{given} --seed {arguments.seed}",
        "data": str(data),
        "test_accuracy": reached,
        "generations": generations,
        "seconds": round(state["seconds"], 1),
        "cpu_seconds": round(state["cpu_seconds"], 1),
        "history": {name: [point[name] for point in state["history"]] for name in state["history"][0]},
    }
    runs.save_run(arguments.name, record)
    arguments.checkpoint.unlink()
    return 0
