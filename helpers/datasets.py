"""Labelled images for the classifiers: real datasets where they can be had, synthetic images where not.

A dataset is looked for on this machine, then downloaded, then replaced; `Dataset.source` tells which it was. A file
that is there but damaged is an error, never a reason to try the next place.
"""

import tarfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from helpers import files, synthetic
from helpers.check import checked, one_of

SOURCES = ("auto", "local", "download", "synthetic")
VALIDATION = 5000  # images of the training set that are held out, if it has ten times as many; else a tenth of it
TRAIN_BATCHES, TEST_BATCH = [f"data_batch_{number}.bin" for number in range(1, 6)], "test_batch.bin"


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names the file, what is wrong, and what to do."""


@dataclass(frozen=True)
class Dataset:
    """Images and labels in three parts, which share no image.

    Attributes:
        x_train, x_val, x_test: uint8, `(n, height, width)` for grey images or `(n, height, width, 3)` for RGB, 0–255.
        y_train, y_val, y_test: int64, `(n,)`, indices into `class_names`.
        class_names: tuple of str.
        source: "local", "download" or "synthetic".
        name: the name of the dataset, for example "MNIST".
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple
    source: str
    name: str

    def __str__(self):
        origin = {"local": "local file", "download": "downloaded", "synthetic": "synthetic, not the real images"}
        parts = f"{len(self.x_train):,} training, {len(self.x_val):,} validation, {len(self.x_test):,} test images"
        return f"{self.name} ({origin[self.source]}): {parts}"


@dataclass(frozen=True)
class Published:
    """A published dataset: the file at `url`, other local forms of it, its contents, and its replacement."""

    name: str
    url: str
    size: str
    digest: str  # SHA-256
    forms: tuple  # names of files or folders; the first that is there is used
    shape: tuple
    class_names: tuple
    draw: Callable
    drawn_names: tuple


MNIST = Published(
    name="MNIST",
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    size="11.5 MB",
    digest="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    forms=("mnist.npz",),
    shape=(28, 28),
    class_names=tuple("0123456789"),
    draw=synthetic.digits,
    drawn_names=tuple("0123456789"),
)
CIFAR10 = Published(
    name="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    size="170 MB",
    digest="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    forms=("cifar10.npz", "cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
    shape=(32, 32, 3),
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    draw=synthetic.shapes,
    drawn_names=synthetic.SHAPES,
)


@checked(DatasetError, source=one_of(*SOURCES))
def load_mnist(source="auto"):
    """Return handwritten digits: MNIST, or synthetic digits where MNIST cannot be had.

    MNIST (LeCun, Cortes and Burges, 1998) has 60,000 training and 10,000 test images of 28×28 grey levels, white on
    black. The last 5,000 training images become the validation set.

    Args:
        source: "local" reads `mnist.npz` from `$ATELIER_DATA` or `data/cache/`; "download" reads it from Keras' cache
            or downloads it; "synthetic" draws digits in many fonts; "auto" tries these in turn and prints one line if
            it falls back to synthetic digits.

    Returns:
        A `Dataset`; images `(n, 28, 28)`.

    Raises:
        DatasetError: if the file is damaged or is not MNIST, or if the requested source has none.
    """
    return _load(MNIST, source)


@checked(DatasetError, source=one_of(*SOURCES))
def load_cifar10(source="auto"):
    """Return small colour photographs of ten classes: CIFAR-10, or synthetic shapes where CIFAR-10 cannot be had.

    CIFAR-10 (Krizhevsky, 2009) has 50,000 training and 10,000 test images of 32×32 RGB. The last 5,000 training images
    become the validation set.

    Args:
        source: as for `load_mnist`. "local" reads `cifar10.npz`, or its author's binary version:
            `cifar-10-binary.tar.gz` or the unpacked folder `cifar-10-batches-bin`. The synthetic shapes have ten
            classes of their own.

    Returns:
        A `Dataset`; images `(n, 32, 32, 3)`.

    Raises:
        DatasetError: as for `load_mnist`.
    """
    return _load(CIFAR10, source)


def _load(published, source):
    """Return the dataset from the first place that has it, among those that `source` allows."""
    problems = []
    if source in ("auto", "local"):
        if path := files.find_local(*published.forms):
            return _read(published, path, "local")
        there = all(folder.is_dir() for folder in files.search_folders() if folder != files.CACHE)
        wrong = f"{files.VARIABLE} names a folder that is not there"
        problems.append(f"no local file {published.forms[0]}" if there else wrong)
    if source in ("auto", "download"):
        try:
            return _read(published, _downloaded(published, patience=2.0 if source == "auto" else 10.0), "download")
        except files.DownloadError as error:
            problems.append(f"no download: {error}")
    if source in ("local", "download"):
        raise DatasetError(
            f"{published.name} is not available with source={source!r}: {problems[0]}. Copy {published.forms[0]} to "
            f"data/cache/, or to a folder that the variable {files.VARIABLE} names, or use source='auto'."
        )
    if source == "auto":
        reasons, drawn = "; ".join(problems), published.draw.__name__
        print(f"{published.name} is not on this machine ({reasons}): using synthetic {drawn} instead.")
    return _dataset(published, "synthetic", published.drawn_names, *synthetic.cached(published.draw))


def _downloaded(published, patience):
    """Return the dataset's path in Keras' cache or, after a download, in `data/cache/`."""
    for name in published.forms:
        if (kept := files.keras_home() / "datasets" / name).exists():
            return kept
    path = files.CACHE / published.url.rpartition("/")[2]
    announcement = (
        f"Downloading {published.name}, {published.size}, once: it is kept in data/cache/. "
        f'To work with synthetic {published.draw.__name__} instead, interrupt this and load with source="synthetic".'
    )
    files.download(published.url, path, published.digest, patience, announcement)
    return path


def _read(published, path, source):
    """Return the `Dataset` of a file or folder whose arrays are what was published; otherwise raise `DatasetError`."""
    try:
        if path.suffix == ".npz":
            arrays = files.load_arrays(path, ("x_train", "y_train", "x_test", "y_test"))
            x_train, y_train, x_test, y_test = arrays.values()
        else:
            x_train, y_train, x_test, y_test = _read_records(path)
        train = _sound("train", x_train, y_train, published)
        test = _sound("test", x_test, y_test, published)
    except (*files.ARCHIVE_ERRORS, tarfile.TarError) as error:
        problem = str(error).splitlines()[0].removesuffix(".")
        raise DatasetError(f"{path} cannot be used: {problem}. Delete it and download or copy it again.") from error
    return _dataset(published, source, published.class_names, train, test)


def _read_records(path):
    """Return x_train, y_train, x_test, y_test of CIFAR-10's binary version, the folder or the archive.

    A record is a label, one byte, and the 3,072 bytes of an image: 32 rows of red, then of green, then of blue.
    """
    if path.is_dir():
        contents = {file.name: file.read_bytes() for file in path.glob("*.bin")}
    else:
        with tarfile.open(path) as archive:  # read in order, without unpacking anything to the disk
            members = ((member.name.rpartition("/")[2], member) for member in archive if member.isfile())
            contents = {name: archive.extractfile(member).read() for name, member in members if name.endswith(".bin")}
    if missing := {*TRAIN_BATCHES, TEST_BATCH} - contents.keys():
        raise ValueError(f"it lacks {min(missing)}")
    arrays = []
    for names in (TRAIN_BATCHES, [TEST_BATCH]):
        records = np.frombuffer(b"".join(contents[name] for name in names), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays += [np.ascontiguousarray(images), records[:, 0]]
    return arrays


def _sound(part, images, labels, published):
    """Return images and labels, int64 `(n,)`; raise `ValueError` if they are not what was published."""
    if images.dtype != np.uint8 or images.shape[1:] != published.shape or len(images) < 10:
        shape = ", ".join(map(str, published.shape))
        found = f"x_{part} is {images.dtype} of shape {images.shape}"
        raise ValueError(f"{found}; expected uint8 images of shape (n, {shape}), n at least 10")
    classes, numbers = len(published.class_names), labels.reshape(-1)  # Keras keeps CIFAR-10's labels as (n, 1)
    if len(numbers) != len(images) or numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= classes:
        found = f"y_{part} is {labels.dtype} of shape {labels.shape}"
        raise ValueError(f"{found}; expected {len(images)} whole numbers from 0 to {classes - 1}")
    return images, numbers.astype(np.int64)


def _dataset(published, source, class_names, train, test):
    """Hold out the validation images and put the parts together."""
    images, labels = train
    held_out = min(VALIDATION, len(images) // 10)
    kept, validation = (images[:-held_out], labels[:-held_out]), (images[-held_out:], labels[-held_out:])
    return Dataset(*kept, *validation, *test, class_names, source, published.name)
