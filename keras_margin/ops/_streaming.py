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


def _block(chunks, number, unit, prototypes, labels, scale, negatives):
    """(rows, inverse, cosines, logits, slope) of a chunk; cosines and logits at log 0 where a class must not count."""
    rows = ops.slice(prototypes, (chunks.start(number), 0), (chunks.size, prototypes.shape[1]))
    inverse = _analytic.inverse_norms(rows)
    cosines = ops.matmul(unit, ops.transpose(rows)) * inverse
    values, slope = negatives.at(cosines)
    skipped = chunks.skipped(number, labels)
    logits = ops.expand_dims(scale, 1) * values
    return rows, inverse, masked(cosines, skipped), masked(logits, skipped), slope


def _totals(unit, prototypes, labels, scale, negatives):
    """(Z, best_cosine, offset), each (batch,)."""
    chunks = _Chunks(prototypes.shape[0])

    def add(number, state):
        total, best, offset = state
        _, _, cosines, logits, _ = _block(chunks, number, unit, prototypes, labels, scale, negatives)
        moved = ops.maximum(offset, ops.max(logits, axis=1))
        # A chunk without a class that counts adds nonsense to Z, which the first real logit moves to exactly 0.
        total = total * ops.exp(offset - moved) + ops.sum(ops.exp(logits - ops.expand_dims(moved, 1)), axis=1)
        return total, ops.maximum(best, ops.max(cosines, axis=1)), moved

    nothing = ops.zeros_like(unit[:, 0])
    return ops.fori_loop(0, chunks.count, add, (nothing, nothing + LOG_ZERO, nothing + LOG_ZERO))


def _gradients(unit, prototypes, labels, scale, ratio, by_own, offset, negatives):
    """(r G W, by_prototypes)."""
    chunks = _Chunks(prototypes.shape[0])
    weighted, divisor = _analytic.damped(ratio * ops.expand_dims(scale, 1) * unit)

    def add(number, state):
        products, by_prototypes = state
        rows, inverse, _, logits, slope = _block(chunks, number, unit, prototypes, labels, scale, negatives)
        weights = ops.exp(logits - ops.expand_dims(offset, 1)) * (inverse if slope is None else slope * inverse)
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
    total, best, offset = _as_one_program(totals, unit, prototypes, labels, scale)
    return ops.log(total) + offset, best, (total, offset)


def _backward(unit, prototypes, labels, scale, negatives, upstream, by_own, residuals):
    total, offset = residuals
    ratio = ops.expand_dims(upstream / total, 1)
    gradients = functools.partial(_gradients, negatives=negatives)
    return _as_one_program(gradients, unit, prototypes, labels, scale, ratio, by_own, offset)


# PyTorch's slices are views, and inside a custom gradient nothing is recorded: plain loops that write in place.


def _torch_blocks(unit, prototypes, labels, scale, negatives):
    for start in range(0, len(prototypes), CHUNK):
        rows = prototypes[start : start + CHUNK]
        inverse = _analytic.inverse_norms(rows)
        cosines = (unit @ rows.T).mul_(inverse)
        values, slope = negatives.at(cosines)
        own = is_own_class(labels, len(rows), start)
        logits = (scale[:, None] * values).masked_fill_(own, LOG_ZERO)
        yield start, rows, inverse, cosines.masked_fill(own, LOG_ZERO), logits, slope


def _torch_forward(unit, prototypes, labels, scale, negatives):
    total = unit.new_zeros(len(unit))
    best, offset = total + LOG_ZERO, total + LOG_ZERO
    for _, _, _, cosines, logits, _ in _torch_blocks(unit, prototypes, labels, scale, negatives):
        best = best.maximum(cosines.amax(dim=1))
        moved = offset.maximum(logits.amax(dim=1))
        total = total * (offset - moved).exp() + logits.sub_(moved[:, None]).exp_().sum(dim=1)
        offset = moved
    return total.log() + offset, best, (total, offset)


def _torch_backward(unit, prototypes, labels, scale, negatives, upstream, by_own, residuals):
    total, offset = residuals
    ratio = (upstream / total)[:, None]
    products, by_prototypes = ops.zeros_like(unit), ops.zeros_like(prototypes)
    weighted, divisor = _analytic.damped(ratio * scale[:, None] * unit)
    for start, rows, inverse, _, logits, slope in _torch_blocks(unit, prototypes, labels, scale, negatives):
        weights = logits.sub_(offset[:, None]).exp_().mul_(inverse)
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
