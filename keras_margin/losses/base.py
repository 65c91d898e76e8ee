"""What every loss beside the margin stands on: Terms, Regularizer, their Sum, and TermLoss, each as a plain Keras loss.

A regulariser sees `Terms`, what a head knows of a batch, and returns its loss per sample, already weighted. Sums are
regularisers too: `IAM(0.1) + IntraLoss()`.
"""

import dataclasses
import math
import numbers
import re
from typing import Any

import keras
from keras import ops
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from keras_margin import checks, notes, numerics

PACKAGE = "keras_margin"

# Stands for log 0 where a class must not count. Finite, so nothing ever computes inf - inf.
_LOG_ZERO = -1e30


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a head knows of a batch.

    Attributes:
        labels: Integer tensor (batch,).
        num_classes: Python int; None where nothing but embeddings is known.
        theta: Float32 tensor (batch,), angle to the own prototype, radians.
        target_logit: Float32 tensor (batch,), scaled, with the margin.
        log_negatives: Float32 tensor (batch,), log sum over j != y of exp(logit_j).
        embeddings: Float32 tensor (batch, embedding_size), or None where only cosines are known (`head.loss`).
        prototypes: Float32 tensor (num_classes, embedding_size), or (num_classes, centres, embedding_size), or None.
        training: Whether this is a training batch, by which a term with state may learn.
        valid: Boolean tensor (batch,): samples that may stand beside others and teach what a term learns. False for a
            bad label or embedding where no error can be raised; its own loss is replaced afterwards. None for all.
    """

    labels: Any
    num_classes: int | None
    theta: Any = None
    target_logit: Any = None
    log_negatives: Any = None
    embeddings: Any = None
    prototypes: Any = None
    training: bool = False
    valid: Any = None


class Regularizer(keras.layers.Layer):
    """Base of all: subclasses say what they read, `per_sample(terms)` and `get_config()`.

    It is a Keras layer for the sake of the weights that a term may own: a head that has the term saves and trains them.
    Such a term belongs to one head; a term without weights may serve many. Three ways to use one:

        head = ArcFaceHead(n, regularizer=term)     added to the head's loss
        compile(loss=term.as_loss())                a plain Keras loss on (labels, what it reads)
        outputs = term(outputs, labels)             hands them through, and adds its mean to the model's losses

    A term that owns weights must be in the model for the second way too, as the layer behind what it reads, which it
    hands through unchanged: `Sequential([backbone, term])`.

    Args:
        weight: Factor of the term in the total loss, >= 0.

    Call arguments:
        outputs: Terms; or float tensor (batch, ...), what the term reads.
        labels: Integer tensor (batch,) or (batch, 1), or None.
        training: Python bool.
    """

    # What alone suffices to compute it: "embeddings", "logits", "cosines", or "prototypes".
    reads = "embeddings"
    # Whether it creates weights in `build`.
    owns_weights = False

    def __init__(self, weight=1.0):
        # Named by its class, so that its weights are found again by their paths.
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        super().__init__(name=name, dtype="float32", autocast=False)
        require_number(self, "weight", weight, 0, math.inf, "a finite weight >= 0", whole=True)
        self.weight = float(weight)

    @property
    def needs_embeddings(self):
        """Whether cosines alone do not suffice: such a term cannot ride in `head.loss` on cosines of unknown origin."""
        return self.reads == "embeddings"

    @property
    def needs_prototypes(self):
        """Whether it cannot be computed without the prototypes of all classes."""
        return self.reads == "prototypes"

    def per_sample(self, terms):
        """Unweighted loss of each sample, (batch,)."""
        raise NotImplementedError

    def __call__(self, outputs, labels=None, **kwargs):
        """Weighted loss of each sample, (batch,), from Terms; else what Keras makes of `call`."""
        if isinstance(outputs, Terms):
            return self.weight * self.per_sample(outputs)
        return super().__call__(outputs, **kwargs) if labels is None else super().__call__(outputs, labels, **kwargs)

    def call(self, outputs, labels=None, training=False):
        """`outputs`, unchanged; with labels, adds the term's mean to the model's losses."""
        if labels is None:
            # A loss is told neither; Keras may even have read back another copy of this term for it.
            return notes.remember(outputs, (self, bool(training)))
        values, _, valid = self._of_outputs(labels, outputs, bool(training))
        self.add_loss(ops.mean(ops.where(valid, values, math.inf)))
        return outputs

    def build(self, outputs_shape):
        """Creates the term's weights for outputs of `outputs_shape`; none in most terms."""

    def build_for(self, num_classes, embedding_size):
        """Creates the term's weights for a head: its one owner.

        Raises:
            ValueError: If another head or model has them.
        """
        if not self.owns_weights:
            return
        if self.built:
            raise ValueError(
                f"This {type(self).__name__} has weights and belongs to another head or model. Make one for each."
            )
        self.build((None, embedding_size))

    def as_loss(self, base=None, *, reduction="sum_over_batch_size", name=None):
        """The term as a plain Keras loss on (labels, what it reads), alone or added to `base`; see TermLoss."""
        return TermLoss(self, base, reduction=reduction, name=name)

    def _of_outputs(self, labels, outputs, training):
        """Weighted values (batch,) of what it reads, with the labels and a boolean (batch,), False for bad samples."""
        name = type(self).__name__
        labels = checks.labels_as_indices(labels, name)
        if self.reads not in _TERMS:
            raise ValueError(_why_no_loss(self))
        if len(outputs.shape) != 2:
            raise ValueError(f"{name} reads {self.reads}, (batch, size). Received: shape={tuple(outputs.shape)}.")
        outputs = ops.cast(outputs, "float32")
        if self.reads == "embeddings":
            # Any integer names a class among embeddings, unless the term keeps something for each.
            num_classes = getattr(self, "num_classes", None)
        else:
            num_classes = int(outputs.shape[1])
        known = ops.zeros_like(labels) if num_classes is None else labels
        valid = checks.valid_rows(outputs, known, num_classes or 1, name)
        labels = ops.where(valid, labels, ops.zeros_like(labels))
        outputs = ops.where(ops.expand_dims(valid, 1), outputs, ops.zeros_like(outputs))
        known = {"num_classes": num_classes, "training": training, "valid": valid}
        return self(_TERMS[self.reads](labels, outputs, known)), labels, valid

    def __add__(self, other):
        if not isinstance(other, Regularizer):
            return NotImplemented
        return Sum([self, other])

    def compute_output_shape(self, outputs_shape, labels_shape=None):
        """`outputs_shape`."""
        return outputs_shape

    def get_build_config(self):
        """None: what owns a term builds it, and a config must not depend on whether that has happened."""

    def get_config(self):
        """Arguments that build this regulariser again."""
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config):
        """The regulariser that `get_config` described."""
        return cls(**config)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Sum(Regularizer):
    """The sum of several regularisers; what `a + b` makes.

    Args:
        terms: Sequence of Regularizer.
    """

    def __init__(self, terms):
        super().__init__()
        self.terms = tuple(part for term in terms for part in (term.terms if isinstance(term, Sum) else [term]))
        self.owns_weights = any(term.owns_weights for term in self.terms)
        read = {term.reads for term in self.terms}
        self.reads = read.pop() if len(read) == 1 else "several things"
        counts = {getattr(term, "num_classes", None) for term in self.terms} - {None}
        self.num_classes = min(counts, default=None)

    @property
    def needs_embeddings(self):
        """Whether any part does."""
        return any(term.needs_embeddings for term in self.terms)

    @property
    def needs_prototypes(self):
        """Whether any of its terms does."""
        return any(term.needs_prototypes for term in self.terms)

    def per_sample(self, terms):
        """Sum of the parts' weighted losses, (batch,)."""
        total = self.terms[0](terms)
        for term in self.terms[1:]:
            total = total + term(terms)
        return total

    def build(self, outputs_shape):
        """Creates the parts' weights for outputs of `outputs_shape`."""
        for term in self.terms:
            if not term.built:
                term.build(outputs_shape)

    def build_for(self, num_classes, embedding_size):
        """Creates the parts' weights for a head."""
        for term in self.terms:
            term.build_for(num_classes, embedding_size)

    def get_config(self):
        """The parts, serialised."""
        return {"terms": [keras.saving.serialize_keras_object(term) for term in self.terms]}

    @classmethod
    def from_config(cls, config):
        """The sum that `get_config` described."""
        return cls([keras.saving.deserialize_keras_object(term) for term in config["terms"]])


@keras.saving.register_keras_serializable(package=PACKAGE)
class TermLoss(keras.losses.Loss):
    """A term as a plain Keras loss on (labels, what it reads); what `term.as_loss()` gives.

    L = base(labels, outputs) + term(labels, outputs)

    each sample's, then Keras's reduction and, under tf.distribute, its scaling. Labels are integers and keep their
    dtype. Bad labels and outputs are errors, as in a head; under XLA and JAX's jit, which cannot raise, such a sample's
    loss is +inf and its gradient zero.

    Args:
        term: Regularizer that reads "embeddings", "logits" or "cosines"; or a sum of such that read the same. One that
            owns weights must itself be the model's last layer.
        base: A Keras loss of (labels, the same outputs) to add to, or None.
        reduction, name: As in keras.losses.Loss.

    Raises:
        TypeError: Where term or base is no such thing.
        ValueError: Where the term cannot be computed from one output.

    Example:
        >>> base = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("sgd", loss=IAM(0.9).as_loss(base))
    """

    def __init__(self, term, base=None, reduction="sum_over_batch_size", name=None):
        if not isinstance(term, Regularizer):
            raise TypeError(f"TermLoss needs a keras_margin.losses.Regularizer. Received: {term!r}.")
        if base is not None and not isinstance(base, keras.losses.Loss):
            raise TypeError(f"as_loss adds to a keras.losses.Loss. Received: base={base!r}.")
        if term.reads not in _TERMS:
            raise ValueError(_why_no_loss(term))
        name = name or f"{term.name.removesuffix('_loss')}_loss"
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.term = term
        self.base = base

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Reduced loss; labels keep their dtype, which Keras's own __call__ would turn into float."""
        term, training = self._owner_of(y_pred) if self.term.owns_weights else (self.term, False)
        if term is None:
            values = ops.zeros((ops.shape(y_pred)[0],))
            return super().__call__(values, values, sample_weight)
        values, labels, valid = term._of_outputs(y_true, y_pred, training)
        if self.base is not None:
            outputs = ops.where(ops.expand_dims(valid, 1), ops.cast(y_pred, "float32"), 0.0)
            of_base = self.base.call(labels, outputs)
            if len(of_base.shape) != 1:
                raise ValueError(f"base={self.base!r} must give one loss a sample. Received: shape={of_base.shape}.")
            values = values + of_base
        values = ops.where(valid, values, math.inf)
        # Base.__call__ reduces, weighs and scales for tf.distribute; `call` below hands it the values unchanged.
        return super().__call__(values, values, sample_weight)

    def _owner_of(self, outputs):
        """The term that put out `outputs` and whether in training; None where Keras traces shapes, never values."""
        if in_symbolic_scope():
            return None, False
        term, training = notes.recall(outputs) or (None, False)
        if term is None or term.get_config() != self.term.get_config():
            name = type(self.term).__name__
            raise ValueError(
                f"{name} owns weights: the same {name} must be the last layer behind what it reads, as in "
                "Sequential([backbone, term]) compiled with loss=term.as_loss(). Or pass it as a head's regularizer=."
            )
        return term, training

    def call(self, y_true, y_pred):
        """The per-sample values that __call__ computed."""
        return y_pred

    def get_config(self):
        """Arguments that build this loss again."""
        serialize = keras.saving.serialize_keras_object
        base = None if self.base is None else serialize(self.base)
        return {**super().get_config(), "term": serialize(self.term), "base": base}

    @classmethod
    def from_config(cls, config):
        """The loss that `get_config` described."""
        deserialize = keras.saving.deserialize_keras_object
        parts = {name: config[name] and deserialize(config[name]) for name in ("term", "base")}
        return cls(**{**config, **parts})


def get(identifier):
    """A Regularizer, None, or the config of one, made a Regularizer or None.

    Raises:
        TypeError: On anything else.
    """
    if identifier is None or isinstance(identifier, Regularizer):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    raise TypeError(
        f"regularizer must be a keras_margin.losses.Regularizer, such as IAM(beta=0.1), or None. "
        f"Received: {identifier!r} of type {type(identifier).__name__}."
    )


def neighbours(terms):
    """Which others of the batch are of the anchor's class, and which of another.

    Returns:
        (same, different): Boolean tensors (anchor, other); both False at the anchor itself and at invalid others.
    """
    index = ops.arange(ops.shape(terms.labels)[0], dtype="int32")
    other = ops.not_equal(ops.expand_dims(index, 1), index)
    if terms.valid is not None:
        other = ops.logical_and(other, terms.valid)
    equal = ops.equal(ops.expand_dims(terms.labels, 1), terms.labels)
    return ops.logical_and(other, equal), ops.logical_and(other, ops.logical_not(equal))


def require_number(owner, name, value, low, high, rule, *, above=False, below=False, whole=False, mend=""):
    """Raises ValueError unless `value` is a finite number from `low` to `high`; `above`, `below`: without that end."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
        if (low < value if above else low <= value) and (value < high if below else value <= high):
            return
        mend = mend if value > high else ""
    else:
        mend = ""
    rule = rule if whole else f"{name} in {rule}" if rule[0] in "[(" else f"{name} {rule}"
    raise ValueError(f"{type(owner).__name__} needs {rule}. Received: {name}={value!r}.{mend}")


def _of_embeddings(labels, embeddings, known):
    return Terms(labels=labels, embeddings=embeddings, **known)


def _of_logits(labels, logits, known):
    own = ops.equal(ops.expand_dims(labels, 1), ops.arange(known["num_classes"], dtype=labels.dtype))
    return Terms(
        labels=labels,
        target_logit=ops.sum(ops.where(own, logits, 0.0), axis=1),
        log_negatives=ops.logsumexp(ops.where(own, _LOG_ZERO, logits), axis=1),
        **known,
    )


def _of_cosines(labels, cosines, known):
    cosine = ops.squeeze(ops.take_along_axis(cosines, ops.expand_dims(labels, 1), axis=1), 1)
    return Terms(labels=labels, theta=numerics.safe_arccos(cosine), **known)


# What each kind of output tells.
_TERMS = {"embeddings": _of_embeddings, "logits": _of_logits, "cosines": _of_cosines}


def _why_no_loss(term):
    name = type(term).__name__
    if term.reads == "prototypes":
        return f"{name} reads the head's prototypes, which no output carries. Pass it as a head's regularizer=."
    return f"{name} reads {term.reads}; a Keras loss sees one output. Use one loss an output, or a head's regularizer=."
