"""What statistics of a batch need under tf.distribute: sums over all replicas, so that each keeps the same."""

import keras


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
