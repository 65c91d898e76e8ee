"""Keras's own callbacks in `training.fit`, and this package's under Model.fit."""

import csv

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import training_runs  # noqa: E402

from keras_margin import callbacks, layers, training  # noqa: E402
from keras_margin.callbacks import _pair_sets  # noqa: E402
from keras_margin.models import EmbeddingModel  # noqa: E402
from keras_margin.training._logs import Logs  # noqa: E402
from keras_margin.training._progress import ProgressBar  # noqa: E402

pytestmark = pytest.mark.tensorflow_only

STEPS, REPORTS = 12, 4


def fit(*callbacks, folder=None, **changes):
    """Twelve updates in four epochs of three."""
    plain = {"steps": STEPS, "decay_steps": (), "decay": "constant", "learning_rate": 0.05}
    return training.fit(
        training_runs.recipe_of(**{**plain, **changes}),
        training_runs.reader_of(),
        seed=3,
        reports=REPORTS,
        callbacks=callbacks,
        checkpoints=folder and training.Checkpoints(folder, every=100),
    )


class Seen(keras.callbacks.Callback):
    """What an ordinary callback is told."""

    def __init__(self):
        super().__init__()
        self.events, self.rates = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.events.append(("epoch", epoch, self.params["steps"]))

    def on_train_batch_end(self, batch, logs=None):
        self.events.append(("batch", batch, sorted(logs)))
        self.rates.append(logs["learning_rate"])

    def on_epoch_end(self, epoch, logs=None):
        self.events.append(("end", epoch, sorted(logs)))


def at_step(number, act):
    """A callback that does something after an update."""
    return keras.callbacks.LambdaCallback(on_train_batch_end=number_of(number, act))


def number_of(number, act):
    updates = [0]

    def on_train_batch_end(batch, logs):
        updates[0] += 1
        if updates[0] == number:
            act()

    return on_train_batch_end


# --- Keras's callbacks in training.fit ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_callback_is_told_what_keras_tells_it():
    """Batches count within their epoch; the logs are Keras's, and at batches also the rate and lambda."""
    seen = Seen()
    fit(seen, head="arcface")
    batches = [("batch", number, ["accuracy", "learning_rate", "loss"]) for number in range(3)]
    one = [("epoch", 0, 3), *batches, ("end", 0, ["accuracy", "loss"])]
    assert seen.events[: len(one)] == one
    assert seen.events[len(one)] == ("epoch", 1, 3) and seen.events[-1] == ("end", 3, ["accuracy", "loss"])
    assert seen.params["epochs"] == REPORTS and seen.params["verbose"] == 1


@pytest.mark.slow
def test_uneven_epochs_have_their_own_steps():
    """Seven updates in four epochs: 1, 2, 2, 2."""
    seen = Seen()
    fit(seen, steps=7)
    assert [event[2] for event in seen.events if event[0] == "epoch"] == [1, 2, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_learning_rate_scheduler_sets_the_rate_of_each_epoch(precision):
    """It takes the place of the recipe's cosine, also where the optimiser is wrapped for loss scaling."""
    seen, rates = Seen(), (0.04, 0.03, 0.02, 0.01)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rates[epoch])
    trained = fit(scheduler, seen, decay="cosine", precision=precision)
    assert seen.rates == pytest.approx(np.repeat(rates, 3))
    assert float(trained.model.optimizer.learning_rate) == pytest.approx(0.01)


@pytest.mark.slow
def test_a_rate_that_was_set_is_the_one_that_trains():
    """At a rate of 0 from the second epoch on the weights stay where they were."""
    weights = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(np.array(note.model.head.prototypes))
    )
    fit(keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch else rate), note, momentum=0.0)
    np.testing.assert_array_equal(weights[0], weights[3])


@pytest.mark.slow
def test_reduce_lr_on_plateau_divides_the_rate():
    """Without an improvement by a million each epoch after the first divides by ten."""
    seen = Seen()
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, min_delta=1e6)
    fit(plateau, seen)
    assert seen.rates == pytest.approx(np.repeat([0.05, 0.05, 0.005, 0.0005], 3), rel=1e-5)


@pytest.mark.slow
def test_progbar_logger_counts_each_epoch(capsys):
    """Counts each epoch in ProgbarLogger."""
    fit(keras.callbacks.ProgbarLogger())
    shown = capsys.readouterr().out
    assert "Epoch 4/4" in shown and "3/3" in shown and "loss:" in shown
    assert "4/3" not in shown and "12/3" not in shown


@pytest.mark.slow
def test_csv_logger_writes_a_row_an_epoch(tmp_path):
    """Writes a row an epoch in CSVLogger."""
    trained = fit(keras.callbacks.CSVLogger(str(tmp_path / "log.csv")))
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert [float(row["loss"]) for row in rows] == pytest.approx([logs["loss"] for _, logs in trained.history])


@pytest.mark.slow
def test_model_checkpoint_saves_the_model_of_the_best_epoch(tmp_path):
    """Saves the model of the best epoch in ModelCheckpoint."""
    best = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="loss", save_best_only=True)
    trained = fit(best)
    assert best.best == min(logs["loss"] for _, logs in trained.history)
    assert keras.saving.load_model(tmp_path / "best.keras").head.num_classes == training_runs.CLASSES


@pytest.mark.slow
def test_history_has_the_numbers_of_the_result():
    """Records the numbers of the result in History."""
    history = keras.callbacks.History()
    trained = fit(history, keras.callbacks.TerminateOnNaN())
    assert history.history["loss"] == [logs["loss"] for _, logs in trained.history]


@pytest.mark.slow
def test_early_stopping_ends_the_run_with_a_checkpoint(tmp_path):
    """Never better by a million: it stops after the second epoch, six updates."""
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=1e6)
    trained = fit(stop, folder=tmp_path)
    assert [step for step, _ in trained.history] == [3, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000006.npz"]


@pytest.mark.slow
def test_a_run_stopped_by_a_callback_goes_on_to_the_same_bits(tmp_path):
    """Stopped inside an epoch, the part of it is reported, and the same call goes on as if nothing had been."""
    wanted = fit()
    ends = []

    def stop():
        stopper.model.stop_training = True

    stopper = at_step(5, stop)
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(epoch))
    stopped = fit(stopper, told, folder=tmp_path)
    assert [step for step, _ in stopped.history] == [3, 5] and ends == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000005.npz"]
    found = fit(folder=tmp_path)
    assert found.history == wanted.history
    for one, other in zip(found.model.variables, wanted.model.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


@pytest.mark.slow
def test_a_rate_that_was_set_outlives_a_stop(tmp_path):
    """Stopped in the middle of the second epoch, the third update of it still has the rate of its beginning."""

    def rates_of(*callbacks, **options):
        seen = Seen()
        scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
        fit(scheduler, seen, *callbacks, **options)
        return seen.rates

    def stop():
        stopper.model.stop_training = True

    wanted = rates_of()
    stopper = at_step(5, stop)
    found = rates_of(stopper, folder=tmp_path) + rates_of(folder=tmp_path)
    assert found == pytest.approx(wanted) and wanted[4] == pytest.approx(0.0125)


def test_backup_and_restore_is_refused(tmp_path):
    """It would bring the weights back and begin at the first update."""
    with pytest.raises(ValueError, match=r"Pass checkpoints=training.Checkpoints\(folder\)"):
        fit(keras.callbacks.BackupAndRestore(str(tmp_path)))


# --- This package's under Model.fit ---------------------------------------------------------------------------------


def embedding_model():
    network = training_runs.small((training_runs.SIDE, training_runs.SIDE), dropout=0.0)
    model = EmbeddingModel(network, layers.ArcFaceHead(training_runs.CLASSES, scale=16.0))
    model.compile(keras.optimizers.SGD(0.05), jit_compile=False)
    return model


def pair_set(name="colours"):
    """All pairs of twenty images: 27 genuine, 163 impostors."""
    images, labels = training_runs.reader_of(20).arrays()
    pairs = np.array([(first, second) for first in range(20) for second in range(first)])
    return callbacks.PairSet(name, images, labels[pairs[:, 0]] == labels[pairs[:, 1]], pairs)


NAMES = {"colours_accuracy", "colours_eer", "colours_tar_at_far_1e-01"}


@pytest.mark.slow
def test_verification_logs_its_figures_in_model_fit(tmp_path, capsys):
    """Puts the figures of Verification into the logs of Model.fit.

    ModelCheckpoint and CSVLogger find them, and Keras's progress bar shows them.
    """
    images, labels = training_runs.reader_of().arrays()
    model, verification = embedding_model(), callbacks.Verification(pair_set())
    best = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.keras"), monitor="colours_accuracy", mode="max", save_best_only=True
    )
    log = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    history = model.fit(images, labels, batch_size=12, epochs=3, callbacks=[verification, best, log]).history
    assert history.keys() >= NAMES and "colours_accuracy:" in capsys.readouterr().out
    # Sixty images are five updates an epoch.
    assert [step for step, _ in verification.history] == [5, 10, 15]
    assert [values["colours_eer"] for _, values in verification.history] == history["colours_eer"]
    assert (tmp_path / "best.keras").exists() and best.best == max(history["colours_accuracy"])
    assert set(next(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))) >= NAMES


def test_the_figures_are_those_of_the_pairs():
    """EER and TAR at FAR 0.1 of hand-made scores: 100 impostors at 0.00 to 0.99, genuine at 0.5, 0.89, 0.95, 2."""
    genuine, impostors = np.array([0.5, 0.89, 0.95, 2.0]), np.arange(100) / 100
    is_same = np.repeat([True, False], [4, 100])
    made = callbacks.PairSet("made", np.zeros((208, 2, 2, 3), np.uint8), is_same)
    scores = np.concatenate([genuine, impostors])
    object.__setattr__(made, "scores", lambda embed: scores)
    found = made.figures(None)
    # Ten impostors are accepted at 0.90; of the genuine, 0.95 and 2 are.
    assert found["made_tar_at_far_1e-01"] == 0.5
    # At 0.75 a quarter of the genuine are refused and 0.25 of the impostors accepted.
    assert found["made_eer"] == pytest.approx(0.25, abs=0.01)
    assert found["made_accuracy"] == pytest.approx(1 - found["made_eer"])
    few = callbacks.PairSet("few", made.images, is_same[:60])
    object.__setattr__(few, "scores", lambda embed: scores[:60])
    # Ten impostors are not to be had at any FAR up to 0.1.
    assert set(few.figures(None)) == {"few_accuracy", "few_eer"}


@pytest.mark.slow
def test_verification_figures_are_in_the_logs_of_training_fit(tmp_path):
    """Puts the figures of Verification into the logs of training.fit."""
    verification, lines = callbacks.Verification(pair_set(), report=lambda *given: lines.append(given)), []
    log = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    fit(verification, log)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [float(row["colours_eer"]) for row in rows] == [values["colours_eer"] for _, values in verification.history]
    assert [step for step, _ in verification.history] == [3, 6, 9, 12] and lines == verification.history


def test_a_verification_line_names_every_figure():
    """Names every figure in a line of Verification."""
    values = {"a_b_accuracy": 0.98765, "a_b_eer": 0.0123, "a_b_tar_at_far_1e-03": 0.95}
    assert _pair_sets.as_text(values) == "a_b: accuracy 0.9877, EER 1.23%, TAR 0.950 at FAR 1e-03"


@pytest.mark.slow
def test_verification_needs_an_embedder():
    """Requires an embedder for Verification."""
    images, labels = training_runs.reader_of().arrays()
    network = training_runs.small((training_runs.SIDE, training_runs.SIDE), dropout=0.0)
    model = keras.Sequential([network, keras.layers.Dense(6)])
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    with pytest.raises(ValueError, match="pass network=backbone. Received: a Sequential"):
        model.fit(images, labels, callbacks=[callbacks.Verification(pair_set())], verbose=0)
    verification = callbacks.Verification(pair_set(), network=network)
    assert model.fit(images, labels, callbacks=[verification], verbose=0).history.keys() >= NAMES


@pytest.mark.parametrize(
    "callback",
    [Logs("nowhere", 1, 12), ProgressBar(5, 12)],
    ids=lambda c: type(c),
)
def test_what_reads_the_run_refuses_model_fit_in_a_sentence(callback):
    """Refuses callbacks under Model.fit that read the run."""
    images, labels = training_runs.reader_of().arrays()
    name = type(callback).__name__
    with pytest.raises(ValueError, match=f"{name} works in keras_margin.training.fit .*Received: {name} in the callb"):
        embedding_model().fit(images, labels, callbacks=[callback], verbose=0)


# --- This package's in training.fit -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_monitors_need_no_mode_in_training_fit(tmp_path):
    """The set is a reader, of whose images pairs are drawn; the best checkpoint is Keras's own."""
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="lfw_accuracy", save_best_only=True)
    verification = callbacks.Verification(training_runs.reader_of(20), name="lfw")
    fit(verification, best)
    assert best.best == max(values["lfw_accuracy"] for _, values in verification.history)


@pytest.mark.slow
def test_margin_schedule_trains_as_the_recipes_warm_up():
    """The same updates: margin_warmup_steps=6 of the recipe, and MarginSchedule(6) in its callbacks."""
    wanted = fit(head="arcface", margin_warmup_steps=6)
    found = fit(callbacks.MarginSchedule(6), head="arcface")
    for one, other in zip(found.model.weights, wanted.model.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def test_two_schedules_of_one_margin_are_refused():
    """Refuses two schedules of one margin."""
    with pytest.raises(ValueError, match="A margin and a scale have one schedule each"):
        fit(callbacks.MarginSchedule(6), head="arcface", margin_warmup_steps=6)


@pytest.mark.slow
def test_a_run_callback_is_kept_in_checkpoints(tmp_path):
    """Stopped after the fifth update, it goes on counting."""

    class Count(callbacks.RunCallback):
        updates = 0

        def on_train_batch_end(self, batch, logs=None):
            self.updates += 1
            if self.run.step == 5:
                self.model.stop_training = True

        def state(self):
            return {"updates": self.updates}

        def restore(self, state):
            self.updates = state["updates"]

    fit(Count(), folder=tmp_path)
    again = Count()
    fit(again, folder=tmp_path)
    assert again.updates == STEPS
