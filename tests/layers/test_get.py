"""Heads, margins and losses are got, serialized and deserialized as Keras's own layers and losses are."""

import inspect

import keras
import pytest

import keras_margin as km

ONE_OF_EACH = {
    "layers": km.layers.CosFaceHead(10, margin=0.4),
    "losses": km.losses.IAM(0.2),
    "margins": km.margins.CosFace(0.4),
}


@pytest.mark.parametrize("package", ONE_OF_EACH)
def test_get_returns_an_object_as_it_is(package):
    """`get` takes what it returns, as keras.losses.get does."""
    given = ONE_OF_EACH[package]
    assert getattr(km, package).get(given) is given


@pytest.mark.parametrize("package", ONE_OF_EACH)
def test_get_builds_from_a_config(package):
    """`get` takes what `serialize` returns."""
    module, given = getattr(km, package), ONE_OF_EACH[package]
    again = module.get(module.serialize(given))
    assert type(again) is type(given) and again.get_config() == given.get_config()


@pytest.mark.parametrize("package", ONE_OF_EACH)
def test_deserialize_reverses_serialize(package):
    """An object from the config has the same config."""
    module, given = getattr(km, package), ONE_OF_EACH[package]
    assert module.deserialize(module.serialize(given)).get_config() == given.get_config()


@pytest.mark.once
@pytest.mark.parametrize("package", ONE_OF_EACH)
def test_arguments_are_named_as_keras_names_them(package):
    """`custom_objects` and `identifier` are Keras's names."""
    module = getattr(km, package)
    assert list(inspect.signature(module.deserialize).parameters) == list(
        inspect.signature(keras.layers.deserialize).parameters
    )
    assert next(iter(inspect.signature(module.get).parameters)) == "identifier"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("cosface",), ValueError, r"needs num_classes. Received: get\('cosface'\)"),
        ((ONE_OF_EACH["layers"], 10), ValueError, "have their own arguments. Received: .*10"),
        ((km.layers.serialize(ONE_OF_EACH["layers"]), 10), ValueError, "have their own arguments"),
        ((0.5, 10), TypeError, "the name of one, or its config. Received: 0.5 of type float"),
    ],
)
def test_what_is_not_a_head_is_refused(arguments, error, message):
    """A name without num_classes, num_classes next to a head, and anything else raise an error that says so."""
    with pytest.raises(error, match=message):
        km.layers.get(*arguments)
