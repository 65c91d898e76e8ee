"""What the engines with a gradient by hand share: the outer function, and the pass over a block of classes.

With q = scale x (x where the logits bend), n_j = |W_j|, the normalised prototypes are never built:

    logit_ij = q_i . W_j / n_j, or scale * bend(q_i . W_j / n_j)
    G_ij     = exp(logit_ij - offset_i) * slope_ij / n_j,  G_iy = 0,  slope_ij = d logit_ij / d(q_i . W_j / n_j)
    log_sum_i = log sum_{j != y} exp(logit_ij - offset_i) + offset_i = log Z_i + offset_i

and with the upstream g_i, r_i = g_i / Z_i:

    d/dq_i = r_i (G W)_i
    d/dW_j = D_j - W_j (D_j . W_j) / n_j^2,  D = G^T (r q);  the own prototype's gradient is added to its row.

|q . W_j / n_j| <= scale, so up to scale 64 no row maximum is needed; above, and where logits bend, the offset is the
row's maximum.
"""

import keras
from keras import ops

from keras_margin.engines._cosines import is_own_class
from keras_margin.engines._meeting import LOG_ZERO, TINY, Meeting

# Up to here sums of exp(scale * cos) over any number of classes stay inside float32 without a row maximum.
_SAFE_SCALE = 64.0


def meet(forward, backward, unit_embeddings, prototypes, labels, scale, bend):
    """The Meeting that `forward` finds, with `backward` as its gradient.

    Args:
        forward: (queries, prototypes, labels, logits) -> (log_sum, best, offset, kept), tensors (batch,) and a tuple of
            what the backward pass reads again. `best` is the largest q . W_j / n_j of another class.
        backward: (queries, prototypes, labels, logits, upstream, by_own, log_sum, offset, kept) -> (by_queries,
            by_prototypes).
        unit_embeddings: Float32 tensor (batch, embedding_size), rows of length 1 or 0.
        prototypes: Float32 tensor (num_classes, embedding_size), or a variable.
        labels: Integer tensor (batch,), in [0, num_classes).
        scale: Float32 number or tensor (batch,); a number where the logits bend.
        bend: Bend or None.

    Returns:
        Meeting.
    """
    logits = Logits(scale, bend)
    scale = ops.reshape(ops.convert_to_tensor(scale, "float32"), (-1, 1))

    @ops.custom_gradient
    def found_by(queries, prototypes):
        # TensorFlow's tape would otherwise prepare to differentiate the passes, and keep what they compute.
        queries, prototypes = ops.stop_gradient(queries), ops.stop_gradient(prototypes)
        log_sum, best, offset, kept = forward(queries, prototypes, labels, logits)
        own = ops.take(prototypes, labels, axis=0)

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            by_log_sum, by_own = upstream[:, 0], upstream[:, 2:]
            return backward(queries, prototypes, labels, logits, by_log_sum, by_own, log_sum, offset, kept)

        # One tensor, (batch, 2 + size): Keras's custom_gradient hands over tuples differently on each backend.
        return ops.concatenate([ops.stack([log_sum, best], axis=1), own], axis=1), gradient

    found = found_by(unit_embeddings if bend else scale * unit_embeddings, _read(prototypes))
    best = ops.stop_gradient(found[:, 1])
    if bend is None:
        # |q| is the scale, but for zero embeddings, which have no best class.
        best = best / ops.maximum(ops.squeeze(scale, 1), TINY)
    return Meeting(log_sum=found[:, 0], best_cosine=best, own_prototype=found[:, 2:])


def _read(weight):
    """A tensor of a weight, or of what is one already; never a copy."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Keras hands over the tf.Variable, which as argument of a custom gradient is an error.
        return tf.convert_to_tensor(weight)
    return ops.convert_to_tensor(weight)


class Logits:
    """From cosines times |q| to logits and their slope; equal by value, so that TensorFlow compiles each kind once."""

    def __init__(self, scale, bend):
        self.function = None if bend is None else bend.function
        self.parameters = () if bend is None else tuple(map(_read, bend.parameters))
        is_number = isinstance(scale, (int, float))
        if bend is not None and not is_number:
            raise ValueError("Logits that bend need a scale that is a number, not each embedding's own norm.")
        self.scale = float(scale) if bend is not None else 1.0
        self.needs_offset = bend is not None or not is_number or scale > _SAFE_SCALE

    @property
    def kind(self):
        """What a compiled pass depends on beside tensors; hashable."""
        return self.function, self.scale, self.needs_offset

    @staticmethod
    def at(kind, cosines, parameters):
        """(logits, slope), the slope None where it is 1."""
        function, scale, _ = kind
        if function is None:
            return cosines, None
        value, slope = function(ops.clip(cosines, -1.0, 1.0), *parameters)
        return scale * value, scale * slope


def inverse_norms(prototypes):
    """1 / |W_j|, (num_classes,).

    A zero prototype is at cosine 0 from everything, and its direction takes no gradient.
    """
    norms = row_norms(prototypes)
    return ops.where(norms >= TINY, 1.0 / ops.maximum(norms, TINY), ops.zeros_like(norms))


def row_norms(prototypes):
    """|W_j|, (num_classes,)."""
    return ops.sqrt(ops.sum(prototypes * prototypes, axis=1))


def tangent(by_rows, prototypes, inverse):
    """The part of each row's gradient that turns it, since length does not count."""
    along = ops.sum(by_rows * prototypes, axis=1) * inverse * inverse
    return by_rows - prototypes * ops.expand_dims(along, 1)


def masked(values, own):
    """`values` with the own class's at log 0."""
    return ops.where(own, LOG_ZERO, values)


def own_in_block(labels, start, count):
    """Boolean (batch, count): True at each sample's label, in a block of `count` classes from class `start`."""
    return is_own_class(labels - ops.cast(start, labels.dtype), count)
