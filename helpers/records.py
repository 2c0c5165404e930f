"""Recorded runs: what a long run reached, on which machine, when, and with which versions. Kept in `data/runs/`."""

import datetime
import json
import platform

from helpers.files import DATA, whole_file
from helpers.notebook import usable_cores

RUNS = DATA / "runs"


def save_run(name, data, record):
    """Write `record`, a dict of what JSON can hold, to `data/runs/<name>.json`, with date, machine and versions.

    `data` is the `Dataset` of the run. Nothing is written for a synthetic one: it would not be comparable.
    """
    if data.source == "synthetic":
        print(f"Nothing is recorded: data/runs/{name}.json is about {data.name}, not about synthetic images.")
        return
    import keras
    import tensorflow

    versions = {"tensorflow": tensorflow.__version__, "keras": keras.__version__}
    record = record | {
        "date": datetime.date.today().isoformat(),
        "machine": f"{usable_cores()} cores, {_cpuinfo('model name') or platform.processor() or platform.machine()}",
        "versions": {"python": platform.python_version()} | versions,
    }
    with whole_file(RUNS / f"{name}.json") as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


def recorded(beginning=""):
    """Return the names of the recorded runs that begin so, in alphabetical order."""
    return sorted(path.stem for path in RUNS.glob(f"{beginning}*.json") if path.name[0] != ".")


def load_run(name):
    """Return the run recorded as `name`, a dict; raise `FileNotFoundError`, with the names, if there is none."""
    path = RUNS / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"No run is recorded as {name!r}. Recorded are: {', '.join(recorded()) or 'none'}.")
    return json.loads(path.read_text())


def processor_flags():
    """Return the processor's abilities as Linux names them, a set of words such as "avx2"; elsewhere an empty set."""
    return set(_cpuinfo("flags").split())


def _cpuinfo(entry):
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith(entry))
    except (OSError, StopIteration):
        return ""
