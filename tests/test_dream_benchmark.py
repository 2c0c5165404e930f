"""Both recipes climb the same objective from the same start. No time is checked: on a small picture it says nothing."""

import keras
import pytest

from helpers.backbones import load_backbone
from helpers.commands import _dream_benchmark as benchmark
from helpers.images import sample_image


@pytest.fixture
def here(monkeypatch):
    """Measure in this process instead of one for each dream."""
    monkeypatch.setattr(benchmark, "in_own_process", lambda function, **arguments: function(**arguments))


def test_the_recipes_take_the_same_steps():
    keras.utils.set_random_seed(0)
    image, settings = sample_image("china", shape=(64, 80)), dict(octaves=1, octave_scale=1.4, steps=4, step_size=2.0)

    def losses(recipe, dream):
        return list(dream(load_backbone("mini_vgg"), image, recipe, **settings))

    eager, traced = (losses(recipe, benchmark.plain_recipe) for recipe in (benchmark.EAGER, benchmark.TRACED))
    same, own = (losses(recipe, benchmark.this_project) for recipe in (benchmark.SAME, benchmark.OWN))
    assert len(eager) == 4 and eager[-1] > 1.2 * eager[0]
    assert traced == pytest.approx(eager, rel=1e-3)
    assert same == pytest.approx(eager, rel=1e-2)
    assert own != pytest.approx(eager, rel=1e-2)  # jitter and smoothing make another picture


def test_it_compares_all_recipes(here, capsys):
    ratios = benchmark.compare({"name": "mini_vgg", "weights": "imagenet"}, size=96, rounds=1)
    assert len(ratios) == 2 and min(ratios) > 0
    told = capsys.readouterr().out
    assert all(recipe in told for recipe in benchmark.RECIPES) and "×1.00" in told and "10 steps each" in told


def test_it_measures_memory(here, capsys):
    benchmark.measure_memory({"name": "mini_vgg", "weights": "random"}, sizes=(64, 96))
    told = capsys.readouterr().out
    assert told.count(" px ") == 4 and told.count("the picture as float32") == 4


def test_a_process_that_fails_says_why():
    with pytest.raises(SystemExit, match="The measurement stopped: KeyError: 'no such recipe'"):
        benchmark.in_own_process(
            benchmark.time_dream, recipe="no such recipe", size=8, name="mini_vgg", weights="random"
        )
