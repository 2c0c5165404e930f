"""The parts of a panel: sliders of round numbers on a logarithmic scale, lists, thumbnails, and a live picture."""

import base64
import io
import re
import zlib
from pathlib import Path

import anywidget
import ipywidgets as widgets
import traitlets
from PIL import Image

from helpers.files import CACHE, whole_file
from helpers.images import ImageError, load_image, sample_names, to_uint8

WIDE = widgets.Layout(width="330px")
LABELS = {"description_width": "105px"}
UPLOADS = CACHE / "uploads"
LARGEST_UPLOAD = 8_000_000  # bytes; a message of 10 MB makes the server close the kernel's connection


def slider(label, low, high, value, step=1, tip=None):
    """Return a slider over whole numbers, or over decimals if one of the numbers is one."""
    kind = widgets.FloatSlider if any(isinstance(number, float) for number in (low, high, step)) else widgets.IntSlider
    return kind(
        value, min=low, max=high, step=step, description=label, tooltip=tip, layout=WIDE, style=LABELS,
        continuous_update=False,
    )  # fmt: skip


def log_slider(label, low, high, value, zero=False, tip=None):
    """Return a slider over 1, 2, 5, 10, 20 … from `low` to `high`, preceded by 0 if `zero`; `value` is among them."""
    numbers = {float(f"{digit}e{power}") for power in range(-9, 10) for digit in (1, 2, 5)}
    numbers = {number for number in numbers if low <= number <= high} | {float(value)} | ({0.0} if zero else set())
    options = [(f"{number:g}", number) for number in sorted(numbers)]
    return widgets.SelectionSlider(
        options=options, value=float(value), description=label, tooltip=tip, layout=WIDE, style=LABELS,
        continuous_update=False,
    )  # fmt: skip


def choice(label, options, value, tip=None):
    """Return a list to choose one from: `options` are values, or pairs of a text and a value."""
    return widgets.Dropdown(options=options, value=value, description=label, tooltip=tip, layout=WIDE, style=LABELS)


def several(label, options, value, rows=4, tip=None):
    """Return a list to choose several from, with Ctrl or Shift held."""
    return widgets.SelectMultiple(
        options=options, value=value, description=label, rows=rows, tooltip=tip, layout=WIDE, style=LABELS
    )


class PictureChooser(anywidget.AnyWidget):
    """Thumbnails to choose a picture from, and an upload.

    Attributes:
        value: the name of the chosen picture.
        sources: {name: what `load_image` takes}.
        problem: why the last upload was refused, or "".
    """

    _esm = Path(__file__).with_name("pictures.js")
    _css = Path(__file__).with_name("pictures.css")
    label = traitlets.Unicode().tag(sync=True)
    value = traitlets.Unicode().tag(sync=True)
    pictures = traitlets.List().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    largest = traitlets.Int(LARGEST_UPLOAD).tag(sync=True)

    def __init__(self, label, value):
        """Show all sample pictures.

        Args:
            label: what the picture is for.
            value: what is chosen at first: a sample's name, or the path of a picture, which is shown too.

        Raises:
            ImageError: if `value` is no picture.
        """
        self.sources = {name: name for name in sample_names()}
        if value not in self.sources:
            self.sources[Path(value).name] = value
            value = Path(value).name
        thumbnails = [[name, _thumbnail(load_image(source, 96))] for name, source in self.sources.items()]
        super().__init__(label=label, value=value, pictures=thumbnails)
        self.on_msg(self._received)

    def load(self, max_side=None):
        """Return the chosen picture as `load_image` does."""
        return load_image(self.sources[self.value], max_side)

    def code(self, max_side=None):
        """Return the Python expression that loads the chosen picture."""
        source, size = self.sources[self.value], "" if max_side is None else f", {max_side}"
        if isinstance(source, Path) and source.parent == UPLOADS:
            return f"load_image(CACHE / 'uploads' / {source.name!r}{size})"
        return f"load_image({str(source)!r}{size})"

    def upload(self, name, data):
        """Keep an uploaded file in `data/cache/uploads/` and choose it; if it is no picture, say why in `problem`.

        Args:
            name: of the file.
            data: its bytes.
        """
        stem, ending = (re.sub(r"[^\w.-]+", "_", part) for part in (Path(name).stem[:40], Path(name).suffix.lower()))
        try:
            if len(data) > LARGEST_UPLOAD:
                raise ImageError(
                    f"{name} has {len(data) / 1e6:.1f} MB; at most {LARGEST_UPLOAD / 1e6:.0f} MB are taken."
                )
            file = io.BytesIO(data)
            file.name = name
            picture = load_image(file, 96)
            source = UPLOADS / f"{stem}-{zlib.crc32(data):08x}{ending}"
            with whole_file(source) as partial:
                partial.write_bytes(data)
        except (ImageError, OSError) as error:
            self.problem = str(error)
            return
        self.problem = ""
        title = stem + ending  # a sample's name has no ending
        self.sources[title] = source
        self.pictures = [pair for pair in self.pictures if pair[0] != title] + [[title, _thumbnail(picture)]]
        self.value = title

    def _received(self, _, content, buffers):
        if "upload" in content:
            self.upload(str(content["upload"]), bytes(buffers[0]))


class LivePicture(anywidget.AnyWidget):
    """A picture that is exchanged while it is looked at; an empty one takes no place.

    Attributes:
        value: the bytes of its file.
        kind: its media type.
        alt: what it shows, for those who cannot see it.
    """

    _esm = Path(__file__).with_name("live_picture.js")
    _css = ".atelier-picture { display: block; min-width: 220px; } .atelier-picture[hidden] { display: none; }"
    value = traitlets.Bytes().tag(sync=True)
    kind = traitlets.Unicode("image/jpeg").tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)

    def show(self, picture):
        """Show a picture `(height, width, 3)`, 0–255."""
        self.show_file(encoded(picture), "image/jpeg")

    def show_file(self, data, kind):
        """Show the bytes of a picture's file of that media type."""
        with self.hold_sync():
            self.kind, self.value = kind, data


def _thumbnail(picture):
    return "data:image/jpeg;base64," + base64.b64encode(encoded(picture)).decode()


def encoded(picture, quality=90):
    """Return a picture `(height, width, 3)`, 0–255, as the bytes of a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(picture)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
