import dataclasses
import json

import keras
import numpy as np
import pytest

from helpers import commands, datasets, files, networks, recipes, records, synthetic
from helpers.commands import _cifar10_recipes, _fine_tuning_recipe, benchmark
from helpers.commands._own_process import in_own_process


def small_network():
    keras.utils.set_random_seed(0)
    return networks.modern_cifar10_cnn(width=4)


def test_digits_are_learnt_at_a_rate_of_one_cycle():
    model = networks.modern_mnist_cnn(width=2)
    recipes.compile_digits(model, peak=0.02, steps=8)
    images, labels = np.zeros((4, 28, 28, 1), np.float32), np.arange(4)
    for expected in (0.02 * 0.04, 0.02 * 0.52, 0.02):  # a quarter of the steps rises
        assert float(model.optimizer.learning_rate) == pytest.approx(expected, rel=1e-3)
        loss = model.train_on_batch(images, labels)[0]
        assert np.isfinite(loss) and isinstance(model.optimizer, keras.optimizers.Adam)


def test_the_classic_rate_really_decays():
    model = networks.classic_cifar10_cnn(features=2, dense=(3, 3))
    recipes.compile_classic(model)
    rate = model.optimizer._learning_rate
    for generation in (0, 249, 250, 999, 19_999):
        assert float(rate(generation)) == pytest.approx(0.1 * 0.9 ** (generation // 250), rel=1e-4)
    images, labels = np.zeros((1, 24, 24, 3), np.float32), np.zeros(1, int)
    model.optimizer.iterations.assign(249)
    for expected in (0.1, 0.09):  # the counter moves with every step
        assert float(model.optimizer.learning_rate) == pytest.approx(expected)
        model.train_on_batch(images, labels)


def test_weight_decay_takes_from_kernels_alone():
    images = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[np.arange(8)]
    after = []
    for decay in (0.0, 0.5):
        model = small_network()
        before = [np.asarray(weight) for weight in model.trainable_variables]
        recipes.compile_modern(model, peak=0.25, steps=10, decay=decay)
        model.train_on_batch(images, labels)
        after.append([np.asarray(weight) for weight in model.trainable_variables])
    rate = 0.25 / 25  # at the first step of the cycle
    for weight, begun, plain, decayed in zip(model.trainable_variables, before, *after, strict=True):
        expected = plain - rate * 0.5 * begun if weight.name == "kernel" else plain
        assert np.allclose(decayed, expected, atol=1e-5), weight.path


def test_clipping_shortens_all_gradients_together():
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(8, 32, 32, 3)).astype(np.float32), np.eye(10, dtype=np.float32)[:8]
    moved = []
    for clip in (None, 1e-3):
        model = small_network()
        before = [np.asarray(weight) for weight in model.trainable_variables]
        recipes.compile_modern(model, peak=25.0, steps=10, decay=0.0, clip=clip)
        model.train_on_batch(images, labels)
        pairs = zip(model.trainable_variables, before, strict=True)
        moved.append(np.concatenate([(np.asarray(weight) - begun).ravel() for weight, begun in pairs]))
    whole, clipped = moved
    # the first step is 1 + momentum times the rate, 1 here, times the gradient
    assert np.linalg.norm(clipped) == pytest.approx(1.9 * 1e-3, rel=1e-2)
    assert clipped @ whole == pytest.approx(np.linalg.norm(clipped) * np.linalg.norm(whole), rel=1e-2)


def test_smoothed_labels_share_out_what_they_take():
    model = small_network()
    recipes.compile_modern(model, peak=0.1, steps=10, smoothing=0.2)
    logits = np.array([[2.0] + [0.0] * 9], np.float32)
    log_probabilities = logits - np.log(np.exp(logits).sum())
    target = np.array([[0.82] + [0.02] * 9])
    assert float(model.loss(np.eye(10, dtype=np.float32)[:1], logits)) == pytest.approx(
        -(target * log_probabilities).sum(), rel=1e-5
    )


@pytest.fixture
def few(alone, monkeypatch):
    """Some hundred drawn shapes pass for a local CIFAR-10; records go to a folder of the test."""
    (x_train, y_train), (x_test, y_test) = synthetic.shapes(train=720, test=60, seed=3)
    parts = x_train[:650], y_train[:650], x_train[650:], y_train[650:], x_test, y_test
    data = datasets.Dataset(*parts, synthetic.SHAPES, "local", "CIFAR-10")
    monkeypatch.setattr(datasets, "load_cifar10", lambda: data)
    monkeypatch.setattr(records, "RUNS", alone / "runs")
    return alone


@pytest.fixture
def drawn(few, monkeypatch):
    """The same, and they say what they are."""
    data = dataclasses.replace(datasets.load_cifar10(), source="synthetic")
    monkeypatch.setattr(datasets, "load_cifar10", lambda: data)
    return few


def train(few, *options):
    return commands.main(["train", *options, "--checkpoint", str(few / "run.npz")])


def test_the_modern_recipe_is_recorded_as_it_ran(few, capsys):
    options = ["cifar10-modern", "--epochs", "2", "--small-epochs", "1", "--width", "4", "--note", "alone"]
    try:
        assert train(few, *options) == 0
    finally:
        keras.config.set_dtype_policy("float32")
    assert records.recorded("cifar10") == ["cifar10-modern"] and records.recorded("mnist") == []
    recorded = records.load_run("cifar10-modern")
    assert recorded["options"] == {
        "epochs": 2, "small_epochs": 1, "width": 4, "rate": 0.3, "shift": 2, "precision": "float32",
    }  # fmt: skip
    assert recorded["command"].startswith(
        "python -m helpers train cifar10-modern --epochs 2 --small-epochs 1 --width 4"
    )
    assert recorded["history"]["generation"] == [5, 10] and recorded["generations"] == 10
    assert 0 <= recorded["test_accuracy"] <= 1 and recorded["note"] == "alone"
    assert recorded["cpu_seconds"] > 0 and recorded["seconds"] == round(recorded["history"]["seconds"][-1], 1)
    assert str(few) not in json.dumps(recorded) and not (few / "run.npz").exists()


class Stopped(Exception):
    pass


def and_stop(save):
    def save_and_stop(*arguments):
        save(*arguments)
        raise Stopped

    return save_and_stop


def test_a_run_that_is_stopped_goes_on_to_the_same_end(few, monkeypatch, capsys):
    ends = []
    monkeypatch.setattr(records, "save_run", lambda name, data, record: ends.append(record))
    options = ["cifar10-classic", "--generations", "12"]
    assert train(few, *options) == 0

    from helpers import checkpoints

    save = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", and_stop(save))
    for _ in range(3):
        with pytest.raises(Stopped):
            train(few, *options)
    monkeypatch.setattr(checkpoints, "save", save)
    assert train(few, *options) == 0
    whole, resumed = ends
    assert resumed["history"]["generation"] == [5, 10, 12] == whole["history"]["generation"]
    assert resumed["history"]["loss"] == pytest.approx(whole["history"]["loss"], rel=1e-3)


def test_a_checkpoint_of_another_run_is_explained(few, capsys):
    (few / "run.npz").write_bytes(b"no checkpoint")
    assert train(few, "cifar10-classic", "--generations", "5") == 1
    assert "--restart" in capsys.readouterr().out
    assert train(few, "cifar10-classic", "--generations", "5", "--restart") == 0


FEW_EPOCHS = ("cifar10-modern", "--epochs", "2", "--small-epochs", "1", "--width", "4")


@pytest.fixture
def stopped(few, monkeypatch):
    """A run of two epochs that was stopped after the first; return the bytes of its checkpoint."""
    from helpers import checkpoints

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(checkpoints, "save", and_stop(checkpoints.save))
        train(few, *FEW_EPOCHS, "--rate", "0.3")
    return (few / "run.npz").read_bytes()


def test_a_checkpoint_of_other_options_or_images_is_left_alone(few, stopped, monkeypatch, capsys):
    data = datasets.load_cifar10()
    drawn = dataclasses.replace(data, source="synthetic")
    images = "data CIFAR-10, 650 {} training images"
    for given, options, before, now in (
        (data, ["--rate", "0.01"], "rate 0.3", "rate 0.01"),
        (data, ["--seed", "1", "--shift", "3"], "shift 2, seed 0", "shift 3, seed 1"),
        (drawn, [], images.format("real"), images.format("drawn")),
    ):
        monkeypatch.setattr(datasets, "load_cifar10", lambda given=given: given)
        capsys.readouterr()
        assert train(few, *FEW_EPOCHS, *options) == 1
        told = capsys.readouterr().out.splitlines()[-1]
        assert f"run.npz was made with {before}; asked for is {now}." in told and "--restart" in told
        assert (few / "run.npz").read_bytes() == stopped and records.recorded() == []


def test_a_checkpoint_that_does_not_tell_its_options_is_left_alone(few, stopped, capsys):
    with np.load(few / "run.npz") as file:
        arrays = dict(file)
    state = json.loads(str(arrays["state"]))
    del state["made_with"]
    np.savez(few / "run.npz", **arrays | {"state": json.dumps(state)})
    assert train(few, *FEW_EPOCHS) == 1
    assert "settings that it does not tell; asked for is epochs 2, small epochs 1" in capsys.readouterr().out


def test_a_set_that_was_downloaded_meanwhile_is_the_same(few):
    data = datasets.load_cifar10()
    told = {_cifar10_recipes.images_of(dataclasses.replace(data, source=source)) for source in ("local", "download")}
    assert len(told) == 1


def test_a_run_on_drawn_stand_ins_is_not_recorded(few, drawn, capsys):
    assert train(few, "cifar10-classic", "--generations", "5") == 0
    told = capsys.readouterr().out
    assert "test accuracy" in told and "Nothing is recorded" in told
    assert records.recorded() == [] and not (few / "run.npz").exists()


def test_the_benchmark_compares_what_it_is_given():
    classic = {
        "test_accuracy": 0.7, "generations": 1000, "cpu_seconds": 300.0,
        "history": {"generation": [500, 1000], "val_accuracy": [0.72, 0.71]},
    }  # fmt: skip
    modern = {
        "test_accuracy": 0.8, "generations": 40, "cpu_seconds": 30.0,
        "options": {"epochs": 4, "small_epochs": 2}, "history": {"val_accuracy": [0.5, 0.6, 0.72, 0.8]},
    }  # fmt: skip
    seconds = {"classic, 24 px": 0.1, "modern, 24 px": 0.05, "modern, 32 px": 0.2}
    whole, spent, equal, processor = benchmark.compare(seconds, classic, modern)
    assert "70.00%" in whole and "100 s" in whole
    assert "80.00%" in spent and "5 s: ×20.0" in spent  # 20 steps of 0.05 s and 20 of 0.2 s
    assert "72.00%: 50 s and 3 s: ×16.7" in equal  # 500 steps; two small epochs and one large
    assert processor.endswith("×10.0")


def test_the_benchmark_says_that_nothing_is_recorded(few):
    with pytest.raises(FileNotFoundError, match="cifar10-classic"):
        commands.main(["benchmark", "cifar10"])


@pytest.mark.parametrize("recipe", ["classic", "modern"])
def test_a_step_is_timed_in_its_own_process(recipe):
    case = {"recipe": recipe, "side": 24, "width": 2, "precision": "float32"}
    assert 0 < in_own_process(benchmark.time_photographs, **case) < 60


def test_a_step_on_digits_is_timed_in_its_own_process():
    environment = {"TF_ENABLE_ONEDNN_OPTS": "0"}
    assert 0 < in_own_process(benchmark.time_digits, environment, network="classic", threads=1) < 60


@pytest.mark.parametrize(
    ("timed", "arguments"),
    [
        (benchmark.time_digits, {"network": "none such"}),
        (benchmark.time_photographs, {"recipe": "modern", "side": 24, "width": 2, "precision": "none such"}),
    ],
)
def test_a_measurement_that_fails_says_why(timed, arguments):
    with pytest.raises(SystemExit, match="The measurement stopped: .*none such"):
        in_own_process(timed, **arguments)


def test_the_fine_tuning_curve_goes_on_where_it_was_stopped(few, monkeypatch, capsys):
    monkeypatch.setitem(_fine_tuning_recipe.EPOCHS, 10, 1)
    save, saves = files.whole_file, iter(range(1))

    def save_once(path):
        if next(saves, None) is None:
            raise Stopped
        return save(path)

    monkeypatch.setattr(files, "whole_file", save_once)
    options = ["train", "fine-tuning", "--seeds", "4", "--per-class", "10"]
    with pytest.raises(Stopped):
        commands.main(options)
    monkeypatch.setattr(files, "whole_file", save)
    assert commands.main(options) == 0
    assert capsys.readouterr().out.count("frozen:") == 1
    recorded = records.load_run("fine-tuning")
    assert [run["method"] for run in recorded["runs"]] == ["frozen", "fine-tuned", "from scratch"]
    assert all(run["per_class"] == 10 and 0 <= run["test_accuracy"] <= 1 for run in recorded["runs"])
    assert not (files.CACHE / "fine-tuning.json").exists()


@pytest.fixture
def quick_curve(few, monkeypatch):
    """The curve without its training; return its cache, with one result of the images of `few`."""
    result = {"epochs": 1, "seconds": 0.1, "cpu_seconds": 0.1, "test_accuracy": 0.5}
    monkeypatch.setattr(_fine_tuning_recipe, "_train", lambda *arguments: result)
    path = files.CACHE / "fine-tuning.json"
    path.parent.mkdir(exist_ok=True)
    runs_ = [{"seed": 0, "per_class": 10, "method": "frozen"} | result | {"test_accuracy": 0.25}]
    made_with = {"data": _cifar10_recipes.images_of(datasets.load_cifar10())}
    path.write_text(json.dumps({"made_with": made_with, "runs": runs_}))
    return path


CURVE = ("train", "fine-tuning", "--seeds", "0", "--per-class", "10")


def test_a_curve_goes_on_with_more_seeds_and_sizes(quick_curve):
    assert commands.main(["train", "fine-tuning", "--seeds", "0", "1", "--per-class", "10", "50"]) == 0
    recorded = records.load_run("fine-tuning")["runs"]
    assert len(recorded) == 12 and [run["test_accuracy"] for run in recorded] == [0.25] + 11 * [0.5]


@pytest.mark.parametrize("old", [False, True])
def test_a_curve_of_other_images_is_left_alone(quick_curve, old, capsys):
    other = json.loads(quick_curve.read_text())
    other["made_with"]["data"] = "CIFAR-10, 9,000 drawn training images"
    quick_curve.write_text(json.dumps(other["runs"] if old else other))
    before = quick_curve.read_bytes()
    assert commands.main(list(CURVE)) == 1
    told = capsys.readouterr().out.splitlines()[-1]
    assert ("does not tell" if old else "9,000 drawn") in told and "650 real" in told and "--restart" in told
    assert quick_curve.read_bytes() == before and records.recorded() == []
    assert commands.main([*CURVE, "--restart"]) == 0
    assert [run["test_accuracy"] for run in records.load_run("fine-tuning")["runs"]] == 3 * [0.5]


def test_a_curve_of_drawn_stand_ins_is_not_recorded(quick_curve, drawn, capsys):
    assert commands.main([*CURVE, "--restart"]) == 0
    assert "Nothing is recorded" in capsys.readouterr().out and records.recorded() == []


def test_a_size_without_a_number_of_epochs_is_refused_at_once(capsys):
    with pytest.raises(SystemExit):
        commands.main(["train", "fine-tuning", "--per-class", "20"])
    assert "invalid choice: 20" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fine-tuning-all", "from-scratch-all"])
def test_fine_tuning_on_all_images_is_recorded(few, capsys, name):
    options = ["--epochs", "2", "--small-epochs", "1", "--precision", "float32"]
    assert commands.main(["train", name, *options]) == 0
    recorded = records.load_run(name)
    expected = "--epochs 2 --small-epochs 1 --rate 0.08 --precision float32 --seed 0"
    assert recorded["command"] == f"python -m helpers train {name} {expected}"
    assert len(recorded["history"]["loss"]) == 2 and 0 <= recorded["test_accuracy"] <= 1
