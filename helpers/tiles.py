"""A gradient tile by tile: memory for one tile, however large the picture, and no pixel left out.

Neighbouring tiles overlap. Of what they share, the quarter next to a tile's edge, beyond which it saw nothing, is left
to its neighbour; between the quarters, one fades into the other. Tiles are shifted inwards, so that all have one size.
"""

import numpy as np

from helpers.arguments import number


def tiled_gradient(loss_and_gradient, image, tile_size=512, overlap=64):
    """Return a loss, averaged over a picture, and its gradient at every pixel, computed tile by tile.

    With one tile, that is what `loss_and_gradient(image)` returns. With several, and a loss that is a mean over
    positions, it is the whole picture's gradient, too, at every pixel whose receptive field lies inside the tiles that
    it is taken from: at all of them, if a quarter of the overlap is as wide as the receptive field.

    Args:
        loss_and_gradient: function of a tile, float32 `(height, width, 3)`, that returns a scalar and an array of the
            tile's shape.
        image: float32 `(height, width, 3)`.
        tile_size: longest side of a tile, pixels. A picture that is smaller along an axis has one tile there, as long
            as itself.
        overlap: least number of pixels that neighbouring tiles share, below `tile_size`.

    Returns:
        The loss, float, and the gradient, float32 of the picture's shape.

    Raises:
        ValueError: if `tile_size` is below 1 or `overlap` is not from 0 to `tile_size` - 1.
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


def fading_tiles(side, tile_size, overlap):
    """Return `[(start, weights), …]` of the tiles along one axis; at each pixel, the weights of all tiles sum to 1.

    Args:
        side: length of the axis, pixels.
        tile_size: length of a tile; the one tile of a shorter axis has the axis' length.
        overlap: as in `tiled_gradient`.
    """
    tile_size = number("tile_size", tile_size, 1, whole=True)
    overlap = number("overlap", overlap, 0, tile_size - 1, whole=True)
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
    """Return weights for distances from a tile's edge: 0 up to a quarter of what it shares, 1 from three quarters."""
    return np.clip(2 * distances / max(1, shared) - 0.5, 0, 1)
