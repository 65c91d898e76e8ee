"""Engines: how a batch meets all the prototypes.

Every margin loss of this package splits in two. What bends the target is worth a few numbers a sample; what costs
is the log-sum over the other classes. An engine does the second:

    log_negatives_i = log sum_{j != y_i} exp(scale_i * cos(x_i, W_j))

and hands back the sample's own prototype, from which the head computes the rest by plain autodiff:

    loss_i = softplus(log_negatives_i - target_logit_i) = -log p_i

A margin, a regulariser or an annealed lambda therefore never meets an engine, and an engine never meets them.
"""

import dataclasses
import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_margin import numerics

# Stands for log 0 where a class must not count. Finite, so no engine ever computes inf - inf.
LOG_ZERO = -1e30
# Up to here sums of exp(scale * cos) over any number of classes stay inside float32 without a row maximum.
_SAFE_SCALE = 64.0
_TINY = float(np.finfo("float32").tiny)


@dataclasses.dataclass(frozen=True)
class Meeting:
    """What an engine returns for a batch.

    Attributes:
        log_sum: Float tensor (batch,), log sum over j != y of exp(logit_j).
        best_cosine: Float tensor (batch,), the largest cosine to a class that is not the sample's. No gradient.
        own_prototype: Float tensor (batch, embedding_size), the sample's own prototype, not normalised.
    """

    log_sum: Any
    best_cosine: Any
    own_prototype: Any


def plain(unit_embeddings, prototypes, labels, scale):
    """Straightforward engine: the whole (batch, num_classes) matrix of logits, differentiated by the backend.

    Args:
        unit_embeddings: Float32 tensor (batch, embedding_size), rows of length 1 or 0.
        prototypes: Float32 tensor (num_classes, embedding_size), any lengths; or (num_classes, centers,
            embedding_size), of which each class's nearest counts.
        labels: Integer tensor (batch,), in [0, num_classes).
        scale: Float32 number or tensor (batch,).

    Returns:
        Meeting.
    """
    found = cosines(unit_embeddings, prototypes)
    return Meeting(
        log_sum=log_sum_of_others(found, labels, scale),
        best_cosine=best_of_others(found, labels),
        own_prototype=own_prototypes(unit_embeddings, prototypes, labels),
    )


def cosines(unit_embeddings, prototypes):
    """Cosine of each embedding to each class, (batch, num_classes); arguments as in `plain`."""
    unit_prototypes, _ = numerics.unit_normalize(prototypes)
    if len(prototypes.shape) == 2:
        return ops.matmul(unit_embeddings, ops.transpose(unit_prototypes))
    num_classes, centers, size = prototypes.shape
    flat = ops.reshape(unit_prototypes, (num_classes * centers, size))
    to_centers = ops.matmul(unit_embeddings, ops.transpose(flat))
    return ops.max(ops.reshape(to_centers, (-1, num_classes, centers)), axis=2)


def own_prototypes(unit_embeddings, prototypes, labels):
    """Each sample's own prototype, not normalised, (batch, embedding_size); of several centres the nearest."""
    own = ops.take(prototypes, labels, axis=0)
    if len(prototypes.shape) == 2:
        return own
    unit_own, _ = numerics.unit_normalize(own)
    nearest = ops.argmax(ops.sum(unit_own * ops.expand_dims(unit_embeddings, 1), axis=2), axis=1)
    nearest = ops.reshape(ops.cast(nearest, "int32"), (-1, 1, 1))
    index = ops.broadcast_to(nearest, (ops.shape(own)[0], 1, own.shape[2]))
    return ops.squeeze(ops.take_along_axis(own, index, axis=1), axis=1)


def log_sum_of_others(logits, labels, scale=1.0):
    """log sum over j != y of exp(scale * logits_j), (batch,), from logits or cosines (batch, num_classes)."""
    own = is_own_class(labels, ops.shape(logits)[1])
    scaled = ops.reshape(ops.convert_to_tensor(scale, "float32"), (-1, 1)) * logits
    return ops.logsumexp(ops.where(own, LOG_ZERO, scaled), axis=1)


def best_of_others(cosines, labels):
    """Largest cosine to a class that is not the sample's, (batch,); no gradient."""
    own = is_own_class(labels, ops.shape(cosines)[1])
    return ops.max(ops.where(own, -2.0, ops.stop_gradient(cosines)), axis=1)


def is_own_class(labels, num_classes):
    """Boolean (batch, num_classes): True at each sample's label, all False where the label is outside the classes."""
    return ops.equal(ops.expand_dims(labels, 1), ops.arange(num_classes, dtype=labels.dtype))


def fused(unit_embeddings, prototypes, labels, scale):
    """The same as `plain` at the cost of its three matrix products: one (batch, num_classes) tensor, exact gradient.

    With q = scale x and n_j = |W_j|, the normalised prototypes are never built:

        G_ij = exp(q_i . W_j / n_j - offset_i) / n_j,  G_iy = 0
        Z_i  = sum_j G_ij n_j,                         log_sum_i = log Z_i + offset_i

    and with the upstream g_i, r_i = g_i / Z_i:

        d/dq_i = r_i (G W)_i
        d/dW_j = D_j - W_j (D_j . W_j) / n_j^2,  D = G^T (r q);  the own prototype's gradient is added to its row.

    |q . W_j / n_j| <= scale, so up to scale 64 no row maximum is needed; above, the offset is the row's maximum.

    Args:
        unit_embeddings: As in `plain`.
        prototypes: As in `plain`, of rank 2.
        labels: As in `plain`.
        scale: As in `plain`.

    Returns:
        Meeting.
    """
    backend = _KERNELS[keras.backend.backend()]()
    needs_offset = not isinstance(scale, (int, float)) or scale > _SAFE_SCALE
    scale = ops.reshape(ops.convert_to_tensor(scale, "float32"), (-1, 1))

    @ops.custom_gradient
    def meet(queries, prototypes):
        norms = backend.row_norms(prototypes)
        # A zero prototype is at cosine 0 from everything, and its direction takes no gradient.
        inverse = ops.where(norms >= _TINY, 1.0 / ops.maximum(norms, _TINY), ops.zeros_like(norms))
        products = backend.times_transposed(queries, prototypes)
        weights, best, offset = backend.exponentials(products, inverse, labels, needs_offset)
        # A product instead of a second pass over exp, which XLA would keep a whole tensor for. Zero prototypes are not
        # in it, and count exp(0) each.
        nowhere = ops.cast(norms < _TINY, "float32")
        count = ops.sum(nowhere) - ops.take(nowhere, labels)
        total = ops.squeeze(ops.matmul(weights, ops.expand_dims(norms, 1)), 1) + count * ops.exp(-offset)
        total = ops.maximum(total, _TINY)
        own = ops.take(prototypes, labels, axis=0)

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            by_own = upstream[:, 2:]
            ratio = upstream[:, :1] / ops.expand_dims(total, 1)
            by_queries = ratio * ops.matmul(weights, prototypes)
            by_rows = backend.transposed_times(weights, ratio * queries)
            return by_queries, backend.finish(by_rows, prototypes, inverse, labels, by_own)

        # One tensor, (batch, 2 + size): Keras's custom_gradient hands over tuples differently on each backend.
        found = ops.concatenate([ops.stack([ops.log(total) + offset, best], axis=1), own], axis=1)
        return found, gradient

    found = meet(scale * unit_embeddings, backend.read(prototypes))
    # |q| is the scale, but for zero embeddings, which have no best class.
    best = ops.stop_gradient(found[:, 1]) / ops.maximum(ops.squeeze(scale, 1), _TINY)
    return Meeting(log_sum=found[:, 0], best_cosine=best, own_prototype=found[:, 2:])


# --- Elementwise passes of the fused engine, one set a backend ------------------------------------------------------


def _row_norms(prototypes):
    return ops.sqrt(ops.sum(prototypes * prototypes, axis=1))


def _exponentials(products, inverse, labels, needs_offset):
    """G, the largest scaled cosine of another class, and the offset; see `fused`."""
    own = is_own_class(labels, products.shape[1])
    logits = ops.where(own, LOG_ZERO, products * inverse)
    best = ops.max(logits, axis=1)
    offset = best if needs_offset else ops.zeros_like(best)
    exponentials = ops.exp(logits - ops.expand_dims(offset, 1)) if needs_offset else ops.exp(logits)
    return exponentials * inverse, best, offset


def _tangent(by_rows, prototypes, inverse):
    along = ops.sum(by_rows * prototypes, axis=1) * inverse * inverse
    return by_rows - prototypes * ops.expand_dims(along, 1)


@dataclasses.dataclass(frozen=True)
class _Kernels:
    read: Any
    times_transposed: Any
    transposed_times: Any
    row_norms: Any
    exponentials: Any
    finish: Any


_PRODUCTS = {
    "times_transposed": lambda a, b: ops.matmul(a, ops.transpose(b)),
    "transposed_times": lambda a, b: ops.matmul(ops.transpose(a), b),
}


@functools.cache
def _tensorflow_kernels():
    import tensorflow as tf

    # Islands of XLA: each pass over a (batch, num_classes) or (num_classes, size) tensor is one loop without a copy,
    # inside and outside of a compiled program alike. The matrix products stay with oneDNN or cuBLAS, which are faster.
    def island(function):
        return tf.function(function, jit_compile=True, autograph=False)

    def finish(by_rows, prototypes, inverse, labels, by_own):
        # Inside the island the rows are added in place; outside, TensorFlow would copy the whole gradient for them.
        return tf.tensor_scatter_nd_add(_tangent(by_rows, prototypes, inverse), labels[:, None], by_own)

    return _Kernels(
        # A variable as argument of a custom gradient is an error; read as a whole it is not copied.
        read=tf.convert_to_tensor,
        # keras.ops.transpose is a copy as large as its argument here.
        times_transposed=lambda a, b: tf.matmul(a, b, transpose_b=True),
        transposed_times=lambda a, b: tf.matmul(a, b, transpose_a=True),
        row_norms=island(_row_norms),
        exponentials=island(_exponentials),
        finish=island(finish),
    )


@functools.cache
def _jax_kernels():
    return _Kernels(
        read=ops.convert_to_tensor,
        **_PRODUCTS,
        row_norms=_row_norms,
        exponentials=_exponentials,
        finish=lambda rows, prototypes, inverse, labels, by_own: (
            _tangent(rows, prototypes, inverse).at[labels].add(by_own)
        ),
    )


@functools.cache
def _torch_kernels():
    # Inside a custom gradient nothing is recorded, so the passes may write where they read.
    def exponentials(products, inverse, labels, needs_offset):
        logits = products.mul_(inverse)
        logits.scatter_(1, labels.long()[:, None], LOG_ZERO)
        best = logits.amax(dim=1)
        offset = best if needs_offset else best * 0.0
        if needs_offset:
            logits.sub_(offset[:, None])
        return logits.exp_().mul_(inverse), best, offset

    def finish(by_rows, prototypes, inverse, labels, by_own):
        along = (by_rows * prototypes).sum(dim=1) * inverse * inverse
        return by_rows.addcmul_(prototypes, along[:, None], value=-1.0).index_add_(0, labels.long(), by_own)

    return _Kernels(
        read=ops.convert_to_tensor,
        **_PRODUCTS,
        row_norms=lambda prototypes: prototypes.norm(dim=1),
        exponentials=exponentials,
        finish=finish,
    )


_KERNELS = {"tensorflow": _tensorflow_kernels, "jax": _jax_kernels, "torch": _torch_kernels}

ENGINES = {"plain": plain, "fused": fused}
