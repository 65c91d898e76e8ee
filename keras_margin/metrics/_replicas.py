"""The batch of all replicas of tf.distribute, in each of them."""

from keras_margin._typing import Tensor
from keras_margin.ops import replicas


def of_all(*tensors: Tensor) -> tuple:
    """Returns each tensor (samples of this replica, ...) with the rows of all replicas, in their order.

    The tensors themselves come back where there is one replica, and outside of the replicas.
    """
    if replicas.count() == 1:
        return tensors
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:
        return tensors
    return tuple(context.all_gather(tf.convert_to_tensor(tensor), axis=0) for tensor in tensors)
