"""What EmbeddingModel.compile takes as Keras does, brought to the form for its one output."""

from typing import Any

import keras

from keras_margin.metrics import EmbeddingMetric


def split_metrics(metrics: Any, argument: str) -> tuple[list | None, list]:
    """Returns the metrics on (labels, cosines), None for none, and the list of those on (labels, embeddings).

    Args:
        metrics: As `compile` takes them.
        argument: "metrics" or "weighted_metrics".

    Raises:
        ValueError: As `class_metrics`.
    """
    every = class_metrics(metrics, argument) or []
    of_embeddings = [metric for metric in every if isinstance(metric, EmbeddingMetric)]
    return [metric for metric in every if not isinstance(metric, EmbeddingMetric)] or None, of_embeddings


def class_metrics(metrics: Any, argument: str) -> list | None:
    """Returns the metrics of the one output as a list, without the accuracy that the model has; None for none.

    Args:
        metrics: A metric, or a list, nested list or dict with those of one output.
        argument: "metrics" or "weighted_metrics".

    Raises:
        ValueError: On a dict or nested list for several outputs.
    """
    if metrics is None:
        return None
    if isinstance(metrics, dict):
        if len(metrics) > 1:
            raise ValueError(
                f"EmbeddingModel has one output: {argument} may have one key. "
                f"Received: {', '.join(map(repr, metrics))}."
            )
        metrics = next(iter(metrics.values()), [])
    metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
    if len(metrics) == 1 and isinstance(metrics[0], (list, tuple, dict)):
        return class_metrics(metrics[0], argument)
    if any(isinstance(metric, (list, tuple, dict)) for metric in metrics):
        raise ValueError(f"EmbeddingModel has one output: {argument} must be one list. Received: {metrics!r}.")
    is_accuracy = [metric in ("accuracy", "acc") if isinstance(metric, str) else False for metric in metrics]
    if argument == "weighted_metrics":
        weighted = keras.metrics.SparseCategoricalAccuracy
        return [
            weighted(name="weighted_accuracy") if its else one for one, its in zip(metrics, is_accuracy, strict=True)
        ]
    return [one for one, its in zip(metrics, is_accuracy, strict=True) if not its] or None


def one_loss_weight(loss_weights: Any) -> float:
    """Returns the factor of the one loss, 1.0 where none is given.

    Raises:
        ValueError: On weights for several losses, or what is not a number.
    """
    given = loss_weights
    if isinstance(loss_weights, dict):
        loss_weights = list(loss_weights.values())
    if isinstance(loss_weights, (list, tuple)):
        loss_weights = loss_weights[0] if len(loss_weights) == 1 else "several"
    if loss_weights is None:
        return 1.0
    if isinstance(loss_weights, bool) or not isinstance(loss_weights, (int, float)):
        raise ValueError(f"EmbeddingModel has one loss: loss_weights is one number. Received: loss_weights={given!r}.")
    return float(loss_weights)
