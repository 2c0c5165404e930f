"""Labelled pictures for the classifiers: real ones where they can be had, drawn stand-ins where not.

`load_mnist()` looks for a local file, then downloads, then draws; `Dataset.source` tells which it was. A file that is
there but cannot be used is an error, never a reason to fall through.
"""

import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from helpers import storage, synthetic

MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
SOURCES = ("auto", "local", "download", "synthetic")
VALIDATION = 5000  # images of the training set that are held out of the 50,000 or more that it has
LARGEST_ARCHIVE = 2**30  # bytes unpacked; CIFAR-10 is 184 MB
# What NumPy and zipfile raise, between them, for a damaged archive
ARCHIVE_ERRORS = (OSError, ValueError, EOFError, MemoryError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error)

_unreachable = {}  # why a download failed in this process: asking again would only wait again


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
        name: what the set is called, for example "MNIST".
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
        origin = {"local": "a local file", "download": "downloaded", "synthetic": "drawn stand-ins, not the real set"}
        parts = f"{len(self.x_train):,} training, {len(self.x_val):,} validation, {len(self.x_test):,} test images"
        return f"{self.name} ({origin[self.source]}): {parts}"


def load_mnist(source="auto"):
    """Return handwritten digits: MNIST, or drawn digits where MNIST cannot be had.

    MNIST (LeCun, Cortes and Burges, 1998) has 60,000 training and 10,000 test images of 28×28 grey levels, white on
    black. The last 5,000 training images become the validation set.

    Args:
        source: "local" takes `mnist.npz` from `$ATELIER_DATA` or `data/cache/`; "download" takes it from Keras' cache
            or from the network; "synthetic" draws digits from fonts; "auto" tries these in turn and prints one line
            when it has to draw.

    Returns:
        A `Dataset`; images `(n, 28, 28)`.

    Raises:
        DatasetError: if the file is damaged or is not MNIST, or if the source asked for is not there.
    """
    if source not in SOURCES:
        raise DatasetError(f"source={source!r} is not known. Choose one of {', '.join(map(repr, SOURCES))}.")
    names = tuple("0123456789")
    why = []
    if source in ("auto", "local"):
        path = storage.find_local("mnist.npz")
        if path is not None:
            return _dataset("MNIST", "local", names, *read_npz(path, (28, 28), len(names)))
        why.append(_why_not_local("mnist.npz"))
    if source in ("auto", "download"):
        try:
            path = _downloaded_mnist(again=source == "download")
            return _dataset("MNIST", "download", names, *read_npz(path, (28, 28), len(names)))
        except OSError as error:
            why.append(f"no download: {error}")
    if source in ("local", "download"):
        raise DatasetError(
            f"MNIST is not available with source={source!r}: {why[0]}. "
            "Copy mnist.npz to data/cache/, or to a folder that the variable ATELIER_DATA names, or use source='auto'."
        )
    if source == "auto":
        print(f"MNIST is not on this machine ({'; '.join(why)}): drawn digits stand in for it.")
    return _dataset("MNIST", "synthetic", names, *synthetic.cached(synthetic.digits))


def _why_not_local(name):
    """Say in a few words, and without a path of this machine, why no local file was found."""
    if not all(folder.is_dir() or folder == storage.CACHE for folder in storage.search_folders()):
        return f"{storage.VARIABLE} names a folder that is not there"
    return f"no local file {name}"


def _downloaded_mnist(again):
    """Return MNIST's path in Keras' cache or, after a download, in `data/cache/`; raise `OSError` if it has none."""
    kept = storage.keras_home() / "datasets" / "mnist.npz"
    if kept.is_file():
        return kept
    if MNIST_URL in _unreachable and not again:
        raise _unreachable[MNIST_URL]
    try:
        patience = 10.0 if again else 2.0  # seconds for an answer; "auto" has something to fall through to
        storage.download(MNIST_URL, storage.CACHE / "mnist.npz", MNIST_SHA256, patience)
    except OSError as error:
        _unreachable[MNIST_URL] = error
        raise
    return storage.CACHE / "mnist.npz"


def read_npz(path, shape, classes):
    """Read the arrays `x_train y_train x_test y_test` of a `.npz` file and check each of them.

    Args:
        path: the file.
        shape: the shape of one image, for example `(28, 28)`.
        classes: the number of classes; labels run from 0 to `classes - 1`.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 `(n, *shape)`, labels int64 `(n,)`.

    Raises:
        DatasetError: if the file is truncated, corrupted, holds pickled objects, or holds other arrays than these.
    """
    arrays = _open_npz(path, ("x_train", "y_train", "x_test", "y_test"))
    for part in ("train", "test"):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if images.dtype != np.uint8 or images.shape[1:] != shape or images.ndim != 1 + len(shape):
            expected = f"uint8 images of shape (n, {', '.join(map(str, shape))}), 0–255"
            raise _broken(path, f"x_{part} is {images.dtype} of shape {images.shape}; expected are {expected}")
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (len(images),):
            expected = f"integers of shape ({len(images)},), one for each image"
            raise _broken(path, f"y_{part} is {labels.dtype} of shape {labels.shape}; expected are {expected}")
        if len(images) < classes:
            raise _broken(path, f"x_{part} holds {len(images)} images; expected are at least {classes}")
        if labels.min() < 0 or labels.max() >= classes:
            found = f"{labels.min()} to {labels.max()}"
            raise _broken(path, f"y_{part} holds labels {found}; expected are 0 to {classes - 1}")
        arrays[f"y_{part}"] = labels.astype(np.int64)
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])


def _open_npz(path, keys):
    """Return the named arrays of an archive; never unpickle, and turn every way to fail into a `DatasetError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LARGEST_ARCHIVE:
            raise _broken(path, f"it unpacks to {size / 2**20:,.0f} MiB, more than such a dataset can have")
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive.files]
            if missing:
                raise _broken(path, f"it has no array {missing[0]!r}; it holds {', '.join(archive.files) or 'nothing'}")
            return {key: archive[key] for key in keys}
    except DatasetError:
        raise
    except PermissionError as error:
        raise _broken(path, "this account may not read it") from error
    except ARCHIVE_ERRORS as error:
        if "allow_pickle" in str(error):
            raise _broken(path, "it holds pickled objects, which could run any code and are never loaded") from error
        raise _broken(path, f"it is truncated or is no .npz archive ({error})") from error


def _broken(path, problem):
    return DatasetError(f"{path} cannot be used: {problem}. Delete it and fetch or copy it again.")


def _dataset(name, source, class_names, train, test):
    """Split the training images in two and put the parts together."""
    images, labels = train
    held_out = VALIDATION if len(images) >= 10 * VALIDATION else len(images) // 10
    training, validation = (images[:-held_out], labels[:-held_out]), (images[-held_out:], labels[-held_out:])
    return Dataset(*training, *validation, *test, class_names, source, name)
