"""Target logit, its gradient and the loss over the angle, of any head: what the papers' figures draw."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_margin._typing import ArrayLike, Tensor

# Where the gradient of an end is taken, radians inside: at 0 and pi themselves it has no direction.
_INSIDE = 1e-3


@dataclasses.dataclass(frozen=True)
class Curve:
    """What `target_curve` returns, float64 arrays (n,).

    Attributes:
        angles: theta, radians, from the embedding to its own prototype.
        logit: The own class's logit, scaled, with the margin.
        gradient: d logit / d theta, as training sees it.
        loss: The head's loss with one other class.

    Example:
        >>> curve = target_curve(keras_margin.CosFaceHead(10, margin=0.4), [0.0, 1.0])
        >>> isinstance(curve, Curve), curve.angles.tolist(), curve.logit.round(3).tolist()
        (True, [0.0, 1.0], [38.4, 8.979])
    """

    angles: np.ndarray
    logit: np.ndarray
    gradient: np.ndarray
    loss: np.ndarray


def target_curve(
    head: Any, angles: ArrayLike | None = None, *, norm: float | None = None, gap: float = math.pi / 6
) -> Curve:
    """Computes a head's target logit, its gradient and the loss over the angle to the own prototype.

    Two classes in a plane: the own prototype at angle 0, the other at -gap, the embedding at theta. It is therefore at
    theta + gap from the other class (beyond pi: at 2 pi - theta - gap), which it leaves as it leaves its own. That is
    QAMFace's figures 2 and 3, with gap = pi/6: at theta = pi/3 and pi/6 the losses are those its section 3.2 prints,
    cut after two digits: 0.19 and 0.24 for ArcFace, 0.23 and 0.20 for QAMFace.

    Prototypes have length 1, and a bias is zero. lambda and running statistics are the head's own; the loss is all of
    the head's loss, its auxiliary loss included, over one batch of these embeddings.

    Args:
        head: MarginHead, built or not; it is not changed.
        angles: Array (n,), radians, in [0, pi]. Default: every half degree from 0 to 180.
        norm: Length of the embedding, > 0. Needed by heads whose logits depend on it; changes nothing for the others.
        gap: Angle between the two prototypes, radians, (0, pi].

    Returns:
        Curve. At 0 and pi its gradient is that of 1e-3 rad inside.

    Raises:
        ValueError: On a value out of range, or a missing `norm`.

    Example:
        >>> curve = target_curve(keras_margin.ArcFaceHead(10))
        >>> round(float(curve.logit[0]), 3)  # 64 cos(0.5)
        56.165

    Reference: Deng et al., ArcFace, CVPR 2019, figure 4b; Zhao et al., QAMFace, 2020, figures 1 to 3.
    """
    angles = np.radians(np.linspace(0, 180, 361)) if angles is None else np.asarray(angles, "float64")
    if angles.ndim != 1 or not angles.size or not np.all((angles >= 0) & (angles <= math.pi)):
        hint = " They are radians." if angles.size and np.max(angles) > math.pi else ""
        raise ValueError(f"target_curve needs angles (n,) in [0, pi] radians. Received: {angles!r}.{hint}")
    if not 0 < gap <= math.pi:
        raise ValueError(f"target_curve needs a gap in (0, pi] radians. Received: gap={gap!r}.")
    if norm is None and head.depends_on_norm:
        raise ValueError(
            f"The logits of this {type(head).__name__} depend on the embedding's length: give one, such as norm=20.0."
        )
    if norm is not None and not (math.isfinite(norm) and norm > 0):
        raise ValueError(f"target_curve needs a norm > 0. Received: norm={norm!r}.")
    norm = 1.0 if norm is None else float(norm)
    twin = _with_two_classes(head, gap)
    labels = ops.zeros(len(angles), "int32")
    embeddings = ops.convert_to_tensor(norm * np.stack([np.cos(angles), np.sin(angles)], axis=1), "float32")

    def logit(theta):
        turned = norm * ops.stack([ops.cos(theta), ops.sin(theta)], axis=1)
        return twin.call(turned, labels)[:, 0]

    inside = np.clip(angles, _INSIDE, math.pi - _INSIDE).astype("float32")
    gradient = _SLOPES[keras.backend.backend()](logit, inside)
    found = twin.call(embeddings, labels)[:, 0], gradient, twin.compute_loss(embeddings, labels)
    return Curve(angles, *(np.asarray(ops.convert_to_numpy(values), "float64") for values in found))


def _with_two_classes(head: Any, gap: float) -> Any:
    """A head of the same settings and state, of two classes in a plane."""
    config = {key: value for key, value in head.get_config().items() if key != "name"}
    twin = type(head).from_config({**config, "num_classes": 2})
    twin.build((None, 2))
    twin.built = True
    if head.built:
        for old, new in zip(head.weights, twin.weights, strict=True):
            if tuple(old.shape) == ():
                new.assign(old)
    prototypes = np.array([[1.0, 0.0], [math.cos(gap), -math.sin(gap)]])
    shape = tuple(twin.prototypes.shape)
    twin.prototypes.assign(np.broadcast_to(prototypes.reshape(2, *[1] * (len(shape) - 2), 2), shape))
    return twin


def _tensorflow_slope(function: Callable[[Tensor], Tensor], at: np.ndarray) -> Tensor:
    import tensorflow as tf

    at = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(at)
        total = tf.reduce_sum(function(at))
    return tape.gradient(total, at, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _jax_slope(function: Callable[[Tensor], Tensor], at: np.ndarray) -> Tensor:
    import jax

    return jax.grad(lambda angles: function(angles).sum())(jax.numpy.asarray(at))


def _torch_slope(function: Callable[[Tensor], Tensor], at: np.ndarray) -> Tensor:
    import torch

    at = ops.convert_to_tensor(at).detach().requires_grad_()
    return torch.autograd.grad(function(at).sum(), at)[0].detach()


# d sum(function(angles)) / d angles, by the backend's own autodiff.
_SLOPES = {"tensorflow": _tensorflow_slope, "jax": _jax_slope, "torch": _torch_slope}
