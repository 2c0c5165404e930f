import errno
import os
import time
from contextlib import contextmanager

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers import datasets, image_files
from helpers.datasets import DatasetError, export_image_folder, read_tfrecords, write_tfrecords

NAMES = ("zebra", "ant", "moth")  # not in alphabetical order


@pytest.fixture
def dataset():
    random = np.random.default_rng(0)

    def part(count):
        return random.integers(0, 256, (count, 8, 6, 3), dtype=np.uint8), np.arange(count) % 3

    (x_train, y_train), (x_val, y_val), (x_test, y_test) = part(18), part(9), part(3)
    return datasets.Dataset(x_train, y_train, x_val, y_val, x_test, y_test, NAMES, "synthetic", "CIFAR-10")


def test_every_pixel_survives_the_round_trip_untransposed(dataset, tmp_path):
    assert export_image_folder(dataset, tmp_path) == 27
    for part, images, labels in (
        ("train_dir", dataset.x_train, dataset.y_train),
        ("validation_dir", dataset.x_val, dataset.y_val),
    ):
        for label, name in enumerate(NAMES):
            files = sorted((tmp_path / part / name).iterdir())
            found = np.stack([np.asarray(Image.open(file)) for file in files])
            assert np.array_equal(found, images[labels == label])


def test_the_label_file_has_one_class_a_line(dataset, tmp_path):
    export_image_folder(dataset, tmp_path)
    assert (tmp_path / "cifar10_labels.txt").read_bytes() == b"zebra\nant\nmoth\n"
    assert image_files.read_labels(tmp_path / "cifar10_labels.txt") == NAMES


def test_arrays_folders_and_shards_give_the_same_batches(dataset, tmp_path):
    export_image_folder(dataset, tmp_path / "files", per_class=5)
    images, labels = image_files.by_class(dataset.x_train, dataset.y_train, per_class=5)
    arrays = tf.data.Dataset.from_tensor_slices((images.astype("float32"), labels.astype("int32"))).batch(4)
    folder = keras.utils.image_dataset_from_directory(
        tmp_path / "files" / "train_dir",
        class_names=NAMES,
        image_size=(8, 6),
        batch_size=4,
        shuffle=False,
        verbose=False,
    )
    shards = read_tfrecords(write_tfrecords(images, labels, tmp_path / "shards", shards=3), 4, (8, 6, 3))
    count = 0
    for (x, y), *others in zip(arrays, folder, shards, strict=True):
        count += len(y)
        for other_x, other_y in others:
            assert x.dtype == other_x.dtype and y.dtype == other_y.dtype
            assert np.array_equal(x, other_x) and np.array_equal(y, other_y)
    assert count == 15


def test_per_class_takes_the_first_of_each(dataset):
    images, labels = image_files.by_class(dataset.x_train, dataset.y_train, per_class=2)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(images[2:4], dataset.x_train[[1, 4]])
    with pytest.raises(DatasetError, match="per_class=7 .* smallest class has 6"):
        image_files.by_class(dataset.x_train, dataset.y_train, per_class=7)


def fail_after(monkeypatch, count, code):
    """Let the disk fail after so many files of pictures."""
    real = image_files.whole_file
    left = iter(range(count))

    def whole_file(path, *ending):
        if path.suffix in (".png", ".tfrecord") and next(left, None) is None:
            raise OSError(code, "no")
        return real(path, *ending)

    monkeypatch.setattr(image_files, "whole_file", whole_file)


def test_an_export_that_was_stopped_goes_on(dataset, tmp_path, monkeypatch):
    fail_after(monkeypatch, 7, errno.ENOSPC)
    with pytest.raises(DatasetError, match="disk is full.*stays"):
        export_image_folder(dataset, tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert len(kept) == 7
    monkeypatch.undo()
    assert export_image_folder(dataset, tmp_path) == 27 - 7
    assert all(path.stat().st_mtime_ns == kept[path] for path in kept)
    assert export_image_folder(dataset, tmp_path) == 0


def test_what_a_killed_export_leaves_is_no_picture(dataset, tmp_path, monkeypatch):
    def killed(image):
        (partial,) = tmp_path.glob("*_dir/*/.*")
        partial.with_stem(f"{partial.stem}-killed").write_bytes(b"half a picture")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(image_files, "_png", killed)
        export_image_folder(dataset, tmp_path)
    (leftover,) = tmp_path.glob("*_dir/*/.*")
    assert export_image_folder(dataset, tmp_path) == 27 and leftover.is_file()
    found = keras.utils.image_dataset_from_directory(tmp_path / "train_dir", image_size=(8, 6), verbose=False)
    assert len(found.file_paths) == 18

    for older, stays in ((-60, True), (60, False)):
        then = time.time() - image_files.LEFTOVER_AGE - older
        os.utime(leftover, (then, then))
        assert export_image_folder(dataset, tmp_path) == 0 and leftover.exists() == stays
    assert len(list(tmp_path.glob("*_dir/*/*.png"))) == 27


def test_exports_into_one_folder_at_once_do_not_disturb_each_other(dataset, tmp_path, monkeypatch):
    real, begun, written = image_files.whole_file, [], []

    @contextmanager
    def whole_file(path, *ending):
        with real(path, *ending) as partial:
            yield partial
            if path.suffix == ".png" and len(begun) < 2:  # another one begins while this picture has yet to be moved
                begun.append(path)
                written.append(export_image_folder(dataset, tmp_path))

    monkeypatch.setattr(image_files, "whole_file", whole_file)
    written.append(export_image_folder(dataset, tmp_path))
    assert len(written) == 3 and sum(written) == 27 + 2  # the first picture thrice
    monkeypatch.undo()
    assert export_image_folder(dataset, tmp_path) == 0
    assert all(Image.open(path).load() for path in tmp_path.glob("*_dir/*/*"))


def test_shards_that_were_stopped_go_on(dataset, tmp_path, monkeypatch):
    fail_after(monkeypatch, 1, errno.ENOSPC)
    with pytest.raises(DatasetError, match="disk is full"):
        write_tfrecords(dataset.x_train, dataset.y_train, tmp_path)
    assert len(list(tmp_path.glob("*.tfrecord"))) == 1
    monkeypatch.undo()
    paths = write_tfrecords(dataset.x_train, dataset.y_train, tmp_path)
    assert [path.name for path in paths][0] == "train-00000-of-00004.tfrecord"
    assert sum(len(labels) for _, labels in read_tfrecords(paths, shape=(8, 6, 3))) == 18


def test_a_write_that_is_cut_off_leaves_no_half_file(dataset, tmp_path, monkeypatch):
    def cut(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(image_files, "_example", cut)
    with pytest.raises(KeyboardInterrupt):
        write_tfrecords(dataset.x_train, dataset.y_train, tmp_path)
    assert not list(tmp_path.glob("*.tfrecord"))


def test_two_exports_are_never_mixed(dataset, tmp_path):
    export_image_folder(dataset, tmp_path / "files")
    write_tfrecords(dataset.x_train, dataset.y_train, tmp_path / "shards")
    with pytest.raises(DatasetError, match="holds an export of other images"):
        export_image_folder(dataset, tmp_path / "files", per_class=2)
    with pytest.raises(DatasetError, match="holds an export of other images"):
        write_tfrecords(dataset.x_train[::-1], dataset.y_train, tmp_path / "shards")
    write_tfrecords(dataset.x_val, dataset.y_val, tmp_path / "shards", name="validation")  # another name: another set


def test_a_damaged_mark_says_what_to_do(dataset, tmp_path):
    (tmp_path / image_files.MANIFEST).write_text("{")
    with pytest.raises(DatasetError, match="Delete it, or choose another folder"):
        export_image_folder(dataset, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": np.zeros(5, int)}, "5 labels were given.* one label for each"),
        ({"images": np.zeros((18, 8, 6, 3), np.float32)}, "float32 images .* Expected are uint8"),
        ({"shards": 0}, "shards=0 does not fit 18 images"),
        ({"shards": 19}, "Give 1 to 18"),
    ],
)
def test_what_cannot_be_written_is_refused(dataset, tmp_path, change, said):
    given = {"images": dataset.x_train, "labels": dataset.y_train, "folder": tmp_path} | change
    with pytest.raises(DatasetError, match=said):
        write_tfrecords(**given)


def test_missing_shards_are_named(tmp_path):
    with pytest.raises(DatasetError, match="train-00000-of-00001.tfrecord was not found"):
        read_tfrecords([tmp_path / "train-00000-of-00001.tfrecord"])
    with pytest.raises(DatasetError, match="No shard"):
        read_tfrecords([])


def test_a_folder_that_cannot_be_written_is_named(dataset, tmp_path):
    (tmp_path / "taken").write_text("a file, where a folder should be")
    with pytest.raises(DatasetError, match="taken cannot be written"):
        export_image_folder(dataset, tmp_path / "taken")
