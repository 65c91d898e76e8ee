"""Margin: what a paper says about the target logit, as a value."""

import dataclasses
from typing import Any, ClassVar, TypeVar

import keras
from keras import ops

from keras_margin._typing import State, Tensor
from keras_margin.ops.sample import Sample

PACKAGE = "keras_margin"
_Margin = TypeVar("_Margin", bound="Margin")


@dataclasses.dataclass(frozen=True)
class Margin:
    """Base of the margins: a frozen value that gives a sample's target logit.

        target logit = scale * target_logit(sample, state)
        other logits = scale * negative_logits(cosines, sample, state)     cosines unless overridden

    Subclass it as a frozen dataclass, override `target_logit`, register it with Keras, and it works in
    `ops.margin_softmax`, in a `MarginHead` in each way of use, on each backend, and in saved files. A method reads its
    arguments and the dataclass's fields, and nothing else.

    A margin with state, such as a running mean, says so as optax does: `initial_state()` is a NamedTuple of numbers,
    `update_state(state, sample)` the state after a training batch. Each training batch updates the state before its own
    margin is taken; evaluation reads it and never updates it. A head keeps the state in weights.

    Class attributes:
        needs_norm: Whether it reads `sample.norm` or `sample.embeddings`, which cosines alone do not carry.
        no_straight_through: Why gradient="straight_through" makes no sense, to end the sentence "it takes d target /
            d cos = 1, ..."; "" where it does.
        anneals: Whether `annealing_lambda` returns a lambda.
        no_margin: The value of the field `margin` that makes it no margin; None where it cannot be scaled.

    Example:
        >>> @keras.saving.register_keras_serializable(package="mine")
        ... @dataclasses.dataclass(frozen=True)
        ... class Linear(Margin):
        ...     margin: float = 0.4
        ...     def target_logit(self, sample, state):
        ...         return 1.0 - 2.0 / math.pi * (sample.theta + self.margin)
        >>> head = keras_margin.MarginHead(10, Linear(0.4), scale=32.0)
    """

    needs_norm: ClassVar[bool] = False
    no_straight_through: ClassVar[str] = ""
    no_margin: ClassVar[float | None] = None
    anneals: ClassVar[bool] = False

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        """Computes the own class's logit before scaling.

        Args:
            sample: Sample.
            state: The margin's state, as `initial_state` structures it; without gradient.

        Returns:
            Float32 tensor (batch,).
        """
        raise NotImplementedError(f"{type(self).__name__} must define target_logit(self, sample, state).")

    def negative_logits(self, cosines: Tensor, sample: Sample, state: State) -> Tensor | tuple[Tensor, Tensor]:
        """Computes the other classes' logits before scaling, elementwise from their cosines.

        Args:
            cosines: Float32 tensor (batch, classes), in [-1, 1]; the classes are all or some of the head's.
            sample: Sample without gradients and without embeddings.
            state: The margin's state.

        Returns:
            The logits, shaped like `cosines`. Or (logits, slope), the slope d logit / d cosine of each, finite on all
            of [-1, 1]: without it only the "reference" implementation can be used, by the backend's autodiff. No
            gradient passes through `sample` and `state`. What stands at the own class does not count.
        """
        return cosines

    def extra_loss(self, sample: Sample, state: State) -> Tensor | None:
        """Computes what the paper adds to a sample's cross-entropy, (batch,); None for nothing."""
        return None

    def initial_state(self) -> State:
        """Returns the state before the first batch: a NamedTuple, tuple or dict of numbers; () for none."""
        return ()

    def update_state(self, state: State, sample: Sample) -> State:
        """Returns the state after a training batch, structured like `state`.

        Samples that are not `sample.valid` must not count. Under tf.distribute, sum over the replicas
        (`ops.replicas.total`), so that each computes the same.
        """
        return state

    # --- What schedules and diagnostics need --------------------------------------------------------------------------

    def scaled(self, fraction: Any) -> "Margin":
        """Returns this margin with its field `margin` at a fraction of the way from no margin to its full size.

        Args:
            fraction: Float in [0, 1]; a number or a scalar tensor.

        Raises:
            ValueError: Where the margin has no size that could be scaled (`no_margin` is None).
        """
        if self.no_margin is None:
            raise ValueError(f"{type(self).__name__} has no margin that could be scaled by a fraction.")
        full = self.margin  # type: ignore[attr-defined]  # A subclass with `no_margin` has the field.
        return self.replace(margin=self.no_margin + (full - self.no_margin) * fraction)

    def target_angle(self, theta: Any) -> Any:
        """Returns the angle whose cosine the target logit takes, radians, such as theta + m; may pass pi.

        Args:
            theta: NumPy array or tensor of angles, radians.
        """
        return theta

    def annealing_lambda(self, state: State) -> Tensor | None:
        """Returns the present lambda of an annealed margin, a float32 scalar; None where there is none."""
        return None

    def with_accumulation(self, steps: int) -> "Margin":
        """Returns the margin for training where the optimiser makes one update every `steps` batches."""
        return self

    # --- What follows from the above --------------------------------------------------------------------------------

    @property
    def negatives_are_cosines(self) -> bool:
        """Whether the other classes' logits are their scaled cosines."""
        return type(self).negative_logits is Margin.negative_logits

    @property
    def has_slope(self) -> bool:
        """Whether the other classes' logits come with their slope, so that every implementation can be used."""
        if self.negatives_are_cosines:
            return True
        one = ops.zeros((1,))
        sample = Sample(one, one, one, ops.zeros((1,), "int32"), ops.ones((1,), "bool"))
        state = keras.tree.map_structure(ops.convert_to_tensor, self.initial_state())
        return isinstance(self.negative_logits(ops.zeros((1, 1)), sample, state), tuple)

    def replace(self: _Margin, **fields: Any) -> _Margin:
        """Returns a copy with other values of some fields."""
        return dataclasses.replace(self, **fields)

    def get_config(self) -> dict:
        """Returns the fields, by which `from_config` builds an equal margin."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value if _is_plain(value) else _serialized(value) for name, value in values.items()}

    @classmethod
    def from_config(cls, config: dict) -> "Margin":
        """Builds the margin that `get_config` described."""
        values = {name: keras.saving.deserialize_keras_object(value) for name, value in config.items()}
        # A file keeps a tuple as a list, which has no hash.
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _serialized(value: Any) -> Any:
    return keras.saving.serialize_keras_object(value)
