"""A network of the user's own by the name "package.module:name"."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from keras_margin._typing import Size
from keras_margin._utils import lookup
from keras_margin.models.backbones import _checks


def builder(name: str) -> Callable[..., keras.Model]:
    """A function that builds the network called "package.module:name".

    Args:
        name: "package.module:name". The module is looked for in the current folder too, as `python -m` does. What it
            names is a function that takes input_shape=(height, width, 3) and embedding_size= (and whatever other
            options are given) and returns a Keras model; or a Keras model, of which each call gives a copy with its
            weights.

    Returns:
        Function (image_size=(112, 112), embedding_size=512, **options) to a keras.Model.

    Raises:
        ValueError: Where there is no such module or nothing of that name in it, or the module cannot be imported.
        TypeError: Where the name is neither a function nor a Keras model.
    """
    found = lookup.load_object(name, "backbone")
    if isinstance(found, keras.Model):
        return lambda image_size=None, embedding_size=None, **options: _copied(
            found, name, image_size, embedding_size, options
        )
    if isinstance(found, type) or not callable(found):
        _check_class(found, name)
    return lambda image_size=(112, 112), embedding_size=512, **options: _made(
        found, name, image_size, embedding_size, options
    )


def _check_class(found: Any, name: str) -> None:
    """A class is a factory where its instances are Keras models."""
    if not (isinstance(found, type) and issubclass(found, keras.Model)):
        raise TypeError(
            f"backbone={name!r} must be a function that returns a Keras model, or a Keras model. Received: {found!r}."
        )


def _made(
    factory: Callable[..., Any], name: str, image_size: Size, embedding_size: int, options: dict[str, Any]
) -> keras.Model:
    """The model that the factory returns, checked."""
    given = {"input_shape": (*image_size, 3), "embedding_size": embedding_size, **options}
    try:
        inspect.signature(factory).bind(**given)
    except TypeError as error:
        raise TypeError(
            f"backbone={name!r} is called with {', '.join(f'{key}=' for key in given)}. Its own arguments are "
            f"{inspect.signature(factory)}: {error}."
        ) from error
    except ValueError:
        pass  # Some callables have no signature to look at.
    model = factory(**given)
    if not isinstance(model, keras.Model):
        raise TypeError(f"backbone={name!r} must return a Keras model. Received: {model!r}.")
    _checks.check_embedder(model)
    _check_sizes(model, name, image_size, embedding_size)
    return model


def _copied(
    model: keras.Model, name: str, image_size: Size, embedding_size: int, options: dict[str, Any]
) -> keras.Model:
    """A copy of a model of the user's, with its weights: two runs must not train the same one."""
    if options:
        raise ValueError(
            f"backbone={name!r} is a model, which takes no options. Received: {', '.join(options)}. Name a function "
            "that builds it."
        )
    _checks.check_embedder(model)
    _check_sizes(model, name, image_size, embedding_size)
    try:
        copy = keras.models.clone_model(model)
    except ValueError as error:
        raise ValueError(
            f"backbone={name!r} is a {type(model).__name__}, which Keras cannot copy. Name a function that builds it."
        ) from error
    copy.set_weights(model.get_weights())
    return copy


def _check_sizes(model: keras.Model, name: str, image_size: Size, embedding_size: int) -> None:
    """Raises where a model knows its sizes and they are others than were asked for."""
    shape = getattr(model, "input_shape", None)
    wanted = None if image_size is None else tuple(image_size)
    if wanted and isinstance(shape, tuple) and len(shape) == 4 and None not in shape[1:3] and shape[1:3] != wanted:
        raise ValueError(f"backbone={name!r} takes images of {shape[1:3]}. Received: image_size={wanted}.")
    size = getattr(model, "output_shape", (None,))[-1]
    if None not in (embedding_size, size) and size != embedding_size:
        raise ValueError(f"backbone={name!r} gives {size} numbers an image. Received: embedding_size={embedding_size}.")
