"""Partial FC: a training batch meets its own classes and a random part of the others."""

import math

import keras

from keras_margin.heads import _arguments


def check(head, sample_rate, sample_seed):
    """Raises unless the head can meet a part of its classes.

    Raises:
        ValueError: A rate outside (0, 1], a bad seed, or a head or regulariser that needs every class.
        NotImplementedError: On another backend than TensorFlow.
    """
    name = type(head).__name__
    if not (_arguments.is_finite_number(sample_rate) and 0 < sample_rate <= 1):
        is_percentage = _arguments.is_finite_number(sample_rate) and 1 < sample_rate <= 100
        mend = f" If that is a percentage, pass {sample_rate / 100}." if is_percentage else ""
        raise ValueError(f"{name} needs a sample_rate in (0, 1]. Received: sample_rate={sample_rate!r}.{mend}")
    _arguments.require_integer(name, sample_seed, 0, 2**31 - 1, "sample_seed")
    if sample_rate == 1:
        return
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            f"sample_rate < 1 needs TensorFlow, whose gradients can leave rows out: on {keras.backend.backend()} every "
            f"update would touch every prototype all the same. Received: sample_rate={sample_rate!r}."
        )
    if head.bends_by_more_than_cosines:
        raise ValueError(f"{name} has a weight a class beside the prototypes: it cannot sample. Leave sample_rate=1.")
    if head.regularizer is not None and head.regularizer.needs_prototypes:
        raise ValueError(f"{name}'s regularizer meets every prototype with every other: leave sample_rate=1.")


def add_step(head):
    """The saved counter of training batches that, with the seed, says which classes the next one meets."""
    return head.add_weight(
        name="sample_step",
        shape=(),
        initializer="zeros",
        dtype="int32",
        trainable=False,
        aggregation="only_first_replica",  # Every replica counts alike.
    )


def rows(head, labels):
    """(prototypes, positions): the classes that this batch meets, and each label's place among them.

    All classes that `labels` name and, uniformly without replacement, as many others as are wanted, in the order of
    their number. The gradient of the prototypes is tf.IndexedSlices of these rows. Under tf.distribute each replica has
    its own batch's classes and the same draw of others.
    """
    import tensorflow as tf

    wanted = math.ceil(head.sample_rate * head.num_classes)
    wanted = tf.maximum(wanted, tf.minimum(tf.shape(labels)[0], head.num_classes))
    step = tf.convert_to_tensor(head.sample_step)
    keys = tf.random.stateless_uniform((head.num_classes,), seed=tf.stack([head.sample_seed, step]), alg="philox")
    labels = tf.cast(labels, tf.int32)
    keys = tf.tensor_scatter_nd_update(keys, labels[:, None], tf.fill(tf.shape(labels), 2.0))
    chosen = tf.sort(tf.math.top_k(keys, wanted, sorted=False).indices)
    head.sample_step.assign(step + 1)
    # Gathered from the variable, not from what it reads as: that is what makes the gradient one of rows.
    prototypes = head.prototypes.value if isinstance(head.prototypes, keras.Variable) else head.prototypes
    return tf.gather(prototypes, chosen), tf.searchsorted(chosen, labels)


def refuse(head, way):
    """Raises ValueError: this way of use meets every class."""
    if head.sample_rate < 1:
        raise ValueError(
            f"{type(head).__name__}(sample_rate={head.sample_rate}) samples classes in compute_loss alone, which "
            f"EmbeddingModel trains by; {way} meets them all. Use EmbeddingModel, or leave sample_rate=1."
        )


def check_optimizer(head, optimizer):
    """Raises ValueError where a sampled head meets an optimiser that would touch every prototype."""
    if head.sample_rate == 1:
        return
    mend = "Use keras_margin.optimizers.SGDWithL2 without gradient_accumulation_steps"
    if not getattr(optimizer, "updates_rows", False):
        raise ValueError(
            f"sample_rate={head.sample_rate} needs an optimiser that leaves the prototypes alone which a batch did not "
            f"meet; {type(optimizer).__name__} would touch them all. {mend}; in mixed precision take mixed_bfloat16, "
            "which needs no loss scaling."
        )
    if (optimizer.gradient_accumulation_steps or 1) > 1:
        raise ValueError(f"Accumulated gradients have every row. {mend}.")
