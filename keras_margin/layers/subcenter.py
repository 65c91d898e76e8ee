"""Sub-center ArcFace: several prototypes a class, of which the nearest counts."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_margin import margins
from keras_margin.layers.margin_head import PACKAGE, MarginHead
from keras_margin.ops import numerics, validation


@keras.saving.register_keras_serializable(package=PACKAGE)
class SubCenterArcFaceHead(MarginHead):
    """ArcFace over K centers a class: clean faces gather at one of them, noise and odd faces at the others.

    cos(theta_j) = max_k cos(x, W_jk)
    target logit / s = cos(theta + m),  other logits / s = cos(theta_j)

    Weight: `prototypes`, (num_classes, centers, embedding_size), float32.

    After training, the paper drops the centers that few samples are nearest to: `dominant_centers` says which remain,
    and SubCenterArcFaceHead(num_classes, centers=1), or an ArcFaceHead, goes on from them.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, radians, [0, pi).
        scale: s, > 0.
        centers: K, centers a class, >= 1. 1 is ArcFace.
        beyond_pi: What follows where theta + m passes pi: "monotone", "none" or "linear"; see
            margins.formulas.combined.
        **kwargs: As in MarginHead, save implementation="fused" and "streaming", which are errors here.

    Example:
        >>> head = SubCenterArcFaceHead(num_classes=10, centers=3)

    Reference: Deng et al., Sub-center ArcFace, ECCV 2020, section 3.2; K = 3 is its choice for noisy data.
    """

    _spells_out_margin = True
    centers: int

    def __init__(
        self,
        num_classes: int,
        margin: float = 0.5,
        scale: float | None = 64.0,
        *,
        centers: int = 3,
        beyond_pi: str = "monotone",
        **kwargs: Any,
    ):
        super().__init__(num_classes, margins.ArcFace(margin, beyond_pi), scale, centers=centers, **kwargs)

    def dominant_centers(self, embeddings: Any, labels: Any) -> np.ndarray:
        """Finds each class's center that most of its samples are nearest to.

        Args:
            embeddings: Float array (n, embedding_size).
            labels: Integer array (n,), in [0, num_classes).

        Returns:
            Int array (num_classes,): the center's index in [0, centers), the first of equals; -1 for a class without
            samples.

        Example:
            >>> head = SubCenterArcFaceHead(2, centers=2)
            >>> head.build((None, 2))
            >>> _ = head.prototypes.assign([[[1, 0], [0, 1]], [[-1, 0], [0, -1]]])
            >>> [int(center) for center in head.dominant_centers(np.array([[0.1, 2.0]]), np.array([0]))]
            [1, -1]

        Reference: Deng et al., Sub-center ArcFace, ECCV 2020, section 3.3.
        """
        name = f"{type(self).__name__}.dominant_centers"
        embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
        labels = validation.labels_as_indices(labels, name)
        validation.valid_rows(embeddings, labels, self.num_classes, name)
        unit, _ = numerics.unit_normalize(embeddings)
        own, _ = numerics.unit_normalize(ops.take(numerics.as_tensor(self.prototypes), labels, axis=0))
        nearest = ops.convert_to_numpy(ops.argmax(ops.sum(own * ops.expand_dims(unit, 1), axis=2), axis=1))
        counts = np.zeros((self.num_classes, self.centers), "int64")
        np.add.at(counts, (ops.convert_to_numpy(labels), nearest), 1)
        return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
