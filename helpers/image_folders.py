"""Labelled images as files: a folder of PNG files for each class, and TFRecord shards. `tf.data` reads both.

PNG is lossless, and the order is the same everywhere, class by class: arrays, folders and shards give the same batches.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.check import checked, optional, short, whole
from helpers.datasets import DatasetError
from helpers.files import whole_file


@checked(DatasetError, per_class=optional(whole(1)))
def by_class(images, labels, per_class=None):
    """Return images `(n, ...)` and labels `(n,)` ordered by class; the images of a class keep their order.

    With `per_class`, only the first so many of each class; raise `DatasetError` if a class has fewer.
    """
    labels = np.asarray(labels)
    positions = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    fewest = min(map(len, positions), default=0)
    if per_class is not None and per_class > fewest:
        raise DatasetError(f"per_class is {per_class}, but the smallest class has only {fewest} images.")
    chosen = np.concatenate([position[:per_class] for position in positions])
    return images[chosen], labels[chosen]


@checked(DatasetError, per_class=optional(whole(1)))
def export_image_folder(dataset, folder, per_class=None):
    """Write training and validation images as PNG files, a folder for each class:

        folder/train_dir/<class>/00000.png …   folder/validation_dir/<class>/…   folder/<dataset>_labels.txt

    The label file has one class a line, in the order of the labels. Images already there are written again.

    Args:
        dataset: a `Dataset` of uint8 images.
        folder: created if it does not exist.
        per_class: the number of training images of each class, the first ones, and at most as many for validation;
            None takes all.

    Raises:
        DatasetError: if a class has fewer training images, or the folder holds other images already.
    """
    pictures = {}
    for name, images, labels in (
        ("train_dir", *by_class(dataset.x_train, dataset.y_train, per_class)),
        ("validation_dir", dataset.x_val, dataset.y_val),
    ):
        for label, class_name in enumerate(dataset.class_names):
            for number, image in enumerate(images[labels == label][:per_class]):
                pictures[Path(folder) / name / class_name / f"{number:05}.png"] = image
    if others := set(Path(folder).glob("*_dir/*/*")) - set(pictures):
        raise DatasetError(f"{folder} holds other images already, {min(others).name} for one. Choose another folder.")
    with whole_file(labels_path(dataset, folder)) as partial:
        partial.write_text("".join(f"{name}\n" for name in dataset.class_names), encoding="utf-8")
    for path, image in pictures.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_png(image))


def labels_path(dataset, folder):
    """Return the path of an export's label file: `folder/cifar10_labels.txt` for CIFAR-10."""
    return Path(folder) / f"{dataset.name.lower().replace('-', '')}_labels.txt"


def read_labels(path):
    """Return the class names in a label file, one a line, as a tuple."""
    return tuple(Path(path).read_text(encoding="utf-8").splitlines())


@checked(DatasetError, shards=whole(1))
def write_tfrecords(images, labels, folder, shards=4):
    """Write images and labels to `folder/train-00000-of-00004.tfrecord` and so on, in the order of the arrays.

    Each record is a `tf.train.Example` with an `image`, the bytes of a PNG, and a `label`.

    Args:
        images: uint8 `(n, height, width, 3)`.
        labels: int `(n,)`.
        folder: created if it does not exist.
        shards: number of files.

    Returns:
        The paths, in order.
    """
    import tensorflow as tf

    if len(images) != len(labels) or images.dtype != np.uint8:
        found = f"images has {len(images)} entries, {images.dtype}, and labels {len(labels)}"
        raise DatasetError(f"{found}; expected uint8 images, 0–255, and one label for each.")
    paths = [Path(folder) / f"train-{shard:05}-of-{shards:05}.tfrecord" for shard in range(shards)]
    for path, part in zip(paths, np.array_split(np.arange(len(images)), shards), strict=True):
        with whole_file(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
            for image, label in zip(images[part], labels[part], strict=True):
                feature = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[_png(image)])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return paths


@checked(DatasetError, batch_size=whole(1))
def read_tfrecords(paths, batch_size=32):
    """Return a `tf.data.Dataset` of batches from the shards that `write_tfrecords` wrote, in the order of writing.

    Batches are images float32 `(batch, height, width, 3)`, 0–255, and labels int32 `(batch,)`, as
    `keras.utils.image_dataset_from_directory` gives them; the last one can be smaller.
    """
    import tensorflow as tf

    if not paths or not all(Path(path).is_file() for path in paths):
        raise DatasetError(f"paths is {short(paths)}; expected the shards that write_tfrecords wrote.")
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def decoded(record):
        example = tf.io.parse_single_example(record, features)
        image = tf.io.decode_png(example["image"], channels=3)
        return tf.cast(image, tf.float32), tf.cast(example["label"], tf.int32)

    records = tf.data.TFRecordDataset([str(path) for path in paths])
    return records.map(decoded, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(2)


def _png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
