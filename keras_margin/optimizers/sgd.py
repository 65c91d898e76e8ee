"""The optimizers of the recipes: SGD whose weight decay goes through the momentum, and rates that callbacks can set."""

from collections.abc import Collection, Sequence
from typing import Any

import keras
from keras import ops

from keras_margin._typing import Tensor
from keras_margin.optimizers.schedules import SettableSchedule

PACKAGE = "keras_margin"


class _SettableRate:
    """Mixin of a Keras optimiser: assigning to `learning_rate` sets the rate of a SettableSchedule."""

    rate: Any

    @property
    def learning_rate(self) -> Any:
        """The rate of the next update; what is assigned to it stays."""
        return super().learning_rate  # type: ignore[misc]

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        is_number = not callable(value)
        if is_number and isinstance(self.rate, SettableSchedule):
            self.rate.assign(value)
            return
        keras.optimizers.Optimizer.learning_rate.fset(self, value)
        self.rate = self.rate if is_number else value


@keras.saving.register_keras_serializable(package=PACKAGE)
class AdamW(_SettableRate, keras.optimizers.AdamW):
    """Keras's AdamW, whose rate can be set where it is a SettableSchedule.

    Args:
        learning_rate: Float, Keras schedule or SettableSchedule.
        **kwargs: As in keras.optimizers.AdamW.

    Example:
        >>> AdamW(1e-3, weight_decay=0.05).weight_decay
        0.05
    """

    def __init__(self, learning_rate: Any = 0.001, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.rate = learning_rate


@keras.saving.register_keras_serializable(package=PACKAGE)
class SGDWithL2(_SettableRate, keras.optimizers.SGD):
    """SGD with weight decay added to the gradient before momentum, and the rate inside the momentum.

    gradient = gradient + l2 * w
    velocity = momentum * velocity - learning_rate * gradient
    w        = w + velocity                                       or, with nesterov,
    w        = w + momentum * velocity - learning_rate * gradient

    This is the update of Caffe and MXNet. torch.optim.SGD(weight_decay=l2, dampening=0) adds the decay likewise but
    keeps the rate outside: velocity = momentum * velocity + gradient; w = w - learning_rate * velocity. The two take
    the same steps, the first included and with nesterov too, while the rate stays. When the rate changes, PyTorch
    applies the new rate to the gradients of the past as well; here each gradient keeps the rate of its own update, so
    that after a division by ten the velocity falls over some 1 / (1 - momentum) updates. There is no `dampening`, and
    PyTorch decays every parameter of a group where `exclude` leaves some out here.

    Keras's own `weight_decay` shrinks the weights next to the momentum (decoupled), which is another method.

    Rows: where a gradient is tf.IndexedSlices, as of a head that samples its classes (sample_rate < 1) or of an
    Embedding, only its rows move: those of the weights and those of the velocity, which neither decay nor coast in
    between. A row's k-th update is then as above with k counting the batches that named it, at the learning rate of
    that batch; a row in a share p of the batches decays p times as much as in full training.

    Args:
        learning_rate: Float, Keras schedule or SettableSchedule.
        momentum: [0, 1].
        l2: Weight decay of the papers, such as 5e-4, >= 0.
        exclude: Weights whose name is in this collection do not decay: batch norm's gamma and beta, biases and PReLU's
            alpha by default.
        **kwargs: As in keras.optimizers.SGD.

    Raises:
        ValueError: With `weight_decay`, or a negative l2.

    Example:
        >>> SGDWithL2(0.1, momentum=0.9, l2=5e-4).l2
        0.0005
    """

    NOT_DECAYED = ("alpha", "beta", "bias", "gamma")
    # What heads that sample their classes ask for.
    updates_rows = True

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        l2: float = 0.0,
        exclude: Collection[str] = NOT_DECAYED,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("weight_decay"):
            raise ValueError("SGDWithL2 decays through the gradient: pass l2=, not weight_decay=.")
        if not l2 >= 0:
            raise ValueError(f"SGDWithL2 needs l2 >= 0. Received: l2={l2!r}.")
        super().__init__(learning_rate=learning_rate, momentum=momentum, **kwargs)
        self.rate = learning_rate
        self.l2 = float(l2)
        self.exclude = tuple(exclude)

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the momenta, and notes which variables decay."""
        super().build(variables)
        self._decays = [variable.name not in self.exclude for variable in variables]

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """One variable's update."""
        # Under tf.distribute `variable` is TensorFlow's, one replica's part of ours; the index finds ours.
        decays = self.l2 and self._decays[self._get_variable_index(variable)]
        if _has_rows(gradient):
            self._update_rows(gradient, variable, learning_rate, self.l2 if decays else 0.0)
            return
        if self.momentum and not self.nesterov and keras.backend.backend() == "tensorflow":
            self._update_in_place(gradient, variable, learning_rate, self.l2 if decays else 0.0)
            return
        if decays:
            gradient = ops.add(gradient, ops.multiply(ops.cast(variable, gradient.dtype), self.l2))
        super().update_step(gradient, variable, learning_rate)

    def _update_in_place(self, gradient, variable, learning_rate, l2):
        """The same update by TensorFlow's kernels: ops make three tensors as large as the prototypes on the way."""
        import tensorflow as tf

        weights, velocities = _resource(variable), _resource(self.momentums[self._get_variable_index(variable)])
        learning_rate = tf.cast(learning_rate, weights.dtype)
        if l2:
            # The next kernel multiplies the velocity by the momentum, and this with it.
            decay = learning_rate * l2 / self.momentum
            read = tf.convert_to_tensor(weights)
            tf.raw_ops.ResourceApplyGradientDescent(var=velocities.handle, alpha=decay, delta=read)
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=weights.handle,
            accum=velocities.handle,
            lr=learning_rate,
            grad=tf.cast(gradient, weights.dtype),
            momentum=tf.cast(self.momentum, weights.dtype),
        )

    def _update_rows(self, gradient, variable, learning_rate, l2):
        """The update of the rows in `gradient`, which may name one several times, as the replicas of a batch do."""
        import tensorflow as tf

        weights, index = _resource(variable), gradient.indices
        learning_rate = tf.cast(learning_rate, weights.dtype)
        rows = tf.gather(weights, index)
        # What may be set any number of times comes first; the gradients, which add up, come after it.
        step = -learning_rate * l2 * rows
        if not self.momentum:
            weights.scatter_update(tf.IndexedSlices(rows + step, index))
            weights.scatter_sub(tf.IndexedSlices(learning_rate * gradient.values, index))
            return
        velocities = _resource(self.momentums[self._get_variable_index(variable)])
        coasting = self.momentum * tf.gather(velocities, index)
        velocities.scatter_update(tf.IndexedSlices(coasting + step, index))
        velocities.scatter_sub(tf.IndexedSlices(learning_rate * gradient.values, index))
        moved = tf.gather(velocities, index)
        if self.nesterov:
            # w + momentum v - rate g, where rate g = coasting - v.
            moved = moved - coasting + self.momentum * moved
        weights.scatter_update(tf.IndexedSlices(rows + moved, index))

    def get_config(self) -> dict[str, Any]:
        """Arguments that build this optimiser again."""
        return {**super().get_config(), "l2": self.l2, "exclude": list(self.exclude)}


def _has_rows(gradient: Any) -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return isinstance(gradient, tf.IndexedSlices)


def _resource(variable: Any) -> Any:
    """TensorFlow's variable behind Keras's."""
    return variable.value if isinstance(variable, keras.Variable) else variable
