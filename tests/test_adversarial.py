"""Adversarial training on toy images: the ball, the step, the watch, resuming, and every refusal."""

import argparse

import keras
import numpy as np
import pytest

from helpers import mini_vgg
from helpers.commands import pretrain
from helpers.commands._adversarial import accuracy_under_attack, at_side, attack, length, loss_gradient, project

NAMES = ["blue", "green", "red"]
NARROW = (4, 6, 6, 8, 8)


@pytest.fixture(scope="module")
def data():
    """Three classes of noise, each with a colour of its own."""
    generator = np.random.default_rng(0)
    labels = np.arange(48) % 3
    images = generator.integers(0, 140, (48, 32, 32, 3), dtype=np.uint8)
    images[np.arange(48), ..., 2 - labels] += 110
    return {"x_train": images, "y_train": labels, "x_val": images[:12], "y_val": labels[:12], "class_names": NAMES}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Weights of a narrow classifier of the three classes, as `pretrain` writes them."""
    keras.utils.set_random_seed(0)
    classifier = mini_vgg.with_classifier(mini_vgg.plain_network(NARROW), 3)
    path = tmp_path_factory.mktemp("start") / "start.weights.h5"
    facts = {"channels": NARROW, "convolutions": (2,) * 5, "pooling": "average", "class_names": NAMES}
    mini_vgg.save(classifier, path, facts)
    return path


def options(folder, *words):
    parser = argparse.ArgumentParser()
    pretrain.add_arguments(parser)
    arguments = parser.parse_args(["--batch", "16", "--epochs", "2", "--sizes", "32:1", "--rate", "0.01", *words])
    arguments.output, arguments.checkpoint = folder / "weights", folder / "checkpoint.npz"
    return arguments


def training(data, folder, start, *words):
    return pretrain.AdversarialTraining(data, options(folder, "--adversarial", "0.5", "--start", str(start), *words))


def test_a_long_perturbation_is_shortened_and_a_short_one_kept():
    perturbation = np.zeros((2, 1, 1, 3), np.float32)
    perturbation[0, 0, 0], perturbation[1, 0, 0] = (3, 4, 0), (0.3, 0, 0.4)
    np.testing.assert_allclose(length(perturbation).ravel(), [5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(project(perturbation, 1.0)[:, 0, 0], [(0.6, 0.8, 0), (0.3, 0, 0.4)], rtol=1e-6)


def test_the_length_grows_with_the_side_so_that_a_pixel_changes_alike():
    for side in (32, 64, 128):
        same = np.full((1, side, side, 3), 0.01, np.float32)
        assert length(same).item() / at_side(1.0, side) == pytest.approx(0.01 * 64 * 3**0.5)


@pytest.mark.parametrize("steps", [1, 5])
def test_an_attack_stays_in_its_ball_and_among_grey_levels_and_raises_the_loss(data, start, steps):
    network = pretrain.load_start(start)
    images, labels = data["x_train"].astype(np.float32), data["y_train"]
    images[:8], images[8:16] = 0, 255  # at the ends of the range, where a step is cut
    before = images.copy()
    moved = attack(loss_gradient(network), images, labels, 0.5, steps, np.random.default_rng(0))
    assert moved.dtype == np.float32 and moved.min() >= 0 and moved.max() <= 255
    distance = length((moved - images) / 255).ravel()
    assert distance.max() <= 0.5 * 1.0001 and np.median(distance[16:]) > 0.48
    np.testing.assert_array_equal(images, before)

    def losses(pictures):
        logits = network(mini_vgg.preprocess(pictures), training=False)
        return np.asarray(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))

    assert (losses(moved) > losses(images))[16:].mean() > 0.9


def test_the_gradient_is_that_of_the_loss_and_follows_the_weights(data, start):
    network = pretrain.load_start(start)
    image, label, gradient = data["x_train"][:1].astype(np.float32), data["y_train"][:1], loss_gradient(network)
    slope = gradient(image, label)

    def loss(picture):
        logits = network(mini_vgg.preprocess(picture), training=False)
        return float(keras.losses.sparse_categorical_crossentropy(label, logits, from_logits=True)[0])

    step = slope / np.sqrt(np.square(slope).sum())
    along = (loss(image + 2 * step) - loss(image - 2 * step)) / 4
    assert along == pytest.approx(np.sqrt(np.square(slope).sum()), rel=0.05)
    network.get_layer("predictions").set_weights([w * 0 for w in network.get_layer("predictions").get_weights()])
    assert not np.any(gradient(image, label))


def test_a_network_survives_no_attack_better_than_none(data, start):
    network = pretrain.load_start(start)
    predicted = network(mini_vgg.preprocess(data["x_train"].astype(np.float32))).numpy().argmax(axis=1)
    images = data["x_train"]
    assert accuracy_under_attack(network, images, predicted, 1e-6, steps=1) == 1
    assert accuracy_under_attack(network, images, predicted, 5.0, steps=5) < 0.6


def test_a_resumed_run_is_the_uninterrupted_one(data, start, tmp_path):
    whole = training(data, tmp_path / "whole", start)
    whole.train_epoch(), whole.train_epoch()
    first = training(data, tmp_path / "parts", start)
    first.train_epoch()
    first.save()
    second = training(data, tmp_path / "parts", start)
    assert second.resume() and second.epoch == 1
    second.train_epoch()
    for one, other in zip(whole.network.get_weights(), second.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_command_writes_a_robust_network_and_watches_it(data, start, tmp_path, capsys):
    path = tmp_path / "images.npz"
    np.savez(path, **data)
    arguments = options(tmp_path, "--adversarial", "0.5", "--start", str(start), "--data", str(path))
    assert pretrain.run(arguments) == 0
    assert "under attack" in capsys.readouterr().out
    classifier = mini_vgg.load(tmp_path / "weights" / "mini_vgg_robust.weights.h5")
    assert classifier.facts["adversarial"] == 0.5 and classifier.facts["attack_steps"] == 1
    probe = mini_vgg.mean_activations(classifier, mini_vgg.preprocess(data["x_train"].astype(np.float32)))
    np.testing.assert_allclose(list(probe.values()), 1, rtol=0.01)  # balanced, as mini_vgg is


def test_a_fall_under_the_strong_attack_ends_the_run(data, start, tmp_path):
    run = training(data, tmp_path, start)
    run.history = [{"watched": 0.9}, {}]
    run.network.get_layer("predictions").set_weights([np.zeros((8, 3)), np.array([0.0, 0.0, 9.0])])
    run.watch()  # always "red": a third of the images
    assert run.collapsed and run.history[-1]["watched"] == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("text", ["-0.5", "0", "nan", "inf", "8"])
def test_a_length_that_is_none_or_in_grey_levels_is_refused(tmp_path, capsys, text):
    with pytest.raises(SystemExit):
        options(tmp_path, "--adversarial", text)
    assert "divide a length in grey levels by 255" in capsys.readouterr().err


def test_no_steps_other_classes_and_other_checkpoints_are_refused(data, start, tmp_path):
    with pytest.raises(SystemExit):
        options(tmp_path, "--attack-steps", "0")
    others = data | {"class_names": ["a", "b", "c"]}
    with pytest.raises(pretrain.PretrainError, match="classes"):
        training(others, tmp_path, start)
    with pytest.raises(pretrain.PretrainError, match="no such file"):
        training(data, tmp_path, tmp_path / "nothing.weights.h5")
    run = training(data, tmp_path, start)
    run.save()
    with pytest.raises(pretrain.PretrainError, match="--restart"):
        training(data, tmp_path, start, "--adversarial", "1").resume()
    np.savez(tmp_path / "images.npz", **(data | {"y_train": data["y_train"] + 1}))
    with pytest.raises(pretrain.PretrainError, match="y_train"):
        pretrain.load_data(tmp_path / "images.npz")
