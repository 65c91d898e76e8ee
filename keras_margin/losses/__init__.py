"""Losses next to the margin: what a head adds as `auxiliary_loss=`, one value a sample, summed with `+`.

    ArcFaceHead(n, auxiliary_loss=IAM(0.1) + IntraLoss())      added to the head's loss
    model.compile(loss=AngularTripletLoss())                   a Keras loss as it is, on (labels, embeddings)

Each reads one kind of output. Those with weights are Keras layers, the others Keras losses:

    embeddings      AngularTripletLoss, ContrastiveLoss; with weights CenterLoss, RingLoss
    logits          IAM
    cosines         IntraLoss
    prototypes      InterLoss, which therefore lives in a head alone
"""

from typing import Any

import keras

from keras_margin._utils.messages import did_you_mean
from keras_margin.losses._base import AuxiliaryLoss
from keras_margin.losses.angular import AngularTripletLoss, InterLoss, IntraLoss
from keras_margin.losses.iam import IAM
from keras_margin.losses.metric import CenterLoss, ContrastiveLoss, RingLoss

# Names for flags, recipes and `get`.
LOSSES = {
    "iam": IAM,
    "intra": IntraLoss,
    "inter": InterLoss,
    "angular_triplet": AngularTripletLoss,
    "center": CenterLoss,
    "ring": RingLoss,
    "contrastive": ContrastiveLoss,
}

__all__ = [
    "AngularTripletLoss",
    "AuxiliaryLoss",
    "CenterLoss",
    "ContrastiveLoss",
    "IAM",
    "InterLoss",
    "IntraLoss",
    "RingLoss",
    "deserialize",
    "get",
    "serialize",
]


def serialize(loss: AuxiliaryLoss) -> dict:
    """Returns the loss's config, from which `deserialize` builds an equal one.

    Example:
        >>> serialize(IAM(0.2))["config"]["beta"]
        0.2
    """
    return keras.saving.serialize_keras_object(loss)


def deserialize(config: dict, custom_objects: dict | None = None) -> AuxiliaryLoss:
    """Builds a loss from the config that `serialize` returned.

    Example:
        >>> deserialize(serialize(IAM(0.2))).beta
        0.2
    """
    return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)


def get(identifier: Any) -> AuxiliaryLoss | None:
    """Returns an AuxiliaryLoss from one, the name of one, or the config of one; None from None.

    Raises:
        ValueError: On an unknown name; the message lists the names.
        TypeError: On anything else.

    Example:
        >>> get("iam").beta
        0.1
    """
    if identifier is None or isinstance(identifier, AuxiliaryLoss):
        return identifier
    if isinstance(identifier, dict):
        return get(deserialize(identifier))
    if isinstance(identifier, str):
        if identifier not in LOSSES:
            known = ", ".join(sorted(LOSSES))
            hint = did_you_mean(identifier, LOSSES)
            raise ValueError(f"Unknown auxiliary loss {identifier!r}.{hint} Known ones: {known}.")
        return LOSSES[identifier]()
    raise TypeError(
        "auxiliary_loss must be a keras_margin.losses.AuxiliaryLoss, such as IAM(beta=0.1), the name of one, or None. "
        f"Received: {identifier!r} of type {type(identifier).__name__}."
    )
