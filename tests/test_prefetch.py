"""Downloads for an offline class, from a server of this test's own."""

import hashlib
import os

import numpy as np
import pytest

from helpers import backbones, commands, datasets, files
from helpers.commands import prefetch

CONTENT = {name: np.random.default_rng(i).bytes(300_000) for i, name in enumerate(("one", "two", "three"))}


@pytest.fixture
def three(alone, server, monkeypatch):
    """Three files to download, one known by its MD5, on a machine without any; return the folder for them."""
    server.contents = {f"/{name}.bin": content for name, content in CONTENT.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    digests["two"] = hashlib.md5(CONTENT["two"]).hexdigest()
    found = {name: (server.url(f"/{name}.bin"), digest, "0.3 MB") for name, digest in digests.items()}
    monkeypatch.setattr(prefetch, "wanted", lambda: found)
    return alone / "for the class"


def go(folder, *options):
    return commands.main(["prefetch", "--folder", str(folder), *options])


def test_everything_is_downloaded_once(three, server, capsys):
    assert go(three) == 0
    assert {path.stem: path.read_bytes() for path in three.iterdir()} == CONTENT
    said = capsys.readouterr().out
    assert said.count(": downloaded, verified") == 3 and "3 of 3" in said and f"ATELIER_DATA={three}" in said
    assert go(three) == 0
    assert capsys.readouterr().out.count("already there, verified") == 3 and len(server.asked) == 3


def test_the_cache_is_the_default_and_only_the_chosen_are_downloaded(three, alone, capsys):
    assert commands.main(["prefetch", "--only", "one", "three"]) == 0
    assert sorted(os.listdir(alone / "cache")) == ["one.bin", "three.bin"]
    assert "ATELIER_DATA" not in capsys.readouterr().out


def test_an_unknown_name_gives_the_names(three, server, capsys):
    with pytest.raises(SystemExit):
        go(three, "--only", "four")
    assert "'four' (choose from" in capsys.readouterr().err
    assert not server.asked and not three.exists()


def test_one_that_fails_does_not_stop_the_others(three, server, capsys):
    del server.contents["/two.bin"]
    assert go(three) == 1
    assert sorted(os.listdir(three)) == ["one.bin", "three.bin"]
    said = capsys.readouterr().out
    assert said.count("FAILED") == 1 and "404" in said and "2 of 3" in said and "Missing: two." in said


def test_a_folder_that_is_a_file_is_said(three, alone, capsys):
    (alone / "file").write_text("")
    assert go(alone / "file") == 1
    assert capsys.readouterr().out.count("FAILED") == 3


def test_a_list_downloads_nothing(alone, server, capsys):
    assert go(alone / "new", "--list") == 0
    said = capsys.readouterr().out
    for name, parts in prefetch.wanted().items():
        assert all(part in said for part in (name, *parts))
    assert not server.asked and not (alone / "new").exists()


def test_what_is_downloaded_is_what_is_looked_for():
    found = prefetch.wanted()
    assert list(found) == ["mnist", "cifar10", "vgg19", "vgg16", "inception_v3"]
    for name, (url, digest, _) in found.items():
        assert url.startswith("https://") and len(digest) == (64 if name in ("mnist", "cifar10") else 32)
    assert found["cifar10"][0].rpartition("/")[2] in datasets.CIFAR10.forms
    assert found["vgg19"][0].rpartition("/")[2] == backbones.RECIPES["vgg19"].file
    assert files.SCHEME == "https"
