"""keras-margin recipes and keras-margin train: what they print, and that they refuse before they work."""

import logging
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")
from keras_margin import cli, data, recipes, training
from keras_margin.cli import _cpu, _flags, train
from keras_margin.cli import recipes as command

pytestmark = pytest.mark.tensorflow_only


def test_recipes_lists_every_recipe(capsys):
    """Lists every recipe."""
    assert cli.main(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"\b{name}\b", shown) for name in recipes.RECIPES)
    row = next(line for line in shown.splitlines() if line.startswith("arcface_casia_r50\t"))
    assert "512" in row and "32,000" in row and "/10 at 20,000, 28,000" in row


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_is_shown_as_set_takes_it(name):
    """Every line that --set can change gives back the same recipe."""
    recipe = recipes.get(name)
    settings = [re.sub(r" *= *", "=", line, count=1) for line in command.lines(recipe)]
    settings = [each for each in settings if not each.startswith(("name=", "source=", "run.steps="))]
    blank = recipes.Recipe(recipe.name, recipe.source, run=recipes.Run(recipe.run.steps))
    assert recipes.with_settings(blank, settings) == recipe


def test_one_recipe_with_settings(capsys):
    """Prints one recipe with changed settings."""
    assert cli.main(["recipes", "orl_demo", "--set", "head.margin=0.4", "--set", "steps=100"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^head.margin += 0.4$", shown, re.M) and re.search(r"^schedule.warmup_steps += 10$", shown, re.M)
    assert cli.main(["recipes", "--set", "steps=100"]) == 1
    assert "--set changes one recipe. Name it" in capsys.readouterr().err


class Set:
    """What a recipe is chosen by."""

    def __init__(self, num_classes, num_images):
        self.num_classes, self.num_images = num_classes, num_images


@pytest.mark.parametrize(
    ("people", "images", "name"),
    [(12, 120, "arcface_small"), (999, 10**6, "arcface_small"), (1_000, 20_000, "arcface_casia_r50")],
)
def test_a_small_set_gets_the_small_recipe(people, images, name):
    """Recommends the small recipe for a small set."""
    assert train.chosen_recipe(Given(data_dir="x"), Set(people, images)) == recipes.get(name)
    named = train.chosen_recipe(Given(data_dir="x", recipe="cosface_casia_r50"), Set(people, images))
    assert named == recipes.get("cosface_casia_r50")


def test_a_large_recipe_for_a_small_set_is_answered_by_a_hint():
    """Answers a large recipe for a small set with a hint."""
    large, small = recipes.get("cosface_casia_r50"), recipes.get("arcface_small")
    hint = train.suggestion(large, Set(12, 120))
    assert "batch 512, ir_resnet50" in hint and "12 people and 120 images. --recipe=arcface_small" in hint
    assert train.suggestion(small, Set(12, 120)) == train.suggestion(large, Set(5_000, 10**6)) == ""


def test_a_backbone_of_one_s_own_is_passed_through():
    """Passes a backbone of the user's own through."""
    recipe = train.chosen_recipe(Given(backbone="package.module:network"))
    assert recipe.model.backbone == "package.module:network" and recipe.model.options == ()


def test_a_backbone_whose_module_is_missing_is_refused():
    """check_recipe imports package.module:name, so that a mistake in it ends the run before anything is written."""
    with pytest.raises(ValueError, match="package.module"):
        training.check_recipe(train.chosen_recipe(Given(backbone="package.module:network")), 4)


def pictures(root, sizes):
    """Two people with pictures of these sizes."""
    for number, (width, height) in enumerate(sizes):
        path = root / f"p{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((height, width, 3), number, np.uint8)).save(path)
    return data.open(root, image_size=(112, 112))


def test_a_folder_of_many_sizes_is_called_unaligned(tmp_path):
    """Warns that a folder of many image sizes looks unaligned."""
    assert train.unaligned(pictures(tmp_path / "aligned", [(112, 112)] * 6)) == ""
    sentence = train.unaligned(pictures(tmp_path / "photographs", [(40 + 8 * number, 60) for number in range(6)]))
    assert sentence.startswith("The images do not look aligned: 6 sizes among 6 of them, such as 40x60 and 80x60")
    assert "stretched to 112x112" in sentence and "keras-margin align" in sentence


class Given:
    """Flags as a command line without any gives them, and some changes."""

    def __init__(self, **changes):
        values = {flag.name: list(flag.default) if flag.kind is list else flag.default for flag in _flags.TRAIN}
        vars(self).update({**values, **changes})


def test_flags_change_the_recipe():
    """Changes the recipe by flags."""
    assert train.chosen_recipe(Given()) == recipes.get("orl_demo")
    assert train.chosen_recipe(Given(data_dir="x")) == recipes.get("arcface_casia_r50")
    recipe = train.chosen_recipe(Given(steps=50, head="cosface", iam_beta=0.1, set=["head.margin=0.2", "ema=0.9"]))
    assert (recipe.run.steps, recipe.schedule.warmup_steps, recipe.head.name, recipe.head.iam_beta) == (
        50,
        5,
        "cosface",
        0.1,
    )
    assert recipe.head.options == (("margin", 0.2),) and recipe.optimizer.ema == 0.9
    assert train.chosen_recipe(Given(mixed_precision=True)).run.precision.startswith("mixed_")
    with pytest.raises(ValueError, match="--mixed_precision and --set precision=... contradict"):
        train.chosen_recipe(Given(mixed_precision=True, set=["precision=float32"]))
    with pytest.raises(ValueError, match="--mixed_precision and --set precision=... contradict"):
        train.chosen_recipe(Given(mixed_precision=True, set=["run.precision=float32"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recipe=arcface"], "Unknown recipe 'arcface'"),
        (["--set", "margin=0.4"], "no key 'margin' to set"),
        (["--set", "head.margn=0.4"], "margn"),
        (["--set", "freeze=stem"], "matches no layer"),
        (["--verify=/nowhere.bin"], "nowhere.bin"),
        (["--strategy=ring"], "one of mirrored, multiworker"),
        (["--batch_size=512"], "One batch takes 512 images"),
        (["--set", "weights=/nowhere"], "there is no /nowhere"),
    ],
)
def test_train_refuses_before_it_works(flags, message, tmp_path, capsys):
    """Refuses impossible arguments before the training."""
    assert cli.main(["train", f"--out={tmp_path / 'run'}", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("keras-margin train: ") and message in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "words", "wanted"),
    [
        (None, ["--backbone=ir_resnet50"], "1"),
        (None, [], "1"),
        (None, ["steps=3", "backbone=mobilefacenet_x2"], None),
        ("0", ["--backbone=ir_resnet50"], "0"),
    ],
)
def test_onednn_is_enabled_where_faster_and_unset(given, words, wanted, monkeypatch):
    """Enables oneDNN where it is faster and the user has not decided."""
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given or "")  # What is there now comes back afterwards.
    if given is None:
        del os.environ["TF_ENABLE_ONEDNN_OPTS"]
    _cpu.choose_onednn(words)
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == given  # TensorFlow is there already.
    with monkeypatch.context() as before:
        before.delitem(sys.modules, "tensorflow")
        _cpu.choose_onednn(words)
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == wanted


def test_the_command_leaves_no_handler_behind(tmp_path, capsys):
    """A program that calls it more than once does not get each warning as often, or on a stream that is closed."""
    logger = logging.getLogger("keras_margin")
    before = list(logger.handlers), logger.propagate
    assert cli.main(["train", "--recipe=nobody", f"--out={tmp_path / 'run'}"]) == 1
    assert (list(logger.handlers), logger.propagate) == before
