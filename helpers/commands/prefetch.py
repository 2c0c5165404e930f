"""Fetch and verify every dataset and weight file once, for a class that will be offline.

The files go to data/cache/, or to a folder of your choice, which ATELIER_DATA can name afterwards. What is there and
verified stays as it is; what another folder or Keras' cache holds is copied; after a download that breaks off, run the
command again, and it goes on where it stopped. One file that fails does not stop the others.

The weights of MobileNetV2 are not among them, because Keras publishes no checksum of theirs; data/README.md says how to
get them.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers import backbones, datasets, storage
from helpers.commands import _resumable

SETS = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10}


@dataclass(frozen=True)
class Wanted:
    """A file to fetch.

    Attributes:
        name: what `--only` calls it.
        file: its name in the folder.
        size: in words.
        url: where it comes from.
        digest: its SHA-256 or, where that is all that is published, its MD5.
        kept: other names, below Keras' cache, under which Keras keeps the same file.
        local: names of files that do instead, if `read` takes them.
        read: raises `DatasetError` for a file that is no such dataset; None for weights.
    """

    name: str
    file: str
    size: str
    url: str
    digest: str
    kept: tuple
    local: tuple = ()
    read: Callable | None = None


def wanted():
    """Return `{name: Wanted}` for every dataset and every network of which a checksum is published."""
    found = {}
    for name, kind in SETS.items():
        kept = tuple(f"datasets/{file}" for file in kind.kept)
        found[name] = Wanted(name, kind.published, kind.size, kind.url, kind.digest, kept, kind.local, kind.read)
    for name, recipe in backbones.RECIPES.items():
        if recipe.md5:
            kept = (f"models/{recipe.file}",)
            found[name] = Wanted(name, recipe.file, recipe.size, recipe.address, recipe.md5, kept)
    return found


def add_arguments(parser):
    """Add the options."""
    names = list(wanted())
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    parser.add_argument("--folder", type=Path, help="where the files go (default: data/cache/)")
    parser.add_argument("--list", action="store_true", help="say what would be fetched, from where, and fetch nothing")


def run(arguments):
    """Fetch what is asked for; return 1 if something is missing at the end."""
    chosen = [item for item in wanted().values() if not arguments.only or item.name in arguments.only]
    if arguments.list:
        for item in chosen:
            algorithm = "MD5" if len(item.digest) == 32 else "SHA-256"
            print(f"{item.name}: {item.file}, {item.size}\n  {item.url}\n  {algorithm} {item.digest}")
        return 0
    folder = arguments.folder.expanduser().resolve() if arguments.folder else storage.CACHE
    try:
        with _resumable.alone_in(folder):
            rows = [(item, *attempt(item, folder)) for item in chosen]
    except OSError as error:
        print(f"Nothing was fetched: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What came so far is kept: run this again to go on.", file=sys.stderr)
        return 130
    return summary(rows, folder)


def attempt(item, folder):
    """Return `(path, state)` of a file: its path, or None if it is not there now, and in words what was done."""
    try:
        return obtain(item, folder)
    except OSError as error:
        return None, f"FAILED: {error}"


def obtain(item, folder):
    """See to it that a verified file is in `folder`; return its path and, in words, what was done.

    Raises:
        OSError: if it is not; what was there is as it was.
    """
    path = folder / item.file
    if path.is_file() and storage.matches(path, item.digest):
        return path, "was there, verified"
    for name in item.local:
        if (folder / name).exists() and _reads(item, folder / name):
            return folder / name, "was there, not the published file, but sound"
    wrong = "; the file that was there is not the published one" * path.exists()
    for other in _elsewhere(item):
        if other.is_file() and other != path and storage.matches(other, item.digest):
            with storage.whole_file(path) as partial:
                shutil.copyfile(other, partial)
            return path, f"copied, verified{wrong}"
    try:
        resumed = _resumable.fetch(item.url, path, item.digest, item.name)
    except storage.DownloadError as error:
        raise storage.DownloadError(f"{error}{wrong}") from error
    return path, f"{'resumed' if resumed else 'fetched'}, verified{wrong}"


def _reads(item, path):
    """Return whether a file of another name or checksum is the dataset all the same."""
    try:
        item.read(path)
    except datasets.DatasetError:
        return False
    return True


def _elsewhere(item):
    """Return the paths, in other folders of this machine, at which the same file may lie."""
    return [folder / item.file for folder in storage.search_folders()] + [
        storage.keras_home() / name for name in item.kept
    ]


def summary(rows, folder):
    """Print a table of `(item, path or None, state)` and what to do next; return 1 if a file is missing."""
    names = [path.name if path else item.file for item, path, _ in rows]
    first = f"file in {_shown(folder)}"
    width = max(map(len, (first, *names)))
    print(f"{'what':<12}  {'size':>8}  {first:<{width}}  state")
    for (item, path, state), name in zip(rows, names, strict=True):
        size = f"{path.stat().st_size / 1e6:.1f} MB" if path and path.is_file() else item.size
        print(f"{item.name:<12}  {size:>8}  {name:<{width}}  {state}")
    missing = [item.name for item, path, _ in rows if path is None]
    print(f"{len(rows) - len(missing)} of {len(rows)} are there." + f" Missing: {', '.join(missing)}." * bool(missing))
    if len(missing) < len(rows) and folder not in (path.resolve() for path in storage.search_folders()):
        print(f"Set {storage.VARIABLE}={folder} before Jupyter is started, and the notebooks find them.")
    return int(bool(missing))


def _shown(folder):
    return str(folder.relative_to(storage.PROJECT)) if folder.is_relative_to(storage.PROJECT) else str(folder)
