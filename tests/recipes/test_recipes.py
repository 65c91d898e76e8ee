"""The recipes: the papers' numbers as they print them, and the learning rate at every turn."""

import dataclasses
import json
import math

import keras
import pytest

from keras_margin import layers, losses, recipes
from keras_margin.data.augmentation import Augmentation
from keras_margin.models import backbones
from keras_margin.recipes import _settings

# ArcFace section 3.1: "the batch size to 512 [...] the learning rate starts from 0.1 and is divided by 10 at 20K, 28K
# iterations. The training process is finished at 32K iterations. [...] weight decay to 5e-4."
CASIA = {"batch_size": 512, "learning_rate": 0.1, "decay_steps": (20_000, 28_000), "steps": 32_000}
# "On MS1MV2, we divide the learning rate at 100K, 160K iterations and finish at 180K iterations."
MS1MV2 = {**CASIA, "decay_steps": (100_000, 160_000), "steps": 180_000}
# QAMFace section 4.1: "the batch size to 256 [...] weight decay to 5e-4 [...] The learning rate starts from 2e-1 and is
# divided by 10 at 80K, 200K, 360K iterations. We finish the training process at 400K iterations."
MS1M = {"batch_size": 256, "learning_rate": 0.2, "decay_steps": (80_000, 200_000, 360_000), "steps": 400_000}
# SphereFace section 4.1: "batch size of 128 [...] The learning rate begins with 0.1 and is divided by 10 at the 16K,
# 24K iterations. The training is finished at 28K iterations."
SPHEREFACE = {"batch_size": 128, "learning_rate": 0.1, "decay_steps": (16_000, 24_000), "steps": 28_000}
# IAM section 5.2: "weight decay parameter and batch size to 5e-4 and 90 [...] The learning rate begins with 0.1 and is
# divided by ten at the 60K and 120K iterations." The end is ours.
IAM = {"batch_size": 90, "learning_rate": 0.1, "decay_steps": (60_000, 120_000), "steps": 150_000}
# ArcFace section 3.2: margins 1.35 and 0.35, CM1 (1, 0.3, 0.2), CM2 (0.9, 0.4, 0.15).
MARGINS = {
    "arcface": ("arcface", {"margin": 0.5, "scale": 64.0}),
    "cosface": ("cosface", {"margin": 0.35, "scale": 64.0}),
    "sphereface": ("sphereface_arccos", {"margin": 1.35, "scale": 64.0}),
    "cm1": ("combined", {"m1": 1.0, "m2": 0.3, "m3": 0.2, "scale": 64.0}),
    "cm2": ("combined", {"m1": 0.9, "m2": 0.4, "m3": 0.15, "scale": 64.0}),
}
# Recipe -> (schedule, network, head, the head's numbers).
PUBLISHED = {
    **{f"{name}_casia_r50": (CASIA, "ir_resnet50", *head) for name, head in MARGINS.items()},
    **{f"{name}_ms1mv2_r100": (MS1MV2, "ir_resnet100", *head) for name, head in MARGINS.items()},
    **{
        f"sphereface_casia_s{layers}": (SPHEREFACE, f"spherenet{layers}", "sphereface", {"margin": 4, "scale": None})
        for layers in (4, 10, 20, 36, 64)
    },
    "qamface_ms1m_r50": (MS1M, "ir_resnet50", "qamface", {"margin": 0.5, "scale": 6.0}),
    # Tables 3 to 5: "we set the parameter s = 30", "s in the experiment is 30 and m = 0.4".
    "iam_normsoftmax_casia_irv1": (IAM, "inception_resnet_v1", "normsoftmax", {"scale": 30.0}),
    "iam_cosface_casia_irv1": (IAM, "inception_resnet_v1", "cosface", {"scale": 30.0, "margin": 0.4}),
    "iam_arcface_casia_irv1": (IAM, "inception_resnet_v1", "arcface", {"scale": 30.0}),
    "iam_sphereface_casia_irv1": (IAM, "inception_resnet_v1", "sphereface", {"margin": 4}),
    "iam_l2softmax_casia_irv1": (IAM, "inception_resnet_v1", "l2softmax", {}),
    "iam_center_casia_irv1": (IAM, "inception_resnet_v1", "softmax", {}),
    "iam_ring_casia_irv1": (IAM, "inception_resnet_v1", "softmax", {}),
}
# The betas at which tables 3 to 5 are best on LFW.
BETAS = {"normsoftmax": 0.8, "cosface": 0.05, "arcface": 0.05, "sphereface": 0.1, "l2softmax": 0.1, "center": 0.1}
BETAS = {f"iam_{name}_casia_irv1": beta for name, beta in {**BETAS, "ring": 0.1}.items()}
# ArcFace's table 2.
ADDED = {
    "normsoftmax": ("normsoftmax", []),
    "normsoftmax_intra": ("normsoftmax", ["IntraLoss"]),
    "normsoftmax_inter": ("normsoftmax", ["InterLoss"]),
    "normsoftmax_intra_inter": ("normsoftmax", ["IntraLoss", "InterLoss"]),
    "normsoftmax_triplet": ("normsoftmax", ["AngularTripletLoss"]),
    "arcface_intra": ("arcface", ["IntraLoss"]),
    "arcface_inter": ("arcface", ["InterLoss"]),
    "arcface_intra_inter": ("arcface", ["IntraLoss", "InterLoss"]),
    "arcface_triplet": ("arcface", ["AngularTripletLoss"]),
}
PUBLISHED |= {f"{name}_casia_r50": (CASIA, "ir_resnet50", head, {"scale": 64.0}) for name, (head, _) in ADDED.items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_has_the_paper_s_numbers(name):
    """Holds the paper's numbers in a published recipe."""
    schedule, backbone, head, numbers = PUBLISHED[name]
    recipe = recipes.get(name)
    assert recipe.name == name
    size = {"spherenet": (112, 96), "inception": (160, 160)}.get(backbone[:9], (112, 112))
    assert (recipe.model.backbone, recipe.model.image_size, recipe.head.name) == (backbone, size, head)
    assert (recipe.optimizer.name, recipe.optimizer.momentum, recipe.optimizer.weight_decay) == ("sgd", 0.9, 5e-4)
    assert recipe.head.iam_beta == BETAS.get(name, 0.0)
    assert recipe.model.prewhiten == name.startswith("iam") and recipe.run.precision == "float32"
    assert recipe.model.flip_features == ("concatenate" if "spherenet" in backbone else "none")
    values = vars(recipe.schedule) | vars(recipe.data) | vars(recipe.run) | vars(recipe.optimizer) | vars(recipe.model)
    assert {key: values[key] for key in schedule} == schedule
    config = layers.get(recipe.head.name, 10, **dict(recipe.head.options)).get_config()
    assert {key: config[key] for key in numbers} == numbers


@pytest.mark.parametrize("name", ADDED)
def test_table_2_adds_its_losses_to_the_head_at_weight_one(name):
    """Adds the losses of table 2 to the head at weight one."""
    recipe = recipes.get(f"{name}_casia_r50")
    terms = [losses.LOSSES[loss](**dict(options)) for loss, options in recipe.head.auxiliary_losses]
    assert [type(term).__name__ for term in terms] == ADDED[name][1]
    assert all(term.weight == 1.0 for term in terms)
    triplets = [term for term in terms if isinstance(term, losses.AngularTripletLoss)]
    assert all(term.margin == 0.35 for term in triplets)
    assert (recipe.data.images_per_identity is not None) == bool(triplets)


def test_every_recipe_is_the_demo_or_published():
    """Requires that a recipe is the demo or published, and says what it reached."""
    assert set(recipes.RECIPES) == {"orl_demo", "arcface_small", "cfp_small", *PUBLISHED}
    for name, recipe in recipes.RECIPES.items():
        assert recipe.name == name
        assert recipe.head.name in layers.HEADS and recipe.model.backbone in backbones.BACKBONES
        assert "Not yet measured" in recipe.source or "docs/" in recipe.source


def rates(recipe, steps):
    schedule = recipe.learning_rate_schedule()
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_rate_is_divided_when_the_paper_says(name):
    """Divides the rate by ten after as many updates as the paper says."""
    recipe = recipes.get(name)
    turns = recipe.schedule.decay_steps
    steps = [0, *(step for turn in turns for step in (turn - 1, turn, turn + 1)), recipe.run.steps - 1]
    wanted = [recipe.schedule.learning_rate / 10 ** sum(turn <= step for turn in turns) for step in steps]
    assert rates(recipe, steps) == pytest.approx(wanted, rel=1e-6)


def test_the_casia_rates_spelt_out():
    """Decays the rates of CASIA at the updates that are written out."""
    steps = [0, 19_999, 20_000, 20_001, 27_999, 28_000, 31_999]
    wanted = [0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001]
    assert rates(recipes.get("arcface_casia_r50"), steps) == pytest.approx(wanted, rel=1e-6)


def recipe_of(**changes):
    return recipes.Recipe("r", "").replace(**{"learning_rate": 0.2, "steps": 110, **changes})


def test_a_warm_up_is_linear_and_a_cosine_ends_at_zero():
    """Raises the rate in a line, and takes it down to zero by a cosine."""
    recipe = recipe_of(warmup_steps=10)
    wanted = [0.2 * step / 10 for step in range(10)]
    wanted += [0.2 * 0.5 * (1 + math.cos(math.pi * (step - 10) / 100)) for step in range(10, 111)]
    assert rates(recipe, range(111)) == pytest.approx(wanted, rel=1e-5, abs=1e-7)
    assert rates(recipe, [10, 60]) == pytest.approx([0.2, 0.1], rel=1e-6)
    assert rates(recipe, [110, 500]) == pytest.approx([0, 0], abs=1e-8)


def test_without_a_warm_up_the_cosine_starts_at_the_top():
    """Starts the cosine at the top without a warm-up."""
    wanted = [0.2 * 0.5 * (1 + math.cos(math.pi * step / 110)) for step in (0, 1, 55, 109, 110)]
    assert rates(recipe_of(), [0, 1, 55, 109, 110]) == pytest.approx(wanted, rel=1e-5, abs=1e-7)


def test_another_number_of_steps_keeps_the_shares_of_the_run():
    """Keeps the shares of the run for another number of steps."""
    shorter = recipes.get("arcface_casia_r50").with_steps(320)
    assert (shorter.run.steps, shorter.schedule.decay_steps) == (320, (200, 280))
    assert rates(shorter, [199, 200, 279, 280]) == pytest.approx([0.1, 0.01, 0.01, 0.001], rel=1e-6)
    longer = recipe_of(warmup_steps=10).with_steps(330)
    assert (longer.run.steps, longer.schedule.warmup_steps) == (330, 30)
    assert rates(longer, [15, 30, 330]) == pytest.approx([0.1, 0.2, 0], rel=1e-6, abs=1e-8)
    assert recipe_of(warmup_steps=100).with_steps(1).schedule.warmup_steps == 0
    demo = recipes.get("orl_demo")
    assert demo.with_steps(demo.run.steps) == demo


def test_a_shorter_run_turns_after_its_warm_up():
    """Of 110 updates the warm-up is 50 and the turns 52 and 80; of 11 that is 5, and 5 again: the next one then."""
    recipe = recipe_of(warmup_steps=50, decay_steps=(52, 80)).with_steps(11)
    assert (recipe.schedule.warmup_steps, recipe.schedule.decay_steps) == (5, (6, 8))
    assert rates(recipe, [4, 5, 6, 8]) == pytest.approx([0.16, 0.2, 0.02, 0.002], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes.RECIPES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_of_a_few_steps_still_has_a_rate_for_each(name, steps):
    """Gives a run of a few steps a rate for each."""
    recipe = recipes.get(name).with_steps(steps)
    assert all(0 <= rate <= recipe.schedule.learning_rate * (1 + 1e-6) for rate in rates(recipe, range(steps)))
    assert max(rates(recipe, range(steps))) > 0


def test_a_warm_up_goes_before_every_decay():
    """Steps are counted from the run's beginning, as papers count them; the others from the warm-up's end."""
    steps = recipe_of(warmup_steps=10, decay_steps=(50, 80))
    assert rates(steps, [0, 5, 10, 49, 50, 79, 80]) == pytest.approx([0, 0.1, 0.2, 0.2, 0.02, 0.02, 0.002], rel=1e-6)
    polynomial = recipe_of(warmup_steps=10, decay="polynomial", decay_power=2.0)
    wanted = [0.2 * (1 - (step - 10) / 100) ** 2 for step in (10, 35, 60, 109)]
    assert rates(polynomial, [10, 35, 60, 109]) == pytest.approx(wanted, rel=1e-4)
    assert rates(polynomial, [0, 1, 9]) == pytest.approx([0, 0.02, 0.18], rel=1e-6)
    assert rates(recipe_of(warmup_steps=10, decay="constant"), [5, 10, 109]) == pytest.approx([0.1, 0.2, 0.2])


def test_a_schedule_is_read_back_from_its_config():
    """Reads a schedule back from its config."""
    schedule = recipe_of(warmup_steps=10, decay="polynomial").learning_rate_schedule()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [float(again(step)) for step in (3, 10, 60)] == [float(schedule(step)) for step in (3, 10, 60)]


def test_settings_change_any_key_at_once():
    """Changes any keys at once."""
    recipe = recipes.with_settings(
        recipes.get("arcface_casia_r50"),
        ["head.margin=0.4", "steps=1_000", "decay=cosine", "decay_steps=", "image_size=112,96", "freeze=stem*,stage1*"]
        + ["augmentation.shift=0.1", "augmentation.flip=false", "images_per_identity=2", "auxiliary_losses=intra,inter"]
        + ["learning_rate=1", "backbone.dropout=0.1", "decay_exclude=beta"],
    )
    assert recipe.head.options == (("margin", 0.4),) and recipe.model.options == (("dropout", 0.1),)
    assert (recipe.run.steps, recipe.schedule.decay, recipe.schedule.decay_steps, recipe.model.image_size) == (
        1000,
        "cosine",
        (),
        (112, 96),
    )
    assert recipe.model.freeze == ("stem*", "stage1*") and recipe.data.augmentation == Augmentation(
        flip=False, shift=0.1
    )
    assert recipe.data.images_per_identity == 2 and recipe.head.auxiliary_losses == (("intra", ()), ("inter", ()))
    assert recipe.schedule.learning_rate == 1.0 and isinstance(recipe.schedule.learning_rate, float)
    assert recipe.optimizer.decay_exclude == ("beta",)
    assert recipes.with_settings(recipe, ["images_per_identity=none", "decay=None"]).data.images_per_identity is None


def test_a_setting_names_a_key_by_its_part_or_alone():
    """schedule.learning_rate is learning_rate, head.name is head, data.augmentation.shift is augmentation.shift."""
    long = ["schedule.learning_rate=0.3", "head.name=cosface", "model.backbone=spherenet4", "optimizer.name=adamw"]
    long += ["data.augmentation.shift=0.1", "run.steps=100", "head.iam_beta=0.1", "data.batch_size=64"]
    short = ["learning_rate=0.3", "head=cosface", "backbone=spherenet4", "optimizer=adamw"]
    short += ["augmentation.shift=0.1", "steps=100", "iam_beta=0.1", "batch_size=64"]
    recipe = recipes.get("orl_demo")
    found = recipes.with_settings(recipe, long)
    assert found == recipes.with_settings(recipe, short)
    assert (found.schedule.learning_rate, found.head.name, found.data.augmentation.shift) == (0.3, "cosface", 0.1)


def test_another_head_drops_the_old_heads_numbers():
    """Drops the numbers of the old head for another one; other steps stretch the schedule."""
    demo = recipes.get("orl_demo")
    assert recipes.with_settings(demo, ["head=cosface"]).head.options == ()
    assert recipes.with_settings(demo, ["head=arcface"]).head.options == demo.head.options
    both = recipes.with_settings(demo, ["head.margin=0.2", "head=cosface"])
    assert (both.head.name, both.head.options) == ("cosface", (("margin", 0.2),))
    assert recipes.with_settings(recipes.get("arcface_casia_r50"), ["steps=320"]).schedule.decay_steps == (200, 280)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("margin=0.4", "no key 'margin' to set. It has: head, .*head.ARGUMENT"),
        ("augmentation.swirl=1", "no key 'augmentation.swirl'.*augmentation.flip"),
        ("steps", "key=value.*Received: 'steps'"),
        ("batch_size=64.5", "batch_size needs a value of kind int. Received: batch_size=64.5"),
        ("learning_rate=high", "learning_rate needs a value of kind float"),
        ("prewhiten=1", "prewhiten needs a value of kind bool"),
        ("batch_size=0", "batch_size >= 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(setting, message):
    """Refuses an invalid setting."""
    with pytest.raises(ValueError, match=message):
        recipes.with_settings(recipes.get("orl_demo"), [setting])


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_goes_through_json_and_back(name, tmp_path):
    """Writes a recipe to JSON and reads it back."""
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"recipe": _settings.to_json(recipes.get(name))}))
    assert recipes.get(str(path)) == recipes.get(name)


def test_a_recipe_of_a_run_of_version_0_1_is_read():
    """Its keys were flat."""
    old = {"name": "old", "source": "", "head": "cosface", "head_options": [["margin", 0.4]], "batch_size": 32}
    old |= {"backbone": "ir_small", "backbone_options": [["dropout", 0.1]], "decay_steps": [5, 7], "steps": 10}
    old |= {"optimizer": "adamw", "augmentation": {"flip": False, "shift": 0.2}, "auxiliary_losses": [["intra", []]]}
    wanted = recipes.Recipe(
        "old",
        "",
        model=recipes.Model("ir_small", {"dropout": 0.1}),
        head=recipes.Head("cosface", {"margin": 0.4}, auxiliary_losses=(("intra", ()),)),
        optimizer=recipes.Optimizer("adamw"),
        schedule=recipes.Schedule(decay_steps=(5, 7)),
        data=recipes.Data(32, augmentation=Augmentation(flip=False, shift=0.2)),
        run=recipes.Run(10),
    )
    assert _settings.from_json(old) == wanted


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"lerning_rate": 0.1}, TypeError, "no 'lerning_rate'. It has: model, head"),
        ({"head": 5}, TypeError, "head is a recipes.Head. Received: head=5"),
        ({"data": recipes.Run()}, TypeError, "data is a recipes.Data. Received: data=Run"),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused(changes, error, message):
    """Refuses a replacement that does not fit."""
    with pytest.raises(error, match=message):
        recipes.get("orl_demo").replace(**changes)


def test_a_file_that_is_no_recipe_is_refused_by_name(tmp_path):
    """Names a file that is not a recipe."""
    for text in ("", "{}", '{"recipe": {"name": "a"}}', '{"recipe": {"name": "a", "source": "", "foo": 1}}', "[]"):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(ValueError, match="recipe.json is not a recipe.json of a run"):
            recipes.get(str(tmp_path / "recipe.json"))
    with pytest.raises(FileNotFoundError):
        recipes.get(str(tmp_path / "nothing.json"))


def test_an_unknown_name_lists_the_names():
    """Lists the names for an unknown one."""
    with pytest.raises(ValueError, match="Unknown recipe 'nobody'. Known recipes: arcface_casia_r50, .*orl_demo") as e:
        recipes.get("nobody")
    assert all(name in str(e.value) for name in recipes.RECIPES)


def test_a_recipe_is_a_frozen_value():
    """Freezes a recipe."""
    recipe = recipes.get("orl_demo")
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.run.steps = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.data.augmentation.shift = 0.5
    assert dataclasses.replace(recipe) == recipe and hash(dataclasses.replace(recipe)) == hash(recipe)
    assert recipe.replace(augmentation=Augmentation()) != recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size >= 1. Received: batch_size=0"),
        ({"steps": 0}, "steps >= 1. Received: steps=0"),
        ({"warmup_steps": 110}, "shorter than its run. Received: warmup_steps=110, steps=110"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
        ({"margin_warmup_steps": 110}, "margin_warmup_steps=110, steps=110"),
        ({"decay": "cosine", "decay_steps": (50,)}, r"decay_steps belong to decay='steps'.*decay_steps=\(50,\)"),
        ({"decay": "steps"}, "decay='steps' needs decay_steps"),
        ({"decay": "linear"}, "one of steps, cosine, polynomial, constant. Received: decay='linear'"),
        ({"decay_steps": (50, 20)}, r"decay_steps rise. Received: decay_steps=\(50, 20\)"),
        ({"warmup_steps": 50, "decay_steps": (40, 80)}, r"after the warm-up.*decay_steps=\(40, 80\), warmup_steps=50"),
        ({"warmup_steps": 50, "decay_steps": (50,)}, "Shorten the warm-up or turn later"),
        ({"decay": "polynomial", "decay_power": 0.0}, "decay_power > 0"),
        ({"precision": "float16"}, "float32, mixed_bfloat16, mixed_float16. Received: precision='float16'"),
        ({"flip_features": "mean"}, "none, sum, concatenate"),
        ({"ema": 1.0}, r"ema in \[0, 1\)"),
        ({"momentum": float("nan")}, r"momentum in \[0, 1\). Received: momentum=nan"),
        ({"clip_norm": -1.0}, "clip_norm in"),
        ({"scale_start": 0.0}, "scale_start > 0"),
        ({"decay_exclude": ("kernel",)}, "alpha, beta, bias, gamma. Received: kernel"),
        ({"images_per_identity": 3}, "images_per_identity=3, batch_size=512"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    """Refuses numbers out of range."""
    with pytest.raises(ValueError, match=message):
        recipe_of(**changes)


def test_no_steps_are_refused():
    """Refuses a run without steps."""
    with pytest.raises(ValueError, match="steps >= 1. Received: steps=0"):
        recipe_of().with_steps(0)
