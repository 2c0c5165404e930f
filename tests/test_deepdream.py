"""DeepDream on a tiny network with random weights, and on objectives that can be worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from helpers import deepdream
from helpers.animation import GifRecorder
from helpers.deepdream import (
    ChannelObjective,
    DeepDream,
    DivergedError,
    add_detail,
    ascend,
    enlarge_middle,
    octave_shapes,
    smooth_gradient,
    zoom,
)
from helpers.images import resize

GENERATOR = np.random.default_rng(0)
IMAGE = resize(GENERATOR.uniform(30, 225, (9, 11, 3)), (71, 83)).clip(0, 255)
PLAIN = dict(octaves=1, jitter=0, smoothing=0, progress=False)


@pytest.fixture
def dreamer(backbone):
    return DeepDream(backbone)


class Brightness:
    """An objective of single pixels, mean(x²)/2: its gradient is x, everywhere the same share of it."""

    def network(self, backbone):
        return lambda images: images * 60 + 120.0  # undoes the preprocessing

    def values(self, features_of):
        return {}

    def loss(self, features, values):
        return tf.reduce_mean(tf.square(features)) / 2


class Recorder:
    """Keep the frames; press the stop button after `limit` of them."""

    def __init__(self, limit=10**6):
        self.limit, self.frames = limit, []

    def add(self, frame):
        self.frames.append(frame)
        if len(self.frames) == self.limit:
            raise KeyboardInterrupt


# One step


def test_a_step_by_hand():
    image = np.array([[[100.0], [20.0]], [[250.0], [3.0]]], np.float32)
    gradient = np.array([[[1.0], [-3.0]], [[4.0], [0.0]]], np.float32)  # mean magnitude 2
    np.testing.assert_allclose(ascend(image, gradient, 4.0), [[[102], [14]], [[255], [3]]], rtol=1e-6)
    np.testing.assert_allclose(ascend(image, 1e-6 * gradient, 4.0), [[[102], [14]], [[255], [3]]], rtol=1e-4)
    np.testing.assert_allclose(ascend(image, gradient, 4.0, normalize=False), [[[104], [8]], [[255], [3]]])


def test_a_gradient_of_zero_is_no_step():
    np.testing.assert_array_equal(ascend(IMAGE, np.zeros_like(IMAGE), 4.0, smoothing=1.0), IMAGE)


def test_smoothing_is_the_mean_of_three_gaussians():
    gradient = GENERATOR.normal(size=(40, 50, 3)).astype(np.float32)
    levels = [gaussian_filter(gradient, (sigma, sigma, 0)) for sigma in (0.75, 1.5, 3)]
    expected = np.abs(gradient).mean() * sum(level / np.abs(level).mean() for level in levels) / 3
    np.testing.assert_allclose(smooth_gradient(gradient, 1.5), expected, rtol=1e-4, atol=1e-5)
    flat = smooth_gradient(np.full((20, 20, 3), 7.0, np.float32), 2.0)
    np.testing.assert_allclose(flat, 7, rtol=1e-5)
    with pytest.raises(ValueError, match="above 0"):
        smooth_gradient(gradient, -1)


def test_the_first_step_is_the_normalised_gradient(dreamer):
    (step,) = dreamer.iterate(IMAGE, octaves=1, steps=1, step_size=2.0, jitter=0, smoothing=0)
    loss, gradient = dreamer.evaluator()(IMAGE)
    np.testing.assert_allclose(
        step.image, (IMAGE + 2 * gradient / np.abs(gradient).mean()).clip(0, 255), rtol=1e-4, atol=1e-3
    )
    assert step.loss == pytest.approx(loss) and (step.number, step.of, step.octave) == (1, 1, 0)
    assert step.image.dtype == np.float32


def test_what_is_rolled_is_rolled_back(backbone):
    dreamer = DeepDream(backbone, Brightness())
    still, rolled = (
        dreamer.dream(IMAGE, octaves=1, steps=3, jitter=jitter, smoothing=0, progress=False).image for jitter in (0, 40)
    )
    np.testing.assert_allclose(rolled, still, atol=1e-3)


@pytest.mark.parametrize("shape", [(71, 83), (64, 64), (97, 33), (40, 120)])
@pytest.mark.parametrize("tile_size, overlap", [(32, 0), (32, 12), (64, 16), (512, 64)])
def test_every_pixel_gets_its_gradient_in_every_step(backbone, shape, tile_size, overlap):
    """Of mean(x²)/2 the step is s · x / mean |x|: a pixel left out in one step would fall behind."""
    picture = resize(IMAGE, shape).clip(20, 60)
    steps = DeepDream(backbone, Brightness()).iterate(
        picture, 1, steps=3, step_size=2.0, jitter=9, tile_size=tile_size, overlap=overlap, smoothing=0
    )
    for step in steps:
        expected = picture + 2 * picture / picture.mean()
        np.testing.assert_allclose(step.image, expected, rtol=1e-4)
        picture = step.image


# Octaves


def test_octave_shapes():
    assert octave_shapes((100, 141), 3, 2.0, 20) == [(25, 35), (50, 70), (100, 141)]
    assert octave_shapes((101, 33, 3), 1, 1.4) == [(101, 33)]
    shapes = octave_shapes((480, 640), 4, 1.4)
    assert shapes == [(175, 233), (245, 327), (343, 457), (480, 640)]


def test_detail_is_what_the_smaller_copy_lacks():
    sharp = 50 + IMAGE / 2
    small = resize(sharp, (35, 41))
    np.testing.assert_allclose(add_detail(small, small, sharp), sharp, atol=1e-4)
    np.testing.assert_allclose(add_detail(small + 10, small, sharp), sharp + 10, atol=1e-3)
    flat = np.full_like(small, 90)
    np.testing.assert_allclose(add_detail(flat, small, sharp), 90 + sharp - resize(small, (71, 83)), atol=1e-3)


@pytest.mark.parametrize("shape", [(71, 83), (64, 96), (95, 61)])
def test_a_dream_that_changes_nothing_gives_the_picture_back(dreamer, shape):
    """Each octave gets back exactly what shrinking lost, at every size."""
    picture = resize(IMAGE, shape).clip(0, 255)
    for step in dreamer.iterate(picture, octaves=4, octave_scale=1.3, steps=2, step_size=0.0):
        np.testing.assert_allclose(step.image, resize(picture, step.image.shape[:2]).clip(0, 255), atol=1e-3)
    np.testing.assert_allclose(step.image, picture, atol=1e-3)
    assert step.image.shape == picture.shape


def test_steps_are_numbered_over_all_octaves(dreamer):
    steps = list(dreamer.iterate(IMAGE, octaves=3, octave_scale=1.5, steps=2))
    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6] and {step.of for step in steps} == {6}
    assert [step.octave for step in steps] == [0, 0, 1, 1, 2, 2]
    assert [step.image.shape[:2] for step in steps[::2]] == octave_shapes(IMAGE.shape, 3, 1.5)
    steps = list(dreamer.iterate(IMAGE, octaves=3, octave_scale=1.5, steps=[3, 1, 2], step_size=[1, 0, 2]))
    assert [step.octave for step in steps] == [0, 0, 0, 1, 2, 2]
    blank = resize(IMAGE, steps[3].image.shape[:2])
    carried = add_detail(steps[2].image, resize(IMAGE, steps[2].image.shape[:2]).clip(0, 255), blank.clip(0, 255))
    np.testing.assert_allclose(steps[3].image, carried, atol=1e-4)  # its step size is 0


def test_one_trace_for_every_octave_tile_and_picture(dreamer):
    assert dreamer.traces == 0
    dreamer.dream(IMAGE, octaves=3, steps=2, progress=False)
    dreamer.dream(IMAGE[:64, :50], octaves=2, steps=1, tile_size=32, overlap=8, progress=False)
    assert dreamer.traces == 1


def test_loss_rises(dreamer):
    result = dreamer.dream(IMAGE, octaves=2, steps=8, progress=False)
    loss, octave = result.history["loss"], result.history["octave"]
    assert octave.tolist() == [0] * 8 + [1] * 8
    assert loss[7] > 1.5 * loss[0] and loss[15] > loss[8]
    assert result.image.shape == IMAGE.shape and result.image.dtype == np.float32
    assert 0 <= result.image.min() and result.image.max() <= 255
    assert result.seconds > 0 and not result.interrupted


def test_max_loss_ends_an_octave_but_not_the_picture(dreamer):
    free = dreamer.dream(IMAGE, octaves=2, steps=6, jitter=0, progress=False).history["loss"]
    limit = float(free[3])
    steps = list(dreamer.iterate(IMAGE, octaves=2, steps=6, jitter=0, max_loss=limit * 0.999))
    assert [step.number for step in steps if step.octave == 0] == [1, 2, 3, 4]
    np.testing.assert_array_equal(steps[3].image, steps[2].image)  # above the limit: no step is taken
    assert steps[4].number == 7 and steps[-1].image.shape == IMAGE.shape
    steps = list(dreamer.iterate(IMAGE, octaves=3, steps=6, max_loss=-1.0))
    assert [step.number for step in steps] == [1, 7, 13]
    np.testing.assert_allclose(steps[-1].image, IMAGE, atol=1e-3)


# A run


def test_same_seed_same_picture_bit_for_bit(backbone):
    def run(seed):
        return DeepDream(backbone).dream(IMAGE, octaves=2, steps=4, seed=seed, progress=False).image

    np.testing.assert_array_equal(run(3), run(3))
    assert np.abs(run(3) - run(4)).max() > 0.1


@pytest.mark.parametrize("limit", [2, 6])
def test_interrupt_returns_what_there_is_at_full_size(dreamer, limit):
    recorder = Recorder(limit)
    result = dreamer.dream(IMAGE, octaves=2, steps=4, recorder=recorder, progress=False)
    assert result.interrupted and len(result.history["loss"]) == limit
    assert result.image.shape == IMAGE.shape
    np.testing.assert_array_equal(result.image, recorder.frames[-1])


def test_interrupt_before_the_first_step_is_an_interrupt(dreamer, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(deepdream, "tiled_gradient", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dreamer.dream(IMAGE, progress=False)


def test_recorder_gets_frames_of_one_size_with_their_detail(dreamer, capsys):
    recorder = Recorder()
    dreamer.dream(IMAGE, octaves=3, steps=2, step_size=0.0, recorder=recorder)
    assert len(recorder.frames) == 6
    for frame in recorder.frames:
        np.testing.assert_allclose(frame, IMAGE, atol=1e-3)
    assert capsys.readouterr().err == ""


def test_divergence_is_said_and_keeps_the_run_up_to_then(backbone, dreamer, monkeypatch):
    class Bright(Brightness):
        def loss(self, features, values):
            return super().loss(features, values) * 3e38

    with pytest.raises(DivergedError, match="Step 1: the loss is inf.*coefficients") as caught:
        DeepDream(backbone, Bright()).dream(IMAGE, **PLAIN)
    assert caught.value.result is None
    real, calls = deepdream.tiled_gradient, []

    def fails_third(*arguments):
        calls.append(1)
        loss, gradient = real(*arguments)
        return loss, gradient * (np.nan if len(calls) == 3 else 1)

    monkeypatch.setattr(deepdream, "tiled_gradient", fails_third)
    with pytest.raises(DivergedError, match="Step 3") as caught:
        dreamer.dream(IMAGE, steps=5, **PLAIN)
    assert len(caught.value.result.history["loss"]) == 2


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"octaves": 0}, "from 1"),
        ({"octaves": 1.5}, "from 1"),
        ({"octave_scale": 1.0}, "above 1"),
        ({"octaves": 9}, "Use fewer octaves"),
        ({"steps": 0}, "steps must be"),
        ({"steps": [2, 3]}, "each of 4 octaves"),
        ({"step_size": [1.0]}, "step_size must be"),
        ({"step_size": float("nan")}, "step_size must be"),
        ({"jitter": -1}, "jitter"),
        ({"tile_size": 8, "overlap": 0}, "tile_size"),
        ({"overlap": 600}, "overlap"),
        ({"smoothing": -1.0}, "smoothing"),
    ],
)
def test_errors_of_a_run(dreamer, settings, words):
    with pytest.raises(ValueError, match=words):
        next(dreamer.iterate(IMAGE, **settings))


def test_small_pictures_are_refused(dreamer):
    with pytest.raises(ValueError, match="32 pixels"):
        next(dreamer.iterate(IMAGE[:20]))


def test_default_objective_is_the_backbones_layers(backbone):
    assert DeepDream(backbone).objective.layers == {"first": 1.0, "second": 1.0}
    assert isinstance(DeepDream(backbone, ChannelObjective("first", 0)).objective, ChannelObjective)


# Zoom


def test_zoom_keeps_size_and_order(dreamer, tmp_path):
    recorder = GifRecorder(tmp_path / "zoom.gif")
    result = zoom(dreamer, IMAGE, frames=4, factor=1.1, recorder=recorder, octaves=1, steps=1, progress=False)
    assert len(recorder.frames) == 4 and {frame.shape for frame in recorder.frames} == {IMAGE.shape}
    assert result.image.shape == IMAGE.shape and len(result.history["loss"]) == 4
    np.testing.assert_allclose(recorder.frames[-1], result.image, atol=0.51)


def test_a_zoom_without_a_dream_is_a_magnifying_glass(dreamer):
    ramp = np.stack([np.tile(np.linspace(50, 200, 81, dtype=np.float32), (61, 1))] * 3, axis=-1)
    result = zoom(
        dreamer, ramp, frames=3, factor=1.25, keep_colors=False, octaves=1, steps=1, step_size=0.0, progress=False
    )
    slope = np.diff(result.image[30, 10:-10, 0])
    np.testing.assert_allclose(slope, 150 / 80 / 1.25**2, rtol=0.02)
    assert result.image[30, 40, 0] == pytest.approx(125, abs=0.1)  # the middle stays where it is


def test_a_zoom_keeps_its_colours(dreamer):
    settings = dict(frames=6, factor=1.1, octaves=1, steps=2, step_size=8.0, progress=False)
    kept, free = (zoom(dreamer, IMAGE, keep_colors=keep, **settings).image for keep in (True, False))
    spread = IMAGE.std((0, 1))
    assert np.abs(kept.std((0, 1)) - spread).max() < 0.5 * np.abs(free.std((0, 1)) - spread).max()


def test_enlarging_keeps_a_flat_picture():
    np.testing.assert_allclose(enlarge_middle(np.full((40, 51, 3), 9.0, np.float32), 1.07), 9, atol=1e-4)


def test_zoom_can_be_stopped(dreamer):
    recorder = Recorder(3)
    result = zoom(dreamer, IMAGE, frames=9, octaves=1, steps=1, recorder=recorder, progress=False)
    assert result.interrupted and len(result.history["loss"]) == 3


@pytest.mark.parametrize("settings", [{"frames": 0}, {"factor": 1.0}, {"factor": "2"}, {"seed": -1}])
def test_errors_of_zoom(dreamer, settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        zoom(dreamer, IMAGE, **settings)
