"""The callbacks that a recipe names."""

import inspect

import keras

from keras_margin._utils import lookup


def check(recipe):
    """Raises ValueError where a name in the recipe's `callbacks` leads nowhere, TypeError where it is no function."""
    for name in recipe.run.callbacks:
        _factory(name)


def named_by(recipe, seed):
    """Returns the callbacks that the recipe names, new ones.

    Each name is of a function, or a class, that returns a Keras callback or a list of them. It is called with those of
    the arguments `recipe` and `seed` that it has.

    Raises:
        ValueError: Where a name leads nowhere.
        TypeError: Where it is no function, needs other arguments, or returns something else.
    """
    found = []
    for name in recipe.run.callbacks:
        factory = _factory(name)
        given = {key: value for key, value in (("recipe", recipe), ("seed", seed)) if key in _arguments(factory, name)}
        made = factory(**given)
        made = list(made) if isinstance(made, (list, tuple)) else [made]
        for each in made:
            if not isinstance(each, keras.callbacks.Callback):
                raise TypeError(
                    f"callbacks={name!r} must return a Keras callback, or a list of them. Received: {each!r}."
                )
        found += made
    return found


def _factory(name):
    factory = lookup.load_object(name, "callbacks")
    if not callable(factory):
        raise TypeError(f"callbacks={name!r} must be a function that returns a Keras callback. Received: {factory!r}.")
    _arguments(factory, name)
    return factory


def _arguments(factory, name):
    """Names of the factory's arguments, all others than `recipe` and `seed` of which have defaults."""
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # Some callables have no signature to look at.
        return ()
    for parameter in parameters.values():
        has_none = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if has_none and parameter.name not in ("recipe", "seed"):
            raise TypeError(
                f"callbacks={name!r} is called with recipe= and seed=, where it has these. Received: a function that "
                f"needs {parameter.name!r}. Name a function of your own that calls it."
            )
    return parameters
