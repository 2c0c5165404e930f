"""Settings that all tests share."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from helpers import datasets, storage
from helpers.notebook import import_tensorflow

import_tensorflow()  # once, and without its log lines


@pytest.fixture(scope="module")
def backbone():
    """A tiny one: two convolutions with random weights, `first` and `second`, each followed by a pooling."""
    import keras

    from helpers.backbones import Backbone

    keras.utils.set_random_seed(0)
    values = inputs = keras.Input((None, None, 3))
    for name, width in (("first", 8), ("second", 12)):
        values = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(values)
        values = keras.layers.AveragePooling2D(2, name=f"{name}_pool")(values)
    network = keras.Model(inputs, values)
    return Backbone("tiny", network, lambda image: (image - 120.0) / 60, (), (), ("first", "second"), "", 16)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine with no data, no cache and no home; return the folder that stands for it."""
    monkeypatch.setattr(storage, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv(storage.VARIABLE, raising=False)
    monkeypatch.setattr(datasets, "_unreachable", {})
    return tmp_path


@pytest.fixture
def offline(monkeypatch):
    """A network on which every download fails at once; return the list of addresses that were tried."""
    tried = []

    def fail(url, *args, **kwargs):
        tried.append(url)
        raise storage.DownloadError("there is no network in this test")

    monkeypatch.setattr(storage, "download", fail)
    return tried
