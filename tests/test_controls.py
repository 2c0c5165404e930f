import asyncio
import gc
import io
import weakref
from dataclasses import dataclass

import imageio.v3 as imageio
import keras
import numpy as np
import pytest
from PIL import Image

from helpers import datasets
from helpers.backbones import load_backbone
from helpers.controls import deepdream_panel, digit_panel, fine_tuning_panel, style_transfer_panel, training_panel
from helpers.networks import modern_mnist_cnn
from helpers.panels import knobs, panel
from helpers.synthetic import digits, shapes

VIEW = "application/vnd.jupyter.widget-view+json"


RAMP = np.tile(np.linspace(0, 255, 60, dtype=np.float32), (40, 1))[..., None] * np.ones(3, np.float32)


@dataclass(frozen=True)
class Step:
    number: int
    of: int
    image: np.ndarray
    losses: dict


class Brighter(panel.Panel):
    """A run whose pictures get brighter from step to step."""

    title, file_name = "Brighter", "brighter"

    def __init__(self):
        self.made = []
        super().__init__({"steps": knobs.slider("Steps", 1, 200, 12), "factor": knobs.log_slider("Factor", 0.1, 10, 1)})

    def steps(self, values):
        for number in range(1, values["steps"] + 1):
            image = RAMP * np.float32(number / values["steps"])
            self.made.append(weakref.ref(image))
            yield Step(number, values["steps"], image, {"total": values["factor"] / number})
            if values["factor"] == 5:
                raise RuntimeError("factor 5 is <unlucky>")

    def code(self, values, stopped_at=None):
        return f"{values} {stopped_at}"


def complete(made, after=None):
    """Press Run and wait for the end; `after(panel)` is called as soon as the first step was seen."""

    async def go():
        made.run()
        task = made.loop.task
        while after and not made.steps_done and not task.done():
            await asyncio.sleep(0.001)
        if after:
            after(made)
        await task

    asyncio.run(go())
    return made


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(knobs, "UPLOADS", tmp_path / "uploads")


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("mini_vgg")


def small_dataset(images, labels, train, class_names, name):
    """Return a `Dataset` of drawn images: the first so many to train on, the rest for validation."""
    parts = images[:train], labels[:train], images[train:], labels[train:], images[:1], labels[:1]
    return datasets.Dataset(*parts, tuple(class_names), "synthetic", name)


@pytest.fixture(scope="module")
def mnist():
    (images, labels), _ = digits(train=600, test=10)
    return small_dataset(images, labels, 400, "0123456789", "MNIST")


def test_a_panel_runs_nothing_by_itself_and_says_so_on_a_page_without_a_kernel():
    made = Brighter()
    shown = made._repr_mimebundle_()
    assert not made.loop.running and made.result is None and made.picture.value == b""
    assert VIEW in shown and "run this cell" in shown["text/html"] and "steps, factor" in shown["text/html"]


def test_a_run_leaves_picture_curve_and_recording():
    made = complete(Brighter())
    assert "Finished after 12 steps" in made.message.value and made.error is None
    assert made.progress.value == 12 and made.left.value == "step 12 of 12"
    assert made.result.max() == 255 and made.history["total"][:2] == [1, 0.5]
    with Image.open(io.BytesIO(made.picture.value)) as picture, Image.open(io.BytesIO(made.curve.value)) as curve:
        assert picture.size == (60, 40) and np.asarray(picture).max() > 250
        assert curve.width > 300
    assert not made.run_button.disabled and made.stop_button.disabled and not made.gif_button.disabled


def test_buttons_during_a_run():
    def look(made):
        state.append([made.run_button.disabled, made.stop_button.disabled, made.gif_button.disabled])
        first.append(made.loop.task)
        made.run()  # a second Run
        made.reset()
        first.append(made.loop.task)
        assert made.values["steps"] == 200

    made, state, first = Brighter(), [], []
    made.knobs["steps"].value = 200
    complete(made, look)
    assert state == [[True, False, True]] and first[0] is first[1]
    assert made.steps_done == 200


def test_stop_keeps_what_was_reached():
    made = Brighter()
    made.knobs["steps"].value = 200
    complete(made, Brighter.stop)
    assert 1 <= made.steps_done < 200 and f"Stopped after {made.steps_done} steps" in made.message.value
    assert made.result.max() == pytest.approx(255 * made.steps_done / 200)
    assert made.listed_code() == f"{made.ran} {made.steps_done}"


def test_an_error_is_said_in_the_panel_which_stays_usable():
    made = Brighter()
    made.knobs["factor"].value = 5.0
    complete(made)
    assert "RuntimeError: factor 5 is &lt;unlucky&gt;" in made.message.value and "error-color" in made.message.value
    assert not made.run_button.disabled
    made.knobs["factor"].value = 1.0
    assert "Finished" in complete(made).message.value and made.error is None


def test_reset_turns_every_knob_back_and_clears_the_panel():
    made = Brighter()
    made.knobs["factor"].value = 10.0
    complete(made).reset()
    assert made.values == {"steps": 12, "factor": 1.0} and made.result is None and made.picture.value == b""
    assert made.gif_button.disabled and made.message.value.endswith("Press Run.</span>")


def test_two_panels_at_once():
    one, two = Brighter(), Brighter()

    async def go():
        one.run()
        two.run()
        await asyncio.gather(one.loop.task, two.loop.task)

    asyncio.run(go())
    assert one.steps_done == two.steps_done == 12 and one.result.max() == two.result.max() == 255


def test_ten_runs_hold_no_more_than_the_last_one():
    made = Brighter()
    for _ in range(10):
        complete(made)
    gc.collect()
    alive = [reference for reference in made.made if reference() is not None]
    assert len(made.made) == 120 and len(alive) <= 1 and len(made.recorder.frames) == 12


def test_files_are_saved_beside_the_notebook_under_names_that_are_free(tmp_path):
    made = complete(Brighter())
    assert (
        made.save_png().as_posix() == "saved/brighter_01.png" and made.save_png().as_posix() == "saved/brighter_02.png"
    )
    gif = made.save_gif()
    assert (tmp_path / gif).is_file() and "saved/brighter_01.gif" in made.message.value
    assert made.picture.kind == "image/gif" and made.picture.value == gif.read_bytes()
    brightness = imageio.imread(gif, index=None, plugin="pillow", mode="RGB").mean((1, 2, 3))
    assert len(brightness) == len(made.recorder.frames) == 12 and (np.diff(brightness) >= 0).all()
    assert imageio.imread("saved/brighter_01.png").shape == (40, 60, 3)


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path):
    made = complete(Brighter())
    (tmp_path / "saved").write_text("a file where the folder should be")
    assert made.save_png() is None and "error-color" in made.message.value


def test_a_long_run_keeps_a_bounded_number_of_frames():
    made = Brighter()
    made.knobs["steps"].value = 200
    frames = complete(made).recorder.frames
    assert len(frames) == panel.FRAMES + 1
    assert (np.diff([frame.mean() for frame in frames]) > 0).all() and frames[-1].max() == 255


def test_log_sliders_hold_round_numbers_and_the_default():
    numbers = [number for _, number in knobs.log_slider("Weight", 0.1, 100, 30, zero=True).options]
    assert numbers == [0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 50, 100]


def png(height=40, width=50):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_uploaded_picture_is_kept_chosen_and_shown():
    chooser = knobs.PictureChooser("Content", "china")
    chooser.upload("My holiday.PNG", png())
    assert chooser.value == "My_holiday.png" and chooser.problem == "" and chooser.pictures[-1][0] == "My_holiday.png"
    assert chooser.load().shape == (40, 50, 3) and chooser.load(25).shape == (20, 25, 3)
    scope = {"CACHE": knobs.UPLOADS.parent, "load_image": knobs.load_image}
    assert np.array_equal(eval(chooser.code(25), scope), chooser.load(25))
    chooser.upload("My holiday.PNG", png(60, 60))
    assert chooser.load().shape == (60, 60, 3) and len(chooser.pictures) == len(chooser.sources)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("notes.png", b"no picture", "notes.png cannot be read"),
        ("empty.png", b"", "empty.png"),
        ("half.png", png()[:200], "half.png cannot be read"),
        ("huge.png", b"0" * 8_000_001, "huge.png has 8.0 MB; at most 8 MB"),
    ],
)
def test_what_is_no_picture_or_huge_is_refused_with_a_reason(name, data, words):
    chooser = knobs.PictureChooser("Content", "china")
    chooser.upload(name, data)
    assert words in chooser.problem and chooser.value == "china" and not knobs.UPLOADS.exists()


@pytest.mark.parametrize("name", ["../../escaped.png", "/etc/escaped.png", "..png", 'a"b<i>.p/ng', "ü" * 300])
def test_an_upload_never_leaves_its_folder(name, tmp_path):
    chooser = knobs.PictureChooser("Content", "china")
    chooser.upload(name, png())
    (kept,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept.parent == knobs.UPLOADS and chooser.sources[chooser.value] == kept
    compile(chooser.code(), "cell", "eval")


def run_cell(code):
    scope = {"__name__": "__main__"}
    exec(compile(code, "cell", "exec"), scope)
    return scope


@pytest.mark.parametrize("after", [None, panel.Panel.stop])
def test_style_transfer_its_code_makes_the_same_picture(backbone, after):
    made = style_transfer_panel(backbone, size=64, steps=6 if after is None else 60)
    made.knobs["preserve_color"].value = "luminance"
    made.knobs["tv_weight"].value = 0.0
    complete(made, after)
    assert made.error is None and (after is None or made.steps_done < 60)
    assert np.array_equal(run_cell(made.listed_code())["result"].image, made.result)
    assert set(made.history) == {"step", "total", "content", "style"}


def test_style_transfer_says_what_does_not_fit_and_goes_on(backbone):
    made = style_transfer_panel(backbone, size=64, steps=5)
    made.knobs["style_layers"].value = ()
    assert "at least one weight above 0" in complete(made).message.value
    made.reset()
    made.knobs["content_weight"].value = made.knobs["style_weight"].value = made.knobs["tv_weight"].value = 0.0
    assert "nothing to minimise" in complete(made).message.value
    made.reset()
    assert "Finished after 5 steps" in complete(made).message.value


def test_style_transfer_is_traced_once_for_all_weights(backbone):
    made = style_transfer_panel(backbone, size=64, steps=5)
    for weight in (10.0, 100.0, 1000.0):
        made.knobs["style_weight"].value = weight
        complete(made)
    assert made._transfer.traces == 1


@pytest.mark.parametrize(("channel", "after"), [(-1, None), (7, None), (7, panel.Panel.stop)])
def test_deepdream_its_code_dreams_the_same_dream(backbone, channel, after):
    made = deepdream_panel(backbone, size=128, octaves=2, steps=2 if after is None else 20)
    if channel >= 0:
        made.knobs["layer"].value = "block3_conv1"
        made.knobs["channel"].value = channel
    complete(made, after)
    assert made.error is None and made.result.shape[1] == 128
    assert np.array_equal(run_cell(made.listed_code())["image"], made.result)


def test_deepdream_lists_the_channels_of_a_layer_and_says_what_does_not_fit(backbone):
    made = deepdream_panel(backbone, size=128, octaves=6, steps=1)
    made.knobs["octave_scale"].value = 2.0
    assert "smallest of 6 octaves" in complete(made).message.value
    made.knobs["layer"].value = "block2_conv1"
    assert len(made.knobs["channel"].options) == 1 + made.channels["block2_conv1"]
    made.reset()
    assert made.values["layer"] == "" and len(made.knobs["channel"].options) == 1


@pytest.mark.parametrize("augment", [False, True])
def test_training_its_code_trains_the_same_network(mnist, monkeypatch, augment):
    monkeypatch.setattr(datasets, "load_mnist", lambda source: mnist)
    made = training_panel(mnist, [modern_mnist_cnn], steps=20)
    made.knobs["width"].value, made.knobs["batch_size"].value, made.knobs["augment"].value = 8, 32, augment
    for _ in range(2):  # the second run starts from new weights, the same as the first one's
        complete(made)
        assert made.error is None
        scope = run_cell(made.listed_code())
        assert scope["step"].loss == pytest.approx(made.history["loss"][-1], rel=1e-3)
        for kept, again in zip(made.model.get_weights(), scope["model"].get_weights(), strict=True):
            assert np.allclose(kept, again, atol=1e-4)


def test_training_says_what_to_lower_when_it_diverges(mnist):
    made = training_panel(mnist, [modern_mnist_cnn], augment=None, steps=20)
    made.knobs["width"].value, made.knobs["batch_size"].value = 8, 256
    made.knobs["batch_size"].options = [8, 1000]
    made.knobs["batch_size"].value = 1000
    assert "batch_size=1000 does not fit 400 images" in complete(made).message.value
    assert "augment" not in made.knobs


def test_training_shows_predictions_in_red_where_they_are_wrong(mnist):
    made = training_panel(mnist, [modern_mnist_cnn], steps=20)
    probabilities = np.full((20, 10), 0.01)
    probabilities[np.arange(20), mnist.y_val[:20]] = 0.91
    right = made.frame(type("Step", (), {"probabilities": probabilities}))
    wrong = made.frame(type("Step", (), {"probabilities": np.roll(probabilities, 1, axis=1)}))

    def red(sheet):
        return ((sheet[..., 0] > 150) & (sheet[..., 1] < 100)).sum()

    assert right.shape == wrong.shape == (4 * 76, 5 * 74, 3) and red(right) == 0 < red(wrong)


def test_a_drawn_digit_is_shown_as_the_network_sees_it_and_classified():
    keras.utils.set_random_seed(0)
    made = digit_panel(modern_mnist_cnn(4))
    assert made.probabilities is None and " %" not in made.bars.value
    drawing = np.zeros((112, 112), np.uint8)
    drawing[20:90, 50:60] = 255
    made.canvas._received(None, {"side": 112}, [memoryview(drawing.tobytes())])
    assert made.probabilities.shape == (10,) and made.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert made.bars.value.count(" %") == 10 and made.bars.value.count("font-weight:bold") == 1
    made.read(np.zeros((112, 112), np.uint8))
    assert made.probabilities is None


@pytest.fixture(scope="module")
def pictures():
    (images, labels), _ = shapes(train=500, test=10)
    return small_dataset(images, labels, 300, "abcdefghij", "CIFAR-10")


@pytest.mark.parametrize(
    ("start", "head_first", "from_layer"),
    [("pretrained", False, "head"), ("pretrained", True, "block5_conv1"), ("random", False, None)],
)
def test_fine_tuning_its_code_trains_the_same_network(pictures, monkeypatch, start, head_first, from_layer):
    monkeypatch.setattr(datasets, "load_cifar10", lambda source: pictures)
    made = fine_tuning_panel(pictures, from_layers=["block5_conv1"], per_class=[5, 10], steps=20)
    for name, value in dict(start=start, head_first=head_first, from_layer=from_layer, batch_size=10).items():
        made.knobs[name].value = value
    complete(made)
    assert made.error is None
    scope = run_cell(made.listed_code())
    assert scope["step"].loss == pytest.approx(made.history["loss"][-1], rel=1e-3)
    for kept, again in zip(made.model.get_weights(), scope["network"].get_weights(), strict=True):
        assert np.allclose(kept, again, atol=1e-4)
    opened = {weight.path.split("/")[-2] for weight in made.model.trainable_weights}
    assert (
        opened == {"head"}
        if from_layer == "head"
        else "block5_conv1" in opened and ("block1_conv1" in opened) == (from_layer is None)
    )


def test_fine_tuning_again_starts_from_the_same_weights(pictures):
    made = fine_tuning_panel(pictures, per_class=[10], steps=20)
    made.knobs["batch_size"].value = 50
    first = complete(made).history["loss"]
    assert complete(made).history["loss"] == pytest.approx(first, rel=1e-3)


def test_fine_tuning_a_head_that_was_trained_first_begins_with_a_lower_loss(pictures):
    made = fine_tuning_panel(pictures, from_layers=["block5_conv1"], per_class=[10], steps=20)
    at_random = complete(made).history["loss"][0]
    made.knobs["head_first"].value = True
    assert complete(made).history["loss"][0] < at_random - 1


def test_fine_tuning_says_when_a_class_has_too_few_images(pictures):
    made = fine_tuning_panel(pictures, per_class=[1000])
    assert "the smallest class has" in complete(made).message.value
