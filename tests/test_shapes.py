import keras
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from helpers import shapes, synthetic, training


@pytest.fixture(scope="module")
def drawn():
    return synthetic.shapes(train=3000, test=500, seed=1)


def test_shapes_dtypes_and_balance(drawn):
    for (images, labels), count in zip(drawn, (3000, 500), strict=True):
        assert images.shape == (count, 32, 32, 3) and images.dtype == np.uint8
        assert labels.shape == (count,) and labels.dtype == np.int64
        assert np.bincount(labels).tolist() == [count // 10] * 10
    assert len(synthetic.SHAPES) == 10


def test_same_seed_same_shapes_and_no_image_twice(drawn):
    (images, labels), (test_images, _) = synthetic.shapes(train=3000, test=500, seed=1)
    assert np.array_equal(images, drawn[0][0]) and np.array_equal(labels, drawn[0][1])
    assert np.array_equal(test_images, drawn[1][0])
    assert not np.array_equal(synthetic.shapes(train=20, test=10, seed=2)[0][0], images[:20])
    assert len({image.tobytes() for image in np.concatenate([images, test_images])}) == 3500


def test_colour_and_brightness_tell_no_class(drawn):
    (images, labels), _ = drawn
    means = np.stack([images[labels == label].mean((0, 1, 2)) for label in range(10)])
    assert np.ptp(means, axis=0).max() < 25


def area(name, side=600, reach=1.5):
    """The area of a shape, counted on a fine grid from -reach to reach."""
    y, x = (np.mgrid[:side, :side] + 0.5) * 2 * reach / side - reach
    return np.mean(shapes.INSIDE[name](x, y) > 0) * (2 * reach) ** 2


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
def test_areas_are_those_of_geometry(name, expected):
    assert area(name) == pytest.approx(expected, rel=0.01)


def test_a_shape_ends_inside_its_picture():
    edge = np.linspace(-1.3, 1.3, 200)
    for inside in shapes.INSIDE.values():
        for x, y in ((edge, np.full(200, 1.3)), (edge, np.full(200, -1.3)), (np.full(200, 1.3), edge)):
            assert (inside(x, y) < 0).all()


def test_a_linear_classifier_fails_where_a_convolutional_network_learns(drawn):
    (images, labels), (test_images, test_labels) = drawn
    flat, test_flat = (array.reshape(len(array), -1) / 255 for array in (images, test_images))
    assert RidgeClassifier(alpha=1000).fit(flat, labels).score(test_flat, test_labels) < 0.2

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
