"""Folders that cannot be written, disks that are full, files that are half there: one line says so, nothing is lost."""

import errno
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from helpers import backbones, checkpoints, images, mini_vgg, records, storage, synthetic
from helpers.animation import GifRecorder
from helpers.images import save_image
from helpers.style_runs import Position, Record, save_checkpoint
from helpers.style_transfer import StyleTransfer

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def recorder(path):
    made = GifRecorder(path)
    made.add(NOISE)
    return made


def record():
    made = Record()
    made.history, made.image = {"total": [1.0, 2.0]}, NOISE.astype(np.float32)
    return made


def network():
    model = keras.Sequential([keras.Input((40,)), keras.layers.Dense(40)])
    model.compile("sgd", "mse", jit_compile=False)
    return model


def whole_text(path):
    with storage.whole_file(path) as partial:
        partial.write_text("x" * 10_000)


WRITERS = {
    "whole_file": whole_text,
    "save_image": lambda path: save_image(path.with_suffix(".png"), NOISE),
    "GifRecorder.save": lambda path: recorder(path).save(),
    "checkpoints.save": lambda path: checkpoints.save(path, network(), {}),
    "mini_vgg.save": lambda path: mini_vgg.save(network(), path.with_suffix(".weights.h5"), {}),
}


@contextmanager
def small_disk(most=2000):
    """A disk on which no file grows beyond `most` bytes: the writes themselves fail, as they do on a full one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_that_fails_half_way_says_so_and_keeps_what_was_there(writer, tmp_path):
    WRITERS[writer](tmp_path / "file.npz")
    before = contents(tmp_path)
    with small_disk(), pytest.raises(storage.UnwritableError, match="file.* cannot be written: it is larger than"):
        WRITERS[writer](tmp_path / "file.npz")
    assert contents(tmp_path) == before and before


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, "the disk is full. Free some space"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "this account may not write there. Choose another folder"),
        (errno.EACCES, "this account may not write there"),
    ],
)
@pytest.mark.parametrize("moment", ["opening", "writing", "moving"])
def test_each_reason_has_its_words(number, words, moment, tmp_path, monkeypatch):
    def fail(*arguments, **settings):
        raise OSError(number, os.strerror(number))

    (tmp_path / "file.txt").write_text("before")
    if moment == "opening":
        monkeypatch.setattr(tempfile, "mkstemp", fail)
    if moment == "moving":
        monkeypatch.setattr(type(tmp_path), "replace", fail)
    with pytest.raises(storage.UnwritableError, match=f"file.txt cannot be written: {words}") as caught:
        with storage.whole_file(tmp_path / "file.txt") as partial:
            partial.write_text("half")
            if moment == "writing":
                fail()
    assert caught.value.errno == number
    assert contents(tmp_path) == {"file.txt": b"before"}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_that_cannot_be_written_is_named(writer, tmp_path):
    """Below a file there is no folder, for no account: root may write into any other."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(storage.UnwritableError, match="taken.* cannot be written: a part of its path is a file"):
        WRITERS[writer](tmp_path / "taken" / "file.npz")
    assert contents(tmp_path) == {"taken": b"a file"}


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "picture.png").mkdir()
    with pytest.raises(storage.UnwritableError, match="picture.png cannot be written: it is a folder"):
        save_image(tmp_path / "picture.png", NOISE)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_run_goes_on_where_its_checkpoint_cannot_be_written(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert save_checkpoint(tmp_path / "run.npz", "mark", Position(image=NOISE, best=NOISE), record())
    before = contents(tmp_path)
    for path in (tmp_path / "taken" / "run.npz", tmp_path / "run.npz"):
        with small_disk(2000 if path.parent == tmp_path else resource.RLIM_INFINITY):
            assert save_checkpoint(path, "mark", Position(image=NOISE, best=NOISE), record()) is None
        said = capsys.readouterr().out
        assert said.count("\n") == 1 and "run.npz cannot be written" in said and "goes on without checkpoints" in said
    assert contents(tmp_path) == before

    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(4, 3, activation="relu", name="first")(inputs))
    tiny = SimpleNamespace(
        name="tiny",
        source="random weights",
        model=network,
        preprocess=lambda image: image,
        style_layers=("first",),
        content_layers=("first",),
    )
    transfer = StyleTransfer(tiny)
    settings = dict(steps=6, progress=False, checkpoint=tmp_path / "taken" / "run.npz", checkpoint_every=2)
    result = transfer.stylize(NOISE, NOISE[::-1], **settings)
    assert len(result.history["total"]) == 6 and not result.interrupted
    assert capsys.readouterr().out.count("goes on without") == 1

    settings["checkpoint"] = tmp_path / "run.npz"
    unknown = bytearray(before["run.npz"])
    unknown[unknown.index(b"PK\x01\x02") + 10] ^= 1  # the method of compression
    for damaged in (b"", b"half", before["run.npz"][:-200], bytes(unknown), zipped({"a.npy": b"x"})):
        (tmp_path / "run.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="run.npz cannot be read as a checkpoint.*or pass resume=False"):
            transfer.stylize(NOISE, NOISE[::-1], **settings, resume=True)
        assert (tmp_path / "run.npz").read_bytes() == damaged


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_download_onto_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    class Answer(io.BytesIO):
        pass

    monkeypatch.setattr(storage, "_open", lambda *arguments: Answer(bytes(10_000)))
    with small_disk(), pytest.raises(storage.DownloadError, match="file cannot be kept: it is larger than"):
        storage.download("https://example.org/file", tmp_path / "file", "0" * 64)
    assert contents(tmp_path) == {}


# Killed, or two at once

KILLED = """
import sys, time
from pathlib import Path
from helpers import storage
with storage.whole_file(Path(sys.argv[1])) as partial:
    partial.write_bytes(b"half")
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_run_leaves_is_never_taken_for_the_file(alone, there, monkeypatch):
    folder = alone / "cache"
    folder.mkdir()
    for name in ("mnist.npz", "picture.png", "recorded.json"):
        if there:
            (folder / name).write_bytes(b"whole")
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, folder / name], stdout=subprocess.PIPE, text=True, cwd=storage.PROJECT
        )
        assert process.stdout.readline() == "half\n"
        process.kill()
        assert process.wait(20) == -9
        process.stdout.close()
    left = [path for path in folder.iterdir() if path.read_bytes() == b"half"]
    assert len(left) == 3 and all(path.name.startswith(".") for path in left)
    monkeypatch.setattr(images, "FOLDER", folder)
    monkeypatch.setattr(records, "RUNS", folder)
    assert (storage.find_local("mnist.npz") is not None) == there
    assert ("picture" in images.sample_names()) == there and len(images.sample_names()) == 3 + there
    assert records.recorded() == ["recorded"] * there
    if there:
        assert storage.find_local("mnist.npz").read_bytes() == b"whole"


WRITES = """
import sys
from pathlib import Path
from helpers import storage
for _ in range(60):
    with storage.whole_file(Path(sys.argv[1])) as partial:
        with open(partial, "wb") as file:
            for _ in range(50):
                file.write(sys.argv[2].encode() * 1000)
                file.flush()
"""


def test_two_processes_that_write_one_file_leave_one_whole_one(tmp_path):
    path = tmp_path / "cache" / "drawn.npz"
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITES, path, letter], cwd=storage.PROJECT) for letter in "abc"
    ]
    seen, deadline = set(), time.monotonic() + 60
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        if path.exists():
            seen.add(path.read_bytes())
    assert [process.wait(20) for process in processes] == [0, 0, 0]
    assert seen and seen <= {letter * 50_000 for letter in (b"a", b"b", b"c")}
    assert [file.name for file in path.parent.iterdir()] == ["drawn.npz"]


def test_two_notebooks_that_draw_the_same_digits_share_one_cache(alone):
    program = (
        "import sys\nfrom pathlib import Path\nfrom helpers import storage, synthetic\n"
        "storage.CACHE = Path(sys.argv[1])\n"
        "def few():\n    return synthetic.digits(train=300, test=10)\n"
        "few.__module__ = 'helpers.synthetic'\n"
        "print(synthetic.cached(few)[0][0].sum())\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, alone / "cache"], stdout=subprocess.PIPE, cwd=storage.PROJECT)
        for _ in range(2)
    ]
    sums = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    (path,) = (alone / "cache").iterdir()
    with np.load(path, allow_pickle=False) as kept:
        assert sums == {f"{kept['x_train'].sum()}\n".encode()}
    assert int(sums.pop()) == synthetic.digits(train=300, test=10)[0][0].sum()


# Weight files


def hdf5(**groups):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in groups.items():
            file[name] = values
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["mini_vgg", "vgg16"])
@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", zipped({"x_train.npy": b"1"}), hdf5(), hdf5(other=np.zeros(3)), None],
    ids=["empty", "a web page", "a data set", "HDF5 with nothing", "HDF5 of something else", "a folder"],
)
def test_what_is_no_weight_file_is_refused_by_name(name, content, tmp_path):
    path = tmp_path / "some.weights.h5"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    (tmp_path / "some.json").write_text(json.dumps({}))
    with pytest.raises(backbones.BackboneError, match="some.weights.h5.*(Expected|Delete|Give)"):
        backbones.load_backbone(name, weights=path)
