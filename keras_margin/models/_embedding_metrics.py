"""The metrics of (labels, embeddings) that an EmbeddingModel was compiled with."""

from typing import Any

import keras

from keras_margin import _keras
from keras_margin._typing import Tensor
from keras_margin.metrics import EmbeddingMetric
from keras_margin.models import _training


class EmbeddingMetrics:
    """Metrics of (labels, embeddings), those without and those with sample weights.

    Keras gives all compiled metrics the same prediction, here the cosines: so the model updates these itself. They are
    in MetricGroups, of which `model.metrics` has those that are not empty.

    Args:
        metrics: EmbeddingMetrics that get no weights.
        weighted_metrics: EmbeddingMetrics that get the sample weights.
    """

    def __init__(self, metrics: list[EmbeddingMetric], weighted_metrics: list[EmbeddingMetric]):
        self._members = {"metrics": metrics, "weighted_metrics": weighted_metrics}
        self._groups = [
            _keras.MetricGroup(members, f"embedding_{argument}") for argument, members in self._members.items()
        ]

        self._named: dict[str, str] = {}
        self._directions: list = []

    def groups(self) -> list:
        """Returns the groups that have members."""
        return [*(group for group in self._groups if group.metrics), *self._directions]

    def set_directions(self, directions: dict[str, str]) -> None:
        """Says which way is better ("up" or "down") for figures of these names, which somebody else puts into logs."""
        self._named |= directions
        self._directions = [_keras.MonitorDirections(self._named)]

    def build(self, model: keras.Model, embedding_size: int) -> None:
        """Builds the metrics for embeddings of this size, under the strategy of the model."""
        # A model may be compiled outside of the strategy that it was made under.
        with _training.strategy_scope(model):
            for metric in (*self._members["metrics"], *self._members["weighted_metrics"]):
                metric.ensure_built(embedding_size)

    def update_state(self, labels: Tensor, embeddings: Tensor, sample_weight: Tensor | None) -> None:
        """Takes in a batch."""
        for metric in self._members["metrics"]:
            metric.update_state(labels, embeddings)
        for metric in self._members["weighted_metrics"]:
            metric.update_state(labels, embeddings, sample_weight)

    def add_to_config(self, config: dict[str, Any]) -> None:
        """Adds the metrics to a compile configuration, behind those that are there."""
        for argument, members in self._members.items():
            if members:
                serialized = [keras.saving.serialize_keras_object(metric) for metric in members]
                config[argument] = [*(config[argument] or ()), *serialized]
