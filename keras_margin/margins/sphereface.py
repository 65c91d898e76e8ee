"""SphereFace as published: an integer factor of the angle, and the lambda that training anneals."""

import dataclasses
import math
from typing import ClassVar, NamedTuple

import keras
from keras import ops

from keras_margin import _arguments
from keras_margin._typing import State, Tensor
from keras_margin.margins import formulas
from keras_margin.margins._base import PACKAGE, Margin
from keras_margin.ops.sample import Sample


class AnnealingState(NamedTuple):
    """The clock of lambda.

    Attributes:
        step: Int32 scalar, optimiser updates begun so far.
        batch: Int32 scalar, training batches of the present update so far; 0 where each batch is an update.
    """

    step: Tensor = 0
    batch: Tensor = 0


@keras.saving.register_keras_serializable(package=PACKAGE)
@dataclasses.dataclass(frozen=True)
class SphereFace(Margin):
    """Multiplicative angular margin, annealed (A-Softmax).

    target_logit = (lambda cos(theta) + psi(theta)) / (1 + lambda)
    psi(theta) = (-1)^k cos(m theta) - 2k,  theta in [k pi / m, (k + 1) pi / m]
    lambda = max(lambda_min, base * (1 + gamma * step)^-power)

    `step` counts optimiser updates, the present one included, as the released code's `iter_` does: the first update
    trains at step 1. It is the margin's state, so lambda survives saved files and resumed runs, and goes on from where
    it is when `gradient_accumulation_steps` changes. Evaluation reads lambda and never moves it.

    Args:
        margin: m, integer, 1 to 16.
        base: lambda at step 0, >= lambda_min. 0, with lambda_min=0: no annealing.
        gamma: Speed of lambda's decay, > 0.
        power: Exponent of lambda's decay, > 0.
        lambda_min: lambda's floor, >= 0. With the defaults it is reached at step 1,659.
        gradient_accumulation_steps: Training batches per optimiser update, >= 1; `EmbeddingModel` sets it from its
            optimiser.

    Example:
        >>> head = keras_margin.MarginHead(10, SphereFace(4), scale=None)

    Reference: Liu et al., SphereFace, CVPR 2017, eq. 7 and the appendix on annealing; the released training settings.
    """

    margin: int = 4
    base: float = 1000.0
    gamma: float = 0.12
    power: float = 1.0
    lambda_min: float = 5.0
    gradient_accumulation_steps: int = 1
    anneals: ClassVar[bool] = True

    def __post_init__(self):
        name = type(self).__name__
        hint = "For a real factor use SphereFaceArccos, or SphereFaceArccosHead."
        _arguments.require_integer(name, self.margin, 1, 16, "margin", ", a factor of the angle", hint)
        _arguments.require_number(name, "base", self.base)
        _arguments.require_number(name, "gamma", self.gamma, above=True)
        _arguments.require_number(name, "power", self.power, above=True)
        _arguments.require_number(name, "lambda_min", self.lambda_min)
        if self.base < self.lambda_min:
            raise ValueError(
                f"lambda starts at base and falls to lambda_min. Received: base={self.base} < "
                f"lambda_min={self.lambda_min}."
            )
        steps = self.gradient_accumulation_steps
        _arguments.require_integer(name, steps, 1, math.inf, "gradient_accumulation_steps")

    def initial_state(self) -> AnnealingState:
        return AnnealingState()

    def update_state(self, state: State, sample: Sample) -> AnnealingState:
        """Counts the batch; the first batch of an update moves `step`."""
        starts = ops.cast(ops.equal(state.batch, 0), "int32")
        done = state.batch + 1
        batch = ops.where(done >= self.gradient_accumulation_steps, ops.zeros_like(done), done)
        return AnnealingState(state.step + starts, batch)

    def target_logit(self, sample: Sample, state: State) -> Tensor:
        psi = formulas.multiplicative(sample.theta, self.margin)
        return formulas.annealed(sample.cosine, psi, self.annealing_lambda(state))

    def annealing_lambda(self, state: State) -> Tensor:
        return formulas.annealing_schedule(state.step, self.base, self.gamma, self.power, self.lambda_min)

    def target_angle(self, theta):
        return self.margin * theta

    def with_accumulation(self, steps: int) -> "SphereFace":
        return self.replace(gradient_accumulation_steps=int(steps))
