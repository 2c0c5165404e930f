"""The same seed gives the same losses, weights and pictures, bit for bit, in two fresh processes on a CPU.

This file is run as a program too: it then does a short run of what each notebook does, and prints a digest of each.
"""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def read_digits():
    """Notebook 01: the written-out loop's batches, then `fit` on digits that are distorted at random."""
    from helpers import networks, recipes, synthetic, training

    (images, labels), _ = synthetic.digits(train=512, test=10)
    images = training.as_input(images)
    model = networks.modern_mnist_cnn(width=4)
    recipes.compile_digits(model, peak=0.01, steps=8)
    losses = [model.train_on_batch(*batch)[0] for batch in training.batches(images, labels, 64, generations=4)]
    pipeline = training.digit_pipeline(images, labels, 128)
    return losses, model.fit(pipeline, verbose=0, shuffle=False).history["loss"], *model.get_weights()


def tell_photographs_apart():
    """Notebook 02: both networks and both ways to distort, in the precision that the notebook takes."""
    import keras

    from helpers import augmentation, networks, recipes, synthetic, training

    (images, labels), _ = synthetic.shapes(train=256, test=10)
    classic = networks.classic_cifar10_cnn(features=8, dense=(16, 16))
    recipes.compile_classic(classic)
    pipeline = training.image_pipeline(images, labels, 64, augment=augmentation.distort)
    losses = classic.fit(pipeline, verbose=0, shuffle=False).history["loss"]
    keras.config.set_dtype_policy(training.fastest_precision())
    modern = networks.modern_cifar10_cnn(width=8)
    keras.config.set_dtype_policy("float32")
    recipes.compile_modern(modern, peak=0.1, steps=4)
    pipeline = training.image_pipeline(images, np.eye(10)[labels], 64, augment=augmentation.flip_and_shift)
    losses += modern.fit(pipeline, verbose=0, shuffle=False).history["loss"]
    return losses, *classic.get_weights(), *modern.get_weights()


def fine_tune():
    """Notebook 03: a head on the features of a frozen network, then its last block."""
    from helpers import fine_tuning, synthetic
    from helpers.backbones import load_backbone

    (images, labels), _ = synthetic.shapes(train=80, test=10)
    network = fine_tuning.transfer_network(load_backbone("mini_vgg"), classes=10)
    features = fine_tuning.features(network, images)
    head = fine_tuning.train_head(network, features, labels, epochs=2)
    fine_tuning.unfreeze(network, "block5_conv1")
    whole = fine_tuning.train(network, images, labels, epochs=1, rate=0.01, batch_size=20)
    return features, head["loss"], whole["loss"], *network.get_weights()


def paint():
    """Notebook 04: from noise, coarse to fine."""
    from helpers.backbones import load_backbone
    from helpers.images import sample_image
    from helpers.style_transfer import StyleTransfer

    content, style = sample_image("china", 128), sample_image("night_swirls", 128)
    result = StyleTransfer(load_backbone("mini_vgg"), tv_weight=20.0).stylize(
        content, style, init="noise", steps=8, scales=2, seed=3, progress=False
    )
    return result.image, *result.history.values()


def dream():
    """Notebook 05: octaves with jitter, tiles, and two frames of the zoom."""
    from helpers.backbones import load_backbone
    from helpers.deepdream import DeepDream, zoom
    from helpers.images import sample_image

    dreamer, image = DeepDream(load_backbone("mini_vgg")), sample_image("china", 128)
    dreamt = dreamer.dream(image, octaves=2, steps=3, seed=3, tile_size=80, overlap=32, progress=False)
    zoomed = zoom(dreamer, image, frames=2, octaves=1, steps=2, seed=3, progress=False)
    return dreamt.image, dreamt.history["loss"], zoomed.image


RUNS = (read_digits, tell_photographs_apart, fine_tune, paint, dream)


def digest(arrays):
    """Return a hash of all bits of some arrays."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        assert np.isfinite(array).all()
        total.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def fresh_processes():
    """What two fresh processes with one seed print, and what a third one prints of one run with another seed."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    told = []
    for arguments in (["7"], ["7"], ["8", "read_digits"]):
        command = [sys.executable, __file__, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout.splitlines()[-1]))
    return told


@pytest.mark.parametrize("name", [run.__name__ for run in RUNS])
def test_two_processes_agree_bit_for_bit(fresh_processes, name):
    first, second, _ = fresh_processes
    assert first[name] == second[name]


def test_another_seed_gives_another_network(fresh_processes):
    first, _, other = fresh_processes
    assert first["read_digits"] != other["read_digits"]


if __name__ == "__main__":
    from helpers.notebook import setup

    setup(seed=int(sys.argv[1]))
    wanted = [run for run in RUNS if not sys.argv[2:] or run.__name__ in sys.argv[2:]]
    print(json.dumps({run.__name__: digest(run()) for run in wanted}))
