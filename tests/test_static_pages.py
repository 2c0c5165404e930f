"""Each notebook as a page that needs no kernel: what it stores is all shown."""

import base64
import functools
import io
import re

import nbconvert
import pytest
from PIL import Image

from helpers.commands import execute

PATHS = execute.find()


pytestmark = pytest.mark.slow


@functools.cache
def converted(path):
    """Return a notebook and its page."""
    notebook = execute.read(path)
    return notebook, nbconvert.HTMLExporter().from_notebook_node(notebook)[0]


def stored_pictures(notebook):
    """Return how many pictures the outputs of a notebook hold, those inside HTML too."""
    count = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            count += any(kind.startswith("image/") for kind in data)
            count += data.get("text/html", "").count("data:image/")
    return count


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_picture_and_film_is_on_the_page(path):
    notebook, page = converted(path)
    pictures = re.findall(r'<img[^>]*?src="data:image/(\w+);base64,([^"]+)"', page, re.DOTALL)
    assert len(pictures) == stored_pictures(notebook) > 10
    films = 0
    for kind, data in pictures:
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.format.lower() == kind and min(picture.size) > 20
            films += kind == "gif" and picture.n_frames > 10
    assert films >= 1


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_panel_is_a_sentence_on_the_page_and_no_widget(path):
    notebook, page = converted(path)
    panels = [cell for cell in notebook.cells if re.search(r"^(live|DigitCanvas)\(", cell.source, re.MULTILINE)]
    assert len(panels) >= 1
    assert page.count("run this cell in JupyterLab") == len(panels)
    assert "widget-view+json" not in page and "Error displaying widget" not in page
    for cell in panels:
        assert "nbval-ignore-output" in cell.metadata.tags
