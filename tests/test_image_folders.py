import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers.datasets import Dataset, DatasetError
from helpers.image_folders import (
    by_class,
    export_image_folder,
    labels_path,
    read_labels,
    read_tfrecords,
    write_tfrecords,
)

NAMES = ("zebra", "ant", "moth")  # not in alphabetical order


@pytest.fixture
def dataset():
    random = np.random.default_rng(0)

    def part(count):
        return random.integers(0, 256, (count, 8, 6, 3), dtype=np.uint8), random.permutation(np.arange(count) % 3)

    return Dataset(*part(18), *part(9), *part(3), NAMES, "synthetic", "CIFAR-10")


def test_every_pixel_survives_untransposed_in_the_folder_of_its_class(dataset, tmp_path):
    for _ in range(2):  # a second export writes the same files again
        export_image_folder(dataset, tmp_path)
    for part, images, labels in (
        ("train_dir", dataset.x_train, dataset.y_train),
        ("validation_dir", dataset.x_val, dataset.y_val),
    ):
        for label, name in enumerate(NAMES):
            found = np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / part / name).iterdir())])
            assert np.array_equal(found, images[labels == label])


def test_the_label_file_has_one_class_a_line(dataset, tmp_path):
    export_image_folder(dataset, tmp_path)
    assert (tmp_path / "cifar10_labels.txt").read_bytes() == b"zebra\nant\nmoth\n"
    assert read_labels(labels_path(dataset, tmp_path)) == NAMES


def test_arrays_folders_and_shards_give_the_same_batches(dataset, tmp_path):
    export_image_folder(dataset, tmp_path / "files", per_class=5)
    images, labels = by_class(dataset.x_train, dataset.y_train, per_class=5)
    arrays = tf.data.Dataset.from_tensor_slices((images.astype("float32"), labels.astype("int32"))).batch(4)
    settings = {"class_names": NAMES, "image_size": (8, 6), "batch_size": 4, "shuffle": False, "verbose": False}
    folder = keras.utils.image_dataset_from_directory(tmp_path / "files" / "train_dir", **settings)
    shards = read_tfrecords(write_tfrecords(images, labels, tmp_path / "shards", shards=3), 4)
    count = 0
    for (x, y), *others in zip(arrays, folder, shards, strict=True):
        count += len(y)
        for other_x, other_y in others:
            assert x.dtype == other_x.dtype and y.dtype == other_y.dtype
            assert np.array_equal(x, other_x) and np.array_equal(y, other_y)
    assert count == 15
    assert len(list((tmp_path / "files" / "validation_dir").glob("*/*"))) == 9  # all that there are


@pytest.mark.parametrize("shards", [1, 4, 18])
def test_shards_keep_the_order_of_images_and_labels(dataset, tmp_path, shards):
    paths = write_tfrecords(dataset.x_train, dataset.y_train, tmp_path, shards)
    assert [path.name for path in paths] == [f"train-{i:05}-of-{shards:05}.tfrecord" for i in range(shards)]
    images, labels = zip(*read_tfrecords(paths, 7), strict=True)
    assert np.array_equal(np.concatenate(images), dataset.x_train)
    assert np.concatenate(labels).tolist() == dataset.y_train.tolist() != sorted(dataset.y_train)
    assert [len(batch) for batch in labels] == [7, 7, 4]


def test_by_class_takes_the_first_of_each():
    images, labels = by_class(np.arange(7), [2, 0, 2, 0, 1, 1, 2], per_class=2)
    assert images.tolist() == [1, 3, 4, 5, 0, 2] and labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert by_class(np.arange(3), [1, 0, 1])[0].tolist() == [1, 0, 2]


def test_two_exports_are_never_mixed(dataset, tmp_path):
    export_image_folder(dataset, tmp_path)
    with pytest.raises(DatasetError, match="holds other images"):
        export_image_folder(dataset, tmp_path, per_class=2)


@pytest.mark.parametrize(
    ("function", "change", "said"),
    [
        (by_class, {"per_class": 7}, "per_class.* 6 images"),
        (by_class, {"per_class": 0}, "per_class"),
        (write_tfrecords, {"labels": np.zeros(5, int)}, "labels 5"),
        (write_tfrecords, {"images": np.zeros((18, 8, 6, 3), np.float32)}, "images.* float32"),
        (write_tfrecords, {"shards": 0}, "shards"),
        (read_tfrecords, {"paths": []}, "paths"),
        (read_tfrecords, {"paths": ["train-00000-of-00001.tfrecord"]}, "train-00000-of-00001"),
        (read_tfrecords, {"batch_size": 0}, "batch_size"),
    ],
)
def test_what_cannot_be_done_is_refused(dataset, tmp_path, function, change, said):
    arrays = {"images": dataset.x_train, "labels": dataset.y_train}
    given = {by_class: arrays, write_tfrecords: arrays | {"folder": tmp_path}, read_tfrecords: {"paths": [__file__]}}
    with pytest.raises(DatasetError, match=said):
        function(**given[function] | change)
