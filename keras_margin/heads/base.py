"""MarginHead, the layer behind an embedding that knows the classes, and HeadLoss, its loss on cosines.

    head(embeddings)                        cosines (batch, num_classes)
    head(embeddings, labels)                scaled logits with the margin on the target
    head.loss                               keras Loss on (labels, cosines)
    head.compute_loss(embeddings, labels)   loss per sample (batch,), by the best engine

All four agree to float32 rounding, in value and in gradient. A head computes in float32 under every dtype policy.
"""

import dataclasses
import math
import numbers
import weakref
from typing import Any

import keras
from keras import ops
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from keras_margin import checks, fused, losses, numerics

PACKAGE = losses.PACKAGE
GRADIENTS = ("exact", "straight_through")

# A loss read back with a compiled model must find the head read back just before it; the newest of a name is that head.
_live_heads = weakref.WeakValueDictionary()

# (embeddings, training) by the id of the cosines made from them; see _remember.
_notes = {}


@dataclasses.dataclass(frozen=True)
class Target:
    """What a head knows of each sample and its own class.

    Attributes:
        cosine: Float32 tensor (batch,), to the own prototype.
        theta: Float32 tensor (batch,), the angle to it, radians, [0, pi].
        norm: Float32 tensor (batch,), the embedding's length; None where only cosines are known.
        prototype_norm: Float32 tensor (batch,), the own prototype's length.
        psi: Float32 tensor (batch,), the own class's logit before scaling; None until `bend_target` has answered.
    """

    cosine: Any
    theta: Any
    norm: Any
    prototype_norm: Any
    psi: Any = None


class MarginHead(keras.layers.Layer):
    """Base of the margin heads: prototypes, engine, checks and serialisation. Subclasses say how the target bends.

    loss_i = -log( exp(s psi(theta_iy)) / (exp(s psi(theta_iy)) + sum_{j != y} exp(s cos theta_ij)) )

    Weight: `prototypes`, (num_classes, embedding_size), float32, a row a class; only its direction counts.

    Bad samples (label outside [0, num_classes), NaN or inf in the embedding) raise; under XLA and JAX's jit, which cannot
    raise, such a sample's loss is +inf and its gradient zero. A zero embedding is at pi/2 from every class and has a
    zero gradient.

    Args:
        num_classes: Number of classes, >= 2.
        margin: The head's margin; unit and range in the subclass.
        scale: s, factor of the logits, > 0. None, where a subclass allows it: each embedding's own norm.
        regularizer: keras_margin.losses.Regularizer added to the loss, or None.
        gradient: "exact", or "straight_through": forward as written, backward as if psi were cos(theta), the way
            insightface's current training code detaches its margin.
        engine: Name of the engine in keras_margin.fused.ENGINES, or "auto".
        prototypes_initializer: Keras initializer. Default: normal with stddev 0.01, as insightface's.

    Raises:
        ValueError: On a value out of range.

    Call arguments:
        embeddings: Float tensor (batch, embedding_size), any length of rows.
        labels: Integer tensor (batch,) or (batch, 1), or None.
        training: Python bool. Advances what a head anneals.

    Reference: the softmax with normalised weights and features of ArcFace, CVPR 2019, eq. 2 and 3.
    """

    def __init__(
        self,
        num_classes,
        margin=0.0,
        scale=64.0,
        *,
        regularizer=None,
        gradient="exact",
        engine="auto",
        prototypes_initializer=None,
        **kwargs,
    ):
        # Half precision cannot hold what a margin is about: a clip at 1 - 1e-7 is 1 in float16. So: no autocast.
        super().__init__(autocast=False, **kwargs)
        name = type(self).__name__
        if isinstance(num_classes, bool) or not isinstance(num_classes, numbers.Integral) or num_classes < 2:
            raise ValueError(f"{name} needs num_classes, an int >= 2. Received: num_classes={num_classes!r}.")
        if scale is not None and not (is_finite_number(scale) and scale > 0):
            raise ValueError(f"{name} needs a scale > 0. Received: scale={scale!r}.")
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient must be one of {', '.join(GRADIENTS)}. Received: gradient={gradient!r}.")
        if engine != "auto" and engine not in fused.ENGINES:
            names = ", ".join(["auto", *fused.ENGINES])
            raise ValueError(f"engine must be one of {names}. Received: engine={engine!r}.")
        self.num_classes = int(num_classes)
        self.margin = margin
        self.scale = None if scale is None else float(scale)
        self.regularizer = losses.get(regularizer)
        self.gradient = gradient
        self.engine = engine
        self.prototypes_initializer = keras.initializers.get(
            prototypes_initializer or keras.initializers.RandomNormal(stddev=0.01)
        )
        self.prototypes = None
        self._loss = None
        self._loss_was_taken = False
        self._awaits_loss = False
        _live_heads[self.name] = self

    # --- What a subclass says -------------------------------------------------------------------------------------

    # Whether the other classes' logits are more than scaled cosines: `bend_others` then says what, at the plain engine's
    # cost.
    bends_others = False
    # Whether `Target.norm` is used: such a head cannot work from cosines alone.
    needs_norm = False
    # Whether training batches change the head's state, through `observe` or `advance`.
    learns = False

    def bend_target(self, target):
        """psi, the own class's logit before scaling, (batch,), from a Target."""
        raise NotImplementedError(f"{type(self).__name__} must say how its margin bends the target: bend_target.")

    def bend_others(self, cosines, target):
        """The other classes' logits before scaling, (batch, num_classes), from cosines and the Target with its psi."""
        return cosines

    def extra_loss(self, target):
        """What the head's paper adds to the cross-entropy, (batch,), or None."""
        return None

    def observe(self, target):
        """Updates running statistics by a training batch, before its margin is taken."""

    def advance(self):
        """Moves on what the head anneals, after a training batch."""

    # --- The four ways --------------------------------------------------------------------------------------------

    def build(self, embeddings_shape):
        """Creates the prototypes for embeddings of `embeddings_shape`, (batch, embedding_size)."""
        if len(embeddings_shape) != 2 or embeddings_shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} needs embeddings of shape (batch, embedding_size), the last known. "
                f"Received: shape={tuple(embeddings_shape)}. End the backbone with Flatten or global pooling."
            )
        self.prototypes = self.add_weight(
            name="prototypes",
            shape=(self.num_classes, int(embeddings_shape[-1])),
            initializer=self.prototypes_initializer,
            dtype="float32",
            autocast=False,
        )

    def call(self, embeddings, labels=None, training=False):
        """Cosines, or with labels the margin logits; (batch, num_classes), float32."""
        embeddings = ops.cast(embeddings, "float32")
        unit, norm = numerics.unit_normalize(embeddings)
        prototypes = ops.convert_to_tensor(self.prototypes)
        cosines = fused.cosines(unit, prototypes)
        # Rounding may carry a cosine past 1; the correction is constant, so no gradient is lost at the ends.
        cosines = cosines + ops.stop_gradient(ops.clip(cosines, -1.0, 1.0) - cosines)
        if labels is None:
            if training:
                self._require_own_loss()
            self._awaits_loss = self.learns and bool(training)
            return _remember(cosines, (embeddings, bool(training)))
        name = type(self).__name__
        labels = checks.labels_as_indices(labels, name)
        valid = checks.valid_rows(embeddings, labels, self.num_classes, name)
        labels = ops.where(valid, labels, ops.zeros_like(labels))
        target = self._target(unit, norm, prototypes, labels, training)
        scale = self._scale_of(norm)
        logits = ops.reshape(scale, (-1, 1)) * self.bend_others(cosines, target)
        target_logit = scale * target.psi
        log_negatives = fused.from_cosines(cosines, labels, scale, self._others(target)).log_sum
        added = self._added_loss(labels, target, target_logit, log_negatives, embeddings, training)
        if added is not None:
            self.add_loss(ops.mean(added))
        if training:
            self.advance()
        own = fused.is_own_class(labels, self.num_classes)
        return ops.where(own, ops.expand_dims(target_logit, 1), logits)

    @property
    def loss(self):
        """Keras Loss on (labels, cosines) with this head's margin, scale and regulariser."""
        self._loss_was_taken = True
        if self._loss is None:
            self._loss = HeadLoss(self)
        return self._loss

    def compute_loss(self, embeddings, labels, training=False):
        """Loss of each sample, by the best engine: margin, softmax cross-entropy and regulariser.

        Args:
            embeddings: Float tensor (batch, embedding_size).
            labels: Integer tensor (batch,) or (batch, 1).
            training: Python bool; True in a training step, so that what the head anneals moves on.

        Returns:
            Float32 tensor (batch,).
        """
        return self.loss_and_hits(embeddings, labels, training=training)[0]

    def loss_and_hits(self, embeddings, labels, training=False):
        """`compute_loss`, and from the same pass 1.0 where the nearest prototype is the label's, without margin.

        Returns:
            (loss, hits): float32 tensors (batch,). A tie is no hit.
        """
        name = type(self).__name__
        embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
        if not self.built:
            self.build(embeddings.shape)
            self.built = True
        labels = checks.labels_as_indices(labels, name)
        valid = checks.valid_rows(embeddings, labels, self.num_classes, name)
        labels = ops.where(valid, labels, ops.zeros_like(labels))
        embeddings = ops.where(ops.expand_dims(valid, 1), embeddings, ops.zeros_like(embeddings))
        unit, norm = numerics.unit_normalize(embeddings)
        prototypes = ops.convert_to_tensor(self.prototypes)
        target = self._target(unit, norm, prototypes, labels, training)
        scale = self._scale_of(norm)
        engine = fused.ENGINES["plain" if self.engine == "auto" else self.engine]
        negatives = engine(unit, prototypes, labels, scale, self._others(target))
        loss = self._finish(labels, target, scale, negatives.log_sum, embeddings, training)
        hits = ops.cast(ops.logical_and(valid, target.cosine > negatives.best_cosine), "float32")
        return ops.where(valid, loss, math.inf), hits

    def loss_from_cosines(self, labels, cosines):
        """Loss of each sample from its cosines (batch, num_classes): what `head.loss` computes.

        Exact but for what a float32 cosine cannot hold: angles within 3.5e-4 rad of 0 or pi.
        """
        name = type(self).__name__
        labels = checks.labels_as_indices(labels, name)
        if cosines.shape[-1] != self.num_classes:
            raise ValueError(
                f"{name}'s loss takes this head's cosines, (batch, {self.num_classes}). "
                f"Received: shape={tuple(cosines.shape)}. The head must be the model's last layer."
            )
        embeddings, training = self._noted_with(cosines)
        valid = checks.valid_rows(cosines, labels, self.num_classes, name)
        labels = ops.where(valid, labels, ops.zeros_like(labels))
        cosines = ops.where(ops.expand_dims(valid, 1), ops.cast(cosines, "float32"), 0.0)
        norm = None if embeddings is None else numerics.unit_normalize(embeddings)[1]
        cosine = ops.squeeze(ops.take_along_axis(cosines, ops.expand_dims(labels, 1), axis=1), 1)
        target = Target(
            cosine=cosine,
            theta=numerics.safe_arccos(cosine),
            norm=norm,
            prototype_norm=numerics.unit_normalize(ops.take(self.prototypes, labels, axis=0))[1],
        )
        target = self._bent(target, training)
        scale = self._scale_of(norm)
        log_negatives = fused.from_cosines(cosines, labels, scale, self._others(target)).log_sum
        return ops.where(valid, self._finish(labels, target, scale, log_negatives, embeddings, training), math.inf)

    # --- Shared steps ---------------------------------------------------------------------------------------------

    def _target(self, unit, norm, prototypes, labels, training):
        """The batch's Target, its angle exact at every size, with the margin's answer."""
        own, prototype_norm = numerics.unit_normalize(fused.own_prototypes(unit, prototypes, labels))
        cosine, theta = numerics.angle_between(unit, own)
        return self._bent(Target(cosine=cosine, theta=theta, norm=norm, prototype_norm=prototype_norm), training)

    def _bent(self, target, training):
        if target.norm is None and self.needs_norm:
            self._refuse_bare_cosines(type(self).__name__, "each embedding's norm")
        if training:
            self.observe(target)
        psi = self.bend_target(target)
        if self.gradient == "straight_through":
            psi = numerics.with_slope(psi, target.cosine, ops.ones_like(target.cosine))
        return dataclasses.replace(target, psi=psi)

    def _others(self, target):
        """The engine's `other`: None where the other logits are scaled cosines."""
        return (lambda cosines: self.bend_others(cosines, target)) if self.bends_others else None

    def _scale_of(self, norm):
        if self.scale is not None:
            return ops.convert_to_tensor(self.scale, dtype="float32")
        if norm is None:
            self._refuse_bare_cosines(f"{type(self).__name__}(scale=None)", "each embedding's norm")
        return norm

    def _finish(self, labels, target, scale, log_negatives, embeddings, training):
        """Cross-entropy plus what is added to it, (batch,); ends a training batch."""
        target_logit = scale * target.psi
        loss = ops.softplus(log_negatives - target_logit)
        added = self._added_loss(labels, target, target_logit, log_negatives, embeddings, training)
        if training:
            self.advance()
        return loss if added is None else loss + added

    def _added_loss(self, labels, target, target_logit, log_negatives, embeddings, training):
        """The head's own extra term and its regulariser's, (batch,), or None."""
        extra = self.extra_loss(target)
        if self.regularizer is None:
            return extra
        if embeddings is None and self.regularizer.needs_embeddings:
            self._refuse_bare_cosines(type(self.regularizer).__name__, "the embeddings")
        terms = losses.Terms(
            labels=labels,
            num_classes=self.num_classes,
            theta=target.theta,
            target_logit=target_logit,
            log_negatives=log_negatives,
            embeddings=embeddings,
            prototypes=self.prototypes,
            training=training,
        )
        added = self.regularizer(terms)
        return added if extra is None else added + extra

    def _noted_with(self, cosines):
        """The embeddings behind these cosines and whether they are of a training batch; (None, False) if unknown."""
        if id(cosines) in _notes:
            self._awaits_loss = False
            return _notes[id(cosines)]
        if in_symbolic_scope():
            # Keras traces loss and model apart to learn shapes, never values; any embeddings serve.
            size = self.prototypes.shape[-1] if self.built else 1
            return ops.zeros((ops.shape(cosines)[0], size)), False
        if self._awaits_loss:
            self._refuse_bare_cosines(type(self).__name__, "whether this is a training batch")
        return None, False

    def _refuse_bare_cosines(self, owner, missing):
        raise ValueError(
            f"{owner} needs {missing}, which cosines do not carry. Let head(embeddings) be the model's last output, as it "
            "is; use EmbeddingModel; or call head(embeddings, labels)."
        )

    def _require_own_loss(self):
        name = type(self).__name__
        if not self._loss_was_taken:
            raise ValueError(
                f"{name} was called without labels in training, and its own loss was never asked for: whatever loss "
                "this model was compiled with trains bare cosines, without margin and scale. "
                "Compile with loss=head.loss, call head(embeddings, labels), or use EmbeddingModel."
            )

    def compute_output_shape(self, embeddings_shape, labels_shape=None):
        """(batch, num_classes)."""
        return (embeddings_shape[0], self.num_classes)

    def get_config(self):
        """Arguments that build this head again."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "margin": self.margin,
            "scale": self.scale,
            "regularizer": None if self.regularizer is None else keras.saving.serialize_keras_object(self.regularizer),
            "gradient": self.gradient,
            "engine": self.engine,
            "prototypes_initializer": keras.initializers.serialize(self.prototypes_initializer),
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class HeadLoss(keras.losses.Loss):
    """A head's loss on (labels, cosines); what `head.loss` gives.

    It keeps a weak reference to its head: a strong one would make the head and its loss a cycle, through which Keras's
    `load_model` recurses without end.

    Args:
        head: The MarginHead, alive as long as the model is.
        reduction, name: As in keras.losses.Loss.
    """

    def __init__(self, head, reduction="sum_over_batch_size", name="margin_loss"):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self._head = weakref.ref(head)
        self._head_name = head.name

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Reduced loss; labels keep their dtype, which Keras's own __call__ would turn into float."""
        head = self._head()
        if head is None:
            raise ValueError(f"The head {self._head_name!r} of this loss is gone: keep the model or the head alive.")
        values = head.loss_from_cosines(y_true, y_pred)
        # Base.__call__ reduces, weighs and scales for tf.distribute; `call` below hands it the values unchanged.
        return super().__call__(values, values, sample_weight)

    def call(self, y_true, y_pred):
        """The per-sample values that __call__ computed."""
        return y_pred

    def get_config(self):
        """Arguments that build this loss again, its head by name."""
        return {"head": self._head_name, "reduction": self.reduction, "name": self.name}

    @classmethod
    def from_config(cls, config):
        """The loss of the newest head of that name, which reading a model back has just made."""
        config = dict(config)
        name = config.pop("head")
        head = _live_heads.get(name)
        if head is None:
            raise ValueError(f"No MarginHead named {name!r} is alive: load the model that holds it, then use head.loss.")
        head._loss_was_taken = True
        return cls(head, **config)


def is_finite_number(value):
    """True for a real number, not a bool, that is neither NaN nor infinite."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def require_radians(owner, margin, name="margin"):
    """Raises ValueError unless `margin` is in [0, pi) radians."""
    if is_finite_number(margin) and 0 <= margin < math.pi:
        return
    mend = f" If that is in degrees, pass math.radians({margin})." if is_finite_number(margin) and margin >= math.pi else ""
    raise ValueError(f"{owner} needs a {name} in [0, pi) radians. Received: {name}={margin!r}.{mend}")


def require_range(owner, value, low, high, name, unit=""):
    """Raises ValueError unless `low <= value <= high`."""
    if not (is_finite_number(value) and low <= value <= high):
        raise ValueError(f"{owner} needs {name} in [{low}, {high}]{unit}. Received: {name}={value!r}.")


def _remember(cosines, note):
    """Notes beside the cosines what they have lost, for as long as they live."""
    key = id(cosines)
    _notes[key] = note
    # The note goes when its cosines go, before another tensor can have their id.
    weakref.finalize(cosines, _notes.pop, key, None)
    return cosines
