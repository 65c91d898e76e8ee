"""The steps that the ways of computing a margin loss share: checked input, target logit, sum of the loss."""

import math
from typing import Any, NamedTuple

from keras import ops, tree

from keras_margin import _arguments
from keras_margin._typing import State, Tensor
from keras_margin.ops import numerics, validation
from keras_margin.ops.negatives import is_own_class
from keras_margin.ops.sample import LossInputs, Sample, without_gradient

GRADIENTS = ("exact", "straight_through")


class Settings(NamedTuple):
    """What a margin loss is configured with.

    Attributes:
        margin: Margin.
        scale: Number > 0 or scalar tensor; None for each embedding's own norm.
        auxiliary_loss: AuxiliaryLoss, or None.
        gradient: "exact" or "straight_through".
        owner: Name of the asking class or function, for messages.
    """

    margin: Any
    scale: Tensor | float | None = 64.0
    auxiliary_loss: Any = None
    gradient: str = "exact"
    owner: str = "margin_softmax"


def check_gradient(owner: str, margin: Any, gradient: str) -> None:
    """Raises ValueError unless `gradient` is known and makes sense for the margin."""
    _arguments.require_one_of(owner, "gradient", gradient, GRADIENTS)
    if gradient == "straight_through" and margin.no_straight_through:
        raise ValueError(
            f"gradient='straight_through' takes d target / d cos = 1, {margin.no_straight_through}. "
            f"{owner} has gradient='exact' alone. Received: gradient={gradient!r}."
        )


def checked(settings: Settings, embeddings: Tensor, labels: Tensor, num_classes: int):
    """Returns (embeddings, labels, valid): labels (batch,), and harmless values where `valid` is False."""
    embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
    labels = validation.labels_as_indices(labels, settings.owner)
    valid = validation.valid_rows(embeddings, labels, num_classes, settings.owner)
    labels = ops.where(valid, labels, ops.zeros_like(labels))
    return zero_rows_unless(valid, embeddings), labels, valid


def zero_rows_unless(valid: Tensor, rows: Tensor) -> Tensor:
    """Returns rows (batch, size), zero where not `valid`: through a product's gradient a bad one spoils them all."""
    return ops.where(ops.expand_dims(valid, 1), rows, ops.zeros_like(rows))


def scale_of(settings: Settings, norm: Tensor | None, like: Tensor) -> Tensor:
    """Returns the scale of each sample, (batch,), shaped like `like`."""
    if settings.scale is not None:
        return ops.broadcast_to(ops.convert_to_tensor(settings.scale, "float32"), ops.shape(like))
    if norm is None:
        refuse_cosines_alone(f"{settings.owner}(scale=None)", "each embedding's norm")
    return norm


def state_of(margin: Any, state: State) -> State:
    """Returns `state` as tensors; the margin's initial state where () is given for a margin that has one."""
    initial = margin.initial_state()
    if isinstance(state, tuple) and not state:
        state = initial
    try:
        tree.assert_same_structure(initial, state)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{type(margin).__name__}'s state is structured like {_described(initial)}. Received: {_described(state)}. "
            "Pass the state that the last call returned."
        ) from error
    return tree.map_structure(numerics.as_tensor, state)


def updated_state(settings: Settings, state: State, sample: Sample) -> State:
    """Returns the margin's state after a training batch.

    Raises:
        ValueError: Where its structure, a shape or a dtype changed.
    """
    after = settings.margin.update_state(state, without_gradient(sample))
    name = type(settings.margin).__name__
    try:
        tree.assert_same_structure(state, after)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}.update_state must return a state structured like the one it was given. "
            f"Given: {_described(state)}. Returned: {_described(after)}."
        ) from error
    after = tree.map_structure(lambda old, new: ops.convert_to_tensor(new, dtype=old.dtype), state, after)
    for old, new in zip(tree.flatten(state), tree.flatten(after), strict=True):
        if tuple(old.shape) != tuple(new.shape):
            raise ValueError(
                f"{name}.update_state must keep each shape. Given: {tuple(old.shape)}. Returned: {tuple(new.shape)}."
            )
    return after


def _described(state: State) -> str:
    return str(tree.map_structure(lambda leaf: f"{getattr(leaf, 'dtype', type(leaf).__name__)}", state))


def target_logit(settings: Settings, sample: Sample, state: State) -> Tensor:
    """Returns the target logit before scaling, (batch,), with its gradient as `settings.gradient` wants it.

    Raises:
        ValueError: Where the margin needs a norm that is unknown, or returns another shape.
        TypeError: Where it returns another dtype than float32.
    """
    if sample.norm is None and settings.margin.needs_norm:
        refuse_cosines_alone(settings.owner, "each embedding's norm")
    logit = settings.margin.target_logit(sample, state)
    check_per_sample(f"{type(settings.margin).__name__}.target_logit", logit, sample)
    if settings.gradient == "straight_through":
        logit = numerics.with_slope(logit, sample.cosine, ops.ones_like(sample.cosine))
    return logit


def check_per_sample(name: str, values: Any, sample: Sample) -> None:
    """Raises ValueError or TypeError unless `values` is a float32 tensor shaped like the sample's angles, (batch,)."""
    if not ops.is_tensor(values):
        raise TypeError(f"{name} must return a float32 tensor (batch,). Received: {values!r}.")
    found, wanted = tuple(values.shape), tuple(sample.theta.shape)
    known = len(found) == 1 and None not in (*found, *wanted)
    if len(found) != 1 or (known and found != wanted):
        raise ValueError(f"{name} must return a tensor of shape (batch,) = {wanted}. Received: shape={found}.")
    dtype = str(values.dtype).removeprefix("<dtype: '").removesuffix("'>").removeprefix("torch.")
    if dtype != "float32":
        raise TypeError(
            f"{name} must return float32, as sample.theta is. Received: dtype={dtype}. Cast it: "
            "keras.ops.cast(logit, 'float32')."
        )


def added_loss(settings: Settings, inputs: LossInputs, state: State) -> Tensor | None:
    """Returns the margin's extra loss and the auxiliary loss, (batch,), or None."""
    sample = inputs.sample
    added = settings.margin.extra_loss(sample, state)
    if added is not None:
        check_per_sample(f"{type(settings.margin).__name__}.extra_loss", added, sample)
    auxiliary = settings.auxiliary_loss
    if auxiliary is None:
        return added
    if sample.embeddings is None and auxiliary.needs_embeddings:
        refuse_cosines_alone(type(auxiliary).__name__, "the embeddings")
    if inputs.prototypes is None and auxiliary.needs_prototypes:
        refuse_cosines_alone(type(auxiliary).__name__, "the prototypes")
    weighted = auxiliary.weighted(inputs)
    return weighted if added is None else weighted + added


def cross_entropy(settings: Settings, inputs: LossInputs, state: State) -> Tensor:
    """Returns -log p of each sample plus what is added to it, (batch,); +inf for a bad sample."""
    loss = ops.softplus(inputs.negative_logsumexp - inputs.target_logit)
    added = added_loss(settings, inputs, state)
    loss = loss if added is None else loss + added
    return ops.where(inputs.sample.valid, loss, math.inf)


def with_target(negatives: Tensor, target: Tensor, labels: Tensor, valid: Tensor, given_labels: Tensor) -> Tensor:
    """Returns logits (batch, num_classes): `negatives` with the target's logit at each sample's own class.

    A cross-entropy makes +inf of a bad sample's row, without a gradient, as `cross_entropy` does.
    """
    num_classes = negatives.shape[1]
    logits = ops.where(is_own_class(labels, num_classes), ops.expand_dims(target, 1), negatives)
    bad = ops.where(is_own_class(given_labels, num_classes), -math.inf, 0.0)
    return ops.where(ops.expand_dims(valid, 1), logits, bad)


def refuse_cosines_alone(owner: str, missing: str) -> None:
    """Raises ValueError: the loss needs more than the cosines that it was given."""
    raise ValueError(
        f"{owner} needs {missing}, which cosines do not carry. Let head(embeddings) be the model's last output, as "
        "it is; use EmbeddingModel; or call head(embeddings, labels)."
    )
