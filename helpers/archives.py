"""Reading what strangers packed: pickles that can only be data, and archives that stay in their folder.

A pickle is a program: `pickle.load` calls whatever function it names. `unpickle` lets it name none but those that
put a NumPy array together.
"""

import pickle
import tarfile
import tokenize
import zipfile
import zlib

import numpy as np

try:
    from lzma import LZMAError
except ImportError:  # some Pythons are built without it; zipfile then raises this
    LZMAError = RuntimeError

# What NumPy and zipfile raise, between them, for a damaged archive. An array that is missing is a KeyError besides.
ARCHIVE_ERRORS = (
    OSError, ValueError, TypeError, EOFError, MemoryError, OverflowError, RuntimeError, SyntaxError,
    tokenize.TokenError, LZMAError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class ArchiveError(ValueError):
    """A pickle or an archive that is damaged, or that asks for what data never need."""


def _latin1(text, encoding):
    """How Python 3 writes bytes into an old pickle; the real `_codecs.encode` knows other encodings too."""
    if encoding != "latin1":
        raise ArchiveError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def _allowed():
    """Return what a pickled array may name, by module and name, under NumPy 1's names and NumPy 2's."""
    reconstruct, (rebuild, *_) = np.zeros(0).__reduce__()[0], np.zeros(0).__reduce_ex__(5)
    allowed = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _latin1}
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = reconstruct
        allowed[f"{core}.numeric", "_frombuffer"] = rebuild
    return allowed


class _DataUnpickler(pickle.Unpickler):
    allowed = _allowed()

    def find_class(self, module, name):
        try:
            return self.allowed[module, name]
        except KeyError:
            raise ArchiveError(f"it asks for {module}.{name}, which is no data and could run any code") from None


def unpickle(path):
    """Return what a pickle holds: arrays, lists, tuples, dicts, texts, bytes and numbers; nothing else is ever called.

    Texts that Python 2 wrote come back as bytes.

    Raises:
        ArchiveError: if it is damaged, or asks for anything else.
        OSError: if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return _DataUnpickler(file, encoding="bytes").load()
    except (ArchiveError, OSError):
        raise
    except Exception as error:  # what a damaged pickle raises is anything
        raise ArchiveError(f"{path.name} is damaged ({type(error).__name__})") from error


def extract(path, folder, largest):
    """Extract a tar archive, compressed or not, into `folder`, by the rules of `tarfile.data_filter` (PEP 706).

    Nothing is written outside the folder, no link leads out of it, and there are no devices in it.

    Args:
        path: the archive.
        folder: where its files go.
        largest: bytes that it may unpack to.

    Raises:
        ArchiveError: if it is damaged, too large, or has a member that breaks the rules.
        OSError: if it cannot be read, or the disk is full.
    """
    if not hasattr(tarfile, "data_filter"):
        raise ArchiveError("this Python extracts no archive safely; Python 3.11.4 or newer does")
    try:
        with tarfile.open(path) as archive:
            size = sum(member.size for member in archive)
            if size > largest:
                raise ArchiveError(f"it unpacks to {size / 2**20:,.0f} MiB, more than such a dataset can have")
            archive.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise ArchiveError(f"its member {error.tarinfo.name!r} breaks the rules: {type(error).__name__}") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ArchiveError(f"it is truncated or is no archive ({error})") from error


def load_arrays(path):
    """Return the arrays of a `.npz` file, `{name: array}`, of which every byte was checked.

    `np.load` alone stops where an array's own header says, and so misses a header that is wrong.

    Raises:
        ARCHIVE_ERRORS: if the file is damaged or no such archive, or an array needs a pickle.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} has another checksum than it should")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
