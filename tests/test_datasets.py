import socket
import time
import zipfile

import numpy as np
import pytest

from helpers import datasets, storage, synthetic
from helpers.datasets import DatasetError, load_mnist


def arrays(train=200, test=50):
    random = np.random.default_rng(0)
    made = {}
    for part, count in (("train", train), ("test", test)):
        made[f"x_{part}"] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        made[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
    return made


@pytest.fixture
def local(alone, offline, monkeypatch):
    """A shared folder; return the path at which its mnist.npz belongs."""
    (alone / "shared").mkdir()
    monkeypatch.setenv("ATELIER_DATA", str(alone / "shared"))
    return alone / "shared" / "mnist.npz"


def test_a_local_file_is_taken_first_and_split(local, offline):
    given = arrays()
    np.savez(local, **given)
    mnist = load_mnist()
    assert mnist.source == "local" and not offline
    assert [len(part) for part in (mnist.x_train, mnist.x_val, mnist.x_test)] == [180, 20, 50]
    assert np.array_equal(np.concatenate([mnist.x_train, mnist.x_val]), given["x_train"])
    assert np.array_equal(np.concatenate([mnist.y_train, mnist.y_val]), given["y_train"])
    assert np.array_equal(mnist.x_test, given["x_test"])
    assert mnist.x_train.dtype == np.uint8 and mnist.y_train.dtype == np.int64


def test_of_sixty_thousand_five_thousand_are_held_out(local):
    images, labels = np.zeros((60_000, 28, 28), np.uint8), np.arange(60_000) % 10
    np.savez_compressed(local, x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    mnist = load_mnist("local")
    assert (len(mnist.x_train), len(mnist.x_val)) == (55_000, 5_000)
    assert np.array_equal(mnist.y_val, labels[-5_000:])


def test_keras_cache_counts_as_download(alone, offline):
    (alone / "keras" / "datasets").mkdir(parents=True)
    np.savez(alone / "keras" / "datasets" / "mnist.npz", **arrays())
    assert load_mnist().source == load_mnist("download").source == "download"
    assert not offline


def test_offline_it_draws_and_says_so_once(alone, offline, capsys):
    started = time.monotonic()
    mnist = load_mnist()
    assert time.monotonic() - started < 20
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "no network" in said and "drawn" in said and str(alone) not in said
    assert mnist.source == "synthetic"
    assert mnist.x_train.shape == (9000, 28, 28) and mnist.x_train.dtype == np.uint8
    assert len(mnist.x_val) == 1000 and len(mnist.x_test) == 2000
    load_mnist()
    assert len(offline) == 1, "a second call does not wait for the network again"


def test_a_network_that_swallows_packets_costs_five_seconds_at_most(alone, monkeypatch):
    quick = (np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10)
    monkeypatch.setattr(synthetic, "cached", lambda draw: (quick, quick))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(datasets, "MNIST_URL", f"https://127.0.0.1:{silent.getsockname()[1]}/mnist.npz")
        started = time.monotonic()
        assert load_mnist().source == "synthetic"
        assert time.monotonic() - started < 4, "2 seconds of waiting, which leaves 3 to draw the digits in"


@pytest.mark.parametrize("source", ["local", "download"])
def test_a_source_asked_for_by_name_must_be_there(alone, offline, source):
    with pytest.raises(DatasetError, match=f"{source}.*data/cache"):
        load_mnist(source)


def test_a_folder_that_is_not_there_is_named(alone, offline, monkeypatch, capsys):
    monkeypatch.setenv("ATELIER_DATA", str(alone / "typo"))
    load_mnist()
    assert "ATELIER_DATA names a folder that is not there" in capsys.readouterr().out


def test_unknown_source():
    with pytest.raises(DatasetError, match="'lokal'.*'local'"):
        load_mnist("lokal")


def changed(**changes):
    given = arrays() | changes
    return {key: value for key, value in given.items() if value is not None}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (changed(x_train=np.zeros((200, 28, 27), np.uint8)), "(200, 28, 27)"),
        (changed(x_train=np.zeros((200, 784), np.uint8)), "(200, 784)"),
        (changed(x_test=np.zeros((50, 28, 28), np.float32)), "float32"),
        (changed(y_train=np.zeros(199, np.uint8)), "(199,)"),
        (changed(y_train=np.zeros(200)), "float64"),
        (changed(y_test=np.full(50, 10)), "10 to 10"),
        (changed(y_test=np.full(50, -1)), "-1 to -1"),
        (changed(x_test=None), "x_test"),
        (changed(x_train=np.zeros((0, 28, 28), np.uint8), y_train=np.zeros(0, np.uint8)), "0 images"),
        (changed(y_train=np.array([object()] * 200)), "pickled"),
    ],
)
@pytest.mark.parametrize("source", ["auto", "local"])
def test_a_wrong_file_is_an_error_that_names_it(local, content, problem, source):
    np.savez(local, **content)
    with pytest.raises(DatasetError) as caught:
        load_mnist(source)
    message = str(caught.value)
    assert problem in message and str(local) in message and "Delete it" in message


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "pickle", "flipped", "folder", "bare array"])
def test_a_damaged_file_is_an_error_that_names_it(local, damage):
    np.savez_compressed(local, **arrays())
    whole = local.read_bytes()
    if damage == "folder":
        local.unlink()
        local.mkdir()
    elif damage == "bare array":
        with open(local, "wb") as file:
            np.save(file, np.zeros(3))
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes(byte ^ 255 for byte in whole[middle : middle + 64]) + whole[middle + 64 :]
        contents = {
            "truncated": whole[:middle],
            "empty": b"",
            "text": b"Not found",
            "pickle": b"\x80\x04N.",
            "flipped": flipped,
        }
        local.write_bytes(contents[damage])
    with pytest.raises(DatasetError) as caught:
        load_mnist()
    assert str(local) in str(caught.value) and "Delete it" in str(caught.value)


def test_an_archive_that_unpacks_to_too_much_is_refused(local, monkeypatch):
    monkeypatch.setattr(datasets, "LARGEST_ARCHIVE", 1000)
    np.savez_compressed(local, **arrays())
    with pytest.raises(DatasetError, match="unpacks to"):
        load_mnist()


def test_an_archive_without_arrays(local):
    with zipfile.ZipFile(local, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    with pytest.raises(DatasetError, match="x_train"):
        load_mnist()


@pytest.mark.skipif(storage.find_local("mnist.npz") is None, reason="no local mnist.npz")
def test_real_mnist():
    mnist = load_mnist("local")
    assert [len(part) for part in (mnist.x_train, mnist.x_val, mnist.x_test)] == [55_000, 5_000, 10_000]
    assert mnist.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(mnist.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
