"""Numbers that are none, out of range, or of the wrong kind: one line names the argument and what was expected."""

import re

import numpy as np
import pytest

from helpers import arguments, datasets, storage, synthetic
from helpers.animation import GifRecorder
from helpers.images import ImageError, fitted, load_image, match_color, resize, save_image, to_uint8

NAN, INF = float("nan"), float("inf")
PICTURE = resize(np.random.default_rng(0).uniform(0, 255, (6, 8, 3)), (40, 48)).clip(0, 255)
NOT_NUMBERS = (NAN, INF, "3", "many", None, [], {}, True, np.array([1, 2]))
NOT_ABOVE_ZERO, NOT_FROM_ZERO = (0, -1, *NOT_NUMBERS), (-1, *NOT_NUMBERS)
NOT_COUNTS, NOT_FROM_ZERO_WHOLE = (*NOT_ABOVE_ZERO, 1.5), (*NOT_FROM_ZERO, 1.5)


FUNCTIONS = {  # name → a function of bad settings alone
    "load_image": lambda **given: load_image(PICTURE, **given),
    "fitted": lambda **given: fitted((40, 48), **given),
    "save_image": lambda **given: save_image("never.jpg", PICTURE, **given),
    "GifRecorder": lambda **given: GifRecorder("never.gif", **given),
    "digits": synthetic.digits,
    "shapes": synthetic.shapes,
}


OPTIONAL = [value for value in NOT_COUNTS if value is not None]  # where None means "as it is"
CASES = {
    "load_image": {"max_side": OPTIONAL},
    "fitted": {"max_side": NOT_COUNTS},
    "save_image": {"quality": (*NOT_COUNTS, 101)},
    "GifRecorder": {
        "every": NOT_COUNTS, "fps": (*NOT_ABOVE_ZERO, 51), "hold": (*NOT_FROM_ZERO, 601), "max_bytes": NOT_ABOVE_ZERO,
        "size": OPTIONAL,
    },
    "digits": {"train": NOT_FROM_ZERO_WHOLE, "test": (*NOT_FROM_ZERO_WHOLE, 10**9), "seed": NOT_FROM_ZERO_WHOLE},
    "shapes": {"train": NOT_FROM_ZERO_WHOLE, "test": (*NOT_FROM_ZERO_WHOLE, 10**9), "seed": NOT_FROM_ZERO_WHOLE},
}  # fmt: skip


@pytest.mark.parametrize("function, knob", [(name, knob) for name, knobs in CASES.items() for knob in knobs])
def test_a_bad_value_is_refused_in_one_line_that_names_its_argument(function, knob):
    for value in CASES[function][knob]:
        with pytest.raises(ValueError) as caught:
            FUNCTIONS[function](**{knob: value})
        message = str(caught.value)
        assert re.search(rf"{knob}\b", message), f"{function}({knob}={value!r}): {message}"
        assert "\n" not in message and len(message) < 300


@pytest.mark.parametrize(
    "call",
    [
        lambda: resize(PICTURE, (0, 5)), lambda: resize(PICTURE, 5), lambda: resize(PICTURE, (2.5, 5)),
        lambda: resize(PICTURE, "ab"), lambda: resize(PICTURE, None), lambda: load_image(PICTURE, shape=(NAN, 5)),
        lambda: load_image(PICTURE, shape=(-1, 5)), lambda: load_image(PICTURE, shape=7),
    ],
)  # fmt: skip
def test_a_bad_size_is_refused(call):
    with pytest.raises(ImageError, match="shape must be .height, width.|(height|width) must be a whole number from 1"):
        call()


@pytest.mark.parametrize("value", ["3", None, {}, [[1], [2, 3]], np.array(["a"]), np.zeros((2, 2, 3), complex)])
def test_what_holds_no_numbers_is_no_picture(value, tmp_path):
    for call in (to_uint8, lambda value: match_color(value, PICTURE), lambda value: resize(value, (4, 4))):
        with pytest.raises(ImageError, match="array of numbers from 0 to 255"):
            call(value)
    with pytest.raises(ImageError, match="array of numbers"):
        save_image(tmp_path / "picture.png", value)
    assert not list(tmp_path.iterdir())


def test_a_picture_of_0_to_1_is_not_taken_for_a_black_one():
    with pytest.raises(ImageError, match="between 0 and 1.*Multiply it by 255"):
        load_image(PICTURE / 255)
    assert load_image(np.zeros((4, 4, 3))).max() == 0  # a black picture is one
    assert load_image(np.ones((4, 4, 3), np.uint8)).max() == 1


def test_names_given_in_the_place_of_things(tmp_path):
    for call, words in (
        (lambda: save_image(PICTURE, tmp_path / "a.png"), "path, the first argument.* got an array of shape"),
        (lambda: GifRecorder(None), "path must be the path of a file"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


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
