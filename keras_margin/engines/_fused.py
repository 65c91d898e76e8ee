"""The fused engine: one (batch, num_classes) tensor, and the time of its three matrix products."""

import dataclasses
import functools
from typing import Any

import keras
from keras import ops

from keras_margin.engines import _by_hand
from keras_margin.engines._meeting import LOG_ZERO, TINY


def fused(unit_embeddings, prototypes, labels, scale, bend=None):
    """The same as `plain` at the cost of its three matrix products: one (batch, num_classes) tensor, exact gradient.

    The derivation is in `_by_hand`. G overwrites the product it is made from, and is all that the backward pass keeps.

    Args:
        unit_embeddings: As in `plain`.
        prototypes: As in `plain`, of rank 2.
        labels: As in `plain`.
        scale: As in `plain`; a number where the logits bend.
        bend: As in `plain`.

    Returns:
        Meeting.
    """
    passes = _PASSES[keras.backend.backend()]()

    def forward(queries, prototypes, labels, logits):
        inverse = passes.inverse_norms(prototypes)
        products = passes.times_transposed(queries, prototypes)
        weights, total, best, offset = passes.exponentials(logits, products, inverse, labels)
        if total is None:
            total = _total(weights, inverse, labels, offset)
        total = ops.maximum(total, TINY)
        return ops.log(total) + offset, best, offset, (weights, inverse, total)

    def backward(queries, prototypes, labels, logits, upstream, by_own, log_sum, offset, kept):
        weights, inverse, total = kept
        ratio = ops.expand_dims(upstream / total, 1)
        by_queries = ratio * ops.matmul(weights, prototypes)
        by_rows = passes.transposed_times(weights, ratio * queries)
        return by_queries, passes.finish(by_rows, prototypes, inverse, labels, by_own)

    return _by_hand.meet(forward, backward, unit_embeddings, prototypes, labels, scale, bend)


def _total(weights, inverse, labels, offset):
    """sum_j exp(logit_j - offset) from G, (batch,), where every slope is 1.

    A product instead of a second pass over exp, which XLA would keep a whole tensor for. Zero prototypes are not in G,
    and count exp(0) each.
    """
    nowhere = ops.cast(inverse == 0, "float32")
    norms = 1.0 / ops.where(inverse == 0, ops.ones_like(inverse), inverse) - nowhere
    count = ops.sum(nowhere) - ops.take(nowhere, labels)
    return ops.squeeze(ops.matmul(weights, ops.expand_dims(norms, 1)), 1) + count * ops.exp(-offset)


# --- The elementwise passes, one set a backend ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Passes:
    """inverse_norms, two products, exponentials -> (G, Z or None, best, offset), finish -> by_prototypes."""

    inverse_norms: Any
    times_transposed: Any
    transposed_times: Any
    exponentials: Any
    finish: Any


def _bests(kind, products, inverse, labels, *parameters):
    """Largest q . W_j / n_j and largest logit of another class; the second 0 where sums need no offset."""
    own = _by_hand.own_in_block(labels, 0, products.shape[1])
    cosines = products * inverse
    best = ops.max(_by_hand.masked(cosines, own), axis=1)
    function, _, needs_offset = kind
    if not needs_offset:
        return best, ops.zeros_like(best)
    if function is None:
        return best, best
    values, _ = _by_hand.Logits.at(kind, cosines, parameters)
    return best, ops.max(_by_hand.masked(values, own), axis=1)


def _exponentials(kind, products, inverse, labels, offset, *parameters):
    """(exp(logit - offset), slope), (batch, num_classes), the first 0 at the own class."""
    own = _by_hand.own_in_block(labels, 0, products.shape[1])
    values, slope = _by_hand.Logits.at(kind, products * inverse, parameters)
    values = values - ops.expand_dims(offset, 1) if kind[2] else values
    return ops.exp(_by_hand.masked(values, own)), slope


def _sum(*arguments):
    return ops.sum(_exponentials(*arguments)[0], axis=1)


def _weights(kind, products, inverse, *arguments):
    exponentials, slope = _exponentials(kind, products, inverse, *arguments)
    return exponentials * (inverse if slope is None else slope * inverse)


def _in_passes(compiled):
    """`exponentials` in three passes, each compiled on its own, so that none keeps a second tensor of the size."""

    def exponentials(logits, products, inverse, labels):
        kind, parameters = logits.kind, logits.parameters
        best, offset = compiled(_bests, kind)(products, inverse, labels, *parameters)
        arguments = (products, inverse, labels, offset, *parameters)
        total = None if logits.function is None else compiled(_sum, kind)(*arguments)
        return compiled(_weights, kind)(*arguments), total, best, offset

    return exponentials


@functools.cache
def _tensorflow_passes():
    import tensorflow as tf

    # Islands of XLA: each pass over a (batch, num_classes) or (num_classes, size) tensor is one loop without a copy,
    # inside and outside of a compiled program alike. X W^T is in one too: oneDNN takes 1.6 times as long for it. The
    # other products stay with oneDNN or cuBLAS.
    @functools.cache
    def island(function, *leading):
        return tf.function(functools.partial(function, *leading), jit_compile=True, autograph=False)

    def finish(by_rows, prototypes, inverse, labels, by_own):
        # Inside the island the rows are added in place; outside, TensorFlow would copy the whole gradient for them.
        rows = _by_hand.tangent(by_rows, prototypes, inverse)
        return tf.tensor_scatter_nd_add(rows, labels[:, None], by_own)

    return _Passes(
        inverse_norms=island(_by_hand.inverse_norms),
        # keras.ops.transpose is a copy as large as its argument here.
        times_transposed=island(functools.partial(tf.matmul, transpose_b=True)),
        transposed_times=lambda a, b: tf.matmul(a, b, transpose_a=True),
        exponentials=_in_passes(island),
        finish=island(finish),
    )


@functools.cache
def _jax_passes():
    def finish(by_rows, prototypes, inverse, labels, by_own):
        return _by_hand.tangent(by_rows, prototypes, inverse).at[labels].add(by_own)

    return _Passes(
        inverse_norms=_by_hand.inverse_norms,
        times_transposed=lambda a, b: ops.matmul(a, ops.transpose(b)),
        transposed_times=lambda a, b: ops.matmul(ops.transpose(a), b),
        exponentials=_in_passes(functools.partial),
        finish=finish,
    )


@functools.cache
def _torch_passes():
    # Inside a custom gradient nothing is recorded, so the passes may write where they read.
    def exponentials(logits, products, inverse, labels):
        own = labels.long()[:, None]
        cosines = products.mul_(inverse)
        best = cosines.scatter(1, own, LOG_ZERO).amax(dim=1) if logits.function else None
        values, slope = _by_hand.Logits.at(logits.kind, cosines, logits.parameters)
        values.scatter_(1, own, LOG_ZERO)
        top = values.amax(dim=1)
        offset = top if logits.needs_offset else top * 0.0
        if logits.needs_offset:
            values.sub_(offset[:, None])
        values.exp_()
        total = values.sum(dim=1)
        weights = values.mul_(inverse) if slope is None else values.mul_(slope).mul_(inverse)
        return weights, total, top if best is None else best, offset

    def finish(by_rows, prototypes, inverse, labels, by_own):
        along = (by_rows * prototypes).sum(dim=1) * inverse * inverse
        return by_rows.addcmul_(prototypes, along[:, None], value=-1.0).index_add_(0, labels.long(), by_own)

    return _Passes(
        inverse_norms=_by_hand.inverse_norms,
        times_transposed=lambda a, b: ops.matmul(a, ops.transpose(b)),
        transposed_times=lambda a, b: ops.matmul(ops.transpose(a), b),
        exponentials=exponentials,
        finish=finish,
    )


_PASSES = {"tensorflow": _tensorflow_passes, "jax": _jax_passes, "torch": _torch_passes}
