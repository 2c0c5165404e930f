"""Settings that all tests share."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from helpers import files
from helpers.notebook import import_tensorflow

import_tensorflow()  # once, and without its log lines


@pytest.fixture(scope="module")
def backbone():
    """A tiny one: two convolutions with random weights, `first` and `second`, each followed by a pooling."""
    import keras

    from helpers.backbones import Backbone

    keras.utils.set_random_seed(0)
    values = inputs = keras.Input((None, None, 3))
    for name, width in (("first", 8), ("second", 12)):
        values = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(values)
        values = keras.layers.AveragePooling2D(2, name=f"{name}_pool")(values)
    network = keras.Model(inputs, values)
    return Backbone("tiny", network, lambda image: (image - 120.0) / 60, (), (), ("first", "second"), "", 16)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine with no data, no cache and no home; return the folder that stands for it."""
    monkeypatch.setattr(files, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv(files.VARIABLE, raising=False)
    return tmp_path


@pytest.fixture
def offline(monkeypatch):
    """A network on which every download fails at once; return the list of addresses that were tried."""
    tried = []

    def fail(url, *args, **kwargs):
        tried.append(url)
        raise files.DownloadError("there is no network in this test")

    monkeypatch.setattr(files, "download", fail)
    return tried


class Server(ThreadingHTTPServer):
    """Serves `contents` on this machine; its other attributes say how badly."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.contents, self.redirects = {}, {}  # path → bytes, path → address
        self.breaks_at, self.ranges = None, True  # the byte at which it closes the connection; can it begin midway?
        self.stalls = None  # an event: until it is set, a connection that breaks off stays open
        self.asked = []  # (path, Range header) of every request so far

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append((self.path, asked))
        if self.path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[self.path])
            return self.end_headers()
        if self.path not in server.contents:
            return self.send_error(404)
        content = server.contents[self.path]
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : server.breaks_at])
        if server.stalls:
            self.wfile.flush()
            server.stalls.wait(30)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on this machine; the course downloads over HTTP during the test, not HTTPS."""
    serving = Server()
    threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(files, "SCHEME", "http")
    monkeypatch.setenv("no_proxy", "*")
    yield serving
    serving.shutdown()
    serving.server_close()
