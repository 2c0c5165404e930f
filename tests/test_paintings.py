"""The paintings at a small size, and those that ship."""

import numpy as np
import pytest

from helpers import images
from helpers.brushes import Canvas, follow, noise, scattered, smear
from helpers.images import sample_image
from helpers.paintings import PAINTINGS, paint

SMALL = (96, 120)


@pytest.fixture(scope="module")
def small():
    return {name: paint(name, SMALL) for name in PAINTINGS}


@pytest.mark.parametrize("name", PAINTINGS)
def test_is_a_picture(small, name):
    image = small[name]
    assert image.shape == (*SMALL, 3) and image.dtype == np.float32
    assert 0 <= image.min() and image.max() <= 255 and image.std() > 20


@pytest.mark.parametrize("name", PAINTINGS)
def test_same_seed_same_painting(small, name):
    np.testing.assert_array_equal(paint(name, SMALL), small[name])
    assert np.abs(paint(name, SMALL, seed=8) - small[name]).mean() > 1


@pytest.mark.parametrize("name", PAINTINGS)
def test_ships_at_size(name):
    image = sample_image(name)
    assert min(image.shape[:2]) >= 640
    (file,) = images.FOLDER.glob(f"{name}.*")
    assert file.stat().st_size <= 400_000


def test_the_six_differ_in_kind():
    """Their edges run in different directions, at different densities, in different colours."""
    described = []
    for name in PAINTINGS:
        image = sample_image(name)
        down, across = np.gradient(image.mean(axis=-1))
        described.append([*image.mean((0, 1)), *image.std((0, 1)), 4 * np.abs(down).mean(), 4 * np.abs(across).mean()])
    distances = np.linalg.norm(np.array(described)[:, None] - np.array(described)[None], axis=-1)
    assert distances[~np.eye(len(PAINTINGS), dtype=bool)].min() > 15


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="night_swirls"):
        paint("starry_night")
    with pytest.raises(ValueError, match="64 pixels"):
        paint("ink_wash", (50, 50))


def test_brushes():
    random = np.random.default_rng(0)
    field = noise((50, 70), 20, random)
    assert field.shape == (50, 70) and abs(field.mean()) < 1e-6 and field.std() == pytest.approx(1)
    path = follow(np.zeros((50, 70)), [(30, 20)], 14, count=8)[0]
    assert np.ptp(path[:, 0]) == pytest.approx(16, abs=2) and np.ptp(path[:, 1]) == 0
    points = scattered((50, 70), 5, random)
    assert points.min() < 2 and points[:, 0].max() > 68
    streaks = smear(random.normal(size=(50, 70)), np.zeros((50, 70)), 20)
    assert np.abs(np.diff(streaks, axis=1)).mean() < 0.4 * np.abs(np.diff(streaks, axis=0)).mean()
    canvas = Canvas((50, 70), (10, 20, 30))
    canvas.disc((35, 25), 10, (250, 240, 230))
    picture = canvas.picture()
    assert picture.shape == (50, 70, 3)
    np.testing.assert_array_equal(picture[25, 35], (250, 240, 230))
    np.testing.assert_array_equal(picture[0, 0], (10, 20, 30))
