"""Losses beside the margin: what a head adds as `regularizer=`, one value a sample, and plain Keras losses of the same.

    ArcFaceHead(n, regularizer=IAM(0.1) + IntraLoss())      added to the head's loss
    model.compile(loss=AngularTripletLoss().as_loss())      alone, on (labels, embeddings)

Each says what it reads:

    embeddings      AngularTripletLoss, ContrastiveLoss, CenterLoss, RingLoss
    logits          IAM
    cosines         IntraLoss
    prototypes      InterLoss, which therefore lives in a head alone
"""

from keras_margin.losses.angular import AngularTripletLoss, InterLoss, IntraLoss
from keras_margin.losses.base import PACKAGE, Regularizer, Sum, TermLoss, Terms, get
from keras_margin.losses.iam import IAM
from keras_margin.losses.metric import CenterLoss, ContrastiveLoss, RingLoss

# Names for flags and recipes.
LOSSES = {
    "iam": IAM,
    "intra": IntraLoss,
    "inter": InterLoss,
    "angular_triplet": AngularTripletLoss,
    "center": CenterLoss,
    "ring": RingLoss,
    "contrastive": ContrastiveLoss,
}

__all__ = ["LOSSES", "PACKAGE", "Regularizer", "Sum", "TermLoss", "Terms", "get"]
__all__ += [loss.__name__ for loss in LOSSES.values()]
