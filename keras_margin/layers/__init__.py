"""Heads: the Keras layers behind an embedding that know the classes.

head(embeddings)                        cosines (batch, num_classes)
head(embeddings, labels)                scaled logits with the margin on the target
head.loss                               Keras loss on (labels, cosines)
head.compute_loss(embeddings, labels)   loss per sample (batch,), by the best implementation
"""

from typing import Any

import keras

from keras_margin._utils.messages import did_you_mean
from keras_margin.layers._expand import expand
from keras_margin.layers._head_parts import memory_of
from keras_margin.layers.adaptive_heads import AdaFaceHead, CurricularFaceHead, MagFaceHead
from keras_margin.layers.heads import (
    ArcFaceHead,
    CombinedMarginHead,
    CosFaceHead,
    NormSoftmaxHead,
    QAMFaceHead,
    SphereFaceArccosHead,
    SphereFaceHead,
)
from keras_margin.layers.inner_product import L2SoftmaxHead, LSoftmaxHead, SoftmaxHead
from keras_margin.layers.margin_head import MarginHead
from keras_margin.layers.subcenter import SubCenterArcFaceHead

# Names for flags, recipes and `get`.
HEADS = {
    "arcface": ArcFaceHead,
    "cosface": CosFaceHead,
    "sphereface": SphereFaceHead,
    "sphereface_arccos": SphereFaceArccosHead,
    "combined": CombinedMarginHead,
    "qamface": QAMFaceHead,
    "adaface": AdaFaceHead,
    "magface": MagFaceHead,
    "curricularface": CurricularFaceHead,
    "subcenter_arcface": SubCenterArcFaceHead,
    "normsoftmax": NormSoftmaxHead,
    "softmax": SoftmaxHead,
    "lsoftmax": LSoftmaxHead,
    "l2softmax": L2SoftmaxHead,
}

__all__ = [
    "AdaFaceHead",
    "ArcFaceHead",
    "CombinedMarginHead",
    "CosFaceHead",
    "CurricularFaceHead",
    "L2SoftmaxHead",
    "LSoftmaxHead",
    "MagFaceHead",
    "MarginHead",
    "NormSoftmaxHead",
    "QAMFaceHead",
    "SoftmaxHead",
    "SphereFaceArccosHead",
    "SphereFaceHead",
    "SubCenterArcFaceHead",
    "deserialize",
    "expand",
    "get",
    "memory_of",
    "serialize",
]


def serialize(layer: MarginHead) -> dict:
    """Returns the head's config, from which `deserialize` builds an equal one with new weights.

    Example:
        >>> serialize(CosFaceHead(10, margin=0.4))["class_name"]
        'CosFaceHead'
    """
    return keras.saving.serialize_keras_object(layer)


def deserialize(config: dict, custom_objects: dict | None = None) -> MarginHead:
    """Builds a head from the config that `serialize` returned.

    Example:
        >>> deserialize(serialize(CosFaceHead(10, margin=0.4))).margin
        CosFace(margin=0.4)
    """
    return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)


def get(identifier: Any, num_classes: int | None = None, **options: Any) -> MarginHead:
    """Returns a head from one, the config of one, or the name of a head or of a margin.

    Args:
        identifier: MarginHead, which is returned as it is; config of `serialize`; or a name: of a head, such
            as "arcface" or "subcenter_arcface", or one that `keras_margin.margins.get` knows, or one registered with
            Keras, "package>Class", of a Margin; case counts.
        num_classes: Number of classes, >= 2. A name needs it; a head and a config have theirs.
        **options: Arguments of the head that a name gives; of a margin without a head of its own also the margin's
            fields.

    Raises:
        ValueError: On an unknown name; the message lists the names. On a name without `num_classes`, and on
            `num_classes` or options next to a head or a config.
        TypeError: On anything else.

    Example:
        >>> get("cosface", 10, margin=0.4).margin
        CosFace(margin=0.4)
    """
    if isinstance(identifier, (MarginHead, dict)):
        if num_classes is not None or options:
            given = {"num_classes": num_classes, **options}
            raise ValueError(f"A head and a config have their own arguments. Received: {given}. Leave these out.")
        return deserialize(identifier) if isinstance(identifier, dict) else identifier
    if not isinstance(identifier, str):
        raise TypeError(
            "A head is given as a keras_margin.layers.MarginHead, the name of one, or its config. "
            f"Received: {identifier!r} of type {type(identifier).__name__}."
        )
    head, fields = _named(identifier, options)
    if num_classes is None:
        raise ValueError(f"The name of a head needs num_classes. Received: get({identifier!r}). Pass num_classes=.")
    return head(num_classes, **fields)


def _named(name: str, options: dict[str, Any]) -> tuple[type[MarginHead], dict[str, Any]]:
    """Returns the class of a head, and its arguments, for the name of a head or of a margin."""
    from keras_margin import margins

    if name in HEADS:
        return HEADS[name], options
    margin = margins.MARGINS.get(name) or keras.saving.get_registered_object(name)
    if not (isinstance(margin, type) and issubclass(margin, margins.Margin)):
        known = sorted({*HEADS, *margins.MARGINS})
        raise ValueError(f"Unknown head {name!r}.{did_you_mean(name, known)} Known heads: {', '.join(known)}.")
    fields = {key: options.pop(key) for key in list(options) if key in margin.__dataclass_fields__}
    return MarginHead, {"margin": margin(**fields), **options}
