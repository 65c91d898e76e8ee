"""Margins: what the papers say about the target logit, as frozen values without weights.

    margin = ArcFace(0.5)
    head = keras_margin.MarginHead(num_classes, margin, scale=64.0)
    out = keras_margin.ops.margin_softmax(embeddings, prototypes, labels, margin, scale=64.0)

The table below is where a new margin is registered; `docs/margins.md` shows how to write one.
"""

from typing import Any

import keras

from keras_margin._utils.messages import did_you_mean
from keras_margin.margins._base import Margin
from keras_margin.margins.adaptive import AdaFace, CurricularFace, MagFace
from keras_margin.margins.angular import ArcFace, Combined, CosFace, Softmax, SphereFaceArccos
from keras_margin.margins.qamface import QAMFace
from keras_margin.margins.sphereface import SphereFace

# Names for flags, recipes and `get`.
MARGINS = {
    "softmax": Softmax,
    "arcface": ArcFace,
    "cosface": CosFace,
    "sphereface": SphereFace,
    "sphereface_arccos": SphereFaceArccos,
    "combined": Combined,
    "qamface": QAMFace,
    "adaface": AdaFace,
    "magface": MagFace,
    "curricularface": CurricularFace,
}

__all__ = [
    "AdaFace",
    "ArcFace",
    "Combined",
    "CosFace",
    "CurricularFace",
    "MagFace",
    "Margin",
    "QAMFace",
    "Softmax",
    "SphereFace",
    "SphereFaceArccos",
    "deserialize",
    "get",
    "serialize",
]


def serialize(margin: Margin) -> dict:
    """Returns the margin's config, from which `deserialize` builds an equal one.

    Example:
        >>> serialize(ArcFace(0.5))["config"]["margin"]
        0.5
    """
    return keras.saving.serialize_keras_object(margin)


def deserialize(config: dict, custom_objects: dict | None = None) -> Margin:
    """Builds a margin from the config that `serialize` returned.

    Example:
        >>> deserialize(serialize(CosFace(0.4)))
        CosFace(margin=0.4)
    """
    return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)


def get(identifier: Any) -> Margin:
    """Returns a margin from a Margin, the name of one, or the config of one.

    Args:
        identifier: Margin; name such as "arcface", with its defaults; or a config of `serialize`.

    Raises:
        ValueError: On an unknown name; the message lists the names.
        TypeError: On anything else, such as a number.

    Example:
        >>> get("cosface")
        CosFace(margin=0.35)
    """
    if isinstance(identifier, Margin):
        return identifier
    if isinstance(identifier, dict):
        return get(deserialize(identifier))
    if isinstance(identifier, str):
        if identifier not in MARGINS:
            known = ", ".join(sorted(MARGINS))
            hint = did_you_mean(identifier, MARGINS)
            raise ValueError(f"Unknown margin {identifier!r}.{hint} Known margins: {known}.")
        return MARGINS[identifier]()
    hint = f" For a head with an ArcFace margin pass keras_margin.margins.ArcFace({identifier})."
    raise TypeError(
        "margin must be a keras_margin.margins.Margin, such as ArcFace(0.5), or the name of one. "
        f"Received: {identifier!r}.{hint if _is_number(identifier) else ''}"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
