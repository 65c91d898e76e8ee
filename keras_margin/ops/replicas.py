"""Sums over the replicas of tf.distribute, so that statistics of a batch are those of the global batch in each."""

import keras
from keras import ops

from keras_margin._typing import Tensor

__all__ = ["total"]


def count() -> int:
    """Returns the number of replicas that train in step, >= 1; 1 on backends without tf.distribute."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def total(x: Tensor) -> Tensor:
    """Sums `x` over the replicas; returns `x` itself where there is one. To be called inside a replica.

    Args:
        x: Float tensor, the same shape in each replica.

    Returns:
        Tensor shaped like `x`.

    Example:
        >>> total(2.5)
        2.5
    """
    if count() == 1:
        return x
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return x if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, x)


def batch_mean(values: Tensor) -> Tensor:
    """Returns this replica's part of the mean over the global batch; the parts add up to it.

    value = mean over all samples of all replicas / replicas
    gradient = that of (sum over this replica's samples) / (samples of all replicas)

    So gradients that are summed over the replicas are those of one device, and `value * count()` is its value, also
    where replicas have different numbers of samples, or none. Keras's own reduction counts each replica's mean equally.
    To be called inside a replica.

    Args:
        values: Float tensor (samples of this replica,).

    Returns:
        Scalar tensor.
    """
    if count() == 1:
        return ops.mean(values)
    total_here = ops.sum(values)
    samples = ops.cast(ops.shape(values)[0], values.dtype)
    everywhere = total(ops.stack([ops.stop_gradient(total_here), samples]))
    here = total_here / everywhere[1]
    return here + ops.stop_gradient(everywhere[0] / everywhere[1] / count() - here)
