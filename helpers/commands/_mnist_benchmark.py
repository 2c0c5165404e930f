"""Time a training step of both MNIST networks under each setting that `setup` chooses.

Each setting runs in a process of its own, because TensorFlow reads it once, and the settings take turns, because a
machine's speed drifts. A ratio above 1 means that the setting is slower than what `setup` chooses.
"""

import statistics
import time

from helpers.commands._own_process import in_own_process

SETTINGS = {
    "as chosen": {},
    "oneDNN off": {"environment": {"TF_ENABLE_ONEDNN_OPTS": "0"}},
    "1 thread in an operation": {"threads": 1},
    "1 thread between operations": {"between": 1},
    "XLA (jit_compile=True)": {"jit_compile": True},
}
NETWORKS = {"classic": 100, "modern": 128}  # images in a batch
STEPS = 60


def add_arguments(parser):
    """Add the options."""
    parser.add_argument("--rounds", type=int, default=3, help="how often each setting is timed (default: 3)")


def run(arguments):
    """Time all settings in turns and print a table."""
    seconds = {}
    for _ in range(arguments.rounds):
        for network in NETWORKS:
            for name, setting in SETTINGS.items():
                one = in_own_process(time_step, network=network, **setting)
                seconds.setdefault((network, name), []).append(one)
    print(f"milliseconds per training step, median of {arguments.rounds} runs in turns; ratio to `as chosen`")
    for network, batch_size in NETWORKS.items():
        chosen = seconds[network, "as chosen"]
        print(f"\n{network} network, batch of {batch_size}")
        for name in SETTINGS:
            times = seconds[network, name]
            ratio = statistics.median(one / other for one, other in zip(times, chosen, strict=True))
            print(f"  {name:<29}{1000 * statistics.median(times):7.1f} ms   ×{ratio:.2f}")


def time_step(network, threads=None, between=None, jit_compile=False):
    """Return the seconds that one step of `model.fit` takes, its pipeline included."""
    from helpers import notebook

    if between is not None:
        notebook.THREADS_BETWEEN_OPERATIONS = between
    notebook.setup(seed=0, threads=threads)
    import keras
    import numpy as np

    from helpers import networks, training

    batch_size = NETWORKS[network]
    random = np.random.default_rng(0)
    images = random.random((STEPS * batch_size, 28, 28, 1), np.float32)
    labels = random.integers(0, 10, len(images))
    model = getattr(networks, f"{network}_mnist_cnn")()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9), loss, jit_compile=jit_compile)
    pipeline = training.digit_pipeline(images, labels, batch_size)
    model.fit(pipeline, epochs=1, verbose=0, shuffle=False)  # tracing and warming up
    started = time.perf_counter()
    model.fit(pipeline, epochs=1, verbose=0, shuffle=False)
    return (time.perf_counter() - started) / STEPS
