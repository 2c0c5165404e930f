"""The losses against hand-worked numbers, an independent NumPy implementation, and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.losses import content_loss, gram_matrix, style_loss, total_variation

BY_HAND = np.array([[[[1, 0], [2, 1]], [[0, 3], [1, 1]]]], np.float32)  # positions (1, 0), (2, 1), (0, 3), (1, 1)
BOTH = pytest.mark.parametrize("normalization", ["paper", "mean"])


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def reference_gram(values):
    """Sum the outer products of all positions, in float64."""
    return np.einsum("bhwi,bhwj->bij", values, values)


def reference_variation(image, exponent):
    total = 0.0
    batch, height, width, channels = image.shape
    for which, row, column, channel in np.ndindex(batch, height - 1, width - 1, channels):
        here = image[which, row, column, channel]
        down, across = image[which, row + 1, column, channel] - here, image[which, row, column + 1, channel] - here
        total += (down**2 + across**2) ** exponent
    return total


def test_by_hand():
    np.testing.assert_array_equal(gram_matrix(BY_HAND), [[[6, 3], [3, 11]]])
    # G − A = [[4, 2], [2, 8]]; its squares sum to 88; N = 2, M = 4: 88 / (4 · 4 · 16)
    assert float(style_loss(BY_HAND, [[[2.0, 1.0], [1.0, 3.0]]], 4)) == pytest.approx(88 / 256)
    assert float(content_loss(BY_HAND, np.zeros_like(BY_HAND))) == pytest.approx((1 + 4 + 1 + 9 + 1 + 1) / 2)
    assert float(content_loss(2 * BY_HAND, BY_HAND, "mean")) == pytest.approx(1)
    image = np.array([[[[0.0], [3.0]], [[4.0], [9.0]]]])  # only the first pixel has both neighbours
    assert float(total_variation(image, exponent=1)) == pytest.approx(25)
    assert float(total_variation(image)) == pytest.approx(25**1.25)


@pytest.mark.parametrize("seed", [0, 1])
def test_against_numpy(seed):
    generated, target = features(2, 5, 7, 6, seed=seed), features(2, 4, 6, 6, seed=seed + 10)
    gram, target_gram = reference_gram(generated), reference_gram(target)
    np.testing.assert_allclose(gram_matrix(generated), gram, rtol=1e-5, atol=1e-5)
    squares = ((gram / 35 - target_gram / 24) ** 2).sum((1, 2))
    assert float(style_loss(generated, target_gram, 24)) == pytest.approx(squares.sum() / (4 * 6**2), rel=1e-5)
    relative = squares / ((target_gram / 24) ** 2).sum((1, 2))
    assert float(style_loss(generated, target_gram, 24, "mean")) == pytest.approx(relative.sum(), rel=1e-5)
    other = features(2, 5, 7, 6, seed=seed + 20)
    squares = ((generated - other) ** 2).sum((1, 2, 3))
    assert float(content_loss(generated, other)) == pytest.approx(squares.sum() / 2, rel=1e-5)
    relative = squares / (other**2).sum((1, 2, 3))
    assert float(content_loss(generated, other, "mean")) == pytest.approx(relative.sum(), rel=1e-5)
    image = 60 * features(1, 6, 9, 3, seed=seed) + 128
    for exponent in (1, 1.25, 2):
        assert float(total_variation(image, exponent)) == pytest.approx(reference_variation(image, exponent), rel=1e-5)
        expected = reference_variation(image / 255, exponent) / (5 * 8 * 3)
        assert float(total_variation(image, exponent, "mean")) == pytest.approx(expected, rel=1e-5)


def test_equation_4_where_sizes_are_equal():
    generated, target = features(1, 5, 7, 6), features(1, 5, 7, 6, seed=1)
    expected = ((reference_gram(generated) - reference_gram(target)) ** 2).sum() / (4 * 6**2 * 35**2)
    assert float(style_loss(generated, gram_matrix(target), 35)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8"])
def test_gram_is_computed_in_float32(dtype):
    gram = gram_matrix(tf.cast(np.full((1, 40, 50, 2), 8), dtype))  # the sum, 128000, is beyond float16
    assert gram.dtype == tf.float32
    np.testing.assert_array_equal(gram, np.full((1, 2, 2), 128000))


@BOTH
def test_zero_at_the_target_and_one_of_nothing_under_mean(normalization):
    values = features(1, 4, 5, 3)
    assert float(content_loss(values, values, normalization)) == 0
    assert float(style_loss(values, gram_matrix(values), 20, normalization)) == 0
    assert float(total_variation(np.full((1, 4, 5, 3), 90), normalization=normalization)) == 0
    assert float(content_loss(0 * values, values, "mean")) == pytest.approx(1)
    assert float(style_loss(0 * values, gram_matrix(values), 20, "mean")) == pytest.approx(1)
    assert np.isfinite(float(content_loss(values, 0 * values, "mean")))


@BOTH
@pytest.mark.parametrize("term", ["content", "style", "variation"])
def test_gradient_against_finite_differences(term, normalization):
    target = features(1, 6, 5, 4, seed=3)
    loss, start = (
        {
            "content": lambda values: content_loss(values, target, normalization),
            "style": lambda values: style_loss(values, gram_matrix(target), 30, normalization),
            "variation": lambda values: total_variation(60 * values, normalization=normalization),
        }[term],
        features(1, 6, 5, 4),
    )
    with tf.GradientTape() as tape:
        variable = tf.constant(start, tf.float32)
        tape.watch(variable)
        value = loss(variable)
    gradient = tape.gradient(value, variable).numpy()
    for seed in range(3):
        direction = features(*start.shape, seed=seed + 50)
        difference = (float(loss(start + 1e-2 * direction)) - float(loss(start - 1e-2 * direction))) / 2e-2
        assert (gradient * direction).sum() == pytest.approx(difference, rel=1e-2, abs=2e-3 * abs(float(value)))


def test_flat_image_has_a_finite_gradient():
    with tf.GradientTape() as tape:
        image = tf.ones((1, 5, 5, 3))
        tape.watch(image)
        value = total_variation(image)
    np.testing.assert_array_equal(tape.gradient(value, image), np.zeros((1, 5, 5, 3)))


def test_independent_of_the_size_of_the_image_and_under_mean_of_the_scale_of_a_layer():
    values, target = features(1, 4, 5, 6), features(1, 4, 5, 6, seed=1)
    tiled, tiled_target, gram = np.tile(values, (1, 3, 2, 1)), np.tile(target, (1, 3, 2, 1)), gram_matrix(target)
    ramp = np.cumsum(np.ones((1, 64, 64, 3)), axis=1)
    for small, large in (
        (content_loss(values, target, "mean"), content_loss(tiled, tiled_target, "mean")),
        (style_loss(values, gram, 20), style_loss(tiled, gram_matrix(tiled_target), 120)),
        (style_loss(values, gram, 20, "mean"), style_loss(tiled, gram_matrix(tiled_target), 120, "mean")),
        (total_variation(ramp[:, :16, :16], normalization="mean"), total_variation(ramp, normalization="mean")),
        (content_loss(values, target, "mean"), content_loss(50 * values, 50 * target, "mean")),
        (style_loss(values, gram, 20, "mean"), style_loss(50 * values, gram_matrix(50 * target), 20, "mean")),
    ):
        assert float(small) == pytest.approx(float(large), rel=1e-5)


def test_they_work_inside_a_compiled_function_of_any_size():
    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 2))])
    def compiled(values):
        return style_loss(values, gram_matrix(BY_HAND), 4) + content_loss(values, values) + total_variation(values, 1)

    expected = float(style_loss(3 * BY_HAND, gram_matrix(BY_HAND), 4) + total_variation(3 * BY_HAND, 1))
    assert float(compiled(3 * BY_HAND)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: gram_matrix(np.zeros((4, 4, 3))), r"features .*image\[None\]"),
        (lambda: gram_matrix("abc"), "features is 'abc'"),
        (lambda: gram_matrix(np.zeros((1, 0, 5, 6))), "features"),
        (lambda: content_loss(BY_HAND, np.zeros((1, 2, 3, 2))), "one shape"),
        (lambda: content_loss(np.zeros((2, 4, 5, 6)), np.zeros((3, 4, 5, 6))), "one shape"),
        (lambda: content_loss(BY_HAND, BY_HAND, "sum"), "normalization .*'paper'"),
        (lambda: style_loss(BY_HAND, np.zeros((2, 2)), 4), "target_gram"),
        (lambda: style_loss(BY_HAND, np.zeros((1, 3, 3)), 4), "target_gram .*same layer"),
        (lambda: style_loss(BY_HAND, np.zeros((1, 2, 2)), 0), "target_size"),
        (lambda: total_variation(BY_HAND, exponent=0.5), "exponent"),
        (lambda: total_variation(np.zeros((1, 1, 9, 3))), "2 × 2 pixels"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
