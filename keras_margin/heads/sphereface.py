"""SphereFace as published: integer m, the embedding's own norm as scale, lambda annealed by optimiser update."""

import numbers

import keras
from keras import ops

from keras_margin import margins
from keras_margin.heads.base import PACKAGE, MarginHead, is_finite_number


@keras.saving.register_keras_serializable(package=PACKAGE)
class SphereFaceHead(MarginHead):
    """Multiplicative angular margin, annealed (A-Softmax).

    target logit / s = (lambda cos(theta) + psi(theta)) / (1 + lambda)
    psi(theta) = (-1)^k cos(m theta) - 2k,  theta in [k pi / m, (k + 1) pi / m]
    lambda = max(lambda_min, base * (1 + gamma * step)^-power)

    `step` is a saved, non-trainable weight: lambda survives `.keras` files, checkpoints and resumed runs. It moves on once a
    training batch, that is wherever the head is called, or its loss computed, with training=True; evaluate and
    predict never move it.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, integer, 1 to 16.
        scale: None, as published: s is the embedding's own norm. Or a fixed s > 0.
        base: lambda before the first update, >= lambda_min.
        gamma: Speed of lambda's decay, > 0.
        power: Exponent of lambda's decay, > 0.
        lambda_min: lambda's floor, >= 0. With the defaults it is reached at step 1,659.
        gradient_accumulation_steps: Training batches per optimiser update; the optimiser's own setting. EmbeddingModel
            sets it from its optimiser.
        **kwargs: As in MarginHead.

    Reference: Liu et al., SphereFace, CVPR 2017, eq. 7 and the appendix on annealing; the released training settings.
    """

    learns = True

    def __init__(
        self,
        num_classes,
        margin=4,
        scale=None,
        *,
        base=1000.0,
        gamma=0.12,
        power=1.0,
        lambda_min=5.0,
        gradient_accumulation_steps=1,
        **kwargs,
    ):
        if isinstance(margin, bool) or not isinstance(margin, numbers.Integral) or not 1 <= margin <= 16:
            raise ValueError(
                f"SphereFaceHead needs an integer margin, 1 to 16, a factor of the angle. Received: margin={margin!r}. "
                "For a real factor use SphereFaceArccosHead."
            )
        schedule = {"base": base, "gamma": gamma, "power": power, "lambda_min": lambda_min}
        for name, value in schedule.items():
            if not (is_finite_number(value) and value >= 0 and (value > 0 or name == "lambda_min")):
                raise ValueError(f"SphereFaceHead's schedule needs {name} > 0. Received: {name}={value!r}.")
        if base < lambda_min:
            raise ValueError(f"lambda starts at base and falls to lambda_min. Received: {base=} < {lambda_min=}.")
        super().__init__(num_classes, margin=int(margin), scale=scale, **kwargs)
        self.schedule = {name: float(value) for name, value in schedule.items()}
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.step = None

    @property
    def gradient_accumulation_steps(self):
        """Training batches per optimiser update, >= 1."""
        return self._gradient_accumulation_steps

    @gradient_accumulation_steps.setter
    def gradient_accumulation_steps(self, steps):
        if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or steps < 1:
            raise ValueError(f"SphereFaceHead needs gradient_accumulation_steps, an int >= 1. Received: {steps!r}.")
        self._gradient_accumulation_steps = int(steps)

    def build(self, embeddings_shape):
        """Creates the prototypes and the step counter."""
        super().build(embeddings_shape)
        self.step = self.add_weight(name="step", shape=(), initializer="zeros", dtype="int32", trainable=False)

    def bend_target(self, target):
        """The annealed psi at the present lambda."""
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
