"""Every solution of every notebook runs, in the state that the notebook's own cells leave.

Each notebook runs once, in a fresh kernel, with the small parameters below; then its solutions, one after the other.
"""

import ast
import os
import re
from contextlib import ExitStack, contextmanager

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.commands import execute

# What a notebook's Parameters are set to here; one that is not listed runs at its defaults.
SMALL = {
    "01_mnist_cnn": {
        "SOURCE": "synthetic", "FEATURES": (8, 16), "GENERATIONS": 60, "FILM_EVERY": 20, "TRIAL_GENERATIONS": 20,
        "WIDTH": 4, "EPOCHS": 1,
    },
    "02_cifar10_cnn": {
        "SOURCE": "synthetic", "GENERATIONS": 20, "EVALUATE_EVERY": 10, "WIDTH": 4, "EPOCHS": 2, "SMALL_EPOCHS": 1,
        "FILM_FRAMES": 3, "TRIAL_EPOCHS": 1, "TRIAL_IMAGES": 640, "FEW_EPOCHS": 2,
    },
    "03_fine_tuning": {
        "SOURCE": "synthetic", "PER_CLASS": 20, "EXPORTED": 4, "HEAD_EPOCHS": 10, "EPOCHS": 2, "CURVE": {10: 1},
        "FEW": 10, "RATES_EPOCHS": 3, "TRIAL_EPOCHS": 1, "MAPPED": 60, "FILM_FRAMES": 2,
    },
    "04_style_transfer": {"BACKBONE": "mini_vgg", "SIZE": 96, "SMALL": 80, "STEPS": 4, "TRIAL_STEPS": 2},
    "05_deepdream": {
        "BACKBONE": "mini_vgg", "SIZE": 240, "SMALL": 160, "CHANNEL_SIZE": 64, "STEPS": 1, "ZOOM_FRAMES": 2,
    },
}  # fmt: skip
CELL_TIMEOUT = 120  # seconds


def solutions(notebook):
    """Return the source of each solution, in the order of the exercises."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(r"<details>.*?```python\n(.*?)```.*?</details>", text, re.DOTALL)


def with_parameters(notebook, changes):
    """Put a cell that sets `changes` after the notebook's Parameters; fail where one of them is no parameter of it."""
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    lines = ast.parse(notebook.cells[place].source).body
    known = {target.id for line in lines if isinstance(line, ast.Assign) for target in line.targets}
    assert changes.keys() <= known, f"no parameters of the notebook: {', '.join(sorted(changes.keys() - known))}"
    source = "\n".join(f"{name} = {value!r}" for name, value in changes.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source))


def run(client, source):
    """Run `source` in the client's kernel, as a new last cell; what it raises holds its traceback."""
    cell = nbformat.v4.new_code_cell(source)
    client.nb.cells.append(cell)
    client.execute_cell(cell, len(client.nb.cells) - 1)
    return cell


@contextmanager
def executed(path):
    """Run all cells of a notebook and give its client, whose kernel goes on until the end of the block."""
    notebook = execute.read(path)
    with_parameters(notebook, SMALL.get(path.stem, {}))
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = []
    place = {"metadata": {"path": str(execute.NOTEBOOKS)}}
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources=place)
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # figures are drawn
    with client.setup_kernel(env=environment):
        for source in sources:
            run(client, source)
        yield client


@pytest.fixture(scope="module")
def kernel_of():
    """A function from a notebook's path to its client; each notebook is run once, one kernel at a time."""
    with ExitStack() as kernels:
        clients = {}

        def kernel(path):
            if path not in clients:
                clients.clear()
                kernels.close()
                clients[path] = kernels.enter_context(executed(path))
            return clients[path]

        yield kernel


SOLUTIONS = [
    pytest.param(path, source, id=f"{path.stem}-{number}")
    for path in execute.find()
    for number, source in enumerate(solutions(execute.read(path)), start=1)
]


@pytest.mark.parametrize(("path", "source"), SOLUTIONS)
def test_the_solution_runs(kernel_of, path, source):
    assert run(kernel_of(path), source).outputs, "it shows nothing"


def test_small_parameters_are_those_of_notebooks():
    assert SMALL.keys() <= {path.stem for path in execute.find()}


def test_a_parameter_that_is_gone_is_noticed():
    notebook = execute.read(execute.find(["01"])[0])
    with pytest.raises(AssertionError, match="GENERATION, HEIGHT"):
        with_parameters(notebook, {"EPOCHS": 1, "GENERATION": 1, "HEIGHT": 2})
