"""The streaming implementation: chunks of classes, so that no tensor has a place for every one of them."""

import functools

import keras
from keras import ops

from keras_margin._typing import Tensor
from keras_margin.ops import _analytic
from keras_margin.ops._analytic import masked
from keras_margin.ops.memory import CHUNK
from keras_margin.ops.negatives import NegativeLogits, NegativeLogSumExp, is_own_class
from keras_margin.ops.numerics import LOG_ZERO


def streaming(
    unit: Tensor, prototypes: Tensor, labels: Tensor, scale: Tensor, negatives: NegativeLogits
) -> NegativeLogSumExp:
    """Computes what `reference` does with nothing of size batch x num_classes: chunks of classes, computed twice.

    The derivation is in `_analytic`; a chunk adds to Z and, in the backward pass, to both gradients. The running sum is
    moved to the largest logit so far. One product of four is the price of memory that does not grow with the classes,
    apart from the prototypes' gradient.

    Args:
        unit: As in `reference`.
        prototypes: As in `reference`, of rank 2.
        labels: As in `reference`.
        scale: As in `reference`; one number for all, without gradient, where `negatives` has a margin.
        negatives: As in `reference`; a margin's negative logits come with their slope.
    """
    forward, backward = _PASSES[keras.backend.backend()]
    return _analytic.analytic(forward, backward, unit, prototypes, labels, scale, negatives)


class _Chunks:
    """Equal chunks of the classes; the last begins early enough to be as long as the others."""

    def __init__(self, num_classes: int):
        self.count = -(-num_classes // CHUNK)
        self.size = -(-num_classes // self.count)
        self.last_start = num_classes - self.size

    def start(self, number):
        return ops.minimum(number * self.size, self.last_start)

    def skipped(self, number, labels):
        """Marks, (batch, size), each sample's own class, and classes that the chunk before had."""
        start = self.start(number)
        repeated = ops.arange(self.size) + start < number * self.size
        return ops.logical_or(is_own_class(labels, self.size, start), ops.expand_dims(repeated, 0))


def _block(chunks, number, unit, prototypes, labels, negatives):
    """(rows, inverse, cosines, values, slope, skipped) of a chunk; `skipped` marks what must not count."""
    rows = ops.slice(prototypes, (chunks.start(number), 0), (chunks.size, prototypes.shape[1]))
    inverse = _analytic.inverse_norms(rows)
    cosines = ops.matmul(unit, ops.transpose(rows)) * inverse
    values, slope = negatives.at(cosines)
    return rows, inverse, cosines, values, slope, chunks.skipped(number, labels)


def _exponentials(values, scale, top, skipped):
    """Returns E of a chunk, (batch, size)."""
    return ops.exp(masked(ops.expand_dims(scale, 1) * (values - ops.expand_dims(top, 1)), skipped))


def _totals(unit, prototypes, labels, scale, negatives):
    """(Z, best_cosine, top), each (batch,)."""
    chunks = _Chunks(prototypes.shape[0])

    def add(number, state):
        total, best, top = state
        _, _, cosines, values, _, skipped = _block(chunks, number, unit, prototypes, labels, negatives)
        higher = ops.maximum(top, ops.max(masked(values, skipped), axis=1))
        total = total * ops.exp(scale * (top - higher)) + ops.sum(_exponentials(values, scale, higher, skipped), axis=1)
        return total, ops.maximum(best, ops.max(masked(cosines, skipped), axis=1)), higher

    nothing = ops.zeros_like(unit[:, 0])
    return ops.fori_loop(0, chunks.count, add, (nothing, nothing + LOG_ZERO, nothing + LOG_ZERO))


def _gradients(unit, prototypes, labels, scale, ratio, by_own, top, negatives):
    """(r G W, by_prototypes)."""
    chunks = _Chunks(prototypes.shape[0])
    weighted, divisor = _analytic.damped(ratio * ops.expand_dims(scale, 1) * unit)

    def add(number, state):
        products, by_prototypes = state
        rows, inverse, _, values, slope, skipped = _block(chunks, number, unit, prototypes, labels, negatives)
        weights = _exponentials(values, scale, top, skipped) * (inverse if slope is None else slope * inverse)
        by_rows = _analytic.tangent(ops.matmul(ops.transpose(weights), weighted), rows, inverse)
        by_rows = _analytic.undamped(by_rows, divisor)
        start = (chunks.start(number), 0)
        # Added, not set: the last chunk may reach into the one before.
        by_rows = by_rows + ops.slice(by_prototypes, start, rows.shape)
        return products + ops.matmul(weights, rows), ops.slice_update(by_prototypes, start, by_rows)

    own_rows = _scatter_add(ops.zeros_like(prototypes), labels, by_own)
    products, by_prototypes = ops.fori_loop(0, chunks.count, add, (ops.zeros_like(unit), own_rows))
    return ratio * products, by_prototypes


def _scatter_add(rows, index, added):
    if keras.backend.backend() == "jax":
        return rows.at[index].add(added)
    import tensorflow as tf

    return tf.tensor_scatter_nd_add(rows, index[:, None], added)


def _as_one_program(function, *arguments):
    """Calls `function`; on TensorFlow in XLA, whose loops write the gradient's rows in place."""
    if keras.backend.backend() != "tensorflow":
        return function(*arguments)
    import tensorflow as tf

    found = tf.function(function, jit_compile=True, autograph=False)(*arguments)
    # A persistent tape would differentiate the loop itself, ahead of time, which XLA cannot.
    return tuple(map(tf.stop_gradient, found))


def _forward(unit, prototypes, labels, scale, negatives):
    totals = functools.partial(_totals, negatives=negatives)
    total, best, top = _as_one_program(totals, unit, prototypes, labels, scale)
    return ops.log(total) + scale * top, best, (total, top)


def _backward(unit, prototypes, labels, scale, negatives, upstream, by_own, residuals):
    total, top = residuals
    ratio = ops.expand_dims(upstream / total, 1)
    gradients = functools.partial(_gradients, negatives=negatives)
    return _as_one_program(gradients, unit, prototypes, labels, scale, ratio, by_own, top)


# PyTorch's slices are views, and inside a custom gradient nothing is recorded: plain loops that write in place.


def _torch_blocks(unit, prototypes, labels, negatives):
    for start in range(0, len(prototypes), CHUNK):
        rows = prototypes[start : start + CHUNK]
        inverse = _analytic.inverse_norms(rows)
        cosines = (unit @ rows.T).mul_(inverse)
        values, slope = negatives.at(cosines)
        yield start, rows, inverse, cosines, values, slope, is_own_class(labels, len(rows), start)


def _torch_exponentials(values, scale, top, own):
    return ((values - top[:, None]) * scale[:, None]).masked_fill_(own, LOG_ZERO).exp_()


def _torch_forward(unit, prototypes, labels, scale, negatives):
    total = unit.new_zeros(len(unit))
    best, top = total + LOG_ZERO, total + LOG_ZERO
    for _, _, _, cosines, values, _, own in _torch_blocks(unit, prototypes, labels, negatives):
        best = best.maximum(cosines.masked_fill(own, LOG_ZERO).amax(dim=1))
        higher = top.maximum(values.masked_fill(own, LOG_ZERO).amax(dim=1))
        total = total * (scale * (top - higher)).exp() + _torch_exponentials(values, scale, higher, own).sum(dim=1)
        top = higher
    return total.log() + scale * top, best, (total, top)


def _torch_backward(unit, prototypes, labels, scale, negatives, upstream, by_own, residuals):
    total, top = residuals
    ratio = (upstream / total)[:, None]
    products, by_prototypes = ops.zeros_like(unit), ops.zeros_like(prototypes)
    weighted, divisor = _analytic.damped(ratio * scale[:, None] * unit)
    for start, rows, inverse, _, values, slope, own in _torch_blocks(unit, prototypes, labels, negatives):
        weights = _torch_exponentials(values, scale, top, own).mul_(inverse)
        weights = weights if slope is None else weights.mul_(slope)
        products.addmm_(weights, rows)
        turned = _analytic.tangent(weights.T @ weighted, rows, inverse)
        by_prototypes[start : start + len(rows)] = _analytic.undamped(turned, divisor)
    by_prototypes.index_add_(0, labels.long(), by_own)
    return ratio * products, by_prototypes


_PASSES = {
    "tensorflow": (_forward, _backward),
    "jax": (_forward, _backward),
    "torch": (_torch_forward, _torch_backward),
}
