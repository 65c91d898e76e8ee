"""HeadLoss: a head's own loss on (labels, cosines), as a Keras loss."""

import weakref
from typing import Any

import keras
from keras import ops

from keras_margin import _cosine_source, _keras
from keras_margin._typing import Tensor
from keras_margin.losses._base import PACKAGE
from keras_margin.losses._inputs import without_unweighted

# What a user of logits compiles with.
LOSS_ON_LOGITS = "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"


@keras.saving.register_keras_serializable(package=PACKAGE)
class HeadLoss(keras.losses.Loss):
    """The loss of the head that made the cosines; what `head.loss` returns.

    The head is found through the cosines themselves (see `_cosine_source`), so a loss read back from a file, or
    compiled into a clone of a model, is the loss of the right head. For cosines of unknown origin it is the loss of the
    head that it was asked of, where that needs cosines alone.

    Args:
        head: The MarginHead it is asked of, or None. Only a weak reference is kept: with a strong one a model's files
            would be read and written in a circle.
        reduction, name: As in keras.losses.Loss.

    Example:
        >>> head = keras_margin.ArcFaceHead(10)
        >>> model = keras.Sequential([keras.Input((4,)), head])
        >>> model.compile("sgd", loss=head.loss)
    """

    def __init__(self, head: Any = None, reduction: str = "sum_over_batch_size", name: str = "margin_loss"):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self._head = None if head is None else weakref.ref(head)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Computes the reduced loss; labels keep their dtype, which Keras's own __call__ would turn into float."""
        values = self._values(y_true, y_pred)
        # Base.__call__ reduces, weighs and scales for tf.distribute; `call` below hands it the values unchanged.
        return super().__call__(*without_unweighted(values, sample_weight), sample_weight)

    def call(self, y_true, y_pred):
        """Returns the per-sample values that __call__ computed."""
        return y_pred

    def _values(self, labels, cosines):
        source = _cosine_source.source_of(cosines)
        if source is not None:
            return source.head.loss_from_cosines(labels, cosines)
        if _keras.in_symbolic_scope():
            # Keras traces model and loss apart, for their shapes alone.
            return ops.zeros((ops.shape(cosines)[0],)) if len(cosines.shape) else ops.zeros(())
        head = None if self._head is None else self._head()
        if head is None:
            raise ValueError(
                "This head.loss was read back from a file, or its head is gone: it finds its head through the cosines, "
                "and these were changed since the head made them. Let head(embeddings), as it is, be the output."
            )
        return head.loss_from_cosines(labels, cosines)

    def get_config(self) -> dict:
        """Returns the arguments that build this loss again; its head comes with the cosines."""
        return {"reduction": self.reduction, "name": self.name}


def refuse_logits(owner: str) -> None:
    """Raises ValueError: logits have come to where cosines belong, and would get their margin twice."""
    raise ValueError(
        f"{owner}'s loss takes cosines, and these are logits: the head was called with labels, so the margin is in "
        f"them already. Compile with {LOSS_ON_LOGITS}, or call the head without labels."
    )


def require_loss_on_logits(owner: str) -> None:
    """Raises ValueError where margin logits are about to be taken for probabilities."""
    loss = _keras.compiled_loss()
    if loss is not None and _keras.takes_probabilities(loss):
        raise ValueError(
            f"{owner} was called with labels and puts out logits; the model was compiled with loss={loss!r}, which "
            f"takes probabilities and would clip logits to [0, 1]. Compile with {LOSS_ON_LOGITS}."
        )


def weighted_mean(values: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Computes what Keras makes of per-sample losses: their weighted sum over the number of samples."""
    if sample_weight is None:
        return ops.mean(values)
    values, _ = without_unweighted(values, sample_weight)
    return ops.mean(values * ops.reshape(ops.cast(sample_weight, values.dtype), (-1,)))
