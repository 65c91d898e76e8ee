"""MeanTargetAngle: how far a sample is from the prototype of its class."""

import math
from typing import Any

import keras
from keras import ops

from keras_margin import _keras
from keras_margin._typing import Tensor
from keras_margin.ops import validation

PACKAGE = "keras_margin"


@keras.saving.register_keras_serializable(package=PACKAGE)
class MeanTargetAngle(keras.metrics.Metric):
    """Computes the mean angle between an embedding and the prototype of its class, in degrees.

    angle = mean(arccos(cos(x, W_y))) * 180 / pi

    It reads labels and cosines: what `EmbeddingModel.compile(metrics=...)` gives to metrics, and what a head puts out
    in a plain Keras model. The margin does not enter. In float32 an angle below 0.03 degrees reads as 0.

    Args:
        name: Name in the logs.
        dtype: As in keras.metrics.Metric.

    Example:
        >>> metric = MeanTargetAngle()
        >>> metric.update_state(np.array([0, 1]), np.array([[1.0, 0.0], [0.5, 0.0]]))
        >>> round(float(metric.result()))
        45

    Reference: Deng et al., ArcFace, CVPR 2019, figure 4 (a).
    """

    def __init__(self, name: str = "mean_target_angle", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        _keras.set_direction(self, "down")
        self.total = self.add_variable((), "zeros", dtype="float32", name="total")
        self.weight = self.add_variable((), "zeros", dtype="float32", name="weight")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Takes in a batch.

        Args:
            y_true: Integer tensor (batch,) or (batch, 1), labels in [0, num_classes).
            y_pred: Float tensor (batch, num_classes), cosines in [-1, 1].
            sample_weight: Float tensor (batch,), >= 0; or None for 1.
        """
        if _keras.in_symbolic_scope():
            return  # Labels are placeholders there, and may be floats.
        labels = ops.cast(validation.labels_as_indices(y_true, type(self).__name__), "int32")
        own = ops.take_along_axis(ops.convert_to_tensor(y_pred, "float32"), labels[:, None], axis=1)[:, 0]
        degrees = ops.arccos(ops.clip(own, -1.0, 1.0)) * (180.0 / math.pi)
        weights = ops.ones_like(degrees)
        if sample_weight is not None:
            weights = ops.reshape(ops.convert_to_tensor(sample_weight, "float32"), (-1,))
        self.total.assign_add(ops.sum(weights * degrees))
        self.weight.assign_add(ops.sum(weights))

    def result(self) -> Tensor:
        """Returns the mean, a scalar tensor in [0, 180]; NaN before the first sample."""
        return ops.true_divide(self.total.value, self.weight.value)

    def get_config(self) -> dict:
        """Returns the arguments that build it again."""
        return {"name": self.name, "dtype": self.dtype}
