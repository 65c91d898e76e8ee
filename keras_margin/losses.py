"""Losses beside the margin: what a head adds as `regularizer=`, one value a sample.

A regulariser sees `Terms`, what a head knows of a batch, and returns its loss per sample, already weighted. Sums are
regularisers too: `IAM(0.1) + IntraLoss()`.
"""

import dataclasses
import math
import warnings
from typing import Any

import keras
from keras import ops

PACKAGE = "keras_margin"


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a head knows of a batch.

    Attributes:
        labels: Integer tensor (batch,).
        num_classes: Python int.
        theta: Float32 tensor (batch,), angle to the own prototype, radians.
        target_logit: Float32 tensor (batch,), scaled, with the margin.
        log_negatives: Float32 tensor (batch,), log sum over j != y of exp(logit_j).
        embeddings: Float32 tensor (batch, embedding_size), or None where only cosines are known (`head.loss`).
        prototypes: Float32 tensor (num_classes, embedding_size), or None likewise.
        training: Whether this is a training batch, by which a term with state may learn.
    """

    labels: Any
    num_classes: int
    theta: Any
    target_logit: Any
    log_negatives: Any
    embeddings: Any = None
    prototypes: Any = None
    training: bool = False


class Regularizer:
    """Base of all: subclasses say `per_sample(terms)` and `get_config()`.

    Args:
        weight: Factor of the term in the total loss, >= 0.
    """

    # True where cosines alone do not suffice: such a term cannot ride in `head.loss`.
    needs_embeddings = False

    def __init__(self, weight=1.0):
        if not (isinstance(weight, (int, float)) and math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{type(self).__name__} needs a finite weight >= 0. Received: {weight!r}.")
        self.weight = float(weight)

    def per_sample(self, terms):
        """Unweighted loss of each sample, (batch,)."""
        raise NotImplementedError

    def __call__(self, terms):
        """Weighted loss of each sample, (batch,)."""
        return self.weight * self.per_sample(terms)

    def __add__(self, other):
        if not isinstance(other, Regularizer):
            return NotImplemented
        return Sum([self, other])

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
        flat = [part for term in terms for part in (term.terms if isinstance(term, Sum) else [term])]
        self.terms = tuple(flat)
        self.needs_embeddings = any(term.needs_embeddings for term in flat)

    def per_sample(self, terms):
        """Sum of the parts' weighted losses, (batch,)."""
        total = self.terms[0](terms)
        for term in self.terms[1:]:
            total = total + term(terms)
        return total

    def get_config(self):
        """The parts, serialised."""
        return {"terms": [keras.saving.serialize_keras_object(term) for term in self.terms]}

    @classmethod
    def from_config(cls, config):
        """The sum that `get_config` described."""
        return cls([keras.saving.deserialize_keras_object(term) for term in config["terms"]])


@keras.saving.register_keras_serializable(package=PACKAGE)
class IAM(Regularizer):
    """Inter-class angular margin: beside any softmax loss, pushes the other classes away, the nearest most.

    L_IAM = mean_i log( (1 - p_i) / (C - 1) ),  L = L_base + beta * L_IAM

    p_i is the base loss's own softmax probability of the label, margin included. log(1 - p) is the negatives' logsumexp
    less that of all, = -softplus(target_logit - log_negatives); never 1 - p, which float32 rounds to 0.

    Args:
        beta: Weight. The paper finds 0.05-0.1 best beside margins and 0.8-0.9 beside scaled softmax; above 1 the own
            class's pull grows as it is reached, which harms (section 4.1): a warning.

    Example:
        >>> head = keras_margin.ArcFaceHead(10, regularizer=IAM(beta=0.1))

    Reference: Yang et al., Inter-class Angular Margin Loss for Face Recognition, 2020, eq. 7 and 8.
    """

    def __init__(self, beta=0.1):
        super().__init__(beta)
        self.beta = self.weight
        if self.beta > 1:
            warnings.warn(
                f"IAM with beta={self.beta} > 1 loosens classes as they tighten (section 4.1 of its paper). "
                "Published values: 0.05-0.1 beside a margin, 0.8-0.9 beside scaled softmax.",
                stacklevel=2,
            )

    def per_sample(self, terms):
        """log(1 - p) - log(C - 1), (batch,)."""
        return -ops.softplus(terms.target_logit - terms.log_negatives) - math.log(terms.num_classes - 1)

    def get_config(self):
        """Arguments that build this regulariser again."""
        return {"beta": self.beta}


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
