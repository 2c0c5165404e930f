import json

import pytest

from helpers import commands, datasets, records
from helpers.commands import train


def test_every_command_explains_itself(capsys):
    for arguments in (["--help"], ["execute", "--help"], ["train", "--help"], ["benchmark", "mnist", "--help"]):
        with pytest.raises(SystemExit) as ended:
            commands.main(arguments)
        assert ended.value.code == 0 and "usage: python -m helpers" in capsys.readouterr().out


def test_an_unknown_notebook_is_named():
    with pytest.raises(SystemExit, match="'99_none'.*01_mnist_cnn"):
        commands.main(["execute", "--check", "99_none"])


def test_a_recipe_is_recorded_as_it_ran(alone, monkeypatch, capsys):
    monkeypatch.setattr(records, "RUNS", alone / "runs")
    mnist = datasets.load_mnist("synthetic")
    few = datasets.Dataset(
        mnist.x_train[:256], mnist.y_train[:256], mnist.x_val[:50], mnist.y_val[:50],
        mnist.x_test[:50], mnist.y_test[:50], mnist.class_names, "local", "MNIST",
    )  # fmt: skip
    monkeypatch.setattr(datasets, "load_mnist", lambda: few)
    assert commands.main(["train", "mnist-modern", "--seeds", "4", "5", "--epochs", "1"]) in (0, None)
    recorded = records.load_run("mnist-modern")
    assert recorded["command"] == "python -m helpers train mnist-modern --epochs 1 --seeds 4 5"
    assert [run["seed"] for run in recorded["runs"]] == [4, 5]
    assert all(0 <= run["test_accuracy"] <= 1 and run["seconds"] > 0 for run in recorded["runs"])
    assert {"date", "machine", "versions"} <= set(recorded)
    assert str(alone) not in json.dumps(recorded)


def test_a_recipe_on_drawn_digits_is_not_recorded(alone, monkeypatch, capsys):
    monkeypatch.setattr(records, "RUNS", alone / "runs")
    drawn = datasets.load_mnist("synthetic")
    monkeypatch.setattr(datasets, "load_mnist", lambda: drawn)
    result = {"test_accuracy": 0.5, "seconds": 1.0}
    monkeypatch.setattr(train, "train_mnist_modern", lambda *arguments: result)
    assert commands.main(["train", "mnist-modern", "--seeds", "4"]) in (0, None)
    told = capsys.readouterr().out
    assert "median of 1 seeds: 50.00 %" in told and "Nothing is recorded" in told
    assert records.recorded() == []


def test_the_same_seed_trains_the_same_network(alone):
    mnist = datasets.load_mnist("synthetic")
    few = datasets.Dataset(
        mnist.x_train[:512], mnist.y_train[:512], mnist.x_val[:50], mnist.y_val[:50],
        mnist.x_test[:50], mnist.y_test[:50], mnist.class_names, "synthetic", "MNIST",
    )  # fmt: skip
    one, two = (train.train_mnist_modern(few, seed=1, epochs=1)["history"] for _ in range(2))
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


def test_a_run_that_was_not_recorded(alone, monkeypatch):
    monkeypatch.setattr(records, "RUNS", alone / "runs")
    with pytest.raises(FileNotFoundError, match="'mnist-night'.*none"):
        records.load_run("mnist-night")
