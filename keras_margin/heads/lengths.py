"""The softmax family before cosines: heads whose logits keep the lengths of prototypes, embeddings or both.

They are the baselines of SphereFace's and IAM's tables. Their papers' formula has a bias where their docstring has one;
every other head has none. SphereFace's "modified softmax" (eq. 5), unit prototypes beside embeddings of any length, is
`NormSoftmaxHead(scale=None)`.
"""

import keras
from keras import ops

from keras_margin import numerics
from keras_margin.heads import _arguments
from keras_margin.heads._annealing import AnnealedHead
from keras_margin.heads.base import PACKAGE, MarginHead

# Lengths count here, so prototypes begin as a Dense layer's kernel does.
_INITIALIZER = "glorot_uniform"


class _InnerProductHead(MarginHead):
    """logit_j = W_j . features(x) + b_j, the target's like the others'. Subclasses say the features."""

    bends_others = True
    needs_norm = True

    def __init__(self, num_classes, *, use_bias, prototypes_initializer=None, **kwargs):
        name = type(self).__name__
        _arguments.refuse_options(name, kwargs, ["margin", "scale"], "has neither margin nor scale")
        _arguments.refuse_straight_through(name, kwargs, "and there is no margin whose gradient it could spare")
        if not isinstance(use_bias, bool):
            raise ValueError(f"{name} needs use_bias, True or False. Received: use_bias={use_bias!r}.")
        prototypes_initializer = prototypes_initializer or _INITIALIZER
        super().__init__(num_classes, scale=1.0, prototypes_initializer=prototypes_initializer, **kwargs)
        self.use_bias = use_bias
        self.bias = None

    def build(self, embeddings_shape):
        """Creates the prototypes and the bias."""
        super().build(embeddings_shape)
        if self.use_bias:
            shape = (self.num_classes,)
            self.bias = self.add_weight(name="bias", shape=shape, initializer="zeros", dtype="float32", autocast=False)

    def features(self, target):
        """What meets the prototypes, (batch, embedding_size), from a Target."""
        raise NotImplementedError

    def bend_target(self, target):
        """W_y . features + b_y."""
        own = ops.take(ops.convert_to_tensor(self.prototypes), target.labels, axis=0)
        logit = ops.sum(self.features(target) * own, axis=1)
        return logit if self.bias is None else logit + ops.take(ops.convert_to_tensor(self.bias), target.labels)

    def bend_others(self, cosines, target):
        """W_j . features + b_j."""
        # Not |W| |x| cos: at a zero embedding or prototype that has no gradient, and the product has one.
        logits = ops.matmul(self.features(target), ops.transpose(ops.convert_to_tensor(self.prototypes)))
        return logits if self.bias is None else logits + ops.convert_to_tensor(self.bias)

    def get_config(self):
        """Arguments that build this head again."""
        config = super().get_config()
        del config["margin"], config["scale"]
        return {**config, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable(package=PACKAGE)
class SoftmaxHead(_InnerProductHead):
    """Plain softmax: a Dense layer of logits and its cross-entropy, nothing normalised, no margin.

    logit_j = W_j . x + b_j

    `head(embeddings)` still gives cosines, and EmbeddingModel's accuracy is that of the nearest prototype by cosine,
    not of the largest logit. A zero embedding has a gradient here: that of the formula.

    Weights: `prototypes`, whose lengths count, and `bias`, (num_classes,), float32.

    Args:
        num_classes: Number of classes, >= 2.
        use_bias: Whether there is a bias, as in the papers' eq. 1; False is SphereFace's "remove biases".
        **kwargs: As in MarginHead, save margin, scale and gradient="straight_through": errors here. Prototypes begin
            Glorot-uniform.

    Reference: Liu et al., SphereFace, CVPR 2017, eq. 1 and 2, table 4; Deng et al., ArcFace, CVPR 2019, eq. 1.
    """

    def __init__(self, num_classes, *, use_bias=True, **kwargs):
        super().__init__(num_classes, use_bias=use_bias, **kwargs)

    def features(self, target):
        """x."""
        return target.embeddings


@keras.saving.register_keras_serializable(package=PACKAGE)
class L2SoftmaxHead(_InnerProductHead):
    """L2-constrained softmax: embeddings on a sphere of radius alpha, prototypes and bias free.

    logit_j = W_j . (alpha x / |x|) + b_j

    A probability p among C classes needs about alpha >= log(p (C - 2) / (1 - p)): 11.5 for 0.9 among 10,575.

    Weights: `prototypes`, whose lengths count, and `bias`, (num_classes,), float32.

    Args:
        num_classes: Number of classes, >= 2.
        alpha: Radius, > 0.
        use_bias: Whether there is a bias, as published.
        **kwargs: As in SoftmaxHead.

    Reference: Ranjan et al., L2-constrained Softmax Loss for Discriminative Face Verification, 2017, eq. 3; the bound
    is of its section on the choice of alpha.
    """

    def __init__(self, num_classes, alpha=40.0, *, use_bias=True, **kwargs):
        if not (_arguments.is_finite_number(alpha) and alpha > 0):
            raise ValueError(f"L2SoftmaxHead needs a radius alpha > 0. Received: alpha={alpha!r}.")
        super().__init__(num_classes, use_bias=use_bias, **kwargs)
        self.alpha = float(alpha)

    def features(self, target):
        """alpha x / |x|; zero for a zero embedding."""
        return self.alpha * numerics.unit_normalize(target.embeddings)[0]

    def get_config(self):
        """Arguments that build this head again."""
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable(package=PACKAGE)
class LSoftmaxHead(AnnealedHead):
    """Large-margin softmax: SphereFace's margin before prototypes were normalised.

    target logit = |W_y| |x| (lambda cos(theta) + psi(theta)) / (1 + lambda)
    other logits = W_j . x
    psi(theta) = (-1)^k cos(m theta) - 2k,  theta in [k pi / m, (k + 1) pi / m]
    lambda = max(lambda_min, base * (1 + gamma * step)^-power)

    No bias, as published. `step` is saved and moves on as SphereFaceHead's.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, integer, 1 to 16. 1 is plain softmax without bias.
        base: lambda before the first update, >= lambda_min. 0, with lambda_min=0: no annealing.
        gamma, power, lambda_min: As in SphereFaceHead. The defaults are those released for MNIST with m = 4.
        gradient_accumulation_steps: Training batches per optimiser update; EmbeddingModel sets it from its optimiser.
        **kwargs: As in SoftmaxHead.

    Reference: Liu et al., Large-Margin Softmax Loss, ICML 2016, eq. 4 and 6; its released MNIST model for lambda.
    """

    bends_others = True
    needs_norm = True

    def __init__(
        self,
        num_classes,
        margin=4,
        *,
        base=1000.0,
        gamma=0.000025,
        power=35.0,
        lambda_min=0.0,
        prototypes_initializer=None,
        **kwargs,
    ):
        _arguments.refuse_options("LSoftmaxHead", kwargs, ["scale"], "scales by |W_y| |x| and has no other scale")
        _arguments.refuse_straight_through("LSoftmaxHead", kwargs, "and its logit is no cosine")
        schedule = {"base": base, "gamma": gamma, "power": power, "lambda_min": lambda_min}
        prototypes_initializer = prototypes_initializer or _INITIALIZER
        super().__init__(num_classes, margin, 1.0, **schedule, prototypes_initializer=prototypes_initializer, **kwargs)

    def bend_target(self, target):
        """|W_y| |x| times the annealed psi."""
        own = ops.take(ops.convert_to_tensor(self.prototypes), target.labels, axis=0)
        return numerics.unit_normalize(own)[1] * target.norm * self.annealed_target(target)

    def bend_others(self, cosines, target):
        """W_j . x."""
        return ops.matmul(target.embeddings, ops.transpose(ops.convert_to_tensor(self.prototypes)))

    def get_config(self):
        """Arguments that build this head again."""
        config = super().get_config()
        del config["scale"]
        return config
