"""MarginHead, the layer behind an embedding that knows the classes, and HeadLoss, its loss on cosines.

    head(embeddings)                        cosines (batch, num_classes)
    head(embeddings, labels)                scaled logits with the margin on the target
    head.loss                               keras Loss on (labels, cosines)
    head.compute_loss(embeddings, labels)   loss per sample (batch,), by the best engine

All four agree to float32 rounding, in value and in gradient. A head computes in float32 under every dtype policy.
"""

import math
import numbers
import weakref

import keras
from keras import ops
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from keras_margin import checks, fused, losses, numerics

PACKAGE = losses.PACKAGE
GRADIENTS = ("exact", "straight_through")

# A loss read back with a compiled model must find the head read back just before it; the newest of a name is that head.
_live_heads = weakref.WeakValueDictionary()

# Embeddings by the id of the cosines made from them, for as long as those cosines live; see _remember.
_embeddings_of = {}


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
        _live_heads[self.name] = self

    # --- What a subclass says -------------------------------------------------------------------------------------

    def bend_target(self, cosine, theta):
        """psi, the target's logit before scaling, (batch,), from its cosine and its angle in radians, both (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} must say how its margin bends the target: bend_target.")

    # Function of cosines (batch, num_classes) to the other classes' logits before scaling; None: the cosine itself.
    bend_others = None

    def advance(self):
        """Moves on what the head anneals, by one training batch."""

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
        unit_prototypes, _ = numerics.unit_normalize(ops.convert_to_tensor(self.prototypes))
        cosines = ops.matmul(unit, ops.transpose(unit_prototypes))
        # Rounding may carry a cosine past 1; the correction is constant, so no gradient is lost at the ends.
        cosines = cosines + ops.stop_gradient(ops.clip(cosines, -1.0, 1.0) - cosines)
        if labels is None:
            if training:
                self._require_own_loss()
                self.advance()
            return _remember(cosines, embeddings)
        labels = checks.labels_as_indices(labels, type(self).__name__)
        valid = checks.valid_rows(embeddings, labels, self.num_classes, type(self).__name__)
        labels = ops.where(valid, labels, ops.zeros_like(labels))
        own_prototypes = ops.take(unit_prototypes, labels, axis=0)
        cosine, theta = numerics.angle_between(unit, own_prototypes)
        scale = self._scale_of(norm)
        target_logit = scale * self._psi(cosine, theta)
        others = cosines if self.bend_others is None else self.bend_others(cosines)
        logits = ops.reshape(scale, (-1, 1)) * others
        if self.regularizer is not None:
            negatives = fused.from_cosines(cosines, labels, scale, self.bend_others)
            terms = self._terms(labels, theta, target_logit, negatives.log_sum, embeddings)
            self.add_loss(ops.mean(self.regularizer(terms)))
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
        scale = self._scale_of(norm)
        engine = fused.ENGINES["plain" if self.engine == "auto" else self.engine]
        prototypes = ops.convert_to_tensor(self.prototypes)
        negatives = engine(unit, prototypes, labels, scale, self.bend_others)
        own_prototypes, _ = numerics.unit_normalize(negatives.target_prototype)
        cosine, theta = numerics.angle_between(unit, own_prototypes)
        loss = self._finish(labels, cosine, theta, scale, negatives, embeddings)
        if training:
            self.advance()
        hits = ops.cast(ops.logical_and(valid, cosine > negatives.best_cosine), "float32")
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
        embeddings = _remembered(cosines, self.prototypes.shape[1]) if self.built else None
        valid = checks.valid_rows(cosines, labels, self.num_classes, name)
        labels = ops.where(valid, labels, ops.zeros_like(labels))
        cosines = ops.where(ops.expand_dims(valid, 1), ops.cast(cosines, "float32"), 0.0)
        scale = self._scale_of(None if embeddings is None else numerics.unit_normalize(embeddings)[1])
        cosine = ops.squeeze(ops.take_along_axis(cosines, ops.expand_dims(labels, 1), axis=1), 1)
        negatives = fused.from_cosines(cosines, labels, scale, self.bend_others)
        loss = self._finish(labels, cosine, numerics.safe_arccos(cosine), scale, negatives, embeddings)
        return ops.where(valid, loss, math.inf)

    # --- Shared steps ---------------------------------------------------------------------------------------------

    def _psi(self, cosine, theta):
        psi = self.bend_target(cosine, theta)
        if self.gradient == "straight_through":
            return numerics.with_slope(psi, cosine, ops.ones_like(cosine))
        return psi

    def _scale_of(self, norm):
        if self.scale is not None:
            return ops.convert_to_tensor(self.scale, dtype="float32")
        if norm is None:
            raise ValueError(
                f"{type(self).__name__}(scale=None) scales by each embedding's norm, which cosines do not carry. Let "
                "head(embeddings) be the model's output as it is, use EmbeddingModel, or give a scale, such as 30."
            )
        return norm

    def _finish(self, labels, cosine, theta, scale, negatives, embeddings):
        target_logit = scale * self._psi(cosine, theta)
        loss = ops.softplus(negatives.log_sum - target_logit)
        if self.regularizer is None:
            return loss
        return loss + self.regularizer(self._terms(labels, theta, target_logit, negatives.log_sum, embeddings))

    def _terms(self, labels, theta, target_logit, log_negatives, embeddings):
        if embeddings is None and self.regularizer.needs_embeddings:
            raise ValueError(
                f"{type(self.regularizer).__name__} needs the embeddings, which cosines do not carry. Let "
                "head(embeddings) be the model's output as it is, use EmbeddingModel, or pass labels to the head."
            )
        return losses.Terms(
            labels=labels,
            num_classes=self.num_classes,
            theta=theta,
            target_logit=target_logit,
            log_negatives=log_negatives,
            embeddings=embeddings,
            prototypes=self.prototypes,
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


def _remember(cosines, embeddings):
    """Notes the embeddings beside the cosines, for the losses that need what cosines alone have lost."""
    key = id(cosines)
    _embeddings_of[key] = embeddings
    # The note goes when its cosines go, before another tensor can have their id.
    weakref.finalize(cosines, _embeddings_of.pop, key, None)
    return cosines


def _remembered(cosines, embedding_size):
    if id(cosines) in _embeddings_of:
        return _embeddings_of[id(cosines)]
    if in_symbolic_scope():
        # Keras traces loss and model apart to learn shapes, never values; any embeddings serve.
        return ops.zeros((ops.shape(cosines)[0], embedding_size))
    return None
