"""EmbeddingMetric: the base of metrics of (labels, embeddings)."""

import abc
from typing import Any

import keras
from keras import ops

from keras_margin import _keras
from keras_margin._typing import Tensor
from keras_margin.metrics import _replicas
from keras_margin.ops import numerics, validation

PACKAGE = "keras_margin"


class EmbeddingMetric(keras.metrics.Metric, abc.ABC):
    """Reads labels and embeddings, where other metrics of an EmbeddingModel read labels and cosines.

    A subclass makes its variables in `build`, by `add_state`, and takes in a batch in `update`. Variables are made when
    the size of the embeddings is known, under the strategy of the model, so that a metric may be made anywhere.

    Under tf.distribute `update` gets the batch of all replicas, in each of them: two replicas give the value of one
    device. Rows of embeddings with NaN or inf are left out; the loss of the head reports them.

    Args:
        name: Name in the logs; None for that of the class.
        direction: "up" where more is better, "down" where less is: what callbacks with mode="auto" look at.
        dtype: As in keras.metrics.Metric; the state is float32 whatever it says.

    Example:
        >>> @keras.saving.register_keras_serializable("mine")
        ... class LargestCosine(EmbeddingMetric):
        ...     def build(self, embedding_size):
        ...         self.largest = self.add_state("largest", ())
        ...     def update(self, units, labels, weights):
        ...         other = 1 - keras.ops.eye(keras.ops.shape(units)[0])
        ...         cosines = keras.ops.matmul(units, keras.ops.transpose(units))
        ...         self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(cosines * other)))
        ...     def result(self):
        ...         return self.largest.value
        >>> metric = LargestCosine()
        >>> metric.update_state(np.array([0, 1]), np.array([[2.0, 0], [3, 3]]))
        >>> round(float(metric.result()), 4)
        0.7071
    """

    def __init__(self, name: str | None = None, direction: str = "up", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        _keras.set_direction(self, direction)
        self.built = False

    @abc.abstractmethod
    def build(self, embedding_size: int) -> None:
        """Creates the variables, for embeddings (batch, embedding_size)."""

    @abc.abstractmethod
    def update(self, units: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Takes in a batch.

        Args:
            units: float32 tensor (batch, embedding_size), rows of unit length, or zero.
            labels: int32 tensor (batch,).
            weights: float32 tensor (batch,), >= 0; 0 for a row that does not count.
        """

    def add_state(self, name: str, shape: tuple, dtype: str = "float32") -> keras.Variable:
        """Returns a new variable, zero. Every replica holds the same, and the first one's is what is read."""
        return self.add_variable(shape, "zeros", dtype=dtype, aggregation="only_first_replica", name=name)

    def ensure_built(self, embedding_size: int) -> None:
        """Builds the metric, unless it is built.

        Raises:
            ValueError: Where it was built for embeddings of another size.
        """
        if not self.built:
            self.build(embedding_size)
            self.built, self._size = True, embedding_size
        elif embedding_size != self._size:
            raise ValueError(
                f"{type(self).__name__} was built for embeddings of {self._size} numbers. Received: embeddings of "
                f"{embedding_size}. Make another one."
            )

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Takes in a batch.

        Args:
            y_true: Integer tensor (batch,) or (batch, 1), labels. Any numbering: they are compared with each other.
            y_pred: Float tensor (batch, embedding_size), embeddings of any length.
            sample_weight: Float tensor (batch,), >= 0; or None for 1.

        Raises:
            TypeError: On labels that are not integers.
            ValueError: On labels that are not one integer a sample.
        """
        self.ensure_built(y_pred.shape[-1])
        embeddings = ops.cast(ops.stop_gradient(ops.convert_to_tensor(y_pred)), "float32")
        if _keras.in_symbolic_scope():
            return  # Labels are placeholders there, and may be floats.
        labels = ops.cast(validation.labels_as_indices(y_true, type(self).__name__), "int32")
        finite = ops.all(ops.isfinite(embeddings), axis=1)
        weights = ops.cast(finite, "float32")
        if sample_weight is not None:
            weights = weights * ops.reshape(ops.convert_to_tensor(sample_weight, "float32"), (-1,))
        # A zero weight does not undo a NaN.
        units, _ = numerics.unit_normalize(ops.where(finite[:, None], embeddings, ops.zeros_like(embeddings)))
        self.update(*_replicas.of_all(units, labels, weights))

    def get_config(self) -> dict:
        """Returns the arguments that build it again."""
        return {"name": self.name, "dtype": self.dtype}
