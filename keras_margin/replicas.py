"""What statistics of a batch need under tf.distribute: sums over all replicas, so that each keeps the same."""

import keras
from keras import ops


def count():
    """Replicas that train in step, >= 1; 1 on backends without tf.distribute."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def total(x):
    """Sum of `x` over the replicas; `x` itself where there is one. To be called inside a replica.

    Args:
        x: Float tensor, the same shape in each replica.
    """
    if count() == 1:
        return x
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return x if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, x)


def batch_mean(values):
    """Mean of per-sample values over the global batch, split over the replicas: they add up to it.

    value = mean over all samples of all replicas / replicas
    gradient = that of (sum over this replica's samples) / (samples of all replicas)

    So gradients that are summed over the replicas are those of one device, and `value * count()` is its value, where
    replicas have unlike numbers of samples too, or none. Keras's own reduction takes each replica's mean for equally
    much. To be called inside a replica.

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
