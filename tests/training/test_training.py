"""Training: two replicas equal one device, every step is run, a seed decides all, and errors say what to do."""

import contextlib
import io
import re

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_margin import layers, models, recipes, training
from keras_margin.data import ArrayReader
from keras_margin.data.augmentation import Augmentation
from keras_margin.models import backbones
from keras_margin.training import _batches, _building, _errors
from keras_margin.training._progress import ProgressBar

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow_only

CLASSES, SIDE = 6, 16


def reader_of(num_images=48, num_classes=CLASSES, bad_label=None):
    """Noisy colours, a class each."""
    generator = np.random.default_rng(0)
    labels = np.arange(num_images) % num_classes
    colors = generator.integers(40, 215, (num_classes, 1, 1, 3))
    images = np.clip(colors[labels] + generator.normal(0, 40, (num_images, SIDE, SIDE, 3)), 0, 255)
    reader = ArrayReader(images.astype("uint8"), labels, [f"person {label}" for label in range(num_classes)])
    if bad_label is not None:
        reader.labels = np.where(np.arange(num_images) == 5, bad_label, labels).astype("int32")
    return reader


def tiny(image_size, **options):
    """One unit of IR-ResNet between stem and tail: a layer of each kind that the large ones have."""
    return backbones.ir_resnet((1,), widths=(8,), image_size=image_size, embedding_size=8, **options)


def dense(image_size, dropout=0.0):
    """Pixels to embeddings in one product: the fastest thing that trains."""
    inputs = keras.Input((*image_size, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(inputs))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Dropout(dropout)(x)))


@pytest.fixture(scope="module", autouse=True)
def small_backbones():
    """`tiny` and `dense` among the names that a recipe can choose."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny)
        patch.setitem(backbones.BACKBONES, "dense", dense)
        yield


def recipe_of(**changes):
    plain = {
        "name": "test",
        "source": "",
        "head_options": (("scale", 16.0),),
        "backbone": "dense",
        "image_size": (SIDE, SIDE),
        "batch_size": 16,
        "steps": 10,
        "learning_rate": 0.05,
        "augmentation": Augmentation(flip=True, contrast=0.2),
    }
    return recipes.Recipe(plain.pop("name"), plain.pop("source")).replace(**{**plain, **changes})


def weights_of(network):
    return {weight.path: np.array(weight) for weight in network.weights if "seed" not in weight.path}


# --- Two replicas ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """The same ten steps on one device and on two, and the network before the first."""
    # SphereFace, for it counts its steps; to scale, for its own scale makes the ten steps wild.
    head = {"head": "sphereface", "head_options": (("scale", 16.0),)}
    recipe = recipe_of(backbone="tiny", backbone_options=(("dropout", 0.0),), **head)
    # Rounding grows a hundredfold over these steps. Of the seeds 7 to 10, 7 carries it, from 2e-7 after the first step
    # to 4e-5, over the bound in one of eight variances; the other three end at a third of the bound or less.
    keras.utils.set_random_seed(8)
    before = weights_of(tiny((SIDE, SIDE)))
    options = {"seed": 8, "reports": 10}
    one = training.fit(recipe, reader_of(), **options)
    two = training.fit(recipe, reader_of(), strategy=training.make_strategy(2), **options)
    return before, one, two


@pytest.mark.slow
def test_two_replicas_take_the_steps_of_one_device(trained):
    """Takes the steps of one device on two replicas."""
    before, one, two = trained
    assert [step for step, _ in two.history] == list(range(1, 11))
    for name in ("loss", "accuracy"):
        found, wanted = ([logs[name] for _, logs in each.history] for each in (two, one))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    # An average is over the steps since the last report; each of these is one step's own.
    losses = [logs["loss"] for _, logs in one.history]
    assert len(set(losses)) == 10 and losses[-1] < losses[0]
    found, wanted = weights_of(two.model.embedder), weights_of(one.model.embedder)
    assert found.keys() == wanted.keys()
    for path in wanted:
        # Variances reach a hundred; 1e-5 of them is their rounding.
        np.testing.assert_allclose(found[path], wanted[path], rtol=1e-5, atol=1e-4, err_msg=path)
    assert {path.rpartition("/")[2] for path in found} >= {"kernel", "alpha", "gamma", "moving_mean", "moving_variance"}
    assert all(np.abs(found[path] - before[path]).max() > 1e-3 for path in found if "conv/kernel" in path)
    assert all(np.all(found[path] != before[path]) for path in found if "moving_mean" in path)
    np.testing.assert_allclose(two.model.head.prototypes, one.model.head.prototypes, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_lambda_advances_once_a_step_on_two_replicas(trained):
    """Moves lambda once a step on two replicas."""
    for each in trained[1:]:
        # max(5, 1000 (1 + 0.12 step)^-1) after ten steps.
        assert each.model.head.annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 10), rel=1e-6)
        assert np.array(each.model.optimizer.iterations) == 10


@pytest.mark.slow
def test_every_replica_holds_the_same_moving_statistics(trained):
    """Keeps the same moving statistics on every replica."""
    _, _, two = trained
    statistics = [weight for weight in two.model.non_trainable_variables if "moving" in weight.path]
    # Seven batch norms, in the stem, the unit (three), its shortcut, the tail and the embedding: a mean and a variance.
    assert len(statistics) == 2 * 7
    for weight in statistics:
        first, second = (copy.numpy() for copy in weight.value.values)
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_predictions_inside_outside_and_read_back_agree(trained, tmp_path):
    """Predicts the same inside, outside and after reading back."""
    _, one, two = trained
    images, _ = reader_of(20).arrays()
    outside = two.model.predict(images, batch_size=8, verbose=0)
    with training.make_strategy(2).scope():
        inside = two.model.predict(images, batch_size=8, verbose=0)
    two.model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").predict(images, batch_size=8, verbose=0)
    for found in (inside, again, two.model.embedder(images, training=False)):
        np.testing.assert_allclose(found, outside, rtol=0, atol=1e-5)
    np.testing.assert_allclose(outside, one.model.embedder(images, training=False), rtol=0, atol=1e-3)


def foreign(strategy):
    """A network of somebody else's, with Keras's own batch norm, after six steps on batches of unlike halves."""
    keras.utils.set_random_seed(3)
    generator = np.random.default_rng(0)
    labels = np.tile(np.arange(8) % 4, 6)
    # The second half of each batch, another replica's share, is elsewhere and wider.
    second = np.tile(np.arange(8) >= 4, 6)[:, None]
    x = np.where(second, 3.0, 1.0) * generator.normal(size=(48, 5)) + 2.0 * second + labels[:, None]
    with strategy.scope():
        inputs = keras.Input((5,))
        hidden = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Dense(6)(inputs))
        network = keras.Model(inputs, keras.layers.Dense(3)(hidden))
        whole = models.EmbeddingModel(network, layers.ArcFaceHead(4, scale=8.0))
        whole.compile(keras.optimizers.SGD(0.05), jit_compile=False)
    whole.fit(x.astype("float32"), labels.astype("int32"), batch_size=8, shuffle=False, verbose=0)
    return [np.array(weight) for weight in whole.weights], np.array(network(x.astype("float32"), training=False))


@pytest.mark.slow
def test_plain_batch_norm_is_synchronized_too(monkeypatch):
    """Synchronizes a foreign network with plain batch normalization too."""
    alone, embeddings = foreign(training.make_strategy(1))
    together, same_embeddings = foreign(training.make_strategy(2))
    for found, wanted in zip(together, alone, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    np.testing.assert_allclose(same_embeddings, embeddings, rtol=0, atol=1e-4)
    # What this test is good for: without the synchronisation it would fail.
    monkeypatch.setattr(models.embedding_model, "synchronize_batch_norm", lambda network: None)
    apart, other_embeddings = foreign(training.make_strategy(2))
    assert max(np.abs(found - wanted).max() for found, wanted in zip(apart, alone, strict=True)) > 0.1
    assert np.abs(other_embeddings - embeddings).max() > 0.1


# --- Steps, seeds, optimisers ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "reports", "noted"), [(7, 3, [2, 4, 7]), (6, 4, [1, 3, 4, 6]), (2, 20, [1, 2])])
def test_all_steps_are_run_and_noted_as_evenly_as_can_be(steps, reports, noted):
    """Runs all steps, and reports them as evenly as possible."""
    trained = training.fit(recipe_of(steps=steps), reader_of(), reports=reports)
    assert int(trained.model.optimizer.iterations) == steps
    assert [step for step, _ in trained.history] == noted
    assert trained.seconds > 0


@pytest.mark.slow
def test_a_seed_decides_the_whole_run_however_often_it_reports():
    """Weights, dropout, order and augmentation; and from report to report the data go on, they do not start again."""
    recipe = recipe_of(backbone_options=(("dropout", 0.5),), steps=6)
    often, once = (training.fit(recipe, reader_of(), seed=11, reports=reports) for reports in (6, 1))
    assert [step for step, _ in once.history] == [6]
    for name in ("loss", "accuracy"):
        wanted = np.mean([logs[name] for _, logs in often.history])
        assert once.history[0][1][name] == pytest.approx(wanted, rel=1e-5)
    for found, wanted in zip(often.model.weights, once.model.weights, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_batches_hold_every_image_once_an_epoch():
    """Yields every image once an epoch, each with its label."""
    labels = np.arange(24) % 4
    images = np.broadcast_to(np.arange(24, dtype="uint8")[:, None, None, None], (24, SIDE, SIDE, 3))
    reader = ArrayReader(images, labels, list("abcd"))
    recipe = recipe_of(batch_size=16, augmentation=Augmentation(flip=True))
    taken = list(_batches.batches(recipe, reader, seed=5).take(3).as_numpy_iterator())
    values = np.concatenate([images[:, 0, 0, 0] for images, _ in taken])
    assert all(images.dtype == np.uint8 and images.shape == (16, SIDE, SIDE, 3) for images, _ in taken)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in taken]), values % 4)
    # 48 images are two epochs; a batch runs across the end of the first.
    assert sorted(values[:24]) == sorted(values[24:]) == list(range(24))


@pytest.mark.slow
def test_a_seed_decides_order_and_augmentation_of_the_batches():
    """Orders and augments the batches by the seed."""

    def taken(seed):
        batches = _batches.batches(recipe_of(), reader_of(), seed).take(4).as_numpy_iterator()
        return np.concatenate([images for images, _ in batches])

    np.testing.assert_array_equal(taken(5), taken(5))
    assert np.abs(taken(5) - taken(6)).max() > 1


def test_sgd_is_the_papers():
    """Trains by the papers' SGD."""
    small = {"backbone": "dense", "image_size": (SIDE, SIDE)}
    recipe = recipes.get("arcface_casia_r50").replace(**small)
    optimizer = _building.build_model(recipe, 5).optimizer
    assert (type(optimizer).__name__, optimizer.momentum, optimizer.l2) == ("SGDWithL2", 0.9, 5e-4)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)


def test_adamw_decays_kernels_alone():
    """Decays kernels with AdamW, and leaves prototypes, scales and slopes."""
    recipe = recipe_of(backbone="tiny", optimizer="adamw", weight_decay=0.1, learning_rate=0.5)
    network = _building.build_model(recipe, CLASSES)
    before = weights_of(network)
    network.optimizer.build(network.trainable_variables)
    network.optimizer.apply([tf.zeros(weight.shape) for weight in network.trainable_variables])
    after = weights_of(network)
    for weight in network.trainable_variables:
        # Without a gradient Adam's own step is 0; decoupled decay takes rate * decay of the weight.
        wanted = before[weight.path] * (1 - 0.5 * 0.1 if weight.name == "kernel" else 1)
        np.testing.assert_allclose(after[weight.path], wanted, rtol=1e-6, err_msg=weight.path)


def test_iam_joins_the_head_where_the_recipe_asks_for_it():
    """Adds IAM to the head where the recipe has it."""
    assert _building.build_model(recipe_of(iam_beta=0.1), 4).head.auxiliary_loss.beta == 0.1
    assert _building.build_model(recipe_of(), 4).head.auxiliary_loss is None


# --- Progress -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_progress_bar_runs_to_its_total():
    """Fills the progress bar to its total."""
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    bar = ProgressBar(7, 16, "learning", console)
    training.fit(recipe_of(steps=7), reader_of(), callbacks=[bar])
    shown = console.file.getvalue()
    assert shown.startswith("learning") and "7/7" in shown and "images/s" in shown
    assert bar.done == 7


@pytest.mark.slow
def test_without_a_terminal_the_progress_is_written_line_by_line(monkeypatch):
    """Writes the progress line by line without a terminal."""
    monkeypatch.setattr(ProgressBar, "SECONDS", 0.0)
    monkeypatch.setattr(ProgressBar, "LINE_SECONDS", 0.0)
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    training.fit(recipe_of(steps=3), reader_of(), callbacks=[ProgressBar(3, 16, "[learning]  ", console)])
    lines = console.file.getvalue().splitlines()
    assert [line.split("  ")[:2] for line in lines] == [["[learning]", f"{step}/3"] for step in (1, 2, 3)]
    # No line is broken at the edge, whatever width a log is said to have.
    assert all(re.search(r"  loss \S+  accuracy \S+  lr \S+  \d+ images/s", line) for line in lines)
    assert lines[1].endswith(" left") and not lines[2].endswith(" left")


# --- Errors ---------------------------------------------------------------------------------------------------------


def test_strategies_that_cannot_be_are_refused(monkeypatch):
    """Refuses impossible strategies."""
    with pytest.raises(ValueError, match="at least one replica. Received: replicas=0"):
        training.make_strategy(0)
    with pytest.raises(ValueError, match="(?s)already running.*not split into 3 logical devices.*before anything comp"):
        training.make_strategy(3)
    assert training.make_strategy(1).num_replicas_in_sync == 1
    assert training.make_strategy(2).num_replicas_in_sync == 2
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    with pytest.raises(ValueError, match="This machine has 1 GPU.* replicas=2"):
        training.make_strategy(2)


def test_a_batch_that_does_not_split_is_refused():
    """Refuses a batch that does not split among the replicas."""
    with pytest.raises(ValueError, match="batch_size=15 does not split evenly over 2 replicas"):
        training.fit(recipe_of(batch_size=15), reader_of(), strategy=training.make_strategy(2))


def test_images_of_another_size_than_the_recipe_s_are_refused():
    """Refuses images of another size than the recipe's."""
    with pytest.raises(ValueError, match=r"'test' takes images of \(8, 8\).*the data have \(16, 16\).*image_size="):
        training.fit(recipe_of(image_size=(8, 8)), reader_of())


def test_fewer_images_than_a_batch_are_refused():
    """Refuses fewer images than a batch."""
    with pytest.raises(ValueError, match="One batch takes 64 images, the training data have 48. Pass a smaller"):
        training.fit(recipe_of(batch_size=64), reader_of())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "vgg"}, "Unknown backbone 'vgg'. Known backbones: .*ir_resnet50"),
        ({"head": "arcfase"}, "(?s)arcfase.*arcface, .*cosface"),
        ({"optimizer": "lion"}, "Unknown optimizer 'lion'. Known optimizers: adamw, sgd."),
    ],
)
def test_unknown_names_list_the_names(changes, message):
    """Lists the names for an unknown one."""
    with pytest.raises(ValueError, match=message):
        _building.build_model(recipe_of(**changes), 4)


@pytest.mark.slow
def test_a_label_out_of_range_is_one_plain_sentence():
    """Explains a label out of range in one sentence."""
    # On one device: an error in one replica aborts TensorFlow's collectives for the rest of the process.
    sentence = r"ArcFaceHead has 6 classes: labels must be in \[0, 5\]. Received: 6 at sample \d+ ?\. Classes are .*"
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with pytest.raises(ValueError, match=f"^{sentence}$"), ProgressBar(10, 16, console=console) as bar:
        training.fit(recipe_of(), reader_of(bad_label=6), callbacks=[bar])
    # The terminal gets its cursor back from the progress bar.
    assert console.file.getvalue().rstrip().endswith("\x1b[?25h")


@pytest.mark.slow
def test_a_network_that_puts_out_nan_is_one_plain_sentence():
    """Explains a network that puts out NaN in one sentence."""
    with pytest.raises(ValueError, match="^ArcFaceHead needs finite embeddings. The network put out NaN"):
        training.fit(recipe_of(learning_rate=float("nan"), optimizer="adamw"), reader_of())


def test_an_error_inside_the_data_is_one_plain_sentence():
    """Explains an error inside the data in one sentence."""

    class Broken(ArrayReader):
        def _loader(self):
            def fail(numbers):
                raise ValueError("Every image must be readable. Received: a.jpg (rotten).")

            def load(numbers):
                images = tf.numpy_function(fail, [numbers], tf.uint8)
                return tf.ensure_shape(images, (None, SIDE, SIDE, 3)), tf.gather(self.labels, numbers)

            return load

    images, labels = reader_of().arrays()
    with pytest.raises(ValueError, match=r"^Every image must be readable. Received: a.jpg \(rotten\).$"):
        training.fit(recipe_of(), Broken(images, labels, list("abcdef")))


def test_an_error_of_tensorflow_has_a_plain_line():
    """Passes an error of TensorFlow's own on, with a plain line."""
    error = tf.errors.ResourceExhaustedError(
        None,
        None,
        "Graph execution error:\n\nDetected at node conv defined at (most recent call last):\n"
        '  File "x.py", line 1, in f\n\nOOM when allocating tensor\n  with shape[9]\n\t [[{{node conv}}]] [Op:f]',
    )
    assert _errors.friendly_message(error) == "OOM when allocating tensor"
    assert _errors.friendly_message(ValueError("two\n  lines")) == "two lines"
    for other in (error, tf.errors.InvalidArgumentError(None, None, "Incompatible shapes")):
        with pytest.raises(type(other)) as raised, _errors.friendly_errors():
            raise other
        assert raised.value is other
    with contextlib.suppress(KeyError), _errors.friendly_errors():
        raise KeyError
