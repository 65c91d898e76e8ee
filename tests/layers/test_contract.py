"""What every head keeps to, whatever its margin: monotony, neutrality, precision, configs and files."""

import keras
import numpy as np
import pytest
from head_formulas import BATCH, CASES, CLASSES, OPTIONS, SIZE, batch, loss_implementations, make
from keras import ops
from layer_contract import CHECKS, LayerCase, Weight

import keras_margin as km
from keras_margin.losses import IAM

NEUTRAL = [
    ("arcface", {"margin": 0.0}, "normsoftmax"),
    ("cosface", {"margin": 0.0}, "normsoftmax"),
    ("combined", {"m1": 1.0, "m2": 0.0, "m3": 0.0}, "normsoftmax"),
    ("sphereface_arccos", {"margin": 1}, "normsoftmax"),
    ("sphereface", {"margin": 1, "scale": 16.0}, "normsoftmax"),
    ("subcenter_arcface", {"margin": 0.0, "centers": 1}, "normsoftmax"),
    ("adaface", {"margin": 0.0}, "normsoftmax"),
    ("magface", {"lower_margin": 0.0, "upper_margin": 0.0, "lambda_g": 0.0}, "normsoftmax"),
    ("lsoftmax", {"margin": 1}, "softmax without bias"),
]
PLAIN = {"normsoftmax": CASES["normsoftmax"], "softmax without bias": OPTIONS["softmax without bias"]}


@pytest.mark.parametrize(("name", "options", "plain"), NEUTRAL)
def test_a_neutral_margin_is_the_plain_softmax(name, options, plain):
    """Equals the plain softmax with a neutral margin."""
    plain, head = make(PLAIN[plain]), make(name, **options)
    embeddings, prototypes, labels = batch(plain, seed=3)
    for each in (head, plain):
        each.prototypes.assign(prototypes.reshape(each.prototypes.shape))
    found = ops.convert_to_numpy(head.compute_loss(embeddings, labels))
    np.testing.assert_allclose(found, ops.convert_to_numpy(plain.compute_loss(embeddings, labels)), rtol=1e-5)


# CurricularFace's other logits depend on the own one.
@pytest.mark.parametrize("name", [name for name in CASES if name != "curricularface"])
def test_labels_change_their_own_logit_alone(name):
    """Changes by a label the logit of its own class alone."""
    head = make(name)
    embeddings, _, labels = batch(seed=4)
    logits = ops.convert_to_numpy(head(embeddings, ops.array(labels, "int32")))
    shifted = ops.convert_to_numpy(head(embeddings, ops.array((labels + 1) % CLASSES, "int32")))
    differs = np.abs(logits - shifted) > 1e-5
    own = np.zeros_like(differs)
    own[np.arange(BATCH), labels] = own[np.arange(BATCH), (labels + 1) % CLASSES] = True
    assert not np.any(differs & ~own)
    assert np.any(differs) == (name not in ("normsoftmax", "softmax", "l2softmax"))


def test_correct_is_the_nearest_prototype_without_margin():
    """Counts a sample as correct by the nearest prototype, without the margin."""
    head = make("arcface")
    head.prototypes.assign(np.array([1, 5, -1, 1, 1, 1, 1])[:, None] * np.eye(7, 5))
    embeddings = np.zeros((BATCH, 5), "float32")
    embeddings[:3, :2] = [[1.0, 0.9], [1.0, 1.1], [0.0, 0.0]]
    embeddings[3:, 2] = [-1, 1, -1]
    _, correct = head.loss_and_correct(embeddings, np.array([0, 0, 0, 2, 2, 1]))
    np.testing.assert_array_equal(ops.convert_to_numpy(correct), [1, 0, 0, 1, 0, 0])


@pytest.mark.parametrize("name", ["cosface", "softmax"])
def test_cosines_are_cosines_whatever_the_lengths(name):
    """Returns cosines, whatever the lengths."""
    head = make(name)
    embeddings, prototypes, _ = batch(head, seed=7)
    head.prototypes.assign(prototypes)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    wanted = unit @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T
    np.testing.assert_allclose(ops.convert_to_numpy(head(100 * embeddings)), wanted, atol=1e-6)
    assert ops.convert_to_numpy(head(prototypes)).max() <= 1.0


@pytest.mark.parametrize("name", CASES)
def test_the_loss_on_cosines_is_near_the_others_even_at_the_ends(name):
    """A float32 cosine knows an angle of 0 or pi to 3.5e-4 rad; that is all that `head.loss` lacks."""
    head = make(name)
    prototypes = batch(head, seed=8)[1]
    head.prototypes.assign(prototypes)
    labels = np.arange(BATCH) % CLASSES
    first = prototypes if prototypes.ndim == 2 else prototypes[:, 0]
    embeddings = first[labels] * np.array([[1], [-1], [1.5], [-2], [0.1], [3]], "float32")
    ways = loss_implementations(head, labels)
    exact = ops.convert_to_numpy(ways["compute_loss"](ops.array(embeddings)))
    near = ops.convert_to_numpy(ways["loss on cosines"](ops.array(embeddings)))
    # The steepest target falls by scale * 4 a radian; QAMFace's by 6 * 4 pi.
    np.testing.assert_allclose(near, exact, rtol=1e-5, atol=3.5e-4 * 80)


# --- As a Keras layer -----------------------------------------------------------------------------------------------


PROTOTYPES = {"prototypes": Weight((CLASSES, SIZE))}
BIAS = {"bias": Weight((CLASSES,))}
STEPS = {"step": Weight((), trainable=False, dtype="int32"), "batch": Weight((), trainable=False, dtype="int32")}
# What each head holds next to its prototypes.
FURTHER_WEIGHTS = {
    "sphereface": STEPS,
    "lsoftmax": STEPS,
    "adaface": {"norm_mean": Weight((), trainable=False), "norm_std": Weight((), trainable=False)},
    "curricularface": {"t": Weight((), trainable=False)},
    "softmax": BIAS,
    "l2softmax": BIAS,
}


def layer_case(name, layer=None):
    """The contract of a head, with an auxiliary loss; `layer` is a class in place of its own."""
    embeddings, _, labels = batch(seed=9)
    weights = {"prototypes": Weight((CLASSES, 3, SIZE))} if name == "subcenter_arcface" else PROTOTYPES

    def new(**options):
        return (layer or km.layers.HEADS[name])(CLASSES, auxiliary_loss=IAM(0.2), **CASES[name].options, **options)

    losses = {"compute_loss": lambda head: head.compute_loss(embeddings, labels)}
    return LayerCase(new, embeddings, labels, weights | FURTHER_WEIGHTS.get(name, {}), (BATCH, CLASSES), losses)


# The same on every backend: names, flags and configs; and of the precisions one is enough elsewhere.
ONCE = {
    "build_creates_the_weights",
    "config_builds_an_equal_layer",
    "freezing_leaves_nothing_trainable",
    "computes in float32 under mixed_bfloat16",
    "computes in float32 under float16",
}


SLOW = {
    "a_file_restores_the_layer",
    "computes in float32 under mixed_bfloat16",
    "computes in float32 under float16",
}


def marked(check):
    marks = [pytest.mark.once] * (check in ONCE) + [pytest.mark.slow] * (check in SLOW)
    return pytest.param(check, marks=marks)


@pytest.mark.parametrize("check", [marked(check) for check in CHECKS])
@pytest.mark.parametrize("name", km.layers.HEADS)
def test_a_head_keeps_every_promise_of_a_keras_layer(name, check, tmp_path):
    """Keeps every promise of layer_contract, for every head."""
    CHECKS[check](layer_case(name), tmp_path)


class ExtraWeight(km.ArcFaceHead):
    """Creates a weight too many."""

    def build(self, shape):
        super().build(shape)
        self.more = self.add_weight(shape=(), name="more")


class EarlyWeight(km.ArcFaceHead):
    """Creates a weight before it knows the shape, and none at the first call."""

    def build(self, shape):
        self.built = True
        self.prototypes = ops.ones((CLASSES, SIZE))


class WrongShape(km.ArcFaceHead):
    """Announces one class too many."""

    def compute_output_shape(self, shape, *args):
        return (shape[0], self.num_classes + 1)


class LostArgument(km.ArcFaceHead):
    """Leaves its margin out of the config."""

    def get_config(self):
        return {name: value for name, value in super().get_config().items() if name != "margin"}


class LostWeights(km.ArcFaceHead):
    """Reads no weight from a file."""

    def load_own_variables(self, store):
        pass


class WrongSymbol(km.ArcFaceHead):
    """Announces another dtype than it computes."""

    def compute_output_spec(self, embeddings, *args, **kwargs):
        return keras.KerasTensor((None, CLASSES), dtype="float16")


class AlwaysTrainable(km.ArcFaceHead):
    """Trains although it is frozen."""

    @property
    def trainable_weights(self):
        return self.weights


class NoGradient(km.ArcFaceHead):
    """Stops the gradient."""

    def call(self, embeddings, labels=None):
        return ops.stop_gradient(super().call(embeddings, labels))


class Rounded(km.ArcFaceHead):
    """Puts its output out in the policy's precision."""

    def __init__(self, *args, dtype=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.policy = dtype

    def call(self, embeddings, labels=None):
        logits = super().call(embeddings, labels)
        return logits if self.policy is None else ops.cast(logits, self.policy.compute_dtype)


BROKEN = {
    "build_creates_the_weights": ExtraWeight,
    "the_first_call_builds": EarlyWeight,
    "output_shape_is_that_of_a_call": WrongShape,
    "config_builds_an_equal_layer": LostArgument,
    "a_file_restores_the_layer": LostWeights,
    "symbols_compute_what_numbers_do": WrongSymbol,
    "freezing_leaves_nothing_trainable": AlwaysTrainable,
    "every_trainable_weight_has_a_gradient": NoGradient,
    "computes in float32 under float16": Rounded,
}


@pytest.mark.once
@pytest.mark.parametrize("check", BROKEN)
def test_a_broken_promise_is_found(check, tmp_path):
    """Fails for a head that breaks the promise."""
    with pytest.raises(AssertionError):
        CHECKS[check](layer_case("arcface", keras.saving.register_keras_serializable("tests")(BROKEN[check])), tmp_path)
