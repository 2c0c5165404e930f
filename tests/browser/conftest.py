"""A JupyterLab of its own, a browser, and notebooks made of a few cells of the course's."""

import ast
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest

from helpers.commands import execute
from helpers.storage import PROJECT

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
PATIENCE = 60_000  # milliseconds; what is waited for comes much sooner


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def lab(tmp_path_factory, browser):
    """A JupyterLab on this machine alone; return its folder and its address as a function of a file's name."""
    folder, token = tmp_path_factory.mktemp("lab"), secrets.token_hex(16)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ,
        **dict.fromkeys(("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"), str(home)),
        "JUPYTERLAB_SETTINGS_DIR": str(home),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
    }
    notices = home / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    notices.parent.mkdir(parents=True)
    notices.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    log = open(home / "log.txt", "w")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
            f"--IdentityProvider.token={token}", "--allow-root", f"--ServerApp.root_dir={folder}",
            "--KernelManager.shutdown_wait_time=1",
        ],
        env=environment, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        else:
            pytest.fail((home / "log.txt").read_text()[-2000:])
        yield folder, lambda name: f"http://127.0.0.1:{port}/lab/tree/{name}?token={token}&reset"
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@pytest.fixture
def open_notebook(lab, browser, request):
    """Return a function that opens a notebook of the given cells, runs them all, and returns the page.

    At the end of the test, there must be no error in the browser's console, and none in a cell's output.
    """
    folder, address = lab
    page = browser.new_page(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page.set_default_timeout(PATIENCE)
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))

    def open_it(cells, name="panel.ipynb"):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        execute.normalise(notebook)
        execute.write(notebook, folder / name)
        page.goto(address(name), wait_until="domcontentloaded")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        page.get_by_text("(ipykernel) | Idle").wait_for()
        page.keyboard.press("Control+b")  # closes the side bar
        run_all(page)
        return page

    yield open_it
    if pictures := os.environ.get("ATELIER_SCREENSHOTS"):
        page.screenshot(path=os.path.join(pictures, f"{request.node.name}.png"))
    failed = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").all_text_contents()
    page.close()
    assert failed == []
    assert errors == []


def run_all(page):
    """Run all cells, as the menu does."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()


def screenshot(page, name):
    """Keep a picture of the page in the folder that `ATELIER_SCREENSHOTS` names, if it is set."""
    if pictures := os.environ.get("ATELIER_SCREENSHOTS"):
        page.screenshot(path=os.path.join(pictures, f"{name}.png"))


def cells_for(notebook, wanted):
    """Return the cells of a course's notebook that a cell needs, and that cell: setup, imports, what defines its names.

    Args:
        notebook: the beginning of its name, such as "01".
        wanted: a text that the cell holds.
    """
    (path,) = execute.find([notebook])
    code = [cell.source for cell in execute.read(path).cells if cell.cell_type == "code"]
    last = next(number for number, source in enumerate(code) if wanted in source)
    needed, chosen = _names(code[last], ast.Load), [code[last]]
    for source in reversed(code[:last]):
        if "setup(" in source or _names(source, ast.Store) & needed:
            chosen.insert(0, source)
            needed |= _names(source, ast.Load)
    return chosen


def _names(source, context):
    """Return the names that a cell defines (`ast.Store`) or uses (`ast.Load`)."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, context):
            found.add(node.id)
        elif context is ast.Store and isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif context is ast.Store and isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return found
