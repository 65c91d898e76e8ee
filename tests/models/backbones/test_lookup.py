"""Networks of the user's own by the name "package.module:name"."""

import sys

import keras
import numpy as np
import pytest

from keras_margin import cli, recipes
from keras_margin.models import backbones

pytestmark = pytest.mark.once

SOURCE = """
import keras

def small(input_shape, embedding_size, width=2):
    images = keras.Input(input_shape)
    x = keras.layers.Conv2D(width, 3, data_format="channels_last")(images)
    x = keras.layers.Flatten(data_format="channels_last")(x)
    return keras.Model(images, keras.layers.Dense(embedding_size)(x), name="small")

def no_sizes():
    return small((8, 8, 3), 4)

def returns_none(input_shape, embedding_size):
    return None

def maps(input_shape, embedding_size):
    images = keras.Input(input_shape)
    return keras.Model(images, keras.layers.ReLU()(images), name="maps")

ready = small((8, 8, 3), 4)
NUMBER = 3
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path, monkeypatch):
    """A module `own_networks` in the current folder, which is not on the path."""
    (tmp_path / "own_networks.py").write_text(SOURCE)
    (tmp_path / "own_broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("own_networks", "own_broken"):
        sys.modules.pop(name, None)


def test_a_function_of_your_own_is_called_with_the_sizes():
    """build("module:function") calls it with input_shape= and embedding_size=, and with the options given."""
    before = list(sys.path)
    model = backbones.build("own_networks:small", image_size=(10, 12), embedding_size=5, width=3)
    assert (model.input_shape, model.output_shape) == ((None, 10, 12, 3), (None, 5))
    assert model.layers[1].filters == 3
    assert backbones.build("own_networks:small").output_shape == (None, 512)
    assert sys.path == before


def test_a_model_of_your_own_is_copied_with_its_weights():
    """build("module:model") gives a copy with the model's weights: training it leaves the module's own as it was."""
    model = backbones.build("own_networks:ready", image_size=(8, 8))
    ready = sys.modules["own_networks"].ready
    for ours, theirs in zip(model.get_weights(), ready.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    assert not np.array_equal(model.get_weights()[0], ready.get_weights()[0])
    assert isinstance(model, keras.Model)


def test_the_command_counts_a_network_of_your_own(capsys):
    """`keras-margin backbones module:function` counts it: 3 * 3 * 3 * 2 + 2 and 110 * 110 * 2 * 4 + 4 numbers."""
    assert cli.main(["backbones", "own_networks:small", "--embedding_size=4"]) == 0
    assert f"{(56 + 110 * 110 * 2 * 4 + 4) / 1e6:.2f}" in capsys.readouterr().out
    assert cli.main(["backbones", "own_networks:missing"]) == 1
    assert "own_networks has no 'missing'" in capsys.readouterr().err


@pytest.mark.tensorflow_only
def test_a_recipe_takes_a_backbone_of_your_own():
    """Training builds the network that a recipe's "module:function" names, at the recipe's image size."""
    training = pytest.importorskip("keras_margin.training")
    building = pytest.importorskip("keras_margin.training._building")
    settings = ["backbone=own_networks:small", "image_size=9,9", "backbone.width=3"]
    recipe = recipes.with_settings(recipes.get("orl_demo"), settings)
    training.check_recipe(recipe, 3)
    assert building.build_model(recipe, 3).embedder.layers[1].filters == 3
    with pytest.raises(ValueError, match="there is no module 'not_there'"):
        training.check_recipe(recipes.with_settings(recipe, ["backbone=not_there:small"]), 3)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (
            "own_networks",
            {},
            ValueError,
            "Unknown backbone 'own_networks'.* or 'package.module:name' for one of your own",
        ),
        ("own_networks:", {}, ValueError, "is named 'package.module:name'. Received: 'own_networks:'"),
        ("not_there:small", {}, ValueError, "there is no module 'not_there' among the installed packages, nor in "),
        ("own_broken:small", {}, ValueError, "importing own_broken failed with ZeroDivisionError: division by zero"),
        (
            "own_networks:smal",
            {},
            ValueError,
            "own_networks has no 'smal'. It has: NUMBER, keras, maps, no_sizes, ready",
        ),
        (
            "own_networks:NUMBER",
            {},
            TypeError,
            "must be a function that returns a Keras model, or a Keras model. Received: 3",
        ),
        (
            "own_networks:no_sizes",
            {},
            TypeError,
            r"called with input_shape=, embedding_size=. Its own arguments are \(\)",
        ),
        ("own_networks:small", {"depth": 3}, TypeError, "called with input_shape=, embedding_size=, depth=. Its own"),
        ("own_networks:returns_none", {}, TypeError, "must return a Keras model. Received: None"),
        ("own_networks:maps", {}, ValueError, "maps, which ends in a feature map .* Pass tail='gdc'"),
        (
            "own_networks:ready",
            {"image_size": (9, 8)},
            ValueError,
            r"takes images of \(8, 8\). Received: image_size=\(9, 8",
        ),
        (
            "own_networks:ready",
            {"embedding_size": 9},
            ValueError,
            "gives 4 numbers an image. Received: embedding_size=9",
        ),
        ("own_networks:ready", {"dropout": 0.1}, ValueError, "is a model, which takes no options. Received: dropout"),
    ],
)
def test_a_name_of_no_network_says_what_is_wrong(name, options, error, message):
    """A wrong name, module, function or size is an error that names it."""
    with pytest.raises(error, match=message):
        backbones.build(name, **options)
