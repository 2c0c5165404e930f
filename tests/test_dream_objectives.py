"""Objectives against NumPy and finite differences, on a tiny network and on random InceptionV3."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.backbones import Backbone, load_backbone
from helpers.deepdream import DeepDream
from helpers.dream_objectives import (
    ChannelObjective,
    GuideObjective,
    LayerObjective,
    before_activation,
    interior_mean,
    layer_channels,
)
from helpers.images import resize

GENERATOR = np.random.default_rng(0)
IMAGE = resize(GENERATOR.uniform(0, 255, (9, 11, 3)), (45, 52)).clip(0, 255)
GUIDE = resize(GENERATOR.uniform(0, 255, (7, 7, 3)), (40, 36)).clip(0, 255)


@pytest.fixture(scope="module")
def inception():
    keras.utils.set_random_seed(1)
    return load_backbone("inception_v3", weights=None)


def features(backbone, image, name):
    network = keras.Model(backbone.model.input, backbone.model.get_layer(name).output)
    return network(backbone.preprocess(image[None].astype(np.float32))).numpy()


def linear(backbone, image, name):
    """What a convolution on the picture gives before its ReLU, computed by hand."""
    layer = backbone.model.get_layer(name)
    return tf.nn.conv2d(backbone.preprocess(image[None]), layer.kernel, 1, "SAME").numpy() + layer.bias.numpy()


def test_interior_mean_by_hand():
    values = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1)
    assert float(interior_mean(values)) == pytest.approx((14 + 15 + 20 + 21) / 36)
    assert float(interior_mean(values[:, :3, :1])) == pytest.approx(6 / 3)  # 1 row is left out on each side, no column
    assert float(interior_mean(values[:, :1, :1, 0] + 5)) == 5


def test_layers_are_mean_squares_with_coefficients(backbone):
    loss, _ = DeepDream(backbone, LayerObjective({"first": 2.0, "second": -0.5})).evaluator()(IMAGE)
    expected = 0
    for name, coefficient in (("first", 2.0), ("second", -0.5)):
        values = features(backbone, IMAGE, name)
        expected += coefficient * np.sum(values[:, 2:-2, 2:-2] ** 2) / values.size
    assert loss == pytest.approx(expected, rel=1e-4)


def test_names_alone_have_a_coefficient_of_one():
    assert LayerObjective("first").layers == {"first": 1.0}
    assert LayerObjective(["first", "second"]).layers == {"first": 1.0, "second": 1.0}


def test_a_channel_is_looked_at_before_its_relu(backbone):
    values = linear(backbone, IMAGE, "first")
    assert values.min() < 0
    loss, _ = DeepDream(backbone, ChannelObjective("first", 3)).evaluator()(IMAGE)
    inside = values[0, 2:-2, 2:-2, 3]
    assert loss == pytest.approx(inside.sum() / values[0, :, :, 3].size, rel=1e-4, abs=1e-5)


def test_a_dead_channel_has_a_gradient(backbone):
    kernel, bias = backbone.model.get_layer("first").get_weights()
    dead = keras.models.clone_model(backbone.model)
    dead.set_weights(backbone.model.get_weights())
    dead.get_layer("first").set_weights([kernel, bias - 100])
    silenced = Backbone("dead", dead, backbone.preprocess, (), (), (), "", 16)
    assert features(silenced, IMAGE, "first").max() == 0
    _, gradient = DeepDream(silenced, ChannelObjective("first", 3)).evaluator()(IMAGE)
    assert np.abs(gradient).mean() > 0
    assert not DeepDream(silenced, LayerObjective("first")).evaluator()(IMAGE)[1].any()


def test_guide_against_numpy(backbone):
    objective = GuideObjective(GUIDE, "second")
    loss, _ = DeepDream(backbone, objective).evaluator()(IMAGE)
    values, guide = features(backbone, IMAGE, "second"), features(backbone, GUIDE, "second").reshape(-1, 12)
    best = (values @ guide.T).max(axis=-1)
    assert loss == pytest.approx(best[:, 2:-2, 2:-2].sum() / best.size / 12, rel=1e-4)


def test_a_large_guide_is_looked_at_small_and_in_part(backbone):
    objective = GuideObjective(resize(GUIDE, (300, 400)), "first", max_side=60, positions=50)
    assert objective.image.shape == (45, 60, 3)
    dreamer = DeepDream(backbone, objective)
    assert objective.values(dreamer.features)["guide"].shape == (50, 8)


@pytest.mark.parametrize(
    "objective",
    [LayerObjective({"first": 1.0, "second": 2.0}), ChannelObjective("second", 4), GuideObjective(GUIDE, "first")],
    ids=lambda objective: type(objective).__name__,
)
def test_gradient_against_finite_differences(backbone, objective):
    evaluate = DeepDream(backbone, objective).evaluator()
    _, gradient = evaluate(IMAGE)
    for _ in range(3):
        direction = (GENERATOR.normal(size=IMAGE.shape) + 2 * np.sign(gradient)).astype(np.float32) / 4
        ahead, behind = (evaluate(IMAGE + sign * direction)[0] for sign in (1, -1))
        assert (gradient * direction).sum() == pytest.approx((ahead - behind) / 2, rel=0.03)


def test_numbers_change_without_a_new_trace(backbone):
    channel, layers = ChannelObjective("second", 1), LayerObjective({"first": 1.0, "second": 0.0})
    for objective, change in (
        (channel, lambda: setattr(channel, "channel", 2)),
        (layers, lambda: layers.layers.update(second=3.0)),
    ):
        dreamer = DeepDream(backbone, objective)
        before = dreamer.evaluator()(IMAGE)[0]
        change()
        assert dreamer.evaluator()(IMAGE)[0] != before
        assert dreamer.traces == 1


@pytest.mark.parametrize(
    "objective, words",
    [
        (LayerObjective([]), "No layer"),
        (LayerObjective("third"), "Choose from first"),
        (LayerObjective({"first": float("nan")}), "finite"),
        (ChannelObjective("third", 0), "Choose from first"),
        (ChannelObjective("first", 8), "from 0 to 7, got 8"),
        (ChannelObjective("first", -1), "from 0 to 7"),
        (GuideObjective(GUIDE, "third"), "Choose from first"),
    ],
)
def test_errors(backbone, objective, words):
    with pytest.raises(ValueError, match=words):
        DeepDream(backbone, objective).evaluator()


def test_layers_and_their_channels(inception):
    assert layer_channels(load_backbone("mini_vgg")) == {
        f"block{block}_conv{number}": width
        for block, width in enumerate((16, 48, 96, 192, 256), 1)
        for number in (1, 2)
    }
    channels = layer_channels(inception)
    assert list(channels)[:2] == ["mixed0", "mixed1"] and channels["mixed4"] == 768 and channels["mixed10"] == 2048


@pytest.mark.parametrize("name", ["mixed0", "mixed3", "mixed9", "activation_5"])
def test_before_activation_joins_inceptions_branches_before_their_relus(inception, name):
    if name not in [layer.name for layer in inception.model.layers]:  # Keras counts on within a process
        name = [layer.name for layer in inception.model.layers if layer.name.startswith("activation")][5]
    batch = inception.preprocess(resize(IMAGE, (96, 80))[None])
    values = before_activation(inception, name)(batch)[name].numpy()
    after = keras.Model(inception.model.input, inception.model.get_layer(name).output)(batch).numpy()
    assert values.min() < 0 <= after.min()
    np.testing.assert_allclose(np.maximum(values, 0), after, atol=1e-5)


@pytest.mark.parametrize("name", ["mini_vgg", "vgg16"])
def test_before_activation_of_vgg(name):
    network = load_backbone(name, weights=None)
    batch = network.preprocess(IMAGE[None])
    values = before_activation(network, "block2_conv2")(batch)["block2_conv2"].numpy()
    assert values.min() < 0
    np.testing.assert_allclose(np.maximum(values, 0), features(network, IMAGE, "block2_conv2"), rtol=1e-4, atol=1e-4)


def test_random_inception_dreams(inception):
    """The code for InceptionV3 works without its weights; what it dreams is another matter."""
    picture = resize(IMAGE, (96, 111))
    for objective in (
        LayerObjective({"mixed4": 1.0, "mixed5": 1.5, "mixed6": 2.0, "mixed7": 2.5}),
        ChannelObjective("mixed2", 5),
        GuideObjective(resize(GUIDE, (80, 90)), "mixed3"),
    ):
        dreamer = DeepDream(inception, objective)
        result = dreamer.dream(picture, octaves=2, octave_scale=1.2, steps=2, progress=False)
        assert result.image.shape == picture.shape and np.isfinite(result.history["loss"]).all()
        assert np.abs(result.image - picture).mean() > 0.5
        assert dreamer.traces == 1
