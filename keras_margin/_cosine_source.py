"""What travels with a head's output to its loss: the one side channel of the library, and why there is one.

A Keras loss sees labels and outputs. `head.loss` on cosines needs more: which head made them, so that a loss read back
from a file, or given to a clone, uses that head's margin, scale and state; for some margins the embeddings, whose
length cosines do not carry; and for margins with state, whether this is a training batch. So a head attaches a
`CosineSource` to the very tensor that it puts out, and `head.loss` reads it off that tensor. Nothing is registered
anywhere: the source lives and dies with its tensor.

Cosines of a training batch are also guarded. They pass through an identity whose gradient is an error, and the source
holds the cosines in front of it. A loss that knows about margins takes those. Any other loss, of Keras, of the user, or
of this library on a tensor that was changed on the way, would train cosines without margin and scale: when the gradient
is taken, an error says so.
"""

import collections
import functools
import weakref
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_margin._typing import Tensor

_ATTRIBUTE = "_keras_margin_source"
_BARE_COSINES = (
    "A margin head was called without labels in training, and something else than its own loss takes the gradient of "
    "its output: that trains bare cosines, without margin and scale. Compile with loss=head.loss and let "
    "head(embeddings), as it is, be what that loss is given; call head(embeddings, labels); or use EmbeddingModel. In "
    "a loop of your own use head.compute_loss(embeddings, labels)."
)


class CosineSource:
    """Where a head's output comes from.

    It refers to the head weakly: TensorFlow keeps the graph of each training step for good, because an optimizer's
    all_reduce is a custom gradient, and with the graph its tensors and what is attached to them.

    Args:
        head: The MarginHead.
        cosines: The cosines in front of the guard, (batch, num_classes); None where the output has no guard.
        embeddings: What the head was called with, (batch, embedding_size), float32; None for logits.
        training: Whether this is a training batch.
        is_logits: Whether the output is logits, which have their margin already.
    """

    def __init__(
        self,
        head: Any,
        cosines: Tensor = None,
        embeddings: Tensor = None,
        training: bool = False,
        is_logits: bool = False,
    ) -> None:
        self._head = weakref.ref(head)
        self._output: Callable[[], Any] = lambda: None
        self.cosines, self.embeddings = cosines, embeddings
        self.training, self.is_logits = training, is_logits

    @property
    def head(self) -> Any:
        """The MarginHead.

        Raises:
            ValueError: Where it is gone.
        """
        head = self._head()
        if head is None:
            raise ValueError(
                "The head that made these cosines is gone, and with it the margin of their loss. Keep the head, or the "
                "model that holds it, for as long as its output."
            )
        return head


# JAX's tracers take no attributes. Their sources are found by identity, and held by the head that made them.
_of_tracers: weakref.WeakValueDictionary[int, CosineSource] = weakref.WeakValueDictionary()


def with_source(output: Tensor, source: CosineSource) -> Tensor:
    """Attaches a source to a head's output; returns the output.

    Args:
        output: The tensor that the head is about to return. A copy or a cast of it has no source.
        source: CosineSource.
    """
    try:
        setattr(output, _ATTRIBUTE, source)
    except AttributeError:
        source._output = weakref.ref(output)
        _of_tracers[id(output)] = source
        live = source.head.live_sources
        for _ in range(len(live)):  # Once round: those whose tracer is gone leave.
            if live[0]._output() is None:
                live.popleft()
            else:
                live.rotate(-1)
        live.append(source)
    return output


def source_of(output: Tensor) -> CosineSource | None:
    """Returns the source attached to this very tensor, or None."""
    source = getattr(output, _ATTRIBUTE, None)
    if source is None:
        source = _of_tracers.get(id(output))
        # Another tensor may have come to the same address since.
        source = source if source is not None and source._output() is output else None
    return source


def live_sources() -> collections.deque:
    """Returns what a head keeps the sources of its living tracers in; a deque, as Keras would wrap a list."""
    return collections.deque()


def guarded(cosines: Tensor) -> Tensor:
    """Returns `cosines`, in a tensor whose gradient is a ValueError that names the misuse."""
    return _GUARDS[keras.backend.backend()](cosines)


def _refuse(*args, **kwargs):
    raise ValueError(_BARE_COSINES)


def _tensorflow_guard(cosines):
    import tensorflow as tf

    if tf.executing_eagerly():
        return _tensorflow_identity()(cosines)
    try:
        guarded_cosines = _tensorflow_program()(cosines)
    except ValueError:
        # Under a persistent tape a function's gradient is traced with the function, wanted or not.
        return tf.raw_ops.PreventGradient(input=cosines, message=_BARE_COSINES)
    guarded_cosines.set_shape(cosines.shape)
    return guarded_cosines


def _tensorflow_identity():
    import tensorflow as tf

    @tf.custom_gradient
    def identity(cosines):
        return tf.identity(cosines), _refuse

    return identity


@functools.cache
def _tensorflow_program():
    """Returns the identity as one function for all graphs: TensorFlow keeps each custom gradient it traces for good."""
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None), tf.float32)]
    return tf.function(_tensorflow_identity(), autograph=False, input_signature=signature)


def _jax_guard(cosines):
    import jax

    # Not jax.custom_gradient, which runs the backward rule while it traces the forward pass.
    identity = jax.custom_vjp(lambda x: x)
    identity.defvjp(lambda x: (x, None), _refuse)
    return identity(cosines)


def _torch_guard(cosines):
    @ops.custom_gradient
    def identity(cosines):
        return cosines.view_as(cosines), _refuse

    return identity(cosines)


_GUARDS = {"tensorflow": _tensorflow_guard, "jax": _jax_guard, "torch": _torch_guard}
