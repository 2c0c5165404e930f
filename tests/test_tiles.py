"""Tiles cover every pixel, and what they give is the whole picture's gradient."""

import numpy as np
import pytest
import tensorflow as tf

from helpers.tiles import fading_tiles, tiled_gradient

GENERATOR = np.random.default_rng(0)


def mean_square(tile):
    """A loss without any neighbourhood: each tile gives exactly its part of the whole gradient."""
    return np.mean(tile**2), 2 * tile / tile.size


@pytest.mark.parametrize("side", [1, 31, 32, 33, 63, 64, 65, 100, 197, 301])
@pytest.mark.parametrize("tile_size, overlap", [(32, 0), (32, 8), (32, 31), (64, 16), (1, 0), (500, 64)])
def test_weights_sum_to_one_at_every_pixel(side, tile_size, overlap):
    tiles = fading_tiles(side, tile_size, overlap)
    total = np.zeros(side)
    for start, weights in tiles:
        assert 0 <= start and start + len(weights) <= side and len(weights) == min(side, tile_size)
        assert (weights >= 0).all()
        total[start : start + len(weights)] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    starts = [start for start, _ in tiles]
    assert max(np.diff(starts), default=0) <= tile_size - overlap
    assert starts == sorted(set(starts))


def test_a_cross_fade_by_hand():
    (first, left), (second, right) = fading_tiles(8, 6, 4)
    assert (first, second) == (0, 2)
    np.testing.assert_allclose(left, [1, 1, 1, 0.75, 0.25, 0])
    np.testing.assert_allclose(right, [0, 0.25, 0.75, 1, 1, 1])


@pytest.mark.parametrize("shape", [(64, 64), (65, 127), (33, 200), (20, 90), (19, 7)])
@pytest.mark.parametrize("overlap", [0, 9, 24])
def test_a_loss_of_single_pixels_is_exact_everywhere(shape, overlap):
    image = GENERATOR.normal(3, 1, (*shape, 3)).astype(np.float32)
    loss, gradient = tiled_gradient(mean_square, image, 32, overlap)
    np.testing.assert_allclose(gradient, 2 * image / image.size, rtol=1e-4)
    if overlap == 0 and shape == (64, 64):
        assert loss == pytest.approx(np.mean(image**2), rel=1e-5)
    assert gradient.shape == image.shape and gradient.dtype == np.float32


def test_the_loss_of_a_uniform_picture_is_that_of_a_tile():
    image = np.full((70, 91, 3), 2.0, np.float32)
    assert tiled_gradient(mean_square, image, 32, 8)[0] == pytest.approx(4, rel=1e-5)


def test_all_tiles_have_one_size_and_stay_inside():
    seen = []
    image = np.arange(101 * 67 * 3, dtype=np.float32).reshape(101, 67, 3)
    tiled_gradient(lambda tile: (seen.append(tile.copy()), mean_square(tile))[1], image, 32, 8)
    assert {tile.shape for tile in seen} == {(32, 32, 3)}
    assert len(np.unique(np.concatenate([tile.ravel() for tile in seen]))) == image.size


def network_loss(kernels):
    """Return loss and gradient of the mean square after some 3×3 convolutions with ReLU, the padding's border left."""

    @tf.function
    def loss_and_gradient(tile):
        with tf.GradientTape() as tape:
            tape.watch(tile)
            values = tile[None]
            for kernel in kernels:
                values = tf.nn.relu(tf.nn.conv2d(values, kernel, 1, "SAME"))
            loss = tf.reduce_sum(tf.square(values[:, 2:-2, 2:-2])) / tf.cast(tf.size(values), tf.float32)
        return loss, tape.gradient(loss, tile)

    def evaluate(tile):
        loss, gradient = loss_and_gradient(tf.constant(tile))
        return float(loss), gradient.numpy()

    return evaluate


@pytest.fixture(scope="module")
def shallow():
    """Two convolutions: a receptive field of 5 × 5, so that a gradient depends on pixels up to 4 away."""
    shapes = [(3, 3, 3, 8), (3, 3, 8, 8)]
    return network_loss([GENERATOR.normal(0, 0.3, shape).astype(np.float32) for shape in shapes])


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


@pytest.mark.parametrize(
    "tile_size, overlap, words",
    [(0, 0, "tile_size.* from 1"), (32, 32, "overlap.* from 0 to 31"), (32, -1, "overlap"), (1.5, 0, "tile_size")],
)
def test_impossible_tiles_are_refused(tile_size, overlap, words):
    with pytest.raises(ValueError, match=words):
        tiled_gradient(mean_square, np.zeros((50, 50, 3), np.float32), tile_size, overlap)
