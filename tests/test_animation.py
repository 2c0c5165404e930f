import os

import imageio.v3 as imageio
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers.animation import GifRecorder


def ramp(level, size=(40, 60)):
    """A picture whose brightness says which frame it is, over a gradient that must not flicker."""
    frame = np.tile(np.linspace(0, 255, size[1]), (size[0], 1))[:, :, None] * np.ones(3)
    frame[: size[0] // 2] = level
    return frame


def levels(path):
    return [int(frame[5, 5, 0]) for frame in imageio.imread(path, index=None, plugin="pillow", mode="RGB")]


def test_frames_come_out_in_order_and_number(tmp_path):
    recorder = GifRecorder(tmp_path / "run.gif", fps=10, hold=1.5)
    given = list(range(0, 240, 20))
    for level in given:
        recorder.add(ramp(level))
    assert recorder.save() == tmp_path / "run.gif"
    assert np.allclose(levels(recorder.path), given, atol=4)


def test_every_keeps_the_first_and_each_nth(tmp_path):
    recorder = GifRecorder(tmp_path / "run.gif", every=3)
    for level in range(0, 250, 25):
        recorder.add(ramp(level))
    assert [int(frame[5, 5, 0]) for frame in recorder.frames] == [0, 75, 150, 225]


def test_it_loops_and_holds_the_last_frame(tmp_path):
    recorder = GifRecorder(tmp_path / "run.gif", fps=20, hold=2)
    for level in (0, 100, 200):
        recorder.add(ramp(level))
    recorder.save()
    with Image.open(recorder.path) as gif:
        assert gif.info["loop"] == 0
        durations = []
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
    assert durations == [50, 50, 2050]


def test_what_does_not_move_does_not_flicker(tmp_path):
    random, recorder = np.random.default_rng(0), GifRecorder(tmp_path / "run.gif")
    picture = random.integers(0, 256, (40, 60, 3))  # more colours than a palette holds, above others in every frame
    for level in range(0, 250, 25):
        picture[:20] = random.integers(level, level + 30, (20, 60, 3))
        recorder.add(picture)
    recorder.save()
    still = imageio.imread(recorder.path, index=None, plugin="pillow", mode="RGB")[:, 20:]
    assert (still == still[0]).all()


def test_a_file_that_is_too_large_gets_smaller_pictures_not_fewer(tmp_path):
    random = np.random.default_rng(0)
    recorder = GifRecorder(tmp_path / "run.gif", max_bytes=120_000)
    for _ in range(6):
        recorder.add(random.integers(0, 256, (200, 300, 3)))
    recorder.save()
    assert os.path.getsize(recorder.path) <= 120_000
    frames = imageio.imread(recorder.path, index=None, plugin="pillow", mode="RGB")
    assert (
        len(frames) == 6 and frames.shape[1] < 200 and frames.shape[2] / frames.shape[1] == pytest.approx(1.5, rel=0.05)
    )


def test_only_at_the_smallest_size_are_frames_left_out_and_the_last_one_stays(tmp_path):
    random = np.random.default_rng(0)
    recorder = GifRecorder(tmp_path / "run.gif", max_bytes=12_000, fps=10, hold=1)
    for number in range(9):
        recorder.add(np.full((64, 64, 3), 255) if number == 8 else random.integers(0, 200, (64, 64, 3)))
    recorder.save()
    assert os.path.getsize(recorder.path) <= 12_000 and len(recorder.frames) == 9
    with Image.open(recorder.path) as gif:
        assert 1 < gif.n_frames < 9 and gif.size == (64, 64)
        assert 8 % (gif.n_frames - 1) == 0 and gif.info["duration"] == 100 * 8 / (gif.n_frames - 1)
        gif.seek(gif.n_frames - 1)
        assert np.asarray(gif.convert("RGB")).min() > 250


def test_a_video_holds_every_frame_in_order_and_the_last_one_longer(tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="The package imageio-ffmpeg is not installed.")
    recorder = GifRecorder(tmp_path / "run.gif", fps=10, hold=0.5)
    for level in (20, 120, 220):
        recorder.add(np.full((33, 65, 3), level))
    assert recorder.save_video() == tmp_path / "run.mp4"
    frames = imageio.imread(recorder.save_video(), index=None, plugin="FFMPEG")
    assert frames.shape[1:] == (34, 66, 3)
    assert np.allclose(frames.mean((1, 2, 3)), [20, 120, 220, *[220] * 5], atol=6)


def test_without_its_package_a_video_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    recorder = GifRecorder(tmp_path / "run.gif")
    with pytest.raises(ValueError, match="no frame"):
        recorder.save_video()
    recorder.add(ramp(0))
    with pytest.raises(RuntimeError, match="pip install imageio-ffmpeg"):
        recorder.save_video()


def test_size_limits_the_longer_side(tmp_path):
    recorder = GifRecorder(tmp_path / "run.gif", size=30)
    recorder.add(ramp(0))
    assert recorder.frames[0].shape == (20, 30, 3)


def test_figures_are_drawn_and_closed(tmp_path):
    recorder = GifRecorder(tmp_path / "run.gif", every=2)
    for number in range(3):
        figure, axis = plt.subplots(figsize=(2, 1), dpi=50)
        axis.plot([0, number])
        recorder.add(figure)
    assert [frame.shape for frame in recorder.frames] == [(50, 100, 3)] * 2
    assert plt.get_fignums() == []


def test_a_frame_is_a_copy(tmp_path):
    recorder, frame = GifRecorder(tmp_path / "run.gif"), np.zeros((8, 8, 3), np.uint8)
    recorder.add(frame)
    frame[:] = 255
    assert recorder.frames[0].max() == 0


def test_shown_it_needs_no_file_and_no_kernel(tmp_path):
    recorder = GifRecorder(tmp_path / "run.gif")
    recorder.add(ramp(0))
    shown = recorder.show('a "quoted" <b>caption</b>').data
    assert shown.startswith('<img src="data:image/gif;base64,R0lGOD') and "<b>" not in shown


def test_what_is_shown_is_this_recording_not_an_older_file(tmp_path):
    shown = []
    for level in (0, 200):
        recorder = GifRecorder(tmp_path / "run.gif")
        recorder.add(ramp(level))
        shown.append(recorder.show().data)
    recorder.add(ramp(100))
    shown.append(recorder.show().data)
    assert len(set(shown)) == 3


@pytest.mark.parametrize(
    "arguments", [{"every": 0}, {"every": 1.5}, {"fps": 0}, {"fps": 51}, {"hold": -1}, {"size": 0}, {"max_bytes": 0}]
)
def test_a_number_out_of_range_is_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        GifRecorder(tmp_path / "run.gif", **arguments)


def test_what_is_no_frame_is_refused(tmp_path):
    recorder = GifRecorder(tmp_path / "run.gif")
    with pytest.raises(ValueError, match="no frame"):
        recorder.save()
    with pytest.raises(ValueError, match="no image"):
        recorder.add(np.zeros((3, 4, 4)))
    recorder.add(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="one size"):
        recorder.add(np.zeros((5, 4)))
