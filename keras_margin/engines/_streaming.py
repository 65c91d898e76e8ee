"""The streaming engine: chunks of classes, so that no tensor has a place for every one of them."""

import functools

import keras
from keras import ops

from keras_margin.engines import _by_hand
from keras_margin.engines._meeting import LOG_ZERO, TINY

# Classes met at a time.
CHUNK = 4096


def streaming(unit_embeddings, prototypes, labels, scale, bend=None):
    """The same as `plain` with nothing of size batch x num_classes: chunks of classes, computed again backwards.

    The derivation is in `_by_hand`; a chunk adds to Z and, in the backward pass, to both gradients. The running sum is
    moved to the largest logit so far where it needs an offset. One product of four is the price of memory that does not
    grow with the classes, but for the prototypes' gradient.

    Args:
        unit_embeddings: As in `plain`.
        prototypes: As in `plain`, of rank 2.
        labels: As in `plain`.
        scale: As in `plain`; a number where the logits bend.
        bend: As in `plain`.

    Returns:
        Meeting.
    """
    passes = _PASSES[keras.backend.backend()]

    def forward(queries, prototypes, labels, logits):
        found = passes("forward", logits.kind)(queries, prototypes, labels, *logits.parameters)
        total, best, offset = found
        total = ops.maximum(total, TINY)
        return ops.log(total) + offset, best, offset, (total,)

    def backward(queries, prototypes, labels, logits, upstream, by_own, log_sum, offset, kept):
        ratio = ops.expand_dims(upstream / kept[0], 1)
        arguments = (queries, prototypes, labels, ratio, by_own, offset, *logits.parameters)
        return passes("backward", logits.kind)(*arguments)

    return _by_hand.meet(forward, backward, unit_embeddings, prototypes, labels, scale, bend)


class _Chunks:
    """Equal chunks of the classes; the last begins early enough to be as long as the others."""

    def __init__(self, num_classes):
        self.count = -(-num_classes // CHUNK)
        self.size = -(-num_classes // self.count)
        self.last_start = num_classes - self.size

    def start(self, number):
        return ops.minimum(number * self.size, self.last_start)

    def skipped(self, number, labels):
        """Boolean (batch, size): True at each sample's own class, and at classes that the chunk before had."""
        start = self.start(number)
        repeated = ops.arange(self.size) + start < number * self.size
        return ops.logical_or(_by_hand.own_in_block(labels, start, self.size), ops.expand_dims(repeated, 0))


def _block(chunks, number, queries, prototypes, labels, kind, parameters):
    """(rows, inverse, cosines, logits, slope) of a chunk; cosines and logits at log 0 where a class must not count."""
    rows = ops.slice(prototypes, (chunks.start(number), 0), (chunks.size, prototypes.shape[1]))
    inverse = _by_hand.inverse_norms(rows)
    cosines = ops.matmul(queries, ops.transpose(rows)) * inverse
    values, slope = _by_hand.Logits.at(kind, cosines, parameters)
    skipped = chunks.skipped(number, labels)
    return rows, inverse, _by_hand.masked(cosines, skipped), _by_hand.masked(values, skipped), slope


def _forward(kind, queries, prototypes, labels, *parameters):
    """(Z, best, offset), each (batch,)."""
    chunks = _Chunks(prototypes.shape[0])

    def add(number, state):
        total, best, offset = state
        _, _, cosines, values, _ = _block(chunks, number, queries, prototypes, labels, kind, parameters)
        best = ops.maximum(best, ops.max(cosines, axis=1))
        if kind[2]:
            moved = ops.maximum(offset, ops.max(values, axis=1))
            total, offset = total * ops.exp(offset - moved), moved
            values = values - ops.expand_dims(offset, 1)
        return total + ops.sum(ops.exp(values), axis=1), best, offset

    nothing = ops.zeros_like(queries[:, 0])
    lowest = nothing + LOG_ZERO
    return ops.fori_loop(0, chunks.count, add, (nothing, lowest, lowest if kind[2] else nothing))


def _backward(kind, queries, prototypes, labels, ratio, by_own, offset, *parameters):
    """(by_queries, by_prototypes)."""
    chunks = _Chunks(prototypes.shape[0])
    weighted = ratio * queries

    def add(number, state):
        by_queries, by_prototypes = state
        rows, inverse, _, values, slope = _block(chunks, number, queries, prototypes, labels, kind, parameters)
        values = values - ops.expand_dims(offset, 1) if kind[2] else values
        weights = ops.exp(values) * (inverse if slope is None else slope * inverse)
        by_rows = _by_hand.tangent(ops.matmul(ops.transpose(weights), weighted), rows, inverse)
        start = (chunks.start(number), 0)
        # Added, not set: the last chunk may reach into the one before.
        by_rows = by_rows + ops.slice(by_prototypes, start, rows.shape)
        return by_queries + ops.matmul(weights, rows), ops.slice_update(by_prototypes, start, by_rows)

    own_rows = _scatter_add(ops.zeros_like(prototypes), labels, by_own)
    by_queries, by_prototypes = ops.fori_loop(0, chunks.count, add, (ops.zeros_like(queries), own_rows))
    return ratio * by_queries, by_prototypes


def _scatter_add(rows, index, added):
    if keras.backend.backend() == "jax":
        return rows.at[index].add(added)
    import tensorflow as tf

    return tf.tensor_scatter_nd_add(rows, index[:, None], added)


@functools.cache
def _tensorflow(name, kind):
    import tensorflow as tf

    # All of it in XLA, whose loops write the gradient's rows in place, inside and outside of a compiled program alike.
    function = functools.partial({"forward": _forward, "backward": _backward}[name], kind)
    return tf.function(function, jit_compile=True, autograph=False)


def _jax(name, kind):
    return functools.partial({"forward": _forward, "backward": _backward}[name], kind)


# PyTorch's slices are views, and inside a custom gradient nothing is recorded: plain loops that write in place.


def _torch_blocks(kind, queries, prototypes, labels, parameters):
    for start in range(0, len(prototypes), CHUNK):
        rows = prototypes[start : start + CHUNK]
        inverse = _by_hand.inverse_norms(rows)
        cosines = (queries @ rows.T).mul_(inverse)
        values, slope = _by_hand.Logits.at(kind, cosines, parameters)
        own = _by_hand.own_in_block(labels, start, len(rows))
        yield start, rows, inverse, cosines.masked_fill(own, LOG_ZERO), values.masked_fill(own, LOG_ZERO), slope


def _torch_forward(kind, queries, prototypes, labels, *parameters):
    total = queries.new_zeros(len(queries))
    best = total + LOG_ZERO
    offset = total + LOG_ZERO if kind[2] else total.clone()
    for _, _, _, cosines, values, _ in _torch_blocks(kind, queries, prototypes, labels, parameters):
        best = best.maximum(cosines.amax(dim=1))
        if kind[2]:
            moved = offset.maximum(values.amax(dim=1))
            total, offset = total * (offset - moved).exp(), moved
            values = values.sub_(offset[:, None])
        total = total + values.exp_().sum(dim=1)
    return total, best, offset


def _torch_backward(kind, queries, prototypes, labels, ratio, by_own, offset, *parameters):
    by_queries, by_prototypes = ops.zeros_like(queries), ops.zeros_like(prototypes)
    weighted = ratio * queries
    for start, rows, inverse, _, values, slope in _torch_blocks(kind, queries, prototypes, labels, parameters):
        weights = (values.sub_(offset[:, None]) if kind[2] else values).exp_().mul_(inverse)
        weights = weights if slope is None else weights.mul_(slope)
        by_queries.addmm_(weights, rows)
        by_prototypes[start : start + len(rows)] = _by_hand.tangent(weights.T @ weighted, rows, inverse)
    by_prototypes.index_add_(0, labels.long(), by_own)
    return ratio * by_queries, by_prototypes


def _torch(name, kind):
    return functools.partial({"forward": _torch_forward, "backward": _torch_backward}[name], kind)


_PASSES = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
