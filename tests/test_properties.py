"""What holds for every picture, every feature and every size, tried on many that Hypothesis thinks up."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers.deepdream import octave_shapes
from helpers.images import fitted, load_image, luminance, match_color, resize, save_image, to_uint8
from helpers.losses import content_loss, gram_matrix, style_loss, total_variation
from helpers.style_transfer import scale_shapes, scale_steps
from helpers.tiles import fading_tiles

tried = settings(deadline=None, derandomize=True, max_examples=40, database=None)
SIDES = st.integers(1, 12)
SIZES = st.tuples(SIDES, SIDES)


def pictures(low=0, high=255, sizes=SIZES, dtype=np.float32):
    """Pictures `(height, width, 3)`."""
    kind = st.integers(low, high) if dtype == np.uint8 else st.floats(low, high, width=32)
    return sizes.flatmap(lambda size: arrays(dtype, (*size, 3), elements=kind))


def features(least=1):
    """Features `(1 or 2, height, width, channels)`, as a ReLU might give them, and negative ones."""
    shapes = st.tuples(st.integers(1, 2), st.integers(least, 5), st.integers(least, 5), st.integers(1, 6))
    return shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=st.floats(-50, 50, width=16)))


# Pictures


@tried
@given(pictures(), SIZES)
def test_resizing_gives_the_size_and_overshoots_the_range_but_little(image, size):
    resized = resize(image, size)
    assert resized.shape == (*size, 3) and resized.dtype == np.float32
    for channel in range(3):
        low, high = image[..., channel].min(), image[..., channel].max()
        slack = 0.5 * (high - low) + 1e-3
        assert low - slack <= resized[..., channel].min() and resized[..., channel].max() <= high + slack


@tried
@given(st.floats(0, 255, width=32), SIZES, SIZES)
def test_resizing_keeps_one_colour(level, before, after):
    np.testing.assert_allclose(resize(np.full((*before, 3), level), after), level, rtol=1e-4, atol=1e-4)


@tried
@given(pictures(), SIZES)
def test_a_loaded_picture_has_the_shape_and_0_to_255(image, shape):
    assume(image.max() > 1 or image.max() == 0)  # between the two, it is refused
    loaded = load_image(image, shape=shape)
    assert loaded.shape == (*shape, 3) and loaded.min() >= 0 and loaded.max() <= 255
    np.testing.assert_array_equal(load_image(image), image)


@tried
@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.integers(1, 3000))
def test_a_fitted_size_has_the_longest_side_and_the_aspect_ratio(shape, longest):
    height, width = fitted(shape, longest)
    assert max(height, width) == longest and min(height, width) >= 1
    scale = longest / max(shape)
    assert abs(height - shape[0] * scale) < 1 and abs(width - shape[1] * scale) < 1


@tried
@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32)))
def test_whole_grey_levels_are_the_nearest(values):
    whole = to_uint8(values)
    assert whole.dtype == np.uint8
    assert np.abs(whole - values.clip(0, 255)).max() <= 0.5
    np.testing.assert_array_equal(to_uint8(whole), whole)
    assert (np.diff(to_uint8(np.sort(values)).astype(int)) >= 0).all()


@tried
@given(st.data(), SIZES)
def test_matching_by_luminance_keeps_brightness_where_nothing_is_clipped(data, size):
    image, reference = (data.draw(pictures(sizes=st.just(size))) for _ in range(2))
    matched = match_color(image, reference)
    assert matched.min() >= 0 and matched.max() <= 255
    inside = ((matched > 0) & (matched < 255)).all(axis=-1)
    np.testing.assert_allclose(luminance(matched)[inside], luminance(image)[inside], atol=0.01)
    np.testing.assert_allclose(match_color(image, image), image, atol=1e-3)


@tried
@given(pictures(), pictures())
def test_matching_by_histogram_moves_the_mean(image, reference):
    matched = match_color(image, reference, "histogram")
    if 0 < matched.min() and matched.max() < 255:  # nothing was clipped
        np.testing.assert_allclose(matched.mean((0, 1)), reference.mean((0, 1)), atol=0.05)
    np.testing.assert_allclose(match_color(image, image, "histogram"), image, atol=0.5)


@tried
@given(pictures(dtype=np.uint8), st.sampled_from([".png", ".bmp", ".tif"]))
def test_what_is_saved_without_loss_comes_back(picture, ending):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{ending}"
        save_image(path, picture)
        np.testing.assert_array_equal(load_image(path), picture)


# Losses: each against its equation, written down in NumPy


def gram(values):
    return np.einsum("bhwi,bhwj->bij", values.astype(np.float64), values.astype(np.float64))


@tried
@given(features(), st.randoms(use_true_random=False))
def test_a_gram_matrix_is_symmetric_semidefinite_and_knows_no_places(values, random):
    matrix = gram_matrix(values).numpy()
    np.testing.assert_allclose(matrix, gram(values), rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(matrix, matrix.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(gram(values)).min() > -1e-6 * max(1, np.abs(matrix).max())
    batch, height, width, channels = values.shape
    order = random.sample(range(height * width), height * width)
    shuffled = values.reshape(batch, -1, channels)[:, order].reshape(values.shape)
    np.testing.assert_allclose(gram_matrix(shuffled), matrix, rtol=1e-4, atol=1e-2)


@tried
@given(features(), st.data())
def test_the_content_loss_is_its_equation(values, data):
    target = data.draw(arrays(np.float32, values.shape, elements=st.floats(-50, 50, width=16)))
    expected = 0.5 * ((values.astype(np.float64) - target) ** 2).sum()
    assert float(content_loss(values, target)) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert float(content_loss(target, values)) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for normalization in ("paper", "mean"):
        assert float(content_loss(values, values, normalization)) == 0
        assert float(content_loss(values, target, normalization)) >= 0


@tried
@given(features(), features())
def test_the_style_loss_is_its_equation(values, other):
    channels = min(values.shape[-1], other.shape[-1])
    values, other = values[:1, ..., :channels], other[:1, ..., :channels]
    positions, target_positions = (array.shape[1] * array.shape[2] for array in (values, other))
    squares = (gram(values) / positions - gram(other) / target_positions) ** 2
    found = float(style_loss(values, gram_matrix(other), target_positions))
    assert found == pytest.approx(squares.sum() / (4 * channels**2), rel=1e-3, abs=1e-2)
    for normalization in ("paper", "mean"):
        own = float(style_loss(values, gram_matrix(values), positions, normalization))
        assert own == pytest.approx(0, abs=1e-6) and float(style_loss(values, gram(other), 7, normalization)) >= 0


@tried
@given(features(least=2), st.floats(-100, 100, width=16), st.sampled_from([1.0, 1.25, 2.0]))
def test_the_total_variation_is_its_equation_and_knows_no_level(image, level, exponent):
    across = np.diff(image.astype(np.float64), axis=2)[:, :-1]
    down = np.diff(image.astype(np.float64), axis=1)[:, :, :-1]
    found = float(total_variation(image, exponent))
    assert found == pytest.approx(((across**2 + down**2) ** exponent).sum(), rel=1e-3, abs=1e-6) and found >= 0
    brighter, flipped = total_variation(image + np.float32(level), exponent), image.transpose(0, 2, 1, 3)
    assert float(brighter) == pytest.approx(found, rel=1e-2, abs=0.1)
    assert float(total_variation(flipped, exponent)) == pytest.approx(found, rel=1e-3, abs=1e-6)
    for normalization in ("paper", "mean"):
        assert float(total_variation(np.full_like(image, level), exponent, normalization)) == 0


# Sizes


@tried
@given(
    st.tuples(st.integers(1, 2000), st.integers(1, 2000)), st.integers(1, 8), st.floats(1.01, 3), st.integers(1, 100)
)
def test_octaves_rise_by_the_ratio_from_the_smallest_to_the_picture(shape, octaves, ratio, smallest):
    coarsest = [round(side / ratio ** (octaves - 1)) for side in shape]
    if min(coarsest) < smallest:
        with pytest.raises(ValueError, match="Use fewer octaves"):
            octave_shapes(shape, octaves, ratio, smallest)
        return
    shapes = octave_shapes(shape, octaves, ratio, smallest)
    assert len(shapes) == octaves and shapes[-1] == shape and shapes[0] == tuple(coarsest)
    for power, (height, width) in enumerate(reversed(shapes)):
        assert abs(height - shape[0] / ratio**power) <= 0.5 and abs(width - shape[1] / ratio**power) <= 0.5
        assert min(height, width) >= smallest
    for smaller, larger in zip(shapes, shapes[1:], strict=False):
        assert smaller[0] <= larger[0] and smaller[1] <= larger[1]


@tried
@given(st.integers(1, 500), st.integers(1, 6))
def test_steps_are_shared_evenly_and_all_of_them(steps, scales):
    assume(steps >= scales)
    counts = scale_steps(steps, scales)
    assert sum(counts) == steps and len(counts) == scales
    assert min(counts) >= 1 and max(counts) - min(counts) <= 1 and counts == sorted(counts)


@tried
@given(st.tuples(st.integers(32, 3000), st.integers(32, 3000)), st.integers(1, 5))
def test_scales_double_up_to_the_picture(full, scales):
    assume(min(round(side * 0.5 ** (scales - 1)) for side in full) >= 32)
    shapes = scale_shapes(full, scales)
    assert shapes[-1] == full and len(shapes) == scales
    for smaller, larger in zip(shapes, shapes[1:], strict=False):
        assert all(abs(2 * low - high) <= 1.5 for low, high in zip(smaller, larger, strict=True))


@tried
@given(st.integers(1, 300), st.integers(1, 80), st.data())
def test_tiles_cover_every_pixel_once_in_all(side, tile_size, data):
    overlap = data.draw(st.integers(0, tile_size - 1))
    total = np.zeros(side)
    for start, weights in fading_tiles(side, tile_size, overlap):
        total[start : start + len(weights)] += weights
    np.testing.assert_allclose(total, 1, atol=1e-5)
