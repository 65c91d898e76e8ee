"""Checks of each batch: labels that are class indices, embeddings that are numbers.

A bad label or embedding is an error wherever an error can be raised: eagerly, and in TensorFlow graphs. XLA and JAX's
jit cannot raise; there `valid_rows` marks the sample, and the loss gives it +inf and a zero gradient: the run's loss
reads inf, and the weights stay whole.
"""

import numbers

import keras
import numpy as np
from keras import ops

from keras_margin._typing import Tensor

_COSINE_SLACK = 1e-2  # bfloat16's rounding next to 1, with room.
_LARGEST = int(np.iinfo("int32").max)


def labels_as_indices(labels: Tensor, owner: str) -> Tensor:
    """Returns labels of shape (batch,) or (batch, 1) as (batch,), checked by type, dtype and shape.

    Args:
        labels: Integer tensor, array or list.
        owner: Name of the asking class, for the message.

    Returns:
        Integer tensor (batch,), int32 or int64.

    Raises:
        TypeError: Labels that are not one tensor of integers.
        ValueError: Labels that are not one integer a sample.
    """
    is_structure = isinstance(labels, tuple) and not all(isinstance(label, numbers.Integral) for label in labels)
    if is_structure or isinstance(labels, dict):
        keys = f" with the keys {', '.join(map(repr, labels))}" if isinstance(labels, dict) else ""
        raise TypeError(
            f"{owner} needs labels as one integer tensor (batch,). Received: a {type(labels).__name__} of "
            f"{len(labels)}{keys}. Pass the one that holds the class indices, for example by "
            "dataset.map(lambda image, labels: (image, labels[...]))."
        )
    if not hasattr(labels, "dtype"):
        labels = np.asarray(labels)
    dtype = keras.backend.standardize_dtype(labels.dtype)
    shape = labels.shape
    if getattr(shape, "rank", 0) is None:
        raise ValueError(
            f"{owner} needs labels of shape (batch,) or (batch, 1). Received: labels of unknown rank. "
            "Set it where they are made: labels.set_shape([None])."
        )
    shape = tuple(shape)
    looks_one_hot = len(shape) == 2 and shape[1] not in (1, None)
    hint = "If they are one-hot, pass ops.argmax(labels, axis=-1)." if looks_one_hot else ""
    if not dtype.startswith(("int", "uint")):
        hint = hint or "Cast them: labels.astype('int32'); an Input for labels is keras.Input(shape=(), dtype='int32')."
        raise TypeError(f"{owner} needs integer labels, class indices. Received: dtype={dtype}, shape={shape}. {hint}")
    if len(shape) not in (1, 2) or looks_one_hot:
        raise ValueError(f"{owner} needs labels of shape (batch,) or (batch, 1). Received: shape={shape}. {hint}")
    return ops.reshape(_as_signed(labels, dtype, owner), (-1,))


def _as_signed(labels: Tensor, dtype: str, owner: str) -> Tensor:
    """Returns labels as int32, or int64 where they are wider; no label turns into another on the way."""
    if isinstance(labels, np.ndarray) and labels.size:
        # JAX would keep the lower 32 bits of what is wider: another class.
        for extreme in (int(labels.min()), int(labels.max())):
            if abs(extreme) > _LARGEST:
                raise ValueError(f"{owner} needs labels that fit int32. Received: {extreme}.")
    labels = ops.convert_to_tensor(labels)
    if dtype in ("uint32", "uint64"):
        # JAX has 32 bits, where a large label turns negative: out of range, as it should be.
        return ops.cast(labels, "int32" if keras.backend.backend() == "jax" else "int64")
    return labels if dtype in ("int32", "int64") else ops.cast(labels, "int32")


def valid_rows(embeddings: Tensor, labels: Tensor, num_classes: int, owner: str) -> Tensor:
    """Tells which samples have a label in [0, num_classes) and an embedding free of NaN and inf.

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
    _check_one_label_a_row(embeddings, labels, owner)
    in_range = _labels_in_range(labels, num_classes, owner)
    finite = ops.all(ops.isfinite(embeddings), axis=1)
    _require(finite, embeddings, f"{owner} needs finite embeddings. The network put out NaN or inf, first of all here:")
    return ops.logical_and(in_range, finite)


def valid_cosines(cosines: Tensor, labels: Tensor, num_classes: int, owner: str) -> Tensor:
    """Tells which samples have a label in [0, num_classes) and cosines that can be cosines.

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
    _check_one_label_a_row(cosines, labels, owner)
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


def check_all_labels(labels: Tensor, num_classes: int, owner: str) -> None:
    """Raises ValueError, before training begins, unless all of a data set's labels are in [0, num_classes).

    Args:
        labels: Array, tensor or list of all labels. Anything else, such as None or a data set, passes unread, and
            so do labels that are not integers: `labels_as_indices` checks each batch of them.
        num_classes: Python int.
        owner: Name of the asking class, for the message.
    """
    if not (isinstance(labels, (np.ndarray, list, tuple)) or ops.is_tensor(labels)):
        return
    labels = np.asarray(labels) if isinstance(labels, (list, tuple)) else ops.convert_to_numpy(labels)
    if labels.dtype.kind not in "iu" or labels.size == 0 or labels.ndim > 2 or labels.shape[1:] > (1,):
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{owner} has {num_classes} classes: labels must be in [0, {num_classes - 1}]. Received: labels from {low} "
            f"to {high}, {len(np.unique(labels))} different ones. Make the head with num_classes={high + 1}, or pass "
            "labels, names = keras_margin.data.relabel(labels), which numbers the classes from 0 without gaps."
        )


def _check_one_label_a_row(rows: Tensor, labels: Tensor, owner: str) -> None:
    """Raises ValueError where the number of labels is not that of the rows: one label would stand for all of them."""
    found, wanted = labels.shape[0], rows.shape[0]
    if found is not None and wanted is not None and found != wanted:
        raise ValueError(f"{owner} needs one label a sample. Received: {found} labels for {wanted} samples.")
    if (found is None or wanted is None) and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        message = f"{owner} needs one label a sample. Received labels and samples:"
        counts = tf.shape(labels)[0], tf.shape(rows)[0]
        tf.debugging.Assert(tf.equal(*counts), [message, *counts])


def _labels_in_range(labels: Tensor, num_classes: int, owner: str) -> Tensor:
    in_range = ops.logical_and(labels >= 0, labels < num_classes)
    rule = f"{owner} has {num_classes} classes: labels must be in [0, {num_classes - 1}]. Received:"
    hint = "Classes are numbered from 0 without gaps by keras_margin.data.relabel(labels)."
    _require(in_range, labels, rule, hint)
    return in_range


def _require(rows_hold: Tensor, values: Tensor, message: str, hint: str = "") -> None:
    """Raises with the first offending value, as loudly as the backend and the moment allow; `hint` goes last."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            # Of an empty batch, a replica's part of a short one, argmin is an error: one more row that holds, behind.
            first = tf.argmin(tf.concat([tf.cast(rows_hold, tf.int32), [1]], 0))
            said = [message, values[first : first + 1], "at sample", first, *([f". {hint}"] if hint else [])]
            tf.debugging.Assert(tf.reduce_all(rows_hold), said)
            return
    elif backend == "jax":
        import jax

        if isinstance(rows_hold, jax.core.Tracer):
            return
    holds = ops.convert_to_numpy(rows_hold)
    if not holds.all():
        first = int(holds.argmin())
        sentence = f"{message} {ops.convert_to_numpy(values)[first]} at sample {first} of the batch. {hint}"
        raise ValueError(sentence.rstrip())
