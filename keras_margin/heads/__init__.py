"""Margin heads: the layer behind an embedding that knows the classes, and its loss.

    head(embeddings)                        cosines (batch, num_classes)
    head(embeddings, labels)                scaled logits with the margin on the target
    head.loss                               keras Loss on (labels, cosines)
    head.compute_loss(embeddings, labels)   loss per sample (batch,), by the best engine

All four agree to float32 rounding, in value and in gradient. A head computes in float32 under every dtype policy.
"""

from keras_margin.heads._loss import HeadLoss
from keras_margin.heads.adaptive import AdaFaceHead, CurricularFaceHead, MagFaceHead
from keras_margin.heads.base import MarginHead
from keras_margin.heads.lengths import L2SoftmaxHead, LSoftmaxHead, SoftmaxHead
from keras_margin.heads.qamface import QAMFaceHead
from keras_margin.heads.softmax import (
    ArcFaceHead,
    CombinedMarginHead,
    CosFaceHead,
    NormSoftmaxHead,
    SphereFaceArccosHead,
)
from keras_margin.heads.sphereface import SphereFaceHead
from keras_margin.heads.subcenter import SubCenterArcFaceHead

# Names for flags and recipes.
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

__all__ = ["HEADS", "HeadLoss", "MarginHead", *(head.__name__ for head in HEADS.values())]


def get(name):
    """The head class called `name`.

    Raises:
        ValueError: On an unknown name; the message lists the names.
    """
    if name not in HEADS:
        raise ValueError(f"Unknown head {name!r}. Known heads: {', '.join(sorted(HEADS))}.")
    return HEADS[name]
