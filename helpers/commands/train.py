"""Run a long recipe and record it in data/runs/: accuracy, curve, seconds, machine, date and versions."""

import statistics
import time

from helpers.commands import _cifar10_recipes, _fine_tuning_recipe


def add_arguments(parser):
    """Add one sub-command per recipe."""
    recipes = parser.add_subparsers(required=True, metavar="RECIPE")
    mnist = recipes.add_parser("mnist-modern", help="the modern network of notebook 01, for several seeds")
    mnist.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    mnist.add_argument("--epochs", type=int, default=4, help="default: 4, as in the notebook")
    mnist.set_defaults(run=run_mnist_modern)
    _cifar10_recipes.add_recipes(recipes)
    _fine_tuning_recipe.add_recipes(recipes)


def run(arguments):
    """Never called: a recipe's name is required, and its own function takes this one's place."""


def run_mnist_modern(arguments):
    """Train the modern network once per seed, each time to the end, and test it once."""
    from helpers import datasets, notebook, records

    notebook.setup(seed=arguments.seeds[0])
    mnist = datasets.load_mnist()
    print(mnist)
    results = []
    for seed in arguments.seeds:
        result = train_mnist_modern(mnist, seed, arguments.epochs)
        results.append(result)
        reached = f"{100 * result['test_accuracy']:.2f} % after {result['seconds']:.0f} s"
        print(f"seed {seed}: test accuracy {reached}", flush=True)
    median = statistics.median(result["test_accuracy"] for result in results)
    print(f"median of {len(results)} seeds: {100 * median:.2f} %")
    options = f"--epochs {arguments.epochs} --seeds {' '.join(map(str, arguments.seeds))}"
    command = f"python -m helpers train mnist-modern {options}"
    record = {"command": command, "data": str(mnist), "median_test_accuracy": median, "runs": results}
    records.save_run("mnist-modern", mnist, record)


def train_mnist_modern(mnist, seed, epochs, batch_size=128, learning_rate=0.01):
    """Train the modern network with the recipe of notebook 01 and return what came of it, as a dict."""
    import keras

    from helpers import networks, recipes, training

    keras.utils.set_random_seed(seed)
    images, labels = training.as_input(mnist.x_train), mnist.y_train
    model = networks.modern_mnist_cnn()
    recipes.compile_digits(model, learning_rate, steps=epochs * (len(images) // batch_size))
    pipeline = training.digit_pipeline(images, labels, batch_size, seed)
    validation = training.as_input(mnist.x_val), mnist.y_val
    started = time.perf_counter()
    history = model.fit(pipeline, epochs=epochs, validation_data=validation, verbose=0, shuffle=False).history
    return {
        "seed": seed,
        "epochs": epochs,
        "seconds": round(time.perf_counter() - started, 1),
        "test_accuracy": training.accuracy(model, training.as_input(mnist.x_test), mnist.y_test),
        "history": {name: [round(value, 5) for value in values] for name, values in history.items()},
    }
