"""IAM, the inter-class angular margin: a term of the base loss's own softmax."""

import math
import warnings
from typing import Any

import keras
from keras import ops

from keras_margin._typing import Tensor
from keras_margin.losses._base import PACKAGE, StatelessLoss
from keras_margin.ops.sample import LossInputs


@keras.saving.register_keras_serializable(package=PACKAGE)
class IAM(StatelessLoss):
    """Inter-class angular margin: added to any softmax loss, pushes the other classes away, the nearest most.

    L_IAM = mean_i log( (1 - p_i) / (C - 1) ),  L = L_base + beta * L_IAM

    p_i is the base loss's own softmax probability of the label, margin included. log(1 - p) is the negatives' logsumexp
    less that of all, = -softplus(target_logit - log_negatives); never 1 - p, which float32 rounds to 0.

    It has no lower bound: as a Keras loss, on logits, never probabilities, give it the loss that it goes with,
    `IAM(0.9).as_loss(keras.losses.SparseCategoricalCrossentropy(from_logits=True))`.

    Args:
        beta: Weight. The paper finds 0.05-0.1 best with margins and 0.8-0.9 with scaled softmax. Above 1 the pull to
            the own class grows as it is reached, which harms (section 4.1): a warning.
        **kwargs: reduction and name, as in keras.losses.Loss.

    Example:
        >>> head = keras_margin.ArcFaceHead(10, auxiliary_loss=IAM(beta=0.1))

    Reference: Yang et al., Inter-class Angular Margin Loss for Face Recognition, 2020, eq. 7 and 8.
    """

    reads = "logits"

    def __init__(self, beta: float = 0.1, **kwargs: Any):
        super().__init__(beta, **kwargs)
        self.beta = self.weight
        if self.beta > 1:
            warnings.warn(
                f"IAM with beta={self.beta} > 1 loosens classes as they tighten (section 4.1 of its paper). "
                "Published values: 0.05-0.1 with a margin, 0.8-0.9 with scaled softmax.",
                stacklevel=2,
            )

    def per_sample(self, inputs: LossInputs) -> Tensor:
        """Computes log(1 - p) - log(C - 1), (batch,)."""
        others = inputs.num_classes - 1  # type: ignore[operator]  # Known wherever there are logits.
        return -ops.softplus(inputs.target_logit - inputs.negative_logsumexp) - math.log(others)

    def get_config(self) -> dict:
        config = super().get_config()
        return {"beta": config.pop("weight"), **config}
