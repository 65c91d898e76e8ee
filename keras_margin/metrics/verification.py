"""Verification over the pairs of what is seen: EqualErrorRate, TARAtFAR, AUC, out of histograms of the cosines."""

import math
from typing import Any

import keras
from keras import ops

from keras_margin import _arguments
from keras_margin._typing import Tensor
from keras_margin.metrics.base import PACKAGE, EmbeddingMetric


class PairMetric(EmbeddingMetric):
    """Base of the metrics over pairs of images: two histograms of the pairs' cosines, genuine and impostor.

    Which pairs: each image with the rest of its batch and with the `memory` images seen before it. A set of at most
    `memory` images, or one in which no two images are further apart, is therefore measured on all of its pairs; of a
    larger one in any fixed order each image meets `memory` others.

    State: the embeddings of the last `memory` images and 2 * `bins` counts, whatever the number of images. A cosine is
    known to 2 / bins, 2e-4 by default: two pairs in one bin count as equal, and each class says how far that moves its
    value. Counts and their sums are float32, exact up to 16.7 million pairs of a
    kind.

    With sample weights a pair weighs the product of the two samples' weights.

    Args:
        memory: Images that a new one is compared with, >= 0; 0 for the pairs of a batch alone.
        bins: Bins of each histogram over the cosines in [-1, 1], >= 2.
        name: Name in the logs; None for NAME.
        dtype: As in keras.metrics.Metric.
    """

    # Of a subclass: its name in the logs, unless told another, and whether more or less is better.
    NAME: str | None = None
    DIRECTION = "up"

    def __init__(self, memory: int = 2048, bins: int = 10_000, name: str | None = None, dtype: Any = None):
        super().__init__(name=name or self.NAME, direction=self.DIRECTION, dtype=dtype)
        for argument, value, low in (("memory", memory, 0), ("bins", bins, 2)):
            _arguments.require_integer(type(self).__name__, value, low, math.inf, argument)
        self.memory, self.bins = int(memory), int(bins)

    def build(self, embedding_size: int) -> None:
        """Creates the memory and the counts, for embeddings (batch, embedding_size)."""
        self._counts = self.add_state("counts", (2 * self.bins,))
        self._units = self.add_state("units", (self.memory, embedding_size))
        self._labels = self.add_state("labels", (self.memory,), "int32")
        # Weight 0: a place that nobody has taken yet.
        self._weights = self.add_state("weights", (self.memory,))

    def update(self, units: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Adds the pairs of a batch to the histograms, and remembers the batch."""
        batch = ops.shape(units)[0]
        everything = [
            ops.concatenate([kept.value, new], axis=0)
            for kept, new in ((self._units, units), (self._labels, labels), (self._weights, weights))
        ]
        cosines = ops.matmul(units, ops.transpose(everything[0]))
        rows = ops.arange(batch, dtype="int32")[:, None]
        columns = ops.arange(batch + self.memory, dtype="int32")[None, :]
        # What came before, in the memory or in the batch: each pair once.
        pair_weights = ops.where(columns < rows + self.memory, weights[:, None] * everything[2][None, :], 0.0)
        places = ops.cast(ops.floor((cosines + 1.0) * (self.bins / 2)), "int32")
        places = ops.clip(places, 0, self.bins - 1)
        places = places + self.bins * ops.cast(labels[:, None] == everything[1][None, :], "int32")
        added = ops.segment_sum(
            ops.reshape(pair_weights, (-1,)), ops.reshape(places, (-1,)), num_segments=2 * self.bins
        )
        self._counts.assign_add(added)
        for kept, new in zip((self._units, self._labels, self._weights), everything, strict=True):
            kept.assign(ops.reshape(new[batch:], kept.shape))

    def rates(self) -> tuple[Tensor, Tensor]:
        """Returns FAR and TAR at each edge of the bins, upwards: float tensors (bins + 1,), from 1 down to 0.

        NaN where there are no such pairs; a metric that was not built has none.
        """
        if not self.built:
            nothing = ops.full((self.bins + 1,), float("nan"), "float32")
            return nothing, nothing
        counts = ops.reshape(self._counts.value, (2, self.bins))
        # Counts are added up, not shares: whole numbers, so that 10 of 10,000 is 1e-3 and no more.
        from_above = ops.flip(ops.cumsum(ops.flip(counts, axis=1), axis=1), axis=1)
        rates = ops.pad(from_above, ((0, 0), (0, 1))) / from_above[:, :1]
        return rates[0], rates[1]

    def get_config(self) -> dict:
        """Returns the arguments that build it again."""
        return {**super().get_config(), "memory": self.memory, "bins": self.bins}


@keras.saving.register_keras_serializable(package=PACKAGE)
class EqualErrorRate(PairMetric):
    """Computes the equal error rate over pairs of images: the error at the threshold where FAR = FRR.

    The pairs are those of `PairMetric`: each image with its batch and the `memory` images before it. The value differs
    from that of the exact cosines, `evaluation.eer`, by no more than the larger share of pairs, genuine or impostor, in
    the bin of the crossing.

    Args:
        memory: Images that a new one is compared with, >= 0.
        bins: Bins of the cosines, >= 2; 10,000 resolve 2e-4.
        name: Name in the logs; None for equal_error_rate.
        dtype: As in keras.metrics.Metric.

    Raises:
        ValueError: On a number out of range.

    Example:
        >>> metric = EqualErrorRate()
        >>> metric.update_state(np.array([3, 3, 8, 8]), np.array([[1.0, 0], [2, 1], [-1, 3], [0, 1]]))
        >>> float(metric.result())
        0.0
    """

    NAME, DIRECTION = "equal_error_rate", "down"

    def result(self) -> Tensor:
        """Returns the rate, a scalar tensor in [0, 1]; NaN without a genuine or without an impostor pair."""
        far, tar = self.rates()
        # It falls from 1 to -1, and crosses 0 behind the last that is above it.
        surplus = far - (1.0 - tar)
        last = ops.maximum(ops.sum(ops.cast(surplus > 0, "int32")) - 1, 0)
        high, low = ops.take(surplus, last), ops.take(surplus, last + 1)
        start, end = ops.take(far, last), ops.take(far, last + 1)
        return start + high / (high - low) * (end - start)


@keras.saving.register_keras_serializable(package=PACKAGE)
class TARAtFAR(PairMetric):
    """Computes the share of genuine pairs accepted at the lowest threshold whose FAR is at most `far`.

    The pairs are those of `PairMetric`. Thresholds are the edges of the bins, so the value is never above that of the
    exact cosines, `evaluation.tar_at_far`, and below it by no more than the share of genuine pairs in one bin. A FAR
    that lets fewer than ten impostor pairs pass cannot be measured: a batch of 100 images alone has under 5,000 pairs.

    Args:
        far: Wanted false accept rate, (0, 1].
        memory: Images that a new one is compared with, >= 0.
        bins: Bins of the cosines, >= 2; 10,000 resolve 2e-4.
        name: Name in the logs; None for one such as tar_at_far_1e-03.
        dtype: As in keras.metrics.Metric.

    Raises:
        ValueError: On a number out of range.

    Example:
        >>> metric = TARAtFAR(1e-3)
        >>> metric.name
        'tar_at_far_1e-03'
        >>> metric.update_state(np.array([3, 3, 8, 8]), np.array([[1.0, 0], [2, 1], [-1, 3], [0, 1]]))
        >>> float(metric.result())
        1.0
    """

    def __init__(
        self, far: float = 1e-3, memory: int = 2048, bins: int = 10_000, name: str | None = None, dtype: Any = None
    ):
        _arguments.require_number(type(self).__name__, "far", far, 0, 1, above=True)
        short = f"{far:.0e}"
        super().__init__(memory, bins, name or f"tar_at_far_{short if float(short) == far else far}", dtype)
        self.far = float(far)

    def result(self) -> Tensor:
        """Returns the rate, a scalar tensor in [0, 1]; NaN without a genuine or without an impostor pair."""
        far, tar = self.rates()
        # FAR falls with the threshold: as many thresholds are too low as there are FARs above the wanted one.
        first = ops.sum(ops.cast(far > self.far, "int32"))
        return ops.where(ops.isnan(far[0]), far[0], ops.take(tar, first))

    def get_config(self) -> dict:
        """Returns the arguments that build it again."""
        return {**super().get_config(), "far": self.far}


@keras.saving.register_keras_serializable(package=PACKAGE)
class AUC(PairMetric):
    """Computes the area under the ROC of pairs of images: how often a genuine pair is more alike than an impostor pair.

    The pairs are those of `PairMetric`. Pairs of either kind in one bin count one half, so the value differs from that
    of the exact cosines, `evaluation.auc`, by no more than half the sum over the bins of the product of the two shares.

    Args:
        memory: Images that a new one is compared with, >= 0.
        bins: Bins of the cosines, >= 2; 10,000 resolve 2e-4.
        name: Name in the logs; None for auc.
        dtype: As in keras.metrics.Metric.

    Raises:
        ValueError: On a number out of range.

    Example:
        >>> metric = AUC()
        >>> metric.update_state(np.array([3, 3, 8, 8]), np.array([[1.0, 0], [2, 1], [-1, 3], [0, 1]]))
        >>> float(metric.result())
        1.0
    """

    NAME = "auc"

    def result(self) -> Tensor:
        """Returns the area, a scalar tensor in [0, 1]; NaN without a genuine or without an impostor pair."""
        far, tar = self.rates()
        return ops.sum((tar[:-1] - tar[1:]) * (1.0 - 0.5 * (far[:-1] + far[1:])))
