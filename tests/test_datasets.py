import dataclasses
import hashlib
import io
import socket
import tarfile
import zipfile

import numpy as np
import pytest

from helpers import datasets, files, synthetic
from helpers.datasets import DatasetError, load_cifar10, load_mnist


def arrays(shape=(28, 28), train=200, test=50):
    random = np.random.default_rng(0)
    made = {}
    for part, count in (("train", train), ("test", test)):
        made[f"x_{part}"] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        made[f"y_{part}"] = random.permutation(np.arange(count) % 10).astype(np.uint8)
    return made


@pytest.fixture
def shared(alone, offline, monkeypatch):
    """The folder that ATELIER_DATA names."""
    (alone / "shared").mkdir()
    monkeypatch.setenv("ATELIER_DATA", str(alone / "shared"))
    return alone / "shared"


@pytest.fixture
def few(monkeypatch):
    """Draw few synthetic images, quickly."""
    for published in ("MNIST", "CIFAR10"):
        draw = getattr(datasets, published).draw

        def drawn(draw=draw):
            return draw(train=200, test=50)

        drawn.__name__ = draw.__name__
        monkeypatch.setattr(datasets, published, dataclasses.replace(getattr(datasets, published), draw=drawn))


def assert_holds(dataset, given, held_out=20):
    assert np.array_equal(np.concatenate([dataset.x_train, dataset.x_val]), given["x_train"])
    assert np.array_equal(np.concatenate([dataset.y_train, dataset.y_val]), given["y_train"])
    assert np.array_equal(dataset.x_test, given["x_test"]) and np.array_equal(dataset.y_test, given["y_test"])
    assert len(dataset.x_val) == len(dataset.y_val) == held_out
    assert dataset.x_train.dtype == np.uint8 and dataset.y_train.dtype == dataset.y_test.dtype == np.int64


# Where a dataset comes from


def test_a_local_file_comes_first_and_is_split(shared, offline, capsys):
    given = arrays()
    np.savez(shared / "mnist.npz", **given)
    mnist = load_mnist()
    assert mnist.source == "local" and mnist.name == "MNIST" and not offline and capsys.readouterr().out == ""
    assert_holds(mnist, given)


def test_of_sixty_thousand_five_thousand_are_held_out(shared):
    images, labels = np.zeros((60_000, 28, 28), np.uint8), np.arange(60_000) % 10
    np.savez_compressed(shared / "mnist.npz", x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    mnist = load_mnist("local")
    assert (len(mnist.x_train), len(mnist.x_val)) == (55_000, 5_000)
    assert np.array_equal(mnist.y_val, labels[-5_000:])


def test_keras_cache_counts_as_download(alone, offline):
    (alone / "keras" / "datasets").mkdir(parents=True)
    np.savez(alone / "keras" / "datasets" / "mnist.npz", **arrays())
    assert load_mnist().source == load_mnist("download").source == "download"
    assert not offline


@pytest.mark.parametrize(
    ("load", "kind", "classes"),
    [(load_mnist, "digits", tuple("0123456789")), (load_cifar10, "shapes", synthetic.SHAPES)],
)
def test_without_data_it_is_synthetic_and_says_so_in_one_line(alone, offline, few, capsys, load, kind, classes):
    dataset = load()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and dataset.name in said and f"synthetic {kind}" in said
    assert "no network in this test" in said and str(alone) not in said
    assert dataset.source == "synthetic" and "synthetic" in str(dataset) and dataset.class_names == classes
    assert len(offline) == 1 and offline[0].startswith("https://")
    assert len(dataset.x_train) == 180 and len(dataset.x_val) == 20 and len(dataset.x_test) == 50
    assert load("synthetic").source == "synthetic" and len(offline) == 1 and capsys.readouterr().out == ""


def test_a_network_that_swallows_packets_is_given_up(alone, few, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/mnist.npz"
        monkeypatch.setattr(datasets, "MNIST", dataclasses.replace(datasets.MNIST, url=url))
        assert load_mnist().source == "synthetic"
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "Downloading" not in said


@pytest.mark.parametrize("source", ["local", "download"])
def test_a_source_asked_for_by_name_must_be_there(alone, offline, source):
    with pytest.raises(DatasetError, match=f"{source}.*data/cache"):
        load_mnist(source)


def test_a_folder_that_is_not_there_is_named(alone, offline, few, monkeypatch, capsys):
    monkeypatch.setenv("ATELIER_DATA", str(alone / "typo"))
    load_mnist()
    assert "ATELIER_DATA names a folder that is not there" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["lokal", None, 0, []])
def test_an_unknown_source_is_refused(source):
    for load in (load_mnist, load_cifar10):
        with pytest.raises(DatasetError, match="source.*'local'"):
            load(source)


def test_a_download_is_announced_once_verified_kept_and_read(alone, server, monkeypatch, capsys):
    given = arrays((32, 32, 3))
    archive = packed(records(given))
    server.contents["/cifar-10-binary.tar.gz"] = archive
    here = {"url": server.url("/cifar-10-binary.tar.gz"), "digest": hashlib.sha256(archive).hexdigest()}
    monkeypatch.setattr(datasets, "CIFAR10", dataclasses.replace(datasets.CIFAR10, **here))
    cifar10 = load_cifar10()
    assert cifar10.source == "download" and load_cifar10().source == "local" and len(server.asked) == 1
    assert_holds(cifar10, given)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("Downloading CIFAR-10, 170 MB") and 'source="synthetic"' in said
    assert [path.name for path in files.CACHE.iterdir()] == ["cifar-10-binary.tar.gz"]


# Files that cannot be used


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"x_train": np.zeros((200, 28, 27), np.uint8)}, "(200, 28, 27)"),
        ({"x_train": np.zeros((200, 784), np.uint8)}, "(200, 784)"),
        ({"x_test": np.zeros((50, 28, 28), np.float32)}, "float32"),
        ({"y_train": np.zeros(199, np.uint8)}, "(199,)"),
        ({"y_train": np.zeros(200)}, "float64"),
        ({"y_test": np.full(50, 10)}, "y_test"),
        ({"y_test": np.full(50, -1)}, "y_test"),
        ({"x_test": None}, "x_test"),
        ({"x_train": np.zeros((9, 28, 28), np.uint8), "y_train": np.zeros(9, np.uint8)}, "at least 10"),
        ({"y_train": np.array([object()] * 200)}, "pickle"),
    ],
)
@pytest.mark.parametrize("source", ["auto", "local"])
def test_a_wrong_file_is_an_error_that_names_it(shared, changes, problem, source):
    given = {name: array for name, array in (arrays() | changes).items() if array is not None}
    np.savez(shared / "mnist.npz", **given)
    with pytest.raises(DatasetError) as caught:
        load_mnist(source)
    message = str(caught.value)
    assert problem in message and str(shared / "mnist.npz") in message and "Delete it" in message


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "flipped", "folder", "bare array", "no arrays"])
def test_a_damaged_file_is_an_error_that_names_it(shared, damage):
    path = shared / "mnist.npz"
    np.savez_compressed(path, **arrays())
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(byte ^ 255 for byte in whole[middle : middle + 64]) + whole[middle + 64 :]
    contents = {"truncated": whole[:middle], "empty": b"", "text": b"Not found", "flipped": flipped}
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "bare array":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "no arrays":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "nothing here")
    else:
        path.write_bytes(contents[damage])
    with pytest.raises(DatasetError) as caught:
        load_mnist()
    assert str(path) in str(caught.value) and "Delete it" in str(caught.value)


# CIFAR-10 in its author's binary version


def records(given):
    """Return `{file name: bytes}`: a label, then all red bytes of the image, all green and all blue ones."""
    contents = {}
    for part, names in (("train", datasets.TRAIN_BATCHES), ("test", [datasets.TEST_BATCH])):
        for name, chosen in zip(names, np.array_split(np.arange(len(given[f"x_{part}"])), len(names)), strict=True):
            rows = given[f"x_{part}"][chosen].transpose(0, 3, 1, 2).reshape(len(chosen), 3072)
            contents[name] = np.column_stack([given[f"y_{part}"][chosen], rows]).astype(np.uint8).tobytes()
    return contents


def packed(contents):
    """Return a `.tar.gz` with the files in the folder that CIFAR-10's author chose, and a text besides."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"batches.meta.txt": b"airplane\n", **dict(reversed(contents.items()))}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def put(folder, contents):
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def test_a_local_npz_of_cifar10_is_read(shared):
    given = arrays((32, 32, 3))
    np.savez(shared / "cifar10.npz", **given | {"y_train": given["y_train"][:, None]})  # as Keras' loader has them
    cifar10 = load_cifar10()
    assert cifar10.source == "local" and cifar10.class_names[0] == "airplane" and cifar10.class_names[9] == "truck"
    assert_holds(cifar10, given)


@pytest.mark.parametrize("where", ["shared", "keras/datasets"])
@pytest.mark.parametrize("form", ["folder", "archive"])
def test_its_authors_records_are_read(shared, alone, offline, where, form):
    given = arrays((32, 32, 3))
    if form == "folder":
        put(alone / where / "cifar-10-batches-bin", records(given))
    else:
        (alone / where).mkdir(parents=True, exist_ok=True)
        (alone / where / "cifar-10-binary.tar.gz").write_bytes(packed(records(given)))
    cifar10 = load_cifar10()
    assert cifar10.source == ("local" if where == "shared" else "download") and not offline
    assert_holds(cifar10, given)


def test_one_record_by_hand(shared):
    """The label is the first byte; the 32nd byte of the second colour is the last pixel of its first row."""
    record = bytearray(3073)
    record[0], record[1 + 1024 + 31] = 7, 200
    put(shared / "cifar-10-batches-bin", {name: bytes(record) * 10 for name in records(arrays((32, 32, 3)))})
    cifar10 = load_cifar10()
    assert set(cifar10.y_test) == {7} and cifar10.x_test[0, 0, 31].tolist() == [0, 200, 0]
    assert cifar10.x_test[0].sum() == 200


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("data_batch_5.bin", None, "data_batch_5.bin"),
        ("test_batch.bin", bytes(3072 * 50), "reshape"),
        ("test_batch.bin", bytes([10]) * 3073 * 50, "y_test"),
        ("test_batch.bin", b"", "x_test"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "archive"])
def test_wrong_records_are_an_error_that_names_them(shared, name, content, problem, form):
    contents = records(arrays((32, 32, 3))) | {name: content}
    contents = {name: content for name, content in contents.items() if content is not None}
    if form == "folder":
        put(shared / "cifar-10-batches-bin", contents)
    else:
        (shared / "cifar-10-binary.tar.gz").write_bytes(packed(contents))
    with pytest.raises(DatasetError, match=f"cifar-10-b.*{problem}.*Delete it"):
        load_cifar10()


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_truncated_archive_is_an_error(shared, kept):
    whole = packed(records(arrays((32, 32, 3))))
    (shared / "cifar-10-binary.tar.gz").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DatasetError, match="cifar-10-binary.tar.gz cannot be used.*Delete it"):
        load_cifar10()


# The real ones, where they are


@pytest.mark.skipif(files.find_local("mnist.npz") is None, reason="no local mnist.npz")
def test_real_mnist():
    mnist = load_mnist("local")
    assert [len(part) for part in (mnist.x_train, mnist.x_val, mnist.x_test)] == [55_000, 5_000, 10_000]
    assert mnist.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(mnist.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.skipif(files.find_local(*datasets.CIFAR10.forms) is None, reason="no local CIFAR-10")
def test_real_cifar10():
    cifar10 = load_cifar10("local")
    assert [len(part) for part in (cifar10.x_train, cifar10.x_val, cifar10.x_test)] == [45_000, 5_000, 10_000]
    assert np.bincount(cifar10.y_test).tolist() == [1000] * 10
    assert np.bincount(np.concatenate([cifar10.y_train, cifar10.y_val])).tolist() == [5000] * 10
