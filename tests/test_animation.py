import os

import imageio.v3 as imageio
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers.animation import GifRecorder, save_film


def ramp(level, size=(40, 60)):
    """An image whose brightness says which frame it is, over a gradient that must not flicker."""
    frame = np.tile(np.linspace(0, 255, size[1]), (size[0], 1))[:, :, None] * np.ones(3)
    frame[: size[0] // 2] = level
    return frame


def record(path, frames, **settings):
    recorder = GifRecorder(path / "run.gif", **settings)
    for frame in frames:
        recorder.add(frame)
    return recorder


def read(path):
    return imageio.imread(path, index=None, plugin="pillow", mode="RGB")


def test_frames_come_out_in_order_and_what_does_not_move_does_not_flicker(tmp_path):
    recorder = record(tmp_path, [ramp(level) for level in range(0, 240, 20)])
    assert recorder.save() == tmp_path / "run.gif"
    frames = read(recorder.path)
    np.testing.assert_allclose(frames[:, 5, 5, 0], range(0, 240, 20), atol=4)
    assert (frames[:, 25:] == frames[0, 25:]).all()


def test_it_loops_holds_the_last_frame_and_holds_a_comment(tmp_path):
    recorder = record(tmp_path, [ramp(level) for level in (0, 100, 200)], fps=20, hold=2, comment="steps=3, größer")
    with Image.open(recorder.save()) as gif:
        assert gif.info["loop"] == 0 and gif.info["comment"].decode() == "steps=3, größer"
        durations = []
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
    assert durations == [50, 50, 2050]


def test_every_and_size(tmp_path):
    recorder = record(tmp_path, [ramp(level) for level in range(0, 250, 25)], every=3, size=30)
    assert [int(frame[2, 2, 0]) for frame in recorder.frames] == [0, 75, 150, 225]
    assert recorder.frames[0].shape == (20, 30, 3)
    assert record(tmp_path, [ramp(0)], size=600).frames[0].shape == (40, 60, 3)


def test_what_does_not_move_does_not_flicker(tmp_path):
    random, recorder = np.random.default_rng(0), GifRecorder(tmp_path / "run.gif")
    picture = random.integers(0, 256, (40, 60, 3))  # more colours than a palette holds, above others in every frame
    for level in range(0, 250, 25):
        picture[:20] = random.integers(level, level + 30, (20, 60, 3))
        recorder.add(picture)
    recorder.save()
    still = imageio.imread(recorder.path, index=None, plugin="pillow", mode="RGB")[:, 20:]
    assert (still == still[0]).all()


def test_a_file_that_is_too_large_gets_smaller_images_not_fewer(tmp_path):
    random = np.random.default_rng(0)
    recorder = record(tmp_path, random.integers(0, 256, (6, 200, 300, 3)), max_bytes=120_000)
    assert os.path.getsize(recorder.save()) <= 120_000
    count, height, width, _ = read(recorder.path).shape
    assert count == 6 and height < 200 and width / height == pytest.approx(1.5, rel=0.05)


def test_only_at_the_smallest_size_are_frames_left_out_and_the_last_one_stays(tmp_path):
    frames = np.random.default_rng(0).integers(0, 200, (9, 64, 64, 3))
    frames[-1] = 255
    recorder = record(tmp_path, frames, max_bytes=12_000, fps=10, hold=1)
    assert os.path.getsize(recorder.save()) <= 12_000 and len(recorder.frames) == 9
    with Image.open(recorder.path) as gif:
        assert 1 < gif.n_frames < 9 and gif.size == (64, 64)
        assert 8 % (gif.n_frames - 1) == 0 and gif.info["duration"] == 100 * 8 / (gif.n_frames - 1)
        gif.seek(gif.n_frames - 1)
        assert np.asarray(gif.convert("RGB")).min() > 250


def test_a_film_holds_every_frame_in_order_and_the_last_one_longer(tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="The package imageio-ffmpeg is not installed.")
    path = save_film(tmp_path / "run.mp4", [np.full((33, 65, 3), level) for level in (20, 120, 220)], fps=10, hold=0.5)
    frames = imageio.imread(path, index=None, plugin="FFMPEG")
    assert frames.shape[1:] == (34, 66, 3) and imageio.immeta(path, plugin="FFMPEG")["fps"] == 10
    assert np.allclose(frames.mean((1, 2, 3)), [20, 120, 220, *[220] * 5], atol=6)
    for frames in ([], [np.zeros((4, 4, 3)), np.zeros((4, 6, 3))]):
        with pytest.raises(ValueError, match="frames"):
            save_film(tmp_path / "none.mp4", frames)
    assert not (tmp_path / "none.mp4").exists()


def test_figures_are_drawn_and_closed_and_a_frame_is_a_copy(tmp_path):
    shown = []
    for number in range(3):
        figure, axis = plt.subplots(figsize=(2, 1), dpi=50)
        axis.plot([0, number])
        shown.append(figure)
    assert [frame.shape for frame in record(tmp_path, shown, every=2).frames] == [(50, 100, 3)] * 2
    assert plt.get_fignums() == []
    frame = np.zeros((8, 8), np.uint8)
    recorder = record(tmp_path, [frame])
    frame[:] = 255
    assert recorder.frames[0].max() == 0 and recorder.frames[0].shape == (8, 8, 3)


def test_shown_it_is_this_recording_and_needs_no_file_and_no_kernel(tmp_path):
    shown = []
    for level in (0, 200):
        recorder = record(tmp_path, [ramp(level)])
        shown.append(recorder.show('a "quoted" <b>caption</b>').data)
    recorder.add(ramp(100))
    shown.append(recorder.show().data)
    assert len(set(shown)) == 3
    assert shown[0].startswith('<img src="data:image/gif;base64,R0lGOD') and "<b>" not in shown[0]


@pytest.mark.parametrize(
    "settings", [{"every": 0}, {"fps": 51}, {"fps": 0}, {"hold": -1}, {"size": 1.5}, {"max_bytes": 0}]
)
def test_a_number_out_of_range_is_refused(tmp_path, settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is"):
        GifRecorder(tmp_path / "run.gif", **settings)


def test_anything_but_a_frame_is_refused(tmp_path):
    recorder = GifRecorder(tmp_path / "run.gif")
    with pytest.raises(ValueError, match="no frame"):
        recorder.save()
    with pytest.raises(ValueError, match=r"\(3, 4, 4\)"):
        recorder.add(np.zeros((3, 4, 4)))
    recorder.add(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"\(5, 4\)"):
        recorder.add(np.zeros((5, 4)))
