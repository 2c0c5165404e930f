"""A gradient tile by tile: memory for one tile, however large the image, and no pixel left out.

Neighbouring tiles overlap. In the overlap, each tile ignores the quarter nearest its own edge, beyond which it saw
nothing; in between, the two cross-fade. Tiles are shifted inwards, so that all have one size.
"""

import numpy as np

from helpers.check import checked, whole


@checked(tile_size=whole(1), overlap=whole(0))
def tiled_gradient(loss_and_gradient, image, tile_size=512, overlap=64):
    """Return a loss, averaged over an image, and its gradient at every pixel, computed tile by tile.

    With one tile, that is what `loss_and_gradient(image)` returns. With several, and a loss that is a mean over
    positions, the gradient is exact wherever a quarter of the overlap is as wide as the receptive field.

    Args:
        loss_and_gradient: function of a tile, float32 `(height, width, 3)`, that returns a scalar and an array of the
            tile's shape.
        image: float32 `(height, width, 3)`.
        tile_size: longest side of a tile, pixels. An image that is smaller along an axis has one tile there.
        overlap: least number of pixels that neighbouring tiles share, below `tile_size`.

    Returns:
        The loss, float, and the gradient, float32 of the image's shape.
    """
    height, width = image.shape[:2]
    rows, columns = (fading_tiles(side, tile_size, overlap) for side in (height, width))
    loss, gradient = 0.0, np.zeros_like(image)
    for top, down in rows:
        for left, across in columns:
            place = slice(top, top + len(down)), slice(left, left + len(across))
            tile_loss, tile_gradient = loss_and_gradient(image[place])
            weights = np.outer(down, across)
            loss += float(tile_loss) * float(weights.sum()) / (height * width)
            share = weights.size / (height * width)  # a mean over the tile is a smaller part of the mean over all
            gradient[place] += np.asarray(tile_gradient) * (share * weights)[..., None]
    return loss, gradient


@checked(tile_size=whole(1), overlap=whole(0))
def fading_tiles(side, tile_size, overlap):
    """Return `[(start, weights), …]` of the tiles along an axis of `side` pixels; at each, the weights sum to 1."""
    if overlap >= tile_size:
        raise ValueError(f"overlap is {overlap}; expected a whole number from 0, below tile_size ({tile_size}).")
    length = min(side, tile_size)
    count = 1 + -(-(side - length) // (length - min(overlap, length - 1)))
    starts = np.rint(np.linspace(0, side - length, count)).astype(int)
    ends = starts + length
    total, fades = np.zeros(side), []
    for index in range(count):
        middles = np.arange(starts[index], ends[index]) + 0.5
        fade = np.ones(length)
        if index > 0:  # it shares its first pixels with the tile before
            fade *= _ramp(middles - starts[index], ends[index - 1] - starts[index])
        if index < count - 1:
            fade *= _ramp(ends[index] - middles, ends[index] - starts[index + 1])
        fades.append(fade)
        total[starts[index] : ends[index]] += fade
    return [
        (int(start), (fade / total[start : start + length]).astype(np.float32))
        for start, fade in zip(starts, fades, strict=True)
    ]


def _ramp(distances, shared):
    """Return weights for distances from a tile's edge: 0 in the first quarter of the overlap, 1 in the last."""
    return np.clip(2 * distances / max(1, shared) - 0.5, 0, 1)
