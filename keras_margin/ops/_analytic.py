"""The gradient of the sum over the other classes, written by hand: what `fused` and `streaming` share.

With u = unit embeddings, n_j = |W_j|, w_j = W_j / n_j, c_ij = u_i . w_j, f the negative logits and f' their slope:

    logit_ij = s_i f(c_ij)
    top_i    = max_{j != y} f(c_ij)
    E_ij     = exp(s_i (f(c_ij) - top_i)),       E_iy = 0
    Z_i      = sum_j E_ij,                       log_sum_i = log Z_i + s_i top_i
    G_ij     = E_ij f'(c_ij) / n_j

and with the upstream gradient g_i of log_sum_i, r_i = g_i / Z_i:

    d/du_i = s_i r_i (G W)_i
    d/ds_i = r_i (G W)_i . u_i                        where f is the identity; elsewhere s is a number
    d/dW_j = D_j - w_j (D_j . w_j),  D = G^T (r s u)  the own prototype's gradient is added to its row

The normalised prototypes are never built. With the row's maximum taken off every exponential is at most 1 and Z at
least 1, whatever the scale; it is taken off before scaling, or the rounding of a product of 1e18 would be an exponent.
The maximum costs nothing, since the accuracy needs the best cosine anyway. A zero
prototype is at cosine 0 from everything, and its direction takes no gradient.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_margin._typing import Tensor
from keras_margin.ops import numerics
from keras_margin.ops.negatives import NegativeLogits, NegativeLogSumExp
from keras_margin.ops.numerics import LOG_ZERO, TINY


def analytic(
    forward: Callable,
    backward: Callable,
    unit: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    scale: Tensor,
    negatives: NegativeLogits,
) -> NegativeLogSumExp:
    """Returns the NegativeLogSumExp that `forward` computes, with `backward` as its gradient.

    Args:
        forward: (unit, prototypes, labels, scale, negatives) -> (log_sum, best_cosine, residuals): tensors (batch,) and
            a tuple of what the backward pass reads again.
        backward: (unit, prototypes, labels, scale, negatives, upstream, by_own, residuals) -> (rG W, by_prototypes),
            the first (batch, embedding_size) and not yet times the scale.
        unit: Float32 tensor (batch, embedding_size), rows of length 1 or 0.
        prototypes: Float32 tensor (num_classes, embedding_size).
        labels: Integer tensor (batch,), in [0, num_classes).
        scale: Float32 tensor (batch,); the same number for all, without gradient, where `negatives` has a margin.
        negatives: NegativeLogits, with the slope of its logits.
    """
    if negatives.margin is None:
        negatives = NegativeLogits()
    run = {"tensorflow": _tensorflow_program, "jax": _jax_program}.get(keras.backend.backend(), _differentiable)
    found = run(forward, backward, negatives)(unit, prototypes, labels, scale, negatives)
    return NegativeLogSumExp(found[:, 0], ops.stop_gradient(found[:, 1]), found[:, 2:])


def _differentiable(forward: Callable, backward: Callable, negatives: NegativeLogits) -> Callable:
    """Returns a function of the tensors to [log_sum, best_cosine, own prototype], (batch, 2 + embedding_size)."""

    def program(unit, prototypes, labels, scale, negatives):
        @ops.custom_gradient
        def found_by(unit, prototypes, scale):
            # TensorFlow's tape would otherwise prepare to differentiate the passes, and keep what they compute.
            unit, prototypes, scale = map(ops.stop_gradient, (unit, prototypes, scale))
            log_sum, best, residuals = forward(unit, prototypes, labels, scale, negatives)
            own = ops.take(prototypes, labels, axis=0)

            def gradient(*args, upstream=None):
                upstream = args[0] if upstream is None else upstream
                by_log_sum, by_own = upstream[:, 0], upstream[:, 2:]
                products, by_prototypes = backward(
                    unit, prototypes, labels, scale, negatives, by_log_sum, by_own, residuals
                )
                by_scale = ops.sum(products * unit, axis=1)
                return ops.expand_dims(scale, 1) * products, by_prototypes, by_scale

            # One tensor: Keras's custom_gradient hands over tuples differently on each backend.
            return ops.concatenate([ops.stack([log_sum, best], axis=1), own], axis=1), gradient

        return found_by(unit, prototypes, scale)

    return program


def _jax_program(forward: Callable, backward: Callable, negatives: NegativeLogits) -> Callable:
    """Returns `_differentiable` with every tensor as an argument or a residual.

    A gradient that closes over tracers breaks where JAX differentiates a function that it traced before, as
    jax.checkpoint and the gradient of a scan do.
    """
    import jax

    margin = negatives.margin
    changing = {} if margin is None else _tensor_fields(margin)

    def ran(unit, prototypes, scale, labels, sample, state, changing):
        seen = NegativeLogits(margin.replace(**changing) if changing else margin, sample, state)
        log_sum, best, residuals = forward(unit, prototypes, labels, scale, seen)
        own = ops.take(prototypes, labels, axis=0)
        return ops.concatenate([ops.stack([log_sum, best], axis=1), own], axis=1), (seen, residuals)

    @jax.custom_vjp
    def program(*arguments):
        return ran(*arguments)[0]

    def forwards(*arguments):
        found, (seen, residuals) = ran(*arguments)
        return found, (arguments, residuals)

    def backwards(kept, upstream):
        (unit, prototypes, scale, labels, sample, state, changing), residuals = kept
        seen = NegativeLogits(margin.replace(**changing) if changing else margin, sample, state)
        by_log_sum, by_own = upstream[:, 0], upstream[:, 2:]
        products, by_prototypes = backward(unit, prototypes, labels, scale, seen, by_log_sum, by_own, residuals)
        by_unit, by_scale = ops.expand_dims(scale, 1) * products, ops.sum(products * unit, axis=1)
        return by_unit, by_prototypes, by_scale, None, None, None, None

    program.defvjp(forwards, backwards)

    def call(unit, prototypes, labels, scale, negatives):
        return program(unit, prototypes, scale, labels, negatives.sample, negatives.state, changing)

    return call


def _tensorflow_program(forward: Callable, backward: Callable, negatives: NegativeLogits) -> Callable:
    """Returns `_differentiable` as a TensorFlow function that all models share.

    TensorFlow registers each custom gradient that it traces, with all of the graph around it, and never lets go. Traced
    in a function of its own, once a kind and shape, it holds on to that function's graph alone.
    """
    margin = negatives.margin
    changing = {} if margin is None else _tensor_fields(margin)
    kind = None if margin is None else _Kind(margin, tuple(changing))

    def call(unit, prototypes, labels, scale, negatives):
        shapes = tuple(map(tuple, (unit.shape, prototypes.shape)))
        program = _shared_program(forward, backward, kind, shapes)
        return program(unit, prototypes, labels, scale, negatives.sample, negatives.state, changing)

    return call


# One a shape, so that TensorFlow never takes new shapes for needless tracing. Of margins with negative logits of their
# own each value has its program: as many as a search over margins keeps warm.
@functools.lru_cache(maxsize=128)
def _shared_program(forward: Callable, backward: Callable, kind: "_Kind | None", shapes: tuple) -> Callable:
    import tensorflow as tf

    @functools.partial(tf.function, autograph=False)
    def program(unit, prototypes, labels, scale, sample, state, changing):
        negatives = NegativeLogits(None if kind is None else kind.margin_with(changing), sample, state)
        return _differentiable(forward, backward, negatives)(unit, prototypes, labels, scale, negatives)

    return program


class _Kind:
    """A margin as the key of a cache: equal by type and by the fields that are not tensors."""

    def __init__(self, margin, without: tuple[str, ...]):
        self.margin, self._without = margin, without
        fixed = tuple((name, _hashable(value)) for name, value in sorted(vars(margin).items()) if name not in without)
        self._key = (type(margin), fixed, without)

    def __eq__(self, other) -> bool:
        return isinstance(other, _Kind) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def margin_with(self, tensors: dict):
        """Returns the margin with these tensors as fields: those of the program, not of the caller."""
        return self.margin.replace(**tensors) if tensors else self.margin


def _hashable(value: Any) -> Any:
    """Returns a stand-in for a field that is equal where the field is: arrays and lists have no hash."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return tuple((key, _hashable(each)) for key, each in sorted(value.items()))
    return (value.shape, str(value.dtype), value.tobytes()) if isinstance(value, np.ndarray) else value


def _tensor_fields(margin) -> dict:
    return {name: value for name, value in vars(margin).items() if ops.is_tensor(value)}


def inverse_norms(prototypes: Tensor) -> Tensor:
    """Computes 1 / |W_j|, (num_classes,); 0 for a zero prototype."""
    norms = numerics.row_norms(prototypes)
    return ops.where(norms > 0, 1.0 / ops.maximum(norms, TINY), ops.zeros_like(norms))


def tangent(by_rows: Tensor, prototypes: Tensor, inverse: Tensor) -> Tensor:
    """Returns the part of each row's gradient that turns the prototype: its length does not count."""
    unit = prototypes * ops.expand_dims(inverse, 1)
    return by_rows - unit * ops.sum(by_rows * unit, axis=1, keepdims=True)


def damped(weighted: Tensor) -> tuple[Tensor, Tensor]:
    """Returns rows of D's right factor small enough for a product with 1 / n_j, and what they were divided by.

    Where embeddings are as long as 1e18 and serve as scale, and prototypes as short as 1e-30, a gradient passes
    float32's range, and on its way would turn into inf - inf.
    """
    largest = ops.max(ops.abs(weighted), initial=0.0)
    divisor = ops.where(largest > 2.0**20, 2.0**64, 1.0)
    return weighted / divisor, divisor


def undamped(by_rows: Tensor, divisor: Tensor) -> Tensor:
    """Multiplies by what `damped` divided by; what float32 cannot hold becomes its largest number."""
    limit = 2.0**126 / divisor
    return ops.clip(by_rows, -limit, limit) * divisor


def masked(values: Tensor, own: Tensor) -> Tensor:
    """Returns `values` with log 0 where `own`."""
    return ops.where(own, LOG_ZERO, values)
