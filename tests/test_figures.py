import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from helpers import figures
from helpers.figures import COLOURS


@pytest.fixture(autouse=True)
def none_left_open():
    yield
    assert plt.get_fignums() == []


def rendered(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_the_style_can_be_read_from_the_last_row_and_by_everybody():
    figure = figures.plot_curves({"loss": {"a": ([1, 2], [3, 2]), "b": ([1, 2], [2, 1])}})
    (axis,) = figure.axes
    texts = [axis.title, axis.xaxis.label, *axis.get_xticklabels(), *axis.get_legend().get_texts()]
    assert min(text.get_fontsize() for text in texts) >= 12
    assert figure.dpi >= 144 and min(line.get_linewidth() for line in axis.lines) >= 2
    assert [line.get_color() for line in axis.lines] == ["#0072B2", "#D55E00"]  # Okabe and Ito
    assert axis.lines[0].get_marker() != axis.lines[1].get_marker()
    assert (rendered(figure)[0, 0] == 255).all(), "white, also on a dark page"


@pytest.mark.parametrize("jpeg", [False, True])
def test_a_shown_figure_has_its_alternative_text(jpeg, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    figure = figures.show_images([np.full((4, 4, 3), 99)], size=2)
    assert figures.show(figure, "a grey square", jpeg) is None
    data, metadata = shown[0]._repr_jpeg_() if jpeg else shown[0]._repr_png_()
    assert metadata["alt"] == "a grey square"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (288, 288)


def test_images_have_titles_and_places_of_their_own_shape():
    figure = figures.show_images([np.zeros((2, 4))] * 5, titles=list("abcde"), columns=3, size=2)
    drawn = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in drawn] == list("abcde") and len(figure.axes) == 6
    assert figures.show_images([np.zeros((2, 4))] * 4, columns=2, size=2).get_size_inches().tolist() == [4, 2]
    mixed = figures.show_images([np.zeros((2, 4)), np.zeros((3, 2, 3))])
    assert mixed.get_size_inches().tolist() == [10, 7.5], "the width of the text"
    figure = figures.show_images([np.zeros((30, 90, 3))] * 4, columns=2, size=3)
    rendered(figure)
    upper, lower = (figure.axes[index].get_window_extent() for index in (0, 2))
    assert 0 <= upper.y0 - lower.y1 < 0.15 * upper.height and upper.width / upper.height == pytest.approx(3, rel=0.02)


def test_colours_are_clipped_not_wrapped_and_feature_maps_are_drawn_by_hard_pixels():
    (axis,) = figures.show_images([np.full((2, 2, 3), 300.0)]).axes
    assert axis.images[0].get_array().max() == 255 and axis.images[0].get_interpolation() != "nearest"
    (axis,) = figures.show_images([np.eye(3)[..., None]], value_range=(-1, 2), cmap="magma").axes
    drawn = axis.images[0]
    assert (drawn.get_interpolation(), drawn.get_clim(), drawn.cmap.name) == ("nearest", (-1, 2), "magma")


def test_predictions_have_another_colour_where_they_are_wrong():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]])
    figure = figures.plot_predictions(np.zeros((2, 4, 4)), [0, 1], probabilities, ["cat", "dog"])
    titles = [(axis.get_title(), axis.title.get_color()) for axis in figure.axes]
    assert titles == [("cat / cat\n90%", "black"), ("dog / cat\n80%", "#D55E00")]


def test_filters_and_feature_maps_share_a_scale():
    kernels = np.random.default_rng(0).normal(size=(3, 3, 2, 5))
    drawn = [axis.images[0] for axis in figures.plot_filters(kernels).axes]
    largest = np.abs(kernels.mean(2)).max()
    assert len(drawn) == 5 and {image.get_clim() for image in drawn} == {(-largest, largest)}
    assert np.allclose(drawn[0].cmap(0.5)[:3], 1, atol=0.05), "white at 0"
    drawn = [axis.images[0] for axis in figures.plot_feature_maps(np.arange(32.0).reshape(4, 4, 2)).axes]
    assert {image.get_clim() for image in drawn} == {(0, 31)} and {image.cmap.name for image in drawn} == {"magma"}


def test_heat_lies_on_its_image():
    heat = np.zeros((3, 2, 2))
    heat[:, 0, 0] = 1
    figure = figures.plot_heat(np.full((3, 8, 8, 3), 200.0), heat, titles=list("abc"), columns=2)
    drawn = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in drawn if axis.get_title()] == list("abc")
    covered = [axis for axis in drawn if len(axis.images) == 2]
    assert len(drawn) == 6 and len(covered) == 3
    assert list(covered[0].images[0].get_extent()) == list(covered[0].images[1].get_extent()) == [-0.5, 7.5, 7.5, -0.5]
    assert covered[0].images[1].get_array()[0, 0] == 1 and covered[0].images[1].get_clim() == (0, 1)


def test_a_contact_sheet_calls_every_combination_once():
    calls = []
    figure = figures.contact_sheet(lambda rate, width: calls.append((rate, width)) or rate * width, rate=[1, 2],
                                   width=[3, 4, 5])  # fmt: skip
    (axis,) = figure.axes
    assert calls == [(r, w) for r in (1, 2) for w in (3, 4, 5)] and figure.results[(2, 5)] == 10
    assert [text.get_text() for text in axis.texts] == ["3.0", "4.0", "5.0", "6.0", "8.0", "10.0"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("width", "rate")
    assert [text.get_text() for text in axis.get_xticklabels()] == ["3", "4", "5"]


def test_a_contact_sheet_of_images_of_one_knob_and_of_a_run_that_diverged():
    figure = figures.contact_sheet(lambda level: np.full((2, 4, 3), level), level=[0, 100, 200])
    assert [axis.images[0].get_array().max() for axis in figure.axes] == [0, 100, 200]
    assert [axis.get_title() for axis in figure.axes] == ["0", "100", "200"] and (100,) in figure.results
    figure = figures.contact_sheet(lambda rate: 1.0 if rate < 5 else float("nan"), rate=[1, 10])
    texts = [(text.get_text(), text.get_color()) for text in figure.axes[0].texts]
    assert [text for text, _ in texts] == ["1.0", "NaN"] and texts[1][1] == "black", "on white"
    for grids in ({}, {"a": [1], "b": [1], "c": [1]}):
        with pytest.raises(ValueError, match="one or two"):
            figures.contact_sheet(lambda **knobs: 0, **grids)


def test_a_confusion_writes_every_number_and_colours_mistakes_alone():
    figure = figures.plot_confusion([[50, 3], [0, 60]], ["a", "b"])
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == ["50", "3", "0", "60"]
    assert axis.images[0].get_array().tolist() == [[0, 3], [0, 0]] and axis.images[0].get_clim() == (0, 3)
    assert (axis.get_xlabel(), axis.get_ylabel(), figure.axes[1].get_ylabel()) == ("predicted", "actual", "mistakes")
    assert axis.get_xticklabels()[0].get_rotation() == 0
    long = figures.plot_confusion(np.eye(5), ["automobile"] * 5).axes[0]
    assert long.get_xticklabels()[0].get_rotation() == 45


def test_a_history_is_drawn_where_it_was_measured():
    history = {"step": [5, 10, 15], "loss": [3, None, 1], "train accuracy": [0.1, 0.5, 0.9]}
    loss, accuracy = figures.plot_history(history).axes
    assert loss.lines[0].get_xydata().tolist() == [[5, 3], [15, 1]]
    assert accuracy.lines[0].get_ydata() == pytest.approx([10, 50, 90]) and "%" in accuracy.get_title()
    (chosen,) = figures.plot_history(history, panels={"all": ["loss", "train accuracy"]}).axes
    assert [text.get_text() for text in chosen.get_legend().get_texts()] == ["loss", "train accuracy"]


def test_curves_recorded_smoothed_and_beside_chance():
    panels = {
        "loss": {"this run": ([1, 2, 3, 4], [3.0, 1.0, 5.0, 3.0]), "recorded": ([10, 20], [3.0, 2.0])},
        "accuracy": {"this run": ([1, 2], [0.1, 0.2])},
    }
    loss, accuracy = figures.plot_curves(panels, chance=0.1).axes
    assert loss.lines[1].get_xydata().tolist() == [[10, 3], [20, 2]]
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--"]
    assert [list(line.get_ydata()) for line in accuracy.lines] == [pytest.approx([10, 20]), [10, 10]]
    raw, mean, *_ = figures.plot_curves(panels, smooth=3).axes[0].lines
    assert raw.get_alpha() < 0.5 and raw.get_ydata().tolist() == [3, 1, 5, 3]
    np.testing.assert_allclose(mean.get_xydata(), [[3, 3], [4, 3]])


def test_ranges_have_their_mean_and_a_recorded_run_has_the_colour_of_the_live_one():
    curves = {"tuned": {10: [0.4]}, "recorded: tuned": {10: [0.2, 0.4], 1000: [0.8, 0.8]}, "recorded: new": {10: [0.1]}}
    axis = figures.plot_ranges(curves, "images", "what it takes").axes[0]
    live, recorded, new = axis.lines
    assert np.allclose(recorded.get_xydata(), [[10, 30], [1000, 80]]) and recorded.get_linestyle() == "--"
    assert live.get_color() == recorded.get_color() != new.get_color() and live.get_linestyle() == "-"
    band = axis.collections[1].get_paths()[0].get_extents()
    assert np.allclose([band.x0, band.y0, band.x1, band.y1], [10, 20, 1000, 80])
    assert axis.get_xscale() == "log" and list(axis.get_xticks()) == [10, 1000]


def test_bars_are_as_long_as_their_values():
    (axis,) = figures.plot_bars([10, 42.25], ["a", "b"], limit=100).axes
    assert [bar.get_width() for bar in axis.patches] == [10, 42.25] and axis.get_xlim() == (0, 100)
    assert [text.get_text() for text in axis.texts] == ["10.0", "42.2"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "the first one is on top"


def test_embeddings_have_a_look_for_each_class_and_one_scale_in_a_film():
    positions, labels = np.array([[0, 1], [2, 0], [0, -3]]), np.array([0, 1, 1])
    figure = figures.plot_embeddings({"before": positions, "after": 2 * positions}, labels, ["cat", "dog"])
    before, after = figure.axes
    assert [cloud.get_offsets().tolist() for cloud in before.collections] == [[[0, 1]], [[2, 0], [0, -3]]]
    assert before.get_xlim()[1] == pytest.approx(3.15) and after.get_xlim()[1] == pytest.approx(6.3)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog"]
    first, second = (figures.plot_embeddings({"": k * positions}, labels, "ab", limit=9).axes[0] for k in (1, 2))
    assert first.get_xlim() == second.get_xlim()
    clouds = figures.plot_embeddings({"": np.ones((10, 2))}, np.arange(10), "0123456789").axes[0].collections
    looks = {(tuple(cloud.get_facecolor()[0]), len(cloud.get_paths()[0].vertices)) for cloud in clouds}
    assert len(looks) == 10 > len(COLOURS)


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
    short, long = (figures.plot_confusion(np.eye(6), names).axes[0] for names in ("abcdef", ["automobile"] * 6))
    assert [axis.get_xticklabels()[0].get_rotation() for axis in (short, long)] == [0, 45]


def test_a_prediction_sheet_names_what_is_predicted_in_red_where_it_is_wrong():
    images, labels = np.zeros((7, 8, 8), np.uint8), np.arange(7)
    right = figures.prediction_sheet(images, labels, np.eye(7) * 0.9 + 0.01, "abcdefg")
    wrong = figures.prediction_sheet(images, labels, np.roll(np.eye(7), 1, axis=1) * 0.9 + 0.01, "abcdefg")

    def red(sheet):
        return ((sheet[..., 0] > 150) & (sheet[..., 1] < 100)).sum()

    assert right.shape == wrong.shape == (2 * 124, 5 * 104, 3) and right.dtype == np.uint8
    assert red(right) == 0 < red(wrong)


def test_a_film_frame_puts_sure_digits_in_corners_and_undecided_ones_in_the_centre():
    probabilities = np.stack([np.eye(10)[0], np.full(10, 0.1)])
    figure = figures.plot_film_frame(np.random.rand(4, 4, 1, 25), probabilities, [0, 1], "0123456789", "now", 3)
    left, right = figure.axes
    offsets = np.concatenate([cloud.get_offsets() for cloud in right.collections])
    assert np.allclose(offsets, [[0, 1], [0, 0]], atol=1e-9)
    assert left.images[0].get_array().shape == (24, 24) and left.images[0].get_clim() == (-3, 3)


def test_frames_of_a_confusion_film_have_one_scale():
    one = figures.plot_confusion_frame([[3, 1], [0, 0]], ["a", "b"], ([0], [0.1]), (100, 0.9), "start")
    two = figures.plot_confusion_frame([[4, 0], [0, 4]], ["a", "b"], ([0, 100], [0.1, 0.8]), (100, 0.9), "end")
    assert [axis.get_xlim() for axis in one.axes] == [axis.get_xlim() for axis in two.axes]
    assert one.axes[1].get_ylim() == two.axes[1].get_ylim() == (0, 90)
    assert one.axes[0].images[0].get_array().tolist() == [[75, 25], [0, 0]]
    assert one.axes[0].images[0].get_clim() == (0, 100)
    assert rendered(one).shape == rendered(two).shape


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (4, 4), (5, 5), (6, 3), (7, 4), (8, 4), (10, 5), (12, 4)]
)
def test_rows_are_filled(count, columns):
    grid = figures.show_images(np.zeros((count, 4, 4))).axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (-(-count // columns), columns)
