"""Retrieval within what is seen: RecallAtK, and MeanAveragePrecisionAtR of the metric-learning literature."""

import math
from typing import Any

import keras
from keras import ops

from keras_margin import _arguments
from keras_margin._typing import Tensor
from keras_margin.metrics.base import PACKAGE, EmbeddingMetric

# Added to a cosine, so that 0, which a reset writes, is an empty place of a list.
_SHIFT = 2.0


class RetrievalMetric(EmbeddingMetric):
    """Base of the metrics of retrieval: each image asks all the others for those that are most alike.

    Which images: the first `memory` since the last reset, as a query and as an entry of the gallery; what comes later
    is left out. A set of at most `memory` images is measured as a whole, in any order, by whatever batches. An image
    whose label no other has is an entry and no query.

    State: `memory` embeddings, and for each a list of `length` places, brought up to date by every batch.

    A sample's weight is that of its query; a sample of weight 0 is left out altogether. Of equal cosines the entry that
    was seen first comes first.

    Args:
        length: Places of a list, >= 1.
        memory: Images, >= 2.
        name: Name in the logs.
        dtype: As in keras.metrics.Metric.
    """

    def __init__(self, length: int, memory: int = 2048, name: str | None = None, dtype: Any = None):
        super().__init__(name=name, direction="up", dtype=dtype)
        _arguments.require_integer(type(self).__name__, memory, 2, math.inf, "memory")
        self.memory = int(memory)
        self._length = min(length, memory)

    def build(self, embedding_size: int) -> None:
        """Creates gallery and lists, for embeddings (batch, embedding_size)."""
        rows = self.memory + 1  # The last takes what there is no room for.
        self._seen = self.add_state("seen", (), "int32")
        self._units = self.add_state("units", (rows, embedding_size))
        self._labels = self.add_state("labels", (rows,), "int32")
        self._weights = self.add_state("weights", (rows,))
        self._scores = self.add_state("scores", (rows, self._length))
        self._matches = self.add_state("matches", (rows, self._length))
        self._relevant = self.add_state("relevant", (rows,))

    def update(self, units: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Takes the batch into the gallery and brings all lists up to date."""
        counts = weights > 0
        order = self._seen.value + ops.cumsum(ops.cast(counts, "int32")) - 1
        enters = ops.logical_and(counts, order < self.memory)
        places = ops.where(enters, order, self.memory)
        self._seen.assign_add(ops.sum(ops.cast(counts, "int32")))

        def put(kept: keras.Variable, new: Tensor) -> Tensor:
            return ops.scatter_update(kept.value, places[:, None], new)

        gallery, gallery_labels = put(self._units, units), put(self._labels, labels)
        gallery_weights = put(self._weights, ops.where(enters, weights, 0.0))
        # The row behind the last holds what was left out.
        taken = ops.logical_and(gallery_weights > 0, ops.arange(self.memory + 1, dtype="int32") < self.memory)
        other = places[:, None] != ops.arange(self.memory + 1, dtype="int32")[None, :]
        valid = ops.logical_and(ops.logical_and(enters[:, None], taken[None, :]), other)
        scores = ops.where(valid, ops.matmul(units, ops.transpose(gallery)) + _SHIFT, 0.0)
        same = ops.logical_and(valid, labels[:, None] == gallery_labels[None, :])
        matches = ops.cast(same, "float32")
        # Lists that are there get the batch as further candidates; the batch's own are made of the whole gallery.
        old_scores, old_matches = self._longest(
            ops.concatenate([self._scores.value, ops.transpose(scores)], axis=1),
            ops.concatenate([self._matches.value, ops.transpose(matches)], axis=1),
        )
        new_scores, new_matches = self._longest(scores, matches)
        relevant = self._relevant.value + ops.sum(matches, axis=0)
        self._scores.assign(ops.scatter_update(old_scores, places[:, None], new_scores))
        self._matches.assign(ops.scatter_update(old_matches, places[:, None], new_matches))
        self._relevant.assign(ops.scatter_update(relevant, places[:, None], ops.sum(matches, axis=1)))
        self._units.assign(gallery)
        self._labels.assign(gallery_labels)
        self._weights.assign(gallery_weights)

    def _longest(self, scores: Tensor, matches: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the best of each row, scores and matches (rows, length), in falling order."""
        best, index = ops.top_k(scores, self._length)
        return best, ops.take_along_axis(matches, index, axis=1)

    def mean_over_queries(self, values: Tensor) -> Tensor:
        """Returns the weighted mean of `values`, (memory,), over the images that are queries; NaN without one."""
        weights = ops.where(self._relevant.value > 0, self._weights.value, 0.0)[: self.memory]
        return ops.sum(weights * values) / ops.sum(weights)

    def result(self) -> Tensor:
        """Returns the mean over the queries, a scalar tensor in [0, 1]; NaN without a query."""
        if not self.built:
            return ops.convert_to_tensor(float("nan"), "float32")
        return self.mean_over_queries(self.values(self._matches.value[:-1], self._relevant.value[:-1]))

    def values(self, matches: Tensor, relevant: Tensor) -> Tensor:
        """Returns the value of each query, float tensor (memory,).

        Args:
            matches: Float tensor (memory, length), 1 where a place of the list holds the query's class.
            relevant: Float tensor (memory,), other images of the query's class.
        """
        raise NotImplementedError

    def get_config(self) -> dict:
        """Returns the arguments that build it again."""
        return {**super().get_config(), "memory": self.memory}


@keras.saving.register_keras_serializable(package=PACKAGE)
class RecallAtK(RetrievalMetric):
    """Computes the share of images with one of their class among the k most alike others.

    Recall@k = mean over the queries of [a match among the first k]

    Args:
        k: Places looked at, >= 1.
        memory: The first so many images count, >= 2; see `RetrievalMetric` for what is seen and kept.
        name: Name in the logs; None for one such as recall_at_1.
        dtype: As in keras.metrics.Metric.

    Raises:
        ValueError: On a number out of range.

    Example:
        >>> metric = RecallAtK(1)
        >>> metric.update_state(np.array([3, 3, 8]), np.array([[1.0, 0], [2, 1], [-1, 3]]))
        >>> metric.name, float(metric.result())
        ('recall_at_1', 1.0)

    Reference: Musgrave et al., A Metric Learning Reality Check, ECCV 2020 (precision at 1 is its k = 1).
    """

    def __init__(self, k: int = 1, memory: int = 2048, name: str | None = None, dtype: Any = None):
        _arguments.require_integer("RecallAtK", k, 1, math.inf, "k")
        k = int(k)
        super().__init__(k, memory, name or f"recall_at_{k}", dtype)
        self.k = k

    def values(self, matches: Tensor, relevant: Tensor) -> Tensor:
        """Returns 1 for each query with a match."""
        return ops.max(matches, axis=1)

    def get_config(self) -> dict:
        """Returns the arguments that build it again."""
        return {**super().get_config(), "k": self.k}


@keras.saving.register_keras_serializable(package=PACKAGE)
class MeanAveragePrecisionAtR(RetrievalMetric):
    """Computes MAP@R: how early the images of a class come, in a list as long as there are other images of the class.

    MAP@R = mean over the queries of 1/R sum_{i=1..R} match(i) * (matches among the first i) / i

    with R the number of other images of the query's class, no more than `longest`: of a larger class the first
    `longest` places count, as if R were that. This is not `evaluation.mean_average_precision`, whose lists all have one
    length.

    Args:
        longest: Places of a list, >= 1; R is cut to it.
        memory: The first so many images count, >= 2; see `RetrievalMetric` for what is seen and kept.
        name: Name in the logs.
        dtype: As in keras.metrics.Metric.

    Raises:
        ValueError: On a number out of range.

    Example:
        >>> metric = MeanAveragePrecisionAtR()
        >>> metric.update_state(np.array([3, 3, 8]), np.array([[1.0, 0], [2, 1], [-1, 3]]))
        >>> float(metric.result())
        1.0

    Reference: Musgrave et al., A Metric Learning Reality Check, ECCV 2020, section 3.
    """

    def __init__(
        self,
        longest: int = 64,
        memory: int = 2048,
        name: str | None = "mean_average_precision_at_r",
        dtype: Any = None,
    ):
        _arguments.require_integer("MeanAveragePrecisionAtR", longest, 1, math.inf, "longest")
        longest = int(longest)
        super().__init__(longest, memory, name, dtype)
        self.longest = longest

    def values(self, matches: Tensor, relevant: Tensor) -> Tensor:
        """Returns the average precision of each query."""
        place = ops.arange(1, self._length + 1, dtype="float32")[None, :]
        length = ops.minimum(relevant, float(self._length))[:, None]
        counted = ops.where(place <= length, matches * ops.cumsum(matches, axis=1) / place, 0.0)
        return ops.sum(counted, axis=1) / ops.maximum(length[:, 0], 1.0)

    def get_config(self) -> dict:
        """Returns the arguments that build it again."""
        return {**super().get_config(), "longest": self.longest}
