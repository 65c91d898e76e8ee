"""Partial FC: a training batch uses its own classes and a random part of the others."""

import math
from typing import Any

import keras

from keras_margin import _arguments
from keras_margin._typing import Tensor

# Of the finaliser of MurmurHash3, which maps the 32-bit integers one to one.
_MIX = ((16, 0x85EBCA6B), (13, 0xC2B2AE35))


def check(owner: str, sample_rate: float, sample_seed: int, auxiliary_loss: Any = None) -> None:
    """Raises unless a head can use a part of its classes.

    Args:
        owner: Name of the head's class, for the message.
        sample_rate: Share of the classes, (0, 1].
        sample_seed: Int >= 0.
        auxiliary_loss: The head's, or None.

    Raises:
        ValueError: A rate outside (0, 1], a bad seed, or an auxiliary loss that needs every class.
        NotImplementedError: On another backend than TensorFlow.
    """
    is_percentage = _arguments.is_finite_number(sample_rate) and 1 < sample_rate <= 100
    hint = f"If that is a percentage, pass {sample_rate / 100}." if is_percentage else ""
    _arguments.require_number(owner, "a sample_rate", sample_rate, 0, 1, above=True, hint=hint)
    _arguments.require_integer(owner, sample_seed, 0, 2**31 - 1, "sample_seed")
    if sample_rate == 1:
        return
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            f"sample_rate < 1 needs TensorFlow, whose gradients can leave rows out: on {keras.backend.backend()} every "
            f"update would touch every prototype all the same. Received: sample_rate={sample_rate!r}."
        )
    if auxiliary_loss is not None and auxiliary_loss.needs_prototypes:
        raise ValueError(f"{owner}'s auxiliary_loss compares every prototype with every other: leave sample_rate=1.")


def add_step(layer: keras.layers.Layer) -> keras.Variable:
    """Adds the saved counter of training batches that, with the seed, says which classes the next one uses."""
    return layer.add_weight(
        name="sample_step",
        shape=(),
        initializer="zeros",
        dtype="int32",
        trainable=False,
        aggregation="only_first_replica",  # Every replica counts equally.
    )


def num_sampled(sample_rate: float, num_classes: int, batch_size: int | None) -> int:
    """Returns how many classes a training batch of `batch_size` samples uses; of unknown size, as many as 1,024 do."""
    return max(math.ceil(sample_rate * num_classes), min(batch_size or 1024, num_classes))


def sample_rows(
    prototypes: Any, step: Any, sample_rate: float, sample_seed: int, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Gathers the prototypes that a batch uses, and moves `step` on.

    All classes that `labels` name and, uniformly without replacement, as many others as are wanted, in the order of
    their number. The gradient of the prototypes is tf.IndexedSlices of these rows. Under tf.distribute each replica has
    its own batch's classes and the same draw of others.

    Args:
        prototypes: Keras variable (num_classes, ...).
        step: Keras variable, int32 scalar.
        sample_rate: Share of the classes, (0, 1).
        sample_seed: Int >= 0.
        labels: Integer tensor (batch,), in [0, num_classes).

    Returns:
        (rows, positions): the prototypes used, and each label's place among them.
    """
    import tensorflow as tf

    num_classes = prototypes.shape[0]
    wanted = math.ceil(sample_rate * num_classes)
    wanted = tf.maximum(wanted, tf.minimum(tf.shape(labels)[0], num_classes))
    now = tf.convert_to_tensor(step)
    labels = tf.cast(labels, tf.int32)
    keys = tf.tensor_scatter_nd_update(
        _random_keys(num_classes, sample_seed, now), labels[:, None], tf.fill(tf.shape(labels), tf.int32.max)
    )
    chosen = tf.sort(tf.math.top_k(keys, wanted, sorted=False).indices)
    step.assign(now + 1)
    # Gathered from the variable, not from what it reads as: that is what makes the gradient one of rows.
    variable = prototypes.value if isinstance(prototypes, keras.Variable) else prototypes
    return tf.gather(variable, chosen), tf.searchsorted(chosen, labels)


def _random_keys(num_classes, seed, step):
    """Returns int32 keys of the classes, all different, as a function of seed and step.

    TensorFlow's stateless generators draw other numbers inside XLA than outside; integer arithmetic is the same in
    both, so a run goes on with the same draws whatever compiles it.
    """
    import tensorflow as tf

    of_step = _mixed(tf.cast(step, tf.uint32) + _mixed(tf.constant(seed, tf.uint32)))
    keys = tf.bitcast(_mixed(tf.cast(tf.range(num_classes), tf.uint32) + of_step), tf.int32)
    return tf.minimum(keys, tf.int32.max - 1)  # The labels' own keys are larger.


def _mixed(x):
    """Applies MurmurHash3's finaliser to uint32 numbers."""
    import tensorflow as tf

    def shifted(x, count):
        return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(count, tf.uint32)))

    for count, factor in _MIX:
        x = shifted(x, count) * tf.constant(factor, tf.uint32)
    return shifted(x, 16)


def refuse(owner: str, sample_rate: float, call: str) -> None:
    """Raises ValueError where classes are sampled: `call` uses every class."""
    if sample_rate < 1:
        raise ValueError(
            f"{owner}(sample_rate={sample_rate}) samples classes in compute_loss alone, by which EmbeddingModel "
            f"trains; {call} uses them all. Use EmbeddingModel, or leave sample_rate=1."
        )


def check_optimizer(sample_rate: float, optimizer: Any) -> None:
    """Raises ValueError where classes are sampled and the optimiser would touch every prototype all the same.

    Example:
        >>> check_optimizer(0.1, keras_margin.optimizers.SGDWithL2(0.1))
        >>> check_optimizer(0.1, keras.optimizers.Adam())
        Traceback (most recent call last):
        ValueError: sample_rate=0.1 needs an optimiser that leaves the prototypes alone which a batch did not use; ...
    """
    if sample_rate == 1:
        return
    hint = "Use keras_margin.optimizers.SGDWithL2 without gradient_accumulation_steps"
    if not getattr(optimizer, "updates_rows", False):
        raise ValueError(
            f"sample_rate={sample_rate} needs an optimiser that leaves the prototypes alone which a batch did not use; "
            f"{type(optimizer).__name__} would touch them all. {hint}; in mixed precision take mixed_bfloat16, which "
            "needs no loss scaling."
        )
    if (optimizer.gradient_accumulation_steps or 1) > 1:
        raise ValueError(f"Accumulated gradients have every row. {hint}.")
