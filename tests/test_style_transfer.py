"""Style transfer on a tiny network with VGG's layer names and random weights."""

import threading

import keras
import numpy as np
import pytest
from tiny_networks import tiny_vgg

from helpers.backbones import load_backbone
from helpers.commands import _style_benchmark
from helpers.images import load_image, luminance, match_color, resize
from helpers.losses import content_loss, gram_matrix, style_loss, total_variation
from helpers.optimizers import adam, gradient_descent, lbfgs
from helpers.run import DivergedError
from helpers.style_transfer import StyleTransfer, fit_style, match_brightness, scale_shapes, scale_steps, seen_colors

GENERATOR = np.random.default_rng(0)


def patches(size, shape):
    return resize(GENERATOR.uniform(0, 255, (*size, 3)), shape).clip(0, 255)


CONTENT, STYLE, OTHER = patches((6, 8), (48, 65)), patches((20, 20), (70, 50)), patches((4, 4), (40, 60))
OPTIMIZERS = pytest.mark.parametrize("optimizer", [lbfgs(), adam(6), gradient_descent(2)], ids=["lbfgs", "adam", "gd"])


@pytest.fixture(scope="module")
def backbone():
    return tiny_vgg(8, 12, 16)


@pytest.fixture(scope="module")
def transfer(backbone):
    return StyleTransfer(backbone, tv_weight=0.1)


def features(backbone, image, name):
    network = keras.Model(backbone.model.input, backbone.model.get_layer(name).output)
    return network(backbone.preprocess(image[None].astype(np.float32)))


# Losses


@pytest.mark.parametrize("normalization", ["paper", "mean"])
def test_total_is_the_weighted_sum_of_the_losses(backbone, normalization):
    content_layers, style_layers = {"block2_conv2": 0.7, "block3_conv1": 0.3}, {"block1_conv2": 2, "block2_conv1": 0.5}
    transfer = StyleTransfer(backbone, content_layers, style_layers, 3.0, 5.0, 0.2, normalization, margin=0)
    image, expected = GENERATOR.uniform(0, 255, CONTENT.shape).astype(np.float32), {"content": 0.0, "style": 0.0}
    for name, weight in content_layers.items():
        generated, target = features(backbone, image, name), features(backbone, CONTENT, name)
        expected["content"] += 3 * weight * float(content_loss(generated, target, normalization))
    for name, weight in style_layers.items():
        generated, target = features(backbone, image, name), features(backbone, STYLE, name)
        size = target.shape[1] * target.shape[2]
        expected["style"] += 5 * weight * float(style_loss(generated, gram_matrix(target), size, normalization))
    expected["variation"] = 0.2 * float(total_variation(image[None], normalization=normalization))
    expected["total"] = sum(expected.values())
    losses, gradient = transfer.evaluator(CONTENT, [STYLE], [1.0])(image)
    assert losses == pytest.approx(expected, rel=1e-4)


def test_gradient_against_finite_differences(transfer):
    evaluate = transfer.evaluator(CONTENT, [STYLE], [1.0])
    image = GENERATOR.uniform(0, 255, CONTENT.shape).astype(np.float32)
    _, gradient = evaluate(image)
    for _ in range(3):
        direction = GENERATOR.normal(size=image.shape).astype(np.float32) + np.sign(gradient)
        ahead, behind = (evaluate(image + sign * direction)[0]["total"] for sign in (1, -1))
        assert (gradient * direction).sum() == pytest.approx((ahead - behind) / 2, rel=0.05)


def test_compiled_once_for_all_sizes_weights_and_styles(backbone):
    transfer = StyleTransfer(backbone)
    assert transfer.traces == 0
    transfer.stylize(patches((4, 4), (90, 70)), STYLE, steps=4, scales=2, progress=False)
    transfer.style_weight = 7.0
    transfer.stylize(CONTENT, [OTHER, STYLE], steps=2, progress=False, init="noise", optimizer=adam(2))
    assert transfer.traces == 1


@pytest.mark.parametrize(("normalization", "equal"), [("paper", True), ("mean", False)])
def test_a_mixed_target_has_the_gradient_of_the_weighted_sum_by_the_papers_formula(backbone, normalization, equal):
    image = GENERATOR.uniform(0, 255, CONTENT.shape).astype(np.float32)
    transfer = StyleTransfer(backbone, content_weight=0, normalization=normalization)
    mixed = transfer.evaluator(CONTENT, [STYLE, OTHER], [0.25, 0.75])(image)[1]
    weighted = sum(
        share * transfer.evaluator(CONTENT, [style], [1.0])(image)[1] for style, share in ((STYLE, 0.25), (OTHER, 0.75))
    )
    assert (np.abs(mixed - weighted).max() / np.abs(weighted).max() < 1e-3) == equal


def test_content_alone_and_style_alone_are_zero_at_their_targets(backbone):
    for settings, image, terms in (
        ({"style_weight": 0}, CONTENT, {"content"}),
        ({"content_weight": 0}, STYLE, {"style"}),
    ):
        losses, _ = StyleTransfer(backbone, **settings).evaluator(CONTENT, [STYLE], [1.0])(image)
        assert losses.keys() == {"total"} | terms and losses["total"] == pytest.approx(0, abs=1e-9)


# A run


@OPTIMIZERS
def test_loss_falls_and_the_result_is_the_best_image(transfer, optimizer):
    settings = dict(init="noise", optimizer=optimizer, steps=15)
    result, steps = (
        transfer.stylize(CONTENT, STYLE, **settings, progress=False),
        list(transfer.iterate(CONTENT, STYLE, **settings)),
    )
    totals = [step.losses["total"] for step in steps]
    np.testing.assert_array_equal(result.image, steps[int(np.argmin(totals))].image)  # bit for bit, in two runs
    np.testing.assert_allclose(result.history["total"], totals)
    assert set(result.history) == {"total", "content", "style", "variation", "phase"}
    assert result.image.shape == CONTENT.shape and result.image.dtype == np.float32
    assert 0 <= result.image.min() and result.image.max() <= 255 and totals[-1] < 0.8 * totals[0]


def test_scales_and_their_steps(transfer):
    large = resize(CONTENT, (131, 97))
    steps = list(transfer.iterate(large, STYLE, steps=7, scales=2, optimizer=adam(4)))
    assert [step.phase for step in steps] == [0, 0, 0, 1, 1, 1, 1] and {step.of for step in steps} == {7}
    assert [step.image.shape for step in steps] == [(66, 48, 3)] * 3 + [(131, 97, 3)] * 4
    steps = list(transfer.iterate(large, STYLE, steps=[1, 2, 3], scales=(0.4, 0.7, 1), optimizer=adam(4)))
    assert [step.phase for step in steps] == [0, 1, 1, 2, 2, 2]


def test_scale_shapes_and_steps_by_hand():
    assert scale_shapes((100, 141), 2) == [(50, 70), (100, 141)]
    assert scale_shapes((100, 200), [0.4, 0.75, 1]) == [(40, 80), (75, 150), (100, 200)]
    assert scale_steps(10, 3) == [3, 3, 4] and scale_steps([5, 1], 2) == [5, 1]


def test_a_scale_starts_from_the_enlarged_best_of_the_one_before(transfer):
    def descend(start, evaluate):
        for image in (np.full_like(start, 200), start, np.full_like(start, 255)):
            yield image, evaluate(image)[0]

    steps = list(transfer.iterate(resize(CONTENT, (96, 128)), STYLE, steps=[3, 2], scales=2, optimizer=descend))
    assert np.argmin([step.losses["total"] for step in steps[:3]]) == 1
    np.testing.assert_allclose(steps[4].image, resize(steps[1].image, (96, 128)).clip(0, 255), atol=4)


def test_inits(transfer):
    def first(init, **settings):
        return next(transfer.iterate(CONTENT, STYLE, init=init, steps=2, optimizer=adam(2), **settings)).image

    np.testing.assert_allclose(first("content"), CONTENT, atol=1e-4)
    recolored = first("recolored")
    np.testing.assert_allclose(recolored, match_color(CONTENT, STYLE, "histogram"), atol=1e-3)
    spread, wanted = (np.cov(image.reshape(-1, 3).T) for image in (recolored, STYLE))
    assert np.abs(spread - wanted).max() < 0.3 * np.abs(wanted).max()  # but for clipping: colours, not their mean alone
    np.testing.assert_allclose(first("style"), load_image(STYLE, shape=CONTENT.shape[:2]), atol=1e-3)
    assert not np.array_equal(first("noise", seed=1), first("noise", seed=2))
    np.testing.assert_array_equal(first("noise", seed=1), first("noise", seed=1))
    np.testing.assert_allclose(first("blend"), (CONTENT + first("noise")) / 2, atol=40)  # the noise was clipped
    np.testing.assert_allclose(first(np.full((20, 30, 3), 99.0)), 99, atol=1e-3)


def test_luminance_is_changed_and_hues_are_the_contents(transfer):
    *_, last = transfer.iterate(CONTENT, STYLE, steps=8, preserve_color="luminance", optimizer=adam(4))
    hues = [image - luminance(image)[..., None] for image in (last.image, CONTENT)]
    unclipped = ((last.image > 0) & (last.image < 255)).all(axis=-1)
    np.testing.assert_allclose(hues[0][unclipped], hues[1][unclipped], atol=0.1)
    assert np.abs(last.image - CONTENT).mean() > 2


def test_what_the_network_sees_where_colours_are_kept():
    _, (style,) = seen_colors(CONTENT, [STYLE], "histogram")
    np.testing.assert_allclose(style.mean((0, 1)), CONTENT.mean((0, 1)), atol=8)
    content, (style,) = seen_colors(CONTENT, [STYLE / 4 + 9], "luminance")
    np.testing.assert_allclose(content, np.repeat(luminance(CONTENT)[..., None], 3, -1), rtol=1e-5)
    assert np.ptp(style, axis=-1).max() < 1e-3  # grey
    assert style.mean() == pytest.approx(content.mean(), abs=3) and style.std() == pytest.approx(content.std(), rel=0.1)
    np.testing.assert_allclose(match_brightness(np.array([1.0, 3.0]), np.array([90.0, 110.0])), [90, 110])


def test_style_scale_sets_the_grain(transfer):
    assert fit_style(STYLE, (200, 300), 1.0).shape == (300, 214, 3)
    assert max(fit_style(STYLE, (200, 300), 0.5).shape) == 150
    assert min(fit_style(STYLE, (200, 300), 0.01).shape[:2]) == 32


def test_interrupt_returns_the_best_image_so_far_at_full_size_and_leaves_no_thread(transfer):
    class Stop:
        images = []

        def add(self, image):
            self.images.append(image)
            if len(self.images) == 6:
                raise KeyboardInterrupt

    before = threading.active_count()
    large = resize(CONTENT, (96, 128))
    result = transfer.stylize(large, STYLE, init="noise", steps=50, scales=2, recorder=Stop(), progress=False)
    assert result.interrupted and len(result.history["total"]) == 6 and result.image.shape == large.shape
    np.testing.assert_array_equal(result.image, Stop.images[int(np.argmin(result.history["total"]))])
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"style_weight": 1e38}, "style loss.*style_weight .now 1e.38"),
        ({"tv_weight": 3e38}, "variation loss.*tv_weight"),
        ({"content_weight": 3e38}, "content loss.*content_weight"),
    ],
)
def test_divergence_names_the_term_and_the_knob(backbone, settings, words):
    transfer = StyleTransfer(backbone, normalization="paper", **settings)
    noise = GENERATOR.uniform(0, 255, CONTENT.shape).astype(np.float32)
    with pytest.raises(DivergedError, match=words):
        transfer.stylize(CONTENT, STYLE, init=noise, optimizer=adam(2), steps=9, progress=False)


def test_divergence_keeps_the_run_up_to_then(transfer):
    def explode(start, evaluate):
        yield start, evaluate(start)[0]
        yield start, evaluate(start * np.float32(np.nan))[0]

    with pytest.raises(DivergedError) as caught:
        transfer.stylize(CONTENT, STYLE, optimizer=explode, steps=9, progress=False)
    np.testing.assert_allclose(caught.value.result.image, CONTENT, atol=1e-4)


# Refusals

NAN = float("nan")
REFUSED = {
    "content": [CONTENT[:20], "china", None, CONTENT[None], np.full_like(CONTENT, NAN), CONTENT / 255],
    "styles": [[], STYLE[:20], [np.full_like(STYLE, NAN)], "night_swirls", None, STYLE / 255],
    "init": ["photo", None, np.zeros(3)],
    "optimizer": ["adam", adam, lbfgs],
    "steps": [0, -1, 1.5, NAN, "3", None, {}, True, [0], ["3"], [1, 2]],
    "scales": [0, 1.5, NAN, "2", None, {}, True, 3, 99, [0, 1], [1, 0.5], [NAN, 1], ["a"], []],
    "shares": [0, "1", [-1], [NAN], ["a"], [0], [1, 1]],
    "style_scale": [0, -1, NAN, "1", None],
    "preserve_color": ["hue", 1],
    "seed": [-1, 1.5, None],
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in REFUSED.items() for value in values])
def test_a_bad_argument_of_a_run_is_refused_at_the_call(transfer, name, value):
    arguments = {"content": CONTENT, "styles": STYLE, name: value}
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        transfer.iterate(**arguments)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"backbone": "vgg19"}, "backbone is 'vgg19'; expected what load_backbone"),
        ({"style_layers": ["block1conv1"]}, "did you mean 'block1_conv1'"),
        ({"content_layers": 0}, "content_layers"),
        ({"style_layers": {"block1_conv1": -1}}, "style_layers"),
        ({"style_layers": {"block1_conv1": 0}}, "style_layers.*above 0"),
        ({"style_layers": []}, "style_layers.*above 0"),
        ({"normalization": "sum"}, "normalization"),
        ({"content_weight": 0, "style_weight": 0}, "nothing to minimise"),
        ({"style_weight": "50"}, "style_weight"),
        ({"tv_weight": NAN}, "tv_weight"),
    ],
)
def test_a_bad_argument_of_the_losses_is_refused(backbone, settings, words):
    with pytest.raises(ValueError, match=words):
        StyleTransfer(**{"backbone": backbone, **settings})


# Other networks, and the benchmark


@pytest.mark.parametrize("name", ["mini_vgg", "vgg16", "vgg19"])
def test_vgg_names_work_on_every_vgg(name):
    keras.utils.set_random_seed(0)
    layers = ["block4_conv2"], [f"block{block}_conv1" for block in range(1, 6)]
    transfer = StyleTransfer(load_backbone(name, weights=None), *layers)
    result = transfer.stylize(CONTENT, STYLE, init="recolored", steps=3, progress=False)
    assert result.history["total"].min() < result.history["total"][0]


def test_the_benchmarks_recipes_minimise_the_same_loss_from_the_same_start(backbone, capsys):
    content, style = (resize(image, (64, 64)).clip(0, 255) for image in (CONTENT, STYLE))
    assert min(_style_benchmark.compare(backbone, content, style, plain_steps=3)) > 0
    weights = {"content_weight": 1, "style_weight": 9}
    _, losses = _style_benchmark.plain_recipe(backbone, content, style, 3, 6.0, weights)
    steps = list(StyleTransfer(backbone, **weights, margin=0).iterate(content, style, optimizer=adam(6), steps=4))
    assert losses == pytest.approx([step.losses["total"] for step in steps[1:]], rel=0.05)
    _style_benchmark.measure_size(backbone, 64)
    assert "s a step" in capsys.readouterr().out
