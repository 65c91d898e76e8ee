"""Every private API of Keras that the library uses, each with its reason and a test that fails when Keras moves it.

`tests/test_private_keras.py` has the tests. Nothing else in the library imports from `keras.src`.
"""

from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.backend.common.symbolic_scope import in_symbolic_scope as _in_symbolic_scope
from keras.src.trainers.compile_utils import MetricsList

# Keras's losses that take probabilities unless they were made with from_logits=True.
_CROSS_ENTROPIES = {
    "SparseCategoricalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
}


def in_symbolic_scope() -> bool:
    """Tells whether Keras is tracing shapes, with values of its own making.

    Before training Keras calls model and loss with placeholders, on TensorFlow with labels that are averages over the
    replicas: floats. Checks of values have no meaning there.
    """
    return bool(_in_symbolic_scope())


def compiled_loss() -> Any:
    """Returns the one loss that the model now being called was compiled with; None where there is no such thing.

    A layer that puts out logits cannot see otherwise that the loss behind it takes probabilities and clips them to
    [0, 1]: no error, no gradient. Where the call context has moved, nothing is found out, and nothing breaks.
    """
    context = global_state.get_global_attribute("current_call_ctx")
    model = getattr(context, "entry_layer", None)
    loss = getattr(model, "loss", None) if isinstance(model, keras.Model) else None
    while isinstance(loss, (list, tuple, dict)) and len(loss) == 1:
        loss = next(iter(loss.values() if isinstance(loss, dict) else loss))
    return None if isinstance(loss, (list, tuple, dict)) else loss


def takes_probabilities(loss: Any) -> bool:
    """Tells whether `loss` is one of Keras's cross-entropies with from_logits=False."""
    try:
        loss = keras.losses.get(loss)
    except (TypeError, ValueError):
        return False
    if getattr(loss, "__name__", type(loss).__name__) not in _CROSS_ENTROPIES:
        return False
    return not (isinstance(loss, keras.losses.Loss) and loss.get_config().get("from_logits", False))


class MaximizedMean(MetricsList):
    """A running mean of values, such as an accuracy, that callbacks with mode="auto" maximise.

    ModelCheckpoint, EarlyStopping and ReduceLROnPlateau look for a metric's direction among the compiled metrics alone,
    that is in a `MetricsList`, and read it off a private attribute that Keras's own metrics set.

    Args:
        name: Name in the logs.
    """

    def __init__(self, name: str) -> None:
        mean = keras.metrics.Mean(name=name)
        set_direction(mean, "up")
        super().__init__([mean], name=name)

    def update_state(self, values: Any) -> None:
        """Adds `values`, a tensor of any shape."""
        self.metrics[0].update_state(values)

    def result(self) -> Any:
        """Returns the mean, a scalar tensor."""
        return self.metrics[0].result()


class MetricGroup(MetricsList):
    """Metrics that a model updates itself, whose values are in its logs and found by callbacks with mode="auto".

    A metric that a callback monitors without a mode has to be in a `MetricsList`, see `MaximizedMean`.

    Args:
        metrics: Keras metrics.
        name: Name of the group, which is not in the logs.
    """

    def __init__(self, metrics: list, name: str):
        super().__init__(metrics, name=name)

    def result(self) -> dict:
        """Returns the values by name."""
        return {metric.name: metric.result() for metric in self.metrics}


class MonitorDirections(MetricsList):
    """Says for figures that are no metrics which way is better, and adds nothing to the logs.

    Callbacks with mode="auto" look for that among the compiled metrics alone, see `MaximizedMean`.

    Args:
        directions: From a figure's name to "up" or "down".
    """

    def __init__(self, directions: dict[str, str]):
        figures = []
        for name, direction in directions.items():
            figure = keras.metrics.Metric(name=name)
            set_direction(figure, direction)
            figures.append(figure)
        super().__init__(figures, name="monitor_directions")

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def result(self) -> dict:
        """Returns no values."""
        return {}


def set_direction(metric: keras.metrics.Metric, direction: str) -> None:
    """Sets whether more ("up") or less ("down") of a metric is better, as Keras's own metrics say it."""
    metric._direction = direction


def compiled_metrics(model: keras.Model) -> Any:
    """Returns the one metric that holds all metrics that the model was compiled with, or None.

    A model whose metrics are not of its outputs has to update them itself.
    """
    return model._compile_metrics


def added_loss(model: keras.Model, loss: Any) -> Any:
    """Returns a loss that a layer added, as it counts in the model's total: a sum, its part of it in each replica."""
    return model._aggregate_additional_loss(loss)


def all_layers(model: Any) -> list:
    """Returns the layers of a model, those inside of models and layers too, without the model itself."""
    return list(model._flatten_layers(include_self=False))
