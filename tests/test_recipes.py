"""The recipes: the papers' numbers as they print them, and the learning rate at every turn."""

import dataclasses
import math

import pytest

from keras_margin import backbones, heads, recipes
from keras_margin.data.augmentation import Augmentation

# ArcFace section 3.1: "the batch size to 512 [...] the learning rate starts from 0.1 and is divided by 10 at 20K, 28K
# iterations. The training process is finished at 32K iterations. [...] weight decay to 5e-4."
CASIA = {"batch_size": 512, "learning_rate": 0.1, "decay_steps": (20_000, 28_000), "steps": 32_000}
# "On MS1MV2, we divide the learning rate at 100K, 160K iterations and finish at 180K iterations."
MS1MV2 = {**CASIA, "decay_steps": (100_000, 160_000), "steps": 180_000}
# QAMFace section 4.1: "the batch size to 256 [...] weight decay to 5e-4 [...] The learning rate starts from 2e-1 and is
# divided by 10 at 80K, 200K, 360K iterations. We finish the training process at 400K iterations."
MS1M = {"batch_size": 256, "learning_rate": 0.2, "decay_steps": (80_000, 200_000, 360_000), "steps": 400_000}
# Recipe -> (schedule, network, head, the head's numbers).
PUBLISHED = {
    "arcface_casia_r50": (CASIA, "ir_resnet50", "arcface", {"margin": 0.5, "scale": 64.0}),
    "cosface_casia_r50": (CASIA, "ir_resnet50", "cosface", {"margin": 0.35, "scale": 64.0}),
    "sphereface_casia_r50": (CASIA, "ir_resnet50", "sphereface_arccos", {"margin": 1.35, "scale": 64.0}),
    "cm1_casia_r50": (CASIA, "ir_resnet50", "combined", {"m1": 1.0, "m2": 0.3, "m3": 0.2, "scale": 64.0}),
    "cm2_casia_r50": (CASIA, "ir_resnet50", "combined", {"m1": 0.9, "m2": 0.4, "m3": 0.15, "scale": 64.0}),
    "arcface_ms1mv2_r100": (MS1MV2, "ir_resnet100", "arcface", {"margin": 0.5, "scale": 64.0}),
    "qamface_ms1m_r50": (MS1M, "ir_resnet50", "qamface", {"margin": 0.5, "scale": 6.0}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_has_the_paper_s_numbers(name):
    schedule, backbone, head, numbers = PUBLISHED[name]
    recipe = recipes.get(name)
    assert recipe.name == name
    assert (recipe.backbone, recipe.image_size, recipe.head) == (backbone, (112, 112), head)
    assert (recipe.optimizer, recipe.weight_decay, recipe.iam_beta) == ("sgd", 5e-4, 0.0)
    assert {key: getattr(recipe, key) for key in schedule} == schedule
    config = heads.get(recipe.head)(10, **dict(recipe.head_options)).get_config()
    assert {key: config[key] for key in numbers} == numbers


def test_every_recipe_is_the_demo_or_published_and_says_what_it_reached():
    assert set(recipes.RECIPES) == {"orl_demo", *PUBLISHED}
    for name, recipe in recipes.RECIPES.items():
        assert recipe.name == name
        assert recipe.head in heads.HEADS and recipe.backbone in backbones.BACKBONES
        assert "Not yet measured" in recipe.source or "README" in recipe.source


def rates(recipe, steps):
    schedule = recipe.schedule()
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_rate_is_divided_by_ten_after_as_many_updates_as_the_paper_says(name):
    recipe = recipes.get(name)
    turns = recipe.decay_steps
    steps = [0, *(step for turn in turns for step in (turn - 1, turn, turn + 1)), recipe.steps - 1]
    wanted = [recipe.learning_rate / 10 ** sum(turn <= step for turn in turns) for step in steps]
    assert rates(recipe, steps) == pytest.approx(wanted, rel=1e-6)


def test_the_casia_rates_spelt_out():
    steps = [0, 19_999, 20_000, 20_001, 27_999, 28_000, 31_999]
    wanted = [0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001]
    assert rates(recipes.get("arcface_casia_r50"), steps) == pytest.approx(wanted, rel=1e-6)


def recipe_of(**changes):
    return recipes.Recipe(**{"name": "r", "source": "", "learning_rate": 0.2, "steps": 110, **changes})


def test_a_warm_up_rises_in_a_line_and_a_cosine_takes_it_down_to_zero():
    recipe = recipe_of(warmup_steps=10)
    wanted = [0.2 * step / 10 for step in range(10)]
    wanted += [0.2 * 0.5 * (1 + math.cos(math.pi * (step - 10) / 100)) for step in range(10, 111)]
    assert rates(recipe, range(111)) == pytest.approx(wanted, rel=1e-5, abs=1e-7)
    assert rates(recipe, [10, 60]) == pytest.approx([0.2, 0.1], rel=1e-6)
    assert rates(recipe, [110, 500]) == pytest.approx([0, 0], abs=1e-8)


def test_without_a_warm_up_the_cosine_starts_at_the_top():
    wanted = [0.2 * 0.5 * (1 + math.cos(math.pi * step / 110)) for step in (0, 1, 55, 109, 110)]
    assert rates(recipe_of(), [0, 1, 55, 109, 110]) == pytest.approx(wanted, rel=1e-5, abs=1e-7)


def test_another_number_of_steps_keeps_the_shares_of_the_run():
    shorter = recipes.get("arcface_casia_r50").with_steps(320)
    assert (shorter.steps, shorter.decay_steps) == (320, (200, 280))
    assert rates(shorter, [199, 200, 279, 280]) == pytest.approx([0.1, 0.01, 0.01, 0.001], rel=1e-6)
    longer = recipe_of(warmup_steps=10).with_steps(330)
    assert (longer.steps, longer.warmup_steps) == (330, 30)
    assert rates(longer, [15, 30, 330]) == pytest.approx([0.1, 0.2, 0], rel=1e-6, abs=1e-8)
    assert recipe_of(warmup_steps=100).with_steps(1).warmup_steps == 0
    demo = recipes.get("orl_demo")
    assert demo.with_steps(demo.steps) == demo


@pytest.mark.parametrize("name", recipes.RECIPES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_of_a_few_steps_still_has_a_rate_for_each(name, steps):
    recipe = recipes.get(name).with_steps(steps)
    assert all(0 <= rate <= recipe.learning_rate * (1 + 1e-6) for rate in rates(recipe, range(steps)))
    assert max(rates(recipe, range(steps))) > 0


def test_an_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match="Unknown recipe 'arcface'. Known recipes: arcface_casia_r50, .*orl_demo") as e:
        recipes.get("arcface")
    assert all(name in str(e.value) for name in recipes.RECIPES)


def test_a_recipe_is_a_frozen_value():
    recipe = recipes.get("orl_demo")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.steps = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.augmentation.shift = 0.5
    assert dataclasses.replace(recipe) == recipe and hash(dataclasses.replace(recipe)) == hash(recipe)
    assert dataclasses.replace(recipe, augmentation=Augmentation()) != recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size >= 1. Received: batch_size=0"),
        ({"steps": 0}, "steps >= 1. Received: steps=0"),
        ({"warmup_steps": 110}, "shorter than its run. Received: warmup_steps=110, steps=110"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
        ({"warmup_steps": 5, "decay_steps": (50,)}, r"before a cosine.*warmup_steps=5, decay_steps=\(50,\)"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(**changes)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps >= 1. Received: steps=0"):
        recipe_of().with_steps(0)
