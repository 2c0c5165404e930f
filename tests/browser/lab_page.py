"""What the browser tests work with: a JupyterLab of their own and its pages."""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

from helpers.files import PROJECT


class Lab:
    """A JupyterLab of its own, on this machine alone.

    Attributes:
        folder: where its notebooks are.
    """

    def __init__(self, folder, home):
        self.folder, self.token = folder, secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        notices = home / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        notices.parent.mkdir(parents=True)
        notices.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR")
        paths = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        self.log = home / "log.txt"
        self.server = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={self.port}",
                f"--IdentityProvider.token={self.token}", "--allow-root", f"--ServerApp.root_dir={folder}",
                "--KernelManager.shutdown_wait_time=1",
            ],
            env={**os.environ, **dict.fromkeys(folders, str(home)), "PYTHONPATH": paths},
            stdout=open(self.log, "w"),
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def ask(self, path, method="GET"):
        """Ask the server; return what it answers."""
        address = f"http://127.0.0.1:{self.port}/{path}?token={self.token}"
        with urllib.request.urlopen(urllib.request.Request(address, method=method), timeout=20) as answer:
            return json.loads(answer.read() or "null")

    def wait(self):
        """Wait until it answers."""
        for _ in range(900):
            try:
                return self.ask("api")
            except OSError:
                time.sleep(0.2)
        raise AssertionError(self.log.read_text()[-2000:])

    def address(self, name):
        """Return the address of a notebook."""
        return f"http://127.0.0.1:{self.port}/lab/tree/{name}?token={self.token}&reset"

    def end_kernels(self):
        """End every kernel: each holds as much memory as TensorFlow does."""
        for session in self.ask("api/sessions"):
            self.ask(f"api/sessions/{session['id']}", "DELETE")

    def close(self):
        """End the server."""
        self.server.terminate()
        self.server.wait(20)


def visit(page, address):
    """Open a notebook and wait until its kernel is ready."""
    page.goto(address, wait_until="domcontentloaded")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.get_by_text("(ipykernel) | Idle").wait_for()


def run_all(page):
    """Run all cells, as the menu does."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()


def screenshot(page, name):
    """Keep a picture of the page in the folder that `ATELIER_SCREENSHOTS` names, if it is set."""
    if pictures := os.environ.get("ATELIER_SCREENSHOTS"):
        page.screenshot(path=os.path.join(pictures, f"{name}.png"))


def restart(page):
    """Restart the kernel, as the menu does."""
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name=re.compile("^Restart Kernel…")).click()
    page.locator(".jp-Dialog button", has_text="Restart").click()
    page.get_by_text("(ipykernel) | Idle").wait_for()


def button(page, text):
    """Return the button of a panel."""
    return page.locator("button.jupyter-button", has_text=re.compile(f"^{text}$"))


def slider(page, label):
    """Return the sliders with a label."""
    return page.locator(".widget-hslider", has=page.get_by_text(label, exact=True))


def move(page, label, key):
    """Move a slider with a key, such as Home or ArrowRight; return what it says then."""
    row = slider(page, label).first
    row.locator(".noUi-handle").press(key)
    return row.locator(".widget-readout").inner_text()


def choose(page, label, option):
    """Choose an option of a panel's list."""
    page.locator(".widget-dropdown", has=page.get_by_text(label, exact=True)).locator("select").select_option(option)
