"""The README's pictures are those that the notebooks store."""

import io
import re

import nbformat
import numpy as np
import pytest
from PIL import Image

from helpers import commands
from helpers.commands import execute, gallery
from helpers.files import PROJECT


@pytest.mark.parametrize("name", gallery.PICTURES)
def test_the_gallery_is_what_the_notebooks_hold(name):
    notebook, piece = gallery.PICTURES[name]
    wanted = gallery.as_file(name, gallery.stored(execute.read(execute.find([notebook])[0]), piece))
    written = (gallery.FOLDER / name).read_bytes()
    if written == wanted:
        return
    assert name.endswith(".jpg"), "run python -m helpers gallery"  # another release of Pillow may round otherwise
    with Image.open(io.BytesIO(wanted)) as one, Image.open(io.BytesIO(written)) as two:
        assert one.size == two.size, "run python -m helpers gallery"
        difference = np.asarray(one.convert("RGB"), float) - np.asarray(two.convert("RGB"), float)
    assert np.abs(difference).mean() < 2, "run python -m helpers gallery"


def test_the_readme_shows_them_and_they_are_small():
    shown = re.findall(r"\(data/gallery/([\w.]+)\)", (PROJECT / "README.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(gallery.PICTURES) == sorted(path.name for path in gallery.FOLDER.iterdir())
    assert sum((gallery.FOLDER / name).stat().st_size for name in shown) <= gallery.LARGEST


def test_the_command_writes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery, "FOLDER", tmp_path / "gallery")
    assert commands.main(["gallery"]) == 0
    assert capsys.readouterr().out.count(" kB, from ") == len(gallery.PICTURES)
    for name in gallery.PICTURES:
        with Image.open(tmp_path / "gallery" / name) as picture:
            assert picture.format == {"gif": "GIF", "jpg": "JPEG"}[name[-3:]] and min(picture.size) >= 100
    monkeypatch.setattr(gallery, "LARGEST", 1000)
    assert commands.main(["gallery"]) == 1


def test_a_piece_that_is_in_no_cell_or_in_two():
    cell, again = (nbformat.v4.new_code_cell("show_images(pictures)", execution_count=1) for _ in range(2))
    for cells, said in (([], "0 cells"), ([cell, again], "2 cells"), ([cell], "0 pictures")):
        with pytest.raises(SystemExit, match=said):
            gallery.stored(nbformat.v4.new_notebook(cells=cells), "show_images")
