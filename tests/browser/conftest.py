"""A browser, a JupyterLab, and notebooks made of a few cells."""

import os
import shutil

import nbformat
import pytest
from lab_page import Lab, run_all, screenshot, visit

FLAGS = [
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 180_000  # milliseconds; what is waited for comes much sooner


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; without one, the tests are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed.")
    with playwright.sync_playwright() as session:
        path = next(filter(None, map(shutil.which, NAMES)), None) or session.chromium.executable_path
        if not os.path.exists(path):
            pytest.skip("There is no Chromium here. Install it with apt-get install chromium.")
        started = session.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory, browser):
    """A running `Lab`."""
    made = Lab(tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("home"))
    try:
        made.wait()
        yield made
    finally:
        made.close()


@pytest.fixture
def page(lab, browser, request):
    """A page of 1280×800 pixels; at the end, its console and its cells must have shown no error."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    opened.set_default_timeout(PATIENCE)
    errors = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    screenshot(opened, request.node.name)
    failed = opened.locator(
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']"
    ).all_text_contents()
    opened.close()
    lab.end_kernels()
    assert failed == []
    assert errors == []


@pytest.fixture
def open_notebook(lab, page):
    """Return a function that opens a notebook of the given cells, runs them all, and returns the page."""

    def open_it(cells):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, lab.folder / "panel.ipynb")
        visit(page, lab.address("panel.ipynb"))
        page.keyboard.press("Control+b")  # closes the side bar
        run_all(page)
        return page

    return open_it
