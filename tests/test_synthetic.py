import zipfile

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from helpers import storage, synthetic


@pytest.fixture(scope="module")
def drawn():
    return synthetic.digits(train=2000, test=500, seed=1)


def test_shapes_dtypes_and_balance(drawn):
    for (images, labels), count in zip(drawn, (2000, 500), strict=True):
        assert images.shape == (count, 28, 28) and images.dtype == np.uint8
        assert labels.shape == (count,) and labels.dtype == np.int64
        assert np.bincount(labels).tolist() == [count // 10] * 10


def test_white_on_black_and_about_as_much_ink_as_mnist(drawn):
    (images, _), _ = drawn
    assert np.median(images) < 20 and images.max() == 255
    assert 20 < images.mean() < 55  # MNIST's mean is 33
    assert images[:, :2].mean() < 15  # the rim is background


def test_same_seed_same_digits(drawn):
    (images, labels), (test_images, _) = synthetic.digits(train=2000, test=500, seed=1)
    assert np.array_equal(images, drawn[0][0]) and np.array_equal(labels, drawn[0][1])
    assert np.array_equal(test_images, drawn[1][0])
    assert not np.array_equal(synthetic.digits(train=2000, test=500, seed=2)[0][0], images)


def test_train_and_test_share_no_font_and_no_image(drawn):
    assert not set(synthetic.TRAIN_FONTS) & set(synthetic.TEST_FONTS)
    (images, _), (test_images, _) = drawn
    assert not {image.tobytes() for image in images} & {image.tobytes() for image in test_images}


def test_a_linear_classifier_does_better_than_chance_and_is_not_enough(drawn):
    (images, labels), (test_images, test_labels) = drawn
    linear = RidgeClassifier(alpha=100).fit(images.reshape(len(images), -1) / 255, labels)
    score = linear.score(test_images.reshape(len(test_images), -1) / 255, test_labels)
    assert 0.3 < score < 0.9


def test_every_digit_of_every_font_is_a_glyph_of_its_own():
    for font in synthetic.TRAIN_FONTS + synthetic.TEST_FONTS:
        glyphs = synthetic._glyphs(font)
        assert glyphs.shape[0] == 10 and (glyphs.sum((2, 3)) > 50).all()
        assert len({glyph.tobytes() for glyph in glyphs[:, 0]}) == 10


def test_cached_draws_once_and_again_when_the_file_is_damaged(alone):
    calls = []

    def few():
        calls.append(1)
        return synthetic.digits(train=20, test=10)

    first = synthetic.cached(few)
    again = synthetic.cached(few)
    assert len(calls) == 1 and np.array_equal(first[0][0], again[0][0])
    (path,) = storage.CACHE.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert np.array_equal(synthetic.cached(few)[0][0], first[0][0]) and len(calls) == 2


def bits_that_matter(path):
    """Yield place and bit of faults in each part of a cached file: in an array, its header, and the directory."""
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    header = path.read_bytes().index(b"\x93NUMPY")
    yield header + 8, 2  # the header's length: its array would begin, and end, two bytes too early
    for place in (*range(header, header + 128, 6), *range(header + 128, directory, 1500)):
        yield place, 1
    for field in (0, 8, 10, 16, 21, 25, 28, 30, 32, *range(42, 57)):  # not those of dates, versions and permissions
        yield directory + field, 1


@pytest.mark.filterwarnings("ignore")  # NumPy wonders about what it reads
def test_cached_draws_again_whichever_byte_is_wrong(alone):
    calls = []

    def few():
        calls.append(1)
        return drawn

    random = np.random.default_rng(0)
    drawn = tuple((random.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count)) for count in (20, 10))
    synthetic.cached(few)
    (path,) = storage.CACHE.iterdir()
    whole = path.read_bytes()
    faults = list(bits_that_matter(path))
    for place, bit in faults:
        damaged = bytearray(whole)
        damaged[place] ^= bit
        path.write_bytes(damaged)
        calls.clear()
        assert synthetic.cached(few) is drawn and calls, f"bit {bit} of byte {place}"
        synthetic.cached(few)
        assert len(calls) == 1
    assert len(faults) >= 60


def test_a_cache_that_cannot_be_written_costs_only_time(alone, monkeypatch):
    storage.CACHE.write_text("a file where the folder should be")
    (images, _), _ = synthetic.cached(lambda: synthetic.digits(train=20, test=10))
    assert len(images) == 20
