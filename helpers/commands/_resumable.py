"""Downloads that go on where they broke off: what `prefetch` needs and a notebook does not."""

import http.client
import os
import urllib.error
from contextlib import contextmanager

from tqdm.auto import tqdm

from helpers import storage
from helpers.storage import DownloadError

ANSWER_WITHIN = 15.0  # seconds for the first bytes
STALL = 30.0  # seconds without a byte


def fetch(url, path, digest, label):
    """Fetch `url` over HTTPS to `path`, with a progress bar; keep what came if it breaks off, and go on from there.

    What has come so far lies beside `path`, hidden, as `.NAME.part`; it gets its name once it is whole and verified.

    Args:
        url: an `https://` address.
        path: where the file goes; a file that is there is replaced at the end.
        digest: its SHA-256, or its MD5, as `storage.matches` takes it.
        label: what the progress bar is called.

    Returns:
        True if it went on with what had come earlier.

    Raises:
        DownloadError: if it breaks off, or if what came is not that file; the latter is deleted.
    """
    if not url.startswith("https://"):
        raise DownloadError(f"{url} is not an https:// address")
    part = path.with_name(f".{path.name}.part")
    start = part.stat().st_size if part.exists() else 0
    if not start or not storage.matches(part, digest):
        start = _receive(url, part, start, label)
    if not storage.matches(part, digest):
        part.unlink()
        raise DownloadError(f"what came from {url} is not the file that was expected (its checksum differs)")
    part.replace(path)
    return start > 0


def _receive(url, part, start, label):
    """Append to `part` what is missing of it; return the byte at which the server began."""
    try:
        response = storage._open(url, ANSWER_WITHIN, STALL, start)
    except DownloadError as error:
        if start and isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == 416:
            return _receive(url, part, 0, label)  # there is no such byte: the part is of another file
        raise
    with response:
        if start and response.status != 206:  # the server cannot begin there
            start = 0
        length = response.headers.get("Content-Length")
        whole = start + int(length) if length else None
        scale = {"unit": "B", "unit_scale": True, "disable": None, "leave": False}
        with open(part, "ab" if start else "wb") as file, tqdm(total=whole, initial=start, desc=label, **scale) as bar:
            try:
                while block := response.read(1 << 16):
                    bar.update(file.write(block))
            except (OSError, http.client.HTTPException) as error:
                raise DownloadError(f"{error or type(error).__name__}; {_kept(file, whole)}") from error
            if whole is not None and file.tell() < whole:
                raise DownloadError(f"the connection was closed; {_kept(file, whole)}")
    return start


def _kept(file, whole):
    of = f" of {whole / 1e6:.1f}" if whole else ""
    return f"{file.tell() / 1e6:.1f}{of} MB came and are kept: run this again to go on"


@contextmanager
def alone_in(folder):
    """Make a folder and keep a second process out of it for as long as the block runs, where the system can do that.

    Raises:
        DownloadError: if another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows, which lets nobody replace a file that is open
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(f"{folder}: another prefetch is at work there") from None
        except OSError:  # a network folder without locks
            pass
        yield
    finally:
        os.close(handle)
