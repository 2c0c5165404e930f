"""Download and verify every dataset and weight file once, for a class that will be offline.

The files go to data/cache/, or to a folder of your choice, which ATELIER_DATA can name afterwards. Files that are there
and verified are left alone. If a download breaks off, run the command again, and it continues from there. One file that
fails does not stop the others.

The weights of MobileNetV2 are not among them, because Keras publishes no checksum for them; data/README.md says how to
get them.
"""

from pathlib import Path

from helpers import backbones, datasets, files


def wanted():
    """Return `{name: (url, digest, size in words)}` for every dataset and every network with a published checksum."""
    sets = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10}
    networks = {name: recipe for name, recipe in backbones.RECIPES.items() if recipe.md5}
    return {name: (one.url, one.digest, one.size) for name, one in sets.items()} | {
        name: (recipe.address, recipe.md5, recipe.size) for name, recipe in networks.items()
    }


def add_arguments(parser):
    """Add the options."""
    names = list(wanted())
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    parser.add_argument("--folder", type=Path, help="where the files go (default: data/cache/)")
    parser.add_argument("--list", action="store_true", help="list what would be downloaded, and download nothing")


def run(arguments):
    """Download the chosen files and print a table of them; return 1 if one is missing at the end."""
    chosen = {name: one for name, one in wanted().items() if not arguments.only or name in arguments.only}
    folder = (arguments.folder or files.CACHE).expanduser().resolve()
    missing = []
    for name, (url, digest, size) in chosen.items():
        path = folder / url.rpartition("/")[2]
        if arguments.list:
            print(f"{name}: {path.name}, {size}\n  {url}\n  {'MD5' if len(digest) == 32 else 'SHA-256'} {digest}")
            continue
        try:
            there = path.is_file() and files.matches(path, digest)
            files.download(url, path, digest, answer_within=15.0)
            state = "already there, verified" if there else "downloaded, verified"
        except OSError as error:
            missing.append(name)
            state = f"FAILED: {error}"
        print(f"{name:<12}  {size:>8}  {path.name}: {state}", flush=True)
    if arguments.list:
        return 0
    note = f" Missing: {', '.join(missing)}." if missing else ""
    print(f"{len(chosen) - len(missing)} of {len(chosen)} files are in {folder}.{note}")
    if folder not in (known.resolve() for known in files.search_folders()):
        print(f"Set {files.VARIABLE}={folder} before Jupyter is started, and the notebooks find them.")
    return int(bool(missing))
