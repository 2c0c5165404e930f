import dataclasses
import hashlib
import pickle
import socket
import tarfile
import time
import zipfile

import numpy as np
import pytest

from helpers import datasets, storage, synthetic
from helpers.datasets import DatasetError, load_cifar10, load_mnist


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
        nowhere = dataclasses.replace(datasets.MNIST, url=f"https://127.0.0.1:{silent.getsockname()[1]}/mnist.npz")
        monkeypatch.setattr(datasets, "MNIST", nowhere)
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


# CIFAR-10 ------------------------------------------------------------------------------------------------------------


def photographs(train=200, test=50):
    random = np.random.default_rng(1)
    made = {}
    for part, count in (("train", train), ("test", test)):
        made[f"x_{part}"] = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        made[f"y_{part}"] = (np.arange(count) % 10)[:, None]
    return made


def batches(folder, given, protocol=2):
    """Write the six files as CIFAR-10's author does: rows of red, then green, then blue pixels."""
    folder.mkdir(parents=True)
    parts = np.array_split(np.arange(len(given["x_train"])), 5)
    files = {f"data_batch_{i}": ("train", part) for i, part in enumerate(parts, 1)}
    files["test_batch"] = ("test", np.arange(len(given["x_test"])))
    for name, (part, chosen) in files.items():
        rows = given[f"x_{part}"][chosen].transpose(0, 3, 1, 2).reshape(len(chosen), 3072)
        content = {b"batch_label": name.encode(), b"data": rows, b"labels": given[f"y_{part}"][chosen, 0].tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    return folder


def packed(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def test_a_local_cifar10_is_taken_first_and_split(local, offline):
    given = photographs()
    np.savez(local.with_name("cifar10.npz"), **given)
    cifar10 = load_cifar10()
    assert cifar10.source == "local" and cifar10.name == "CIFAR-10" and not offline
    assert [len(part) for part in (cifar10.x_train, cifar10.x_val, cifar10.x_test)] == [180, 20, 50]
    assert np.array_equal(np.concatenate([cifar10.x_train, cifar10.x_val]), given["x_train"])
    assert np.array_equal(cifar10.y_test, given["y_test"][:, 0]) and cifar10.y_test.dtype == np.int64
    assert cifar10.class_names[0] == "airplane" and cifar10.class_names[9] == "truck"


@pytest.mark.parametrize("place", ["local folder", "local archive", "keras folder", "older keras folder"])
def test_its_authors_own_files_are_read(local, offline, place):
    given = photographs()
    keras_folder = local.parent.parent / "keras" / "datasets"
    if place == "local archive":
        folder = batches(local.parent.parent / "elsewhere" / "cifar-10-batches-py", given)
        packed(folder, local.with_name("cifar-10-python.tar.gz"))
    else:
        inside = "cifar-10-batches-py-target/cifar-10-batches-py" if place == "keras folder" else "cifar-10-batches-py"
        batches((local.parent if place == "local folder" else keras_folder) / inside, given)
    cifar10 = load_cifar10()
    assert cifar10.source == ("local" if place.startswith("local") else "download") and not offline
    assert np.array_equal(np.concatenate([cifar10.x_train, cifar10.x_val]), given["x_train"])
    assert np.array_equal(cifar10.x_test, given["x_test"])
    assert np.array_equal(np.concatenate([cifar10.y_train, cifar10.y_val]), given["y_train"][:, 0])


class Runs:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("archived", [False, True])
def test_a_hostile_batch_runs_nothing(local, alone, archived):
    folder = batches(alone / "cifar-10-batches-py", photographs())
    (folder / "data_batch_3").write_bytes(pickle.dumps({b"data": Runs(alone / "ran"), b"labels": []}))
    if archived:
        path = packed(folder, local.with_name("cifar-10-python.tar.gz"))
    else:
        path = folder.rename(local.with_name("cifar-10-batches-py"))
    with pytest.raises(DatasetError, match="mkdir.*could run any code") as caught:
        load_cifar10()
    assert str(path) in str(caught.value) and not (alone / "ran").exists()


def test_an_archive_that_leaves_its_folder_is_refused(local, alone):
    path = local.with_name("cifar-10-python.tar.gz")
    batches(alone / "cifar-10-batches-py", photographs())
    with tarfile.open(path, "w:gz") as archive:
        archive.add(alone / "cifar-10-batches-py", "cifar-10-batches-py")
        archive.add(alone / "cifar-10-batches-py" / "test_batch", "cifar-10-batches-py/../../escaped")
    with pytest.raises(DatasetError, match="escaped.*breaks the rules"):
        load_cifar10()
    assert not list(alone.rglob("escaped"))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("data_batch_5", None, "no file cifar-10-batches-py/data_batch_5"),
        ("test_batch", {b"data": np.zeros((5, 3072), np.uint8)}, "no data and labels"),
        ("test_batch", [1, 2], "no data and labels"),
        ("test_batch", {b"data": np.zeros((50, 3071), np.uint8), b"labels": [0] * 50}, "(50, 3071)"),
        ("test_batch", {b"data": np.zeros((50, 3072), np.float32), b"labels": [0] * 50}, "float32"),
        ("test_batch", {b"data": np.zeros((50, 3072), np.uint8), b"labels": [0] * 49}, "(49,)"),
        ("test_batch", {b"data": np.zeros((50, 3072), np.uint8), b"labels": [10] * 50}, "10 to 10"),
        ("test_batch", {b"data": np.zeros((50, 3072), np.uint8), b"labels": ["cat"] * 50}, "expected are integers"),
        ("test_batch", {b"data": None, b"labels": None}, "expected are uint8 rows"),
        ("test_batch", {b"data": np.zeros((50, 3072), np.uint8), b"labels": [0, [1]] * 25}, "not complete"),
    ],
)
def test_wrong_batches_are_an_error_that_names_the_folder(local, name, content, problem):
    folder = batches(local.with_name("cifar-10-batches-py"), photographs())
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(pickle.dumps(content))
    with pytest.raises(DatasetError) as caught:
        load_cifar10()
    assert problem in str(caught.value) and str(folder) in str(caught.value) and "Delete it" in str(caught.value)


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_truncated_archive_is_an_error(local, kept):
    folder = batches(local.parent.parent / "cifar-10-batches-py", photographs())
    path = packed(folder, local.with_name("cifar-10-python.tar.gz"))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DatasetError, match="truncated"):
        load_cifar10()


def test_offline_shapes_are_drawn(alone, offline, capsys):
    cifar10 = load_cifar10()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "CIFAR-10" in said and "drawn shapes" in said and str(alone) not in said
    assert cifar10.source == "synthetic" and cifar10.x_train.shape == (9000, 32, 32, 3)
    assert cifar10.class_names == synthetic.SHAPES and len(set(cifar10.y_test)) == 10
    assert len(offline) == 1 and offline[0].startswith("https://")


def test_a_download_is_kept_and_read(alone, monkeypatch):
    given = photographs()
    folder = batches(alone / "cifar-10-batches-py", given)
    monkeypatch.setattr(storage, "download", lambda url, path, *args, **kwargs: packed(folder, _made(path)))
    cifar10 = load_cifar10()
    assert cifar10.source == "download" and np.array_equal(cifar10.x_test, given["x_test"])
    assert [path.name for path in storage.CACHE.iterdir()] == ["cifar-10-python.tar.gz"]


class Answer:
    """A server's answer; with `stop`, whoever waits for it interrupts it."""

    def __init__(self, content, stop=False):
        self.content, self.stop = content, stop

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def read(self, size):
        if self.stop:
            raise KeyboardInterrupt
        content, self.content = self.content, b""
        return content


@pytest.mark.parametrize(("name", "size"), [("MNIST", "11.5 MB"), ("CIFAR10", "170.5 MB")])
def test_a_download_is_announced_once_when_it_begins(alone, monkeypatch, capsys, name, size):
    kind, load = getattr(datasets, name), {"MNIST": load_mnist, "CIFAR10": load_cifar10}[name]
    content = b"what the server sends"
    monkeypatch.setattr(datasets, name, dataclasses.replace(kind, digest=hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(storage, "_open", lambda *args: Answer(content))
    with pytest.raises(DatasetError):  # that is no dataset
        load()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith(f"Downloading {kind.name}, {size}, once")
    assert storage.matches(storage.CACHE / kind.published, hashlib.sha256(content).hexdigest())


def test_an_interrupted_download_leaves_nothing_and_drawn_shapes_can_be_asked_for(alone, monkeypatch, capsys):
    monkeypatch.setattr(storage, "_open", lambda *args: Answer(b"", stop=True))
    with pytest.raises(KeyboardInterrupt):
        load_cifar10()
    assert 'drawn shapes instead, interrupt this and load with source="synthetic"' in capsys.readouterr().out
    assert list(storage.CACHE.iterdir()) == []
    assert load_cifar10(source="synthetic").source == "synthetic" and capsys.readouterr().out == ""


def test_no_download_is_announced_where_no_server_answers(alone, monkeypatch, capsys):
    def refuse(*args):
        raise storage.DownloadError("there is no network in this test")

    monkeypatch.setattr(storage, "_open", refuse)
    for load in (load_mnist, load_cifar10):
        load()
        with pytest.raises(DatasetError):
            load("download")
    said = capsys.readouterr().out
    assert "Downloading" not in said and said.count("\n") == 2 and said.count("stand in for it") == 2


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.skipif(storage.find_local("cifar10.npz") is None, reason="no local cifar10.npz")
def test_real_cifar10():
    cifar10 = load_cifar10("local")
    assert [len(part) for part in (cifar10.x_train, cifar10.x_val, cifar10.x_test)] == [45_000, 5_000, 10_000]
    assert np.bincount(cifar10.y_test).tolist() == [1000] * 10
    assert np.bincount(np.concatenate([cifar10.y_train, cifar10.y_val])).tolist() == [5000] * 10
