"""What strangers' files, names and servers can do here: nothing. Archives and pickles have tests of their own."""

import ast
import importlib.util
import os
import re
import subprocess
import sys

import nbformat
import numpy as np

from helpers import backbones, datasets, files, live
from helpers.animation import GifRecorder
from helpers.notebook import show_source

SCRIPT = "<script>alert(1)</script>"


def sources():
    """Return {name: Python source} of every module, and of every notebook's code."""
    found = {path.relative_to(files.PROJECT).as_posix(): path for path in files.PROJECT.glob("helpers/**/*.py")}
    texts = {name: path.read_text(encoding="utf-8") for name, path in found.items()}
    for path in sorted(files.PROJECT.glob("notebooks/*.ipynb")):
        cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        texts[path.name] = "\n".join(re.sub(r"^[%!].*", "pass", cell, flags=re.M) for cell in cells)
    return texts


def calls(text):
    """Return the calls of a source as `(dotted name, {keyword: source of its value})`."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}) for node in nodes]


# Data files that run code


def test_every_array_file_is_loaded_without_pickle():
    readers = ("np.load", "np.lib.format.read_array")
    loads = [(name, found) for name, text in sources().items() for call, found in calls(text) if call in readers]
    assert sorted(name for name, _ in loads) == ["helpers/files.py"]
    assert all(settings.get("allow_pickle") == "False" for _, settings in loads), loads


def test_nothing_that_runs_code_of_a_file_is_used():
    loaders = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "torch"}
    for name, text in sources().items():
        tree = ast.parse(text)
        imported = {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        for node in ast.walk(tree):
            imported |= {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()
        assert not imported & loaders, name
        used = {call for call, _ in calls(text)}
        forbidden = {"eval", "exec", "compile", "__import__", "os.system", "pickle.load", "pickle.loads", "yaml.load"}
        own = {"exec", "compile"} if name == "helpers/commands/execute.py" else set()  # the cells of its own notebooks
        assert not used & forbidden - own, name
        models = [settings for call, settings in calls(text) if call.endswith("load_model")]
        assert not models or name == "03_fine_tuning.ipynb", name  # which loads the file that it has saved itself
        assert all("safe_mode" not in settings for settings in models) and not any("unsafe" in call for call in used)
        shell = [settings for call, settings in calls(text) if call.startswith("subprocess.") and "shell" in settings]
        assert shell == [], name


# Names in HTML


def test_a_caption_is_escaped(tmp_path):
    recorder = GifRecorder(tmp_path / "run.gif")
    recorder.add(np.zeros((8, 8, 3)))
    shown = recorder.show(f'"{SCRIPT}').data
    assert "<script" not in shown and shown.count('"') == 4


def test_source_is_escaped():
    def strange():
        return "<script>alert(1)</script>"

    shown = show_source(strange)._repr_html_()
    assert "<script" not in shown and "&lt;script&gt;" in shown


def test_a_panel_shows_names_and_errors_as_text():
    def run(name=SCRIPT):
        yield name

    panel = live.live(run, name=[SCRIPT, "b"])
    panel.show_code()
    panel._say_error(ValueError(SCRIPT))
    for shown in (panel.listing.value, panel.message.value):
        assert "<script" not in shown and "script&gt;" in shown


def test_scripts_of_the_panels_put_names_in_as_text():
    for path in files.PROJECT.glob("helpers/*.js"):
        script = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)


# Who listens


def test_nothing_listens():
    """All modules and a run: no port is open. `TF_CONFIG` alone starts a server, as `strategy` says."""
    program = (
        "import asyncio, psutil\n"
        "from helpers.notebook import setup\n"
        "setup(0)\n"
        "from helpers import animation, datasets, deepdream, distribution, live, style_transfer\n"
        "distribution.strategy()\n"
        "def run():\n"
        "    yield 1\n"
        "async def go():\n"
        "    panel = live.live(run)\n"
        "    panel.run()\n"
        "    await panel.task\n"
        "asyncio.run(go())\n"
        "print([c.laddr for c in psutil.Process().net_connections('inet') if c.status == 'LISTEN'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=120, cwd=files.PROJECT, env=environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"


def test_the_browser_tests_jupyter_listens_on_this_machine_alone(tmp_path, monkeypatch):
    path = files.PROJECT / "tests" / "browser" / "lab_page.py"
    spec = importlib.util.spec_from_file_location("lab_page_for_security", path)
    lab_page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lab_page)
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **settings: started.append(command))
    (tmp_path / "home").mkdir()
    lab = lab_page.Lab(tmp_path, tmp_path / "home")
    (command,) = started
    assert "--ip=127.0.0.1" in command and f"--IdentityProvider.token={lab.token}" in command
    assert len(lab.token) == 32 and "--no-browser" in command


# Downloads: see test_files


def test_every_address_is_https_and_has_its_hash():
    addresses = {kind.url: kind.digest for kind in (datasets.MNIST, datasets.CIFAR10)}
    assert all(url.startswith("https://") and re.fullmatch("[0-9a-f]{64}", digest) for url, digest in addresses.items())
    for recipe in backbones.RECIPES.values():
        if recipe.md5:  # what has none is not fetched: test_backbones
            hashes = [value for value in vars(recipe).values() if re.fullmatch("[0-9a-f]{64}|[0-9a-f]{32}", str(value))]
            assert recipe.address.startswith("https://") and hashes
    for name, text in sources().items():
        for call, _ in calls(text):
            assert "urlretrieve" not in call and not call.endswith(("urlopen", "get_file")), name
