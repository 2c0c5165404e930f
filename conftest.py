"""How the tests run: each worker on a core of its own, and notebooks under nbval, stricter about what a reader sees.

nbval compares the outputs of a cell letter by letter, or, with the tag `nbval-ignore-output`, not at all. Here, every
cell must also show the kinds of output that are stored, and write nothing to standard error. Its figures must look like
the stored ones where they are repeatable, and hold something elsewhere. A notebook stops at its first failing cell.
After its last cell, the solutions that its exercises fold away run in the same kernel.
"""

import base64
import io
import os
import re
from collections import defaultdict

import nbformat
import numpy as np
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile
from PIL import Image

REPEATABLE = 4  # figures of this notebook and the later ones are the same in every run, up to rounding
MEAN, MOST = 4.5, 64.0  # grey levels by which 16×16 thumbnails of them may differ, on average and anywhere
LEAST = 0.25  # share of a stored figure's pixels that are not white: the other figures must have so much of it
NETWORK = "mini_vgg_robust"  # made the stored figures; with another one, figures are not compared
SOLUTIONS = {  # parameters with which solutions run, so that they take seconds
    "01_mnist_cnn": {"GENERATIONS": 60},
    "02_cifar10_cnn": {"GENERATIONS": 30},
    "03_fine_tuning": {"HEAD_EPOCHS": 10},
    "04_style_transfer": {"TRIAL_STEPS": 4},
}

if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # "gw0" or "gw1"; here, before anything starts a thread
    os.environ |= dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker[2:]) % len(cores)]})


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    """Put `Notebook` in the place of nbval's collector."""
    collected = yield
    return [Notebook.from_parent(parent, path=one.path) if type(one) is IPyNbFile else one for one in collected]


def pytest_collection_modifyitems(items):
    """Mark notebooks and the browser's tests as slow, and begin with them, so that the workers end together."""
    long = {item for item in items if "browser" in item.path.parts or isinstance(item, Cell)}
    for item in long:
        item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item not in long)


class Notebook(IPyNbFile):
    """A notebook: its code cells, then the solutions of its exercises."""

    failed = None  # the name of the cell that failed
    other_network = False

    def collect(self):
        """Yield a `Cell` for each of them."""
        self.skip_compare += ("image/gif", "image/svg+xml")
        number = -1
        for one in super().collect():
            number = one.cell_num
            yield Cell.from_parent(self, name=one.name, cell_num=number, cell=one.cell, options=one.options)
        settings = SOLUTIONS.get(self.path.stem, {}).items()
        settings = "".join(f"assert {name!r} in globals(); {name} = {value!r}\n" for name, value in settings)
        prose = "\n".join(cell.source for cell in self.nb.cells if cell.cell_type == "markdown")
        folded = "\n".join(re.findall("<details>.*?</details>", prose, re.DOTALL))
        for place, source in enumerate(re.findall(r"```python\n(.*?)```", folded, re.DOTALL), 1):
            cell, options = nbformat.v4.new_code_cell(settings + source), defaultdict(bool)
            yield Cell.from_parent(self, name=f"Solution {place}", cell_num=number + place, cell=cell, options=options)


class Cell(IPyNbCell):
    """A code cell whose outputs are looked at, whether they are compared or not."""

    def runtest(self):
        """Run it, unless a cell before it failed."""
        if self.parent.failed:
            pytest.skip(f"{self.parent.failed} of {self.path.name} failed")
        try:
            super().runtest()
            if problem := self.problem():
                self.raise_cell_error(problem)
        except Exception:
            self.parent.failed = self.name
            raise

    def reportinfo(self):
        """Return where it is, and how a report is headed."""
        return self.path, 0, f"{self.path.stem}, {self.name}"

    def problem(self):
        """Return what is wrong with what it shows, in words, or None."""
        stored, shown = self.cell.outputs, self.test_outputs
        if errors := texts(shown, "stderr"):
            return f"It writes to standard error:\n{errors}"
        if self.name.startswith("Solution"):
            return None if kinds(shown) else "It shows nothing."
        if kinds(shown) != kinds(stored):
            return f"It shows {sorted(kinds(shown))}; stored are {sorted(kinds(stored))}."
        self.parent.other_network |= NETWORK in texts(stored) and NETWORK not in texts(shown)
        old, new = figures(stored), figures(shown)
        if len(old) != len(new):
            return f"It shows {len(new)} figures; {len(old)} are stored."
        repeatable = int(self.path.name[:2]) >= REPEATABLE and not self.parent.other_network
        return next(filter(None, map(unlike if repeatable else emptier, old, new)), None)


def texts(outputs, name="stdout"):
    """Return what was written to a stream, without progress bars that are gone."""
    return "".join(out.text for out in outputs if out.output_type == "stream" and out.name == name).strip()


def kinds(outputs):
    """Return which streams were written to and which MIME types were shown, those inside HTML too, as a set."""
    found = {name for name in ("stdout", "stderr") if texts(outputs, name)}
    for data in (out.data for out in outputs if "data" in out):
        found |= {*data, *re.findall(r"data:(image/\w+)", data.get("text/html", ""))}
    return found - {"application/vnd.jupyter.widget-view+json"}  # which no stored notebook holds


def figures(outputs):
    """Return each figure, and the last frame of each film, as an array `(height, width, 3)`."""
    found = []
    for data in (out.data for out in outputs if "data" in out):
        encoded = [data[kind] for kind in ("image/png", "image/jpeg") if kind in data]
        encoded += re.findall(r"data:image/\w+;base64,([^\"']+)", data.get("text/html", ""))
        for one in encoded:
            with Image.open(io.BytesIO(base64.b64decode(one))) as image:
                image.seek(getattr(image, "n_frames", 1) - 1)
                found.append(np.asarray(image.convert("RGB"), np.float32))
    return found


def unlike(old, new):
    """Say by how much the thumbnails of two figures differ, if it is too much."""
    one, other = (Image.fromarray(figure.astype(np.uint8)).resize((16, 16), Image.BOX) for figure in (old, new))
    difference = np.abs(np.subtract(one, other, dtype=float))
    mean, most = difference.mean(), difference.max()
    if mean > MEAN or most > MOST:
        return f"A figure differs from the stored one by {mean:.1f} grey levels on average, {most:.0f} at most."


def emptier(old, new):
    """Say how much of a figure is not white, if it is too little."""
    one, other = ((figure < 224).any(axis=2).mean() for figure in (old, new))
    if other < LEAST * one or new.std() < 1:
        return f"{other:.1%} of a figure is not white; of the stored one, {one:.1%} is."
