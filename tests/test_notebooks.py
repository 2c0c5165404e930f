"""Hygiene of the notebooks as they are stored. That their cells run and give what they gave is nbval's part."""

import ast
import re

import nbformat
import pytest

from helpers.commands import execute
from helpers.files import PROJECT

PATHS = execute.find()


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return execute.read(path)


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_there_are_notebooks():
    assert "01_mnist_cnn" in [path.stem for path in PATHS]


def test_stored_outputs_are_sound(notebook):
    assert execute.problems(notebook) == []


def test_enough_cells_are_compared(notebook):
    assert len(execute.compared(notebook)) >= 10


def test_sections_come_in_the_same_order_everywhere(notebook):
    text = prose(notebook)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    last = ["Turn the knobs", "When it goes wrong", "On your own", "Where this comes from"]
    assert headings[:2] == ["Setup", "Parameters"] and headings[-4:] == last
    failures = text[text.index("## When it goes wrong") : text.index("## On your own")]
    assert len(re.findall("^### ", failures, re.MULTILINE)) >= 2 and "*Mend it*" in failures


def test_the_opening_says_what_it_is_about_and_what_it_costs(path, notebook):
    opening = notebook.cells[0].source
    assert f"*Notebook {int(path.name[:2])} of 5" in opening
    places = [opening.find(f"**What {what}.**") for what in ("you will do", "you will learn", "you need", "it costs")]
    assert -1 not in places and places == sorted(places)
    minutes, memory = re.search(r"About ([\d.]+) minutes and ([\d.]+) GB of memory", opening).groups()
    assert float(minutes) <= 10 and float(memory) < 4


def test_each_leads_on_from_the_last_and_to_the_next(path, notebook):
    number = int(path.name[:2])
    opening, end = notebook.cells[0].source, notebook.cells[-1].source
    assert number == 1 or f"[Notebook {number - 1:02}](" in opening
    assert "**What comes next.**" in end and (number == 5 or f"[Notebook {number + 1:02}](" in end)
    for shown, file in re.findall(r"\[Notebook (\d\d)\]\((\w+)\.ipynb\)", prose(notebook)):
        assert file.startswith(shown) and file in [other.stem for other in PATHS], file


def parameters(notebook):
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return cell.source


def test_parameters_are_capitals_each_with_a_comment(notebook):
    for line in parameters(notebook).splitlines():
        assert not line or re.match(r"# |[A-Z][A-Z0-9_]* = .+?  # .", line), line


def test_the_teachers_page_names_parameters_that_exist(path, notebook):
    page = (PROJECT / "TEACHING.md").read_text(encoding="utf-8")
    row = "".join(re.findall(rf"^\| {path.name[:2]} \|.*$", page, re.MULTILINE))
    for name in re.findall("`([A-Za-z_]+)`", row):
        assert re.search(rf"^{name} = ", parameters(notebook), re.MULTILINE), name


def test_no_placeholder_is_left(notebook):
    assert not [cell.source for cell in notebook.cells if re.search(r"@@|TODO|FIXME|XXX", cell.source)]


def test_no_cell_can_go_on_forever(notebook):
    """A `while` that waits for a result waits forever once a parameter is changed so that the result never comes."""
    text = prose(notebook)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for source in cells + re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.While)], source


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


def test_each_exercise_has_its_solution(notebook):
    text = prose(notebook)
    exercises = re.findall(r"^(\d)\. ", text[text.index("## On your own") : text.index("<details>")], re.MULTILINE)
    solutions = re.findall(r"<summary>Solution (\d)</summary>.*?```python\n(.*?)```.*?</details>", text, re.DOTALL)
    assert len(exercises) >= 5 and exercises == [number for number, _ in solutions]
    for _, source in solutions:
        ast.parse(source)


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
