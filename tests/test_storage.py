import hashlib
import http.client
import os
import socket
import ssl
import threading
import time

import pytest

from helpers import storage


def test_search_order_is_variable_then_cache(alone, monkeypatch):
    assert storage.search_folders() == [alone / "cache"]
    monkeypatch.setenv("ATELIER_DATA", str(alone / "shared"))
    assert storage.search_folders() == [alone / "shared", alone / "cache"]
    (alone / "cache").mkdir()
    (alone / "cache" / "a.npz").write_text("cache")
    assert storage.find_local("b.npz", "a.npz").read_text() == "cache"
    (alone / "shared").mkdir()
    (alone / "shared" / "a.npz").write_text("shared")
    assert storage.find_local("a.npz").read_text() == "shared"
    assert storage.find_local("c.npz") is None


def test_whole_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with storage.whole_file(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(RuntimeError), storage.whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["file.txt"]


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert storage.sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_only_https_is_fetched(tmp_path):
    with pytest.raises(storage.DownloadError, match="https"):
        storage.download("http://localhost/file", tmp_path / "file", "0" * 64)


def test_a_server_that_never_answers_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts connections, and says nothing
        port = server.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(storage.DownloadError, match="127.0.0.1"):
            storage.download(f"https://127.0.0.1:{port}/file", tmp_path / "file", "0" * 64, answer_within=0.5)
        assert time.monotonic() - started < 3
    assert not (tmp_path / "file").exists()


def test_a_stuck_name_lookup_is_given_up(tmp_path, monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: never.wait(20))
    started = time.monotonic()
    with pytest.raises(storage.DownloadError, match="no answer"):
        storage.download("https://swallowed.example/file", tmp_path / "file", "0" * 64, answer_within=0.5)
    assert time.monotonic() - started < 3
    never.set()


class Response:
    """Stands for a server's answer: `blocks`, then the end, or an error that is one of the blocks."""

    def __init__(self, *blocks):
        self.blocks = list(blocks)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def read(self, size):
        block = self.blocks.pop(0) if self.blocks else b""
        if isinstance(block, Exception):
            raise block
        return block


@pytest.mark.parametrize(
    "failure", [TimeoutError("timed out"), ssl.SSLError("broken"), http.client.IncompleteRead(b"half")]
)
def test_a_broken_download_leaves_nothing(tmp_path, monkeypatch, failure):
    monkeypatch.setattr(storage, "_open", lambda *args: Response(b"half", failure))
    with pytest.raises(storage.DownloadError, match="example.org"):
        storage.download("https://example.org/file", tmp_path / "file", "0" * 64)
    assert os.listdir(tmp_path) == []


def test_what_is_not_the_expected_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_open", lambda *args: Response(b"a login page"))
    with pytest.raises(storage.DownloadError, match="checksum"):
        storage.download("https://example.org/file", tmp_path / "file", "0" * 64)
    assert os.listdir(tmp_path) == []


def test_a_sound_download_arrives(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_open", lambda *args: Response(b"ab", b"c"))
    storage.download("https://example.org/file", tmp_path / "file", hashlib.sha256(b"abc").hexdigest())
    assert (tmp_path / "file").read_bytes() == b"abc"
