"""The optimiser of the papers: SGD whose weight decay goes through the momentum."""

import keras
from keras import ops

PACKAGE = "keras_margin"


@keras.saving.register_keras_serializable(package=PACKAGE)
class SGDWithL2(keras.optimizers.SGD):
    """SGD with weight decay added to the gradient before momentum, as Caffe, MXNet and PyTorch do it.

    gradient = gradient + l2 * w
    velocity = momentum * velocity - learning_rate * gradient
    w        = w + velocity

    Keras's own `weight_decay` shrinks the weights beside the momentum (decoupled), which is another method.

    Args:
        learning_rate: Float or Keras schedule.
        momentum: [0, 1].
        l2: Weight decay of the papers, such as 5e-4, >= 0.
        exclude: Weights whose name is in this collection do not decay: batch norm's gamma and beta, biases and PReLU's
            alpha by default.
        **kwargs: As in keras.optimizers.SGD.

    Raises:
        ValueError: With `weight_decay`, or a negative l2.
    """

    NOT_DECAYED = ("alpha", "beta", "bias", "gamma")

    def __init__(self, learning_rate=0.1, momentum=0.9, l2=0.0, exclude=NOT_DECAYED, **kwargs):
        if kwargs.get("weight_decay"):
            raise ValueError("SGDWithL2 decays through the gradient: pass l2=, not weight_decay=.")
        if not l2 >= 0:
            raise ValueError(f"SGDWithL2 needs l2 >= 0. Received: l2={l2!r}.")
        super().__init__(learning_rate=learning_rate, momentum=momentum, **kwargs)
        self.l2 = float(l2)
        self.exclude = tuple(exclude)

    def build(self, variables):
        """Creates the momenta, and notes which variables decay."""
        super().build(variables)
        self._decays = [variable.name not in self.exclude for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """One variable's update."""
        # Under tf.distribute `variable` is TensorFlow's, one replica's part of ours; the index finds ours.
        if self.l2 and self._decays[self._get_variable_index(variable)]:
            gradient = ops.add(gradient, ops.multiply(ops.cast(variable, gradient.dtype), self.l2))
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        """Arguments that build this optimiser again."""
        return {**super().get_config(), "l2": self.l2, "exclude": list(self.exclude)}
