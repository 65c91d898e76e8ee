"""margin_softmax is pure: no variable, differentiable, compiled; and what it refuses."""

import keras
import numpy as np
import pytest
from gradients import relative_error, value_and_gradients
from keras import ops

import keras_margin as km
from keras_margin.margins import MARGINS, ArcFace, get
from keras_margin.ops import margin_softmax

BATCH, CLASSES, SIZE = 6, 7, 5


def batch(seed=0):
    generator = np.random.default_rng(seed)
    embeddings = generator.normal(size=(BATCH, SIZE)).astype("float32")
    return embeddings, generator.normal(size=(CLASSES, SIZE)).astype("float32"), generator.integers(0, CLASSES, BATCH)


def options(name):
    return {"scale": 6.0 if name == "qamface" else 16.0}


@pytest.mark.parametrize("name", MARGINS)
def test_function_equals_the_head(name):
    """The head is the function with its own variables, training state included."""
    embeddings, prototypes, labels = batch()
    head = km.MarginHead(CLASSES, get(name), **options(name))
    head.build((None, SIZE))
    head.prototypes.assign(prototypes)
    state = ()
    for _ in range(2):
        out = margin_softmax(embeddings, prototypes, labels, get(name), state=state, training=True, **options(name))
        loss, correct = head.loss_and_correct(embeddings, labels, training=True)
        np.testing.assert_allclose(ops.convert_to_numpy(out.loss), ops.convert_to_numpy(loss), rtol=1e-6)
        np.testing.assert_array_equal(ops.convert_to_numpy(out.correct), ops.convert_to_numpy(correct))
        state = out.state
    for of_head, of_function in zip(keras.tree.flatten(head.state), keras.tree.flatten(state), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(of_head), ops.convert_to_numpy(of_function), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", MARGINS)
def test_compiled_function_equals_the_eager_one(name):
    """The whole function, gradient and state inside one XLA program."""
    embeddings, prototypes, labels = batch(1)
    labels = labels.astype("int32")

    def eager(x, w):
        return margin_softmax(x, w, ops.array(labels), get(name), training=True, **options(name)).loss

    value, gradients = value_and_gradients(eager, embeddings, prototypes, jit=False)
    found, by_embeddings, by_prototypes, state = compiled(name, embeddings, prototypes, labels)
    np.testing.assert_allclose(found, value, rtol=1e-5)
    assert relative_error(by_embeddings, gradients[0]) < 1e-5
    assert relative_error(by_prototypes, gradients[1]) < 1e-5
    alone = margin_softmax(embeddings, prototypes, labels, get(name), training=True, **options(name)).state
    for got, want in zip(keras.tree.flatten(state), keras.tree.flatten(alone), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(got), ops.convert_to_numpy(want), rtol=1e-6)


def compiled(name, embeddings, prototypes, labels):
    """Loss, both gradients and state out of jax.jit or a tf.function under XLA."""
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch runs eagerly")
    if keras.backend.backend() == "jax":
        import jax

        def total(x, w):
            out = margin_softmax(x, w, labels, get(name), training=True, **options(name))
            return out.loss.sum(), out

        (_, out), gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(embeddings, prototypes)
        return np.asarray(out.loss), *map(np.asarray, gradients), out.state
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False)
    def step(x, w, y):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            out = margin_softmax(x, w, y, get(name), training=True, **options(name))
        return out, tape.gradient(out.loss, [x, w])

    out, gradients = step(*map(tf.constant, (embeddings, prototypes, labels)))
    return out.loss.numpy(), *(gradient.numpy() for gradient in gradients), out.state


def test_no_variable_is_made_read_or_written():
    """Called twice with the same arguments it returns the same, with state too."""
    embeddings, prototypes, labels = batch()
    outs = [margin_softmax(embeddings, prototypes, labels, get("adaface"), training=True) for _ in range(2)]
    for first, second in zip(keras.tree.flatten(outs[0]), keras.tree.flatten(outs[1]), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(first), ops.convert_to_numpy(second))


def test_auxiliary_loss_is_added():
    """Adds an auxiliary loss."""
    embeddings, prototypes, labels = batch()
    bare = margin_softmax(embeddings, prototypes, labels, ArcFace(), scale=16.0)
    out = margin_softmax(
        embeddings, prototypes, labels, ArcFace(), scale=16.0, auxiliary_loss=km.losses.IAM(0.5) + km.losses.IntraLoss()
    )
    loss = ops.convert_to_numpy(bare.loss).astype("float64")
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (embeddings, prototypes)]
    theta = np.arccos(np.sum(unit[0] * unit[1][labels], axis=1))
    wanted = loss + 0.5 * (np.log(-np.expm1(-loss)) - np.log(CLASSES - 1)) + theta / np.pi
    np.testing.assert_allclose(ops.convert_to_numpy(out.loss), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "scale > 0. Received: scale=0.0"),
        ({"gradient": "none"}, "gradient to be one of 'exact', 'straight_through'"),
        ({"implementation": "quick"}, "'auto', 'reference', 'fused', 'streaming'.*'quick'"),
        ({"auxiliary_loss": km.losses.CenterLoss()}, "CenterLoss keeps weights.*MarginHead"),
        ({"auxiliary_loss": km.losses.IAM(0.1) + km.losses.RingLoss()}, "keeps weights"),
    ],
)
def test_wrong_option_is_refused(options, message):
    """Refuses a wrong option."""
    with pytest.raises(ValueError, match=message):
        margin_softmax(*batch(), ArcFace(), **options)


def test_several_centers_take_the_nearest():
    """Prototypes of rank 3 are several a class, of which the nearest counts; only the reference computes them."""
    embeddings, prototypes, labels = batch()
    doubled = np.stack([prototypes, -10 * prototypes], axis=1)
    out = margin_softmax(embeddings, doubled, labels, ArcFace(0.0), scale=8.0)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (embeddings, prototypes)]
    logits = 8 * np.abs(unit[0] @ unit[1].T)
    wanted = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(BATCH), labels]
    np.testing.assert_allclose(ops.convert_to_numpy(out.loss), wanted, rtol=1e-5)
    with pytest.raises(ValueError, match="several prototypes a class"):
        margin_softmax(embeddings, doubled, labels, ArcFace(), implementation="fused")


@pytest.mark.tensorflow_only
def test_new_values_of_a_margin_make_no_new_programs():
    """A search over margins, scales and models traces each shape once."""
    from keras_margin.ops import _analytic

    embeddings, prototypes, labels = batch()
    margin_softmax(embeddings, prototypes, labels, ArcFace(0.1), implementation="fused")
    before = _analytic._shared_program.cache_info().currsize
    for number in range(5):
        margin_softmax(embeddings, prototypes, labels, ArcFace(0.2 + number / 10), scale=8.0 + number)
    assert _analytic._shared_program.cache_info().currsize == before


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="of JAX's transformations")
@pytest.mark.parametrize("implementation", ["reference", "fused", "streaming"])
@pytest.mark.parametrize("name", ["arcface", "curricularface"])
def test_checkpoint_and_scan_give_the_same_gradient(name, implementation):
    """jax.checkpoint and the gradient of a scan differentiate what was traced before."""
    import jax

    embeddings, prototypes, labels = batch()
    labels = labels.astype("int32")

    def loss(x):
        return margin_softmax(x, prototypes, labels, get(name), scale=8.0, implementation=implementation).loss.sum()

    def scanned(x):
        return jax.lax.scan(lambda carry, _: (carry + loss(x), None), 0.0, None, length=2)[0] / 2

    wanted = np.asarray(jax.grad(loss)(embeddings))
    for function in (jax.checkpoint(loss), scanned):
        assert relative_error(np.asarray(jax.jit(jax.grad(function))(embeddings)), wanted) < 1e-5


def test_scale_that_is_a_tensor_has_its_gradient():
    """QAMFace's loss by its scale: only the reference can, and it is what "auto" takes."""
    embeddings, prototypes, labels = batch()

    def loss(scale):
        return margin_softmax(
            ops.array(embeddings), ops.array(prototypes), ops.array(labels, "int32"), get("qamface"), scale=scale
        ).loss

    _, (gradient,) = value_and_gradients(loss, np.array(2.0), jit=False)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (embeddings, prototypes)]
    theta = np.arccos((unit[0] @ unit[1].T).astype("float64"))
    rows = np.arange(BATCH)

    def exact(scale):
        logits = scale * (2 * np.pi - theta) ** 2
        logits[rows, labels] = scale * (2 * np.pi - theta[rows, labels] - 0.5) ** 2
        top = logits.max(axis=1)
        return np.sum(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[rows, labels])

    assert gradient == pytest.approx((exact(2.0 + 1e-4) - exact(2.0 - 1e-4)) / 2e-4, rel=1e-3)


MISTAKES = [
    (
        lambda x, w, y: margin_softmax(x, w, y[:1], ArcFace()),
        ValueError,
        "one label a sample. Received: 1 labels for 6",
    ),
    (lambda x, w, y: margin_softmax(x, w, y[:3], ArcFace()), ValueError, "3 labels for 6 samples"),
    (lambda x, w, y: margin_softmax(x[:, :4], w, y, ArcFace()), ValueError, r"\(batch, 5\).*\(6, 4\)"),
    (lambda x, w, y: margin_softmax(x, w, y, "arcface"), TypeError, "Received: margin='arcface'"),
    (
        lambda x, w, y: margin_softmax(x, w, y, get("adaface"), state=(1.0,)),
        ValueError,
        "AdaFace's state is structured",
    ),
    (
        lambda x, w, y: margin_softmax(x, w, y, get("qamface"), gradient="straight_through"),
        ValueError,
        "gradient='straight_through' takes d target",
    ),
    (lambda x, w, y: margin_softmax(x, w, y - 2**32, ArcFace()), ValueError, "labels that fit int32"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_wrong_input_is_refused(call, error, message):
    """Refuses wrong input."""
    with pytest.raises(error, match=message):
        call(*batch())


def test_empty_batch_gives_an_empty_loss():
    """Returns an empty loss for an empty batch."""
    embeddings, prototypes, labels = batch()
    out = margin_softmax(embeddings[:0], prototypes, labels[:0], ArcFace())
    assert tuple(out.loss.shape) == (0,)
