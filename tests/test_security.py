"""What strangers' files, names and servers can do here: nothing. Archives and pickles have tests of their own."""

import ast
import email.message
import importlib.util
import io
import os
import re
import subprocess
import sys
import urllib.request

import nbformat
import numpy as np
import pytest

from helpers import backbones, datasets, storage
from helpers.animation import GifRecorder
from helpers.images import save_image
from helpers.notebook import show_source
from helpers.panels import knobs, panel
from helpers.panels.digit import bars

SCRIPT = "<script>alert(1)</script>"


def sources():
    """Return {name: Python source} of every module, and of every notebook's code."""
    found = {path.relative_to(storage.PROJECT).as_posix(): path for path in storage.PROJECT.glob("helpers/**/*.py")}
    texts = {name: path.read_text(encoding="utf-8") for name, path in found.items()}
    for path in sorted(storage.PROJECT.glob("notebooks/*.ipynb")):
        cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        texts[path.name] = "\n".join(re.sub(r"^[%!].*", "pass", cell, flags=re.M) for cell in cells)
    return texts


def calls(text):
    """Return the calls of a source as `(dotted name, {keyword: source of its value})`."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}) for node in nodes]


# Data files that run code


def test_every_array_file_is_loaded_without_pickle():
    loads = [
        (name, settings) for name, text in sources().items() for call, settings in calls(text) if call == "np.load"
    ]
    assert sorted(name for name, _ in loads) == [
        "helpers/archives.py",
        "helpers/commands/pretrain.py",
        "helpers/datasets.py",
    ]
    assert all(settings.get("allow_pickle") == "False" for _, settings in loads), loads


def test_nothing_that_runs_code_of_a_file_is_used():
    """The one unpickler is that of `archives`, which calls nothing: see test_archives."""
    loaders = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "torch"}
    for name, text in sources().items():
        tree = ast.parse(text)
        imported = {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        for node in ast.walk(tree):
            imported |= {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()
        assert imported & loaders <= ({"pickle"} if name == "helpers/archives.py" else set()), name
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


class Named(panel.Panel):
    """A panel whose knob, code and error hold what a file's name may."""

    title, file_name = "Named", "named"

    def __init__(self):
        super().__init__({"picture": knobs.choice(SCRIPT, [SCRIPT, "b"], SCRIPT)})

    def code(self, values, stopped_at=None):
        return f"load_image({values['picture']!r})"


def test_a_panel_shows_names_and_errors_as_text():
    made = Named()
    made.show_code()
    made.say_error(ValueError(f"{SCRIPT} is no picture"))
    page = made._repr_mimebundle_()["text/html"]
    for shown in (made.listing.value, made.message.value, page):
        assert "<script" not in shown and "script&gt;" in shown
    assert "<script" not in bars(np.full(10, 0.1))


def test_an_uploads_name_becomes_a_plain_one(tmp_path, monkeypatch):
    monkeypatch.setattr(knobs, "UPLOADS", tmp_path)
    save_image(tmp_path / "a.png", np.full((40, 40, 3), 99))
    picture = (tmp_path / "a.png").read_bytes()
    chooser = knobs.PictureChooser("Picture", "china")
    chooser.upload(f"{SCRIPT}'\"../../up.png", picture)
    assert chooser.problem == "" and re.fullmatch(r"[\w.-]+", chooser.value)
    assert {path.parent for path in tmp_path.rglob("*")} == {tmp_path}
    assert "<" not in chooser.code()
    compile(chooser.code(), "cell", "eval")


def test_scripts_of_the_panels_put_names_in_as_text():
    for path in storage.PROJECT.glob("helpers/panels/*.js"):
        script = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)


# Who listens


def test_nothing_listens():
    """All modules and a run: no port is open. `TF_CONFIG` alone starts a server, as `strategy` says."""
    program = (
        "import asyncio, psutil\n"
        "from helpers.notebook import setup\n"
        "setup(0)\n"
        "from helpers import animation, controls, datasets, deepdream, distribution, run_loop, style_transfer\n"
        "distribution.strategy()\n"
        "async def go():\n"
        "    await run_loop.RunLoop(lambda step: None, lambda *end: None).start(lambda: iter(range(3)))\n"
        "asyncio.run(go())\n"
        "print([c.laddr for c in psutil.Process().net_connections('inet') if c.status == 'LISTEN'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=120, cwd=storage.PROJECT, env=environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"


def test_the_browser_tests_jupyter_listens_on_this_machine_alone(tmp_path, monkeypatch):
    path = storage.PROJECT / "tests" / "browser" / "lab_page.py"
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


# Downloads


@pytest.mark.parametrize(
    "url", ["http://example.org/file", "file:///etc/passwd", "ftp://example.org/file", "data:,x", "HTTP://a/b", "/a"]
)
def test_only_https_is_fetched(url, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_open", lambda *arguments: pytest.fail("it was fetched"))
    with pytest.raises(storage.DownloadError, match="is not an https:// address"):
        storage.download(url, tmp_path / "file", "0" * 64)


@pytest.mark.parametrize("digest", ["", None, "abc", "z" * 64, "0" * 63, "0" * 40])
def test_nothing_is_fetched_without_a_hash_to_know_it_by(digest, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_open", lambda *arguments: pytest.fail("it was fetched"))
    with pytest.raises(storage.DownloadError, match="no SHA-256 or MD5"):
        storage.download("https://example.org/file", tmp_path / "file", digest)


@pytest.mark.parametrize("target", ["http://example.org/file", "ftp://example.org/file", "file:///etc/passwd"])
def test_a_redirect_away_from_https_is_refused(target):
    handler, request = storage._SecureRedirects(), urllib.request.Request("https://example.org/file")
    with pytest.raises(storage.DownloadError, match="is not an https:// address"):
        handler.redirect_request(request, None, 302, "Found", email.message.Message(), target)
    followed = handler.redirect_request(request, None, 302, "Found", email.message.Message(), "https://other.org/file")
    assert followed.full_url == "https://other.org/file"


def test_downloads_go_through_the_handler(monkeypatch):
    built = []

    class Opener:
        def open(self, url, timeout):
            return io.BytesIO(b"answer")

    monkeypatch.setattr(urllib.request, "build_opener", lambda *handlers: built.extend(handlers) or Opener())
    assert storage._open("https://example.org/file", 1.0, 1.0).read() == b"answer"
    assert built == [storage._SecureRedirects]


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
