"""What a recipe's keys do to an update: each against its formula in float64, and two replicas against one device."""

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import training_runs  # noqa: E402

from keras_margin import callbacks, layers, losses, margins, models, training  # noqa: E402
from keras_margin.training import _building  # noqa: E402

pytestmark = pytest.mark.tensorflow_only


def recipe_of(**changes):
    """An ArcFace on `small`, plain but for the changes."""
    plain = {"head": "arcface", "steps": 8, "decay_steps": (), "decay": "constant", "weight_decay": 0.0}
    return training_runs.recipe_of(**{**plain, "backbone_options": (("dropout", 0.0),), **changes})


class Watch(callbacks.RunCallback):
    """Notes every update: loss, embeddings, labels, and the weights after it."""

    def __init__(self):
        super().__init__()
        self.losses, self.embeddings, self.labels, self.weights = [], [], [], []
        self.before = [0, 0.0, 0.0]

    def on_train_begin(self, logs=None):
        self.weights.append([weight.numpy() for weight in self.model.embedder.weights])

    def on_train_batch_end(self, batch, logs=None):
        run = self.run
        self.losses.append(logs.totals()[1] - self.before[1])
        self.before = logs.totals()
        self.embeddings.append(run.embeddings.numpy())
        self.labels.append(run.batch[1].numpy())
        self.weights.append([weight.numpy() for weight in self.model.embedder.weights])


def watched(**changes):
    watch = Watch()
    trained = training.fit(recipe_of(**changes), training_runs.reader_of(), seed=3, callbacks=[watch])
    return trained, watch


def arcface_loss(embeddings, labels, prototypes, margin, scale):
    """-log of the softmax at scale cos(theta + margin), where theta + margin < pi; float64."""
    x, w = np.float64(embeddings), np.float64(prototypes)
    x, w = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, w))
    theta = np.arccos(x @ w.T)
    rows = np.arange(len(x))
    assert (theta[rows, labels] + margin < np.pi).all()
    theta[rows, labels] += margin
    logits = scale * np.cos(theta)
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[rows, labels])


@pytest.mark.slow
def test_margin_and_scale_rise_in_a_line_and_stay():
    """Raises margin and scale in a line, and keeps them."""
    numbers = {"head_options": (("margin", 0.4), ("scale", 16.0)), "learning_rate": 1e-12}
    trained, watch = watched(margin_warmup_steps=4, scale_warmup_steps=5, scale_start=2.0, **numbers)
    prototypes = trained.model.head.prototypes.numpy()
    for step, (loss, embeddings, labels) in enumerate(zip(watch.losses, watch.embeddings, watch.labels, strict=True)):
        margin, scale = 0.4 * min(1, step / 4), 2.0 + 14.0 * min(1, step / 5)
        wanted = arcface_loss(embeddings, labels, prototypes, margin, scale)
        assert loss == pytest.approx(wanted, rel=1e-5), step
    # The head is as it was: it is saved with its own numbers.
    assert (trained.model.head.margin, trained.model.head.scale) == (margins.ArcFace(0.4), 16.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"head": "sphereface", "margin_warmup_steps": 2},
            "head='sphereface'. A margin that anneals by its own",
        ),
        (
            {"head": "normsoftmax", "head_options": (), "margin_warmup_steps": 2},
            "head='normsoftmax'. Softmax has no margin",
        ),
        (
            {"head": "qamface", "head_options": (), "scale_warmup_steps": 2},
            "scale_warmup_steps=2 does not go with head='qamface'. .* plain cosines",
        ),
        ({"auxiliary_losses": (("intre", ()),)}, "Unknown auxiliary loss 'intre'. Known ones: .*inter, intra"),
        ({"freeze": ("stem*",)}, r"freeze='stem\*' matches no layer. .*: first, norm, slope, last"),
    ],
)
def test_what_a_head_or_backbone_has_not_is_refused(changes, message):
    """Refuses a setting that the head or backbone lacks."""
    with pytest.raises(ValueError, match=message):
        _building.build_model(recipe_of(**changes), 4)


# Half of the way from no margin to each head's own, in numbers.
HALF = {
    "arcface": {"margin": 0.25},
    "cosface": {"margin": 0.175},
    "sphereface_arccos": {"margin": 1.175},
    "combined": {"m1": 1.0, "m2": 0.15, "m3": 0.1},
    "qamface": {"margin": 0.25},
    "adaface": {"margin": 0.2},
    "magface": {"lower_margin": 0.225, "upper_margin": 0.4},
    "curricularface": {"margin": 0.25},
    "subcenter_arcface": {"margin": 0.25},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HALF)
def test_the_ramp_reaches_every_head_with_a_margin(name):
    """At half of the warm-up a head computes the loss of one that was made with half of its margin."""
    from keras_margin.training import _ramps

    embeddings = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    head, half = layers.get(name, 6), layers.get(name, 6, **HALF[name])
    recipe = recipe_of(head=name, head_options=(), margin_warmup_steps=4)
    for each in (head, half):
        each.build((None, 4))
    half.set_weights(head.get_weights())

    @tf.function(autograph=False)
    def loss(step):
        margin, scale = _ramps.margin_and_scale(recipe, head, *_ramps.fractions_of_tensor(recipe, step))
        return head.loss_and_correct(embeddings, np.arange(5), margin=margin, scale=scale)[0]

    np.testing.assert_allclose(loss(tf.constant(2.0)), half.compute_loss(embeddings, np.arange(5)), rtol=1e-5)
    np.testing.assert_allclose(loss(tf.constant(9.0)), head.compute_loss(embeddings, np.arange(5)), rtol=1e-5)


@pytest.mark.slow
def test_the_backbones_gradient_is_clipped_as_one_vector():
    """Clips the backbone's gradient as one vector, and leaves the prototypes' as it is.

    w' = w - rate g min(1, limit / |g|) for all of the backbone, |g| over all of it; w' = w - rate g for the head.

    Of the whole batch: two replicas as one device.
    """
    steps = []
    for limit, replicas in ((0.0, 1), (0.05, 1), (0.05, 2)):
        recipe = recipe_of(clip_norm=limit, momentum=0.0, steps=1, learning_rate=0.5)
        strategy = training.make_strategy(replicas)
        keras.utils.set_random_seed(3)
        with strategy.scope():
            before = [weight.numpy() for weight in _building.build_model(recipe, 6).trainable_variables]
        trained = training.fit(recipe, training_runs.reader_of(), seed=3, strategy=strategy)
        after = [weight.numpy() for weight in trained.model.trainable_variables]
        steps.append([np.float64(new) - old for new, old in zip(after, before, strict=True)])
    free, *both = steps
    *backbone, head = free
    norm = np.sqrt(sum(np.sum((step / 0.5) ** 2) for step in backbone))
    assert norm > 0.1
    for limited in both:
        for found, wanted in zip(limited, [*(step * 0.05 / norm for step in backbone), head], strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-7)


@pytest.mark.slow
def test_the_running_mean_follows_its_formula(monkeypatch):
    """Returns the running mean of the weights, by its formula.

    mean = m mean + (1 - m) w, m = min(0.8, (1 + t) / (10 + t)); t counts updates, this one included.
    """
    from keras_margin.training import _step

    traces = []

    class Counted(_step.Step):
        def __call__(self, images, labels):
            found = super().__call__(images, labels)
            traces.append(self.traces)
            return found

    monkeypatch.setattr(_step, "Step", Counted)
    trained, watch = watched(ema=0.8)
    # And all of it is one program, traced at the first update.
    assert traces == [1] * 8
    mean = [np.float64(weight) for weight in watch.weights[0]]
    for step, weights in enumerate(watch.weights[1:], 1):
        momentum = min(0.8, (1 + step - 1) / (10 + step - 1))
        mean = [momentum * old + (1 - momentum) * new for old, new in zip(mean, weights, strict=True)]
    for found, wanted in zip(trained.model.embedder.weights, mean, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5, err_msg=found.path)


@pytest.mark.slow
def test_frozen_layers_keep_weights_and_statistics(tmp_path):
    """Keeps the weights and statistics of frozen layers."""
    trained, watch = watched(freeze=("first", "no*"))
    moved = {
        weight.path: not np.array_equal(old, weight.numpy())
        for old, weight in zip(watch.weights[0], trained.model.embedder.weights, strict=True)
    }
    frozen = [path for path in moved if path.startswith(("first", "norm"))]
    assert len(frozen) == 6 and not any(moved[path] for path in frozen)
    assert all(moved[path] for path in moved if path not in frozen)
    # Fine-tuning begins with the weights of another run.
    trained.model.save(tmp_path / "model.keras")
    recipe = recipe_of(weights=str(tmp_path), head="cosface")
    again = _building.build_model(recipe, 9)
    for one, other in zip(again.embedder.weights, trained.model.embedder.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    with pytest.raises(ValueError, match="weights=.* are of another network: .* has the shape"):
        _building.build_model(recipe.replace(image_size=(6, 6)), 9)
    with pytest.raises(FileNotFoundError, match="weights='/nowhere': there is no /nowhere"):
        _building.build_model(recipe.replace(weights="/nowhere"), 9)


@pytest.mark.parametrize(
    ("exclude", "decaying"),
    [(("alpha", "beta", "bias", "gamma"), {"kernel"}), (("bias",), {"kernel", "alpha", "beta", "gamma"})],
)
def test_a_recipes_decay_is_added_to_the_gradient(exclude, decaying):
    """Adds a recipe's decay to the gradient of the weights that it names.

    Of no gradient: v = -rate l2 w, then v = 0.9 v - rate l2 w; prototypes decay too.
    """
    network = _building.build_model(recipe_of(weight_decay=0.2, learning_rate=0.5, decay_exclude=exclude), 4)
    for weight in network.trainable_variables:
        weight.assign(weight + 1.0)
    before = [np.float64(weight.numpy()) for weight in network.trainable_variables]
    network.optimizer.build(network.trainable_variables)
    for _ in range(2):
        network.optimizer.apply([tf.zeros(weight.shape) for weight in network.trainable_variables])
    assert {weight.name for weight in network.trainable_variables} == {"kernel", "bias", "gamma", "beta", "alpha"} | {
        "prototypes"
    }
    for weight, w in zip(network.trainable_variables, before, strict=True):
        first = -0.5 * 0.2 * w
        second = 0.9 * first - 0.5 * 0.2 * (w + first)
        wanted = w + first + second if weight.name in {*decaying, "prototypes"} else w
        np.testing.assert_allclose(weight.numpy(), wanted, rtol=1e-6, err_msg=weight.path)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_learns_and_leaves_the_head_in_float32(precision):
    """float16 with loss scaling, bfloat16 without: 40 updates halve the loss, and nothing is NaN."""
    recipe = recipe_of(precision=precision, steps=40)
    trained = training.fit(recipe, training_runs.reader_of(), seed=3, reports=4)
    losses = [logs["loss"] for _, logs in trained.history]
    assert np.isfinite(losses).all() and losses[-1] < 0.5 * losses[0]
    assert trained.model.embedder.layers[-1].compute_dtype == precision.removeprefix("mixed_")
    assert trained.model.head.prototypes.dtype == "float32"
    assert all(np.isfinite(weight.numpy()).all() for weight in trained.model.weights)
    assert hasattr(trained.model.optimizer, "dynamic_scale") == (precision == "mixed_float16")


@pytest.mark.slow
def test_batches_that_are_short_count_by_their_samples():
    """Two replicas, batches of 8, of 7, and of 1, which leaves a replica none: loss, accuracy, weights, lambda."""
    found = []
    images, labels = training_runs.reader_of(16).arrays()
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    batches = data.take(8).batch(8).concatenate(data.skip(8).take(7).batch(8)).concatenate(data.skip(15).batch(8))
    for replicas in (1, 2):
        keras.utils.set_random_seed(5)
        with training.make_strategy(replicas).scope():
            head = layers.SphereFaceHead(6, scale=16.0, auxiliary_loss=losses.IAM(0.1))
            network = models.EmbeddingModel(training_runs.small((8, 8), dropout=0.0), head)
            network.compile(keras.optimizers.SGD(0.1, momentum=0.9), jit_compile=False)
        history = network.fit(batches, epochs=2, shuffle=False, verbose=0).history
        found.append((history, [weight.numpy() for weight in network.weights], head.annealing_lambda))
    (one, weights, annealing), (two, others, same) = found
    assert annealing == same == pytest.approx(1000 / (1 + 0.12 * 6))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=2e-5, err_msg=name)
    for wanted, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(other, wanted, rtol=1e-5, atol=2e-5)
