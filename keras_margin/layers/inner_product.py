"""The softmax family before cosines: heads whose logits keep the lengths of prototypes, embeddings or both.

They are the baselines of SphereFace's and IAM's tables, and no margins on cosines: their logits are inner products,
with a bias where their paper has one. They share MarginHead's calls, checks and files, and compute their logits by
themselves, by the reference implementation alone. SphereFace's "modified softmax" (eq. 5), unit prototypes with
embeddings of any length, is `NormSoftmaxHead(scale=None)`.
"""

from typing import Any

import keras
from keras import ops, tree

from keras_margin import _arguments, margins
from keras_margin._typing import Shape, State, Tensor
from keras_margin.layers.margin_head import PACKAGE, MarginHead
from keras_margin.ops import _steps, negatives, numerics, validation
from keras_margin.ops.sample import LossInputs, Sample, sample_from_prototypes

# Lengths count here, so prototypes begin as a Dense layer's kernel does.
_INITIALIZER = "glorot_uniform"


class InnerProductHead(MarginHead):
    """Base of the heads without cosines: logit_j = W_j . features(x) + b_j, the target's like the others'."""

    has_cosine_logits = False
    _spells_out_margin = True

    def __init__(
        self,
        num_classes: int,
        *,
        annealed: margins.SphereFace | None = None,
        use_bias: bool = False,
        prototypes_initializer: Any = None,
        **kwargs: Any,
    ):
        name = type(self).__name__
        _arguments.refuse_options(name, kwargs, ["margin", "scale"], "has neither margin nor scale")
        _arguments.refuse_options(name, kwargs, ["centers"], "has one prototype a class")
        if kwargs.get("gradient", "exact") != "exact":
            raise ValueError(
                f"gradient='straight_through' takes d target / d cos = 1. {name}'s logit is not a cosine, and has no "
                f"margin whose gradient it could spare. Received: gradient={kwargs['gradient']!r}."
            )
        if kwargs.get("implementation", "auto") not in ("auto", "reference"):
            raise ValueError(
                f"{name}'s logits are inner products, which only the reference implementation supports. "
                f"Received: implementation={kwargs['implementation']!r}."
            )
        if kwargs.get("sample_rate", 1) != 1:
            raise ValueError(
                f"{name} has a weight a class that sampling would not leave alone. Leave sample_rate=1. "
                f"Received: sample_rate={kwargs['sample_rate']!r}."
            )
        if not isinstance(use_bias, bool):
            raise ValueError(f"{name} needs use_bias, True or False. Received: use_bias={use_bias!r}.")
        kwargs["implementation"] = "reference"
        super().__init__(
            num_classes,
            annealed or margins.Softmax(),
            1.0,
            prototypes_initializer=prototypes_initializer or _INITIALIZER,
            **kwargs,
        )
        self.use_bias = use_bias
        self.bias = None

    def build(self, embeddings_shape: Shape) -> None:
        """Creates the prototypes and the bias."""
        super().build(embeddings_shape)
        if self.use_bias:
            shape = (self.num_classes,)
            self.bias = self.add_weight(name="bias", shape=shape, initializer="zeros", dtype="float32", autocast=False)

    def features(self, embeddings: Tensor) -> Tensor:
        """Returns what is multiplied with the prototypes, (batch, embedding_size)."""
        return embeddings

    def target_and_others(self, sample: Sample, state: State) -> tuple[Tensor, Tensor]:
        """Returns the own class's logit (batch,) and all logits (batch, num_classes), before the margin."""
        prototypes, features = numerics.as_tensor(self.prototypes), self.features(sample.embeddings)
        # Not |W| |x| cos: at a zero embedding or prototype that has no gradient, and the product has one.
        logits = ops.matmul(features, ops.transpose(prototypes))
        own = ops.sum(features * ops.take(prototypes, sample.labels, axis=0), axis=1)
        if self.bias is None:
            return own, logits
        bias = numerics.as_tensor(self.bias)
        return own + ops.take(bias, sample.labels), logits + bias

    def _computed(self, embeddings, labels, valid, training):
        """Returns (unit embeddings, LossInputs, logits of all classes, state)."""
        settings, prototypes = self.settings(), numerics.as_tensor(self.prototypes)
        unit, norm = numerics.unit_normalize(embeddings)
        own = ops.take(prototypes, labels, axis=0)
        sample = sample_from_prototypes(unit, norm, own, labels, valid, embeddings)
        state = tree.map_structure(numerics.as_tensor, self.state)
        if training:
            state = _steps.updated_state(settings, state, sample)
        target, logits = self.target_and_others(sample, state)
        log_sum = negatives.log_sum_of_negatives(logits, labels)
        return unit, LossInputs(sample, self.num_classes, target, log_sum, prototypes, training), logits, state

    def _margin_logits(self, embeddings, labels, training):
        settings = self.settings()
        given = validation.labels_as_indices(labels, settings.owner)
        embeddings, labels, valid = _steps.checked(settings, embeddings, labels, self.num_classes)
        _, inputs, others, state = self._computed(embeddings, labels, valid, training)
        added = _steps.added_loss(settings, inputs, state)
        return _steps.with_target(others, inputs.target_logit, labels, valid, given), added, state

    def _from_cosines(self, cosines, labels, embeddings, training):
        settings = self.settings()
        if embeddings is None:
            _steps.refuse_cosines_alone(settings.owner, "each embedding's norm")
        labels = validation.labels_as_indices(labels, settings.owner)
        valid = validation.valid_cosines(cosines, labels, self.num_classes, settings.owner)
        labels = ops.where(valid, labels, ops.zeros_like(labels))
        embeddings = _steps.zero_rows_unless(valid, ops.cast(embeddings, "float32"))
        _, inputs, _, state = self._computed(embeddings, labels, valid, training)
        return _steps.cross_entropy(settings, inputs, state), state

    def loss_and_correct(self, embeddings, labels, *, training=False, margin=None, scale=None):
        """Computes the loss of each sample, and which are nearest to their own prototype by cosine; as MarginHead's."""
        if scale is not None or (margin is not None and margin != self.margin):
            raise ValueError(f"{type(self).__name__} has neither a margin nor a scale that a schedule could change.")
        embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
        if not self.built:
            self.build(embeddings.shape)
        settings = self.settings()
        embeddings, labels, valid = _steps.checked(settings, embeddings, labels, self.num_classes)
        unit, inputs, _, state = self._computed(embeddings, labels, valid, training)
        if training:
            self._update_state(state)
        best = negatives.best_negative(negatives.cosine_matrix(unit, inputs.prototypes), labels)
        correct = ops.cast(ops.logical_and(valid, inputs.sample.cosine > best), "float32")
        return _steps.cross_entropy(settings, inputs, state), correct

    @property
    def depends_on_norm(self) -> bool:
        """True: the logits depend on the embedding's length."""
        return True

    def get_config(self) -> dict:
        config = super().get_config()
        for name in ("scale", "centers", "sample_rate", "sample_seed"):
            del config[name]
        return {**config, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable(package=PACKAGE)
class SoftmaxHead(InnerProductHead):
    """Plain softmax: a Dense layer of logits and its cross-entropy, nothing normalised, no margin.

    logit_j = W_j . x + b_j

    `head(embeddings)` still gives cosines, and EmbeddingModel's accuracy is that of the nearest prototype by cosine,
    not of the largest logit. A zero embedding has a gradient here: that of the formula.

    Weights: `prototypes`, whose lengths count, and `bias`, (num_classes,), float32.

    Args:
        num_classes: Number of classes, >= 2.
        use_bias: Whether there is a bias, as in the papers' eq. 1; False is SphereFace's "remove biases".
        **kwargs: As in MarginHead, save margin, scale, centers, sampling and gradient="straight_through": errors here.
            Prototypes begin Glorot-uniform.

    Example:
        >>> head = SoftmaxHead(num_classes=10)

    Reference: Liu et al., SphereFace, CVPR 2017, eq. 1 and 2, table 4; Deng et al., ArcFace, CVPR 2019, eq. 1.
    """

    def __init__(self, num_classes: int, *, use_bias: bool = True, **kwargs: Any):
        super().__init__(num_classes, use_bias=use_bias, **kwargs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class L2SoftmaxHead(InnerProductHead):
    """L2-constrained softmax: embeddings on a sphere of radius alpha, prototypes and bias free.

    logit_j = W_j . (alpha x / |x|) + b_j

    A probability p among C classes needs about alpha >= log(p (C - 2) / (1 - p)): 11.5 for 0.9 among 10,575.

    Weights: `prototypes`, whose lengths count, and `bias`, (num_classes,), float32.

    Args:
        num_classes: Number of classes, >= 2.
        alpha: Radius, > 0.
        use_bias: Whether there is a bias, as published.
        **kwargs: As in SoftmaxHead.

    Example:
        >>> head = L2SoftmaxHead(num_classes=10, alpha=16.0)

    Reference: Ranjan et al., L2-constrained Softmax Loss for Discriminative Face Verification, 2017, eq. 3; the bound
    is of its section on the choice of alpha.
    """

    def __init__(self, num_classes: int, alpha: float = 40.0, *, use_bias: bool = True, **kwargs: Any):
        _arguments.require_number("L2SoftmaxHead", "alpha", alpha, above=True, unit=", a radius")
        super().__init__(num_classes, use_bias=use_bias, **kwargs)
        self.alpha = float(alpha)

    def features(self, embeddings: Tensor) -> Tensor:
        """Returns alpha x / |x|; zero for a zero embedding."""
        return self.alpha * numerics.unit_normalize(embeddings)[0]

    def get_config(self) -> dict:
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable(package=PACKAGE)
class LSoftmaxHead(InnerProductHead):
    """Large-margin softmax: SphereFace's margin before prototypes were normalised.

    target logit = |W_y| |x| (lambda cos(theta) + psi(theta)) / (1 + lambda)
    other logits = W_j . x
    psi(theta) = (-1)^k cos(m theta) - 2k,  theta in [k pi / m, (k + 1) pi / m]
    lambda = max(lambda_min, base * (1 + gamma * step)^-power)

    No bias, as published. `step` is saved and moves as SphereFaceHead's.

    Args:
        num_classes: Number of classes, >= 2.
        margin: m, integer, 1 to 16. 1 is plain softmax without bias.
        base: lambda at step 0, >= lambda_min. 0, with lambda_min=0: no annealing.
        gamma, power, lambda_min: As in SphereFaceHead. The defaults are those released for MNIST with m = 4.
        gradient_accumulation_steps: Training batches per optimiser update; EmbeddingModel sets it from its optimiser.
        **kwargs: As in SoftmaxHead.

    Example:
        >>> head = LSoftmaxHead(num_classes=10, margin=2)

    Reference: Liu et al., Large-Margin Softmax Loss, ICML 2016, eq. 4 and 6; its released MNIST model for lambda.
    """

    def __init__(
        self,
        num_classes: int,
        margin: int = 4,
        *,
        base: float = 1000.0,
        gamma: float = 0.000025,
        power: float = 35.0,
        lambda_min: float = 0.0,
        gradient_accumulation_steps: int = 1,
        **kwargs: Any,
    ):
        annealed = margins.SphereFace(margin, base, gamma, power, lambda_min, gradient_accumulation_steps)
        super().__init__(num_classes, annealed=annealed, **kwargs)

    def target_and_others(self, sample: Sample, state: State) -> tuple[Tensor, Tensor]:
        _, logits = super().target_and_others(sample, state)
        prototypes = ops.take(numerics.as_tensor(self.prototypes), sample.labels, axis=0)
        length = numerics.unit_normalize(prototypes)[1] * sample.norm
        return length * _steps.target_logit(self.settings(), sample, state), logits

    def get_config(self) -> dict:
        config = super().get_config()
        del config["use_bias"]
        return config
