import keras
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from helpers import files, synthetic, training

DRAWN = {
    "digits": (synthetic.digits, (28, 28), 2000),
    "shapes": (synthetic.shapes, (32, 32, 3), 3000),
}


@pytest.fixture(scope="module")
def drawn():
    return {name: draw(train=count, test=500, seed=1) for name, (draw, _, count) in DRAWN.items()}


def linear_score(drawn, alpha):
    (images, labels), (test_images, test_labels) = drawn
    linear = RidgeClassifier(alpha=alpha).fit(images.reshape(len(images), -1) / 255, labels)
    return linear.score(test_images.reshape(len(test_images), -1) / 255, test_labels)


@pytest.mark.parametrize("name", DRAWN)
def test_shapes_dtypes_balance_and_seed(drawn, name):
    draw, shape, train = DRAWN[name]
    for (images, labels), count in zip(drawn[name], (train, 500), strict=True):
        assert images.shape == (count, *shape) and images.dtype == np.uint8
        assert labels.shape == (count,) and labels.dtype == np.int64
        assert np.bincount(labels).tolist() == [count // 10] * 10
    (images, labels), (test_images, _) = draw(train=train, test=500, seed=1)
    assert np.array_equal(images, drawn[name][0][0]) and np.array_equal(labels, drawn[name][0][1])
    assert np.array_equal(test_images, drawn[name][1][0])
    assert not np.array_equal(draw(train=train, test=10, seed=2)[0][0], images)
    assert len({image.tobytes() for image in (*images, *test_images)}) == train + 500


def test_digits_are_white_on_black_with_about_as_much_ink_as_mnist(drawn):
    (images, _), _ = drawn["digits"]
    assert np.median(images) < 20 and images.max() == 255
    assert 20 < images.mean() < 55  # MNIST's mean is 33
    assert images[:, :2].mean() < 15  # the border is background


def test_training_and_test_digits_share_no_font():
    assert not set(synthetic.TRAIN_FONTS) & set(synthetic.TEST_FONTS)


def test_a_linear_classifier_of_digits_beats_chance_and_is_not_enough(drawn):
    assert 0.3 < linear_score(drawn["digits"], 100) < 0.9


def test_colour_and_brightness_tell_no_class_of_shapes(drawn):
    (images, labels), _ = drawn["shapes"]
    means = np.stack([images[labels == label].mean((0, 1, 2)) for label in range(10)])
    assert np.ptp(means, axis=0).max() < 25


def test_a_linear_classifier_of_shapes_fails_where_a_convolutional_network_learns(drawn):
    (images, labels), (test_images, test_labels) = drawn["shapes"]
    assert linear_score(drawn["shapes"], 1000) < 0.2
    keras.utils.set_random_seed(0)
    stack = [keras.Input((32, 32, 3))]
    for features in (16, 32, 64):
        stack += [
            keras.layers.Conv2D(features, 3, use_bias=False),
            keras.layers.BatchNormalization(momentum=0.8),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(2),
        ]
    model = keras.Sequential([*stack, keras.layers.Flatten(), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(training.OneCycle(0.01, 8 * 46)), loss, jit_compile=False)
    model.fit((images / 255).astype(np.float32), labels, batch_size=64, epochs=8, verbose=0)
    assert training.accuracy(model, (test_images / 255).astype(np.float32), test_labels) > 0.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("disc", np.pi),
        ("ring", np.pi * (1 - 0.55**2)),
        ("square", 1.6**2),
        ("triangle", 3 * np.sqrt(3) * 0.6**2),
        ("star", 5 * 0.42 * np.sin(np.pi / 5)),  # ten triangles from the centre to a tip and to the notch beside it
        ("cross", 4 * (2 * 0.3 - 0.3**2)),
        ("bars", 2 * 1.9 * 0.5),
    ],
)
def test_areas_are_those_of_geometry(name, expected, side=600, reach=1.5):
    y, x = (np.mgrid[:side, :side] + 0.5) * 2 * reach / side - reach
    area = np.mean(synthetic.INSIDE[name](x, y) > 0) * (2 * reach) ** 2
    assert area == pytest.approx(expected, rel=0.01)


def test_a_shape_ends_inside_its_image():
    edge = np.linspace(-1.3, 1.3, 200)
    for inside in synthetic.INSIDE.values():
        for x, y in ((edge, np.full(200, 1.3)), (edge, np.full(200, -1.3)), (np.full(200, 1.3), edge)):
            assert (inside(x, y) < 0).all()


def test_cached_draws_once_and_again_when_the_file_is_damaged(alone):
    calls = []

    def few():
        calls.append(1)
        return synthetic.digits(train=20, test=10)

    first = synthetic.cached(few)
    again = synthetic.cached(few)
    for part, other in zip((*first[0], *first[1]), (*again[0], *again[1]), strict=True):
        assert np.array_equal(part, other) and part.dtype == other.dtype
    assert len(calls) == 1
    (path,) = files.CACHE.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert np.array_equal(synthetic.cached(few)[0][0], first[0][0]) and len(calls) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(alone):
    files.CACHE.write_text("a file where the folder should be")
    (images, _), _ = synthetic.cached(lambda: synthetic.digits(train=20, test=10))
    assert len(images) == 20
