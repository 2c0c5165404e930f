import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from helpers import figures


@pytest.fixture(autouse=True)
def none_left_open():
    yield
    assert plt.get_fignums() == []


def rendered(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_show_images_draws_each_and_says_its_title():
    figure = figures.show_images(np.random.rand(5, 8, 8), titles=list("abcde"), columns=3)
    drawn = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in drawn] == list("abcde") and len(figure.axes) == 6
    assert rendered(figure).std() > 0


def test_places_have_the_shape_of_the_images():
    def size(**settings):
        return figures.show_images([np.zeros((2, 4))] * 4, columns=2, size=2, **settings).get_size_inches().tolist()

    assert size() == [4, 2] and size(aspect=1) == [4, 4]
    mixed = figures.show_images([np.zeros((2, 4)), np.zeros((3, 2, 3))], size=2)
    assert mixed.get_size_inches().tolist() == [4, 3]
    assert figures.show_images([np.zeros((9, 9))]).get_size_inches().tolist() == [1.5, 1.5]


def test_a_sheet_has_fields_of_the_shape_of_the_images():
    wide, square = (figures.contact_sheet(lambda k: np.zeros((2, 4)), aspect=aspect, k=[1, 2]) for aspect in (None, 1))
    assert wide.get_size_inches()[1] == square.get_size_inches()[1] - 0.75


def test_rows_of_wide_images_leave_no_space_between_them():
    figure = figures.show_images([np.zeros((30, 90, 3))] * 4, columns=2, size=3)
    rendered(figure)
    upper, lower = (figure.axes[index].get_window_extent() for index in (0, 2))
    assert 0 <= upper.y0 - lower.y1 < 0.15 * upper.height and upper.width / upper.height == pytest.approx(3, rel=0.02)


def test_colour_images_are_clipped_not_wrapped():
    figure = figures.show_images([np.full((2, 2, 3), 300.0)])
    assert figure.axes[0].images[0].get_array().max() == 255


def test_points_are_drawn_where_they_were_measured():
    history = {"generation": [5, 10, 15], "loss": [3, None, 1], "train accuracy": [0.1, 0.5, 0.9]}
    loss, accuracy = figures.plot_history(history).axes
    assert loss.lines[0].get_xydata().tolist() == [[5, 3], [15, 1]]
    assert accuracy.lines[0].get_ydata() == pytest.approx([10, 50, 90])


def test_confusion_writes_every_number_and_colours_mistakes_alone():
    axis = figures.plot_confusion([[50, 3], [0, 60]], ["a", "b"]).axes[0]
    assert {text.get_text() for text in axis.texts} == {"50", "3", "0", "60"}
    assert axis.images[0].get_array().tolist() == [[0, 3], [0, 0]]


def test_predictions_are_red_where_wrong():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]])
    figure = figures.plot_predictions(np.zeros((2, 4, 4)), [0, 1], probabilities, ["cat", "dog"])
    titles = [(axis.get_title(), axis.title.get_color()) for axis in figure.axes]
    assert titles == [("cat / cat  90 %", "black"), ("dog / cat  80 %", "crimson")]


def test_filters_share_a_scale_that_is_white_at_zero():
    kernels = np.random.default_rng(0).normal(size=(3, 3, 2, 5))
    figure = figures.plot_filters(kernels, columns=5)
    assert {image.get_clim() for axis in figure.axes for image in axis.images} == {
        (-np.abs(kernels.mean(2)).max(), np.abs(kernels.mean(2)).max())
    }


def test_feature_maps_one_picture_per_channel():
    assert len(figures.plot_feature_maps(np.random.rand(4, 4, 7), columns=7).axes) == 7


def test_film_frame_puts_sure_digits_in_corners_and_undecided_ones_in_the_centre():
    probabilities = np.stack([np.eye(10)[0], np.full(10, 0.1)])
    figure = figures.plot_film_frame(np.random.rand(4, 4, 1, 25), probabilities, [0, 1], tuple("0123456789"), "now")
    places = figure.axes[1].collections[0].get_offsets()
    assert np.allclose(places, [[0, 1], [0, 0]], atol=1e-9)
    assert figure.axes[0].images[0].get_array().shape == (5 * 5 - 1, 5 * 5 - 1)


def test_contact_sheet_calls_every_combination_once():
    calls = []
    figure = figures.contact_sheet(
        lambda rate, width: calls.append((rate, width)) or rate * width, rate=[1, 2], width=[3, 4, 5]
    )
    assert calls == [(r, w) for r in (1, 2) for w in (3, 4, 5)]
    assert figure.results[(2, 5)] == 10
    assert [text.get_text() for text in figure.axes[0].texts] == ["3.0", "4.0", "5.0", "6.0", "8.0", "10.0"]


def test_contact_sheet_of_pictures_and_of_one_knob():
    figure = figures.contact_sheet(lambda level: np.full((4, 4, 3), level), level=[0, 100, 200])
    assert [axis.images[0].get_array().max() for axis in figure.axes] == [0, 100, 200]


def test_contact_sheet_shows_a_run_that_diverged():
    figure = figures.contact_sheet(lambda rate: 1.0 if rate < 5 else float("nan"), rate=[1, 10])
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.0", "NaN"]


@pytest.mark.parametrize("grids", [{}, {"a": [1], "b": [1], "c": [1]}])
def test_contact_sheet_has_one_or_two_knobs(grids):
    with pytest.raises(ValueError, match="one or two knobs"):
        figures.contact_sheet(lambda **knobs: 0, **grids)


def test_curves_lie_where_they_were_measured_and_recorded_ones_are_dashed():
    panels = {
        "loss": {"this run": ([1, 2], [3.0, 2.0]), "recorded": ([10, 20, 30], [3.0, 2.0, 1.0])},
        "accuracy": {"this run": ([1, 2], [0.1, 0.2])},
    }
    loss, accuracy = figures.plot_curves(panels).axes
    assert loss.lines[1].get_xydata().tolist() == [[10, 3], [20, 2], [30, 1]]
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--"]
    assert accuracy.lines[0].get_ydata() == pytest.approx([10, 20]) and "%" in accuracy.get_title()


def test_bars_are_as_long_as_their_values():
    (axis,) = figures.plot_bars([10, 42.25], ["a", "b"], text="{:.2f}").axes
    assert [bar.get_width() for bar in axis.patches] == [10, 42.25]
    assert {text.get_text() for text in axis.texts} == {"10.00", "42.25"}
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "the first one is on top"


def test_heat_lies_on_its_image():
    heat = np.zeros((3, 2, 2))
    heat[:, 0, 0] = 1
    figure = figures.plot_heat(np.full((3, 8, 8, 3), 200.0), heat, titles=list("abc"), columns=2)
    drawn = [axis for axis in figure.axes if axis.images]
    assert len(drawn) == 6 and sum(len(axis.images) == 2 for axis in drawn) == 3
    over = next(axis for axis in drawn if len(axis.images) == 2)
    assert over.images[0].get_extent() == over.images[1].get_extent() == [-0.5, 7.5, 7.5, -0.5]
    assert rendered(figure).std() > 0


def test_frames_of_a_confusion_film_have_one_scale():
    one = figures.plot_confusion_frame([[3, 1], [0, 0]], ["a", "b"], ([0], [0.1]), (100, 0.9), "start")
    two = figures.plot_confusion_frame([[4, 0], [0, 4]], ["a", "b"], ([0, 100], [0.1, 0.8]), (100, 0.9), "end")
    assert [axis.get_xlim() for axis in one.axes] == [axis.get_xlim() for axis in two.axes]
    assert one.axes[1].get_ylim() == two.axes[1].get_ylim() == (0, 90)
    assert one.axes[0].images[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]
    assert one.axes[0].images[0].get_clim() == (0, 1)
    assert rendered(one).shape == rendered(two).shape


def test_ranges_have_their_mean_and_a_recorded_run_has_the_colour_of_the_live_one():
    curves = {"tuned": {10: [0.4]}, "recorded: tuned": {10: [0.2, 0.4], 1000: [0.8, 0.8]}, "recorded: new": {10: [0.1]}}
    axis = figures.plot_ranges(curves, "images", "what it takes").axes[0]
    live, recorded, new = axis.lines
    assert np.allclose(recorded.get_xydata(), [[10, 30], [1000, 80]]) and recorded.get_linestyle() == "--"
    assert live.get_color() == recorded.get_color() != new.get_color() and live.get_linestyle() == "-"
    band = axis.collections[1].get_paths()[0].get_extents()
    assert np.allclose([band.x0, band.y0, band.x1, band.y1], [10, 20, 1000, 80])
    assert axis.get_xscale() == "log" and list(axis.get_xticks()) == [10, 1000]


def test_embeddings_have_a_colour_for_each_class_and_one_scale_in_a_film():
    places, labels = np.array([[0, 1], [2, 0], [0, -3]]), np.array([0, 1, 1])
    figure = figures.plot_embeddings({"before": places, "after": 2 * places}, labels, ["cat", "dog"])
    before, after = figure.axes
    assert [cloud.get_offsets().tolist() for cloud in before.collections] == [[[0, 1]], [[2, 0], [0, -3]]]
    assert before.get_xlim()[1] == pytest.approx(3.15) and after.get_xlim()[1] == pytest.approx(6.3)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog"]
    first, second = (figures.plot_embeddings({"": k * places}, labels, "ab", limit=9).axes[0] for k in (1, 2))
    assert first.get_xlim() == second.get_xlim() and rendered(figure).std() > 0


def lightness(colours):
    """Return L* of CIE 1976, 0–100, of sRGB colours, 0–1, `(n, 3)`."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def maps():
    """Every figure that draws numbers as colours."""
    heat = figures.plot_heat(np.zeros((1, 8, 8, 3)), np.zeros((1, 2, 2)))
    yield heat.axes[1].images[1]
    yield figures.plot_feature_maps(np.random.rand(4, 4, 1)).axes[0].images[0]
    yield figures.plot_confusion_frame(np.eye(2), "ab", ([0], [0.1]), (1, 1)).axes[0].images[0]
    yield figures.plot_confusion(np.eye(2), "ab").axes[0].images[0]
    yield figures.contact_sheet(lambda k: k, k=[1, 2]).axes[0].images[0]
    yield figures.show_images(np.random.rand(1, 4, 4)).axes[0].images[0]


def test_more_is_lighter_or_darker_all_the_way():
    """A rainbow has edges where the numbers have none."""
    for image in maps():
        steps = np.diff(lightness(image.cmap(np.linspace(0, 1, 64))[:, :3]))
        assert (steps > 0).all() or (steps < 0).all(), image.cmap.name


def test_long_class_names_do_not_run_into_each_other_in_a_confusion():
    short, long = (figures.plot_confusion(np.eye(2), names).axes[0] for names in ("ab", ["airplane", "automobile"]))
    assert [axis.get_xticklabels()[0].get_rotation() for axis in (short, long)] == [0, 45]


def test_a_prediction_sheet_names_what_is_predicted_in_red_where_it_is_wrong():
    images, labels = np.zeros((7, 8, 8), np.uint8), np.arange(7)
    right = figures.prediction_sheet(images, labels, np.eye(7) * 0.9 + 0.01, "abcdefg")
    wrong = figures.prediction_sheet(images, labels, np.roll(np.eye(7), 1, axis=1) * 0.9 + 0.01, "abcdefg")

    def red(sheet):
        return ((sheet[..., 0] > 150) & (sheet[..., 1] < 100)).sum()

    assert right.shape == wrong.shape == (2 * 124, 5 * 104, 3) and right.dtype == np.uint8
    assert red(right) == 0 < red(wrong)
