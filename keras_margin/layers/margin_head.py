"""MarginHead: the Keras layer behind an embedding that holds the prototypes and a margin's state."""

import functools
import math
from typing import Any

import keras
from keras import ops, tree

from keras_margin import _arguments, _cosine_source, losses, margins
from keras_margin._typing import Shape, State, Tensor
from keras_margin.layers import _expand, _head_loss, sampling
from keras_margin.layers._head_parts import (
    add_state,
    embedding_size_of,
    guarded_cosines,
    prototypes_shape,
)
from keras_margin.ops import _margin_softmax, numerics, sharding
from keras_margin.ops._steps import Settings, check_gradient

PACKAGE = "keras_margin"


@keras.saving.register_keras_serializable(package=PACKAGE)
class MarginHead(keras.layers.Layer):
    """Holds the class prototypes and the state of a margin, and calls `ops.margin_softmax` with them.

        head(embeddings)                        cosines (batch, num_classes)
        head(embeddings, labels)                scaled logits with the margin on the target
        head.loss                               Keras loss on (labels, cosines)
        head.compute_loss(embeddings, labels)   loss of each sample (batch,), by the best implementation

    All four agree to float32 rounding, in value and in gradient. Everything is computed in float32 under every dtype
    policy: half precision cannot hold what a margin is about.

    Weights: `prototypes`, (num_classes, embedding_size), float32, a row a class, of which the direction counts; and the
    margin's state, not trainable. Training batches update the state, once each, before their own margin is taken.

    Bad samples (label outside [0, num_classes), NaN or inf in the embedding) raise; under XLA and JAX's jit, which
    cannot raise, such a sample's loss is +inf and its gradient zero. A zero embedding is at pi/2 from every class and
    has a zero gradient.

    Args:
        num_classes: Number of classes, >= 2.
        margin: keras_margin.margins.Margin, or the name of one.
        scale: s, factor of the logits, > 0. None: each embedding's own norm.
        auxiliary_loss: keras_margin.losses.AuxiliaryLoss added to the loss, such as IAM(0.1) + IntraLoss(); or None.
        gradient: "exact", or "straight_through": forward as written, backward as if the target logit were cos(theta),
            the way insightface's current training code detaches its margin.
        implementation: "reference", "fused", "streaming", or "auto": the fastest that the margin has and memory allows.
        centers: Prototypes a class, of which the nearest counts, (num_classes, centers, embedding_size); None for one.
        sample_rate: Share of the classes that a training batch uses in `compute_loss`, (0, 1]: its own, and random
            others. Evaluation and export use all. The accuracy of a training batch is then among the classes used. It
            needs an optimiser that leaves the other rows alone: keras_margin.optimizers.SGDWithL2. TensorFlow only.
        sample_seed: Int >= 0, chooses the classes, together with the saved number of the training batch.
        prototypes_initializer: Keras initializer. Default: normal with stddev 0.01, as insightface's.
        **kwargs: As in keras.layers.Layer.

    Call arguments:
        embeddings: Float tensor (batch, embedding_size), any length of rows.
        labels: Integer tensor (batch,) or (batch, 1), or None.
        sample_weight: Float tensor (batch,), or None. With labels: weights of the samples in what the head adds to the
            model's losses, its auxiliary loss and MagFace's penalty. Pass what `fit` gets as sample_weight.
        training: Python bool. A training batch updates the margin's state.

    Raises:
        ValueError: On a value out of range.
        TypeError: On a margin or an auxiliary loss that is none.

    Example:
        >>> head = keras_margin.MarginHead(10, keras_margin.margins.ArcFace(0.5))
        >>> model = keras.Sequential([keras.Input((4,)), head])
        >>> model.compile("sgd", loss=head.loss)

    Reference: the softmax with normalised weights and features of ArcFace, CVPR 2019, eq. 2 and 3.
    """

    # Whether logits are functions of cosines; a head of inner products has others.
    has_cosine_logits = True
    # Whether a subclass takes the margin's fields as arguments of its own __init__.
    _spells_out_margin = False

    def __init__(
        self,
        num_classes: int,
        margin: margins.Margin | str,
        scale: float | None = 64.0,
        *,
        auxiliary_loss: losses.AuxiliaryLoss | None = None,
        gradient: str = "exact",
        implementation: str = "auto",
        centers: int | None = None,
        sample_rate: float = 1.0,
        sample_seed: int = 0,
        prototypes_initializer: Any = None,
        **kwargs: Any,
    ):
        # Whatever the policy: half precision cannot hold what a margin is about. A clip at 1 - 1e-7 is 1 in float16.
        super().__init__(**{**kwargs, "dtype": "float32"})
        owner = type(self).__name__
        _arguments.require_integer(owner, num_classes, 2, math.inf, "num_classes")
        self.margin = margins.get(margin)
        if scale is not None:
            _arguments.require_number(owner, "scale", scale, above=True)
        check_gradient(owner, self.margin, gradient)
        if centers is not None:
            _arguments.require_integer(owner, centers, 1, math.inf, "centers")
        self.num_classes, self.centers = int(num_classes), centers
        self.scale = None if scale is None else float(scale)
        self.auxiliary_loss = losses.get(auxiliary_loss)
        self.gradient, self.implementation = gradient, implementation
        sampling.check(owner, sample_rate, sample_seed, self.auxiliary_loss)
        self.sample_rate, self.sample_seed = float(sample_rate), int(sample_seed)
        self.implementation_for(None)  # Raises where it cannot compute this head.
        self.prototypes_initializer = keras.initializers.get(
            prototypes_initializer or keras.initializers.RandomNormal(stddev=0.01)
        )
        self.prototypes: Tensor = None
        self.sample_step: Tensor = None
        self.live_sources = _cosine_source.live_sources()
        self._state_weights: list = []

    def build(self, embeddings_shape: Shape) -> None:
        """Creates the prototypes for embeddings of `embeddings_shape`, (batch, embedding_size), and the state."""
        size = embedding_size_of(type(self).__name__, embeddings_shape)
        sharding.check(type(self).__name__, self.implementation)
        self.prototypes = self.add_weight(
            name="prototypes",
            shape=prototypes_shape(self, size),
            initializer=self.prototypes_initializer,
            dtype="float32",
            autocast=False,
        )
        self._state_weights = add_state(self, self.margin.initial_state())
        if self.sample_rate < 1:
            self.sample_step = sampling.add_step(self)
        if self.auxiliary_loss is not None:
            self.auxiliary_loss.build_for(self.num_classes, size)
        self.built = True

    @property
    def state(self) -> State:
        """The margin's state: its weights, structured as `margin.initial_state()`; empty for most margins."""
        return tree.pack_sequence_as(self.margin.initial_state(), self._state_weights)

    def _update_state(self, state: State) -> None:
        for weight, value in zip(self._state_weights, tree.flatten(state), strict=True):
            weight.assign(value)

    @property
    def annealing_lambda(self) -> float | None:
        """The present lambda of an annealed margin, a Python float; None for the other margins."""
        state = self.state if self.built else self.margin.initial_state()
        value = self.margin.annealing_lambda(tree.map_structure(numerics.as_tensor, state))
        return None if value is None else float(ops.convert_to_numpy(value))

    def settings(self, margin: margins.Margin | None = None, scale: Tensor | float | None = None) -> Settings:
        """Returns what a loss is computed with; `margin` and `scale`, a schedule's, replace the head's."""
        if margin is not None and type(margin) is not type(self.margin):
            raise ValueError(f"A schedule's margin is of the head's class, {self.margin}. Received: {margin}.")
        if scale is not None:
            _arguments.require_number(type(self).__name__, "scale", scale, above=True)
        scale = self.scale if scale is None else scale
        return Settings(margin or self.margin, scale, self.auxiliary_loss, self.gradient, type(self).__name__)

    def call(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool = False,
    ) -> Tensor:
        """Computes cosines, or with labels the margin logits; (batch, num_classes), float32."""
        embeddings, training = ops.cast(embeddings, "float32"), bool(training)
        if training:
            call = "head.loss" if labels is None else "head(embeddings, labels)"
            sampling.refuse(type(self).__name__, self.sample_rate, call)
        if labels is None:
            return guarded_cosines(self, embeddings, training)
        _head_loss.require_loss_on_logits(type(self).__name__)
        logits, added, state = self._margin_logits(embeddings, labels, training)
        if added is not None:
            self.add_loss(_head_loss.weighted_mean(added, sample_weight))
        if training:
            self._update_state(state)
        return _cosine_source.with_source(logits, _cosine_source.CosineSource(self, is_logits=True))

    def _margin_logits(self, embeddings: Tensor, labels: Tensor, training: bool):
        """Returns (logits, what is added to each sample's cross-entropy or None, state)."""
        state = tree.map_structure(numerics.as_tensor, self.state)
        prototypes = numerics.as_tensor(self.prototypes)
        return _margin_softmax.margin_logits(self.settings(), embeddings, prototypes, labels, state, training)

    @property
    def depends_on_norm(self) -> bool:
        """Whether the logits depend on the embedding's length, which cosines do not carry."""
        return self.scale is None or self.margin.needs_norm

    @property
    def loss(self) -> keras.losses.Loss:
        """A Keras loss on (labels, cosines) with this head's margin, scale and auxiliary loss."""
        return _head_loss.HeadLoss(self)

    def compute_loss(self, embeddings: Tensor, labels: Tensor, training: bool = False) -> Tensor:
        """Computes the loss of each sample: margin, softmax cross-entropy and auxiliary loss.

        Args:
            embeddings: Float tensor (batch, embedding_size).
            labels: Integer tensor (batch,) or (batch, 1).
            training: Python bool; True in a training step, so that the margin's state is updated.

        Returns:
            Float32 tensor (batch,).
        """
        return self.loss_and_correct(embeddings, labels, training=training)[0]

    def loss_and_correct(
        self,
        embeddings: Tensor,
        labels: Tensor,
        *,
        training: bool = False,
        margin: margins.Margin | None = None,
        scale: Tensor | float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Computes `compute_loss`, and from the same pass which samples are nearest to their own prototype.

        Args:
            embeddings: As in `compute_loss`.
            labels: As in `compute_loss`.
            training: As in `compute_loss`.
            margin: Margin for this call in place of the head's, of the same class: a schedule's.
            scale: Scale for this call in place of the head's; a number or scalar tensor.

        Returns:
            (loss, correct): float32 tensors (batch,); correct is 1.0 where the nearest prototype is the label's,
            without margin. A tie is 0.0.
        """
        embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
        if not self.built:
            self.build(embeddings.shape)
        if training and self.sample_rate < 1:
            given = self.prototypes, self.sample_step, self.sample_rate, self.sample_seed
            sampled, prototypes = functools.partial(sampling.sample_rows, *given), self.prototypes
        else:
            sampled, prototypes = None, numerics.as_tensor(self.prototypes)
        state = tree.map_structure(numerics.as_tensor, self.state)
        found = _margin_softmax.softmax_loss(
            self.settings(margin, scale), embeddings, prototypes, labels, state, training, self.implementation, sampled
        )
        if training:
            self._update_state(found.state)
        return found.loss, found.correct

    def loss_from_cosines(
        self, labels: Tensor, cosines: Tensor, embeddings: Tensor | None = None, training: bool = False
    ) -> Tensor:
        """Computes the loss of each sample from its cosines (batch, num_classes): what `head.loss` computes.

        Exact but for what a float32 cosine cannot hold: angles within 3.5e-4 rad of 0 or pi.

        Args:
            labels: Integer tensor (batch,) or (batch, 1).
            cosines: Float tensor (batch, num_classes), as the head puts them out.
            embeddings: What the cosines were made from, where more than cosines is read; those of the head's own output
                are known.
            training: Whether this is a training batch; likewise.

        Returns:
            Float32 tensor (batch,).
        """
        source = _cosine_source.source_of(cosines)
        if source is not None:
            if source.head is not self:
                return source.head.loss_from_cosines(labels, cosines)
            if source.is_logits:
                _head_loss.refuse_logits(type(self).__name__)
            embeddings, training = source.embeddings, training or source.training
            cosines = cosines if source.cosines is None else source.cosines
        if cosines.shape[-1] != self.num_classes:
            raise ValueError(
                f"{type(self).__name__}'s loss takes this head's cosines, (batch, {self.num_classes}). "
                f"Received: shape={tuple(cosines.shape)}. The head must be the model's last layer."
            )
        loss, state = self._from_cosines(cosines, labels, embeddings, training)
        if training:
            self._update_state(state)
        return loss

    def _from_cosines(self, cosines: Tensor, labels: Tensor, embeddings: Tensor | None, training: bool):
        """Returns (loss of each sample, state)."""
        state = tree.map_structure(numerics.as_tensor, self.state)
        prototypes = numerics.as_tensor(self.prototypes) if self.built else None
        return _margin_softmax.loss_from_cosines(
            self.settings(), cosines, labels, state, embeddings, prototypes, training
        )

    def implementation_for(self, batch_size: int | None = None) -> str:
        """Returns the name of the implementation that `compute_loss` runs on a batch of this size in each replica.

        Args:
            batch_size: Int >= 1; None, as in a program traced for batches of any size, counts as 1,024.
        """
        used = sampling.num_sampled(self.sample_rate, self.num_classes, batch_size)
        shape = (used, *prototypes_shape(self, 1)[1:])
        return _margin_softmax.choose_implementation(
            self.implementation, type(self).__name__, self.margin, self.scale, shape, batch_size
        )

    def expand(self, num_classes: int, embeddings: Any = None, labels: Any = None) -> "MarginHead":
        """Returns a head of more classes, with the old rows and all state; see `expand`."""
        return _expand.expand(self, num_classes, embeddings, labels)

    def compute_output_shape(self, embeddings_shape: Shape, *args: Shape, **kwargs: Any) -> Shape:
        """Returns (batch, num_classes)."""
        return (embeddings_shape[0], self.num_classes)

    def get_config(self) -> dict:
        """Returns the arguments that build this head again."""
        serialize = keras.saving.serialize_keras_object
        margin = self.margin.get_config() if self._spells_out_margin else {"margin": serialize(self.margin)}
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            **margin,
            "scale": self.scale,
            "auxiliary_loss": None if self.auxiliary_loss is None else serialize(self.auxiliary_loss),
            "gradient": self.gradient,
            "implementation": self.implementation,
            "centers": self.centers,
            "sample_rate": self.sample_rate,
            "sample_seed": self.sample_seed,
            "prototypes_initializer": keras.initializers.serialize(self.prototypes_initializer),
        }
