"""LossSchedule: margin and scale of an EmbeddingModel's loss as numbers that change while it trains."""

from typing import Any

import keras

from keras_margin import margins
from keras_margin._typing import Tensor
from keras_margin.models import _training


class _Factors(keras.metrics.Metric):
    """The two numbers, a metric in name alone.

    Metrics are the one kind of variable that Keras hands to `compute_loss` on every backend and keeps out of weights
    and files; and theirs may be made after the model was built. There is no value in the logs, and nothing to reset.
    """

    def __init__(self) -> None:
        super().__init__(name="loss_schedule")
        self.margin = self._factor("margin")
        self.scale = self._factor("scale")

    def _factor(self, name: str) -> keras.Variable:
        return self.add_variable((), "ones", dtype="float32", aggregation="only_first_replica", name=name)

    def reset_state(self) -> None:
        """Keeps the numbers from epoch to epoch."""

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def result(self) -> dict:
        """Returns no values."""
        return {}


def check_margin(head: Any) -> None:
    """Raises ValueError where a head's margin cannot be scaled, or anneals by a lambda of its own."""
    if head.margin.anneals:
        raise ValueError(
            f"A margin that anneals by its own lambda takes no schedule. Received: head.margin={head.margin}."
        )
    head.margin.scaled(0.5)


def check_scale(head: Any) -> None:
    """Raises ValueError where a head has no scale of its own, or the other classes no plain cosines."""
    if head.scale is None or not head.has_cosine_logits or not head.margin.negatives_are_cosines:
        raise ValueError(
            "A scale that is scheduled needs a head with a scale of its own and plain cosines for the other "
            f"classes. Received: {type(head).__name__}(scale={head.scale})."
        )


class LossSchedule:
    """Margin and scale of an EmbeddingModel's loss as shares of the head's own; `model.loss_schedule`.

    margin = head.margin.scaled(share),  scale = head.scale * share

    The head itself stays as it is: it is what `evaluate` of another process, and the saved file, have. The callbacks
    MarginSchedule and ScaleSchedule set the shares while a model trains; before and after, both are 1.

    Args:
        model: EmbeddingModel.

    Example:
        >>> backbone = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model = EmbeddingModel(backbone, head=keras_margin.ArcFaceHead(10))
        >>> model.loss_schedule.start_margin()
        >>> model.loss_schedule.set_margin(0.5)
        >>> model.loss_schedule.uses_margin, model.loss_schedule.uses_scale
        (True, False)
    """

    def __init__(self, model: Any):
        self._model = model
        self._factors: _Factors | None = None
        self.uses_margin = self.uses_scale = False

    def start_margin(self) -> None:
        """Makes the margin one that can be set; to be called before training is compiled, as in a callback's set_model.

        Raises:
            ValueError: Where the margin cannot be scaled, or anneals by a lambda of its own.
        """
        check_margin(self._model.head)
        self._start()
        self.uses_margin = True

    def start_scale(self) -> None:
        """Makes the scale one that can be set; to be called as `start_margin`.

        Raises:
            ValueError: Where the head has no scale of its own, or the other classes no plain cosines.
        """
        check_scale(self._model.head)
        self._start()
        self.uses_scale = True

    def stop(self) -> None:
        """Gives margin and scale back to the head; to be called where training ends. Without a schedule, nothing."""
        if self.uses_margin or self.uses_scale:
            self.uses_margin = self.uses_scale = False
            self._model.train_function = self._model.test_function = None

    def _start(self) -> None:
        if self._factors is None:
            with _training.strategy_scope(self._model):
                self._factors = _Factors()
        # What was compiled before knows no schedule.
        self._model.train_function = self._model.test_function = None

    def _started(self) -> _Factors:
        if self._factors is None:
            raise ValueError("A schedule is set after start_margin() or start_scale(). Received: neither was called.")
        return self._factors

    def set_margin(self, share: float) -> None:
        """Sets the share of the head's margin, in [0, 1]."""
        self._started().margin.assign(share)

    def set_scale(self, share: float) -> None:
        """Sets the share of the head's scale, > 0."""
        self._started().scale.assign(share)

    def margin_and_scale(self) -> tuple[margins.Margin | None, Tensor | None]:
        """Returns what `head.loss_and_correct` takes as margin and scale; None for the head's own."""
        head = self._model.head
        margin = head.margin.scaled(self._started().margin.value) if self.uses_margin else None
        return margin, head.scale * self._started().scale.value if self.uses_scale else None

    def metrics(self) -> list:
        """Returns what Keras has to know among the model's metrics."""
        return [] if self._factors is None else [self._factors]
