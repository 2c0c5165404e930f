"""Folders that cannot be written, disks that are full, files that are half there: one line says so, nothing is lost."""

import io
import json
import subprocess
import sys
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest
from test_files import small_disk

from helpers import backbones, checkpoints, files, images, mini_vgg, records, synthetic
from helpers.animation import GifRecorder
from helpers.images import save_image

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def recorder(path):
    made = GifRecorder(path)
    made.add(NOISE)
    return made


def network():
    model = keras.Sequential([keras.Input((40,)), keras.layers.Dense(40)])
    model.compile("sgd", "mse", jit_compile=False)
    return model


def whole_text(path):
    with files.whole_file(path) as partial:
        partial.write_text("x" * 10_000)


WRITERS = {
    "whole_file": whole_text,
    "save_image": lambda path: save_image(path.with_suffix(".png"), NOISE),
    "GifRecorder.save": lambda path: recorder(path).save(),
    "checkpoints.save": lambda path: checkpoints.save(path, network(), {}),
    "mini_vgg.save": lambda path: mini_vgg.save(network(), path.with_suffix(".weights.h5"), {}),
}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_that_fails_half_way_says_so_and_keeps_what_was_there(writer, tmp_path):
    WRITERS[writer](tmp_path / "file.npz")
    before = contents(tmp_path)
    with small_disk(), pytest.raises(files.UnwritableError, match="file.* cannot be written"):
        WRITERS[writer](tmp_path / "file.npz")
    assert contents(tmp_path) == before and before


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_that_cannot_be_written_is_named(writer, tmp_path):
    """Below a file there is no folder, for no account: root may write into any other."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(files.UnwritableError, match="taken.* cannot be written"):
        WRITERS[writer](tmp_path / "taken" / "file.npz")
    assert contents(tmp_path) == {"taken": b"a file"}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


# Killed, or two at once

KILLED = """
import sys, time
from pathlib import Path
from helpers import files
with files.whole_file(Path(sys.argv[1])) as partial:
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
            [sys.executable, "-c", KILLED, folder / name], stdout=subprocess.PIPE, text=True, cwd=files.PROJECT
        )
        assert process.stdout.readline() == "half\n"
        process.kill()
        assert process.wait(20) == -9
        process.stdout.close()
    left = [path for path in folder.iterdir() if path.read_bytes() == b"half"]
    assert len(left) == 3 and all(path.name.startswith(".") for path in left)
    monkeypatch.setattr(images, "FOLDER", folder)
    monkeypatch.setattr(records, "RUNS", folder)
    assert (files.find_local("mnist.npz") is not None) == there
    assert ("picture" in images.sample_names()) == there and len(images.sample_names()) == 3 + there
    assert records.recorded() == ["recorded"] * there
    if there:
        assert files.find_local("mnist.npz").read_bytes() == b"whole"


WRITES = """
import sys
from pathlib import Path
from helpers import files
for _ in range(60):
    with files.whole_file(Path(sys.argv[1])) as partial:
        with open(partial, "wb") as file:
            for _ in range(50):
                file.write(sys.argv[2].encode() * 1000)
                file.flush()
"""


def test_two_processes_that_write_one_file_leave_one_whole_one(tmp_path):
    path = tmp_path / "cache" / "drawn.npz"
    processes = [subprocess.Popen([sys.executable, "-c", WRITES, path, letter], cwd=files.PROJECT) for letter in "abc"]
    seen, deadline = set(), time.monotonic() + 60
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        if path.exists():
            seen.add(path.read_bytes())
    assert [process.wait(20) for process in processes] == [0, 0, 0]
    assert seen and seen <= {letter * 50_000 for letter in (b"a", b"b", b"c")}
    assert [file.name for file in path.parent.iterdir()] == ["drawn.npz"]


def test_two_notebooks_that_draw_the_same_digits_share_one_cache(alone):
    program = (
        "import sys\nfrom pathlib import Path\nfrom helpers import files, synthetic\n"
        "files.CACHE = Path(sys.argv[1])\n"
        "def few():\n    return synthetic.digits(train=300, test=10)\n"
        ""
        "print(synthetic.cached(few)[0][0].sum())\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, alone / "cache"], stdout=subprocess.PIPE, cwd=files.PROJECT)
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
