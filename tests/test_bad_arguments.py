"""Numbers that are none, out of range, or of the wrong kind: one line names the argument and what was expected."""

import itertools
import re

import numpy as np
import pytest
from tiny_networks import tiny_vgg

from helpers import arguments, datasets, losses, optimizers, storage, synthetic, tiles
from helpers.animation import GifRecorder
from helpers.deepdream import ChannelObjective, DeepDream, GuideObjective, LayerObjective, octave_shapes, zoom
from helpers.images import ImageError, resize
from helpers.style_transfer import StyleTransfer

NAN, INF = float("nan"), float("inf")
PICTURE = resize(np.random.default_rng(0).uniform(0, 255, (6, 8, 3)), (40, 48)).clip(0, 255)
FEATURES = np.random.default_rng(1).normal(size=(1, 4, 5, 6))
NOT_NUMBERS = (NAN, INF, "3", "many", None, [], {}, True, np.array([1, 2]))
NOT_ABOVE_ZERO, NOT_FROM_ZERO = (0, -1, *NOT_NUMBERS), (-1, *NOT_NUMBERS)
NOT_COUNTS, NOT_FROM_ZERO_WHOLE = (*NOT_ABOVE_ZERO, 1.5), (*NOT_FROM_ZERO, 1.5)


@pytest.fixture(scope="module")
def backbone():
    return tiny_vgg(4, 6)


@pytest.fixture(scope="module")
def functions(backbone):
    """Name → a function of bad settings alone; a generator is asked for its first step."""
    transfer, dreamer = StyleTransfer(backbone), DeepDream(backbone)
    constant = lambda tile: (1.0, tile)  # noqa: E731
    return {
        "total_variation": lambda **given: losses.total_variation(FEATURES, **given),
        "style_loss": lambda **given: losses.style_loss(FEATURES, losses.gram_matrix(FEATURES), **given),
        "gradient_descent": optimizers.gradient_descent,
        "adam": optimizers.adam,
        "lbfgs": optimizers.lbfgs,
        "StyleTransfer": lambda **given: StyleTransfer(backbone, **given),
        "iterate": lambda **given: next(transfer.iterate(PICTURE, PICTURE, **given)),
        "stylize": lambda **given: transfer.stylize(PICTURE, PICTURE, progress=False, **given),
        "estimate": lambda **given: transfer.estimate(PICTURE, PICTURE, **given),
        "dream": lambda **given: dreamer.dream(PICTURE, **{"octaves": 1, "progress": False, **given}),
        "tiled_gradient": lambda **given: tiles.tiled_gradient(constant, PICTURE, **given),
        "octave_shapes": lambda **given: octave_shapes(
            **{"shape": (99, 99), "octaves": 2, "octave_scale": 1.4, **given}
        ),
        "zoom": lambda **given: zoom(dreamer, PICTURE, **{"octaves": 1, "progress": False, **given}),
        "ChannelObjective": lambda **given: DeepDream(
            backbone, ChannelObjective(**{"layer": "block1_conv1", "channel": 0, **given})
        ).dream(PICTURE, octaves=1, progress=False),
        "GuideObjective": lambda **given: GuideObjective(PICTURE, "block1_conv1", **given),
        "digits": synthetic.digits,
        "shapes": synthetic.shapes,
    }  # fmt: skip


CASES = {
    "total_variation": {"exponent": (*NOT_ABOVE_ZERO, 0.99)},
    "style_loss": {"target_size": NOT_ABOVE_ZERO},
    "gradient_descent": {"rate": NOT_ABOVE_ZERO},
    "adam": {
        "rate": NOT_ABOVE_ZERO, "decay": (*NOT_ABOVE_ZERO, 1.1), "decay_every": NOT_COUNTS,
        "beta_1": (*NOT_FROM_ZERO, 1), "beta_2": (*NOT_FROM_ZERO, 1), "epsilon": NOT_ABOVE_ZERO,
    },
    "lbfgs": {"pairs": (*NOT_COUNTS, 10**6), "first_step": NOT_ABOVE_ZERO},
    "StyleTransfer": {name: NOT_FROM_ZERO for name in ("content_weight", "style_weight", "tv_weight")},
    "iterate": {
        "steps": (0, -1, 1.5, NAN, "3", None, {}, True, [0], ["3"], [1, 2]),
        "scales": (0, -1, 1.5, NAN, "2", None, {}, True, 99, [0, 1], [NAN, 1], ["a"]),
        "shares": (0, "1", [-1], [NAN], [INF], ["a"], [None], [1, 1]),
        "style_scale": NOT_ABOVE_ZERO, "blend": (*NOT_FROM_ZERO, 1.1), "seed": NOT_FROM_ZERO_WHOLE,
    },
    "stylize": {"checkpoint_every": NOT_COUNTS, "steps": (0, "3", None), "scales": (0, "3", None)},
    "estimate": {"steps": (0, "3", None), "scales": (0, "3", None)},
    "dream": {
        "octaves": NOT_COUNTS, "octave_scale": (*NOT_ABOVE_ZERO, 1), "steps": (*NOT_COUNTS, [0], [1, 2]),
        "step_size": NOT_FROM_ZERO, "jitter": NOT_FROM_ZERO_WHOLE, "tile_size": (*NOT_COUNTS, 15),
        "max_loss": [value for value in NOT_NUMBERS if value is not None], "smoothing": (*NOT_FROM_ZERO, 10**6),
        "overlap": (*NOT_FROM_ZERO_WHOLE, 512), "seed": NOT_FROM_ZERO_WHOLE,
    },
    "tiled_gradient": {"tile_size": NOT_COUNTS, "overlap": (*NOT_FROM_ZERO_WHOLE, 512)},
    "octave_shapes": {
        "shape": (0, None, "ab", (3,), (0, 9), (NAN, 9), ("a", 9)), "octaves": NOT_COUNTS,
        "octave_scale": (*NOT_ABOVE_ZERO, 1), "smallest_side": NOT_COUNTS,
    },
    "zoom": {"frames": NOT_COUNTS, "factor": (*NOT_ABOVE_ZERO, 1), "seed": NOT_FROM_ZERO_WHOLE, "steps": (0, "3")},
    "ChannelObjective": {"channel": (*NOT_FROM_ZERO_WHOLE, 4), "layer": (0, None, ["block1_conv1"])},
    "GuideObjective": {"max_side": NOT_COUNTS, "positions": NOT_COUNTS},
    "digits": {"train": NOT_FROM_ZERO_WHOLE, "test": (*NOT_FROM_ZERO_WHOLE, 10**9), "seed": NOT_FROM_ZERO_WHOLE},
    "shapes": {"train": NOT_FROM_ZERO_WHOLE, "test": (*NOT_FROM_ZERO_WHOLE, 10**9), "seed": NOT_FROM_ZERO_WHOLE},
}  # fmt: skip


@pytest.mark.parametrize("function, knob", [(name, knob) for name, knobs in CASES.items() for knob in knobs])
def test_a_bad_value_is_refused_in_one_line_that_names_its_argument(functions, function, knob):
    words = {"shape": "shape|height"}.get(knob, rf"{knob}\b|coarsest scale")
    for value in CASES[function][knob]:
        with pytest.raises(ValueError) as caught:
            functions[function](**{knob: value})
        message = str(caught.value)
        assert re.search(words, message), f"{function}({knob}={value!r}): {message}"
        assert "\n" not in message and len(message) < 300


def test_a_picture_of_0_to_1_is_not_taken_for_a_black_one(backbone):
    for call in (
        lambda image: next(DeepDream(backbone).iterate(image)),
        lambda image: next(StyleTransfer(backbone).iterate(PICTURE, image)),
    ):
        with pytest.raises(ImageError, match="between 0 and 1.*Multiply it by 255"):
            call(PICTURE / 255)


@pytest.mark.parametrize("picture", [np.full_like(PICTURE, NAN), PICTURE[:20], PICTURE[None], "china", None, 7])
def test_what_is_no_picture_for_a_run_is_refused(backbone, picture):
    transfer, dreamer = StyleTransfer(backbone), DeepDream(backbone)
    for call in (
        lambda: transfer.stylize(picture, PICTURE, progress=False),
        lambda: transfer.losses(picture, PICTURE, PICTURE),
        lambda: dreamer.dream(picture, octaves=1, progress=False),
        lambda: zoom(dreamer, picture, octaves=1, progress=False),
    ):
        with pytest.raises(ValueError, match="[Pp]icture|NaN|array"):
            call()


@pytest.mark.parametrize("styles", [[], [np.full_like(PICTURE, NAN)], PICTURE[:8], "night_swirls", None, 7])
def test_what_is_no_style_is_refused(backbone, styles):
    with pytest.raises(ValueError, match="styles|[Pp]icture|NaN"):
        StyleTransfer(backbone).stylize(PICTURE, styles, progress=False)


def test_names_given_in_the_place_of_things(backbone):
    transfer, dreamer = StyleTransfer(backbone), DeepDream(backbone)
    for call, words in (
        (lambda: StyleTransfer("vgg19"), "backbone must be what load_backbone.* got 'vgg19'"),
        (lambda: DeepDream("vgg19"), "backbone must be what load_backbone"),
        (lambda: DeepDream(backbone, "block1_conv1"), "objective must be LayerObjective"),
        (lambda: DeepDream(backbone, LayerObjective), "objective must be LayerObjective"),
        (lambda: next(transfer.iterate(PICTURE, PICTURE, optimizer="adam")), "optimizer must be what lbfgs.*'adam'"),
        (lambda: next(transfer.iterate(PICTURE, PICTURE, optimizer=optimizers.adam)), "optimizer must be what lbfgs"),
        (lambda: transfer.stylize(PICTURE, PICTURE, recorder="run.gif"), "recorder must be a GifRecorder"),
        (lambda: transfer.stylize(PICTURE, PICTURE, checkpoint=True), "checkpoint must be the path of a file"),
        (lambda: dreamer.dream(PICTURE, recorder=GifRecorder), "recorder must be a GifRecorder"),
        (lambda: zoom(dreamer, PICTURE, recorder="zoom.gif"), "recorder must be a GifRecorder"),
        (lambda: next(transfer.iterate(PICTURE, PICTURE, init="photo")), "init must be an array or one of .*noise"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize("knob", ["content_layers", "style_layers"])
def test_an_unknown_layer_is_answered_with_the_closest_and_the_list(backbone, knob):
    with pytest.raises(ValueError, match="Did you mean 'block1_conv1'.*block1_conv1, block1_conv2, block1_pool"):
        StyleTransfer(backbone, **{knob: ["block1conv1"]})
    wrong = "block2_konv1"
    for objective in (LayerObjective(wrong), ChannelObjective(wrong, 0), GuideObjective(PICTURE, wrong)):
        with pytest.raises(ValueError, match="Did you mean 'block2_conv1'.*Choose from .*block1_conv2"):
            DeepDream(backbone, objective)
    for layers in (0, NAN, True):
        with pytest.raises(ValueError, match="layers must be names of layers"):
            StyleTransfer(backbone, **{knob: layers})
    with pytest.raises(ValueError, match="weight of block1_conv1 must be a finite number from 0, got 'a'"):
        StyleTransfer(backbone, **{knob: {"block1_conv1": "a"}})


def test_a_layer_that_is_named_twice_counts_once(backbone):
    assert StyleTransfer(backbone, ["block1_conv1"] * 2).content_layers == {"block1_conv1": 1.0}


def test_weights_that_are_all_zero_leave_nothing_to_do(backbone):
    with pytest.raises(ValueError, match="nothing to minimise"):
        StyleTransfer(backbone, content_weight=0, style_weight=0, tv_weight=0)
    with pytest.raises(ValueError, match="without layers"):
        StyleTransfer(backbone, style_layers={"block1_conv1": 0})
    with pytest.raises(ValueError, match="all coefficients are 0"):
        DeepDream(backbone, LayerObjective({"block1_conv1": 0})).dream(PICTURE, octaves=1, progress=False)
    transfer = StyleTransfer(backbone)
    transfer.style_weight = "50"  # weights may be changed between runs
    with pytest.raises(ValueError, match="style_weight must be a finite number from 0, got '50'"):
        next(transfer.iterate(PICTURE, PICTURE))


@pytest.mark.parametrize("box", [0, "ab", [], (1,), (5, 5), (255, 0), (NAN, 255), (0, "a")])
def test_a_box_rises(box):
    for make in (optimizers.gradient_descent, optimizers.adam, optimizers.lbfgs):
        with pytest.raises(ValueError, match="box must"):
            make(box=box)


@pytest.mark.parametrize("value", ["3", None, {}, np.zeros((1, 0, 5, 6)), np.zeros((4, 5, 6)), np.array("a")])
def test_what_are_no_features_are_refused(value):
    gram = losses.gram_matrix(FEATURES)
    for name, call in {
        "gram_matrix": losses.gram_matrix,
        "content_loss": lambda value: losses.content_loss(FEATURES, value),
        "style_loss": lambda value: losses.style_loss(value, gram, 20),
        "total_variation": losses.total_variation,
    }.items():
        with pytest.raises(ValueError, match=f"{name} expects"):
            call(value)


def test_losses_of_things_that_do_not_fit():
    with pytest.raises(ValueError, match="one shape, got \\(2, 4, 5, 6\\) and \\(3, 4, 5, 6\\)"):
        losses.content_loss(np.zeros((2, 4, 5, 6)), np.zeros((3, 4, 5, 6)))
    for gram in (1.0, np.zeros((6, 6)), np.zeros((1, 5, 5))):
        with pytest.raises(ValueError, match="Gram matrix of shape"):
            losses.style_loss(FEATURES, gram, 20)
    with pytest.raises(ValueError, match="at least 2 × 2 pixels"):
        losses.total_variation(np.zeros((1, 1, 9, 3)), normalization="mean")


def test_sources_and_addresses(tmp_path, monkeypatch):
    for source in (0, None, [], NAN, "lokal"):
        with pytest.raises(datasets.DatasetError, match="is not known. Choose one of 'auto'"):
            datasets.load_mnist(source)
    monkeypatch.setattr(storage, "_open", lambda *arguments: pytest.fail("it was fetched"))
    for url in (None, 3, "", "example.org/file"):
        with pytest.raises(storage.DownloadError, match="is not an https:// address"):
            storage.download(url, tmp_path / "file", "0" * 64)


def test_numbers_that_are_numbers():
    for value in (3, 3.0, np.int64(3), np.float32(3), np.array(3), np.uint8(3)):
        assert arguments.number("steps", value, 1, whole=True) == 3
        assert (
            type(arguments.number("steps", value, whole=True)) is int and type(arguments.number("rate", value)) is float
        )
    assert arguments.numbers("steps", 2, 3, "octaves") == [2, 2, 2] and arguments.sides(
        "shape", (3.0, np.int32(4))
    ) == (3, 4)
    with pytest.raises(ValueError, match=re.escape("rate must be a finite number above 0 to 1, got 1.5.")):
        arguments.number("rate", 1.5, above=0, high=1)
    assert len(arguments.short("x" * 500)) == 80 and arguments.short(np.zeros((2, 3))) == "an array of shape (2, 3)"


def test_good_values_still_pass(functions):
    for name, settings in itertools.product(["iterate"], [{"steps": np.int64(2)}, {"steps": [2]}, {"scales": (1,)}]):
        functions[name](**settings)
    functions["dream"](octaves=np.int64(1), steps=[1], step_size=np.float32(2))
