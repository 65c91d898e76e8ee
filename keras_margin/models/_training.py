"""How a model trains: accumulated batches, and batch normalisation under tf.distribute."""

import contextlib
from typing import Any

import keras

from keras_margin import _keras


def accumulation_steps(optimizer: Any) -> int:
    """Returns how many batches the optimiser gathers for an update, >= 1; a loss-scaling one asks the inner one.

    Example:
        >>> accumulation_steps(keras.optimizers.SGD(gradient_accumulation_steps=4))
        4
    """
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return getattr(optimizer, "gradient_accumulation_steps", None) or 1


def synchronize_batch_norm(model: keras.Model) -> None:
    """Makes every BatchNormalization in `model` normalise by the statistics of the global batch under tf.distribute.

    TensorFlow backend only; elsewhere there is one program and nothing to synchronise.

    Example:
        >>> synchronize_batch_norm(keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()]))
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in _keras.all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def replicas_of(model: keras.Model) -> int:
    """Returns the replicas that the model trains in: of the strategy it was made under, wherever it is compiled."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return model.distribute_strategy.num_replicas_in_sync


def strategy_scope(model: keras.Model) -> contextlib.AbstractContextManager:
    """Returns the scope of the tf.distribute strategy that the model was made under; an empty one elsewhere."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    return model.distribute_strategy.scope()
