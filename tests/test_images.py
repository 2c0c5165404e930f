import numpy as np
import pytest

from helpers import images


def test_to_uint8_clips_before_the_cast_and_rounds():
    assert images.to_uint8(np.array([-3.0, 0.4, 0.6, 254.6, 300.0])).tolist() == [0, 0, 1, 255, 255]
    assert images.to_uint8(np.array([1, 256, -1])).tolist() == [1, 255, 0]


def test_to_uint8_refuses_what_has_diverged():
    with pytest.raises(images.ImageError, match="NaN"):
        images.to_uint8(np.array([1.0, np.nan]))
