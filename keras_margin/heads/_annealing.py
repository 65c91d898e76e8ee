"""AnnealedHead: an integer factor of the angle, and the lambda that leads training up to it."""

import math

from keras import ops

from keras_margin import margins
from keras_margin.heads import _arguments
from keras_margin.heads.base import MarginHead


class AnnealedHead(MarginHead):
    """Base of SphereFaceHead and LSoftmaxHead: margin m, schedule of lambda, and the step that both stand on.

    psi(theta) = (-1)^k cos(m theta) - 2k,  theta in [k pi / m, (k + 1) pi / m]
    bent = (lambda cos(theta) + psi(theta)) / (1 + lambda)
    lambda = max(lambda_min, base * (1 + gamma * step)^-power)

    `step`, int32, is a saved, non-trainable weight: training batches so far.
    """

    learns = True

    def __init__(
        self, num_classes, margin, scale, *, base, gamma, power, lambda_min, gradient_accumulation_steps=1, **kwargs
    ):
        name = type(self).__name__
        mend = " For a real factor use SphereFaceArccosHead."
        _arguments.require_integer(name, margin, 1, 16, "margin", ", a factor of the angle", mend)
        schedule = {"base": base, "gamma": gamma, "power": power, "lambda_min": lambda_min}
        for key, value in schedule.items():
            positive = key in ("gamma", "power")
            if not _arguments.is_finite_number(value) or value < 0 or (positive and value == 0):
                raise ValueError(
                    f"{name}'s schedule needs {key} {'> 0' if positive else '>= 0'}. Received: {key}={value!r}."
                )
        if base < lambda_min:
            raise ValueError(f"lambda starts at base and falls to lambda_min. Received: {base=} < {lambda_min=}.")
        super().__init__(num_classes, margin=int(margin), scale=scale, **kwargs)
        self.schedule = {key: float(value) for key, value in schedule.items()}
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.step = None

    @property
    def gradient_accumulation_steps(self):
        """Training batches per optimiser update, >= 1."""
        return self._gradient_accumulation_steps

    @gradient_accumulation_steps.setter
    def gradient_accumulation_steps(self, steps):
        _arguments.require_integer(type(self).__name__, steps, 1, math.inf, "gradient_accumulation_steps")
        self._gradient_accumulation_steps = int(steps)

    def build(self, embeddings_shape):
        """Creates the prototypes and the step counter."""
        super().build(embeddings_shape)
        # Every replica counts alike, so any one of them speaks for all.
        self.step = self.add_weight(
            name="step", shape=(), initializer="zeros", dtype="int32", trainable=False, aggregation="only_first_replica"
        )

    def annealed_target(self, target):
        """The annealed psi at the present lambda, (batch,), from a Target."""
        return margins.annealed(target.cosine, margins.multiplicative(target.theta, self.margin), self._lambda())

    def advance(self):
        """Counts one training batch."""
        self.step.assign(self.step + 1)

    @property
    def annealing_lambda(self):
        """The present lambda, a Python float."""
        return float(ops.convert_to_numpy(self._lambda())) if self.built else self.schedule["base"]

    def _lambda(self):
        return margins.annealing_schedule(self.step // self.gradient_accumulation_steps, **self.schedule)

    def get_config(self):
        """Arguments that build this head again."""
        steps = {"gradient_accumulation_steps": self.gradient_accumulation_steps}
        return {**super().get_config(), **self.schedule, **steps}
