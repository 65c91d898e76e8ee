"""SphereFace as published: integer m, the embedding's own norm as scale, lambda annealed by optimiser update."""

import keras

from keras_margin.heads._annealing import AnnealedHead
from keras_margin.heads.base import PACKAGE


@keras.saving.register_keras_serializable(package=PACKAGE)
class SphereFaceHead(AnnealedHead):
    """Multiplicative angular margin, annealed (A-Softmax).

    target logit / s = (lambda cos(theta) + psi(theta)) / (1 + lambda)
    psi(theta) = (-1)^k cos(m theta) - 2k,  theta in [k pi / m, (k + 1) pi / m]
    lambda = max(lambda_min, base * (1 + gamma * step)^-power)

    `step` is a saved, non-trainable weight: lambda survives `.keras` files, checkpoints and resumed runs. It moves on
    once a training batch, that is wherever the head is called, or its loss computed, with training=True; evaluate and
    predict never move it.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, integer, 1 to 16.
        scale: None, as published: s is the embedding's own norm. Or a fixed s > 0.
        base: lambda before the first update, >= lambda_min. 0, with lambda_min=0: no annealing.
        gamma: Speed of lambda's decay, > 0.
        power: Exponent of lambda's decay, > 0.
        lambda_min: lambda's floor, >= 0. With the defaults it is reached at step 1,659.
        gradient_accumulation_steps: Training batches per optimiser update; the optimiser's own setting. EmbeddingModel
            sets it from its optimiser.
        **kwargs: As in MarginHead.

    Reference: Liu et al., SphereFace, CVPR 2017, eq. 7 and the appendix on annealing; the released training settings.
    """

    def __init__(
        self, num_classes, margin=4, scale=None, *, base=1000.0, gamma=0.12, power=1.0, lambda_min=5.0, **kwargs
    ):
        super().__init__(
            num_classes, margin, scale, base=base, gamma=gamma, power=power, lambda_min=lambda_min, **kwargs
        )

    def bend_target(self, target):
        """The annealed psi at the present lambda."""
        return self.annealed_target(target)
