import keras
import numpy as np
import pytest

from helpers.digit_canvas import DigitCanvas, as_mnist


def centre_of_mass(image):
    rows, columns = np.indices(image.shape)
    return (rows * image).sum() / image.sum(), (columns * image).sum() / image.sum()


def drawing(top, left, height, width, side=112):
    made = np.zeros((side, side), np.uint8)
    made[top : top + height, left : left + width] = 255
    return made


@pytest.mark.parametrize(
    ("height", "width", "box"), [(60, 12, (20, 4)), (12, 60, (4, 20)), (40, 40, (20, 20)), (6, 3, (20, 10))]
)
@pytest.mark.parametrize("place", [(0, 0), (50, 3), (20, 30)])
def test_a_drawing_fits_the_box_of_20_pixels_and_keeps_its_shape(height, width, box, place):
    digit = as_mnist(drawing(*place, height, width))
    assert digit.shape == (28, 28) and digit.dtype == np.uint8 and digit.max() == 255
    rows, columns = np.nonzero(digit)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == box
    assert np.allclose(centre_of_mass(digit), 13.5, atol=0.51)


def test_the_centre_is_that_of_mass_not_of_the_box():
    made = drawing(10, 20, 60, 20)  # a bar with a long thin arm to the right
    made[10:14, 20:60] = 255
    digit = as_mnist(made)
    assert np.allclose(centre_of_mass(digit), 13.5, atol=0.51)
    columns = np.nonzero(digit)[1]
    assert (columns.min() + columns.max()) / 2 > 14


def test_what_is_lopsided_is_not_cut_off():
    made = drawing(0, 0, 100, 4)
    made[90:100, :100] = 255
    digit = as_mnist(made)
    rows, columns = np.nonzero(digit)
    assert np.ptp(rows) + 1 == 20 and np.ptp(columns) + 1 == 20


def test_an_empty_drawing_is_none():
    assert as_mnist(np.zeros((112, 112), np.uint8)) is None


def test_the_canvas_shows_what_the_network_sees_and_its_probabilities():
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    canvas = DigitCanvas(model)
    drawn = drawing(20, 50, 70, 10)
    canvas._received(None, {"side": 112}, [memoryview(drawn.tobytes())])
    assert np.array_equal(np.frombuffer(canvas.seen, np.uint8).reshape(28, 28), as_mnist(drawn))
    logits = model(as_mnist(drawn)[None, ..., None] / np.float32(255)).numpy()[0]
    assert np.allclose(canvas.probabilities, np.exp(logits) / np.exp(logits).sum(), atol=1e-5)
    canvas.read(np.zeros((112, 112), np.uint8))
    assert canvas.probabilities == [] and not any(canvas.seen)


def test_a_page_without_a_kernel_says_what_the_canvas_is():
    data, _ = DigitCanvas(None)._repr_mimebundle_()
    assert "run this cell in JupyterLab" in data["text/html"]
