"""Every head of the table as a float64 NumPy formula, spelt out after its paper and free of our own code."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from gradients import of_head, value_and_gradients
from keras import ops

import keras_margin as km
from keras_margin import losses

CLASSES, SIZE, BATCH = 7, 5, 6
SCALE = 16.0


def monotone(u):
    k = np.floor(u / np.pi)
    return (-1.0) ** k * np.cos(u) - 2 * k


def linear(theta, m):
    return np.where(theta + m <= np.pi, np.cos(theta + m), np.cos(theta) - m * np.sin(m))


def unit(x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def angle(a, b):
    """Kahan's angle of unit vectors, exact at every size."""
    return 2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))


@dataclasses.dataclass(frozen=True)
class Batch:
    """What a formula sees; `frozen` holds the lengths that take no part in the gradient."""

    x: Any
    w: Any
    labels: Any
    frozen: Any

    @property
    def norm(self):
        return np.linalg.norm(self.x, axis=1)

    @property
    def theta(self):
        """(batch, classes); of several centres the nearest."""
        angles = angle(unit(self.x).reshape(len(self.x), *[1] * (self.w.ndim - 1), -1), unit(self.w))
        return angles if self.w.ndim == 2 else angles.min(axis=2)

    def with_target(self, logits, target):
        logits = np.array(logits)
        logits[np.arange(len(self.labels)), self.labels] = target
        return logits

    def own(self, values):
        return values[np.arange(len(self.labels)), self.labels]


def by_angle(target, scale=SCALE, other=np.cos):
    """s target(theta_y) and s other(theta_j); a scale of None is the embedding's own norm."""

    def logits(b):
        s = b.norm if scale is None else np.full(len(b.x), scale)
        return b.with_target(s[:, None] * other(b.theta), s * target(b.own(b.theta)))

    return logits


def adaface(b, m=0.4, h=1.2, mean=2.2, std=0.7):
    z = np.clip((np.clip(b.frozen, 0.001, 100) - mean) / (std + 1e-3) * h, -1, 1)
    theta = b.own(b.theta)
    psi = np.cos(np.clip(theta - m * z, 1e-3, np.pi - 1e-3)) - (m + m * z)
    return b.with_target(SCALE * np.cos(b.theta), SCALE * psi)


def magface(b, l_a=1.5, u_a=3.0, l_m=0.45, u_m=0.8):
    a = np.clip(b.norm, l_a, u_a)
    m = (u_m - l_m) / (u_a - l_a) * (a - l_a) + l_m
    return b.with_target(SCALE * np.cos(b.theta), SCALE * monotone(b.own(b.theta) + m))


def magface_penalty(b, l_a=1.5, u_a=3.0, lambda_g=2.0):
    a = np.clip(b.norm, l_a, u_a)
    return lambda_g * (1 / a + a / u_a**2)


def curricularface(b, t=0.3):
    cosines = np.cos(b.theta)
    psi = monotone(b.own(b.theta) + 0.5)
    others = np.where(cosines > psi[:, None], cosines * (t + cosines), cosines)
    return b.with_target(SCALE * others, SCALE * psi)


BIAS = np.linspace(-0.5, 0.7, CLASSES)


def softmax(b):
    return b.x @ b.w.T + BIAS[: len(b.w)]


def softmax_without_bias(b):
    return b.x @ b.w.T


def l2softmax(b, alpha=10.0):
    return alpha * unit(b.x) @ b.w.T + BIAS[: len(b.w)]


def lsoftmax(b, m=4, lam=1000.0):
    own = b.w[b.labels]
    theta = angle(unit(b.x), unit(own))
    psi = (lam * np.cos(theta) + monotone(m * theta)) / (1 + lam)
    return b.with_target(b.x @ b.w.T, np.linalg.norm(own, axis=1) * b.norm * psi)


@dataclasses.dataclass(frozen=True)
class Case:
    """A head, its arguments, the values of its state, its formula, and what its paper adds to the cross-entropy."""

    head: str
    options: dict
    logits: Callable
    state: dict = dataclasses.field(default_factory=dict)
    added: Callable | None = None


MAGFACE = {"lower_norm": 1.5, "upper_norm": 3.0, "lambda_g": 2.0}
ADAFACE = {"norm_mean": 2.2, "norm_std": 0.7}
# One case a head, under the head's own name, which many tests visit; then its options, for the formula's test alone.
CASES = {
    "normsoftmax": Case("normsoftmax", {"scale": SCALE}, by_angle(np.cos)),
    "arcface": Case("arcface", {"scale": SCALE}, by_angle(lambda t: monotone(t + 0.5))),
    "cosface": Case("cosface", {"scale": SCALE}, by_angle(lambda t: np.cos(t) - 0.35)),
    "sphereface": Case("sphereface", {}, by_angle(lambda t: (1000 * np.cos(t) + monotone(4 * t)) / 1001, None)),
    "sphereface_arccos": Case("sphereface_arccos", {"scale": SCALE}, by_angle(lambda t: monotone(1.35 * t))),
    "combined": Case("combined", {"scale": SCALE}, by_angle(lambda t: monotone(t + 0.3) - 0.2)),
    "qamface": Case(
        "qamface", {}, by_angle(lambda t: (2 * np.pi - (t + 0.5)) ** 2, 6.0, lambda t: (2 * np.pi - t) ** 2)
    ),
    "adaface": Case("adaface", {"scale": SCALE, "h": 1.2}, adaface, ADAFACE),
    "magface": Case("magface", {"scale": SCALE, **MAGFACE}, magface, added=magface_penalty),
    "curricularface": Case("curricularface", {"scale": SCALE}, curricularface, {"t": 0.3}),
    "subcenter_arcface": Case("subcenter_arcface", {"scale": SCALE}, by_angle(lambda t: monotone(t + 0.5))),
    "softmax": Case("softmax", {}, softmax, {"bias": BIAS}),
    "lsoftmax": Case("lsoftmax", {}, lsoftmax),
    "l2softmax": Case("l2softmax", {"alpha": 10.0}, l2softmax, {"bias": BIAS}),
}
OPTIONS = {
    "arcface beyond none": Case("arcface", {"scale": SCALE, "beyond_pi": "none"}, by_angle(lambda t: np.cos(t + 0.5))),
    "arcface beyond linear": Case(
        "arcface", {"scale": SCALE, "beyond_pi": "linear"}, by_angle(lambda t: linear(t, 0.5))
    ),
    "arcface m=0.3 s=64": Case("arcface", {"margin": 0.3}, by_angle(lambda t: monotone(t + 0.3), 64.0)),
    "arcface by norm": Case("arcface", {"scale": None}, by_angle(lambda t: monotone(t + 0.5), None)),
    "combined 2": Case(
        "combined",
        {"m1": 0.9, "m2": 0.4, "m3": 0.15, "scale": SCALE},
        by_angle(lambda t: monotone(0.9 * t + 0.4) - 0.15),
    ),
    "sphereface m=3": Case(
        "sphereface",
        {"scale": 30.0, "margin": 3, "base": 5.0},
        by_angle(lambda t: (5 * np.cos(t) + monotone(3 * t)) / 6, 30.0),
    ),
    "sphereface bare": Case("sphereface", {"base": 0.0, "lambda_min": 0.0}, by_angle(lambda t: monotone(4 * t), None)),
    "modified softmax": Case("normsoftmax", {"scale": None}, by_angle(np.cos, None)),
    "softmax without bias": Case("softmax", {"use_bias": False}, softmax_without_bias),
    "lsoftmax bare m=2": Case("lsoftmax", {"margin": 2, "base": 0.0}, lambda b: lsoftmax(b, 2, 0.0)),
}


def make(case, auxiliary_loss=None, num_classes=CLASSES, size=SIZE, **options):
    """The case's head, built, its state set."""
    case = case if isinstance(case, Case) else CASES[case]
    head = km.layers.get(case.head, num_classes, auxiliary_loss=auxiliary_loss, **{**case.options, **options})
    head.build((None, size))
    for name, value in case.state.items():
        weight = weight_named(head, name)
        weight.assign(np.asarray(value, "float32")[tuple(slice(0, size) for size in weight.shape)])
    return head


def weight_named(head, name):
    """A head's weight, or one of its margin's state, by its name."""
    return next(weight for weight in head.weights if weight.name == name)


def batch(head=None, seed=0, num_classes=CLASSES):
    """Embeddings, prototypes shaped as the head's, labels."""
    generator = np.random.default_rng(seed)
    embeddings = generator.normal(size=(BATCH, SIZE)).astype("float32")
    shape = (num_classes, SIZE) if head is None else tuple(head.prototypes.shape)
    return embeddings, generator.normal(size=shape).astype("float32"), generator.integers(0, num_classes, BATCH)


def parts(case, embeddings, labels):
    """Function of float64 embeddings and prototypes to (target logit, log-sum of the others, added), each (batch,)."""
    case = case if isinstance(case, Case) else CASES[case]
    frozen = np.linalg.norm(np.asarray(embeddings, "float64"), axis=1)

    def function(x, w):
        b = Batch(x, w, labels, frozen)
        logits = case.logits(b)
        negatives = b.with_target(logits, -np.inf)
        top = negatives.max(axis=1)
        log_negatives = top + np.log(np.exp(negatives - top[:, None]).sum(axis=1))
        return b.own(logits), log_negatives, np.zeros(len(x)) if case.added is None else case.added(b)

    return function


def reference(case, embeddings, labels, beta=0.0, added=True):
    """The loss of each sample as a float64 function of embeddings and prototypes; `beta` weighs IAM."""
    of = parts(case, embeddings, labels)

    def loss(x, w):
        target, log_negatives, extra = of(x, w)
        value = np.logaddexp(0, log_negatives - target) + (extra if added else 0)
        if beta:
            value = value + beta * (-np.logaddexp(0, target - log_negatives) - np.log(len(w) - 1))
        return value

    return loss


def gradients_of(head, function, embeddings, prototypes, jit=False):
    """`function(embeddings)` and its gradients by embeddings and the head's prototypes."""
    return value_and_gradients(of_head(head, function), embeddings, prototypes, jit=jit)


def exactly(*arrays):
    return [np.asarray(array, "float64") for array in arrays]


def loss_implementations(head, labels):
    """Returns the head's loss per sample by each way of use, as functions of the embeddings."""
    labels = ops.array(labels, "int32")

    def by_logits(embeddings):
        logits = head.call(embeddings, labels)
        return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    return {
        "compute_loss": lambda embeddings: head.compute_loss(embeddings, labels),
        "loss on cosines": lambda embeddings: head.loss_from_cosines(labels, head.call(embeddings)),
        "logits": by_logits,
    }


def everything(name):
    """The sum of all regularisers that the head can have: whichever is NaN, the sum is."""
    without = {"inter"} if name == "subcenter_arcface" else set()
    first, *others = [make_term() for key, make_term in losses.LOSSES.items() if key not in without]
    return sum(others, start=first)
