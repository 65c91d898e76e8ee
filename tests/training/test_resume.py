"""A run that is killed and started again is the run that was not: every weight and every loss, to the bit."""

import json
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import training_runs  # noqa: E402

from keras_margin import callbacks, training  # noqa: E402
from keras_margin.callbacks import RunCallback, _records  # noqa: E402
from keras_margin.training import _stop  # noqa: E402
from keras_margin.training._logs import Logs  # noqa: E402

pytestmark = pytest.mark.tensorflow_only

# How often a process is killed; more is evidence, and takes longer.
KILLS = int(os.environ.get("KERAS_MARGIN_KILLS", "2"))


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have TensorFlow imported already: the import is most of such a short run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_margin.training", "keras_margin.data", "keras_margin.recipes"])
    return context


def start(processes, *arguments):
    process = processes.Process(target=training_runs.train, args=arguments)
    process.start()
    return process


@pytest.fixture(scope="module")
def uninterrupted(processes, tmp_path_factory):
    """(the result of one process that ran through, its seconds)."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    warm = processes.Process(target=os.getpid)  # The first one waits for the imports.
    warm.start()
    warm.join(300)
    began = time.monotonic()
    process = start(processes, folder / "checkpoints", None, 5, str(folder / "result.npz"))
    process.join(300)
    assert process.exitcode == 0
    return training_runs.read(folder / "result.npz"), time.monotonic() - began


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_bits(processes, uninterrupted, tmp_path):
    """Ends in the same bits after it was killed at random moments."""
    (wanted, wanted_history), seconds = uninterrupted
    moments, result = random.Random(0), tmp_path / "result.npz"
    steps = []
    for number in range(KILLS):
        process = start(processes, tmp_path / "checkpoints", None, 5, str(result))
        process.join(moments.uniform(0.3, 1.0) * seconds)
        if number == KILLS - 1 and not any(steps):  # On a machine that became slower, no moment was late enough.
            _await_checkpoint(process, tmp_path / "checkpoints")
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        paths = training.Checkpoints(tmp_path / "checkpoints").paths()
        steps.append(int(paths[0].stem[5:]) if paths else 0)
        if result.exists():  # Finished before its moment came: another one begins again.
            _same(result, wanted, wanted_history)
            result.unlink()
            for path in paths:
                path.unlink()
    process = start(processes, tmp_path / "checkpoints", None, 5, str(result))
    process.join(300)
    assert process.exitcode == 0
    _same(result, wanted, wanted_history)
    # Something was there to go on from, and no half-written file stays.
    print(f"killed {KILLS} times, newest checkpoints at {steps}")
    assert any(steps)
    assert all(path.name.startswith(("step-", "best")) for path in (tmp_path / "checkpoints").iterdir())


def _await_checkpoint(process, folder):
    while process.exitcode is None and not training.Checkpoints(folder).paths():
        time.sleep(0.01)


def _same(result, wanted, wanted_history):
    found, history = training_runs.read(result)
    assert history == wanted_history
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def fit(folder=None, stop_at=None, callbacks=(), **changes):
    """A run in this process, which ends itself after `stop_at` updates, as an interrupted one does."""

    class Stop(RunCallback):
        def on_train_batch_end(self, batch, logs=None):
            if self.run.step == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

    recipe = training_runs.recipe_of(steps=12, decay_steps=(6,), **changes)
    checkpoints = folder and training.Checkpoints(folder, every=100)
    with _stop.interruptible():
        return training.fit(
            recipe,
            training_runs.reader_of(),
            seed=3,
            reports=4,
            callbacks=[*callbacks, Stop()],
            checkpoints=checkpoints,
        )


@pytest.mark.slow
def test_asked_to_end_it_saves_and_resumes_all_state(tmp_path):
    """Saves on request to end, and resumes with every part of the state.

    AdamW's two moments, means of the weights, AdaFace's running statistics, a mean since the last report.
    """
    changes = {"optimizer": "adamw", "ema": 0.9, "head": "adaface", "head_options": ()}
    wanted = fit(**changes)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop_at=7, **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000007.npz"]
    found = fit(tmp_path, **changes)
    assert found.history == wanted.history and [step for step, _ in found.history] == [3, 6, 9, 12]
    for one, other in zip(found.model.variables, wanted.model.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)
    for one, other in zip(found.model.optimizer.variables, wanted.model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)
    # What is done is not done again.
    assert fit(tmp_path, **changes).history == wanted.history


@pytest.mark.slow
def test_checkpoints_of_another_run_are_refused(tmp_path):
    """Refuses the checkpoints of another run, with the first difference."""
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop_at=7)
    with pytest.raises(ValueError, match=r"another run: recipe.schedule.learning_rate was 0.05 there and is 0.06 here"):
        fit(tmp_path, learning_rate=0.06)
    with np.load(tmp_path / "step-000000007.npz") as file:
        state = json.loads(file["state"].tobytes())
        assert state["step"] == 7 and state["identity"]["recipe"]["name"] == "small"
        assert any(name.endswith("norm/moving_mean") for name in file.files)


@pytest.mark.slow
def test_logs_after_a_stop_are_those_without_one(tmp_path):
    """Writes the logs and the verification of a run without a stop.

    Rows behind the checkpoint are cut off; each step is there once, with the same numbers.
    """
    images, labels = training_runs.reader_of().arrays()
    pairs = np.array([(first, second) for first in range(20) for second in range(first)])
    is_same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    pair_set = callbacks.PairSet("colours", images, is_same, pairs)

    def watching(folder):
        return [Logs(folder, 2, 12), callbacks.Verification([pair_set], 4, folder=folder)]

    wanted = watching(tmp_path / "whole")
    fit(callbacks=wanted)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "checkpoints", stop_at=7, callbacks=watching(tmp_path / "parts"))
    # As a kill after a later row would have left it, in the middle of a line.
    with open(tmp_path / "parts" / "log.csv", "a") as file:
        file.write("8,9.9,0.1,0.05,3.0,1.0,1.0\n10,9.")
    found = watching(tmp_path / "parts")
    fit(tmp_path / "checkpoints", callbacks=found)
    rows = [_records.rows(tmp_path / name / "log.csv") for name in ("parts", "whole")]
    assert [row["step"] for row in rows[0]] == [2, 4, 6, 8, 10, 12]
    for name in ("step", "loss", "accuracy", "learning_rate", "lambda"):
        assert [row[name] for row in rows[0]] == [row[name] for row in rows[1]]
    assert found[1].history == wanted[1].history and [step for step, _ in found[1].history] == [4, 8, 12]
    rows = [_records.rows(tmp_path / name / "verification.csv") for name in ("parts", "whole")]
    assert rows[0] == rows[1] == [{"step": step, **values} for step, values in wanted[1].history]
    step, _ = found[1].best
    assert (tmp_path / "checkpoints" / "best.npz").exists() and step in (4, 8, 12)
    _, state = training.Checkpoints(tmp_path / "checkpoints").best()
    assert state["step"] == step
    scalars = _events(tmp_path / "whole" / "tensorboard")
    assert [(step, value) for step, tag, value in scalars if tag == "loss"] == [
        (row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in _records.rows(tmp_path / "whole" / "log.csv")
    ]
    assert {tag for _, tag, _ in scalars} == {
        "loss",
        "accuracy",
        "learning_rate",
        "lambda",
        "images_per_second",
        "verification/colours_accuracy",
        "verification/colours_eer",
        "verification/colours_tar_at_far_1e-01",
    }


def _events(folder):
    found = []
    for path in sorted(folder.iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found
