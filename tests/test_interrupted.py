"""Processes that are killed, with no chance to tidy up: the next one goes on, or begins anew, and never with a half."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from helpers import files as storage

STEPS = 500


def painting():
    """Return a transfer on a tiny network, and what it is called with; the same in every process."""
    import keras

    from helpers.images import resize
    from helpers.optimizers import adam
    from helpers.style_transfer import StyleTransfer

    keras.utils.set_random_seed(0)
    values = inputs = keras.Input((None, None, 3))
    for name, width in (("first", 6), ("second", 8)):
        values = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", name=name)(values)
    backbone = SimpleNamespace(
        name="tiny",
        source="random weights",
        model=keras.Model(inputs, values),
        preprocess=lambda image: image - 120.0,
        style_layers=("first",),
        content_layers=("second",),
    )
    content, style = (
        resize(np.random.default_rng(seed).uniform(0, 255, (5, 5, 3)), (40, 48)).clip(0, 255) for seed in (1, 2)
    )
    settings = dict(
        init="noise", optimizer=adam(4, decay=0.9, decay_every=100), steps=[100, STEPS - 100], scales=(0.9, 1)
    )
    return StyleTransfer(backbone, tv_weight=0.1), (content, style), {"progress": False, **settings}


class Counter:
    """A recorder that counts, and takes its time."""

    def __init__(self, seconds=0.0):
        self.seconds, self.count = seconds, 0

    def add(self, image):
        self.count += 1
        time.sleep(self.seconds)


def paint(checkpoint):
    """What the process does that is killed."""
    transfer, pictures, settings = painting()
    transfer.stylize(*pictures, **settings, checkpoint=checkpoint, checkpoint_every=20, recorder=Counter(0.01))


def step_reached(checkpoint):
    if not checkpoint.exists():
        return 0
    with np.load(checkpoint, allow_pickle=False) as file:
        return int(file["number"])


def wait_until(condition, process, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the process ended by itself"
        assert time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.05)


def test_a_killed_style_transfer_goes_on_from_its_last_checkpoint_to_the_same_picture(tmp_path):
    """500 steps, of which the first hundred are on a coarser scale; the process is killed on the finer one."""
    checkpoint = tmp_path / "run.npz"
    program = "import sys; sys.path.insert(0, sys.argv[1]); import test_interrupted as t; t.paint(sys.argv[2])"
    command = [sys.executable, "-c", program, Path(__file__).parent, checkpoint]
    process = subprocess.Popen(command, cwd=storage.PROJECT, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: step_reached(checkpoint) > 120, process)
    finally:
        process.kill()
    assert process.wait(20) == -9
    reached = step_reached(checkpoint)
    assert 120 < reached < STEPS

    transfer, pictures, settings = painting()
    counter = Counter()
    resumed = transfer.stylize(*pictures, **settings, checkpoint=checkpoint, resume=True, recorder=counter)
    assert counter.count == STEPS - reached and not resumed.interrupted
    whole = transfer.stylize(*pictures, **settings)
    np.testing.assert_array_equal(resumed.image, whole.image)
    np.testing.assert_allclose(resumed.history["total"], whole.history["total"], rtol=1e-6)
    assert len(resumed.history["total"]) == STEPS
