import asyncio
import gc
import io
import threading
import weakref

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

from helpers.images import save_image
from helpers.live import FRAMES, ImageChoice, Pace, image_choice, live, log_slider, several
from helpers.run import Step

VIEW = "application/vnd.jupyter.widget-view+json"
RAMP = np.tile(np.linspace(0, 255, 60, dtype=np.float32), (40, 1))[..., None] * np.ones(3, np.float32)

ROUND = tuple((f"{number:g}", number) for number in (0, 0.5, 1, 2, 3, 5, 10))


def brighten(steps=12, factor=1.0, title="ä" * 300):
    for number in range(1, steps + 1):
        if factor == 5:
            raise RuntimeError("factor 5 is <unlucky>")
        yield RAMP * np.float32(number / steps), {"loss": factor / number}


def yielding(*values):
    def run():
        yield from values

    return run


def complete(panel, after=None):
    """Press Run and wait for the end; `after(panel)` is called as soon as a step was seen."""

    async def go():
        panel.run()
        task = panel.task
        while after and not panel.left.value and not task.done():
            await asyncio.sleep(0.001)
        if after:
            after(panel)
        await task

    asyncio.run(go())
    return panel


@pytest.fixture(autouse=True)
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "saved"


# Knobs


@pytest.mark.parametrize(
    ("kind", "default", "widget", "wanted"),
    [
        ((1, 10), 3, widgets.IntSlider, {"min": 1, "max": 10, "step": 1}),
        ((1, 10), 3.5, widgets.FloatSlider, {"min": 1, "max": 10}),
        ((0.0, 0.1), 0.05, widgets.FloatSlider, {"max": 0.1, "step": 0.002}),
        ((1, 10), 40, widgets.IntSlider, {"min": 1, "max": 40}),
        (["a", "b"], "b", widgets.Dropdown, {"options": ("a", "b")}),
        (["a", "b"], "c", widgets.Dropdown, {"options": ("c", "a", "b")}),
        ({"none": None, "one": 1}, None, widgets.Dropdown, {"value": "none", "index": 0}),
        (False, True, widgets.Checkbox, {}),
        (None, "text", widgets.Text, {}),
        ("", "text", widgets.Text, {}),
        (log_slider(0.5, 10, zero=True), 3.0, widgets.SelectionSlider, {"options": ROUND}),
        (several(["a", "b", "c"]), ["c"], widgets.SelectMultiple, {"value": ("c",)}),
        (image_choice(), "china", ImageChoice, {"value": "china"}),
    ],
)
def test_a_knob_starts_at_the_default_of_the_function(kind, default, widget, wanted):
    def run(some_value=default, kept=4):
        yield 0

    panel = live(run, **({} if kind is None else {"some_value": kind}))
    knob = panel.knobs["some_value"]
    assert isinstance(knob, widget) and panel.values == {"some_value": default}
    assert {name: getattr(knob, name) for name in wanted} == wanted
    assert knob.description == "Some value" and getattr(knob, "continuous_update", False) is False


@pytest.mark.parametrize(
    ("function", "knobs", "words"),
    [
        (brighten, {"stps": (1, 10)}, "stps.*steps, factor, title"),
        (brighten, {"steps": 3.5j}, "steps=3.5j"),
        (brighten, {"steps": {"few": 1}}, "steps=.*12"),
        (Pace.step, {}, "self a default"),
    ],
)
def test_a_knob_that_does_not_fit_is_refused(function, knobs, words):
    with pytest.raises(TypeError, match=words):
        live(function, **knobs)


# Runs


@pytest.mark.parametrize(
    ("value", "names", "shows"),
    [
        (RAMP, set(), True),
        (RAMP[..., 0], set(), True),
        ({"loss": 1, "accuracy": 0.5}, {"loss", "accuracy"}, False),
        ((RAMP, {"loss": 1}), {"loss"}, True),
        ((None, {"loss": 1}), {"loss"}, False),
        (np.float32(0.5), {"loss"}, False),
        (Step(RAMP, {"total": 1}, of=3), {"total"}, True),
    ],
)
def test_whatever_a_step_may_be_is_shown(value, names, shows, saved):
    panel = complete(live(yielding(value, value, value)))
    assert "Finished after 3 steps" in panel.message.value
    assert set(panel.result.history) - {"phase"} == names
    assert bool(panel.image.data) == shows and bool(panel.curve.data) == bool(names)
    assert panel.buttons["save_gif"].disabled is not shows
    assert panel.save_png().is_file()


def test_stop_ends_the_run_within_a_step_and_closes_the_generator():
    closed = []

    def endless():
        try:
            while True:
                yield RAMP
        finally:
            closed.append(True)

    panel = complete(live(endless), after=lambda panel: panel.stop())
    assert "Stopped after" in panel.message.value and panel.result.interrupted and closed == [True]
    number = len(panel.result.history["phase"])
    assert panel.call == f"islice(endless(), {number})"


def test_the_kernel_is_free_during_a_step_and_steps_are_computed_elsewhere():
    asked, threads = threading.Event(), []

    def run():
        yield 1
        threads.append(threading.current_thread())
        assert asked.wait(20), "nobody could ask while the step was computed"
        yield 2

    assert "Finished after 2" in complete(live(run), after=lambda panel: asked.set()).message.value
    assert threads[0] is not threading.current_thread()


def test_a_run_leaves_its_image_its_curve_and_its_result():
    panel = complete(live(brighten, steps=(1, 300)))
    assert "Finished after 12 steps" in panel.message.value and panel.left.value == "step 12 of 12"
    assert panel.result.image.max() == 255 and panel.result.history["loss"][:2].tolist() == [1, 0.5]
    for shown, size in ((panel.image, (60, 40)), (panel.curve, (760, 600))):
        with Image.open(io.BytesIO(shown.data)) as image:
            assert image.size == size and np.std(image) > 5


def test_a_second_run_or_a_reset_does_nothing_while_one_is_going():
    def again(panel):
        first = panel.task
        assert panel.buttons["run"].disabled and not panel.buttons["stop"].disabled
        panel.run()
        panel.reset()
        assert panel.task is first

    panel = live(brighten, steps=(1, 300))
    panel.knobs["steps"].value = 200
    assert "Finished after 200" in complete(panel, again).message.value


def test_two_runs_take_turns_in_one_thread():
    order, threads = [], set()

    def run(name="one"):
        for _ in range(20):
            order.append(name)
            threads.add(threading.current_thread())
            yield 1

    async def go():
        panels = [live(run), live(run)]
        panels[1].knobs["name"].value = "two"
        for panel in panels:
            panel.run()
        await asyncio.gather(*(panel.task for panel in panels))

    asyncio.run(go())
    assert order.count("one") == order.count("two") == 20 and len(threads) == 1
    assert order.index("two") < 20  # neither waits for the other's end


def test_an_error_is_shown_with_its_line_and_the_panel_stays_usable():
    panel = live(brighten, factor=log_slider(1, 10))
    panel.knobs["factor"].value = 5.0
    said = complete(panel).message.value
    assert "RuntimeError: factor 5 is &lt;unlucky&gt;" in said
    line = brighten.__code__.co_firstlineno + 3
    assert f"line {line}: <code>raise RuntimeError(" in said
    panel.reset()
    assert "Finished" in complete(panel).message.value


@pytest.mark.parametrize("value", [np.zeros((4, 5, 7)), np.full((4, 5, 3), np.nan), "text", {"loss": "text"}])
def test_a_step_that_cannot_be_shown_is_an_error_in_the_panel(value):
    panel = complete(live(yielding(value)))
    assert "Error" in panel.message.value and not panel.buttons["run"].disabled


def test_reset_sets_every_knob_back_and_forgets_the_run():
    panel = live(brighten, steps={"twelve": 12, "none": None}, factor=log_slider(1, 10))
    panel.knobs["factor"].value = 10.0
    complete(panel)
    panel.knobs["steps"].value = "none"
    panel.reset()
    assert panel.values["steps"] == 12 and panel.values["factor"] == 1 and panel.result is None
    assert panel.image.data == panel.curve.data == b"" and panel.buttons["save_png"].disabled


def test_nothing_of_ten_runs_is_held_but_the_last_image():
    made = []

    def run():
        for _ in range(6):
            image = RAMP.copy()
            made.append(weakref.ref(image))
            yield image

    panel = live(run)
    for _ in range(10):
        complete(panel)
    gc.collect()
    assert len(made) == 60 and sum(image() is not None for image in made) <= 1


@pytest.mark.parametrize("cost", [0.001, 0.05, 0.4, 3.0])
def test_drawing_takes_no_more_than_its_share_whatever_it_costs(cost):
    now, drawn = [100.0], []

    def draw():
        drawn.append(now[0])
        now[0] += cost

    pace = Pace(draw, 0.1, 0.25, clock=lambda: now[0])
    for _ in range(4000):  # steps of 20 ms
        now[0] += 0.02
        pace.step()
    assert len(drawn) >= 2 and np.diff(drawn).min() >= 0.25
    assert cost * len(drawn) <= 0.1 * (now[0] - 100) + cost  # the first drawing's cost is not known before


# What is saved, and what is shown elsewhere


def test_files_hold_the_call_and_never_replace_another(saved):
    panel = complete(live(brighten, steps=(1, 300), factor=log_slider(1, 10)))
    assert [panel.save_png().name for _ in range(2)] == ["brighten_01.png", "brighten_02.png"]
    path = panel.save_gif()
    assert panel.call == f'brighten(steps=12, factor=1.0, title="{"ä" * 300}")'
    assert panel.image.kind == "image/gif" and panel.image.data == path.read_bytes()
    with Image.open(path) as film, Image.open(saved / "brighten_02.png") as image:
        assert film.info["comment"].decode() == image.text["Description"] == panel.call
        assert image.size == (60, 40) and film.n_frames >= 8
        first, last = (np.asarray(film.convert("RGB"), float) for at in (0, film.n_frames - 1) if film.seek(at) is None)
    assert first.mean() < 20 and np.abs(last - RAMP).mean() < 8


def test_a_film_has_frames_from_the_whole_run_and_of_one_size():
    noise = np.random.default_rng(0).uniform(0, 255, (20, 30, 3))

    def grow(steps=500):
        for number in range(1, steps + 1):
            yield np.roll(noise, number)[:, : 20 + number // 100]

    panel = complete(live(grow))
    with Image.open(panel.save_gif()) as film:
        assert FRAMES <= film.n_frames <= 2 * FRAMES + 1 and film.size == (25, 20)


def test_a_folder_that_cannot_be_written_is_said(saved):
    panel = complete(live(brighten))
    saved.write_text("a file where the folder should be")
    panel.buttons["save_png"].click()
    assert "Error" in panel.message.value


def test_an_upload_is_chosen_given_as_an_array_and_named_in_the_call(tmp_path):
    def paint(content="china"):
        yield np.full((8, 8, 3), np.shape(content)[0])

    save_image(tmp_path / "mine.png", RAMP)
    panel = live(paint, content=image_choice())
    chooser = panel.knobs["content"]
    chooser.upload("notes.png", b"no image")
    assert "notes.png" in chooser.problem and panel.values == {"content": "china"}
    chooser.upload('<i>"mine"', (tmp_path / "mine.png").read_bytes())
    assert chooser.problem == "" and np.abs(panel.values["content"] - RAMP).max() <= 0.5
    assert complete(panel).result.image.max() == 40
    panel.show_code()
    assert panel.call == r'paint(content=load_image("<i>\"mine\""))' and "<i>" not in panel.listing.value


def test_a_page_without_a_kernel_shows_the_chosen_image_and_a_caption():
    def paint(content="china", steps=3):
        yield content

    shown = live(paint, content=image_choice(), steps=(1, 9))._repr_mimebundle_()
    assert VIEW in shown and 'alt="china"' in shown["text/html"]
    assert "paint: run this cell" in shown["text/html"] and "content, steps" in shown["text/html"]
