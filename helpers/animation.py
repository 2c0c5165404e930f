"""GIFs of an optimisation: frames are kept in memory, in order, and written once, as one loop."""

import base64
import html
import importlib.util
import io
from pathlib import Path

import imageio.v3 as imageio
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from helpers import arguments
from helpers.arguments import number
from helpers.files import whole_file
from helpers.images import fitted, to_uint8

COLOURS = 256  # what a GIF's palette holds
SMALLEST = 64  # pixels of the longer side below which frames are not shrunk


class GifRecorder:
    """Collect frames and save them as a GIF that loops and holds its last frame.

    All frames share one palette, so that what does not move does not flicker: with a palette for each frame, still
    pixels of a style transfer change 2.7 times as much from frame to frame, those of a dream 4.5 times, for colours
    that are a tenth closer. A file above `max_bytes` is made again at a lower resolution; only when the longer side
    is down to 64 pixels is every second frame left out.

    Example:
        recorder = GifRecorder("run.gif", every=5)
        for step in run:
            recorder.add(step.image)
        recorder.save()
        recorder.show()
    """

    def __init__(self, path, every=1, size=None, fps=10, hold=2.0, max_bytes=1_500_000):
        """Set the file and its limits.

        Args:
            path: where `save` writes.
            every: keep the 1st, the (1 + every)th, the (1 + 2·every)th … frame that `add` is given.
            size: longer side of the frames in pixels, or None to keep that of the first frame.
            fps: frames per second, 1 to 50, the fastest that browsers play.
            hold: seconds for which the last frame stays before the loop starts again, 0 to 600.
            max_bytes: the largest file that `save` writes.

        Raises:
            ValueError: if a number is out of its range.
        """
        self.path, self.every = arguments.path("path", path), number("every", every, 1, whole=True)
        self.size = None if size is None else number("size", size, 1, whole=True)
        self.fps, self.hold = number("fps", fps, 1, 50), number("hold", hold, 0, 600)
        self.max_bytes = number("max_bytes", max_bytes, 1)
        self.frames = []
        self._offered = 0
        self._saved = 0

    def add(self, frame):
        """Offer the next frame: an image `(h, w, 3)` or `(h, w)`, 0–255, or a matplotlib figure, which is then closed.

        Raises:
            ValueError: if it is no image, or has another shape than the first frame.
        """
        keep = self._offered % self.every == 0
        self._offered += 1
        if hasattr(frame, "savefig"):
            frame = rasterise(frame) if keep else plt.close(frame)
        if not keep:
            return
        frame = to_uint8(frame)
        if frame.ndim == 2:
            frame = np.repeat(frame[:, :, None], 3, axis=2)
        if frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ValueError(f"A frame of shape {frame.shape} is no image. Give (height, width, 3) or (height, width).")
        if self.size is not None:
            frame = _shrink(frame, self.size)
        if self.frames and frame.shape != self.frames[0].shape:
            shapes = f"{frame.shape[:2]}, the first one {self.frames[0].shape[:2]}"
            raise ValueError(f"This frame has {shapes} (height, width). Give frames of one size.")
        self.frames.append(np.array(frame))

    def save(self):
        """Write the GIF and return its path. It appears whole or not at all.

        Raises:
            ValueError: if there is no frame.
        """
        if not self.frames:
            raise ValueError("There is no frame to save. Call add(image) first.")
        longest, stride = max(self.frames[0].shape[:2]), 1
        data = self._encode(self.frames)
        while len(data) > self.max_bytes and (longest > SMALLEST or stride < len(self.frames)):
            if longest > SMALLEST:
                longest = max(SMALLEST, int(longest * min(0.9, (self.max_bytes / len(data)) ** 0.5)))
            else:
                stride *= 2
            kept = self.frames[::-stride][::-1]  # counted from the last frame, which always stays
            data = self._encode([_shrink(frame, longest) for frame in kept], stride)
        with whole_file(self.path) as partial:
            partial.write_bytes(data)
        self._saved = len(self.frames)
        return self.path

    def save_video(self, path=None):
        """Write the frames as an MP4 (H.264), which shows every colour, and return its path.

        Args:
            path: where it goes; None puts it beside the GIF.

        Raises:
            ValueError: if there is no frame.
            RuntimeError: if the package imageio-ffmpeg is not installed.
        """
        if not self.frames:
            raise ValueError("There is no frame to save. Call add(image) first.")
        if importlib.util.find_spec("imageio_ffmpeg") is None:
            raise RuntimeError("An MP4 needs the package imageio-ffmpeg. Run: python -m pip install imageio-ffmpeg")
        path = self.path.with_suffix(".mp4") if path is None else Path(path)
        held = [self.frames[-1]] * round(self.fps * self.hold)
        frames = np.stack([*self.frames, *held])
        odd = [(0, side % 2) for side in frames.shape[1:3]]  # H.264 stores even sides
        with whole_file(path) as partial:
            frames = np.pad(frames, [(0, 0), *odd, (0, 0)], mode="edge")
            imageio.imwrite(partial, frames, plugin="FFMPEG", fps=self.fps, macro_block_size=2)
        return path

    def show(self, caption="The optimisation, frame by frame"):
        """Return the saved GIF as HTML that holds it, for the last line of a cell; it plays with no kernel and no file.

        Args:
            caption: what the picture shows, for those who cannot see it.
        """
        from IPython.display import HTML

        if self._saved != len(self.frames) or not self.path.is_file():
            self.save()
        data = base64.b64encode(self.path.read_bytes()).decode()
        return HTML(f'<img src="data:image/gif;base64,{data}" alt="{html.escape(str(caption))}">')

    def _encode(self, frames, stride=1):
        each = 1000 * stride / self.fps  # milliseconds; a run from which frames are left out takes as long
        durations = [each] * (len(frames) - 1) + [each + 1000 * self.hold]
        if len(frames) == 1:
            (durations,) = durations  # Pillow takes a list only for several frames
        buffer = io.BytesIO()
        imageio.imwrite(buffer, _share_palette(frames), extension=".gif", plugin="pillow", duration=durations, loop=0)
        return buffer.getvalue()


def rasterise(figure):
    """Draw a matplotlib figure, close it and return it as a picture, uint8 `(height, width, 3)`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    plt.close(figure)
    return image


def _shrink(frame, longest):
    if longest >= max(frame.shape[:2]):
        return frame
    height, width = fitted(frame.shape, longest)
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))


def _share_palette(frames):
    """Return the frames with the colours of one palette, chosen for the first, the last and those between."""
    chosen = [frames[round(place)] for place in np.linspace(0, len(frames) - 1, min(8, len(frames)))]
    palette = Image.fromarray(np.concatenate(chosen)).quantize(COLOURS, Image.Quantize.MEDIANCUT)
    reduced = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    return [np.asarray(image.convert("RGB")) for image in reduced]
