"""Labelled pictures for the classifiers: real ones where they can be had, drawn stand-ins where not.

`load_mnist()` looks for a local file, then downloads, then draws; `Dataset.source` tells which it was. A file that is
there but cannot be used is an error, never a reason to fall through.
"""

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import archives, storage, synthetic
from helpers.image_files import export_image_folder, read_tfrecords, write_tfrecords
from helpers.storage import DatasetError

__all__ = [
    "Dataset",
    "DatasetError",
    "export_image_folder",
    "load_cifar10",
    "load_mnist",
    "read_npz",
    "read_tfrecords",
    "write_tfrecords",
]

SOURCES = ("auto", "local", "download", "synthetic")
VALIDATION = 5000  # images of the training set that are held out of the 50,000 or more that it has
BATCHES = "cifar-10-batches-py"  # the folder in the archive that CIFAR-10's author publishes
LARGEST_ARCHIVE = 2**30  # bytes unpacked; CIFAR-10 is 184 MB

_unreachable = {}  # why a download failed in this process: asking again would only wait again


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
            or from the network, and prints one line when that begins; "synthetic" draws digits from fonts; "auto"
            tries these in turn and prints one line when it has to draw.

    Returns:
        A `Dataset`; images `(n, 28, 28)`.

    Raises:
        DatasetError: if the file is damaged or is not MNIST, or if the source asked for is not there.
    """
    return _load(MNIST, source)


def load_cifar10(source="auto"):
    """Return small colour photographs of ten classes: CIFAR-10, or drawn shapes where CIFAR-10 cannot be had.

    CIFAR-10 (Krizhevsky, 2009) has 50,000 training and 10,000 test images of 32×32 RGB. The last 5,000 training images
    become the validation set.

    Args:
        source: as for `load_mnist`. "local" takes `cifar10.npz`, or the files that its author publishes,
            `cifar-10-python.tar.gz` or the folder `cifar-10-batches-py`; "synthetic" draws shapes, which have ten
            classes of their own.

    Returns:
        A `Dataset`; images `(n, 32, 32, 3)`.

    Raises:
        DatasetError: as for `load_mnist`.
    """
    return _load(CIFAR10, source)


@dataclass(frozen=True)
class _Kind:
    """What is known of one dataset: where it comes from, what is in it, and what stands in for it."""

    name: str
    local: tuple  # file or folder names, the first that is there is taken
    kept: tuple  # the same in Keras' cache
    url: str
    size: str  # of the file at `url`
    digest: str
    shape: tuple
    class_names: tuple
    draw: object
    drawn_names: tuple
    drawn: str

    @property
    def published(self):
        """The name of the file at `url`."""
        return self.url.rpartition("/")[2]

    def read(self, path):
        """Return `(x_train, y_train), (x_test, y_test)` of a file or folder; raise `DatasetError` if it is damaged."""
        if path.suffix == ".npz":
            return read_npz(path, self.shape, len(self.class_names))
        return read_batches(path, len(self.class_names))


MNIST = _Kind(
    name="MNIST",
    local=("mnist.npz",),
    kept=("mnist.npz",),
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    size="11.5 MB",
    digest="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    shape=(28, 28),
    class_names=tuple("0123456789"),
    draw=synthetic.digits,
    drawn_names=tuple("0123456789"),
    drawn="drawn digits",
)
CIFAR10 = _Kind(
    name="CIFAR-10",
    local=("cifar10.npz", BATCHES, "cifar-10-python.tar.gz"),
    kept=(f"{BATCHES}-target/{BATCHES}", BATCHES, f"{BATCHES}.tar.gz"),  # newer, older and oldest releases of Keras
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    size="170.5 MB",
    digest="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    shape=(32, 32, 3),
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    draw=synthetic.shapes,
    drawn_names=synthetic.SHAPES,
    drawn="drawn shapes",
)


def _load(kind, source):
    """Return the dataset from the first place that has it, of those that `source` allows."""
    if source not in SOURCES:
        raise DatasetError(f"source={source!r} is not known. Choose one of {', '.join(map(repr, SOURCES))}.")
    why = []
    if source in ("auto", "local"):
        path = storage.find_local(*kind.local)
        if path is not None:
            return _dataset(kind.name, "local", kind.class_names, *kind.read(path))
        why.append(_why_not_local(kind.local[0]))
    if source in ("auto", "download"):
        try:
            path = _downloaded(kind, again=source == "download")
            return _dataset(kind.name, "download", kind.class_names, *kind.read(path))
        except OSError as error:
            why.append(f"no download: {error}")
    if source in ("local", "download"):
        raise DatasetError(
            f"{kind.name} is not available with source={source!r}: {why[0]}. Copy {kind.local[0]} to data/cache/, "
            "or to a folder that the variable ATELIER_DATA names, or use source='auto'."
        )
    if source == "auto":
        print(f"{kind.name} is not on this machine ({'; '.join(why)}): {kind.drawn} stand in for it.")
    return _dataset(kind.name, "synthetic", kind.drawn_names, *synthetic.cached(kind.draw))


def _why_not_local(name):
    """Say in a few words, and without a path of this machine, why no local file was found."""
    if not all(folder.is_dir() or folder == storage.CACHE for folder in storage.search_folders()):
        return f"{storage.VARIABLE} names a folder that is not there"
    return f"no local file {name}"


def _downloaded(kind, again):
    """Return its path in Keras' cache or, after a download, in `data/cache/`; raise `OSError` if it has none."""
    for name in kind.kept:
        if (kept := storage.keras_home() / "datasets" / name).exists():
            return kept
    path = storage.CACHE / kind.published
    if kind.url in _unreachable and not again:
        raise _unreachable[kind.url]
    try:
        patience = 10.0 if again else 2.0  # seconds for an answer; "auto" has something to fall through to
        storage.download(kind.url, path, kind.digest, patience, announce=_announcement(kind))
    except OSError as error:
        _unreachable[kind.url] = error
        raise
    return path


def _announcement(kind):
    return (
        f"Downloading {kind.name}, {kind.size}, once: it is kept in data/cache/. "
        f'To work with {kind.drawn} instead, interrupt this and load with source="synthetic".'
    )


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
    return _checked(path, _open_npz(path, ("x_train", "y_train", "x_test", "y_test")), shape, classes)


def read_batches(path, classes=10):
    """Read CIFAR-10 as its author publishes it: the folder `cifar-10-batches-py`, or the `.tar.gz` with that folder.

    The folder's files are pickles. They are read by an unpickler that knows arrays, lists, texts and numbers alone; the
    archive is extracted to a temporary folder, by rules that let no file out of it.

    Args:
        path: the folder or the archive.
        classes: the number of classes; labels run from 0 to `classes - 1`.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images uint8 `(n, 32, 32, 3)`, labels int64 `(n,)`.

    Raises:
        DatasetError: if a file is missing, damaged, or holds anything else.
    """
    try:
        if path.is_dir():
            arrays = _open_batches(path)
        else:
            with tempfile.TemporaryDirectory() as folder:
                archives.extract(path, folder, LARGEST_ARCHIVE)
                arrays = _open_batches(Path(folder) / BATCHES)
    except archives.ArchiveError as error:
        raise _broken(path, str(error)) from error
    except PermissionError as error:
        raise _broken(path, "this account may not read it") from error
    except archives.ARCHIVE_ERRORS as error:
        raise _broken(path, f"it is not complete ({type(error).__name__})") from error
    return _checked(path, arrays, (32, 32, 3), classes)


def _open_batches(folder):
    """Return the arrays of the six files, named as in a `.npz`: images as rows of 1024 red, green, then blue pixels."""
    arrays = {}
    for part, names in (("train", [f"data_batch_{i}" for i in range(1, 6)]), ("test", ["test_batch"])):
        pixels, labels = [], []
        for name in names:
            if not (folder / name).is_file():
                raise archives.ArchiveError(f"it has no file {BATCHES}/{name}")
            batch = archives.unpickle(folder / name)
            if not isinstance(batch, dict) or not {b"data", b"labels"} <= set(batch):
                raise archives.ArchiveError(f"{name} is no batch of CIFAR-10: it holds no data and labels")
            rows = np.asarray(batch[b"data"])
            if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
                problem = f"its images are {rows.dtype} of shape {rows.shape}; expected are uint8 rows of 3072"
                raise archives.ArchiveError(f"{name} is no batch of CIFAR-10: {problem}")
            pixels.append(rows)
            labels.append(np.asarray(batch[b"labels"]))
        images = np.concatenate(pixels).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[f"x_{part}"], arrays[f"y_{part}"] = np.ascontiguousarray(images), np.concatenate(labels)
    return arrays


def _checked(path, arrays, shape, classes):
    """Return `(x_train, y_train), (x_test, y_test)` if they are what is expected; otherwise raise `DatasetError`."""
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
    except archives.ARCHIVE_ERRORS as error:
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
