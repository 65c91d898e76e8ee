"""What the metadata of a preset say, and its model card."""

import json
import math
from collections.abc import Mapping
from typing import Any

from keras_margin import layers
from keras_margin._arguments import is_finite_number
from keras_margin._utils.metadata import FORMAT, FORMAT_VERSION
from keras_margin.alignment._described import describe_template
from keras_margin.models._pixel_range import rescales_bytes


def build(model: Any, given: Mapping[str, Any] | None) -> dict:
    """Builds the metadata of an EmbeddingModel, a dict of plain JSON values, with what the user gives on top.

    The keys are those of an exported file, so that whatever reads one reads a preset.

    Args:
        model: EmbeddingModel, built.
        given: What the model does not tell, by the same keys; dicts are merged, other values replace.

    Raises:
        ValueError: Where `given` is not a dict of JSON values, or its threshold, about or image is not one.
    """
    network = model.embedder
    image = _image(getattr(network, "input_shape", None), rescales_bytes(network))
    derived = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "image": image,
        "embedding": {"dtype": "float32", "size": model.head.prototypes.shape[-1], "unit_length": False},
        "alignment": image and describe_template(image["height"], image["width"]),
        "threshold": None,
        "no_threshold": "No threshold: none was given when the preset was saved.",
        "head": describe_head(model.head),
        "about": None,
    }
    _check_mappings(given)
    found = _merged(derived, given or {})
    _check_threshold(found.get("threshold"))
    if found.get("threshold") is not None:
        found.pop("no_threshold", None)
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata must hold plain JSON values: {error}.") from error
    return found


def describe_head(head: Any) -> dict | None:
    """Returns a head's class and arguments, less what is Keras's; None of anything that is not a head."""
    if not isinstance(head, layers.MarginHead):
        return None
    keras_own = {"name", "trainable", "dtype", "prototypes_initializer"}
    arguments = {name: value for name, value in head.get_config().items() if name not in keras_own}
    return {"class": type(head).__name__, **arguments}


def _image(shape, takes_bytes):
    """What the network takes, or None where it does not take colour images of one size."""
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:] or shape[3] != 3:
        return None
    image = {"dtype": "float32", "batch": None, "height": shape[1], "width": shape[2], "channels": "RGB"}
    return {**image, "range": [0, 255]} if takes_bytes else image


def _merged(old, new):
    both = {name for name in new if isinstance(old.get(name), dict) and isinstance(new[name], Mapping)}
    return {**old, **{name: _merged(old[name], new[name]) if name in both else new[name] for name in new}}


def _check_mappings(given):
    """Raises where something is not a dict that readers of the metadata look things up in."""
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f'metadata is a dict, such as {{"about": {{"license": "cc-by-4.0"}}}}. Received: {given!r}.')
    for name in ("about", "image"):
        value = (given or {}).get(name)
        if value is not None and not isinstance(value, Mapping):
            example = '{"license": "cc-by-4.0"}' if name == "about" else '{"range": [0, 1]}'
            raise ValueError(f"{name} is a dict, such as metadata={{{name!r}: {example}}}. Received: {value!r}.")


def _check_threshold(threshold):
    if threshold is None:
        return
    given = threshold if isinstance(threshold, Mapping) else {}
    cosine, far = given.get("cosine", math.nan), given.get("far", math.nan)
    if not (is_finite_number(cosine) and -1 <= cosine <= 1 and is_finite_number(far) and 0 < far <= 1):
        raise ValueError(
            'A threshold is {"cosine": in [-1, 1], "far": in (0, 1]}, as keras_margin.runtime.read_metadata gives it. '
            f"Received: threshold={threshold!r}."
        )
