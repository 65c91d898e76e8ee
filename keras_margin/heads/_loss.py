"""HeadLoss: a head's own loss on cosines, as a Keras loss; and what a head finds out about the loss it trains under."""

import weakref

import keras
from keras.src.backend.common import global_state
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from keras_margin.losses import PACKAGE

# What a user of way 2 compiles with.
LOSS_ON_LOGITS = "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"

# A loss read back with a compiled model must find the head read back just before it; the newest of a name is that head.
live_heads = weakref.WeakValueDictionary()


@keras.saving.register_keras_serializable(package=PACKAGE)
class HeadLoss(keras.losses.Loss):
    """A head's loss on (labels, cosines); what `head.loss` gives.

    It keeps a weak reference to its head: a strong one would make the head and its loss a cycle, through which Keras's
    `load_model` recurses without end.

    Args:
        head: The MarginHead, alive as long as the model is.
        reduction, name: As in keras.losses.Loss.
    """

    def __init__(self, head, reduction="sum_over_batch_size", name="margin_loss"):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self._head = weakref.ref(head)
        self._head_name = head.name

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Reduced loss; labels keep their dtype, which Keras's own __call__ would turn into float."""
        head = self._head()
        if head is None:
            raise ValueError(f"The head {self._head_name!r} of this loss is gone: keep the model or the head alive.")
        values = head.loss_from_cosines(y_true, y_pred)
        # Base.__call__ reduces, weighs and scales for tf.distribute; `call` below hands it the values unchanged.
        return super().__call__(values, values, sample_weight)

    def call(self, y_true, y_pred):
        """The per-sample values that __call__ computed."""
        return y_pred

    def get_config(self):
        """Arguments that build this loss again, its head by name."""
        return {"head": self._head_name, "reduction": self.reduction, "name": self.name}

    @classmethod
    def from_config(cls, config):
        """The loss of the newest head of that name, which reading a model back has just made."""
        config = dict(config)
        name = config.pop("head")
        head = live_heads.get(name)
        if head is None:
            raise ValueError(
                f"No MarginHead named {name!r} is alive: load the model that holds it, then use head.loss."
            )
        head._loss_was_taken = True
        return cls(head, **config)


def require_own_loss(head, training):
    """Raises ValueError where bare cosines are about to be trained: without margin, without scale."""
    # JAX's trainer calls a model's layers past the model, which then is seen in Keras's symbolic rehearsal alone.
    loss = _compiled_loss() if training or in_symbolic_scope() else None
    if not _is_kerass_own(loss) and (head._loss_was_taken or not training):
        return
    was = "its own loss was never asked for" if loss is None else f"the model was compiled with loss={loss!r}"
    raise ValueError(
        f"{type(head).__name__} was called without labels in training, and {was}: that trains bare cosines, without "
        "margin and scale. Compile with loss=head.loss, call head(embeddings, labels), or use EmbeddingModel."
    )


def require_loss_on_logits(head):
    """Raises ValueError where margin logits are about to be taken for probabilities."""
    loss = _compiled_loss()
    if _takes_probabilities(loss):
        raise ValueError(
            f"{type(head).__name__} was called with labels and puts out logits; the model was compiled with "
            f"loss={loss!r}, which takes probabilities and would clip logits to [0, 1]. Compile with {LOSS_ON_LOGITS}."
        )


def refuse_logits(head):
    """Raises ValueError: logits have come to where cosines belong, and would get their margin twice."""
    raise ValueError(
        f"{type(head).__name__}'s loss takes cosines, and these are logits: the head was called with labels, so the "
        f"margin is in them already. Compile with {LOSS_ON_LOGITS}, or call the head without labels."
    )


def _compiled_loss():
    """The one loss that the model now being called was compiled with; None where there is no such thing."""
    # The call context is Keras's own and private: where it has moved, nothing is found out, and nothing breaks.
    context = global_state.get_global_attribute("current_call_ctx")
    model = getattr(context, "entry_layer", None)
    loss = getattr(model, "loss", None) if isinstance(model, keras.Model) else None
    while isinstance(loss, (list, tuple, dict)) and len(loss) == 1:
        loss = next(iter(loss.values() if isinstance(loss, dict) else loss))
    return None if isinstance(loss, (list, tuple, dict)) else loss


def _is_kerass_own(loss):
    """Whether `loss` is one of those that come with Keras, by name, function or object: none of them knows a margin."""
    if isinstance(loss, str):
        return True
    return (getattr(loss, "__module__", None) or type(loss).__module__).startswith("keras.src.losses")


def _takes_probabilities(loss):
    """Whether `loss` is one of Keras's cross-entropies with from_logits=False."""
    try:
        loss = keras.losses.get(loss)
    except (TypeError, ValueError):
        return False
    name = getattr(loss, "__name__", type(loss).__name__)
    if name not in _CROSS_ENTROPIES:
        return False
    return not (isinstance(loss, keras.losses.Loss) and loss.get_config().get("from_logits", False))


_CROSS_ENTROPIES = {
    "SparseCategoricalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
}
