"""Sub-center ArcFace: several prototypes a class, of which the nearest counts."""

import math

import keras
import numpy as np
from keras import ops

from keras_margin import checks, margins, numerics
from keras_margin.heads import _arguments
from keras_margin.heads.base import PACKAGE, MarginHead


@keras.saving.register_keras_serializable(package=PACKAGE)
class SubCenterArcFaceHead(MarginHead):
    """ArcFace over K centres a class: clean faces gather at one of them, noise and odd faces at the others.

    cos(theta_j) = max_k cos(x, W_jk)
    target logit / s = cos(theta + m),  other logits / s = cos(theta_j)

    Weight: `prototypes`, (num_classes, centers, embedding_size), float32.

    After training, the paper drops the centres that few samples are nearest to: `dominant_centers` says which remain,
    and SubCenterArcFaceHead(num_classes, centers=1), or an ArcFaceHead, goes on from them.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, radians, [0, pi).
        scale: s, > 0.
        centers: K, centres a class, >= 1. 1 is ArcFace.
        beyond_pi: What follows where theta + m passes pi: "monotone", "none" or "linear"; see margins.combined.
        **kwargs: As in MarginHead, save engine="fused", which knows one prototype a class: an error here.

    Reference: Deng et al., Sub-center ArcFace, ECCV 2020, section 3.2; K = 3 is its choice for noisy data.
    """

    def __init__(self, num_classes, margin=0.5, scale=64.0, *, centers=3, beyond_pi="monotone", **kwargs):
        name = "SubCenterArcFaceHead"
        _arguments.require_radians(name, margin)
        _arguments.require_integer(name, centers, 1, math.inf, "centers")
        margins.check_beyond_pi(beyond_pi)
        if kwargs.get("engine", "auto") not in ("auto", "plain"):
            raise ValueError(
                f"{name} has several prototypes a class, which only the plain engine knows. "
                f"Received: engine={kwargs['engine']!r}."
            )
        super().__init__(num_classes, margin=margin, scale=scale, **kwargs)
        self.centers = int(centers)
        self.beyond_pi = beyond_pi

    def _prototypes_shape(self, embedding_size):
        return (self.num_classes, self.centers, embedding_size)

    def bend_target(self, target):
        """cos(theta + m)."""
        return margins.combined(target.theta, m2=self.margin, beyond_pi=self.beyond_pi)

    def dominant_centers(self, embeddings, labels):
        """Each class's centre that most of its samples are nearest to.

        Args:
            embeddings: Float array (n, embedding_size).
            labels: Integer array (n,), in [0, num_classes).

        Returns:
            Int array (num_classes,): the centre's index in [0, centers), the first of equals; -1 for a class without
            samples.

        Example:
            >>> chosen = head.dominant_centers(embeddings, labels)
            >>> prototypes = np.take_along_axis(head.prototypes.numpy(), chosen[:, None, None].clip(0), axis=1)[:, 0]

        Reference: Deng et al., Sub-center ArcFace, ECCV 2020, section 3.3.
        """
        name = f"{type(self).__name__}.dominant_centers"
        embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
        labels = checks.labels_as_indices(labels, name)
        checks.valid_rows(embeddings, labels, self.num_classes, name)
        unit, _ = numerics.unit_normalize(embeddings)
        own, _ = numerics.unit_normalize(ops.take(ops.convert_to_tensor(self.prototypes), labels, axis=0))
        nearest = ops.convert_to_numpy(ops.argmax(ops.sum(own * ops.expand_dims(unit, 1), axis=2), axis=1))
        counts = np.zeros((self.num_classes, self.centers), "int64")
        np.add.at(counts, (ops.convert_to_numpy(labels), nearest), 1)
        return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)

    def get_config(self):
        """Arguments that build this head again."""
        return {**super().get_config(), "centers": self.centers, "beyond_pi": self.beyond_pi}
