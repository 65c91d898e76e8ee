"""Two processes over loopback train as one does, and go on as one does where one of them was killed."""

import json
import multiprocessing
import os
import signal
import socket
import time

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import training_runs  # noqa: E402

from keras_margin import training  # noqa: E402

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_margin.training", "keras_margin.data", "keras_margin.recipes"])
    return context


def configs():
    """TF_CONFIG of each of two workers, on ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]


# Without dropout, whose masks are each process's own; with batch norm, whose statistics are everybody's.
CHANGES = {"steps": 40, "decay_steps": (20,), "backbone_options": (("dropout", 0.0),)}


def start(processes, tmp_path, then=None):
    """The two workers, each with checkpoints of its own: the first one's count."""
    started = []
    for index, config in enumerate(configs()):
        result = str(tmp_path / f"result{index}.npz")
        arguments = (tmp_path / f"checkpoints{index}", CHANGES, 5, result, config, then)
        started.append(processes.Process(target=training_runs.train, args=arguments))
        started[-1].start()
    return started


@pytest.mark.slow
def test_two_workers_train_and_resume_as_one_process(processes, tmp_path):
    """Takes the steps of one process on two workers, and continues where one was killed."""
    one = processes.Process(
        target=training_runs.train, args=(tmp_path / "one", CHANGES, 100, str(tmp_path / "one.npz"))
    )
    one.start()
    one.join(300)
    weights, history = training_runs.read(tmp_path / "one.npz")

    # The second worker is killed when the first has a checkpoint.
    workers = start(processes, tmp_path)
    end = time.monotonic() + 300
    while not training.Checkpoints(tmp_path / "checkpoints0").paths() and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(workers[1].pid, signal.SIGKILL)
    for worker in workers:
        worker.join(120)
    assert workers[0].exitcode != 0 and workers[1].exitcode == -signal.SIGKILL
    assert not (tmp_path / "result0.npz").exists()
    began = int(training.Checkpoints(tmp_path / "checkpoints0").paths()[0].stem[5:])
    assert 0 < began < 40 and not (tmp_path / "checkpoints1").exists()

    # Another recipe is refused by both at once: none waits for the other.
    workers = start(processes, tmp_path, then={"learning_rate": 0.5})
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for index in range(2):
        found, same = training_runs.read(tmp_path / f"result{index}.npz")
        assert [step for step, _ in same] == [step for step, _ in history if index == 0 or step > began]
        wanted = dict(map(tuple, history))
        for step, logs in same:
            assert logs["loss"] == pytest.approx(wanted[step]["loss"], rel=1e-4)
            assert logs["accuracy"] == pytest.approx(wanted[step]["accuracy"], abs=1e-6)
        for name in weights:
            np.testing.assert_allclose(found[name], weights[name], rtol=1e-4, atol=1e-4)

    first, second = ((tmp_path / f"result{index}.npz.refused").read_text() for index in range(2))
    assert "another run: recipe.schedule.learning_rate was" in first
    assert second.startswith("The first worker refuses to go on from its checkpoint")

    # Where a callback of the first worker sets a rate and stops, the second follows at the epoch's end.
    for index in range(2):
        steps, rate = json.loads((tmp_path / f"result{index}.npz.led").read_text())
        assert steps == [4, 8, 12] and rate == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "TF_CONFIG, which is not set. Set it on every machine"),
        ("nonsense", "TF_CONFIG looks like .* Received: nonsense"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "none of its workers"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "none of its workers"),
        ('{"cluster": {}}', "TF_CONFIG looks like"),
    ],
)
def test_a_tf_config_that_makes_no_sense_is_refused(text, message, monkeypatch):
    """Refuses a TF_CONFIG that contradicts itself."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message):
        training.make_strategy(1, "multiworker")
    with pytest.raises(ValueError, match="all GPUs of each worker.* replicas=2"):
        training.make_strategy(2, "multiworker")
    with pytest.raises(ValueError, match="A strategy is one of mirrored, multiworker. Received: 'ring'"):
        training.make_strategy(1, "ring")
