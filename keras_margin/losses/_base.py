"""What every loss next to the margin is built on: AuxiliaryLoss, its two kinds, and sums of them.

An auxiliary loss sees `LossInputs`, what a head knows of a batch, and returns a loss for each sample, already weighted.
Those without weights are Keras losses as they are; those with weights are Keras layers.
"""

import math
import re
from typing import Any

import keras
from keras import ops

from keras_margin import _arguments, _keras
from keras_margin._typing import Shape, Tensor
from keras_margin.losses._inputs import (
    INPUTS,
    checked_outputs,
    inputs_of_embeddings,
    why_no_keras_loss,
    without_unweighted,
)
from keras_margin.ops.sample import LossInputs

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
        if self.reads not in INPUTS:
            raise ValueError(why_no_keras_loss(self))
        name = type(self).__name__
        if len(y_pred.shape) != 2:
            raise ValueError(f"{name} reads {self.reads}, (batch, size). Received: shape={tuple(y_pred.shape)}.")
        if _keras.in_symbolic_scope():
            # Keras traces losses for their shapes, with labels of its own making.
            return ops.zeros((ops.shape(y_pred)[0],)), ops.ones((ops.shape(y_pred)[0],), "bool")
        outputs, labels, valid = checked_outputs(y_pred, y_true, self.reads, name)
        return self.weighted(INPUTS[self.reads](labels, outputs, valid)), valid

    def as_loss(self, base: keras.losses.Loss | None = None) -> keras.losses.Loss:
        """Returns the loss added to `base`, a Keras loss on the same outputs; see LossWithBase."""
        from keras_margin.losses._with_base import LossWithBase

        return self if base is None else LossWithBase(self, base, reduction=self.reduction)

    def get_config(self) -> dict:
        config = keras.losses.Loss.get_config(self)
        return {"weight": self.weight, "reduction": config["reduction"], "name": config["name"]}


class WeightedLoss(AuxiliaryLoss, keras.layers.Layer):
    """Base of the auxiliary losses that keep weights: each is a Keras layer, of one head or of a model.

        head = ArcFaceHead(n, auxiliary_loss=CenterLoss())         the head saves and trains its weights
        embeddings = CenterLoss(num_classes=n)(embeddings, labels)  passes them on, its mean joins the model's losses

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
        inputs = inputs_of_embeddings(labels, outputs, valid)._replace(training=bool(training))
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

    def compute_output_spec(self, embeddings, *args, **kwargs) -> keras.KerasTensor:
        """Returns the symbol of `embeddings`, of their shape and dtype: by default it would be the layer's dtype."""
        return keras.KerasTensor(embeddings.shape, embeddings.dtype)

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
        parts = [keras.saving.deserialize_keras_object(part) for part in config["parts"]]
        return cls(parts)  # type: ignore[call-arg]  # Both kinds of sums take them.


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
    def num_classes(self) -> int | None:  # type: ignore[override]  # Read alone, here as in every loss.
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


def snake_case(cls: type) -> str:
    """Returns a class's name as Keras names its layers and losses: "center_loss"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
