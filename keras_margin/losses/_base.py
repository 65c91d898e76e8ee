"""What every loss next to the margin is built on: AuxiliaryLoss, its two kinds, and sums of them.

An auxiliary loss sees `LossInputs`, what a head knows of a batch, and returns a loss per sample, already weighted. Those
that have no weights are Keras losses as they are; those that have are Keras layers.
"""

import math
import re
from typing import Any

import keras
from keras import ops

from keras_margin import _arguments, _keras
from keras_margin._cosine_source import source_of
from keras_margin._typing import Shape, Tensor
from keras_margin.ops import numerics, validation
from keras_margin.ops.negatives import is_own_class, log_sum_of_negatives
from keras_margin.ops.sample import LossInputs, Sample

PACKAGE = "keras_margin"


class AuxiliaryLoss:
    """What a head adds to its loss: `MarginHead(..., auxiliary_loss=IAM(0.1) + IntraLoss())`.

    Subclass `StatelessLoss`, or `WeightedLoss` for one that keeps weights, and define `per_sample`.

    Attributes:
        weight: Factor of the loss in the total, >= 0.
        reads: What alone suffices to compute it: "embeddings", "logits", "cosines", or "prototypes".
        owns_weights: Whether it creates weights.
        num_classes: Number of classes that it keeps something for; None where it keeps nothing for a class.

    Example:
        >>> total = keras_margin.losses.IAM(0.1) + keras_margin.losses.CenterLoss()
        >>> isinstance(total, AuxiliaryLoss), total.owns_weights
        (True, True)
    """

    reads = "embeddings"
    owns_weights = False
    weight = 1.0
    num_classes: int | None = None

    def per_sample(self, inputs: LossInputs) -> Tensor:
        """Computes the unweighted loss of each sample, (batch,), from LossInputs."""
        raise NotImplementedError(f"{type(self).__name__} must define per_sample(self, inputs).")

    def weighted(self, inputs: LossInputs) -> Tensor:
        """Computes the weighted loss of each sample, (batch,)."""
        return self.weight * self.per_sample(inputs)

    @property
    def needs_embeddings(self) -> bool:
        """Whether cosines alone do not suffice."""
        return self.reads == "embeddings"

    @property
    def needs_prototypes(self) -> bool:
        """Whether it cannot be computed without the prototypes of all classes."""
        return self.reads == "prototypes"

    def build_for(self, num_classes: int, embedding_size: int) -> None:
        """Creates the weights for a head, their one owner; nothing in a loss without weights."""

    def __add__(self, other: Any) -> "AuxiliaryLoss":
        if not isinstance(other, AuxiliaryLoss):
            return NotImplemented
        parts = [*self.flattened(), *other.flattened()]
        return WeightedSum(parts) if any(part.owns_weights for part in parts) else StatelessSum(parts)

    # A method: Keras reads files through the properties of an object, and would go from this one in a circle.
    def flattened(self) -> list["AuxiliaryLoss"]:
        """Returns the losses of a sum; of another loss itself."""
        return [self]


class StatelessLoss(AuxiliaryLoss, keras.losses.Loss):
    """Base of the auxiliary losses without weights: each is a Keras loss on (labels, what it reads).

        head = ArcFaceHead(n, auxiliary_loss=AngularTripletLoss())
        model.compile("adam", loss=AngularTripletLoss())

    Labels are integers and keep their dtype. Bad labels and outputs are errors, as in a head; under XLA and JAX's jit,
    which cannot raise, such a sample's loss is +inf and its gradient zero.

    Args:
        weight: Factor of the loss, >= 0.
        reduction, name: As in keras.losses.Loss.

    Example:
        >>> class LongEmbeddings(StatelessLoss):
        ...     def per_sample(self, inputs):
        ...         return 1.0 / inputs.sample.norm
        >>> loss = LongEmbeddings(weight=0.5)
        >>> round(float(loss(np.array([0]), np.array([[3.0, 4.0]], "float32"))), 4)  # 0.5 / |x|
        0.1
    """

    def __init__(self, weight: float = 1.0, *, reduction: str = "sum_over_batch_size", name: str | None = None):
        _arguments.require_number(type(self).__name__, "weight", weight)
        keras.losses.Loss.__init__(self, name=name or snake_case(type(self)), reduction=reduction, dtype="float32")
        self.weight = float(weight)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Computes the reduced loss; labels keep their dtype, which Keras's own __call__ would turn into float."""
        values, valid = self._values(y_true, y_pred)
        return self._reduced(values, valid, sample_weight)

    def _reduced(self, values, valid, sample_weight):
        values = ops.where(valid, values, math.inf)
        # Base.__call__ reduces, weighs and scales for tf.distribute; `call` below hands it the values unchanged.
        return super().__call__(*without_unweighted(values, sample_weight), sample_weight)

    def call(self, y_true, y_pred):
        """Returns the per-sample values that __call__ computed."""
        return y_pred

    def _values(self, y_true, y_pred):
        """Weighted values (batch,) of what it reads, and a boolean (batch,), False for bad samples."""
        if self.reads not in _INPUTS:
            raise ValueError(_why_no_keras_loss(self))
        name = type(self).__name__
        if len(y_pred.shape) != 2:
            raise ValueError(f"{name} reads {self.reads}, (batch, size). Received: shape={tuple(y_pred.shape)}.")
        if _keras.in_symbolic_scope():
            # Keras traces losses for their shapes, with labels of its own making.
            return ops.zeros((ops.shape(y_pred)[0],)), ops.ones((ops.shape(y_pred)[0],), "bool")
        outputs, labels, valid = checked_outputs(y_pred, y_true, self.reads, name)
        return self.weighted(_INPUTS[self.reads](labels, outputs, valid)), valid

    def as_loss(self, base: keras.losses.Loss | None = None) -> keras.losses.Loss:
        """Returns the loss added to `base`, a Keras loss on the same outputs; see LossWithBase."""
        return self if base is None else LossWithBase(self, base, reduction=self.reduction)

    def get_config(self) -> dict:
        config = keras.losses.Loss.get_config(self)
        return {"weight": self.weight, "reduction": config["reduction"], "name": config["name"]}


class WeightedLoss(AuxiliaryLoss, keras.layers.Layer):
    """Base of the auxiliary losses that keep weights: each is a Keras layer, of one head or of a model.

        head = ArcFaceHead(n, auxiliary_loss=CenterLoss())         the head saves and trains its weights
        embeddings = CenterLoss(num_classes=n)(embeddings, labels)  passes them on, and adds its mean to the model's losses

    Args:
        weight: Factor of the loss, >= 0.
        name: As in keras.layers.Layer.

    Call arguments:
        embeddings: Float tensor (batch, embedding_size).
        labels: Integer tensor (batch,) or (batch, 1).
        sample_weight: Float tensor (batch,), or None: weights of the samples in the added loss.
        training: Python bool; training batches update the weights.

    Example:
        >>> inputs, labels = keras.Input((4,)), keras.Input((), dtype="int32")
        >>> outputs = keras_margin.losses.CenterLoss(num_classes=10)(inputs, labels)
        >>> model = keras.Model([inputs, labels], outputs)
    """

    owns_weights = True

    def __init__(self, weight: float = 1.0, *, name: str | None = None):
        # Named by its class, so that its weights are found again by their paths.
        keras.layers.Layer.__init__(self, name=name or snake_case(type(self)), dtype="float32", autocast=False)
        _arguments.require_number(type(self).__name__, "weight", weight)
        self.weight = float(weight)

    def call(self, embeddings, labels, sample_weight=None, training=False):
        """Returns `embeddings` and adds the mean of the loss to the model's losses."""
        name = type(self).__name__
        outputs, labels, valid = checked_outputs(embeddings, labels, self.reads, name, self.num_classes)
        inputs = _of_embeddings(labels, outputs, valid)._replace(training=bool(training))
        values = ops.where(valid, self.weighted(inputs), math.inf)
        if sample_weight is not None:
            values, _ = without_unweighted(values, sample_weight)
            values = values * ops.reshape(ops.cast(sample_weight, values.dtype), (-1,))
        self.add_loss(ops.mean(values))
        return embeddings

    def build_for(self, num_classes: int, embedding_size: int) -> None:
        """Creates the weights for a head: their one owner.

        Raises:
            ValueError: If another head or model has them.
        """
        if self.built:
            name = type(self).__name__
            raise ValueError(f"This {name} has weights and belongs to another head or model. Make one for each.")
        self.build((None, embedding_size))

    def compute_output_shape(self, embeddings_shape: Shape, labels_shape: Shape | None = None, **kwargs) -> Shape:
        return embeddings_shape

    def get_build_config(self):
        """Returns None: a head builds its loss, and a config must not depend on whether that has happened."""

    def get_config(self) -> dict:
        return {"weight": self.weight, "name": self.name}

    @classmethod
    def from_config(cls, config: dict) -> "WeightedLoss":
        return cls(**config)


class _Sum:
    """What both kinds of sums share."""

    def _add_up(self, parts):
        self._parts = tuple(parts)
        read = {part.reads for part in self._parts}
        self.reads = read.pop() if len(read) == 1 else "several things"

    @property
    def parts(self) -> tuple[AuxiliaryLoss, ...]:
        """The losses that are summed."""
        return self._parts

    def flattened(self):
        return list(self._parts)

    @property
    def needs_embeddings(self):
        return any(part.needs_embeddings for part in self._parts)

    @property
    def needs_prototypes(self):
        return any(part.needs_prototypes for part in self._parts)

    def per_sample(self, inputs):
        """Computes the sum of the parts' weighted losses, (batch,)."""
        total = self._parts[0].weighted(inputs)
        for part in self._parts[1:]:
            total = total + part.weighted(inputs)
        return total

    def get_config(self):
        return {"parts": [keras.saving.serialize_keras_object(part) for part in self._parts]}

    @classmethod
    def from_config(cls, config):
        return cls([keras.saving.deserialize_keras_object(part) for part in config["parts"]])


@keras.saving.register_keras_serializable(package=PACKAGE)
class StatelessSum(_Sum, StatelessLoss):
    """The sum of auxiliary losses without weights; what `a + b` makes. A Keras loss if all parts read the same.

    Args:
        parts: Sequence of StatelessLoss.
    """

    def __init__(self, parts):
        super().__init__(name="sum")
        self._add_up(parts)


@keras.saving.register_keras_serializable(package=PACKAGE)
class WeightedSum(_Sum, WeightedLoss):
    """The sum of auxiliary losses of which some keep weights; what `a + b` makes then.

    Args:
        parts: Sequence of AuxiliaryLoss.
    """

    def __init__(self, parts):
        super().__init__(name="sum")
        self._add_up(parts)

    @property
    def num_classes(self) -> int | None:
        """The fewest classes that a part was made for; None where none was made for any."""
        return min((part.num_classes for part in self._parts if part.num_classes), default=None)

    def build(self, embeddings_shape: Shape) -> None:
        """Creates the parts' weights."""
        for part in self._parts:
            if part.owns_weights and not part.built:
                part.build(embeddings_shape)

    def build_for(self, num_classes: int, embedding_size: int) -> None:
        """Creates the parts' weights for a head."""
        for part in self._parts:
            part.build_for(num_classes, embedding_size)


@keras.saving.register_keras_serializable(package=PACKAGE)
class LossWithBase(keras.losses.Loss):
    """An auxiliary loss added to another Keras loss on the same outputs; what `loss.as_loss(base)` returns.

    L = base(labels, outputs) + auxiliary(labels, outputs)

    Args:
        auxiliary: StatelessLoss that reads "embeddings", "logits" or "cosines".
        base: A Keras loss with one value a sample.
        reduction, name: As in keras.losses.Loss.

    Raises:
        TypeError: Where auxiliary or base is not one.

    Example:
        >>> base = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> loss = keras_margin.losses.IAM(0.9).as_loss(base)
    """

    def __init__(self, auxiliary, base, reduction="sum_over_batch_size", name="loss_with_base"):
        if not isinstance(auxiliary, StatelessLoss):
            raise TypeError(f"LossWithBase needs a keras_margin.losses.StatelessLoss. Received: {auxiliary!r}.")
        if not isinstance(base, keras.losses.Loss):
            raise TypeError(f"as_loss adds to a keras.losses.Loss. Received: base={base!r}.")
        if auxiliary.reads not in _INPUTS:
            raise ValueError(_why_no_keras_loss(auxiliary))
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.auxiliary, self.base = auxiliary, base

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Computes the reduced loss; labels keep their dtype, which Keras's own __call__ would turn into float."""
        values, valid = self.auxiliary._values(y_true, y_pred)
        if not _keras.in_symbolic_scope():
            name = type(self.auxiliary).__name__
            outputs, labels, _ = checked_outputs(y_pred, y_true, self.auxiliary.reads, name)
            of_base = self.base.call(labels, outputs)
            if len(of_base.shape) != 1:
                raise ValueError(f"base={self.base!r} must give one loss a sample. Received: shape={of_base.shape}.")
            values = values + of_base
        values = ops.where(valid, values, math.inf)
        return super().__call__(*without_unweighted(values, sample_weight), sample_weight)

    def call(self, y_true, y_pred):
        """Returns the per-sample values that __call__ computed."""
        return y_pred

    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {**super().get_config(), "auxiliary": serialize(self.auxiliary), "base": serialize(self.base)}

    @classmethod
    def from_config(cls, config: dict) -> "LossWithBase":
        deserialize = keras.saving.deserialize_keras_object
        parts = {name: deserialize(config[name]) for name in ("auxiliary", "base")}
        return cls(**{**{key: config[key] for key in ("reduction", "name")}, **parts})


def checked_outputs(outputs, labels, reads, owner, num_classes=None):
    """Returns (outputs, labels, valid): float32 outputs, labels (batch,), harmless values where `valid` is False."""
    labels = validation.labels_as_indices(labels, owner)
    if reads == "cosines":
        source = source_of(outputs)
        outputs = outputs if source is None or source.cosines is None else source.cosines
    outputs = ops.cast(outputs, "float32")
    if reads != "embeddings":
        num_classes = int(outputs.shape[1])
    # Any integer names a class among embeddings, unless the loss keeps something for each.
    known = labels if num_classes else ops.zeros_like(labels)
    valid = validation.valid_rows(outputs, known, num_classes or 1, owner)
    labels = ops.where(valid, labels, ops.zeros_like(labels))
    return ops.where(ops.expand_dims(valid, 1), outputs, ops.zeros_like(outputs)), labels, valid


def without_unweighted(values: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns values (batch,) twice, 0 where the weight is 0: a bad sample of no weight is inf, and inf * 0 is NaN.

    Example:
        >>> values, _ = without_unweighted(keras.ops.array([1.0, math.inf]), keras.ops.array([1.0, 0.0]))
        >>> [float(value) for value in values]
        [1.0, 0.0]
    """
    if sample_weight is not None:
        weights = ops.reshape(ops.convert_to_tensor(sample_weight), (-1,))
        values = ops.where(ops.equal(weights, 0), ops.zeros_like(values), values)
    return values, values


def neighbors(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Tells which others of the batch are of the anchor's class, and which of another.

    Returns:
        (same, different): boolean tensors (anchor, other); both False at the anchor itself and at invalid others.
    """
    labels, valid = inputs.sample.labels, inputs.sample.valid
    index = ops.arange(ops.shape(labels)[0], dtype="int32")
    other = ops.not_equal(ops.expand_dims(index, 1), index)
    if valid is not None:
        other = ops.logical_and(other, valid)
    equal = ops.equal(ops.expand_dims(labels, 1), labels)
    return ops.logical_and(other, equal), ops.logical_and(other, ops.logical_not(equal))


def snake_case(cls: type) -> str:
    """Returns a class's name as Keras names its layers and losses: "center_loss"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


def _of_embeddings(labels, embeddings, valid):
    norm = numerics.unit_normalize(embeddings)[1]
    return LossInputs(Sample(None, None, norm, labels, valid, embeddings))


def _of_logits(labels, logits, valid):
    own = is_own_class(labels, logits.shape[1])
    return LossInputs(
        Sample(None, None, None, labels, valid),
        num_classes=int(logits.shape[1]),
        target_logit=ops.sum(ops.where(own, logits, 0.0), axis=1),
        negative_logsumexp=log_sum_of_negatives(logits, labels),
    )


def _of_cosines(labels, cosines, valid):
    cosine = ops.squeeze(ops.take_along_axis(cosines, ops.expand_dims(labels, 1), axis=1), 1)
    sample = Sample(numerics.safe_arccos(cosine), cosine, None, labels, valid)
    return LossInputs(sample, num_classes=int(cosines.shape[1]))


# What each kind of output tells.
_INPUTS = {"embeddings": _of_embeddings, "logits": _of_logits, "cosines": _of_cosines}


def _why_no_keras_loss(loss):
    name = type(loss).__name__
    if loss.reads == "prototypes":
        return f"{name} reads the head's prototypes, which no output carries. Give it to a head: auxiliary_loss=."
    return (
        f"{name} reads {loss.reads}; a Keras loss sees one output. Use one loss an output, or a head's auxiliary_loss=."
    )
