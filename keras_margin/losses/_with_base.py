"""LossWithBase: an auxiliary loss and another Keras loss on the same outputs, as one Keras loss."""

import math

import keras
from keras import ops

from keras_margin import _keras
from keras_margin.losses._base import PACKAGE, StatelessLoss
from keras_margin.losses._inputs import INPUTS, checked_outputs, why_no_keras_loss, without_unweighted


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
        if auxiliary.reads not in INPUTS:
            raise ValueError(why_no_keras_loss(auxiliary))
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.auxiliary, self.base = auxiliary, base

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Computes the reduced loss; labels keep their dtype, which Keras's own __call__ would turn into float."""
        values, valid = self.auxiliary._values(y_true, y_pred)
        if not _keras.in_symbolic_scope():
            # Not "cosines": a head guards its own, and a base that knows no margin must not get those before the guard.
            reads = "embeddings" if self.auxiliary.reads == "embeddings" else "logits"
            outputs, labels, _ = checked_outputs(y_pred, y_true, reads, type(self.auxiliary).__name__)
            of_base = self.base.call(labels, outputs)
            if len(of_base.shape) != 1:
                raise ValueError(
                    "as_loss adds to a loss of one value a sample, such as "
                    "keras.losses.SparseCategoricalCrossentropy(from_logits=True). Received: base="
                    f"{type(self.base).__name__}, which gave shape {tuple(of_base.shape)}. To add to a margin head's "
                    f"own loss give it to the head: auxiliary_loss={type(self.auxiliary).__name__}(...)."
                )
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
