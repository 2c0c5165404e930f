"""Take the pictures of the README's gallery from what the notebooks store, and write them to data/gallery/.

Run it after `python -m helpers execute`: the README then shows what the notebooks show.
"""

import base64
import io
import re

from helpers.commands import execute
from helpers.files import DATA, whole_file

FOLDER = DATA / "gallery"
LARGEST = 2_500_000  # bytes of all pictures together
PICTURES = {  # file: the notebook, and a piece of the one cell whose output it is
    "mnist_training.gif": ("01_mnist_cnn", "recorder.show("),
    "grad_cam.jpg": ("02_cifar10_cnn", "where the last block sees the class"),
    "fine_tuning.gif": ("03_fine_tuning", "The features of 400 images"),
    "images_per_class.jpg": ("03_fine_tuning", "what pretraining is worth"),
    "painting.jpg": ("04_style_transfer", '["content", "style", "result"]'),
    "dream.gif": ("05_deepdream", "A photograph turns into a dream"),
    "dreams.jpg": ("05_deepdream", "show_images(gallery, names"),
}


def add_arguments(parser):
    """Add no option."""


def run(arguments):
    """Write each picture; return 1 if they are too large together."""
    for name, (notebook, piece) in PICTURES.items():
        data = as_file(name, stored(execute.read(execute.find([notebook])[0]), piece))
        with whole_file(FOLDER / name) as partial:
            partial.write_bytes(data)
        print(f"{name}: {len(data) / 1e3:.0f} kB, from {notebook}")
    total = sum((FOLDER / name).stat().st_size for name in PICTURES)
    print(f"{total / 1e6:.2f} of {LARGEST / 1e6:.1f} MB")
    return int(total > LARGEST)


def stored(notebook, piece):
    """Return the bytes of the one picture or film that the cell with `piece` in its source stores.

    Raises:
        SystemExit: if not exactly one cell has it, or if that cell does not store exactly one picture.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and piece in cell.source]
    if len(cells) != 1:
        raise SystemExit(f"{len(cells)} cells hold {piece!r}; PICTURES in {__name__} needs one.")
    found = []
    for output in cells[0].outputs:
        data = output.get("data", {})
        found += [text for kind, text in data.items() if kind.startswith("image/")]
        found += re.findall(r'data:image/\w+;base64,([^"]+)"', data.get("text/html", ""))
    if len(found) != 1:
        raise SystemExit(f"The cell with {piece!r} stores {len(found)} pictures; PICTURES in {__name__} needs one.")
    return base64.b64decode(found[0])


def as_file(name, data):
    """Return the bytes to write: a film as it is stored, a still picture as JPEG, which is smaller than PNG."""
    from PIL import Image

    if not name.endswith(".jpg") or data.startswith(b"\xff\xd8"):
        return data
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()
