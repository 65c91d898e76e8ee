"""Heads that meet a part of their classes in each training batch."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km
from keras_margin import losses
from keras_margin.layers import sampling
from keras_margin.optimizers import SGDWithL2

CLASSES, SIZE, BATCH, RATE = 40, 5, 6, 0.25
GENERATOR = np.random.default_rng(5)
EMBEDDINGS = GENERATOR.normal(size=(BATCH, SIZE)).astype("float32")
PROTOTYPES = GENERATOR.normal(size=(CLASSES, SIZE)).astype("float32")
LABELS = np.array([3, 39, 3, 0, 17, 20])

on_tensorflow = pytest.mark.tensorflow_only


def sampled(name="arcface", **options):
    head = km.layers.HEADS[name](CLASSES, **{"sample_rate": RATE, "sample_seed": 1, **options})
    head.build((None, SIZE))
    head.prototypes.assign(PROTOTYPES)
    return head


def rows_of(head, labels):
    labels = ops.array(labels, "int32")
    return sampling.sample_rows(head.prototypes, head.sample_step, head.sample_rate, head.sample_seed, labels)


def classes_used(head, labels=LABELS):
    """The classes of the head's next batch, which stays its next."""
    step = np.array(head.sample_step)
    rows, positions = map(np.asarray, rows_of(head, labels))
    head.sample_step.assign(step)
    chosen = np.argmax(np.all(rows[:, None] == np.array(head.prototypes)[None], axis=2), axis=1)
    np.testing.assert_array_equal(chosen[positions], labels)
    return chosen


def arcface_loss(x, w, positions, margin=0.5, scale=64.0):
    cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
    logits, own = scale * cosines, (np.arange(len(x)), positions)
    angle = np.arccos(cosines[own]) + margin
    logits[own] = scale * np.where(angle > np.pi, -np.cos(angle) - 2, np.cos(angle))
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[own]


@pytest.mark.slow
@on_tensorflow
def test_a_batch_meets_its_own_classes_and_others_at_random():
    """Uses the classes of the batch and others at random."""
    head = sampled()
    seen = []
    for step in range(300):
        head.sample_step.assign(step)
        chosen = classes_used(head)
        assert len(chosen) == 10 == len(set(chosen)) and np.all(np.diff(chosen) > 0)
        assert set(LABELS) <= set(chosen)
        seen.append(chosen)
    counts = np.bincount(np.concatenate(seen), minlength=CLASSES)
    others = np.delete(counts, np.unique(LABELS))
    # 5 of 35 others a batch: 43 of 300 each, with a standard deviation of sqrt(300 p (1 - p)) = 6.
    assert np.all(np.abs(others - 300 * 5 / 35) < 4.5 * 6.1)


@on_tensorflow
def test_the_classes_are_told_by_seed_and_step():
    """Draws the classes by seed and step."""
    draws = {}
    for seed in (1, 2):
        for step in (0, 1):
            head = sampled(sample_seed=seed)
            head.sample_step.assign(step)
            draws[seed, step] = tuple(classes_used(head))
    assert len(set(draws.values())) == 4
    assert draws[1, 0] == tuple(classes_used(sampled(sample_seed=1)))


@pytest.mark.slow
@on_tensorflow
@pytest.mark.parametrize("implementation", ["reference", "fused", "streaming"])
def test_the_loss_is_the_formula_over_the_classes_used(implementation):
    """Computes the formula over the classes used."""
    import tensorflow as tf

    head = sampled(implementation=implementation)
    chosen = classes_used(head)
    with tf.GradientTape() as tape:
        value = head.compute_loss(EMBEDDINGS, LABELS, training=True)
    gradient = tape.gradient(value, head.prototypes.value)
    assert int(head.sample_step) == 1
    positions = np.searchsorted(chosen, LABELS)
    wanted = arcface_loss(EMBEDDINGS.astype("float64"), PROTOTYPES[chosen].astype("float64"), positions)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert isinstance(gradient, tf.IndexedSlices)
    np.testing.assert_array_equal(gradient.indices, chosen)


@on_tensorflow
def test_evaluation_meets_every_class_and_draws_none():
    """Uses every class in evaluation, and draws none."""
    head = sampled()
    value = head.compute_loss(EMBEDDINGS, LABELS)
    wanted = arcface_loss(EMBEDDINGS.astype("float64"), PROTOTYPES.astype("float64"), LABELS)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert int(head.sample_step) == 0


@pytest.mark.slow
@on_tensorflow
@pytest.mark.parametrize("name", [name for name in km.layers.HEADS if name not in ("softmax", "l2softmax", "lsoftmax")])
def test_every_head_samples_as_a_head_of_the_classes_used(name):
    """Computes in every head the loss of a head of the classes used."""
    auxiliary_loss = losses.IAM(0.1)
    head = km.layers.HEADS[name](CLASSES, sample_rate=RATE, auxiliary_loss=auxiliary_loss)
    head.build((None, SIZE))
    shape = tuple(head.prototypes.shape)
    generator = np.random.default_rng(2)
    head.prototypes.assign(generator.normal(size=shape))
    rows, positions = rows_of(head, LABELS)
    head.sample_step.assign(0)
    small = km.layers.HEADS[name](rows.shape[0], auxiliary_loss=auxiliary_loss)
    small.build((None, SIZE))
    small.prototypes.assign(rows)
    found = head.compute_loss(EMBEDDINGS, LABELS, training=True)
    wanted = small.compute_loss(EMBEDDINGS, positions, training=True)
    # IAM divides by the classes there are: log(C - 1) of them, of which the loss holds 0.1.
    shift = 0.1 * (np.log(CLASSES - 1) - np.log(rows.shape[0] - 1))
    np.testing.assert_allclose(found, np.asarray(wanted) - shift, rtol=1e-5)


def test_a_rate_of_one_is_the_full_loss_and_leaves_no_trace():
    """Computes the full loss at a rate of one, and adds no state."""
    full, head = km.ArcFaceHead(CLASSES), km.ArcFaceHead(CLASSES, sample_rate=1)
    for each in (full, head):
        each.build((None, SIZE))
        each.prototypes.assign(PROTOTYPES)
    found, wanted = (each.compute_loss(EMBEDDINGS, LABELS, training=True) for each in (head, full))
    np.testing.assert_array_equal(ops.convert_to_numpy(found), ops.convert_to_numpy(wanted))
    assert len(head.weights) == 1


def model_of(head, optimizer=None):
    model = km.EmbeddingModel(keras.Sequential([keras.Input((SIZE,)), keras.layers.Activation("linear")]), head)
    model.compile(optimizer or SGDWithL2(0.1, momentum=0.9, l2=0.01), jit_compile=False)
    return model


@pytest.mark.slow
@on_tensorflow
def test_fit_moves_the_rows_it_met_and_no_other():
    """Moves in fit the rows that were used, and no other."""
    model = model_of(sampled())
    chosen = classes_used(model.head)
    model.train_on_batch(EMBEDDINGS, LABELS)
    velocity = np.array(model.optimizer.momentums[0])
    for moved in (np.array(model.head.prototypes) - PROTOTYPES, velocity):
        np.testing.assert_array_equal(np.flatnonzero(np.any(moved != 0, axis=1)), chosen)


@pytest.mark.slow
@on_tensorflow
def test_training_goes_on_from_a_file_as_if_it_had_not_stopped(tmp_path):
    """Continues from a file as if training had not stopped."""
    straight = model_of(sampled())
    losses_straight = [straight.train_on_batch(EMBEDDINGS, LABELS) for _ in range(4)]
    model = model_of(sampled())
    for _ in range(2):
        model.train_on_batch(EMBEDDINGS, LABELS)
    model.save(tmp_path / "half.keras")
    again = keras.saving.load_model(tmp_path / "half.keras")
    assert int(again.head.sample_step) == 2
    np.testing.assert_allclose([again.train_on_batch(EMBEDDINGS, LABELS) for _ in range(2)], losses_straight[2:])


@pytest.mark.slow
@on_tensorflow
def test_two_replicas_add_up_the_rows_of_both():
    """Adds up the rows of both replicas."""
    import tensorflow as tf

    from keras_margin import training

    with training.make_strategy(2).scope():
        model = model_of(sampled(), SGDWithL2(0.1, momentum=0.9, l2=0.01))
    wanted = np.zeros_like(PROTOTYPES, "float64")
    touched = set()
    for half in (slice(0, 3), slice(3, 6)):
        alone = sampled()
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(alone.compute_loss(EMBEDDINGS[half], LABELS[half], training=True)) / BATCH
        gradient = tape.gradient(value, alone.prototypes.value)
        np.add.at(wanted, gradient.indices.numpy(), gradient.values.numpy())
        touched |= set(gradient.indices.numpy())
    rows = sorted(touched)
    wanted[rows] += 0.01 * PROTOTYPES[rows]
    model.fit(EMBEDDINGS, LABELS, batch_size=BATCH, shuffle=False, verbose=0)
    moved = np.array(model.get_weights()[0]) - PROTOTYPES
    np.testing.assert_allclose(moved, -0.1 * wanted, atol=2e-6)
    assert not np.any(np.delete(moved, rows, axis=0))


MISUSES = [
    ({"sample_rate": 0.0}, "sample_rate in"),
    ({"sample_rate": 10}, "If that is a percentage, pass 0.1"),
    ({"sample_seed": -1, "sample_rate": 0.1}, "sample_seed"),
]


@pytest.mark.parametrize(("options", "message"), MISUSES)
def test_a_rate_out_of_range_is_refused(options, message):
    """Refuses a rate out of range."""
    with pytest.raises(ValueError, match=message):
        km.ArcFaceHead(CLASSES, **options)


@on_tensorflow
def test_what_needs_every_class_is_refused():
    """Refuses options that need every class."""
    with pytest.raises(ValueError, match="SoftmaxHead has a weight a class"):
        km.SoftmaxHead(CLASSES, sample_rate=RATE)
    with pytest.raises(ValueError, match="auxiliary_loss compares every prototype"):
        km.ArcFaceHead(CLASSES, sample_rate=RATE, auxiliary_loss=losses.IAM(0.1) + losses.InterLoss())
    with pytest.raises(ValueError, match=r"head\(embeddings, labels\) uses them all"):
        sampled()(EMBEDDINGS, ops.array(LABELS), training=True)
    head = sampled()
    loss = head.loss
    with pytest.raises(ValueError, match="head.loss uses them all"):
        loss(ops.array(LABELS), head(EMBEDDINGS, training=True))


@on_tensorflow
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        lambda: keras.optimizers.Adam(),
        lambda: keras.optimizers.LossScaleOptimizer(SGDWithL2(0.1)),
        lambda: SGDWithL2(0.1, gradient_accumulation_steps=2),
    ],
)
def test_an_optimiser_that_would_touch_every_row_is_refused(optimizer):
    """Refuses an optimizer that would change every row."""
    with pytest.raises(ValueError, match="SGDWithL2 without gradient_accumulation_steps"):
        model_of(sampled(), optimizer())


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="of the other backends")
def test_other_backends_refuse_to_sample():
    """Refuses to sample on other backends."""
    with pytest.raises(NotImplementedError, match="needs TensorFlow"):
        km.ArcFaceHead(CLASSES, sample_rate=RATE)
