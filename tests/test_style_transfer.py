"""Style transfer on a tiny network with VGG's layer names and random weights."""

import threading
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from tiny_networks import tiny_vgg

from helpers import style_runs, style_transfer
from helpers.backbones import load_backbone
from helpers.commands import _style_benchmark
from helpers.images import luminance, resize
from helpers.losses import content_loss, gram_matrix, style_loss, total_variation
from helpers.optimizers import adam, gradient_descent, lbfgs
from helpers.style_transfer import DivergedError, StyleTransfer

GENERATOR = np.random.default_rng(0)
CONTENT = resize(GENERATOR.uniform(0, 255, (6, 8, 3)), (48, 65)).clip(0, 255)
STYLE = resize(GENERATOR.uniform(0, 255, (20, 20, 3)), (70, 50)).clip(0, 255)
OTHER = resize(GENERATOR.uniform(0, 255, (4, 4, 3)), (40, 60)).clip(0, 255)


@pytest.fixture(scope="module")
def backbone():
    return tiny_vgg(8, 12, 16)


@pytest.fixture
def transfer(backbone):
    return StyleTransfer(backbone, tv_weight=0.1)


def features(backbone, image, name):
    network = keras.Model(backbone.model.input, backbone.model.get_layer(name).output)
    return network(backbone.preprocess(image[None].astype(np.float32)))


@pytest.mark.parametrize("normalization", ["paper", "mean"])
def test_total_is_the_weighted_sum_of_the_losses(backbone, normalization):
    content_layers, style_layers = {"block2_conv2": 0.7, "block3_conv1": 0.3}, {"block1_conv2": 2, "block2_conv1": 0.5}
    transfer = StyleTransfer(backbone, content_layers, style_layers, 3.0, 5.0, 0.2, normalization)
    image = GENERATOR.uniform(0, 255, CONTENT.shape).astype(np.float32)
    losses = transfer.losses(image, CONTENT, STYLE)
    expected = {"content": 0.0, "style": 0.0}
    for name, weight in content_layers.items():
        generated, target = features(backbone, image, name), features(backbone, CONTENT, name)
        expected["content"] += 3 * weight * float(content_loss(generated, target, normalization))
    for name, weight in style_layers.items():
        generated, target = features(backbone, image, name), features(backbone, STYLE, name)
        size = target.shape[1] * target.shape[2]
        expected["style"] += 5 * weight * float(style_loss(generated, gram_matrix(target), size, normalization))
    expected["variation"] = 0.2 * float(total_variation(image[None], normalization=normalization))
    expected["total"] = sum(expected.values())
    assert losses == pytest.approx(expected, rel=1e-4)


def test_gradient_against_finite_differences(transfer):
    objective = transfer._objective(CONTENT, [STYLE], [1.0])
    image = GENERATOR.uniform(0, 255, CONTENT.shape).astype(np.float32)
    losses, gradient = objective(image)
    for _ in range(3):
        direction = GENERATOR.normal(size=image.shape).astype(np.float32) + np.sign(gradient)
        ahead, behind = (objective(image + sign * direction)[0]["total"] for sign in (1, -1))
        assert (gradient * direction).sum() == pytest.approx((ahead - behind) / 2, rel=0.05)


@pytest.mark.parametrize("optimizer", [lbfgs(), adam(6), gradient_descent(2)], ids=lambda optimizer: optimizer.name)
def test_loss_falls_and_the_result_is_the_best_image(transfer, optimizer):
    result = transfer.stylize(CONTENT, STYLE, init="noise", optimizer=optimizer, steps=15, progress=False)
    assert result.image.shape == CONTENT.shape and result.image.dtype == np.float32
    assert 0 <= result.image.min() and result.image.max() <= 255
    assert set(result.history) == {"total", "content", "style", "variation"}
    assert all(len(values) == 15 for values in result.history.values())
    assert result.history["total"][-1] < 0.8 * result.history["total"][0]
    assert not result.interrupted and result.seconds > 0


def test_steps_are_numbered_over_all_scales(transfer):
    large = resize(CONTENT, (131, 97))
    steps = list(transfer.iterate(large, STYLE, steps=7, scales=2, optimizer=adam(4)))
    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert {step.of for step in steps} == {7}
    assert [step.scale for step in steps] == [0, 0, 0, 1, 1, 1, 1]
    assert [step.image.shape for step in steps] == [(66, 48, 3)] * 3 + [(131, 97, 3)] * 4
    steps = list(transfer.iterate(large, STYLE, steps=[1, 2, 3], scales=(0.4, 0.7, 1), optimizer=adam(4)))
    assert [step.scale for step in steps] == [0, 1, 1, 2, 2, 2]


def test_a_scale_starts_from_the_enlarged_best_of_the_one_before(transfer):
    large = resize(CONTENT, (96, 128))
    first, second = transfer.iterate(large, STYLE, steps=2, scales=2, optimizer=adam(4))
    np.testing.assert_allclose(second.image, resize(first.image, (96, 128)).clip(0, 255), atol=4)  # it was clipped


def test_traced_once_for_each_size(backbone):
    transfer = StyleTransfer(backbone)
    assert transfer.traces == 0
    transfer.stylize(CONTENT, STYLE, steps=5, progress=False)
    transfer.style_weight = 7.0
    transfer.stylize(CONTENT, [OTHER, STYLE], steps=5, progress=False, init="noise", optimizer=adam(2))
    assert transfer.traces == 1
    transfer.stylize(CONTENT[:, :50], STYLE, steps=5, progress=False)
    assert transfer.traces == 2


def test_network_stops_at_the_deepest_layer_in_use(backbone):
    transfer = StyleTransfer(backbone, ["block1_conv2"], ["block1_conv1"])
    transfer.losses(CONTENT, CONTENT, STYLE)
    names = {layer.name for network in transfer._extractors.values() for layer in network.layers}
    assert "block1_conv2" in names and "block2_conv1" not in names


def test_inits(transfer):
    def first(init, **settings):
        return next(transfer.iterate(CONTENT, STYLE, init=init, steps=2, optimizer=adam(2), **settings)).image

    np.testing.assert_allclose(first("content"), CONTENT, atol=1e-4)
    np.testing.assert_allclose(first("recolored").mean((0, 1)), STYLE.mean((0, 1)), atol=8)
    assert first("style").shape == CONTENT.shape
    assert not np.array_equal(first("noise", seed=1), first("noise", seed=2))
    blend = first("blend", blend=0.25)
    np.testing.assert_allclose(blend, (0.75 * CONTENT + 0.25 * first("noise")).clip(0, 255), atol=25)
    np.testing.assert_allclose(first(np.full((20, 30, 3), 99.0)), 99, atol=1e-3)


@pytest.mark.parametrize("optimizer", [lbfgs(), adam(6)], ids=lambda optimizer: optimizer.name)
def test_same_seed_same_picture_bit_for_bit(backbone, optimizer):
    settings = dict(init="noise", seed=3, steps=12, optimizer=optimizer, progress=False)
    one, two = (StyleTransfer(backbone).stylize(CONTENT, STYLE, **settings) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.history["total"], two.history["total"])


def gradients(backbone, normalization, image, shares):
    """Return the gradient of a mixed target, and the weighted sum of those of its two styles."""
    transfer = StyleTransfer(backbone, content_weight=0, normalization=normalization)
    _, mixed = transfer._objective(CONTENT, [STYLE, OTHER], shares)(image)
    separate = [transfer._objective(CONTENT, [style], [1.0])(image)[1] for style in (STYLE, OTHER)]
    return mixed, shares[0] * separate[0] + shares[1] * separate[1]


def test_one_mixed_target_has_the_gradient_of_several_styles(backbone):
    mixed, weighted = gradients(backbone, "paper", CONTENT, [0.3, 0.7])
    np.testing.assert_allclose(mixed, weighted, rtol=1e-3, atol=1e-4 * np.abs(mixed).max())


@pytest.mark.parametrize(("normalization", "equal"), [("paper", True), ("mean", False)])
def test_a_mixed_target_has_the_gradient_of_the_weighted_sum_by_the_papers_formula(backbone, normalization, equal):
    image = GENERATOR.uniform(0, 255, CONTENT.shape).astype(np.float32)
    mixed, weighted = gradients(backbone, normalization, image, [0.25, 0.75])
    difference = np.abs(mixed - weighted).max() / np.abs(weighted).max()
    assert (difference < 1e-3) == equal


def test_shares_of_one_and_zero_are_one_style(transfer):
    both = transfer.losses(OTHER, OTHER, [STYLE, OTHER], shares=[5, 0])
    assert both == pytest.approx(transfer.losses(OTHER, OTHER, STYLE))


def test_luminance_is_changed_and_hues_are_the_contents(transfer):
    *_, last = transfer.iterate(CONTENT, STYLE, steps=8, preserve_color="luminance", optimizer=adam(4))
    hues = [image - luminance(image)[..., None] for image in (last.image, CONTENT)]
    unclipped = ((last.image > 0) & (last.image < 255)).all(axis=-1)
    np.testing.assert_allclose(hues[0][unclipped], hues[1][unclipped], atol=0.1)
    assert np.abs(last.image - CONTENT).mean() > 2


def test_histogram_moves_the_styles_colours(transfer, monkeypatch):
    seen = []
    monkeypatch.setattr(
        transfer, "_objective", lambda content, styles, shares: seen.extend(styles) or (lambda image: None)
    )
    with pytest.raises(TypeError):
        next(transfer.iterate(CONTENT, STYLE, steps=2, preserve_color="histogram"))
    np.testing.assert_allclose(seen[0].mean((0, 1)), CONTENT.mean((0, 1)), atol=8)


def test_style_scale_sets_the_grain(transfer):
    assert max(style_runs.fit_style(STYLE, (200, 300), 1.0).shape) == 300
    assert max(style_runs.fit_style(STYLE, (200, 300), 0.5).shape) == 150
    assert min(style_runs.fit_style(STYLE, (200, 300), 0.01).shape[:2]) == 32


def test_interrupt_returns_the_best_image_so_far(transfer):
    class Stop:
        images = []

        def add(self, image):
            self.images.append(image)
            if len(self.images) == 6:
                raise KeyboardInterrupt

    before = threading.active_count()
    result = transfer.stylize(CONTENT, STYLE, init="noise", steps=50, recorder=Stop(), progress=False)
    assert result.interrupted and len(result.history["total"]) == 6
    np.testing.assert_array_equal(result.image, Stop.images[int(np.argmin(result.history["total"]))])
    assert threading.active_count() == before


def test_interrupt_before_the_first_step_is_an_interrupt(transfer, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "_evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        transfer.stylize(CONTENT, STYLE, progress=False, steps=3)


def test_closing_the_generator_ends_its_thread(transfer):
    before = threading.active_count()
    iteration = transfer.iterate(CONTENT, STYLE, steps=50)
    next(iteration)
    next(iteration)
    iteration.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "settings, optimizer, words",
    [
        ({"style_weight": 1e38}, adam(2), "style loss.*style_weight"),
        ({"tv_weight": 3e38}, adam(2), "variation loss.*tv_weight"),
        ({"content_weight": 3e38}, adam(2), "content_weight"),
        ({}, gradient_descent(rate=1e300, box=None), "the image.*Lower rate"),
    ],
)
def test_divergence_names_the_term_and_the_knob(backbone, settings, optimizer, words):
    transfer = StyleTransfer(backbone, normalization="paper", **settings)
    noise = GENERATOR.uniform(0, 255, CONTENT.shape).astype(np.float32)
    with pytest.raises(DivergedError, match=words), np.errstate(all="ignore"):
        transfer.stylize(CONTENT, STYLE, init=noise, optimizer=optimizer, steps=9, progress=False)


def test_divergence_keeps_the_run_up_to_then(transfer):
    explosive = gradient_descent(rate=1e300, box=None)
    with pytest.raises(DivergedError) as caught, np.errstate(all="ignore"):
        transfer.stylize(CONTENT, STYLE, optimizer=explosive, steps=9, progress=False)
    assert len(caught.value.result.history["total"]) == 1


@pytest.mark.parametrize("scales", [1, (0.7, 1)])
@pytest.mark.parametrize(
    "optimizer", [adam(6, decay=0.9, decay_every=3), gradient_descent(2)], ids=lambda optimizer: optimizer.name
)
def test_resume_is_bit_for_bit(transfer, tmp_path, optimizer, scales):
    settings = dict(init="noise", optimizer=optimizer, steps=12, scales=scales, progress=False)
    whole = transfer.stylize(CONTENT, STYLE, **settings)
    file = tmp_path / "run.npz"
    iteration = transfer.stylize(CONTENT, STYLE, **settings, checkpoint=file, checkpoint_every=5, recorder=StopAfter(9))
    assert iteration.interrupted and [path.name for path in tmp_path.iterdir()] == ["run.npz"]
    recorder = StopAfter(99)
    resumed = transfer.stylize(CONTENT, STYLE, **settings, checkpoint=file, resume=True, recorder=recorder)
    assert recorder.count == 8  # step 5 is done again
    np.testing.assert_array_equal(resumed.image, whole.image)
    np.testing.assert_allclose(resumed.history["total"], whole.history["total"])


def test_resume_with_lbfgs_goes_on_downhill(transfer, tmp_path):
    settings = dict(init="noise", steps=20, progress=False, checkpoint=tmp_path / "run.npz", checkpoint_every=10)
    transfer.stylize(CONTENT, STYLE, **settings, recorder=StopAfter(12))
    result = transfer.stylize(CONTENT, STYLE, **settings, resume=True)
    assert len(result.history["total"]) == 20
    assert result.history["total"][-1] < result.history["total"][9]


def test_a_checkpoint_of_another_run_is_refused(transfer, tmp_path):
    settings = dict(steps=4, progress=False, checkpoint=tmp_path / "run.npz", checkpoint_every=2)
    transfer.stylize(CONTENT, STYLE, **settings)
    with pytest.raises(ValueError, match="other pictures or settings"):
        transfer.stylize(CONTENT, OTHER, **settings, resume=True)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (adam(6, decay=0.9), adam(6)),
        (adam(6), adam(6, beta_1=0.5)),
        (adam(6), adam(6, beta_2=0.9)),
        (adam(6), adam(6, box=None)),
        (gradient_descent(2), gradient_descent(2, normalize=False)),
        (lbfgs(), lbfgs(pairs=20)),
        (lbfgs(), lbfgs(first_step=1)),
        (lbfgs(), lbfgs(box=(0, 255))),
    ],
    ids=lambda optimizer: optimizer.settings,
)
def test_a_checkpoint_of_another_optimizer_is_refused(transfer, tmp_path, first, second):
    settings = dict(steps=2, progress=False, checkpoint=tmp_path / "run.npz", checkpoint_every=1)
    transfer.stylize(CONTENT, STYLE, optimizer=first, **settings)
    with pytest.raises(ValueError, match="other pictures or settings"):
        transfer.stylize(CONTENT, STYLE, optimizer=second, resume=True, **settings)


def test_a_checkpoint_of_other_weights_is_refused(backbone, tmp_path):
    settings = dict(steps=2, progress=False, checkpoint=tmp_path / "run.npz", checkpoint_every=1)
    StyleTransfer(backbone).stylize(CONTENT, STYLE, **settings)
    other = SimpleNamespace(**{**vars(backbone), "source": "file vgg19.weights.h5"})
    with pytest.raises(ValueError, match="other pictures or settings"):
        StyleTransfer(other).stylize(CONTENT, STYLE, resume=True, **settings)


def test_numbers_in_an_array_tell_runs_apart_as_those_in_a_list_do(transfer, tmp_path):
    settings = dict(steps=2, progress=False, checkpoint=tmp_path / "run.npz", checkpoint_every=1)
    transfer.stylize(CONTENT, [STYLE, OTHER], shares=[0.25, 0.75], **settings)
    transfer.stylize(CONTENT, [STYLE, OTHER], shares=np.array([0.25, 0.75]), resume=True, **settings)
    with pytest.raises(ValueError, match="other pictures or settings"):
        transfer.stylize(CONTENT, [STYLE, OTHER], shares=np.array([0.75, 0.25]), resume=True, **settings)


class StopAfter:
    """A recorder that presses the stop button after `limit` images."""

    def __init__(self, limit):
        self.limit, self.count = limit, 0

    def add(self, image):
        self.count += 1
        if self.count == self.limit:
            raise KeyboardInterrupt


def test_estimate(transfer, monkeypatch, capsys):
    estimate = transfer.estimate(resize(CONTENT, (64, 96)), STYLE, steps=[10, 30], scales=2)
    assert estimate.seconds == pytest.approx(estimate.seconds_per_step * (30 + 10 / 4))
    assert estimate.memory is None or estimate.memory > 50e6
    monkeypatch.setattr(style_transfer, "LONG_RUN", 0)
    transfer.stylize(CONTENT, STYLE, steps=20, progress=False)
    assert capsys.readouterr().out.startswith("About ")


def test_bar_and_recorder(transfer, capsys):
    recorder = StopAfter(99)
    transfer.stylize(CONTENT, STYLE, steps=4, recorder=recorder)
    assert recorder.count == 4
    assert capsys.readouterr().err == ""


def test_content_alone_and_style_alone(backbone):
    alone = StyleTransfer(backbone, style_weight=0)
    assert set(alone.losses(CONTENT, CONTENT, STYLE)) == {"total", "content"}
    assert alone.losses(CONTENT, CONTENT, STYLE)["total"] == pytest.approx(0, abs=1e-9)
    alone = StyleTransfer(backbone, content_weight=0)
    assert alone.losses(STYLE, STYLE, STYLE)["total"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"style_layers": ["block9_conv1"]}, "block1_conv1"),
        ({"style_layers": {"block1_conv1": -1}}, "weight of block1_conv1 must be a finite number from 0"),
        ({"style_layers": {}}, "without layers"),
        ({"normalization": "sum"}, "paper"),
        ({"content_weight": 0, "style_weight": 0}, "nothing to minimise"),
        ({"tv_weight": float("nan")}, "tv_weight"),
    ],
)
def test_errors_of_the_losses(backbone, settings, words):
    with pytest.raises(ValueError, match=words):
        StyleTransfer(backbone, **settings)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"init": "photo"}, "noise"),
        ({"scales": 3}, "coarsest scale"),
        ({"scales": (1, 0.5)}, "rise to 1"),
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"steps": [3, 4]}, "1 scales"),
        ({"shares": [1, 2]}, "1 numbers"),
        ({"style_scale": 0}, "above 0"),
        ({"preserve_color": "hue"}, "histogram"),
    ],
)
def test_errors_of_a_run(transfer, settings, words):
    with pytest.raises(ValueError, match=words):
        next(transfer.iterate(CONTENT, STYLE, **settings))


def test_small_pictures_are_refused(transfer):
    with pytest.raises(ValueError, match="32 pixels"):
        next(transfer.iterate(CONTENT[:20], STYLE))


def test_benchmark_compares_both_recipes(backbone, capsys):
    """Both minimise the same loss from the same start; times on a tiny network say nothing, so none is checked."""
    content, style = (resize(image, (64, 64)).clip(0, 255) for image in (CONTENT, STYLE))
    ratios = _style_benchmark.compare(backbone, content, style, plain_steps=3)
    assert len(ratios) == 2 and min(ratios) > 0
    told = capsys.readouterr().out
    assert "× faster" in told and "× sooner" in told and "GFLOP/s" in told
    _, losses = _style_benchmark.plain_recipe(
        backbone, content, style, 3, 6.0, {"content_weight": 1, "style_weight": 9}
    )
    transfer = StyleTransfer(backbone, style_weight=9)
    steps = list(transfer.iterate(content, style, optimizer=adam(6, box=None), steps=4))
    assert losses == pytest.approx([step.losses["total"] for step in steps[1:]], rel=0.02)


@pytest.mark.parametrize("name", ["mini_vgg", "vgg16", "vgg19"])
def test_vgg_names_work_on_every_vgg(name):
    keras.utils.set_random_seed(0)
    transfer = StyleTransfer(
        load_backbone(name, weights=None), ["block4_conv2"], [f"block{block}_conv1" for block in range(1, 6)]
    )
    result = transfer.stylize(CONTENT, STYLE, init="recolored", steps=3, progress=False)
    assert result.history["total"][-1] < result.history["total"][0]
