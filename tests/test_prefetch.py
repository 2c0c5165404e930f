"""Fetching for an offline class, from a server of this test's own, which can break off, start midway, and lie."""

import hashlib
import http.client
import os
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from helpers import backbones, commands, datasets, storage
from helpers.commands import _resumable, prefetch

CONTENT = {f"/{name}.bin": np.random.default_rng(i).bytes(300_000) for i, name in enumerate(("one", "two", "three"))}


class Server(ThreadingHTTPServer):
    """Serves CONTENT; its attributes say how badly."""

    daemon_threads = True
    breaks_at = None  # the byte before which the connection is closed
    ranges = True  # whether it can begin midway
    stalls = None  # an event: set, the rest of a file that breaks off is never sent, and its connection stays open
    asked = ()  # (path, Range header) of every request so far


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked = (*self.server.asked, (self.path, asked))
        content = CONTENT.get(self.path)
        if content is None:
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.breaks_at])
        if self.server.stalls:
            self.wfile.flush()
            self.server.stalls.wait(30)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on this machine, to which every https:// address leads."""
    serving = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()

    def connect(host, timeout, **options):
        return http.client.HTTPConnection("127.0.0.1", serving.server_port, timeout=timeout)

    monkeypatch.setenv("no_proxy", "*")
    handler = urllib.request.HTTPSHandler
    monkeypatch.setattr(handler, "https_open", lambda self, request: self.do_open(connect, request))
    yield serving
    serving.shutdown()
    serving.server_close()


@pytest.fixture
def three(alone, monkeypatch):
    """Three files to fetch, one known by its MD5, on a machine without any; return the folder for them."""
    files = {
        path[1:-4]: prefetch.Wanted(
            path[1:-4], path[1:], "0.3 MB", f"https://example.org{path}",
            (hashlib.md5 if path == "/two.bin" else hashlib.sha256)(content).hexdigest(), (f"models{path}",),
        )
        for path, content in CONTENT.items()
    }  # fmt: skip
    monkeypatch.setattr(prefetch, "wanted", lambda: files)
    return alone / "for the class"


def go(folder, *options):
    return commands.main(["prefetch", "--folder", str(folder), *options])


def left(folder):
    return sorted(os.listdir(folder))


def test_everything_is_fetched_and_then_was_there(three, server, capsys):
    assert go(three) == 0
    assert left(three) == ["one.bin", "three.bin", "two.bin"]
    assert all((three / path[1:]).read_bytes() == content for path, content in CONTENT.items())
    said = capsys.readouterr().out
    assert said.count("fetched, verified") == 3 and "3 of 3 are there." in said and f"ATELIER_DATA={three}" in said
    assert go(three) == 0
    assert capsys.readouterr().out.count("was there, verified") == 3
    assert len(server.asked) == 3


def test_only_what_is_asked_for(three, server):
    assert go(three, "--only", "two", "three") == 0
    assert left(three) == ["three.bin", "two.bin"]


def test_the_cache_is_the_default(three, server, alone, capsys):
    assert commands.main(["prefetch", "--only", "one"]) == 0
    assert left(alone / "cache") == ["one.bin"]
    assert "ATELIER_DATA" not in capsys.readouterr().out


def test_a_name_that_is_none_gives_the_names(three, server, capsys):
    with pytest.raises(SystemExit) as ended:
        go(three, "--only", "four")
    assert ended.value.code == 2 and "'four' (choose from" in capsys.readouterr().err
    assert server.asked == () and not three.exists()


def test_one_that_fails_does_not_stop_the_others(three, server, monkeypatch, capsys):
    monkeypatch.delitem(CONTENT, "/two.bin")
    assert go(three) == 1
    assert left(three) == ["one.bin", "three.bin"]
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[:4]] == ["what", "one", "two", "three"]
    assert "FAILED: example.org: Not Found" in said[2]
    assert said[4] == "2 of 3 are there. Missing: two."


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on_where_it_stopped(three, server, ranges, capsys):
    server.breaks_at = 200_000
    assert go(three, "--only", "one") == 1
    assert "0.2 of 0.3 MB came and are kept" in capsys.readouterr().out
    assert left(three) == [".one.bin.part"] and (three / ".one.bin.part").stat().st_size == 200_000
    server.breaks_at, server.ranges = None, ranges
    assert go(three, "--only", "one") == 0
    assert left(three) == ["one.bin"] and (three / "one.bin").read_bytes() == CONTENT["/one.bin"]
    assert server.asked[-1] == ("/one.bin", "bytes=200000-")
    assert ("resumed" if ranges else "fetched") + ", verified" in capsys.readouterr().out


def test_a_part_of_another_file_is_found_out_and_deleted(three, server, capsys):
    three.mkdir()
    (three / ".one.bin.part").write_bytes(bytes(1000))
    assert go(three, "--only", "one") == 1
    assert "checksum differs" in capsys.readouterr().out and left(three) == []
    assert go(three, "--only", "one") == 0


def test_a_part_that_is_too_long_begins_anew(three, server):
    three.mkdir()
    (three / ".one.bin.part").write_bytes(bytes(400_000))
    assert go(three, "--only", "one") == 0
    assert [asked for _, asked in server.asked] == ["bytes=400000-", None]


def test_a_part_that_was_whole_already_needs_no_network(three, server):
    three.mkdir()
    (three / ".one.bin.part").write_bytes(CONTENT["/one.bin"])
    assert go(three, "--only", "one") == 0
    assert server.asked == () and left(three) == ["one.bin"]


def test_what_is_not_the_file_is_refused(three, server, monkeypatch, capsys):
    monkeypatch.setitem(CONTENT, "/one.bin", b"a login page")
    assert go(three, "--only", "one") == 1
    assert "checksum differs" in capsys.readouterr().out and left(three) == []


def test_a_damaged_file_is_replaced_but_only_by_a_sound_one(three, server, monkeypatch, capsys):
    three.mkdir()
    (three / "one.bin").write_bytes(b"half")
    with monkeypatch.context() as patched:
        patched.delitem(CONTENT, "/one.bin")
        assert go(three, "--only", "one") == 1
    assert "not the published one" in capsys.readouterr().out
    assert (three / "one.bin").read_bytes() == b"half"
    assert go(three, "--only", "one") == 0
    assert (three / "one.bin").read_bytes() == CONTENT["/one.bin"]


def test_what_keras_keeps_is_copied(three, server, alone, capsys):
    kept = alone / "keras" / "models"
    kept.mkdir(parents=True)
    (kept / "one.bin").write_bytes(CONTENT["/one.bin"])
    (kept / "two.bin").write_bytes(b"damaged")
    assert go(three, "--only", "one", "two") == 0
    said = capsys.readouterr().out
    assert said.count("copied, verified") == 1 and said.count("fetched, verified") == 1
    assert [path for path, _ in server.asked] == ["/two.bin"]


def test_a_dataset_of_another_make_is_left_alone_if_it_is_sound(alone, server, monkeypatch, capsys):
    made = prefetch.wanted()["mnist"]
    monkeypatch.setattr(prefetch, "wanted", lambda: {"mnist": made})
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        arrays[f"x_{part}"] = rng.integers(0, 256, (20, 28, 28), np.uint8)
        arrays[f"y_{part}"] = np.arange(20) % 10
    np.savez(alone / "mnist.npz", **arrays)
    before = (alone / "mnist.npz").read_bytes()
    assert go(alone) == 0
    assert "not the published file, but sound" in capsys.readouterr().out
    (alone / "mnist.npz").write_bytes(before[:500])
    assert go(alone) == 1  # it is asked for, and the server does not have it
    assert (alone / "mnist.npz").read_bytes() == before[:500]


CHILD = """
import http.client, sys, urllib.request
from pathlib import Path
from helpers.commands import prefetch
port, folder, digest = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
connect = lambda host, timeout, **options: http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
urllib.request.HTTPSHandler.https_open = lambda self, request: self.do_open(connect, request)
folder.mkdir()
prefetch.obtain(prefetch.Wanted("one", "one.bin", "", "https://example.org/one.bin", digest, ()), folder)
"""


def test_a_killed_process_leaves_a_part_and_no_file(three, server):
    server.breaks_at, server.stalls = 200_000, threading.Event()
    digest = hashlib.sha256(CONTENT["/one.bin"]).hexdigest()
    command = [sys.executable, "-c", CHILD, str(server.server_port), str(three), digest]
    part = three / ".one.bin.part"
    with subprocess.Popen(command, env={**os.environ, "no_proxy": "*"}) as child:
        until = time.monotonic() + 30
        while child.poll() is None and time.monotonic() < until:
            if part.exists() and part.stat().st_size > 100_000:
                break
            time.sleep(0.02)
        child.kill()
    server.stalls.set()
    assert left(three) == [part.name] and 100_000 < part.stat().st_size <= 200_000
    server.breaks_at = server.stalls = None
    assert go(three, "--only", "one") == 0
    assert server.asked[-1][1] is not None and (three / "one.bin").read_bytes() == CONTENT["/one.bin"]


def test_a_stop_keeps_what_came(three, server, monkeypatch, capsys):
    server.breaks_at = 100_000
    go(three, "--only", "one")

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "_open", stop)
    assert go(three, "--only", "one") == 130
    assert "run this again" in capsys.readouterr().err
    assert (three / ".one.bin.part").stat().st_size == 100_000


def test_a_full_disk_is_one_failed_row(three, server, monkeypatch, capsys):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_resumable, "_receive", full)
    assert go(three) == 1
    assert capsys.readouterr().out.count("FAILED: [Errno 28] No space left on device") == 3


def test_a_folder_that_is_none(alone, three, capsys):
    (alone / "file").write_text("")
    assert go(alone / "file") == 1
    assert "Nothing was fetched" in capsys.readouterr().err


def test_two_at_once_do_not_disturb_each_other(three, server, capsys):
    pytest.importorskip("fcntl")
    with _resumable.alone_in(three):
        assert go(three) == 1
    assert "another prefetch is at work there" in capsys.readouterr().err
    assert server.asked == () and go(three) == 0


def test_only_https(tmp_path):
    with pytest.raises(storage.DownloadError, match="https"):
        _resumable.fetch("http://example.org/one.bin", tmp_path / "one.bin", "0" * 64, "one")


def test_a_list_fetches_nothing(alone, server, capsys):
    assert go(alone / "new", "--list") == 0
    said = capsys.readouterr().out
    for item in prefetch.wanted().values():
        assert item.file in said and item.url in said and item.digest in said
    assert server.asked == () and not (alone / "new").exists()


def test_every_dataset_and_every_network_with_a_checksum_is_wanted():
    found = prefetch.wanted()
    assert list(found) == ["mnist", "cifar10", "vgg19", "vgg16", "inception_v3"]
    assert all(len(item.digest) in (32, 64) and item.url.startswith("https://") for item in found.values())
    assert found["cifar10"].local == datasets.CIFAR10.local and found["vgg19"].file == backbones.RECIPES["vgg19"].file
