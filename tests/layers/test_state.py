"""What heads learn besides their prototypes: lambda's step, running statistics; when they move, and that they last."""

import keras
import numpy as np
import pytest
from gradients import relative_error
from head_formulas import batch, exactly, gradients_of, loss_implementations, make, reference
from keras import ops

import keras_margin as km
from keras_margin.margins import AdaFace
from keras_margin.ops.sample import Sample

JIT = keras.backend.backend() == "jax"


def ways_of_use(head, embeddings, labels):
    """One batch by each way of use, as functions of `training`."""
    labels = ops.array(labels, "int32")
    return {
        "compute_loss": lambda training: head.compute_loss(embeddings, labels, training=training),
        "logits": lambda training: head(embeddings, labels, training=training),
        "loss on cosines": lambda training: head.loss(labels, head(embeddings, training=training)),
    }


def state_of(head):
    return {weight.name: float(ops.convert_to_numpy(weight)) for weight in head.non_trainable_variables}


# The state after one training batch, from `make`'s own.
def after_lambda(embeddings, cosine, state):
    return {"step": state["step"] + 1, "batch": 0}


def after_adaface(embeddings, cosine, state):
    length = np.clip(np.linalg.norm(embeddings, axis=1), 0.001, 100)
    mean, std = length.mean(), np.sqrt(np.sum((length - length.mean()) ** 2) / (len(length) - 1))
    return {"norm_mean": 0.99 * state["norm_mean"] + 0.01 * mean, "norm_std": 0.99 * state["norm_std"] + 0.01 * std}


def after_curricularface(embeddings, cosine, state):
    return {"t": 0.99 * state["t"] + 0.01 * cosine.mean()}


AFTER = {
    "sphereface": after_lambda,
    "lsoftmax": after_lambda,
    "adaface": after_adaface,
    "curricularface": after_curricularface,
}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["compute_loss", "logits", "loss on cosines"])
@pytest.mark.parametrize("name", AFTER)
def test_state_moves_once_for_each_training_batch(name, way):
    """Moves the state with training batches alone, once each, in every way of use."""
    head = make(name)
    embeddings, prototypes, labels = batch(head)
    head.prototypes.assign(prototypes)
    x, w = exactly(embeddings, prototypes)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, w[labels])]
    call = ways_of_use(head, embeddings, labels)[way]
    for _ in range(2):
        before = state_of(head)
        call(training=False)
        assert state_of(head) == before
        call(training=True)
        wanted = AFTER[name](x, np.sum(unit[0] * unit[1], axis=1), before)
        assert state_of(head) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "state"), [("adaface", ("norm_mean", "norm_std")), ("curricularface", ("t",))])
def test_a_batch_sees_its_own_statistics_without_gradient(name, state):
    """Uses the statistics that a training batch has just moved, without a gradient through them."""
    head = make(name, momentum=0.5)
    embeddings, prototypes, labels = batch(head)
    label_tensor = ops.array(labels, "int32")
    start = head.get_weights()
    value, gradients = gradients_of(
        head, lambda x: head.compute_loss(x, label_tensor, training=True), embeddings, prototypes
    )
    head.set_weights(start)
    head.prototypes.assign(prototypes)
    head.compute_loss(embeddings, labels, training=True)
    moved = state_of(head)
    assert all(abs(moved[each] - dict(zip(state, start[1:], strict=True))[each]) > 0.01 for each in state)
    settled, wanted = gradients_of(head, loss_implementations(head, labels)["compute_loss"], embeddings, prototypes)
    np.testing.assert_allclose(value, settled, rtol=1e-6)
    assert all(relative_error(found, want) < 1e-6 for found, want in zip(gradients, wanted, strict=True))


def test_adaface_leaves_its_std_alone_on_a_batch_of_one():
    """A batch of one valid sample moves the mean alone, one without a valid sample nothing."""
    cosine, norm = ops.array([0.1, 0.2], "float32"), ops.array([4.0, 50.0])
    state = AdaFace().initial_state()._replace(norm_mean=ops.array(2.2), norm_std=ops.array(0.7))
    one = AdaFace().update_state(state, Sample(cosine, cosine, norm, None, ops.array([True, False])))
    found = [float(ops.convert_to_numpy(value)) for value in one]
    assert found == pytest.approx([0.99 * 2.2 + 0.01 * 4, 0.7], rel=1e-6)
    none = AdaFace().update_state(state, Sample(cosine, cosine, norm, None, ops.array([False, False])))
    assert [float(ops.convert_to_numpy(value)) for value in none] == pytest.approx([2.2, 0.7], rel=1e-7)


def test_lambda_counts_updates_under_accumulation():
    """Twelve batches of four an update are three updates; the first batch of an update begins it."""
    head = make("sphereface", gradient_accumulation_steps=4)
    embeddings, _, labels = batch(head)
    steps = []
    for _ in range(12):
        head.compute_loss(embeddings, labels, training=True)
        steps.append(int(ops.convert_to_numpy(head.state.step)))
    assert steps == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert head.annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 3), rel=1e-6)


def test_lambda_goes_on_when_accumulation_changes():
    """Lambda stays where it is when training goes on with another number of batches an update."""
    head = make("sphereface")
    head.state.step.assign(1000)
    before = head.annealing_lambda
    head.margin = head.margin.with_accumulation(8)
    assert head.annealing_lambda == before == pytest.approx(1000 / (1 + 0.12 * 1000), rel=1e-6)


def test_first_update_trains_at_step_one():
    """The released code counts before it computes lambda: the first training batch sees 1000 / 1.12."""
    head = make("sphereface", lambda_min=0.0, base=1.0)
    embeddings, prototypes, labels = batch(head)
    head.prototypes.assign(prototypes)
    found = ops.convert_to_numpy(head.compute_loss(embeddings, labels, training=True))
    again = make("sphereface", lambda_min=0.0, base=1 / 1.12)
    again.prototypes.assign(prototypes)
    wanted = ops.convert_to_numpy(again.compute_loss(embeddings, labels))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_lambda_enters_the_loss():
    """Uses lambda in the loss."""
    head = make("sphereface")
    embeddings, prototypes, labels = batch(head)
    head.prototypes.assign(prototypes)
    start = ops.convert_to_numpy(head.compute_loss(embeddings, labels))
    head.state.step.assign(10_000)
    end = ops.convert_to_numpy(head.compute_loss(embeddings, labels))
    wanted = reference("sphereface", embeddings, labels)(*exactly(embeddings, prototypes))
    np.testing.assert_allclose(start, wanted, rtol=1e-5)
    assert head.annealing_lambda == 5.0 and np.all(end > start + 0.01)


# --- Files, interruptions, replicas ---------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).normal(size=(24, 5)).astype("float32")
LABELS = np.arange(24) % 7


def model_of(name):
    model = km.EmbeddingModel(keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)]), km.layers.HEADS[name](7))
    model.compile(keras.optimizers.SGD(0.01), jit_compile=JIT)
    return model


def identity():
    return keras.layers.Activation("linear")


def by_cosines(head):
    model = keras.Sequential([keras.Input((5,)), identity(), head])
    return model, {"loss": head.loss}, IMAGES


def by_logits(head):
    image, label = keras.Input((5,)), keras.Input((), dtype="int32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.Model([image, label], head(identity()(image), label)), {"loss": loss}, [IMAGES, LABELS]


def by_embedding_model(head):
    return km.EmbeddingModel(keras.Sequential([keras.Input((5,)), identity()]), head), {}, IMAGES


@pytest.mark.slow
@pytest.mark.parametrize("way", [by_cosines, by_logits, by_embedding_model])
def test_fit_updates_the_statistics_once_a_batch(way):
    """Updates the statistics in fit once a batch, in every way of use."""
    wanted = {"norm_mean": 20.0, "norm_std": 100.0}
    for start in (0, 8, 16):
        wanted = after_adaface(IMAGES[start : start + 8].astype("float64"), None, wanted)
    head = km.AdaFaceHead(7)
    model, losses, x = way(head)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=JIT, **losses)
    model.fit(x, LABELS, batch_size=8, shuffle=False, verbose=0)
    model.evaluate(x, LABELS, verbose=0)
    assert state_of(head) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_state_survives_an_interruption_and_save_weights(tmp_path):
    """Restores the state after an interruption and from save_weights."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    model = model_of("sphereface")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        model.fit(IMAGES, LABELS, batch_size=8, epochs=4, callbacks=[backup, Stop()], verbose=0)
    again = model_of("sphereface")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    again.fit(IMAGES, LABELS, batch_size=8, epochs=4, callbacks=[backup], verbose=0)
    # Two epochs of three batches before the interruption, two after.
    assert int(again.head.state.step) == 12
    again.save_weights(tmp_path / "model.weights.h5")
    fresh = model_of("sphereface")
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert fresh.head.annealing_lambda == again.head.annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 12), rel=1e-6)


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("name", ["sphereface", "adaface"])
def test_two_replicas_keep_the_state_of_one(name):
    """Keeps the state of one device on two replicas."""
    import tensorflow as tf

    from keras_margin import training

    def trained(strategy):
        with strategy.scope():
            keras.utils.set_random_seed(1)
            model = model_of(name)
        model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0)
        return model

    one = trained(tf.distribute.get_strategy())
    two = trained(training.make_strategy(2))
    assert state_of(two.head) == pytest.approx(state_of(one.head), rel=1e-5)
    assert state_of(one.head).get("step", 3) == 3
    for found, wanted in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    for weight in two.head.non_trainable_variables:
        copies = {float(copy) for copy in weight.value.values}
        assert len(copies) == 1
