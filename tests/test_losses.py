"""The losses against hand-worked numbers, an independent NumPy implementation, and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.losses import content_loss, gram_matrix, style_loss, total_variation

BY_HAND = np.array([[[[1, 0], [2, 1]], [[0, 3], [1, 1]]]], np.float32)  # positions (1, 0), (2, 1), (0, 3), (1, 1)


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def reference_gram(values):
    """Sum the outer products of all positions, one by one, in float64."""
    batch, height, width, channels = values.shape
    gram = np.zeros((batch, channels, channels))
    for index in range(batch):
        for row in range(height):
            for column in range(width):
                gram[index] += np.outer(values[index, row, column], values[index, row, column])
    return gram


def reference_variation(image, exponent):
    total = 0.0
    batch, height, width, channels = image.shape
    for index in np.ndindex(batch, height - 1, width - 1, channels):
        which, row, column, channel = index
        here = image[index]
        down, across = image[which, row + 1, column, channel] - here, image[which, row, column + 1, channel] - here
        total += (down**2 + across**2) ** exponent
    return total


def test_gram_by_hand():
    np.testing.assert_array_equal(gram_matrix(BY_HAND), [[[6, 3], [3, 11]]])


def test_style_loss_by_hand():
    # G − A = [[4, 2], [2, 8]]; its squares sum to 88; N = 2, M = 4: 88 / (4 · 4 · 16)
    assert float(style_loss(BY_HAND, [[[2.0, 1.0], [1.0, 3.0]]], 4)) == pytest.approx(88 / 256)


def test_content_loss_by_hand():
    assert float(content_loss(BY_HAND, np.zeros_like(BY_HAND))) == pytest.approx((1 + 4 + 1 + 9 + 1 + 1) / 2)
    assert float(content_loss(2 * BY_HAND, BY_HAND, "mean")) == pytest.approx(1)


def test_total_variation_by_hand():
    image = np.array([[[[0.0], [3.0]], [[4.0], [9.0]]]])  # only the first pixel has both neighbours
    assert float(total_variation(image, exponent=1)) == pytest.approx(25)
    assert float(total_variation(image)) == pytest.approx(25**1.25)


@pytest.mark.parametrize("seed", [0, 1])
def test_against_numpy(seed):
    generated, target = features(2, 5, 7, 6, seed=seed), features(2, 4, 6, 6, seed=seed + 10)
    gram, target_gram = reference_gram(generated), reference_gram(target)
    np.testing.assert_allclose(gram_matrix(generated), gram, rtol=1e-5, atol=1e-5)
    expected = ((gram / 35 - target_gram / 24) ** 2).sum() / (4 * 6**2)
    assert float(style_loss(generated, target_gram, 24)) == pytest.approx(expected, rel=1e-5)
    relative = ((gram / 35 - target_gram / 24) ** 2).sum((1, 2)) / ((target_gram / 24) ** 2).sum((1, 2))
    assert float(style_loss(generated, target_gram, 24, "mean")) == pytest.approx(relative.sum(), rel=1e-5)
    other = features(2, 5, 7, 6, seed=seed + 20)
    assert float(content_loss(generated, other)) == pytest.approx(((generated - other) ** 2).sum() / 2, rel=1e-5)
    relative = ((generated - other) ** 2).sum((1, 2, 3)) / (other**2).sum((1, 2, 3))
    assert float(content_loss(generated, other, "mean")) == pytest.approx(relative.sum(), rel=1e-5)
    image = 60 * features(1, 6, 9, 3, seed=seed) + 128
    for exponent in (1, 1.25, 2):
        assert float(total_variation(image, exponent)) == pytest.approx(reference_variation(image, exponent), rel=1e-5)
        expected = reference_variation(image / 255, exponent) / (5 * 8 * 3)
        assert float(total_variation(image, exponent, "mean")) == pytest.approx(expected, rel=1e-5)


def test_equation_4_where_sizes_are_equal():
    generated, target = features(1, 5, 7, 6), features(1, 5, 7, 6, seed=1)
    gram, target_gram = reference_gram(generated), reference_gram(target)
    expected = ((gram - target_gram) ** 2).sum() / (4 * 6**2 * 35**2)
    assert float(style_loss(generated, target_gram, 35)) == pytest.approx(expected, rel=1e-5)


def test_gram_is_symmetric_and_positive_semidefinite():
    gram = gram_matrix(features(3, 4, 2, 16)).numpy()  # of rank 8 at most, so that half the eigenvalues are 0
    np.testing.assert_allclose(gram, gram.transpose(0, 2, 1))
    values = np.linalg.eigvalsh(gram)
    assert values.min() > -1e-5 * values.max()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "uint8"])
def test_gram_is_computed_in_float32(dtype):
    values = tf.cast(np.full((1, 40, 50, 2), 8), dtype)  # the sum, 128000, is beyond float16
    gram = gram_matrix(values)
    assert gram.dtype == tf.float32
    np.testing.assert_array_equal(gram, np.full((1, 2, 2), 128000))


@pytest.mark.parametrize("normalization", ["paper", "mean"])
def test_zero_at_the_target(normalization):
    values = features(1, 4, 5, 3)
    assert float(content_loss(values, values, normalization)) == 0
    assert float(style_loss(values, gram_matrix(values), 20, normalization)) == 0
    assert float(total_variation(np.full((1, 4, 5, 3), 90), normalization=normalization)) == 0


def test_blank_features_lose_one_under_mean():
    values = features(1, 4, 5, 3)
    assert float(content_loss(0 * values, values, "mean")) == pytest.approx(1)
    assert float(style_loss(0 * values, gram_matrix(values), 20, "mean")) == pytest.approx(1)
    assert np.isfinite(float(content_loss(values, 0 * values, "mean")))


@pytest.mark.parametrize("normalization", ["paper", "mean"])
@pytest.mark.parametrize("term", ["content", "style", "variation"])
def test_gradient_against_finite_differences(term, normalization):
    target = features(1, 6, 5, 4, seed=3)
    losses = {
        "content": lambda values: content_loss(values, target, normalization),
        "style": lambda values: style_loss(values, gram_matrix(target), 30, normalization),
        "variation": lambda values: total_variation(60 * values, normalization=normalization),
    }
    loss, start = losses[term], features(1, 6, 5, 4)
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


def test_independent_of_image_size():
    values, target = features(1, 4, 5, 6), features(1, 4, 5, 6, seed=1)
    tiled, tiled_target = np.tile(values, (1, 3, 2, 1)), np.tile(target, (1, 3, 2, 1))
    small, large = content_loss(values, target, "mean"), content_loss(tiled, tiled_target, "mean")
    assert float(small) == pytest.approx(float(large), rel=1e-5)
    for normalization in ("paper", "mean"):
        small = style_loss(values, gram_matrix(target), 20, normalization)
        large = style_loss(tiled, gram_matrix(tiled_target), 120, normalization)
        assert float(small) == pytest.approx(float(large), rel=1e-5)
    ramp = np.cumsum(np.ones((1, 64, 64, 3)), axis=1)
    small, large = total_variation(ramp[:, :16, :16], normalization="mean"), total_variation(ramp, normalization="mean")
    assert float(small) == pytest.approx(float(large), rel=1e-5)


def test_independent_of_the_scale_of_a_layer_under_mean():
    values, target = features(1, 4, 5, 6), features(1, 4, 5, 6, seed=1)
    assert float(content_loss(50 * values, 50 * target, "mean")) == pytest.approx(
        float(content_loss(values, target, "mean"))
    )
    small, large = (style_loss(k * values, gram_matrix(k * target), 20, "mean") for k in (1, 50))
    assert float(small) == pytest.approx(float(large), rel=1e-5)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: gram_matrix(np.zeros((4, 4, 3))), "image\\[None\\]"),
        (lambda: content_loss(np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 5, 3))), "one shape"),
        (lambda: content_loss(np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4, 3)), "sum"), "normalization must be"),
        (lambda: style_loss(np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4)), 16), "same layer"),
        (lambda: total_variation(np.zeros((1, 4, 4, 3)), exponent=0.5), "exponent must be a finite number from 1"),
    ],
)
def test_errors_say_what_to_do(call, words):
    with pytest.raises(ValueError, match=words):
        call()
