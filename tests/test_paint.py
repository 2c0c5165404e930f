"""The paintings at a small size, and those that ship."""

import numpy as np
import pytest

from helpers import images
from helpers.commands import main, paint
from helpers.commands.paint import PAINTINGS
from helpers.images import sample_image


@pytest.mark.parametrize("name", PAINTINGS)
def test_a_painting_is_a_picture_and_always_the_same(name):
    painting, again = (paint.paint(name, (64, 80)) for _ in range(2))
    assert painting.shape == (64, 80, 3) and painting.dtype == np.float32
    assert 0 <= painting.min() and painting.max() <= 255 and painting.std() > 20
    np.testing.assert_array_equal(again, painting)


def test_the_six_that_ship_are_large_and_differ_in_kind():
    """Their edges run in different directions, at different densities, in different colours."""
    described = []
    for name in PAINTINGS:
        image = sample_image(name)
        assert min(image.shape[:2]) >= 640
        down, across = np.gradient(image.mean(axis=-1))
        described.append([*image.mean((0, 1)), *image.std((0, 1)), 4 * np.abs(down).mean(), 4 * np.abs(across).mean()])
    distances = np.linalg.norm(np.array(described)[:, None] - np.array(described)[None], axis=-1)
    assert distances[~np.eye(len(PAINTINGS), dtype=bool)].min() > 15


def test_the_command_paints_what_it_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paint, "FOLDER", tmp_path)
    monkeypatch.setattr(paint, "PAINTINGS", {"grey": lambda shape, random: np.full((*shape, 3), 99.0)})
    main(["paint"])
    assert "grey: " in capsys.readouterr().out
    np.testing.assert_allclose(images.load_image(tmp_path / "grey.jpg"), 99, atol=1)
    with pytest.raises(SystemExit):
        main(["paint", "starry_night"])
    assert [path.name for path in tmp_path.iterdir()] == ["grey.jpg"]


def test_brushes():
    random = np.random.default_rng(0)
    field = paint.noise((50, 70), 20, random)
    assert field.shape == (50, 70) and abs(field.mean()) < 1e-6 and field.std() == pytest.approx(1)
    path = paint.follow(np.zeros((50, 70)), np.array([(30, 20)]), np.array([14]))[0]
    assert np.ptp(path[:, 0]) == pytest.approx(16) and np.ptp(path[:, 1]) == 0
    points = paint.scattered((50, 70), 5, random)
    assert points.min() < 2 and points[:, 0].max() > 68
    streaks = paint.smear(random.normal(size=(50, 70)), np.zeros((50, 70)), 20)
    assert np.abs(np.diff(streaks, axis=1)).mean() < 0.4 * np.abs(np.diff(streaks, axis=0)).mean()
    canvas = paint.Canvas((50, 70), (10, 20, 30))
    canvas.disc((35, 25), 10, (250, 240, 230))
    picture = canvas.picture()
    assert picture.shape == (50, 70, 3)
    np.testing.assert_array_equal(picture[25, 35], (250, 240, 230))
    np.testing.assert_array_equal(picture[0, 0], (10, 20, 30))
