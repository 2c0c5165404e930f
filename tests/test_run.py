"""A run is followed to its end, to the stop button or to its divergence, and what it reached is kept."""

import numpy as np
import pytest

from helpers import run
from helpers.images import load_image
from helpers.run import DivergedError, Step, as_step, follow


def image(level, side=4):
    return np.full((side, side, 3), level, np.float32)


class Recorder:
    """Keep the images; press the stop button after `limit` of them."""

    def __init__(self, limit=10**6):
        self.limit, self.images = limit, []

    def add(self, image):
        self.images.append(image)
        if len(self.images) == self.limit:
            raise KeyboardInterrupt


def steps(*totals, phase=0):
    for level, total in enumerate(totals, 10):
        yield Step(image(level), {"total": total}, of=len(totals), phase=phase)


def test_the_image_is_the_best_of_the_last_phase_and_the_history_is_that_of_all():
    def phases():
        yield from steps(5, 1, 3)
        yield from steps(9, 4, 8, phase=1)

    result = follow(phases(), progress=False)
    assert result.image.max() == 11 and not result.interrupted and result.seconds >= 0
    np.testing.assert_array_equal(result.history["total"], [5, 1, 3, 9, 4, 8])
    np.testing.assert_array_equal(result.history["phase"], [0, 0, 0, 1, 1, 1])


def test_without_a_total_it_is_the_last_image():
    result = follow(((image(level), {"loss": level}) for level in (7, 9, 8)), progress=False)
    assert result.image.max() == 8


def test_what_a_generator_may_yield():
    assert as_step(3.5).losses == {"loss": 3.5} and as_step(image(1)).image.max() == 1
    assert as_step((image(1), 2.0)).losses == {"loss": 2.0} and as_step({"a": 1, "b": 2}).losses == {"a": 1, "b": 2}
    history = follow(iter([{"loss": 1}, {"loss": 2, "accuracy": 0.5}]), progress=False).history
    np.testing.assert_array_equal(history["accuracy"], [np.nan, 0.5])
    assert follow(iter([1.0]), progress=False).image is None


def test_the_stop_button_returns_the_best_so_far_and_closes_the_generator():
    closed = []

    def endless():
        try:
            yield from steps(3, 1, 2, 4, 5)
        finally:
            closed.append(True)

    result = follow(endless(), recorder=Recorder(3), progress=False)
    assert result.interrupted and result.image.max() == 11 and len(result.history["total"]) == 3 and closed


def test_a_stop_before_the_first_step_is_an_interrupt():
    def stopped():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        follow(stopped(), progress=False)


def test_a_diverged_run_says_so_with_what_it_reached():
    def diverging(*totals):
        yield from steps(*totals)
        raise DivergedError("The loss is nan.")

    with pytest.raises(DivergedError, match="nan") as caught:
        follow(diverging(2, 1), progress=False)
    assert caught.value.result.image.max() == 11 and len(caught.value.result.history["total"]) == 2
    with pytest.raises(DivergedError) as caught:
        follow(diverging(), progress=False)
    assert caught.value.result is None


def test_images_are_brought_to_one_size(tmp_path):
    for size in ((8, 8), lambda image: image.repeat(2, 0).repeat(2, 1)):
        recorder = Recorder()
        result = follow(steps(1), recorder=recorder, save_to=tmp_path / "run.png", size=size, progress=False)
        assert result.image.shape == recorder.images[0].shape == load_image(tmp_path / "run.png").shape == (8, 8, 3)
    assert follow(steps(1), progress=False).image.shape == (4, 4, 3)


def test_the_best_image_is_saved_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SAVE_EVERY", -1)
    seen = []

    def watched():
        for step in steps(3, 1, 2):
            yield step
            seen.append(load_image(tmp_path / "run.png").max())

    follow(watched(), save_to=tmp_path / "run.png", progress=False)
    assert seen == [10, 11, 11]


def test_a_run_goes_on_where_its_image_cannot_be_written(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file, not a folder")
    result = follow(steps(2, 1), save_to=tmp_path / "taken" / "run.png", progress=False)
    assert len(result.history["total"]) == 2 and "The run goes on" in capsys.readouterr().out


def test_the_bar_shows_numbers_and_writes_nothing_to_stderr(capsys):
    follow(steps(2, 1))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "settings", [{"recorder": "run.gif"}, {"recorder": Recorder}, {"save_to": "run.gift"}, {"save_to": 3}]
)
def test_refusals(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        follow(steps(1), **settings)
