"""Files on this machine: where data are looked for, how they are written whole, how they are fetched.

Knows nothing of what is in the files.
"""

import errno
import hashlib
import http.client
import os
import re
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT / "data"
CACHE = DATA / "cache"
VARIABLE = "ATELIER_DATA"
_UMASK = os.umask(0)  # can only be read by setting it, which is safe while one thread is all there is
os.umask(_UMASK)

_FULL = "the disk is full. Free some space, or choose another folder."
_FORBIDDEN = "this account may not write there. Choose another folder."
_NO_FOLDER = "a part of its path is a file, where a folder should be. Choose another folder."
REASONS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "it is larger than files may be there. Choose another folder.",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EISDIR: "it is a folder. Give the name of a file.",
    errno.ENAMETOOLONG: "its name is too long. Choose a shorter one.",
}


class DownloadError(OSError):
    """A file could not be fetched; the message says why, in one line."""


class UnwritableError(OSError):
    """A file could not be written; the message says why and what to do. `errno` is the operating system's."""


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names the file, what is wrong, and what to do."""


def search_folders():
    """Return the folders in which local data are looked for, in order: `$ATELIER_DATA` if set, then `data/cache/`."""
    shared = os.environ.get(VARIABLE, "").strip()
    return ([Path(shared).expanduser()] if shared else []) + [CACHE]


def find_local(*names):
    """Return the path of the first of `names` that is a file or a folder in `search_folders()`, or None."""
    for folder in search_folders():
        for name in names:
            if (folder / name).exists():
                return folder / name
    return None


def keras_home():
    """Return the folder in which Keras keeps what it fetched: `$KERAS_HOME` if set, else `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME", "").strip() or Path.home() / ".keras").expanduser()


def sha256(path):
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches(path, digest):
    """Return whether a file has this SHA-256 (64 hexadecimal digits) or MD5 (32 of them)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5" if len(digest) == 32 else "sha256").hexdigest() == digest


@contextmanager
def whole_file(path, ending=None):
    """Give a temporary path beside `path` to write to; move it there at the end, so that `path` is never half a file.

    Two processes that write the same file at once do not disturb each other. If the block raises, the temporary file is
    removed and `path` stays as it was. A process that is killed meanwhile leaves a file whose name begins with a dot.

    Args:
        path: of the file.
        ending: how the temporary name ends. Default: as `path` does, because some writers go by it.

    Raises:
        UnwritableError: if the disk is full, or a file cannot be written there.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=ending or path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes it private; a shared folder needs the usual permissions
        temporary.replace(path)
    except OSError as error:
        if error.errno not in REASONS:
            raise
        told = UnwritableError(f"{path} cannot be written: {in_words(error)}")
        told.errno = error.errno
        raise told from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def in_words(error):
    """Return why a file could not be written, an `OSError`, and what to do."""
    return REASONS.get(error.errno) or f"{error.strerror or error}. Choose another folder."


def download(url, path, digest, answer_within=4.0, stall=10.0, announce=None):
    """Fetch `url` over HTTPS to `path`, whole and with the right `digest`, or raise `DownloadError` and leave no file.

    Args:
        url: an `https://` address. It may lead to another one (a redirect), which has to be `https://` too.
        path: where the file goes.
        digest: its SHA-256, 64 hexadecimal digits, or its MD5, 32 of them, where that is all that is published.
        answer_within: seconds for the name to resolve, the connection to open and the first bytes to come. A network
            that swallows packets costs this much and no more.
        stall: seconds without a byte, once the file is coming, after which the download is given up.
        announce: one line to print once the server has answered, and so never where there is no network.
    """
    _check_https(url)
    if not re.fullmatch("[0-9a-f]{64}|[0-9a-f]{32}", str(digest)):
        raise DownloadError(f"{digest!r} is no SHA-256 or MD5 to know the right file by, so nothing is fetched")
    response = _open(url, answer_within, stall)
    if announce:
        print(announce, flush=True)
    try:
        with response, whole_file(path) as partial:
            with open(partial, "wb") as file:
                while block := response.read(1 << 16):
                    file.write(block)
            if not matches(partial, digest):
                raise DownloadError(f"what came from {url} is not the file that was expected (its checksum differs)")
    except DownloadError:
        raise
    except UnwritableError as error:
        raise DownloadError(f"{Path(path).name} cannot be kept: {in_words(error)}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{_host(url)}: {error}") from error


def _check_https(url):
    if not str(url).startswith("https://"):
        raise DownloadError(f"{url} is not an https:// address")


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to `https://` alone; Python's own handler would go on to `http://`."""

    def redirect_request(self, request, file, code, message, headers, newurl):
        _check_https(newurl)
        return super().redirect_request(request, file, code, message, headers, newurl)


def _host(url):
    return urllib.parse.urlsplit(url).hostname


def _open(url, answer_within, stall, start=0):
    """Open `url` in a thread of its own, because a stuck name lookup obeys no time-out; return the response.

    With a `start`, ask for the bytes from there on; a server may answer with all of them nevertheless.
    """
    outcome = {}
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})

    def connect():
        try:
            outcome["response"] = urllib.request.build_opener(_SecureRedirects).open(request, timeout=answer_within)
        except Exception as error:  # whatever it is, it is reported in the caller's thread
            outcome["error"] = error

    started = time.monotonic()
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(answer_within)
    if "response" in outcome:
        response = outcome["response"]
        _set_timeout(response, stall)
        return response
    if "error" in outcome:
        reason = getattr(outcome["error"], "reason", None) or outcome["error"]
        raise DownloadError(f"{_host(url)}: {reason}") from outcome["error"]
    raise DownloadError(f"{_host(url)}: no answer in {time.monotonic() - started:.0f} s")


def _set_timeout(response, seconds):
    """Give the open connection its longer time-out; a response without a socket of its own keeps the first one."""
    socket = getattr(getattr(getattr(response, "fp", None), "raw", None), "_sock", None)
    if socket is not None:
        socket.settimeout(seconds)
