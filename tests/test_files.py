import hashlib
import os
import pickle
import resource
import signal
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from helpers import files
from helpers.files import DownloadError, download

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


@contextmanager
def small_disk(most=2000):
    """A disk on which no file grows beyond `most` bytes: the writes themselves fail, as they do on a full one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_search_order_is_variable_then_cache(alone, monkeypatch):
    assert files.search_folders() == [alone / "cache"]
    monkeypatch.setenv("ATELIER_DATA", str(alone / "shared"))
    assert files.search_folders() == [alone / "shared", alone / "cache"]
    (alone / "cache").mkdir()
    (alone / "cache" / "a.npz").write_text("cache")
    assert files.find_local("b.npz", "a.npz").read_text() == "cache"
    (alone / "shared").mkdir()
    (alone / "shared" / "a.npz").write_text("shared")
    assert files.find_local("a.npz").read_text() == "shared"
    assert files.find_local("c.npz") is None


# Writing


def test_whole_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with files.whole_file(path) as partial:
        partial.write_text("first")
        assert not path.exists() and partial.name.startswith(".") and partial.suffix == ".txt"
    assert path.read_text() == "first"
    with pytest.raises(RuntimeError), files.whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_written_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").touch()
    with files.whole_file(tmp_path / "file") as partial:
        partial.touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("problem", ["full disk", "a file for a folder", "a folder for the file"])
def test_a_file_that_cannot_be_written_is_named_and_nothing_is_lost(tmp_path, problem):
    path = tmp_path / "taken" / "file.txt" if problem == "a file for a folder" else tmp_path / "file.txt"
    if problem == "a folder for the file":
        path.mkdir()
    else:
        (tmp_path / ("taken" if "folder" in problem else "file.txt")).write_text("before")
    before = os.listdir(tmp_path)
    with small_disk(), pytest.raises(files.UnwritableError, match="file.txt cannot be written"):
        with files.whole_file(path) as partial:
            partial.write_text("x" * 10_000)
    assert os.listdir(tmp_path) == before
    assert problem == "a folder for the file" or (tmp_path / before[0]).read_text() == "before"


# Reading


@pytest.mark.filterwarnings("ignore")  # NumPy wonders about what it reads
def test_no_wrong_byte_gives_wrong_arrays(tmp_path):
    path, numbers = tmp_path / "numbers.npz", np.arange(60, dtype=np.float32).reshape(4, 15)
    np.savez(path, numbers=numbers)
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = files.load_arrays(path)
        except files.ArraysError as error:
            refused += "numbers.npz is not a sound" in str(error)
        else:  # a byte that says nothing about the array, such as the time of writing, or its name
            assert np.array_equal(next(iter(found.values())), numbers), place
    assert refused > len(numbers.tobytes())


class Hostile:
    """Pickles to a call that makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_only_plain_arrays_are_read_and_no_pickle_is_run(tmp_path):
    np.savez(tmp_path / "a.npz", good=np.arange(3), bad=np.array([Hostile(tmp_path / "ran")], object))
    assert files.load_arrays(tmp_path / "a.npz", ["good"])["good"].tolist() == [0, 1, 2]
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    for path, names in (("a.npz", None), ("a.npz", ["bad"]), ("a.npz", ["other"]), ("pickle.npz", None), ("b", None)):
        with pytest.raises(files.ArraysError, match=path):
            files.load_arrays(tmp_path / path, names)
    assert not (tmp_path / "ran").exists()


# Downloading


@pytest.mark.parametrize("digest", [SHA256, MD5])
def test_a_download_arrives_and_is_not_repeated(tmp_path, server, capsys, digest):
    server.contents["/file"] = CONTENT
    for _ in range(2):
        download(server.url("/file"), tmp_path / "new" / "file", digest, announce="It begins.")
    assert (tmp_path / "new" / "file").read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new") == ["file"] and len(server.asked) == 1
    assert capsys.readouterr().out == "It begins.\n"


def test_a_file_with_another_checksum_is_refused_and_replaced_only_by_the_right_one(tmp_path, server):
    server.contents["/file"] = b"a login page"
    (tmp_path / "file").write_bytes(b"older")
    with pytest.raises(DownloadError, match="127.0.0.1.*checksum"):
        download(server.url("/file"), tmp_path / "file", SHA256)
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"older"
    server.contents["/file"] = CONTENT
    download(server.url("/file"), tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_continues(tmp_path, server, ranges):
    server.contents["/file"], server.breaks_at = CONTENT, 200_000
    with pytest.raises(DownloadError, match="200000"):
        download(server.url("/file"), tmp_path / "file", SHA256)
    assert os.listdir(tmp_path) == [".file.part"]
    server.breaks_at, server.ranges = None, ranges
    download(server.url("/file"), tmp_path / "file", SHA256)
    assert server.asked[-1] == ("/file", "bytes=196608-")  # three blocks of 64 KiB were written
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [bytes(1000), bytes(400_000), CONTENT])
def test_a_part_of_another_file_is_given_up_and_a_whole_one_needs_no_network(tmp_path, server, part):
    server.contents["/file"] = CONTENT
    (tmp_path / ".file.part").write_bytes(part)
    if part != CONTENT:
        with pytest.raises(DownloadError):
            download(server.url("/file"), tmp_path / "file", SHA256)
        assert os.listdir(tmp_path) == []
    download(server.url("/file"), tmp_path / "file", SHA256)
    assert os.listdir(tmp_path) == ["file"] and (part != CONTENT or not server.asked)


def test_an_interrupted_download_keeps_what_came(tmp_path, server):
    server.contents["/file"], server.breaks_at, server.stalls = CONTENT, 200_000, threading.Event()

    def interrupt():  # as the stop button of a notebook does
        while not any(path.stat().st_size for path in tmp_path.iterdir()):
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        download(server.url("/file"), tmp_path / "file", SHA256)
    server.stalls.set()
    assert os.listdir(tmp_path) == [".file.part"]
    kept = (tmp_path / ".file.part").read_bytes()
    assert kept and CONTENT.startswith(kept)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a", "file:///etc/passwd", "ftp://a/b", "data:,x", "HTTP://a/b", "/a", "", None, 3]
)
def test_only_https_is_fetched(url, tmp_path):
    with pytest.raises(DownloadError, match="is not an https:// address"):
        download(url, tmp_path / "file", SHA256)


@pytest.mark.parametrize("digest", ["", None, "abc", "z" * 64, "0" * 63, "0" * 40])
def test_nothing_is_fetched_that_could_not_be_verified(tmp_path, server, digest):
    with pytest.raises(DownloadError, match="SHA-256 or MD5"):
        download(server.url("/file"), tmp_path / "file", digest)
    assert not server.asked


def test_a_redirect_is_followed_only_to_the_secure_scheme(tmp_path, server):
    server.contents["/file"] = CONTENT
    server.redirects = {"/moved": "/file", "/away": server.url("/file").replace("http", "https"), "/odd": "ftp://a/b"}
    download(server.url("/moved"), tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT
    for path in ("/away", "/odd"):
        with pytest.raises(DownloadError, match="redirects to"):
            download(server.url(path), tmp_path / "other", SHA256)
    assert os.listdir(tmp_path) == ["file"]


def test_a_missing_file_and_a_full_disk_are_said_in_one_line(tmp_path, server):
    server.contents["/file"] = CONTENT
    with pytest.raises(DownloadError, match="404.*Not Found"):
        download(server.url("/none"), tmp_path / "file", SHA256)
    with small_disk(), pytest.raises(DownloadError, match="file cannot be written.*space"):
        download(server.url("/file"), tmp_path / "file", SHA256)
    assert not (tmp_path / "file").exists()


def test_a_server_that_never_answers_is_given_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections, and says nothing
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match="127.0.0.1: .*(no answer|timed out)"):
            download(url, tmp_path / "file", SHA256, answer_within=0.5, announce="It begins.")
    assert os.listdir(tmp_path) == [] and capsys.readouterr().out == ""


def test_a_stuck_name_lookup_is_given_up(tmp_path, monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: never.wait(20))
    with pytest.raises(DownloadError, match="swallowed.example: no answer in 0.5 s"):
        download("https://swallowed.example/file", tmp_path / "file", SHA256, answer_within=0.5)
    never.set()
