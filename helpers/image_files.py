"""Labelled pictures as files: a folder of PNG files for each class, and TFRecord shards. Both are read by `tf.data`.

All of it is lossless and keeps one order, class by class, so that arrays, folders and shards give the same batches.
"""

import hashlib
import io
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from helpers.storage import DatasetError, in_words, whole_file

MANIFEST = ".contents.sha256"  # beside the files: of the arrays that they were made from
UNFINISHED = ".part"  # how a picture's name ends until it is whole: Keras goes by the ending, and reads hidden files
LEFTOVER_AGE = 3600  # seconds from which an unfinished file is a killed export's, not one that is being written
PARTS = {"train_dir": "train", "validation_dir": "val"}


def by_class(images, labels, per_class=None):
    """Return images and labels in the order of the files: class by class, each in its own order.

    Args:
        images: `(n, ...)`.
        labels: int `(n,)`.
        per_class: keep the first so many of each class; None keeps all.

    Raises:
        DatasetError: if a class has fewer than `per_class` images.
    """
    labels = np.asarray(labels)
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    fewest = min(map(len, places), default=0)
    if per_class is not None and not 1 <= per_class <= fewest:
        raise DatasetError(f"per_class={per_class!r} was given, but the smallest class has {fewest} images.")
    chosen = np.concatenate([place[:per_class] for place in places])
    return images[chosen], labels[chosen]


def export_image_folder(dataset, folder, per_class=None, progress=False):
    """Write training and validation images as PNG files, a folder for each class:

        folder/train_dir/<class>/00000.png …   folder/validation_dir/<class>/…   folder/<dataset>_labels.txt

    The label file has one class a line, in the order of the labels. A file is written whole or not at all, and one that
    is there is not written again: an export that was stopped goes on where it was, and several at once into the same
    folder do not disturb each other.

    Args:
        dataset: a `Dataset` of uint8 images.
        folder: where to; made if it is not there.
        per_class: of each class, the first so many training images, and as many validation images or all that there
            are; None takes all.
        progress: show a bar.

    Returns:
        The number of files that were written; 0 if all of them were there.

    Raises:
        DatasetError: if the folder holds another export, the disk is full, or the folder may not be written.
    """
    folder = Path(folder)
    parts = {name: _part(dataset, part, per_class) for name, part in PARTS.items()}
    with _claimed(folder, parts.values(), dataset.class_names):
        text = "".join(f"{name}\n" for name in dataset.class_names)
        if not (path := labels_path(dataset, folder)).is_file():
            with whole_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
        _remove_leftovers(folder)
        written = 0
        total = sum(len(labels) for _, labels in parts.values())
        with tqdm(total=total, disable=not progress, unit="file", leave=False) as bar:
            for name, (images, labels) in parts.items():
                for label, class_name in enumerate(dataset.class_names):
                    for place, image in enumerate(images[labels == label]):
                        written += _write_png(image, folder / name / class_name / f"{place:05}.png")
                        bar.update()
    return written


def labels_path(dataset, folder):
    """Return the path of the label file of an export: `cifar10_labels.txt` for CIFAR-10."""
    return Path(folder) / f"{dataset.name.lower().replace('-', '').replace(' ', '_')}_labels.txt"


def read_labels(path):
    """Return the class names of a label file, one a line, as a tuple."""
    return tuple(Path(path).read_text(encoding="utf-8").split("\n")[:-1])


def write_tfrecords(images, labels, folder, name="train", shards=4):
    """Write images and labels to `folder/<name>-00000-of-00004.tfrecord` and so on.

    Each record is a `tf.train.Example` of `image` (the bytes of a PNG) and `label`. The order is that of the arrays:
    the first shard holds the first ones. A shard is written whole or not at all, and one that is there is kept.

    Args:
        images: uint8 `(n, height, width, 3)`.
        labels: int `(n,)`.
        folder: where to; made if it is not there.
        name: the first part of the file names.
        shards: number of files, 1 to n.

    Returns:
        The paths, in order.

    Raises:
        DatasetError: if the arrays do not fit each other, the folder holds another set, or the disk is full.
    """
    import tensorflow as tf

    images, labels, folder = np.asarray(images), np.asarray(labels), Path(folder)
    if len(images) != len(labels) or images.dtype != np.uint8:
        raise DatasetError(
            f"{images.dtype} images of shape {images.shape} and {len(labels)} labels were given. Expected are uint8 "
            "images, 0–255, and one label for each."
        )
    if not 1 <= shards <= len(images):
        raise DatasetError(f"shards={shards} does not fit {len(images)} images. Give 1 to {len(images)}.")
    paths = [folder / f"{name}-{index:05}-of-{shards:05}.tfrecord" for index in range(shards)]
    with _claimed(folder, [(images, labels)], (name, shards), f".{name}{MANIFEST}"):
        for path, places in zip(paths, np.array_split(np.arange(len(images)), shards), strict=True):
            if path.is_file():
                continue
            with whole_file(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
                for place in places:
                    writer.write(_example(images[place], labels[place]).SerializeToString())
    return paths


def read_tfrecords(paths, batch_size=32, shape=(32, 32, 3)):
    """Return a `tf.data.Dataset` of batches from what `write_tfrecords` wrote, in the order of writing.

    Args:
        paths: of the shards, in order.
        batch_size: images per batch; the last one may be smaller.
        shape: of one image.

    Returns:
        A `tf.data.Dataset` of images float32 `(batch, *shape)`, 0–255, and labels int32 `(batch,)`, as
        `keras.utils.image_dataset_from_directory` gives them.

    Raises:
        DatasetError: if there is no such file.
    """
    import tensorflow as tf

    missing = [f"{Path(path).name} was not found" for path in paths if not Path(path).is_file()]
    if missing or not paths:
        raise DatasetError(f"{(missing or ['No shard was given'])[0]}. Write the shards with write_tfrecords.")
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def decoded(record):
        example = tf.io.parse_single_example(record, features)
        image = tf.ensure_shape(tf.io.decode_png(example["image"], channels=shape[-1]), shape)
        return tf.cast(image, tf.float32), tf.cast(example["label"], tf.int32)

    records = tf.data.TFRecordDataset([str(path) for path in paths])
    return records.map(decoded, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(2)


def _part(dataset, part, per_class):
    images, labels = getattr(dataset, f"x_{part}"), getattr(dataset, f"y_{part}")
    if per_class is not None and part == "val":
        per_class = min(per_class, min(np.bincount(labels)[np.unique(labels)]))
    return by_class(images, labels, per_class)


def _write_png(image, path):
    """Write one image if it is not there; return whether it was written."""
    if path.is_file():
        return False
    with whole_file(path, UNFINISHED) as partial:
        partial.write_bytes(_png(image))
    return True


def _remove_leftovers(folder):
    """Delete what killed exports left unfinished; a young file may be one that another process is just writing."""
    for leftover in folder.glob(f"*_dir/*/.*{UNFINISHED}"):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE:
                leftover.unlink()


def _png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _example(image, label):
    import tensorflow as tf

    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[_png(image)])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature))


@contextmanager
def _claimed(folder, parts, names, manifest=MANIFEST):
    """Mark `folder` with what goes there, so that two different exports are never mixed; put disk errors in words."""
    digest = hashlib.sha256(repr(tuple(names)).encode())
    for images, labels in parts:
        digest.update(repr((images.shape, images.dtype.str)).encode())
        digest.update(np.ascontiguousarray(images))
        digest.update(np.ascontiguousarray(labels, np.int64))
    text = digest.hexdigest() + "\n"
    try:
        path = folder / manifest
        if path.is_file():
            if path.read_text() != text:
                raise DatasetError(f"{folder} holds an export of other images. Delete it, or choose another folder.")
        else:
            with whole_file(path) as partial:
                partial.write_text(text)
        yield
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be written: {in_words(error)} What is written stays, and is not redone."
        ) from error
