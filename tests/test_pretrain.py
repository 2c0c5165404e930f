"""Training mini_vgg on toy pictures: folding, balancing, files, resuming, augmentation, and every error."""

import argparse
import itertools
import json

import keras
import numpy as np
import pytest
from PIL import Image

from helpers import mini_vgg
from helpers.commands import pretrain
from helpers.commands.pretrain import PretrainError, load_data, random_crops

NARROW = (4, 6, 6, 8, 8)


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory):
    """Three classes of 20 pictures of several sizes and formats, each class with a colour of its own."""
    folder = tmp_path_factory.mktemp("classes")
    generator = np.random.default_rng(0)
    for label, name in enumerate(["blue", "green", "red"]):
        (folder / name).mkdir()
        for index in range(20):
            picture = generator.integers(0, 128, (40 + index, 48, 3), dtype=np.uint8)
            picture[..., 2 - label] += 127
            Image.fromarray(picture).save(folder / name / f"{index}.{'png' if index % 2 else 'jpg'}")
    (folder / ".hidden").mkdir()
    return folder


@pytest.fixture(scope="module")
def data(class_folders):
    return load_data(class_folders, side=32, held_out=0.2, seed=0)


def options(folder, **changes):
    """Options of the command, as the command line gives them, with a narrow network."""
    parser = argparse.ArgumentParser()
    pretrain.add_arguments(parser)
    arguments = parser.parse_args(
        ["--channels", ",".join(map(str, NARROW)), "--batch", "16", "--epochs", "4", "--sizes", "32:0.5,40:1"]
    )
    arguments.output, arguments.checkpoint = folder / "weights", folder / "checkpoint.npz"
    for name, value in changes.items():
        setattr(arguments, name, value)
    return arguments


@pytest.fixture(scope="module")
def unusual_network():
    """A training network none of whose statistics, scales and shifts are what they were at first."""
    keras.utils.set_random_seed(0)
    network = mini_vgg.training_network(5, NARROW)
    generator = np.random.default_rng(0)
    for variable in network.variables:
        if variable.name in ("gamma", "variance"):
            variable.assign(generator.uniform(0.5, 2, variable.shape))
        elif variable.name in ("beta", "mean", "bias"):
            variable.assign(generator.normal(0, 0.3, variable.shape))
    return network


def natural(*shape):
    """Smooth pictures, preprocessed."""
    generator = np.random.default_rng(1)
    small = generator.uniform(0, 255, (shape[0], shape[1] // 8, shape[2] // 8, 3))
    return mini_vgg.preprocess(small.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32))


# The network


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 40, 64)])
def test_folded_equals_trained(unusual_network, shape):
    images = natural(*shape)
    trained = keras.ops.convert_to_numpy(unusual_network(images, training=False))
    folded = keras.ops.convert_to_numpy(mini_vgg.fold(unusual_network)(images))
    assert np.abs(trained).max() > 0.1
    np.testing.assert_allclose(folded, trained, atol=1e-4)


def test_normalized_convolution_is_batch_normalisation():
    """With the whole batch as its sample, it computes convolution, Keras' batch normalisation and ReLU."""
    images = natural(8, 16, 16)
    layer = mini_vgg.NormalizedConvolution(5, momentum=0.9)
    found = layer(images, training=True)
    convolution = keras.layers.Conv2D(5, 3, padding="same", use_bias=False)
    convolution.build(images.shape)
    convolution.set_weights([keras.ops.convert_to_numpy(layer.kernel)])
    normalization = keras.layers.BatchNormalization(momentum=0.9)
    wanted = keras.ops.relu(normalization(convolution(images), training=True))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_allclose(layer.mean, normalization.moving_mean, atol=1e-5)
    np.testing.assert_allclose(layer.variance, normalization.moving_variance, rtol=1e-3)


def test_statistics_are_those_of_the_images(unusual_network):
    before = unusual_network.get_weights()
    images = natural(6, 32, 32)
    mini_vgg.measure_statistics(unusual_network, images)
    layer = unusual_network.get_layer("block1_conv1")
    plain = layer.convolve(keras.ops.convert_to_tensor(images), layer.kernel)
    np.testing.assert_allclose(layer.mean, np.mean(plain, axis=(0, 1, 2)), atol=1e-5)
    normalised = layer.convolve(images, layer.kernel) * layer.gamma / np.sqrt(layer.variance + layer.epsilon)
    np.testing.assert_allclose(np.std(normalised, axis=(0, 1, 2)), layer.gamma, rtol=0.02)
    unusual_network.set_weights(before)


def test_balanced_activations_have_mean_one_and_the_logits_stay(unusual_network):
    classifier = mini_vgg.fold(unusual_network)
    images = natural(6, 32, 32)
    before = keras.ops.convert_to_numpy(classifier(images))
    factors = mini_vgg.balance(classifier, images)
    assert list(factors) == mini_vgg.layer_names()
    for mean in mini_vgg.mean_activations(classifier, images, batch=4).values():
        assert mean == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(classifier(images), before, atol=1e-4)


def test_files_keep_the_network(unusual_network, tmp_path):
    classifier = mini_vgg.fold(unusual_network)
    mini_vgg.balance(classifier, natural(6, 32, 32))
    facts = {"channels": NARROW, "convolutions": (2,) * 5, "pooling": "average", "class_names": list("abcde")}
    mini_vgg.save(classifier, tmp_path / "some.weights.h5", facts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some.json", "some.weights.h5"]
    loaded = mini_vgg.load(tmp_path / "some.weights.h5")
    assert loaded.facts["class_names"] == list("abcde")
    images = natural(2, 32, 32)
    np.testing.assert_allclose(loaded(images), classifier(images), atol=2e-2)  # float16 keeps three digits


def test_weights_too_large_for_the_file_are_refused(tmp_path):
    classifier = mini_vgg.with_classifier(mini_vgg.plain_network(NARROW), 2)
    classifier.get_layer("predictions").bias.assign([1e6, 0])
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="not finite"):
        mini_vgg.save(classifier, tmp_path / "some.weights.h5", {})
    assert not list(tmp_path.iterdir())


def test_pooling_is_average_or_max():
    images = natural(1, 32, 32)
    average, largest = (mini_vgg.plain_network(NARROW, pooling=kind) for kind in ("average", "max"))
    largest.set_weights(average.get_weights())
    assert not np.allclose(average(images), largest(images))
    with pytest.raises(ValueError, match="'average' or 'max'"):
        mini_vgg.plain_network(pooling="median")


# The command


def test_resumed_equals_uninterrupted(data, tmp_path):
    ends = []
    for name, stops in (("at once", [3]), ("in parts", [1, 3])):
        for index, stop in enumerate(stops):
            changes = {"channels": (4, 6), "convolutions": (1, 1), "epochs": 3}
            training = pretrain.Training(data, options(tmp_path / name, **changes))
            assert training.resume() == (index > 0)
            while training.epoch < stop:
                training.train_epoch()
            training.save()
        ends.append(training)
    for one, other in zip(ends[0].network.variables, ends[1].network.variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    for one, other in zip(ends[0].optimizer.variables, ends[1].optimizer.variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    losses = [[entry["loss"] for entry in training.history] for training in ends]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert [entry["pixels"] for entry in ends[0].history] == [32, 32, 40]


def test_the_command_learns_writes_and_goes_on(class_folders, tmp_path, capsys):
    changes = {"data": class_folders, "side": 32, "held_out": 0.2, "epochs": 8, "rate": 0.05, "average": 0.8}
    assert pretrain.run(options(tmp_path, **changes)) == 0
    facts = json.loads((tmp_path / "weights" / "mini_vgg.json").read_text(encoding="utf-8"))
    assert facts["class_names"] == ["blue", "green", "red"] and facts["epochs"] == 8 and facts["held_out"] == 12
    assert facts["top1"] > 0.6 and facts["top5"] == 1
    capsys.readouterr()
    assert pretrain.run(options(tmp_path, **changes)) == 0  # nothing is left to do but to write it once more
    assert "going on after epoch 8 of 8" in capsys.readouterr().out
    assert pretrain.run(options(tmp_path, **changes, channels=(4, 4, 4, 4, 4))) == 1
    assert "this one is" in (said := capsys.readouterr().out) and "--restart" in said
    (tmp_path / "checkpoint.npz").write_bytes(b"PK")
    assert pretrain.run(options(tmp_path, **changes)) == 1
    assert "cannot be read as a checkpoint" in (said := capsys.readouterr().out) and "--restart" in said


def test_averaging_leaves_the_training_as_it_was(data, tmp_path):
    training = pretrain.Training(data, options(tmp_path))
    training.train_epoch()
    before = training.network.get_weights()
    training.averaged()
    for one, other in zip(before, training.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_mixed_precision_keeps_its_weights_in_float32(data, tmp_path):
    training = pretrain.Training(data, options(tmp_path, precision="mixed_bfloat16"))
    training.train_epoch()
    assert {variable.dtype for variable in training.network.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    assert np.isfinite(training.averaged()(natural(2, 32, 32))).all()


def test_the_learning_rate_rises_and_falls():
    rates = [pretrain.learning_rate(progress, 0.1) for progress in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(0.1) and np.argmax(rates) == 20
    assert rates[0] < 0.01 and rates[-1] < 0.001
    assert (np.diff(rates[:21]) > 0).all() and (np.diff(rates[20:]) < 0).all()


# Images


def test_class_folders_are_read_and_split(data, class_folders):
    assert data["class_names"] == ["blue", "green", "red"]
    assert data["x_train"].shape == (48, 32, 32, 3) and data["x_train"].dtype == np.uint8
    assert np.bincount(data["y_val"]).tolist() == [4, 4, 4]
    assert data["x_train"][data["y_train"] == 0].mean(axis=(0, 1, 2)).argmax() == 2
    again = load_data(class_folders, side=32, held_out=0.2, seed=0)
    np.testing.assert_array_equal(again["x_val"], data["x_val"])
    other = load_data(class_folders, side=32, held_out=0.2, seed=1)
    assert not np.array_equal(other["x_val"], data["x_val"])


def test_archives_are_read(tmp_path):
    arrays = {"x_train": np.zeros((2, 64, 64, 3), np.uint8), "y_train": [0, 1], "x_val": [0], "y_val": [0]}
    np.savez(tmp_path / "images.npz", **arrays, class_names=["a", "b"])
    assert load_data(tmp_path / "images.npz")["class_names"] == ["a", "b"]


def test_what_is_wrong_with_the_images_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ATELIER_DATA", str(tmp_path))
    monkeypatch.setattr(pretrain.files, "CACHE", tmp_path / "cache")
    with pytest.raises(PretrainError, match="No tiny_imagenet.npz in"):
        load_data()
    with pytest.raises(PretrainError, match="no such file or folder"):
        load_data(tmp_path / "nothing")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(PretrainError, match="expected a .npz"):
        load_data(tmp_path / "broken.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(PretrainError, match="x_train"):
        load_data(tmp_path / "other.npz")
    (tmp_path / "folder" / "a").mkdir(parents=True)
    with pytest.raises(PretrainError, match="two or more folders"):
        load_data(tmp_path / "folder")
    (tmp_path / "folder" / "b").mkdir()
    with pytest.raises(PretrainError, match="two or more pictures"):
        load_data(tmp_path / "folder")
    for index in range(2):
        (tmp_path / "folder" / "a" / f"{index}.png").write_bytes(b"no picture")
    with pytest.raises(PretrainError, match="cannot be read as a picture"):
        load_data(tmp_path / "folder")
    assert pretrain.run(options(tmp_path, data=tmp_path / "nothing")) == 1
    assert "no such file or folder" in capsys.readouterr().out


def test_crops_are_seeded_bounded_and_leave_the_images():
    images = np.random.default_rng(0).integers(0, 256, (8, 40, 50, 3), dtype=np.uint8)
    before = images.copy()
    crops = random_crops(images, 36, np.random.default_rng(5))
    assert crops.shape == (8, 36, 36, 3) and crops.dtype == np.float32
    assert crops.min() >= 0 and crops.max() <= 255
    np.testing.assert_array_equal(crops, random_crops(images, 36, np.random.default_rng(5)))
    np.testing.assert_array_equal(images, before)


def test_half_of_the_crops_are_mirrored():
    ramp = np.broadcast_to(np.linspace(0, 255, 32, dtype=np.uint8)[None, None, :, None], (200, 32, 32, 3))
    crops = random_crops(np.ascontiguousarray(ramp), 32, np.random.default_rng(0))
    assert 70 < (crops[:, 0, 0, 0] > crops[:, 0, -1, 0]).sum() < 130


def test_colours_vary_around_what_they_were():
    images = np.full((400, 4, 4, 3), (120, 90, 60), np.float32)
    varied = pretrain.vary_color(images.copy(), np.random.default_rng(0))
    np.testing.assert_allclose(varied.mean(axis=(0, 1, 2)), (120, 90, 60), rtol=0.05)
    assert varied.std(axis=0).min() > 5
    unvaried = pretrain.vary_color(images.copy(), np.random.default_rng(0), strength=0)
    np.testing.assert_allclose(unvaried, images, rtol=1e-5)


def test_batches_are_made_ahead_and_their_errors_arrive():
    assert list(pretrain.ahead(iter(range(9)), depth=2)) == list(range(9))

    def broken():
        yield 1
        raise OSError("the disk is gone")

    reader = pretrain.ahead(broken())
    assert next(reader) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(reader)
    endless = pretrain.ahead(itertools.count())
    assert next(endless) == 0
    endless.close()  # its thread stops too


@pytest.mark.parametrize("option", ["--epochs", "--batch", "--stop-after", "--evaluate-every"])
def test_numbers_of_something_are_one_or_more(option, capsys):
    parser = argparse.ArgumentParser()
    pretrain.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([option, "0"])
    assert "expected 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["24:1", "40:0.5", "40:0.9,48:0.5,56:1"])
def test_crop_sizes_are_checked(text):
    with pytest.raises(argparse.ArgumentTypeError, match="32 px"):
        pretrain._sizes(text)
