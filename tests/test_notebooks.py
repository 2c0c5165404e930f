"""Hygiene of the notebooks as they are stored. That their cells run and give what they gave is nbval's part."""

import ast
import re

import nbformat
import pytest

from helpers.commands import execute

PATHS = execute.find()


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request):
    return execute.read(request.param)


def test_there_are_notebooks():
    assert "01_mnist_cnn" in [path.stem for path in PATHS]


def test_stored_outputs_are_sound(notebook):
    assert execute.problems(notebook) == []


def test_enough_cells_are_compared(notebook):
    assert len(execute.compared(notebook)) >= 10


def test_anatomy(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    headings = [heading.lower() for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    for wanted in (
        "setup",
        "parameters",
        "turn the knobs",
        "when it goes wrong",
        "on your own",
        "where this comes from",
    ):
        assert wanted in headings
    parameters = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == 1


def test_no_placeholder_is_left(notebook):
    assert not [cell.source for cell in notebook.cells if re.search(r"@@|TODO|FIXME|XXX", cell.source)]


def test_it_is_normalised(notebook):
    before = nbformat.writes(notebook)
    execute.normalise(notebook)
    assert nbformat.writes(notebook) == before


def test_a_widget_is_stored_as_what_it_says_without_a_kernel():
    cell = nbformat.v4.new_code_cell("panel", execution_count=1)
    data = {"text/html": "run this cell", "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    cell.outputs = [nbformat.v4.new_output("execute_result", data=data, execution_count=1)]
    made = nbformat.v4.new_notebook(cells=[cell])
    execute.normalise(made)
    assert made.cells[0].outputs[0].data == {"text/html": "run this cell"}


def test_solutions_are_python(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    solutions = re.findall(r"<details>.*?```python\n(.*?)```.*?</details>", text, re.DOTALL)
    assert len(solutions) >= 5
    for solution in solutions:
        ast.parse(solution)


def damaged(change):
    cell = nbformat.v4.new_code_cell("print(1)", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    made = nbformat.v4.new_notebook(cells=[cell])
    assert execute.problems(made) == []
    change(cell)
    return execute.problems(made)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda cell: cell.update(execution_count=2), "top to bottom"),
        (lambda cell: cell.outputs[0].update(text="saved in /home/ada/run.gif"), "path of one machine"),
        (lambda cell: cell.outputs[0].update(text="UserWarning: no"), "warning"),
        (lambda cell: cell.outputs[0].update(text="I0000 00:00:17 port.cc:153] oneDNN"), "log line"),
        (lambda cell: cell.outputs[0].update(text="2026-11-21 07:00:00.1: I tensorflow/core/util"), "log line"),
        (lambda cell: cell.outputs[0].update(text="WARNING:tensorflow:5 out of 5 calls"), "log line"),
        (lambda cell: cell.outputs[0].update(name="stderr"), "standard error"),
        (lambda cell: cell.outputs.append(nbformat.v4.new_output("error", ename="ValueError")), "an error: ValueError"),
        (lambda cell: cell.metadata.update(tags=["nbval-ignore-output"]), "compared"),
        (lambda cell: cell.outputs[0].update(text="1" * 7_000_000), "MB"),
    ],
)
def test_problems_are_found(change, problem):
    assert problem in " ".join(damaged(change))
