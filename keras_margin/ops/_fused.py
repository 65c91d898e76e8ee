"""The fused implementation: one (batch, num_classes) tensor, and the time of its three matrix products."""

import functools
from collections.abc import Callable

import keras
from keras import ops

from keras_margin._typing import Tensor
from keras_margin.ops import _analytic
from keras_margin.ops._analytic import masked
from keras_margin.ops.negatives import NegativeLogits, NegativeLogSumExp, is_own_class
from keras_margin.ops.numerics import LOG_ZERO

# From so many numbers in the prototypes on, TensorFlow's elementwise passes are compiled by XLA. Compiling takes a
# second for each new batch size, and saves a tenth of a step of 10,000 classes; below this it would never pay.
_WORTH_COMPILING = 2**20


def fused(
    unit: Tensor, prototypes: Tensor, labels: Tensor, scale: Tensor, negatives: NegativeLogits
) -> NegativeLogSumExp:
    """Computes what `reference` does at the cost of its three matrix products, with the exact gradient.

    The derivation is in `_analytic`. G is made from the product, and is all that the backward pass keeps.

    Args:
        unit: As in `reference`.
        prototypes: As in `reference`, of rank 2.
        labels: As in `reference`.
        scale: As in `reference`; one number for all, without gradient, where `negatives` has a margin.
        negatives: As in `reference`; a margin's negative logits come with their slope.
    """
    forward, backward = _PASSES[keras.backend.backend()]
    return _analytic.analytic(forward, backward, unit, prototypes, labels, scale, negatives)


def _logits(products, inverse, scale, negatives):
    """Returns cosines, scaled logits and their slope by the cosine before scaling, each (batch, num_classes)."""
    cosines = products * inverse
    values, slope = negatives.at(cosines)
    return cosines, ops.expand_dims(scale, 1) * values, slope


def _maxima(products, inverse, labels, scale, negatives):
    """Returns the largest cosine and the largest logit of another class, (batch,) each."""
    own = is_own_class(labels, products.shape[1])
    cosines, logits, _ = _logits(products, inverse, scale, negatives)
    best = ops.max(masked(cosines, own), axis=1)
    return best, scale * best if negatives.margin is None else ops.max(masked(logits, own), axis=1)


def _exponentials(products, inverse, labels, scale, offset, negatives):
    """Returns exp(logit - offset), 0 at the own class, and the slope; (batch, num_classes)."""
    own = is_own_class(labels, products.shape[1])
    _, logits, slope = _logits(products, inverse, scale, negatives)
    return ops.exp(masked(logits - ops.expand_dims(offset, 1), own)), slope


def _weights(products, inverse, labels, scale, offset, negatives):
    """Returns G."""
    exponentials, slope = _exponentials(products, inverse, labels, scale, offset, negatives)
    return exponentials * (inverse if slope is None else slope * inverse)


def _total(weights, inverse, labels, offset):
    """Computes Z from G, (batch,), where every slope is 1: a product instead of a second pass over exp.

    Zero prototypes are not in G. Each counts exp(0 - offset); where there is one, the offset is at least 0.
    """
    zero = ops.cast(inverse == 0, "float32")
    norms = 1.0 / ops.where(inverse == 0, ops.ones_like(inverse), inverse) - zero
    count = ops.sum(zero) - ops.take(zero, labels)
    others = ops.squeeze(ops.matmul(weights, ops.expand_dims(norms, 1)), 1)
    return others + count * ops.exp(-ops.maximum(offset, 0.0))


def _run(function: Callable, prototypes: Tensor, *arguments):
    """Calls `function`; on TensorFlow as one XLA program if there is enough to compute.

    Each pass is compiled on its own, so that it is one loop without a copy, and none keeps a second tensor of the size.
    """
    num_classes, size = prototypes.shape
    if keras.backend.backend() != "tensorflow" or num_classes is None or num_classes * size < _WORTH_COMPILING:
        return function(*arguments)
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)(*arguments)


def _forward(times_transposed, unit, prototypes, labels, scale, negatives):
    """(log_sum, best_cosine, residuals); `times_transposed(a, b)` is a b^T."""
    inverse = _run(_analytic.inverse_norms, prototypes, prototypes)
    products = times_transposed(unit, prototypes)

    def maxima(products, inverse):
        return _maxima(products, inverse, labels, scale, negatives)

    best, offset = _run(maxima, prototypes, products, inverse)

    def weighed(products, inverse, offset):
        return _weights(products, inverse, labels, scale, offset, negatives)

    def summed(products, inverse, offset):
        return ops.sum(_exponentials(products, inverse, labels, scale, offset, negatives)[0], axis=1)

    weights = _run(weighed, prototypes, products, inverse, offset)
    if negatives.margin is None:
        total = _total(weights, inverse, labels, offset)
    else:
        total = _run(summed, prototypes, products, inverse, offset)
    return ops.log(total) + offset, best, (weights, inverse, total)


def _backward(
    transposed_times, add_rows, unit, prototypes, labels, scale, upstream, by_own, residuals, after=lambda _, do: do()
):
    """(r G W, by_prototypes); `after(first, do)` calls `do` when the tensor `first` is computed."""
    weights, inverse, total = residuals
    ratio = ops.expand_dims(upstream / total, 1)
    products = ratio * ops.matmul(weights, prototypes)
    # In this order, or G would still be needed, and in memory, while the gradient of the prototypes is finished.
    by_rows = after(products, lambda: transposed_times(weights, ratio * ops.expand_dims(scale, 1) * unit))

    def finish(by_rows, prototypes, inverse, labels, by_own):
        return add_rows(_analytic.tangent(by_rows, prototypes, inverse), labels, by_own)

    return products, _run(finish, prototypes, by_rows, prototypes, inverse, labels, by_own)


# --- TensorFlow -------------------------------------------------------------------------------------------------------


def _tensorflow_forward(unit, prototypes, labels, scale, negatives):
    import tensorflow as tf

    def times_transposed(a, b):
        # keras.ops.transpose is a copy as large as its argument here; oneDNN takes 1.6 times as long as XLA for this.
        return _run(functools.partial(tf.matmul, transpose_b=True), b, a, b)

    return _forward(times_transposed, unit, prototypes, labels, scale, negatives)


def _tensorflow_backward(unit, prototypes, labels, scale, negatives, upstream, by_own, residuals):
    import tensorflow as tf

    def add_rows(rows, labels, added):
        # Inside XLA the rows are added in place; outside, TensorFlow would copy the whole gradient for them.
        return tf.tensor_scatter_nd_add(rows, labels[:, None], added)

    # These products stay with oneDNN or cuBLAS.
    transposed_times = functools.partial(tf.matmul, transpose_a=True)
    return _backward(transposed_times, add_rows, unit, prototypes, labels, scale, upstream, by_own, residuals, _after)


def _after(first, function):
    import tensorflow as tf

    with tf.control_dependencies([first]):
        return function()


# --- JAX --------------------------------------------------------------------------------------------------------------


def _jax_forward(unit, prototypes, labels, scale, negatives):
    return _forward(lambda a, b: ops.matmul(a, ops.transpose(b)), unit, prototypes, labels, scale, negatives)


def _jax_backward(unit, prototypes, labels, scale, negatives, upstream, by_own, residuals):
    def add_rows(rows, labels, added):
        return rows.at[labels].add(added)

    def transposed_times(a, b):
        return ops.matmul(ops.transpose(a), b)

    return _backward(transposed_times, add_rows, unit, prototypes, labels, scale, upstream, by_own, residuals)


# --- PyTorch: inside a custom gradient nothing is recorded, so the passes write where they read
# ------------------------


def _torch_forward(unit, prototypes, labels, scale, negatives):
    own = labels.long()[:, None]
    inverse = _analytic.inverse_norms(prototypes)
    cosines = (unit @ prototypes.T).mul_(inverse)
    if negatives.margin is None:
        logits, slope = cosines.scatter_(1, own, LOG_ZERO), None
        best = logits.amax(dim=1)
        logits.mul_(scale[:, None])
    else:
        best = cosines.scatter(1, own, LOG_ZERO).amax(dim=1)
        values, slope = negatives.at(cosines)
        logits = (values * scale[:, None]).scatter_(1, own, LOG_ZERO)
    offset = logits.amax(dim=1)
    exponentials = logits.sub_(offset[:, None]).exp_()
    total = exponentials.sum(dim=1)
    weights = exponentials.mul_(inverse) if slope is None else exponentials.mul_(slope).mul_(inverse)
    return total.log() + offset, best, (weights, inverse, total)


def _torch_backward(unit, prototypes, labels, scale, negatives, upstream, by_own, residuals):
    weights, inverse, total = residuals
    ratio = (upstream / total)[:, None]
    products = ratio * (weights @ prototypes)
    by_rows = weights.T @ (ratio * scale[:, None] * unit)
    along = (by_rows * prototypes).sum(dim=1) * inverse
    # |along| and the unit prototypes stay in range where inverse * inverse does not.
    by_rows -= (prototypes * inverse[:, None]).mul_(along[:, None])
    return products, by_rows.index_add_(0, labels.long(), by_own)


_PASSES = {
    "tensorflow": (_tensorflow_forward, _tensorflow_backward),
    "jax": (_jax_forward, _jax_backward),
    "torch": (_torch_forward, _torch_backward),
}
