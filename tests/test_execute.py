"""The loader that gets at a notebook's own functions, and what stays of an output."""

import nbformat
import pytest

from helpers.commands import execute

CELLS = [
    "setup = lambda: log.append('setup')\nlog = []\nsetup()",
    "import math\nfrom math import pi as circle",
    "SIZE = 3",
    "raise RuntimeError('this cell is not needed')\nradius = 4",
    "%time pass\ndef area(radius):\n    squared = radius**2\n    return circle * squared if radius else 0 * area(1)",
    "squared = 1 / 0",
    "SIZE = 5\n\n\ndef areas():\n    return [area(radius) for radius in range(SIZE)]",
    "area = twice(area)",
    "SIZE = 7  # after its use",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS] + [nbformat.v4.new_markdown_cell("area = 0")]
    execute.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "09_areas.ipynb")
    return tmp_path


def test_definitions_come_with_what_they_use_and_nothing_else(folder):
    found = execute.definitions("09", "areas")
    assert found.log == ["setup"] and found.SIZE == 5
    assert found.areas() == pytest.approx([0, 3.14159, 12.56637, 28.27433, 50.26548])
    assert not hasattr(execute.definitions("09", "circle"), "area")
    with pytest.raises(KeyError, match="09_areas.ipynb defines circles"):
        execute.definitions("09", "circle", "circles")
    with pytest.raises(SystemExit, match="09_areas"):
        execute.definitions("10", "area")


def test_a_cell_needs_what_it_uses_before_it_defines_it():
    assert execute.names_of("x = 1\nprint(x)") == ({"x"}, {"print"})
    assert execute.names_of("model = wrap(model)") == ({"model"}, {"wrap", "model"})
    assert execute.names_of("def f(a, b=c):\n    d = a\n    return lambda: d + e") == ({"f"}, {"c", "e"})
    assert execute.names_of("import a.b as ab, c.d\nfor i in range(3):\n    c") == ({"ab", "c", "i"}, {"range"})
    assert execute.names_of("class A(B):\n    x = y\n    def f(self):\n        return A, self.x") == ({"A"}, {"B", "y"})


def test_functions_of_a_notebook_can_be_compiled_by_tensorflow(folder):
    import tensorflow as tf

    cell = "def halved(x):\n    while x > 1.0:\n        x = x / 2\n    return x"
    execute.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), folder / "08.ipynb")
    halved = tf.function(execute.definitions("08", "halved").halved)
    assert float(halved(tf.constant(12.0))) == 0.75


def test_the_alternative_text_of_an_image_stays():
    data, metadata = (
        {"image/png": "AAAA"},
        {"image/png": {"alt": "a cat", "width": 3}, "needs": {"background": "light"}},
    )
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    execute.normalise(notebook)
    assert notebook.cells[0].outputs[0].metadata == {"image/png": {"alt": "a cat"}}
