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


def _maxima(products, inverse, labels, negatives):
    """Returns the largest cosine and the largest negative logit before scaling, (batch,) each."""
    own = is_own_class(labels, products.shape[1])
    cosines = products * inverse
    best = ops.max(masked(cosines, own), axis=1)
    return best, best if negatives.margin is None else ops.max(masked(negatives.at(cosines)[0], own), axis=1)


def _exponentials(products, inverse, labels, scale, top, negatives):
    """Returns E and the slope, (batch, num_classes)."""
    own = is_own_class(labels, products.shape[1])
    values, slope = negatives.at(products * inverse)
    return ops.exp(masked(ops.expand_dims(scale, 1) * (values - ops.expand_dims(top, 1)), own)), slope


def _weights(products, inverse, labels, scale, top, negatives):
    """Returns G."""
    exponentials, slope = _exponentials(products, inverse, labels, scale, top, negatives)
    return exponentials * (inverse if slope is None else slope * inverse)


def _total(weights, inverse, labels, scaled_top):
    """Computes Z from G, (batch,), where every slope is 1: a product instead of a second pass over exp.

    Zero prototypes are not in G. Each counts exp(0 - s top); where there is one, the top is at least 0.
    """
    zero = ops.cast(inverse == 0, "float32")
    norms = 1.0 / ops.where(inverse == 0, ops.ones_like(inverse), inverse) - zero
    count = ops.sum(zero) - ops.take(zero, labels)
    others = ops.squeeze(ops.matmul(weights, ops.expand_dims(norms, 1)), 1)
    return others + count * ops.exp(-ops.maximum(scaled_top, 0.0))


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
        return _maxima(products, inverse, labels, negatives)

    best, top = _run(maxima, prototypes, products, inverse)

    def weighed(products, inverse, top):
        return _weights(products, inverse, labels, scale, top, negatives)

    def summed(products, inverse, top):
        return ops.sum(_exponentials(products, inverse, labels, scale, top, negatives)[0], axis=1)

    weights = _run(weighed, prototypes, products, inverse, top)
    if negatives.margin is None:
        total = _total(weights, inverse, labels, scale * top)
    else:
        total = _run(summed, prototypes, products, inverse, top)
    return ops.log(total) + scale * top, best, (weights, inverse, total)


def _backward(
    transposed_times, add_rows, unit, prototypes, labels, scale, upstream, by_own, residuals, after=lambda _, do: do()
):
    """(r G W, by_prototypes); `after(first, do)` calls `do` when the tensor `first` is computed."""
    weights, inverse, total = residuals
    ratio = ops.expand_dims(upstream / total, 1)
    products = ratio * ops.matmul(weights, prototypes)
    # In this order, or G would still be needed, and in memory, while the gradient of the prototypes is finished.
    weighted, divisor = _analytic.damped(ratio * ops.expand_dims(scale, 1) * unit)
    by_rows = after(products, lambda: transposed_times(weights, weighted))

    def finish(by_rows, prototypes, inverse, labels, by_own, divisor):
        turned = _analytic.undamped(_analytic.tangent(by_rows, prototypes, inverse), divisor)
        return add_rows(turned, labels, by_own)

    return products, _run(finish, prototypes, by_rows, prototypes, inverse, labels, by_own, divisor)


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


# --- PyTorch ----------------------------------------------------------------------------------------------------------
# Inside a custom gradient nothing is recorded, so the passes write where they read.


def _torch_forward(unit, prototypes, labels, scale, negatives):
    own = labels.long()[:, None]
    inverse = _analytic.inverse_norms(prototypes)
    cosines = (unit @ prototypes.T).mul_(inverse)
    if negatives.margin is None:
        values, slope = cosines.scatter_(1, own, LOG_ZERO), None
        best = top = values.amax(dim=1)
    else:
        best = cosines.scatter(1, own, LOG_ZERO).amax(dim=1)
        values, slope = negatives.at(cosines)
        values = values.scatter(1, own, LOG_ZERO)
        top = values.amax(dim=1)
    # The own class last: a scale of 0, a zero embedding's, would make 1 of its exponential.
    exponentials = values.sub_(top[:, None]).mul_(scale[:, None]).exp_().scatter_(1, own, 0.0)
    total = exponentials.sum(dim=1)
    weights = exponentials.mul_(inverse) if slope is None else exponentials.mul_(slope).mul_(inverse)
    return total.log() + scale * top, best, (weights, inverse, total)


def _torch_backward(unit, prototypes, labels, scale, negatives, upstream, by_own, residuals):
    weights, inverse, total = residuals
    ratio = (upstream / total)[:, None]
    products = ratio * (weights @ prototypes)
    weighted, divisor = _analytic.damped(ratio * scale[:, None] * unit)
    by_rows = weights.T @ weighted
    along = (by_rows * prototypes).sum(dim=1) * inverse
    # |along| and the unit prototypes stay in range where inverse * inverse does not.
    by_rows -= (prototypes * inverse[:, None]).mul_(along[:, None])
    if divisor > 1:
        by_rows = _analytic.undamped(by_rows, divisor)
    return products, by_rows.index_add_(0, labels.long(), by_own)


_PASSES = {
    "tensorflow": (_tensorflow_forward, _tensorflow_backward),
    "jax": (_jax_forward, _jax_backward),
    "torch": (_torch_forward, _torch_backward),
}
