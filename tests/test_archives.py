import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from helpers import archives
from helpers.archives import ArchiveError


def written(folder, content):
    path = folder / "batch"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_lists_texts_and_numbers_come_back(tmp_path, protocol, order):
    given = {
        "data": np.arange(12, dtype=np.uint8).reshape(3, 4).copy(order),
        "labels": [1, 2.5, None, True, (3, "ü"), b"\x00\xff"],
    }
    found = archives.unpickle(written(tmp_path, pickle.dumps(given, protocol)))
    found = {key if isinstance(key, str) else key.decode(): value for key, value in found.items()}
    assert found["data"].dtype == np.uint8 and np.array_equal(found["data"], given["data"])
    assert found["labels"] == given["labels"]


def test_a_pickle_of_python_2_is_read(tmp_path):
    # {'data': numpy.array([[7, 8]], numpy.uint8), 'labels': [3]}, opcode by opcode, as Python 2 and NumPy 1 wrote it
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
        b"(I1\n(I1\nI2\ntcnumpy\ndtype\n(U\x02u1I0\nI1\ntR(I3\nU\x01|NNNI-1\nI-1\nI0\ntbI00\nU\x02\x07\x08tb"
    )
    found = archives.unpickle(written(tmp_path, b"\x80\x02}(U\x04data" + array + b"U\x06labels](K\x03eu."))
    assert found[b"data"].tolist() == [[7, 8]] and found[b"labels"] == [3]


class Calls:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("deep", [False, True])
def test_a_hostile_pickle_runs_nothing(tmp_path, protocol, deep):
    victim = tmp_path / "ran"
    for hostile in (Calls(os.mkdir, str(victim)), Calls(eval, f"__import__('os').mkdir({str(victim)!r})")):
        content = pickle.dumps({"data": np.zeros(2), "labels": [hostile]} if deep else hostile, protocol)
        with pytest.raises(ArchiveError, match="mkdir|eval"):
            archives.unpickle(written(tmp_path, content))
        assert not victim.exists()
        pickle.loads(content)
        assert victim.is_dir(), "the pickle would have run, had it been loaded"
        victim.rmdir()


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nload\n.",  # a function of an allowed module
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x12testing.os.system\x93.",  # a dotted name, which protocol 4 follows
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00bz2tR.",
        b"cbuiltins\ngetattr\n.",
        b"",
        b"Not found",
        pickle.dumps(list(range(100)))[:50],
        b"\x80\x02]" + b"(" * 3 + b"e.",
    ],
)
def test_what_is_no_data_is_refused(tmp_path, content):
    with pytest.raises(ArchiveError):
        archives.unpickle(written(tmp_path, content))


def packed(path, *members):
    """Write a tar archive of members (name, bytes) or `tarfile.TarInfo`."""
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_an_archive_is_extracted(tmp_path):
    archives.extract(packed(tmp_path / "a.tar.gz", ("one/two", b"three")), tmp_path / "out", 5)
    assert (tmp_path / "out" / "one" / "two").read_bytes() == b"three"


@pytest.mark.parametrize(
    "members",
    [
        [("../escaped", b"x")],
        [("one/../../escaped", b"x")],
        [link("out", ".."), ("out/escaped", b"x")],
        [link("escaped", "/etc/passwd")],
        [link("escaped", "../../secret", tarfile.LNKTYPE)],
        [link("device", "", tarfile.CHRTYPE)],
    ],
)
def test_what_leaves_the_folder_is_refused(tmp_path, members):
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    with pytest.raises(ArchiveError, match="breaks the rules"):
        archives.extract(packed(tmp_path / "a.tar.gz", *members), folder, 1000)
    assert not list(tmp_path.rglob("*escaped*")) and [path.name for path in tmp_path.iterdir()] != ["a.tar.gz"]


def test_an_absolute_path_stays_in_the_folder(tmp_path):
    target = tmp_path / "absolute"
    archives.extract(packed(tmp_path / "a.tar.gz", (str(target), b"x")), tmp_path / "out", 1000)
    assert not target.exists() and (tmp_path / "out" / str(target).lstrip("/")).is_file()


def test_too_large_an_archive_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ArchiveError, match="unpacks to"):
        archives.extract(packed(tmp_path / "a.tar.gz", ("one", bytes(1001))), tmp_path / "out", 1000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0, 10, 100, -2000])
def test_a_truncated_archive_is_refused(tmp_path, keep):
    path = packed(tmp_path / "a.tar.gz", ("one", os.urandom(20_000)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArchiveError):
        archives.extract(path, tmp_path / "out", 100_000)


@pytest.mark.filterwarnings("ignore")  # NumPy wonders about what it reads
def test_no_wrong_byte_gives_wrong_arrays(tmp_path):
    path, numbers = tmp_path / "numbers.npz", np.arange(300, dtype=np.float32).reshape(20, 15)
    np.savez(path, numbers=numbers)
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = archives.load_arrays(path)
        except archives.ARCHIVE_ERRORS:
            refused += 1
        else:  # a byte that says nothing of the array, such as the time of writing, or its name
            assert np.array_equal(next(iter(found.values())), numbers), place
    assert refused > len(numbers.tobytes())
