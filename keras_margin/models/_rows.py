"""A check of what a data set yields: (images, labels), not rows that are dicts."""

from collections.abc import Mapping
from typing import Any

import keras

_IMAGES, _LABELS = ("image", "img", "pixel", "photo"), ("label", "target", "class", "identity", "person", "id")


def check_not_a_row(inputs: Any, network: keras.Model) -> None:
    """Raises where a network of one input is called on a dict of several: a row with its label still in it.

    Args:
        inputs: What the model is called on.
        network: Keras model from images to embeddings.

    Raises:
        ValueError: With the map that makes pairs of the rows.
    """
    if not isinstance(inputs, Mapping) or len(inputs) < 2:
        return
    if len(getattr(network, "inputs", None) or ()) != 1:
        return  # A network of several inputs, or one that does not say.
    names = list(inputs)
    image = _named_like(names, _IMAGES) or names[0]
    label = _named_like([name for name in names if name != image], _LABELS) or "LABEL"
    raise ValueError(
        "EmbeddingModel trains on pairs (images, labels). Received: rows that are dicts with "
        f"{', '.join(map(repr, names))}. Make pairs of them: dataset.map(lambda row: (row[{image!r}], row[{label!r}]))."
    )


def _named_like(names: list, words: tuple[str, ...]) -> str | None:
    return next((name for word in words for name in names if word in str(name).lower()), None)
