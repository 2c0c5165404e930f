"""Files on this machine: where they are looked for, written whole, read without running code, and downloaded.

Knows nothing about what the files contain.
"""

import io
import os
import re
import tempfile
import threading
import zipfile
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import numpy as np
from pooch import HTTPDownloader, file_hash

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT / "data"
CACHE = DATA / "cache"
VARIABLE = "ATELIER_DATA"
SCHEME = "https"  # the only one that is fetched from, redirects included
STALL = 10.0  # seconds without a byte after which a download is given up
_UMASK = os.umask(0)  # can only be read by setting it, which is safe while there is only one thread
os.umask(_UMASK)


class DownloadError(OSError):
    """A file could not be downloaded; the message says why, in one line."""


class UnwritableError(OSError):
    """A file could not be written; the message says which, why and what to do."""


class ArraysError(ValueError):
    """A `.npz` file that is missing, damaged, or holds something other than the arrays asked for."""


ARCHIVE_ERRORS = (ArraysError, OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)  # of a damaged archive


def search_folders():
    """Return the folders that are searched for local data, in order: `$ATELIER_DATA` if set, then `data/cache/`."""
    shared = os.environ.get(VARIABLE, "").strip()
    return ([Path(shared).expanduser()] if shared else []) + [CACHE]


def find_local(*names):
    """Return the path of the first of `names` that is a file or folder in `search_folders()`, or None."""
    paths = (folder / name for folder in search_folders() for name in names)
    return next((path for path in paths if path.exists()), None)


def keras_home():
    """Return the folder where Keras keeps its downloads: `$KERAS_HOME` if set, else `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME", "").strip() or Path.home() / ".keras").expanduser()


@contextmanager
def whole_file(path):
    """Give a temporary path beside `path` to write to, and move it to `path` at the end: `path` is never half a file.

    Two processes can write the same file at once. If the block raises, `path` stays as it was. A process that is
    killed leaves a temporary file whose name begins with a dot.

    Raises:
        UnwritableError: if the disk is full, or files cannot be written there.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes it private; a shared folder needs the usual permissions
        temporary.replace(path)
    except OSError as error:
        if error.errno is None:  # not from the operating system
            raise
        remedy = "Free some space, or choose another file name or folder."
        raise UnwritableError(f"{path} cannot be written: {error.strerror}. {remedy}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def load_arrays(path, names=None):
    """Return the arrays of a `.npz` file, `{name: array}`; all of them, or those in `names`.

    Every byte is checked, which `np.load` alone does not do, and nothing is unpickled: a pickle can run any code.

    Raises:
        ArraysError: if the file is missing or damaged, lacks one of the arrays, or holds anything but plain arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()] if names is None else names
            members = ((name, io.BytesIO(archive.read(f"{name}.npy"))) for name in names)
            return {name: np.lib.format.read_array(member, allow_pickle=False) for name, member in members}
    except Exception as error:  # a damaged file can raise anything
        expected = f"with the arrays {', '.join(names)}" if names else "of arrays"
        raise ArraysError(f"{Path(path).name} is not a sound .npz file {expected} ({error})") from error


def matches(path, digest):
    """Return whether a file has this SHA-256 (64 hexadecimal digits) or MD5 (32 of them)."""
    return file_hash(path, "md5" if len(digest) == 32 else "sha256") == digest


def download(url, path, digest, answer_within=4.0, announce=None):
    """Download `url` over HTTPS to `path`, with a progress bar, unless a file with this `digest` is there already.

    If it breaks off, the bytes received so far are kept beside `path`, and the next call continues from there.

    Args:
        url: an `https://` address. If it redirects, it must redirect to `https://`.
        path: where the file goes.
        digest: its SHA-256, 64 hexadecimal digits; or its MD5, 32 of them, if nothing better is published.
        answer_within: seconds to look up the name, connect and get an answer.
        announce: a line to print once the server has answered.

    Raises:
        DownloadError: if `path` does not hold the verified file at the end.
    """
    path = Path(path)
    if urlsplit(str(url)).scheme != SCHEME:
        raise DownloadError(f"{url} is not an {SCHEME}:// address")
    if not re.fullmatch("[0-9a-f]{64}|[0-9a-f]{32}", str(digest)):
        raise DownloadError(f"{digest!r} is not a SHA-256 or MD5, so the file could not be verified")
    if path.is_file() and matches(path, digest):
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with whole_file(path) as partial:
            with suppress(FileNotFoundError):
                part.replace(partial)  # moved, so that two processes never continue the same one
            try:
                if not matches(partial, digest):
                    _transfer(url, partial, answer_within, announce)
            except BaseException:  # an interruption too
                if partial.stat().st_size:
                    partial.replace(part)
                raise
            if not matches(partial, digest):
                raise DownloadError("it sent something other than the expected file (its checksum differs)")
    except UnwritableError as error:
        raise DownloadError(str(error)) from error
    except OSError as error:
        raise DownloadError(f"{urlsplit(url).hostname}: {_reason(error)}") from error


def _transfer(url, path, answer_within, announce):
    """Append to `path` what is missing, in a thread of its own: a stuck name lookup obeys no timeout."""
    answered, failures = threading.Event(), []
    headers = {"Accept-Encoding": "identity"}
    if start := path.stat().st_size:
        headers["Range"] = f"bytes={start}-"
    with open(path, "ab") as file:

        def heard(response, **settings):  # for each response, redirects included, before anything is done with it
            target = urljoin(response.url, response.headers.get("location", ""))
            if urlsplit(target).scheme != SCHEME:
                raise DownloadError(f"it redirects to {target}, which is not an {SCHEME}:// address")
            if response.status_code in (200, 416):  # the whole file comes, or ours is too long: begin again
                file.truncate(0)
            if announce and response.ok and not response.is_redirect:
                print(announce, flush=True)
            answered.set()

        def fetch():
            settings = {"timeout": (answer_within, STALL), "headers": headers, "hooks": {"response": heard}}
            try:
                HTTPDownloader(progressbar=True, chunk_size=1 << 16, **settings)(url, file, None)
            except Exception as error:  # whatever it is, it is reported in the caller's thread
                failures.append(error)
            answered.set()

        thread = threading.Thread(target=fetch, daemon=True)
        thread.start()
        if not answered.wait(answer_within):
            raise DownloadError(f"no answer in {answer_within:g} s")
        while thread.is_alive():
            thread.join(0.2)  # in short waits, so that it can be interrupted; the thread then finds its file closed
        if failures:
            raise failures[0]


def _reason(error):
    """Return the innermost cause of an error in a few words."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
