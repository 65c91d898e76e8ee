"""key=value on a recipe, and a recipe as JSON."""

import ast
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from keras_margin._utils.messages import did_you_mean
from keras_margin.data.augmentation import Augmentation
from keras_margin.recipes.base import PARTS, SHORT_NAMES, Recipe

# Whose arguments are set inside: --set head.margin=0.4, --set backbone.dropout=0.1
_OPTIONS = {"head": "head", "backbone": "model"}
_KINDS = {(part, field.name): field.type for part, kind in PARTS.items() for field in dataclasses.fields(kind)}
_CHANGES = [field.name for field in dataclasses.fields(Augmentation)]
_NOT_TEXT = ("options", "augmentation")
_SETTABLE = [f"{part}.{field}" for part, field in _KINDS if field not in _NOT_TEXT]
_SHORT = {name: place for name, place in SHORT_NAMES.items() if place[1] not in _NOT_TEXT}


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Returns the recipe with some keys changed, each given as text.

    A key is a part and a field, `schedule.learning_rate`, or the field alone where no other has its name,
    `learning_rate`; `head`, `optimizer` and `backbone`, the name of another one; `head.margin`, `backbone.dropout`: an
    argument of head or backbone; `augmentation.shift`. Values are read as Python writes them, without quotes around
    words: 1e-3, 20_000, true, none, 112,96 and stem*,stage1*. Another head or backbone drops the recipe's options for
    the old one; `steps` is set as `Recipe.with_steps` does, before the others.

    Args:
        recipe: Recipe.
        settings: Iterable of "key=value".

    Raises:
        ValueError: On an unknown key, a value of another kind, or what Recipe refuses.

    Example:
        >>> with_settings(get("arcface_casia_r50"), ["head.margin=0.4", "steps=1_000"]).schedule.decay_steps
        (625, 875)
    """
    found = [(*_place(key), key, text) for key, text in map(_split, settings)]
    for part, field, key, text in found:
        if (part, field) == ("run", "steps"):
            recipe = recipe.with_steps(_typed(key, text, int))
    # All at once: one alone may contradict what another is about to change.
    parts: dict[str, dict] = {}
    for part, field, key, text in found:
        if (part, field) != ("run", "steps"):
            _note(parts.setdefault(part, {}), part, getattr(recipe, part), field, key, text)
    return recipe.replace(**{part: dataclasses.replace(getattr(recipe, part), **each) for part, each in parts.items()})


def _split(setting: str) -> tuple[str, str]:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"A setting is key=value, such as learning_rate=0.05. Received: {setting!r}.")
    return key.strip(), text.strip()


def _place(key: str) -> tuple[str, str]:
    """(part, field) that a key names; a field of options and of the augmentation as "options.dropout"."""
    outer, _, inner = key.removeprefix("data." if key.startswith("data.augmentation.") else "").partition(".")
    if not inner and key in _SHORT:
        return _SHORT[key]
    if (outer, inner) in _KINDS and inner not in _NOT_TEXT:
        return outer, inner
    if outer == "augmentation" and inner in _CHANGES:
        return "data", f"augmentation.{inner}"
    if inner and outer in _OPTIONS:
        return _OPTIONS[outer], f"options.{inner.removeprefix('options.')}"
    known = [*_SHORT, *_SETTABLE, "head.ARGUMENT", "backbone.ARGUMENT", *(f"augmentation.{name}" for name in _CHANGES)]
    raise ValueError(f"A recipe has no key {key!r} to set.{did_you_mean(key, known)} It has: {', '.join(known)}.")


def _note(changes: dict[str, Any], part: str, values: Any, field: str, key: str, text: str) -> None:
    """Notes in `changes` what key=text changes of the values of a part."""
    field, _, inner = field.partition(".")
    present = changes.get(field, getattr(values, field))
    if field == "options":
        changes[field] = tuple({**dict(present), inner: _value(text)}.items())
    elif field == "augmentation":
        changes[field] = dataclasses.replace(present, **{inner: _typed(key, text, type(getattr(present, inner)))})
    else:
        changes[field] = _typed(key, text, _KINDS[part, field], field)
        if (part, field) in (("head", "name"), ("model", "backbone")) and changes[field] != present:
            # An argument of the new one, set before its name, stays.
            given = dict(changes.get("options", ()))
            changes["options"] = tuple(each for each in given.items() if each not in values.options)


def _value(text: str) -> Any:
    """A number, boolean, None or tuple as Python writes them; words as they are."""
    word = {"true": True, "false": False, "none": None}
    if text.lower() in word:
        return word[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return tuple(_value(part.strip()) for part in text.split(",") if part.strip()) if "," in text else text


def _typed(key: str, text: str, kind: type | str, field: str = "") -> Any:
    """`text` as a value of a kind, a type or such a union as str | None."""
    kind = kind.__name__ if isinstance(kind, type) else str(kind)
    optional, plain = kind.endswith("| None"), kind.removesuffix(" | None")
    value = _value(text)
    if plain in ("float", "int") and isinstance(value, bool):
        value = text
    if plain == "float" and isinstance(value, int):
        value = float(value)
    if field == "auxiliary_losses":
        # A name alone, or names: their defaults.
        names = (value,) if isinstance(value, str) and value else value or ()
        value = tuple((each, ()) if isinstance(each, str) else each for each in names)
    elif plain == "tuple" and not isinstance(value, tuple):
        value = () if value in (None, "") else tuple(value) if isinstance(value, list) else (value,)
    if plain == "str":
        value = None if optional and text.lower() == "none" else text
    accepted = {"float": float, "int": int, "tuple": tuple, "str": str, "bool": bool}
    if not isinstance(value, accepted[plain]) and not (optional and value is None):
        raise ValueError(f"{key} needs a value of kind {plain}. Received: {key}={text}.")
    return value


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Returns the recipe as a dict that JSON can hold; `from_json` reads it.

    Example:
        >>> to_json(get("arcface_casia_r50"))["run"]
        {'steps': 32000, 'precision': 'float32', 'callbacks': []}
    """
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def from_json(values: Mapping[str, Any]) -> Recipe:
    """Returns the recipe that `to_json` wrote, or that of a run of version 0.1, whose keys were flat.

    Raises:
        ValueError: On keys that a recipe does not have, or lacks.

    Example:
        >>> from_json(to_json(get("orl_demo"))) == get("orl_demo")
        True
    """
    values = {name: _tuples(value) for name, value in values.items()}
    if "augmentation" in values:
        values["augmentation"] = Augmentation(**values["augmentation"])
    for part, kind in PARTS.items():
        inside = values.get(part)
        if isinstance(inside, Mapping):
            inside = {name: _tuples(value) for name, value in inside.items()}
            if "augmentation" in inside:
                inside["augmentation"] = Augmentation(**inside["augmentation"])
            values[part] = kind(**inside)
    unknown = set(values) - {"name", "source", *PARTS, *SHORT_NAMES}
    if unknown or not {"name", "source"} <= set(values):
        raise ValueError(
            f"A recipe's JSON has the keys name, source, {', '.join(PARTS)}. "
            f"Received: {', '.join(map(str, values)) or 'none'}."
        )
    return Recipe(values.pop("name"), values.pop("source")).replace(**values)


def read(path: str | os.PathLike) -> Recipe:
    """Returns the recipe in a file `recipe.json`, as every run's folder has one.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no recipe.
    """
    path = pathlib.Path(path)
    try:
        return from_json(json.loads(path.read_text())["recipe"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a recipe.json of a run: {error}") from error


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
