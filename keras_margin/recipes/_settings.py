"""key=value on a recipe, and a recipe as JSON."""

import ast
import dataclasses
import json
import pathlib

from keras_margin._utils.messages import did_you_mean
from keras_margin.data.augmentation import Augmentation
from keras_margin.recipes.base import Recipe

# What is set inside: --set head.margin=0.4
_INSIDE = {"head": "head_options", "backbone": "backbone_options"}
_FIELDS = {field.name: field for field in dataclasses.fields(Recipe)}
_CHANGES = [field.name for field in dataclasses.fields(Augmentation)]
_SETTABLE = [name for name in _FIELDS if name not in ("name", "source", "augmentation", *_INSIDE.values())]


def with_settings(recipe, settings):
    """The recipe with some keys changed, each given as text.

    A key is a field of Recipe; `head.margin`, `backbone.dropout`: an argument of head or backbone;
    `augmentation.shift`. Values are read as Python writes them, without quotes around words: 1e-3, 20_000, true,
    none, 112,96 and stem*,stage1*. Another head or backbone drops the recipe's options for the old one;
    `steps` is set as `Recipe.with_steps` does, before the others.

    Args:
        recipe: Recipe.
        settings: Iterable of "key=value".

    Returns:
        Recipe.

    Raises:
        ValueError: On an unknown key, a value of another kind, or what Recipe refuses.

    Example:
        >>> with_settings(get("arcface_casia_r50"), ["head.margin=0.4", "steps=1_000"]).decay_steps
        (625, 875)
    """
    pairs = [_split(setting) for setting in settings]
    for key, text in pairs:
        if key == "steps":
            recipe = recipe.with_steps(_typed(key, text, 0))
    # All at once: one alone may contradict what another is about to change.
    changes = {}
    for key, text in pairs:
        if key != "steps":
            _note(changes, recipe, key, text)
    return dataclasses.replace(recipe, **changes)


def _split(setting):
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"A setting is key=value, such as learning_rate=0.05. Received: {setting!r}.")
    return key.strip(), text.strip()


def _note(changes, recipe, key, text):
    """Notes in `changes` what key=text changes of the recipe."""
    outer, _, inner = key.partition(".")
    if inner and outer in _INSIDE:
        present = changes.get(_INSIDE[outer], getattr(recipe, _INSIDE[outer]))
        changes[_INSIDE[outer]] = tuple({**dict(present), inner: _value(text)}.items())
        return
    if outer == "augmentation" and inner in _CHANGES:
        present = changes.get(outer, recipe.augmentation)
        value = _typed(key, text, getattr(present, inner))
        changes[outer] = dataclasses.replace(present, **{inner: value})
        return
    if key not in _SETTABLE:
        known = [*_SETTABLE, "head.ARGUMENT", "backbone.ARGUMENT", *(f"augmentation.{name}" for name in _CHANGES)]
        raise ValueError(f"A recipe has no key {key!r} to set.{did_you_mean(key, known)} It has: {', '.join(known)}.")
    changes[key] = _typed(key, text, getattr(recipe, key))
    if key in _INSIDE and changes[key] != getattr(recipe, key):
        # An argument of the new one, set before its name, stays.
        given = dict(changes.get(_INSIDE[key], ()))
        kept = {name: value for name, value in given.items() if (name, value) not in getattr(recipe, _INSIDE[key])}
        changes[_INSIDE[key]] = tuple(kept.items())


def _value(text):
    """A number, boolean, None or tuple as Python writes them; words as they are."""
    word = {"true": True, "false": False, "none": None}
    if text.lower() in word:
        return word[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return tuple(_value(part.strip()) for part in text.split(",") if part.strip()) if "," in text else text


def _typed(key, text, present):
    """`text` as a value of the kind that the key holds."""
    value = _value(text)
    kind = _FIELDS[key].type if key in _FIELDS else type(present)
    kind = kind.__name__ if isinstance(kind, type) else str(kind)
    if kind in ("float", "int") and isinstance(value, bool):
        value = text
    if kind == "float" and isinstance(value, int):
        value = float(value)
    if kind == "tuple" and key == "auxiliary_losses":
        # A name alone, or names: their defaults.
        names = (value,) if isinstance(value, str) and value else value or ()
        value = tuple((each, ()) if isinstance(each, str) else each for each in names)
    elif kind == "tuple" and not isinstance(value, tuple):
        value = () if value in (None, "") else tuple(value) if isinstance(value, list) else (value,)
    if kind == "str":
        value = text
    accepted = {"float": float, "int": int, "tuple": tuple, "str": str, "bool": bool}
    optional = kind.endswith("| None")
    plain = kind.removesuffix(" | None")
    if plain == "str":
        value = None if optional and text.lower() == "none" else text
    if not isinstance(value, accepted[plain]) and not (optional and value is None):
        raise ValueError(f"{key} needs a value of kind {plain}. Received: {key}={text}.")
    return value


def to_json(recipe):
    """The recipe as a dict that JSON can hold; `from_json` reads it."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def from_json(values):
    """The recipe that `to_json` wrote.

    Raises:
        ValueError: On keys that a recipe does not have, or lacks.
    """
    unknown = set(values) - set(_FIELDS)
    if unknown or not {"name", "source"} <= set(values):
        raise ValueError(
            f"A recipe's JSON has the keys {', '.join(_FIELDS)}. Received: {', '.join(map(str, values)) or 'none'}."
        )
    values = {name: _tuples(value) for name, value in values.items()}
    changes = dict(values.pop("augmentation", {}))
    return Recipe(**values, augmentation=Augmentation(**changes))


def read(path):
    """The recipe in a file `recipe.json`, as every run's folder has one.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no recipe.
    """
    path = pathlib.Path(path)
    try:
        return from_json(json.loads(path.read_text())["recipe"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no recipe.json of a run: {error}") from error


def _tuples(value):
    """JSON's lists as the tuples they were."""
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
