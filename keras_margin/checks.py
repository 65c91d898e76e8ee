"""What a head checks of each batch: labels that are class indices, embeddings that are numbers.

A bad label or embedding is an error wherever an error can be raised: eagerly, and in TensorFlow graphs. XLA and JAX's
jit cannot raise; there `valid_rows` marks the sample, and the head gives it a loss of +inf and a zero gradient: the
run's loss reads inf, and the weights stay whole.
"""

import keras
import numpy as np
from keras import ops

_COSINE_SLACK = 1e-2  # bfloat16's rounding next to 1, with room.


def labels_as_indices(labels, owner):
    """Labels of shape (batch,) or (batch, 1) as (batch,), checked by dtype and shape.

    Args:
        labels: Integer tensor or array.
        owner: Name of the asking class, for the message.

    Raises:
        TypeError: Labels that are not integers.
        ValueError: Labels that are not one integer a sample.
    """
    dtype = keras.backend.standardize_dtype(labels.dtype) if hasattr(labels, "dtype") else None
    labels = labels if dtype else ops.convert_to_tensor(labels)
    dtype = dtype or keras.backend.standardize_dtype(labels.dtype)
    shape = tuple(labels.shape)
    looks_one_hot = len(shape) == 2 and shape[1] not in (1, None)
    mend = "If they are one-hot, pass ops.argmax(labels, axis=-1)." if looks_one_hot else ""
    if not dtype.startswith(("int", "uint")):
        mend = mend or "Cast them: labels.astype('int32'); an Input for labels is keras.Input(shape=(), dtype='int32')."
        raise TypeError(f"{owner} needs integer labels, class indices. Received: dtype={dtype}, shape={shape}. {mend}")
    if len(shape) not in (1, 2) or looks_one_hot:
        raise ValueError(f"{owner} needs labels of shape (batch,) or (batch, 1). Received: shape={shape}. {mend}")
    labels = ops.convert_to_tensor(labels)
    if dtype not in ("int32", "int64"):
        labels = ops.cast(labels, "int32")
    return ops.reshape(labels, (-1,))


def valid_rows(embeddings, labels, num_classes, owner):
    """Which samples have a label in [0, num_classes) and an embedding free of NaN and inf.

    Args:
        embeddings: Float tensor (batch, size).
        labels: Integer tensor (batch,).
        num_classes: Python int.
        owner: Name of the asking class, for the message.

    Returns:
        Boolean tensor (batch,). All True unless the code runs where no error can be raised.

    Raises:
        ValueError: Eagerly, on the first bad sample. tf.errors.InvalidArgumentError in a TensorFlow graph.
    """
    in_range = _labels_in_range(labels, num_classes, owner)
    finite = ops.all(ops.isfinite(embeddings), axis=1)
    _require(finite, embeddings, f"{owner} needs finite embeddings. The network put out NaN or inf, first of all here:")
    return ops.logical_and(in_range, finite)


def valid_cosines(cosines, labels, num_classes, owner):
    """Which samples have a label in [0, num_classes) and cosines that can be cosines: `valid_rows` of a head's output.

    One pass over the cosines, no more than a check for NaN alone would take.

    Args:
        cosines: Float tensor (batch, num_classes).
        labels: Integer tensor (batch,).
        num_classes: Python int.
        owner: Name of the asking class, for the message.

    Returns:
        Boolean tensor (batch,); as `valid_rows`.

    Raises:
        ValueError: As `valid_rows`.
    """
    in_range = _labels_in_range(labels, num_classes, owner)
    # A cosine of a half-precision model may pass 1 by its rounding; logits pass it by far. NaN is within nothing.
    within = ops.all(ops.abs(cosines) <= 1.0 + _COSINE_SLACK, axis=1)
    rule = (
        f"{owner}'s loss takes cosines, numbers in [-1, 1], as head(embeddings) puts them out. Logits, of "
        "head(embeddings, labels), have their margin already: their loss is "
        "SparseCategoricalCrossentropy(from_logits=True). NaN comes from the network. Received, first of all here:"
    )
    _require(within, cosines[:, :4], rule)
    return ops.logical_and(in_range, within)


def whole_set(labels, num_classes, owner):
    """Raises ValueError, before training begins, unless all of a data set's labels are in [0, num_classes).

    Args:
        labels: Array, tensor or list of all labels; whatever else, such as None or a data set, passes unread, and
            so do labels that are not integers: `labels_as_indices` meets each batch of them.
        num_classes: Python int.
        owner: Name of the asking class, for the message.
    """
    if not (isinstance(labels, (np.ndarray, list, tuple)) or keras.ops.is_tensor(labels)):
        return
    labels = np.asarray(labels) if isinstance(labels, (list, tuple)) else ops.convert_to_numpy(labels)
    if labels.dtype.kind not in "iu" or labels.size == 0 or labels.ndim > 2 or labels.shape[1:] > (1,):
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{owner} has {num_classes} classes: labels must be in [0, {num_classes - 1}]. Received: labels from {low} "
            f"to {high}, {len(np.unique(labels))} different ones. Make the head with num_classes={high + 1}, or number "
            "the classes from 0 without gaps."
        )


def _labels_in_range(labels, num_classes, owner):
    in_range = ops.logical_and(labels >= 0, labels < num_classes)
    _require(
        in_range, labels, f"{owner} has {num_classes} classes: labels must be in [0, {num_classes - 1}]. Received:"
    )
    return in_range


def _require(rows_hold, values, message):
    """Raises with the first offending value, as loudly as the backend and the moment allow."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            # Of an empty batch, a replica's part of a short one, argmin is an error: one more row that holds, behind.
            first = tf.argmin(tf.concat([tf.cast(rows_hold, tf.int32), [1]], 0))
            tf.debugging.Assert(tf.reduce_all(rows_hold), [message, values[first : first + 1], "at sample", first])
            return
    elif backend == "jax":
        import jax

        if isinstance(rows_hold, jax.core.Tracer):
            return
    holds = ops.convert_to_numpy(rows_hold)
    if not holds.all():
        first = int(holds.argmin())
        raise ValueError(f"{message} {ops.convert_to_numpy(values)[first]} at sample {first} of the batch.")
