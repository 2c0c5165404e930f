"""Films of a run: frames are kept in memory, in order, and written once, as a GIF that loops or as an MP4."""

import base64
import html
import io
from pathlib import Path

import imageio.v3 as imageio
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from helpers.check import checked, number, optional, whole
from helpers.files import whole_file
from helpers.images import fitted, to_uint8

SMALLEST = 64  # pixels of the longer side below which frames are not shrunk


class GifRecorder:
    """Collect frames and save them as a GIF that loops and holds its last frame.

    All frames share one palette, so that still parts do not flicker. A file above `max_bytes` is made again at a lower
    resolution; only when the longer side is down to 64 pixels is every second frame left out.

        recorder = GifRecorder("run.gif", every=5)
        follow(steps, recorder=recorder)
        recorder.show("What the film shows, in words")
    """

    @checked(every=whole(1), size=optional(whole(1)), fps=number(1, 50), hold=number(0, 600), max_bytes=whole(1))
    def __init__(self, path, every=1, size=None, fps=10, hold=2.0, max_bytes=1_500_000, comment=""):
        """Set the file and its limits.

        Args:
            path: where `save` writes.
            every: keep the 1st, the (1 + every)th, the (1 + 2·every)th … frame that `add` is given.
            size: longer side of the frames in pixels, or None to keep that of the first frame.
            fps: frames per second, 1 to 50, the fastest that browsers play.
            hold: seconds for which the last frame stays before the loop starts again.
            max_bytes: the largest file that `save` writes.
            comment: a text that is stored in the file, such as the settings of the run.
        """
        self.path, self.every, self.size, self.fps, self.hold = Path(path), every, size, fps, hold
        self.max_bytes, self.comment = max_bytes, comment
        self.frames = []
        self._offered = self._saved = 0

    def add(self, frame):
        """Offer the next frame: an image `(h, w, 3)` or `(h, w)`, 0–255, or a matplotlib figure, which is then closed.

        Raises:
            ValueError: if it is not an image, or its shape differs from that of the first frame.
        """
        self._offered += 1
        if (self._offered - 1) % self.every:
            return plt.close(frame) if hasattr(frame, "savefig") else None
        frame = _as_frame(frame)
        frame = frame if self.size is None else _shrunk(frame, self.size)
        if self.frames and frame.shape != self.frames[0].shape:
            raise ValueError(f"This frame has {frame.shape[:2]} pixels, the first one {self.frames[0].shape[:2]}.")
        self.frames.append(frame)

    def save(self):
        """Write the GIF, whole or not at all, and return its path; raise `ValueError` if there is no frame."""
        if not self.frames:
            raise ValueError("There is no frame to save. Call add(image) first.")
        longest, stride = max(self.frames[0].shape[:2]), 1
        data = self._encoded(self.frames)
        while len(data) > self.max_bytes and (longest > SMALLEST or stride < len(self.frames)):
            if longest > SMALLEST:
                longest = max(SMALLEST, int(longest * min(0.9, (self.max_bytes / len(data)) ** 0.5)))
            else:
                stride *= 2
            kept = self.frames[::-stride][::-1]  # counted from the last frame, which always stays
            data = self._encoded([_shrunk(frame, longest) for frame in kept], stride)
        with whole_file(self.path) as partial:
            partial.write_bytes(data)
        self._saved = len(self.frames)
        return self.path

    def show(self, caption="A run, frame by frame"):
        """Save the GIF and return it as HTML that needs no kernel and no file; `caption` says what it shows."""
        from IPython.display import HTML

        if self._saved != len(self.frames) or not self.path.is_file():
            self.save()
        data = base64.b64encode(self.path.read_bytes()).decode()
        return HTML(f'<img src="data:image/gif;base64,{data}" alt="{html.escape(str(caption))}">')

    def _encoded(self, frames, stride=1):
        each = 1000 * stride / self.fps  # milliseconds; a run from which frames are left out takes as long
        first, *others = _with_one_palette(frames)
        durations = [each] * len(others) + [each + 1000 * self.hold]
        options = {"duration": durations if others else durations[0], "loop": 0, "comment": self.comment}
        buffer = io.BytesIO()
        first.save(buffer, "GIF", save_all=True, append_images=others, **options)
        return buffer.getvalue()


@checked(fps=number(1, 60), hold=number(0, 600))
def save_film(path, frames, fps=10, hold=2.0):
    """Write frames, as `GifRecorder.add` takes them, as an MP4 (H.264), and return its path.

    The last frame stays for `hold` seconds.

    Raises:
        ValueError: if there is no frame, or they differ in size.
        RuntimeError: if the package imageio-ffmpeg is not installed.
    """
    frames = [_as_frame(frame) for frame in frames]
    if len({frame.shape for frame in frames}) != 1:
        raise ValueError(f"save_film: frames are {len(frames)} images of different sizes, or none; give frames of one.")
    frames = np.stack(frames + frames[-1:] * round(fps * hold))
    odd = [(0, side % 2) for side in frames.shape[1:3]]  # H.264 stores even sides
    frames = np.pad(frames, [(0, 0), *odd, (0, 0)], mode="edge")
    try:
        with whole_file(path) as partial:
            imageio.imwrite(partial, frames, plugin="FFMPEG", fps=fps, macro_block_size=2)
    except ImportError:
        raise RuntimeError("An MP4 needs imageio-ffmpeg. Run: python -m pip install imageio-ffmpeg") from None
    return path


def rasterise(figure):
    """Draw a matplotlib figure, close it and return it as an image, uint8 `(height, width, 3)`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    plt.close(figure)
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _as_frame(frame):
    """Return an image or a figure as a copy, uint8 `(height, width, 3)`."""
    frame = rasterise(frame) if hasattr(frame, "savefig") else np.array(to_uint8(frame))
    frame = np.repeat(frame[:, :, None], 3, axis=2) if frame.ndim == 2 else frame
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"A frame is (height, width, 3) or (height, width), not {frame.shape}.")
    return frame


def _shrunk(frame, longest):
    size = fitted(frame.shape, min(longest, max(frame.shape[:2])))
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.LANCZOS))


def _with_one_palette(frames):
    """Return the frames as PIL images with one palette, chosen for the first, the last and some between them."""
    chosen = [frames[round(index)] for index in np.linspace(0, len(frames) - 1, min(8, len(frames)))]
    palette = Image.fromarray(np.concatenate(chosen)).quantize(256, Image.Quantize.MEDIANCUT)
    return [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
