"""margin_softmax: embeddings, prototypes, labels and a margin in; loss, correct and the margin's new state out."""

from typing import Any, NamedTuple

from keras import ops

from keras_margin import _arguments
from keras_margin._typing import State, Tensor
from keras_margin.ops import _steps, memory, negatives, numerics, sharding, validation
from keras_margin.ops._fused import fused
from keras_margin.ops._steps import Settings
from keras_margin.ops._streaming import streaming
from keras_margin.ops.negatives import NegativeLogits, cosine_matrix, reference
from keras_margin.ops.sample import LossInputs, Sample, sample_from_prototypes, without_gradient

IMPLEMENTATIONS = {"reference": reference, "fused": fused, "streaming": streaming}
# Samples a batch, where a program is traced for batches of any size.
_ASSUMED_BATCH = 1024


class MarginSoftmax(NamedTuple):
    """What `margin_softmax` returns.

    Attributes:
        loss: Float32 tensor (batch,).
        correct: Float32 tensor (batch,): 1.0 where the nearest prototype is the label's, without margin; a tie is 0.0.
        state: The margin's state, updated if `training`.
    """

    loss: Tensor
    correct: Tensor
    state: State


def margin_softmax(
    embeddings: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    margin: Any,
    *,
    scale: Tensor | float | None = 64.0,
    state: State = (),
    auxiliary_loss: Any = None,
    gradient: str = "exact",
    training: bool = False,
    implementation: str = "auto",
) -> MarginSoftmax:
    """Computes each sample's softmax cross-entropy with a margin on the target.

    loss_i = -log( exp(s psi_i) / (exp(s psi_i) + sum_{j != y_i} exp(s f(cos theta_ij))) )

    psi is the margin's target logit, f its negative logits: the cosine itself for most margins. A pure function: it
    reads and writes no variable, and is differentiable in embeddings and prototypes, inside `tf.function`, `jax.jit`
    and `jax.grad`, and in PyTorch.

    Bad samples (label out of range, NaN or inf in the embedding) raise; under XLA and JAX's jit, which cannot raise,
    such a sample's loss is +inf and its gradient zero. A zero embedding is at pi/2 from every class and has a zero
    gradient.

    Args:
        embeddings: Float tensor (batch, embedding_size), any length of rows.
        prototypes: Float32 tensor (num_classes, embedding_size), a row a class, of which the direction counts; or
            (num_classes, centers, embedding_size), of which each class's nearest center counts.
        labels: Integer tensor (batch,) or (batch, 1), in [0, num_classes).
        margin: keras_margin.margins.Margin.
        scale: s, > 0; a number or scalar tensor. None for each embedding's own norm.
        state: The margin's state, as an earlier call returned it; () for its initial state.
        auxiliary_loss: keras_margin.losses.AuxiliaryLoss without weights, added to the loss; or None.
        gradient: "exact", or "straight_through": forward as written, backward as if psi were cos(theta).
        training: Whether this is a training batch, which updates the state before its margin is taken.
        implementation: "reference", "fused", "streaming", or "auto": the fastest that the margin has and memory allows.
            Second derivatives are those of "reference" alone.

    Returns:
        MarginSoftmax (loss, correct, state).

    Raises:
        ValueError: On a value out of range, a margin that returns the wrong shape, or an auxiliary loss with weights.
        TypeError: On labels that are not integers.

    Example:
        >>> x, w = keras.ops.array([[2.0, 0.0]]), keras.ops.array([[1.0, 0.0], [0.0, 1.0]])
        >>> out = margin_softmax(x, w, keras.ops.array([0]), keras_margin.margins.CosFace(0.5), scale=2.0)
        >>> round(float(out.loss[0]), 4)  # log(1 + exp(2 * 0 - 2 * (1 - 0.5)))
        0.3133

    Reference: Deng et al., ArcFace, CVPR 2019, eq. 3; each margin's docstring has its own.
    """
    if not callable(getattr(margin, "target_logit", None)):
        raise TypeError(
            f"margin_softmax needs a keras_margin.margins.Margin, such as ArcFace(0.5). Received: margin={margin!r}."
        )
    _steps.check_gradient("margin_softmax", margin, gradient)
    if scale is not None:
        _arguments.require_number("margin_softmax", "scale", scale, above=True)
    if auxiliary_loss is not None and auxiliary_loss.owns_weights:
        raise ValueError(
            f"{type(auxiliary_loss).__name__} keeps weights, and margin_softmax neither reads nor writes any. "
            "Give it to a MarginHead: auxiliary_loss=."
        )
    settings = Settings(margin, scale, auxiliary_loss, gradient)
    prototypes = ops.cast(numerics.as_tensor(prototypes), "float32")
    state = _steps.state_of(margin, state)
    return softmax_loss(settings, embeddings, prototypes, labels, state, training, implementation)


def softmax_loss(
    settings: Settings,
    embeddings: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    state: State,
    training: bool,
    implementation: str,
    sampled: Any = None,
) -> MarginSoftmax:
    """Computes `margin_softmax` for a head: with auxiliary losses that own weights, and with sampled classes.

    Args:
        settings: Settings.
        embeddings: As in `margin_softmax`.
        prototypes: Tensor of all prototypes.
        labels: As in `margin_softmax`.
        state: The margin's state, tensors.
        training: As in `margin_softmax`.
        implementation: As in `margin_softmax`.
        sampled: None, or a function of the checked labels to (rows, positions): the prototypes to use instead, and each
            label's place among them. `prototypes` is then only read for its shape.
    """
    margin, num_classes = settings.margin, prototypes.shape[0]
    embeddings, labels, valid = _steps.checked(settings, embeddings, labels, num_classes)
    if len(embeddings.shape) != 2 or embeddings.shape[1] != prototypes.shape[-1]:
        raise ValueError(
            f"{settings.owner} needs embeddings (batch, {prototypes.shape[-1]}), as long as the prototypes. "
            f"Received: shape={tuple(embeddings.shape)}."
        )
    unit, norm = numerics.unit_normalize(embeddings)
    rows, positions = (prototypes, labels) if sampled is None else sampled(labels)
    name = choose_implementation(
        implementation, settings.owner, margin, settings.scale, rows.shape, embeddings.shape[0]
    )
    ahead = sample_from_prototypes(unit, norm, negatives.own_prototypes(unit, rows, positions), labels, valid)
    ahead = without_gradient(ahead)
    if training:
        state = _steps.updated_state(settings, state, ahead)
    of_margin = NegativeLogits() if margin.negatives_are_cosines else NegativeLogits(margin, ahead, state)
    scale = _steps.scale_of(settings, norm, norm)
    found = IMPLEMENTATIONS[name](unit, rows, positions, scale, of_margin)
    sample = sample_from_prototypes(unit, norm, found.own_prototype, labels, valid, embeddings)
    target = scale * _steps.target_logit(settings, sample, state)
    inputs = LossInputs(sample, num_classes, target, found.log_sum, None if sampled else prototypes, training)
    loss = _steps.cross_entropy(settings, inputs, state)
    correct = ops.cast(ops.logical_and(valid, sample.cosine > found.best_cosine), "float32")
    return MarginSoftmax(loss, correct, state)


def margin_logits(
    settings: Settings, embeddings: Tensor, prototypes: Tensor, labels: Tensor, state: State, training: bool
) -> tuple[Tensor, Tensor | None, State]:
    """Computes margin logits for any softmax cross-entropy.

    Returns:
        (logits, added, state): scaled logits (batch, num_classes) with the margin on the target; what is to be added to
        each sample's cross-entropy, (batch,) or None; the margin's state, updated if `training`.
    """
    num_classes = prototypes.shape[0]
    given = validation.labels_as_indices(labels, settings.owner)
    embeddings, labels, valid = _steps.checked(settings, embeddings, labels, num_classes)
    unit, norm = numerics.unit_normalize(embeddings)
    own = negatives.own_prototypes(unit, prototypes, labels)
    sample = sample_from_prototypes(unit, norm, own, labels, valid, embeddings)
    if training:
        state = _steps.updated_state(settings, state, sample)
    scale = _steps.scale_of(settings, norm, norm)
    others = _scaled_negatives(settings, cosine_matrix(unit, prototypes), sample, state, scale)
    target = scale * _steps.target_logit(settings, sample, state)
    log_sum = negatives.log_sum_of_negatives(others, labels)
    inputs = LossInputs(sample, num_classes, target, log_sum, prototypes, training)
    added = _steps.added_loss(settings, inputs, state)
    return _steps.with_target(others, target, labels, valid, given), added, state


def loss_from_cosines(
    settings: Settings,
    cosines: Tensor,
    labels: Tensor,
    state: State = (),
    embeddings: Tensor = None,
    prototypes: Tensor = None,
    training: bool = False,
) -> tuple[Tensor, State]:
    """Computes the loss of each sample, (batch,), from its cosines; exact but for angles within 3.5e-4 of 0 or pi.

    Args:
        settings: Settings.
        cosines: Float tensor (batch, num_classes), in [-1, 1].
        labels: Integer tensor (batch,) or (batch, 1).
        state: The margin's state.
        embeddings: Float tensor (batch, embedding_size), or None where they are unknown.
        prototypes: Tensor of all prototypes, or None likewise.
        training: Whether this is a training batch.

    Returns:
        (loss, state).
    """
    num_classes = cosines.shape[-1]
    labels = validation.labels_as_indices(labels, settings.owner)
    valid = validation.valid_cosines(cosines, labels, num_classes, settings.owner)
    labels = ops.where(valid, labels, ops.zeros_like(labels))
    cosines = _steps.zero_rows_unless(valid, ops.cast(cosines, "float32"))
    norm = None
    if embeddings is not None:
        embeddings = _steps.zero_rows_unless(valid, ops.cast(embeddings, "float32"))
        norm = numerics.unit_normalize(embeddings)[1]
    cosine = ops.squeeze(ops.take_along_axis(cosines, ops.expand_dims(labels, 1), axis=1), 1)
    sample = Sample(numerics.safe_arccos(cosine), cosine, norm, labels, valid, embeddings)
    if training:
        state = _steps.updated_state(settings, state, sample)
    scale = _steps.scale_of(settings, norm, cosine)
    target = scale * _steps.target_logit(settings, sample, state)
    others = _scaled_negatives(settings, cosines, sample, state, scale)
    log_sum = negatives.log_sum_of_negatives(others, labels)
    inputs = LossInputs(sample, num_classes, target, log_sum, prototypes, training)
    return _steps.cross_entropy(settings, inputs, state), state


def _scaled_negatives(settings, cosines, sample, state, scale):
    of_margin = NegativeLogits()
    if not settings.margin.negatives_are_cosines:
        of_margin = NegativeLogits(settings.margin, without_gradient(sample), state)
    return ops.expand_dims(scale, 1) * negatives.negative_logits(cosines, of_margin)


def choose_implementation(
    implementation: str,
    owner: str,
    margin: Any,
    scale: Tensor | float | None,
    prototypes_shape: tuple[int, ...],
    batch_size: int | None,
) -> str:
    """Returns the name of the implementation to run.

    "auto" is "fused" while its one (batch, num_classes) tensor, and its copy while it is made, fit a quarter of the
    device's memory, then "streaming"; "reference" for what the others cannot compute.

    Args:
        implementation: Name in IMPLEMENTATIONS, or "auto".
        owner: Name for messages.
        margin: Margin.
        scale: As in `margin_softmax`.
        prototypes_shape: Shape of the prototypes used.
        batch_size: Int >= 1; None, as in a program traced for batches of any size, counts as 1,024.

    Raises:
        ValueError: On an unknown name, or one that cannot compute this margin or these prototypes.
    """
    _arguments.require_one_of(owner, "implementation", implementation, ["auto", *IMPLEMENTATIONS])
    why = why_reference_alone(margin, scale, len(prototypes_shape))
    if why:
        if implementation not in ("auto", "reference"):
            raise ValueError(
                f"{owner} {why}, which only the reference implementation supports. "
                f"Received: implementation={implementation!r}. Leave implementation='auto'."
            )
        return "reference"
    if implementation != "auto":
        return implementation
    if sharding.is_sharded():
        return "fused"  # A loop over chunks of classes would gather what is split.
    needed = 2 * 4 * (batch_size or _ASSUMED_BATCH) * prototypes_shape[0]
    return "fused" if needed <= memory.device_memory() / 4 else "streaming"


def why_reference_alone(margin: Any, scale: Tensor | float | None, rank: int) -> str:
    """Returns why only the reference implementation can compute this, to follow a subject; "" where all can."""
    if rank == 3:
        return "has several prototypes a class"
    if not margin.has_slope:
        return f"has negative logits without their slope ({type(margin).__name__}.negative_logits)"
    if (scale is None or _arguments.is_tensor(scale)) and not margin.negatives_are_cosines:
        return "scales negative logits that are not cosines by a tensor, or by each embedding's norm"
    return ""
