"""Tiles cover every pixel, and what they give is the whole image's gradient."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.tiles import fading_tiles, tiled_gradient

GENERATOR = np.random.default_rng(0)


def mean_square(tile):
    """A loss without any neighbourhood: each tile gives exactly its part of the whole gradient."""
    return np.mean(tile**2), 2 * tile / tile.size


@pytest.mark.parametrize("side", [1, 31, 32, 33, 64, 65, 197])
@pytest.mark.parametrize("tile_size, overlap", [(32, 0), (32, 8), (32, 31), (64, 16), (1, 0), (500, 64)])
def test_weights_sum_to_one_at_every_pixel(side, tile_size, overlap):
    tiles, total = fading_tiles(side, tile_size, overlap), np.zeros(side)
    for start, weights in tiles:
        assert 0 <= start and start + len(weights) <= side and len(weights) == min(side, tile_size)
        assert (weights >= 0).all()
        total[start : start + len(weights)] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    starts = [start for start, _ in tiles]
    assert max(np.diff(starts), default=0) <= tile_size - overlap and starts == sorted(set(starts))


def test_a_cross_fade_by_hand():
    (first, left), (second, right) = fading_tiles(8, 6, 4)
    assert (first, second) == (0, 2)
    np.testing.assert_allclose(left, [1, 1, 1, 0.75, 0.25, 0])
    np.testing.assert_allclose(right, [0, 0.25, 0.75, 1, 1, 1])


@pytest.mark.parametrize("shape", [(64, 64), (65, 127), (20, 90), (19, 7)])
@pytest.mark.parametrize("overlap", [0, 9, 24])
def test_a_loss_of_single_pixels_is_exact_everywhere(shape, overlap):
    image = GENERATOR.normal(3, 1, (*shape, 3)).astype(np.float32)
    loss, gradient = tiled_gradient(mean_square, image, 32, overlap)
    np.testing.assert_allclose(gradient, 2 * image / image.size, rtol=1e-4)
    assert gradient.shape == image.shape and gradient.dtype == np.float32
    if overlap == 0 and shape == (64, 64):
        assert loss == pytest.approx(np.mean(image**2), rel=1e-5)
    assert tiled_gradient(mean_square, np.full_like(image, 2), 32, overlap)[0] == pytest.approx(4, rel=1e-5)


@pytest.fixture(scope="module")
def shallow():
    """Loss and gradient after two 3×3 convolutions: a gradient depends on pixels up to 4 away."""
    kernels = [GENERATOR.normal(0, 0.3, shape).astype(np.float32) for shape in ((3, 3, 3, 8), (3, 3, 8, 8))]

    @tf.function
    def loss_and_gradient(tile):
        with tf.GradientTape() as tape:
            tape.watch(tile)
            values = tile[None]
            for kernel in kernels:
                values = tf.nn.relu(tf.nn.conv2d(values, kernel, 1, "SAME"))
            loss = tf.reduce_sum(tf.square(values[:, 2:-2, 2:-2])) / tf.cast(tf.size(values), tf.float32)
        return loss, tape.gradient(loss, tile)

    return lambda tile: [value.numpy() for value in loss_and_gradient(tf.constant(tile))]


def test_one_tile_is_the_whole_gradient(shallow):
    image = GENERATOR.normal(size=(41, 57, 3)).astype(np.float32)
    loss, gradient = tiled_gradient(shallow, image, 57, 16)
    np.testing.assert_array_equal(gradient, shallow(image)[1])
    assert loss == pytest.approx(shallow(image)[0])


@pytest.mark.parametrize("shape", [(96, 96), (75, 131)])
def test_with_overlap_it_is_the_whole_gradient_everywhere(shallow, shape):
    image = GENERATOR.normal(size=(*shape, 3)).astype(np.float32)
    whole, tiled = shallow(image)[1], tiled_gradient(shallow, image, 48, 16)[1]
    np.testing.assert_allclose(tiled, whole, atol=1e-4 * np.abs(whole).max())


def test_without_overlap_it_is_so_away_from_the_edges_of_tiles(shallow):
    image = GENERATOR.normal(size=(96, 144, 3)).astype(np.float32)
    whole, tiled = shallow(image)[1], tiled_gradient(shallow, image, 48, 0)[1]
    error = np.abs(tiled - whole).max(axis=-1) / np.abs(whole).max()
    rows, columns = (np.arange(side) % 48 for side in error.shape)
    inside = np.ix_((rows >= 4) & (rows < 44), (columns >= 4) & (columns < 44))
    assert error[inside].max() < 1e-4 < 1e-2 < error[:, 47:49].max()


@pytest.mark.parametrize("tile_size, overlap, name", [(0, 0, "tile_size"), (32, 32, "overlap"), (32, -1, "overlap")])
def test_refusals(tile_size, overlap, name):
    with pytest.raises(ValueError, match=f"{name} is"):
        tiled_gradient(mean_square, np.zeros((50, 50, 3), np.float32), tile_size, overlap)
