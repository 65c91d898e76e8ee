"""What every head keeps to, whatever its margin: monotony, neutrality, precision, configs and files."""

import keras
import numpy as np
import pytest
from head_formulas import BATCH, CASES, CLASSES, OPTIONS, batch, loss_implementations, make
from keras import ops

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


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_keeps_float32_weights_and_logits(dtype):
    """Keeps weights and logits in float32 under half-precision policies."""
    head = km.ArcFaceHead(CLASSES, dtype=keras.DTypePolicy(dtype))
    embeddings, _, labels = batch(seed=5)
    half = ops.cast(embeddings, "float16")
    logits = head(half, ops.array(labels, "int32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert keras.backend.standardize_dtype(head.prototypes.dtype) == "float32"
    full = head(ops.cast(half, "float32"), ops.array(labels, "int32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(logits), ops.convert_to_numpy(full))


def test_hits_are_nearest_prototypes_without_margin():
    """Counts a sample as correct by the nearest prototype, without the margin."""
    head = make("arcface")
    head.prototypes.assign(np.array([1, 5, -1, 1, 1, 1, 1])[:, None] * np.eye(7, 5))
    embeddings = np.zeros((BATCH, 5), "float32")
    embeddings[:3, :2] = [[1.0, 0.9], [1.0, 1.1], [0.0, 0.0]]
    embeddings[3:, 2] = [-1, 1, -1]
    _, hits = head.loss_and_correct(embeddings, np.array([0, 0, 0, 2, 2, 1]))
    np.testing.assert_array_equal(ops.convert_to_numpy(hits), [1, 0, 0, 1, 0, 0])


def test_cosines_are_cosines_whatever_the_lengths():
    """Returns cosines, whatever the lengths."""
    for name in ("cosface", "softmax"):
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


@pytest.mark.parametrize("name", CASES)
def test_a_head_survives_its_config(name):
    """Builds an equal head from its config."""
    head = make(name, auxiliary_loss=IAM(0.2))
    again = type(head).from_config(head.get_config())
    assert again.get_config() == head.get_config()
    assert isinstance(again.auxiliary_loss, IAM) and again.auxiliary_loss.beta == 0.2
    assert isinstance(km.layers.get(name, 3), type(head))


@pytest.mark.parametrize("name", CASES)
def test_a_head_survives_a_keras_file_with_all_its_state(name, tmp_path):
    """Restores a head with all its state from a .keras file."""
    head = make(name, auxiliary_loss=IAM(0.2))
    embeddings, prototypes, labels = batch(head, seed=9)
    head.prototypes.assign(prototypes)
    if head.margin.anneals:
        head.state.step.assign(123)
    model = keras.Sequential([keras.Input((5,)), head])
    model.save(tmp_path / "head.keras")
    again = keras.saving.load_model(tmp_path / "head.keras").layers[-1]
    assert again.get_config() == head.get_config()
    assert len(again.weights) == len(head.weights)
    found, wanted = again.compute_loss(embeddings, labels), head.compute_loss(embeddings, labels)
    np.testing.assert_array_equal(ops.convert_to_numpy(found), ops.convert_to_numpy(wanted))
