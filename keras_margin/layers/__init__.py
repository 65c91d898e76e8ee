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
from keras_margin.layers._head_loss import HeadLoss
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
from keras_margin.layers.sampling import check_optimizer
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
    "HEADS",
    "HeadLoss",
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
    "check_optimizer",
    "expand",
    "get",
    "memory_of",
]


def get(name: str, num_classes: int, **options: Any) -> MarginHead:
    """Builds a head from the name of a head or of a margin.

    Args:
        name: Name in HEADS or in `keras_margin.margins.MARGINS`; one registered with Keras, "package>Class", of a
            Margin; case counts.
        num_classes: Number of classes, >= 2.
        **options: Arguments of the head; of a margin without a head of its own also the margin's fields.

    Raises:
        ValueError: On an unknown name; the message lists the names.

    Example:
        >>> get("cosface", 10, margin=0.4).margin
        CosFace(margin=0.4)
    """
    from keras_margin import margins

    if name in HEADS:
        return HEADS[name](num_classes, **options)
    margin = margins.MARGINS.get(name) or keras.saving.get_registered_object(name)
    if not (isinstance(margin, type) and issubclass(margin, margins.Margin)):
        known = sorted({*HEADS, *margins.MARGINS})
        raise ValueError(f"Unknown head {name!r}.{did_you_mean(name, known)} Known heads: {', '.join(known)}.")
    fields = {key: options.pop(key) for key in list(options) if key in margin.__dataclass_fields__}
    return MarginHead(num_classes, margin(**fields), **options)
