import numpy as np
import pytest
import tensorflow as tf

from helpers import augmentation


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(1, 256, (400, 32, 32, 3), dtype=np.uint8)


def windows(image, side, shift):
    """Every window that there is, with its place and whether it is mirrored."""
    padded = np.pad(image, ((shift, shift), (shift, shift), (0, 0)))
    for down in range(len(padded) - side + 1):
        for across in range(len(padded) - side + 1):
            window = padded[down : down + side, across : across + side]
            yield (down, across, False), window
            yield (down, across, True), window[:, ::-1]


@pytest.mark.parametrize(("side", "shift", "places"), [(24, 0, 9), (32, 2, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_random_window_is_one_of_those_there_are_and_each_may_come(images, side, shift, places, dtype):
    tf.random.set_seed(0)
    cut = augmentation.random_window(images.astype(dtype), side, shift).numpy()
    assert cut.dtype == dtype and cut.shape == (400, side, side, 3)
    seen = []
    for image, window in zip(images[:200], cut, strict=False):
        found = [place for place, candidate in windows(image, side, shift) if np.array_equal(candidate, window)]
        assert len(found) == 1
        seen += found
    for axis in (0, 1):
        assert {place[axis] for place in seen} == set(range(places))
    assert 70 < sum(mirrored for *_, mirrored in seen) < 130


def test_without_a_flip_none_is_mirrored(images):
    assert np.array_equal(augmentation.random_window(images, 32, flip=False), images)


def test_brightness_adds_one_number_to_each_image(images):
    changed = augmentation.random_brightness(images).numpy() - images
    each = changed[:, 0, 0, 0]
    assert np.allclose(changed, each[:, None, None, None], atol=1e-3)
    assert -63 <= each.min() < -55 and 55 < each.max() <= 63 and abs(each.mean()) < 8


def test_contrast_scales_the_distance_from_the_mean_of_each_channel(images):
    changed = augmentation.random_contrast(images).numpy()
    mean = images.mean((1, 2), keepdims=True)
    assert np.allclose(changed.mean((1, 2), keepdims=True), mean, atol=1e-3)
    factors = (changed - mean).std((1, 2, 3)) / (images - mean).std((1, 2, 3))
    assert np.allclose(changed, mean + (images - mean) * factors[:, None, None, None], atol=1e-2)
    assert 0.2 <= factors.min() < 0.3 and 1.7 < factors.max() <= 1.8


def test_distorted_images_are_standardised(images):
    distorted = augmentation.distort(images).numpy()
    assert distorted.shape == (400, 24, 24, 3) and distorted.dtype == np.float32
    assert np.allclose(distorted.mean((1, 2, 3)), 0, atol=1e-4) and np.allclose(distorted.std((1, 2, 3)), 1, atol=1e-3)


def test_standardising_undoes_brightness_and_not_contrast():
    """Contrast leaves the mean of each colour where it is, so that a bright channel stands out more or less."""
    image = np.random.default_rng(1).integers(0, 200, (1, 24, 24, 3), dtype=np.uint8) + np.uint8([0, 20, 50])
    plain = tf.image.per_image_standardization(image)
    brighter = tf.image.per_image_standardization(augmentation.random_brightness(image))
    assert np.allclose(plain, brighter, atol=1e-4)
    means = augmentation.distort(np.repeat(image, 200, 0)).numpy().mean((1, 2))
    gaps = (means[:, 2] - means[:, 0]) / (plain.numpy().mean((1, 2))[0] @ [-1, 0, 1])
    assert gaps.min() < 0.7 and gaps.max() > 2


def test_centre_is_the_central_crop_of_a_test_image_and_nothing_random(images):
    cut = images[:, 4:28, 4:28].astype(np.float64)
    mean, deviation = cut.mean((1, 2, 3), keepdims=True), cut.std((1, 2, 3), keepdims=True)
    assert np.allclose(augmentation.centre(images), (cut - mean) / deviation, atol=1e-4)
    assert np.array_equal(augmentation.centre(images), augmentation.centre(images))


def test_scaled():
    assert np.allclose(augmentation.scaled(np.array([121, 185, 57], np.uint8)), [0, 1, -1])


@pytest.mark.parametrize(("side", "shift"), [(32, 1), (31, 0)])
def test_flipped_and_shifted_images_are_windows_of_the_scaled_ones_and_each_may_come(images, side, shift):
    tf.random.set_seed(0)
    moved = augmentation.flip_and_shift(images[:80], shift, side).numpy() * 64 + 121
    assert moved.shape == (80, side, side, 3)
    seen = set()
    for image, window in zip(images, moved, strict=False):
        found = [place for place, one in windows(image, side, shift) if np.allclose(one, window, atol=1e-3)]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) == 2 * (32 + 2 * shift - side + 1) ** 2  # down, across and mirrored
