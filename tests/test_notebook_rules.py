"""What makes a cell of a notebook fail: small notebooks, most with one fault, run as the course's own are."""

import base64
import io
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from PIL import Image

from helpers.files import PROJECT

pytestmark = pytest.mark.slow
GRADIENT = Image.linear_gradient("L").resize((64, 48))
SHOW = "import io\nfrom IPython import display\nfrom PIL import Image\nfile = io.BytesIO()\n{}.save(file, 'PNG')\n{}"
DRAWS = SHOW.format("Image.linear_gradient('L').resize((64, 48))", "display.Image(file.getvalue())")
VANISHES = DRAWS + " and None"
BLANK = SHOW.format("Image.new('L', (64, 48), 255)", "display.Image(file.getvalue())")


def cell(source, output):
    """Return an ignored cell that stores a picture or a text."""
    if isinstance(output, str):
        output = nbformat.v4.new_output("stream", name="stdout", text=output)
    else:
        file = io.BytesIO()
        output.save(file, "PNG")
        data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": "<Image>"}
        output = nbformat.v4.new_output("display_data", data)
    tags = {"tags": ["nbval-ignore-output"]}
    return nbformat.v4.new_code_cell(source, execution_count=1, outputs=[output], metadata=tags)


def solution(source):
    return nbformat.v4.new_markdown_cell(
        f"<details><summary>Solution</summary>\n\n```python\n{source}\n```\n</details>"
    )


FINE, TURNED = cell("print(time := 2)", "1\n"), GRADIENT.rotate(180)
NOTEBOOKS = {  # name: its cells, the verdict on each (passed, failed, skipped), and what is said
    "04_sound": ([cell(DRAWS, GRADIENT), FINE, solution("print(time)")], "PPP", ""),
    "04_figure_vanished": ([cell(VANISHES, GRADIENT), FINE], "FS", "stored are ['image/png', 'text/plain']"),
    "04_figure_changed": ([cell(DRAWS, TURNED), FINE], "FS", "grey levels on average"),
    "04_other_network": ([cell("print('vgg19')", "mini_vgg_robust\n"), cell(DRAWS, TURNED)], "PP", ""),
    "03_figure_blank": ([cell(DRAWS, TURNED), cell(BLANK, GRADIENT), FINE], "PFS", "0.0% of a figure is not white"),
    "03_warning": ([cell("import warnings\nwarnings.warn('new')\nprint(1)", "1\n"), FINE], "FS", "UserWarning: new"),
    "03_solution_fails": ([FINE, solution("print(missing)"), solution("print(1)")], "PFS", "NameError"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What pytest says of all of them."""
    folder = tmp_path_factory.mktemp("notebooks")
    shutil.copy(PROJECT / "conftest.py", folder)
    for name, (cells, *_) in NOTEBOOKS.items():
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    options = ["-c", "/dev/null", "--rootdir", folder, "--nbval", "--nbval-current-env", "--color=no", "-v"]
    command = [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", "-o", "markers=slow", folder]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder).stdout


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_fault_is_found_and_ends_its_notebook(report, name):
    _, verdicts, words = NOTEBOOKS[name]
    assert "".join(re.findall(rf"^{name}\.ipynb::\w+ \d (\w)", report, re.MULTILINE)) == verdicts, report
    failures = re.findall(rf"^_+ {name}, .*? _+\n(.*?)(?=\n_____|\n=====)", report, re.MULTILINE | re.DOTALL)
    assert words in "".join(failures)
