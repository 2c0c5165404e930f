"""DeepDream on a tiny network with random weights, on objectives worked out by hand, and on random InceptionV3."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from helpers.backbones import Backbone, load_backbone, load_classifier
from helpers.deepdream import (
    ChannelObjective,
    ClassObjective,
    DeepDream,
    GuideObjective,
    LayerObjective,
    Objective,
    add_detail,
    ascend,
    before_activation,
    enlarge_middle,
    interior_mean,
    layer_channels,
    octave_shapes,
    smooth_gradient,
    zoom,
)
from helpers.images import resize, sample_image
from helpers.run import DivergedError

GENERATOR = np.random.default_rng(0)


def patches(size, shape):
    return resize(GENERATOR.uniform(30, 225, (*size, 3)), shape).clip(0, 255)


IMAGE, SMALL, GUIDE = patches((9, 11), (71, 83)), patches((9, 11), (45, 52)), patches((7, 7), (40, 36))
ONE_SIZE = dict(octaves=1, jitter=0, smoothing=0)


@pytest.fixture(scope="module")
def dreamer(backbone):
    return DeepDream(backbone)


@pytest.fixture(scope="module")
def inception():
    keras.utils.set_random_seed(1)
    return load_backbone("inception_v3", weights=None)


class Brightness(Objective):
    """An objective of single pixels, factor · mean(x²)/2: its gradient is x, everywhere the same share of it."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def outputs(self, network):
        return {"pixels": keras.layers.Rescaling(60.0, 120.0)(network.model.input)}  # undoes the preprocessing

    def values(self, features_of):
        return {}

    def loss(self, features, values):
        return self.factor * tf.reduce_mean(tf.square(features["pixels"])) / 2


class Recorder:
    """Keep the frames; press the stop button after `limit` of them."""

    def __init__(self, limit=10**6):
        self.limit, self.frames = limit, []

    def add(self, frame):
        self.frames.append(frame)
        if len(self.frames) == self.limit:
            raise KeyboardInterrupt


# Objectives


def value(network, objective, image=SMALL):
    return DeepDream(network, objective).evaluator()(image)[0]


def features(backbone, image, name):
    network = keras.Model(backbone.model.input, backbone.model.get_layer(name).output)
    return network(backbone.preprocess(image[None].astype(np.float32))).numpy()


def linear(backbone, image, name):
    """What a convolution on the image gives before its ReLU, computed by hand."""
    layer = backbone.model.get_layer(name)
    return tf.nn.conv2d(backbone.preprocess(image[None]), layer.kernel, 1, "SAME").numpy() + layer.bias.numpy()


def test_interior_mean_by_hand():
    values = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1)
    assert float(interior_mean(values)) == pytest.approx((14 + 15 + 20 + 21) / 36)
    assert float(interior_mean(values[:, :3, :1])) == pytest.approx(6 / 3)  # 1 row is left out on each side, no column
    assert float(interior_mean(values[:, :1, :1, 0] + 5)) == 5


def test_layers_are_mean_squares_with_coefficients(backbone):
    expected = 0
    for name, coefficient in (("first", 2.0), ("second", -0.5)):
        values = features(backbone, SMALL, name)
        expected += coefficient * np.sum(values[:, 2:-2, 2:-2] ** 2) / values.size
    assert value(backbone, LayerObjective({"first": 2.0, "second": -0.5})) == pytest.approx(expected, rel=1e-4)
    assert LayerObjective("first").layers == {"first": 1.0}
    assert DeepDream(backbone).objective.layers == {"first": 1.0, "second": 1.0}


def test_a_channel_is_looked_at_before_its_relu(backbone):
    values = linear(backbone, SMALL, "first")
    assert values.min() < 0
    expected = values[0, 2:-2, 2:-2, 3].sum() / values[0, :, :, 3].size
    assert value(backbone, ChannelObjective("first", 3)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_dead_channel_has_a_gradient(backbone):
    kernel, bias = backbone.model.get_layer("first").get_weights()
    dead = keras.models.clone_model(backbone.model)
    dead.set_weights(backbone.model.get_weights())
    dead.get_layer("first").set_weights([kernel, bias - 100])
    silenced = Backbone("dead", dead, backbone.preprocess, (), (), (), "", 16)
    assert features(silenced, SMALL, "first").max() == 0
    assert np.abs(DeepDream(silenced, ChannelObjective("first", 3)).evaluator()(SMALL)[1]).mean() > 0
    assert not DeepDream(silenced, LayerObjective("first")).evaluator()(SMALL)[1].any()


@pytest.mark.parametrize("shape, chosen", [((40, 36), 360), ((300, 400), 1024)])
def test_a_guide_against_numpy_and_a_large_one_is_seen_small_and_in_part(backbone, shape, chosen):
    objective = GuideObjective(resize(GUIDE, shape), "second")
    assert max(objective.image.shape) == min(224, max(shape))
    values, guide = features(backbone, SMALL, "second"), features(backbone, objective.image, "second").reshape(-1, 12)
    guide = guide[np.linspace(0, len(guide) - 1, chosen).round().astype(int)]  # spread over all positions
    best = (values @ guide.T).max(axis=-1)
    assert value(backbone, objective) == pytest.approx(best[:, 2:-2, 2:-2].sum() / best.size / 12, rel=1e-4)


def test_a_class_is_climbed_by_its_logit():
    classifier, image = load_classifier(), sample_image("china", 96)
    logits = classifier.model(classifier.preprocess(image)[None])[0].numpy()
    index = next(i for i, name in enumerate(classifier.class_names) if "lighthouse" in name)
    objective = ClassObjective("lighthouse")
    dreamer = DeepDream(classifier, objective)
    assert dreamer.evaluator()(image)[0] == pytest.approx(logits[index], rel=1e-3)
    objective.label = 3
    assert dreamer.evaluator()(image)[0] == pytest.approx(logits[3], rel=1e-3) and dreamer.traces == 1
    dreamt = DeepDream(classifier, ClassObjective(classifier.class_names[index])).dream(
        image, octaves=2, steps=5, progress=False
    )
    assert dreamt.history["loss"][-1] > logits[index] + 1


def test_objectives_add_subtract_and_multiply(backbone):
    layer, channel = LayerObjective({"second": 3.0}), ChannelObjective("second", 3)
    a, b, c = (value(backbone, one) for one in (layer, channel, LayerObjective("first")))
    for objective, expected in (
        (2 * layer - channel, 2 * a - b),
        (layer * 2 + channel * -1.5, 2 * a - 1.5 * b),
        (sum([layer, channel, LayerObjective("first")]), a + b + c),
        (-layer * channel + 1, -a * b + 1),
        (0.5 * (layer - 4) * channel, 0.5 * (a - 4) * b),
        (
            ChannelObjective("second", 1) - ChannelObjective("second", 3),
            value(backbone, ChannelObjective("second", 1)) - b,
        ),
    ):
        assert value(backbone, objective) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    by_hand = 2 * Brightness() - Brightness(0.5) * 3  # (2 − 1.5) · mean(x²)/2
    loss, gradient = DeepDream(backbone, by_hand).evaluator()(np.full((4, 4, 3), 10, np.float32))
    assert loss == pytest.approx(0.5 * 100 / 2, rel=1e-4)
    np.testing.assert_allclose(gradient, 0.5 * 10 / 48, rtol=1e-3)
    with pytest.raises(ValueError, match="'2'"):
        layer * "2"


@pytest.mark.parametrize(
    "objective",
    [
        LayerObjective({"first": 1.0, "second": 2.0}), ChannelObjective("second", 4), GuideObjective(GUIDE, "first"),
        LayerObjective("first") * ChannelObjective("second", 4),
    ],
    ids=["layers", "channel", "guide", "product"],
)  # fmt: skip
def test_gradient_against_finite_differences(backbone, objective):
    evaluate = DeepDream(backbone, objective).evaluator()
    _, gradient = evaluate(SMALL)
    for _ in range(3):
        direction = (GENERATOR.normal(size=SMALL.shape) + 2 * np.sign(gradient)).astype(np.float32) / 4
        ahead, behind = (evaluate(SMALL + sign * direction)[0] for sign in (1, -1))
        assert (gradient * direction).sum() == pytest.approx((ahead - behind) / 2, rel=0.03)


def test_numbers_change_without_compiling_again(backbone):
    channel, layers = ChannelObjective("second", 1), LayerObjective({"first": 1.0, "second": 0.0})
    dreamer = DeepDream(backbone, channel + layers)
    before = dreamer.evaluator()(SMALL)[0]
    channel.channel = 2
    middle = dreamer.evaluator()(SMALL)[0]
    layers.layers.update(second=3.0)
    assert before != middle != dreamer.evaluator()(SMALL)[0] and dreamer.traces == 1


def test_layers_and_their_channels(inception):
    assert list(layer_channels(load_backbone("mini_vgg")).items())[:3] == [
        ("block1_conv1", 16), ("block1_conv2", 16), ("block2_conv1", 48),
    ]  # fmt: skip
    channels = layer_channels(inception)
    assert list(channels)[:2] == ["mixed0", "mixed1"] and channels["mixed4"] == 768 and channels["mixed10"] == 2048


@pytest.mark.parametrize("name", ["mixed0", "mixed3", "mixed9", "activation", "block2_conv2"])
def test_before_activation(inception, name):
    network = load_backbone("mini_vgg") if name.startswith("block") else inception
    if name == "activation":  # Keras counts on within a process
        name = [layer.name for layer in network.model.layers if layer.name.startswith("activation")][5]
    batch, layer = network.preprocess(resize(SMALL, (96, 80))[None]), network.model.get_layer(name)
    values = keras.Model(network.model.input, before_activation(network, name))(batch).numpy()
    after = keras.Model(network.model.input, layer.output)(batch).numpy()
    assert values.min() < 0 <= after.min()
    np.testing.assert_allclose(np.maximum(values, 0), after, rtol=1e-4, atol=1e-4)


def test_random_inception_dreams(inception):
    mixture = LayerObjective({"mixed4": 1.0, "mixed5": 1.5}) - ChannelObjective("mixed2", 5)
    picture, dreamer = resize(IMAGE, (96, 111)), DeepDream(inception, mixture)
    result = dreamer.dream(picture, octaves=2, octave_scale=1.2, steps=2, progress=False)
    assert result.image.shape == picture.shape and np.isfinite(result.history["loss"]).all() and dreamer.traces == 1
    assert np.abs(result.image - picture).mean() > 0.5


# One step


def test_a_step_by_hand():
    image = np.array([[[100.0], [20.0]], [[250.0], [3.0]]], np.float32)
    gradient = np.array([[[1.0], [-3.0]], [[4.0], [0.0]]], np.float32)  # mean magnitude 2
    np.testing.assert_allclose(ascend(image, gradient, 4.0), [[[102], [14]], [[255], [3]]], rtol=1e-6)
    np.testing.assert_allclose(ascend(image, 1e-6 * gradient, 4.0), [[[102], [14]], [[255], [3]]], rtol=1e-4)
    np.testing.assert_allclose(ascend(image, gradient, 4.0, normalize=False), [[[104], [8]], [[255], [3]]])
    np.testing.assert_array_equal(ascend(IMAGE, np.zeros_like(IMAGE), 4.0, smoothing=1.0), IMAGE)


def test_smoothing_is_the_mean_of_three_gaussians():
    gradient = GENERATOR.normal(size=(40, 50, 3)).astype(np.float32)
    levels = [gaussian_filter(gradient, (sigma, sigma, 0)) for sigma in (0.75, 1.5, 3)]
    expected = np.abs(gradient).mean() * sum(level / np.abs(level).mean() for level in levels) / 3
    np.testing.assert_allclose(smooth_gradient(gradient, 1.5), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(smooth_gradient(np.full((20, 20, 3), 7.0, np.float32), 2.0), 7, rtol=1e-5)


def test_the_first_step_is_the_normalised_gradient(dreamer):
    (step,) = dreamer.iterate(IMAGE, steps=1, step_size=2.0, **ONE_SIZE)
    loss, gradient = dreamer.evaluator()(IMAGE)
    expected = (IMAGE + 2 * gradient / np.abs(gradient).mean()).clip(0, 255)
    np.testing.assert_allclose(step.image, expected, rtol=1e-4, atol=1e-3)
    assert step.losses["loss"] == pytest.approx(loss) and (step.of, step.phase) == (1, 0)
    assert step.image.dtype == np.float32


@pytest.mark.parametrize("shape", [(71, 83), (64, 64), (40, 120)])
@pytest.mark.parametrize("tile_size, overlap", [(32, 0), (32, 12), (64, 16), (512, 64)])
def test_every_pixel_gets_its_gradient_in_every_step(backbone, shape, tile_size, overlap):
    """Of mean(x²)/2 the step is s · x / mean |x|: a pixel left out, or not rolled back, would fall behind."""
    picture = resize(IMAGE, shape).clip(20, 60)
    settings = dict(steps=3, step_size=2.0, jitter=9, tile_size=tile_size, overlap=overlap, smoothing=0)
    for step in DeepDream(backbone, Brightness()).iterate(picture, 1, **settings):
        np.testing.assert_allclose(step.image, picture + 2 * picture / picture.mean(), rtol=1e-4)
        picture = step.image


# Octaves


def test_octave_shapes():
    assert octave_shapes((100, 141), 3, 2.0, 20) == [(25, 35), (50, 70), (100, 141)]
    assert octave_shapes((101, 33, 3), 1, 1.4) == [(101, 33)]
    assert octave_shapes((480, 640), 4, 1.4) == [(175, 233), (245, 327), (343, 457), (480, 640)]


def test_detail_is_what_the_smaller_copy_lacks():
    sharp = 50 + IMAGE / 2
    small = resize(sharp, (35, 41))
    np.testing.assert_allclose(add_detail(small, small, sharp), sharp, atol=1e-4)
    np.testing.assert_allclose(add_detail(small + 10, small, sharp), sharp + 10, atol=1e-3)
    flat = np.full_like(small, 90)
    np.testing.assert_allclose(add_detail(flat, small, sharp), 90 + sharp - resize(small, (71, 83)), atol=1e-3)


@pytest.mark.parametrize("shape", [(71, 83), (95, 61)])
def test_a_dream_that_changes_nothing_gives_the_picture_back(dreamer, shape):
    """Each octave gets back exactly what shrinking lost, at every size, and so does each recorded frame."""
    picture, settings = resize(IMAGE, shape).clip(0, 255), dict(octaves=4, octave_scale=1.3, steps=2, step_size=0.0)
    for step in dreamer.iterate(picture, **settings):
        np.testing.assert_allclose(step.image, resize(picture, step.image.shape[:2]).clip(0, 255), atol=1e-3)
    recorder = Recorder()
    np.testing.assert_allclose(dreamer.dream(picture, **settings, recorder=recorder).image, picture, atol=1e-3)
    np.testing.assert_allclose(recorder.frames, np.array([picture] * 8), atol=1e-3)


def test_octaves_their_steps_and_step_sizes(dreamer):
    steps = list(dreamer.iterate(IMAGE, octaves=3, octave_scale=1.5, steps=[3, 1, 2], step_size=[1, 0, 2]))
    assert [step.phase for step in steps] == [0, 0, 0, 1, 2, 2] and {step.of for step in steps} == {6}
    assert [steps[at].image.shape[:2] for at in (0, 3, 4)] == octave_shapes(IMAGE.shape, 3, 1.5)
    first, second = (resize(IMAGE, steps[at].image.shape[:2]).clip(0, 255) for at in (2, 3))
    np.testing.assert_allclose(steps[3].image, add_detail(steps[2].image, first, second), atol=1e-4)  # its size is 0


def test_loss_rises_and_one_compilation_serves_every_octave_tile_and_image(backbone):
    dreamer = DeepDream(backbone)
    assert dreamer.traces == 0
    result = dreamer.dream(IMAGE, octaves=2, steps=8, progress=False)
    loss, octave = result.history["loss"], result.history["phase"]
    assert octave.tolist() == [0] * 8 + [1] * 8 and loss[7] > 1.5 * loss[0] and loss[15] > loss[8]
    assert result.image.shape == IMAGE.shape and result.image.dtype == np.float32 and not result.interrupted
    assert 0 <= result.image.min() and result.image.max() <= 255
    dreamer.dream(IMAGE[:64, :50], octaves=2, steps=1, tile_size=32, overlap=8, progress=False)
    assert dreamer.traces == 1


def test_max_loss_ends_an_octave_but_not_the_picture(dreamer):
    settings = dict(octaves=2, steps=6, jitter=0)
    limit = float(dreamer.dream(IMAGE, **settings, progress=False).history["loss"][3])
    steps = list(dreamer.iterate(IMAGE, **settings, max_loss=limit * 0.999))
    assert [step.phase for step in steps][:5] == [0, 0, 0, 0, 1] and steps[-1].image.shape == IMAGE.shape
    np.testing.assert_array_equal(steps[3].image, steps[2].image)  # above the limit: no step is taken
    steps = list(dreamer.iterate(IMAGE, octaves=3, steps=6, max_loss=-1.0))
    assert [step.phase for step in steps] == [0, 1, 2]
    np.testing.assert_allclose(steps[-1].image, IMAGE, atol=1e-3)


# A run


def test_same_seed_same_picture_bit_for_bit(backbone):
    def run(seed):
        return DeepDream(backbone).dream(IMAGE, octaves=2, steps=4, seed=seed, progress=False).image

    np.testing.assert_array_equal(run(3), run(3))
    assert np.abs(run(3) - run(4)).max() > 0.1


@pytest.mark.parametrize("limit", [2, 6])
def test_interrupt_returns_what_there_is_at_full_size(dreamer, limit):
    recorder = Recorder(limit)
    result = dreamer.dream(IMAGE, octaves=2, steps=4, recorder=recorder, progress=False)
    assert result.interrupted and len(result.history["loss"]) == limit and result.image.shape == IMAGE.shape
    np.testing.assert_array_equal(result.image, recorder.frames[-1])


def test_divergence_is_said_and_keeps_the_run_up_to_then(backbone):
    with pytest.raises(DivergedError, match="loss is inf.*coefficients.*step_size .now 1.5") as caught:
        DeepDream(backbone, Brightness(3e38)).dream(IMAGE, **ONE_SIZE)
    assert caught.value.result is None
    growing = Brightness() * Brightness() * 1e30  # overflows once the image is brighter
    with pytest.raises(DivergedError) as caught:
        DeepDream(backbone, growing).dream(np.full_like(IMAGE, 100), steps=99, step_size=1, **ONE_SIZE)
    assert len(caught.value.result.history["loss"]) >= 1


# Zoom


def test_a_zoom_keeps_size_and_order_and_can_be_stopped(dreamer):
    recorder = Recorder(4)
    result = zoom(dreamer, IMAGE, frames=9, factor=1.1, recorder=recorder, octaves=1, steps=1, progress=False)
    assert result.interrupted and len(result.history["loss"]) == 4
    assert {frame.shape for frame in recorder.frames} == {IMAGE.shape}
    np.testing.assert_array_equal(recorder.frames[-1], result.image)


def test_each_frame_of_a_zoom_is_a_dream_with_a_jitter_of_its_own(dreamer):
    recorder, settings = Recorder(), dict(octaves=2, steps=2, progress=False)
    zoom(dreamer, IMAGE, 3, 1.1, keep_colors=False, recorder=recorder, seed=5, **settings)
    frame = IMAGE
    for index, recorded in enumerate(recorder.frames):
        frame = dreamer.dream(enlarge_middle(frame, 1.1) if index else frame, seed=5 + index, **settings).image
        np.testing.assert_allclose(recorded, frame, atol=1e-3)


def test_a_zoom_without_a_dream_is_a_magnifying_glass(dreamer):
    ramp = np.stack([np.tile(np.linspace(50, 200, 81, dtype=np.float32), (61, 1))] * 3, axis=-1)
    settings = dict(keep_colors=False, octaves=1, steps=1, step_size=0.0, progress=False)
    result = zoom(dreamer, ramp, frames=3, factor=1.25, **settings)
    np.testing.assert_allclose(np.diff(result.image[30, 10:-10, 0]), 150 / 80 / 1.25**2, rtol=0.02)
    assert result.image[30, 40, 0] == pytest.approx(125, abs=0.1)  # the middle stays where it is
    np.testing.assert_allclose(enlarge_middle(np.full((40, 51, 3), 9.0, np.float32), 1.07), 9, atol=1e-4)


def test_a_zoom_keeps_its_colours(dreamer):
    settings = dict(frames=6, factor=1.1, octaves=1, steps=2, step_size=8.0, progress=False)
    kept, free = (zoom(dreamer, IMAGE, keep_colors=keep, **settings).image for keep in (True, False))
    spread = IMAGE.std((0, 1))
    assert np.abs(kept.std((0, 1)) - spread).max() < 0.5 * np.abs(free.std((0, 1)) - spread).max()


# Refusals

NAN = float("nan")
REFUSED = {
    "image": [IMAGE / 255, IMAGE[None], "china", None, np.full_like(IMAGE, NAN)],
    "octaves": [0, 1.5, NAN, "3", None, True, 9],
    "octave_scale": [1, 0, NAN, "2"],
    "steps": [0, 1.5, "3", None, [0], [1, 2], []],
    "step_size": [-1, NAN, "1", None, [1.0]],
    "jitter": [-1, 1.5, None],
    "tile_size": [0, 8, 1.5, None],
    "max_loss": [NAN, "9"],
    "smoothing": [-1, 101, None],
    "overlap": [-1, 512, 1.5, None],
    "seed": [-1, 1.5, None],
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in REFUSED.items() for value in values])
def test_a_bad_argument_of_a_run_is_refused_at_the_call(dreamer, name, value):
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        dreamer.iterate(**{"image": IMAGE, name: value})


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda network: DeepDream("vgg19"), "network is 'vgg19'; expected what load_backbone"),
        (lambda network: DeepDream(network, "first"), "objective"),
        (lambda network: DeepDream(load_classifier()), "objective is None.*ClassObjective"),
        (lambda network: DeepDream(network, LayerObjective), "objective"),
        (lambda network: DeepDream(network, LayerObjective("frist")), "did you mean 'first'"),
        (lambda network: DeepDream(network, ChannelObjective("third", 0)), "Choose from first"),
        (lambda network: DeepDream(network, GuideObjective(GUIDE, "third")), "Choose from first"),
        (lambda network: DeepDream(network, ClassObjective("dog")), "load_classifier"),
        (lambda network: LayerObjective({"first": NAN}), "layers"),
        (lambda network: LayerObjective(0), "layers"),
        (lambda network: DeepDream(network, LayerObjective({"first": 0})).iterate(IMAGE), "all coefficients"),
        (lambda network: ChannelObjective("first", -1), "channel"),
        (lambda network: ChannelObjective(0, 1), "layer"),
        (lambda network: DeepDream(network, ChannelObjective("first", 8)).iterate(IMAGE), "channel is 8.*0 to 7"),
        (lambda network: GuideObjective("china", "first"), "image"),
        (lambda network: DeepDream(load_classifier(), ClassObjective("lighthose")).evaluator(), "'lighthouse'"),
        (lambda network: DeepDream(load_classifier(), ClassObjective(999)).evaluator(), "label is 999"),
        (lambda network: smooth_gradient(IMAGE, -1), "width"),
        (lambda network: octave_shapes((99, 99), 0, 1.4), "octaves"),
        (lambda network: zoom(DeepDream(network), IMAGE, frames=0), "frames"),
        (lambda network: zoom(DeepDream(network), IMAGE, factor=1), "factor"),
        (lambda network: zoom(DeepDream(network), IMAGE, seed=-1), "seed"),
        (lambda network: zoom(DeepDream(network), IMAGE, recorder="zoom.gif"), "recorder"),
        (lambda network: zoom(DeepDream(network), IMAGE, octaves=0, progress=False), "octaves"),
    ],
)
def test_refusals(backbone, call, words):
    with pytest.raises(ValueError, match=words):
        call(backbone)
