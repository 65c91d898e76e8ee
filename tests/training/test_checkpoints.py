"""Checkpoint files: whole or not there, damaged ones passed over, the last good one never at risk."""

import logging
import resource

import numpy as np
import pytest

pytest.importorskip("tensorflow")
from keras_margin import training

pytestmark = pytest.mark.tensorflow_only

ARRAYS = {"0 w": np.arange(2000, dtype="float32"), "1 step": np.array(3, "int32")}


def filled(folder, steps=(1, 2, 3), **options):
    checkpoints = training.Checkpoints(folder, **options)
    for step in steps:
        assert checkpoints.save(step, {**ARRAYS, "1 step": np.array(step, "int32")}, {"note": step}) is not None
    return checkpoints


def test_what_was_written_is_read(tmp_path):
    """Reads back what was written."""
    arrays, state = filled(tmp_path).newest()
    assert state == {"step": 3, "note": 3}
    np.testing.assert_array_equal(arrays["0 w"], ARRAYS["0 w"])
    assert arrays["1 step"] == 3 and arrays["1 step"].dtype == np.int32
    assert training.Checkpoints(tmp_path / "nothing").newest() is None


def test_the_newest_few_are_kept_and_the_best_beside_them(tmp_path):
    """Keeps the newest few and the best."""
    checkpoints = filled(tmp_path, range(1, 6), keep=2)
    checkpoints.save(4, ARRAYS, {}, best=True)
    filled(tmp_path, (6, 7), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.npz", "step-000000006.npz", "step-000000007.npz"]
    assert checkpoints.best()[1]["step"] == 4


def damages():
    """What may become of a file: its bytes -> others."""
    yield "cut short", lambda content: content[: len(content) // 2]
    yield "empty", lambda content: b""
    yield "one bit in the weights", lambda content: content[:3000] + bytes([content[3000] ^ 1]) + content[3001:]
    yield "the table at the end", lambda content: content[:-30] + b"\0" * 30
    yield "other people's", lambda content: b"PK" + b"\xff" * 5000
    yield "zeros, as a disk that lost power leaves", lambda content: b"\0" * len(content)


@pytest.mark.parametrize(("name", "damage"), list(damages()))
def test_a_damaged_newest_one_is_named_and_passed_over(name, damage, tmp_path, caplog):
    """Names a damaged newest one, and takes the one before."""
    checkpoints = filled(tmp_path)
    newest = checkpoints.paths()[0]
    newest.write_bytes(damage(newest.read_bytes()))
    with caplog.at_level(logging.WARNING, "keras_margin.training"):
        arrays, state = checkpoints.newest()
    assert state["step"] == 2 and arrays["1 step"] == 2
    assert f"The checkpoint {newest} is damaged" in caplog.text and "from the one before" in caplog.text


@pytest.mark.slow
def test_every_bit_of_a_file_is_watched(tmp_path):
    """Wherever one is turned, the file is refused, or reads as it was written: a zip has bytes that say nothing."""
    checkpoints = filled(tmp_path, (1,))
    path = checkpoints.paths()[0]
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for place in generator.choice(len(content), 150, replace=False):
        path.write_bytes(
            content[:place] + bytes([content[place] ^ (1 << generator.integers(8))]) + content[place + 1 :]
        )
        found = checkpoints.newest()
        if found is not None:
            assert found[1] == {"step": 1, "note": 1}
            np.testing.assert_array_equal(found[0]["0 w"], ARRAYS["0 w"])


def test_a_disk_full_halfway_keeps_what_was_there(tmp_path, caplog):
    """Keeps what was there when the disk fills up in the middle.

    The file grows to a limit that the system sets, and no further: the real error, at a real half-written file.
    """
    checkpoints = filled(tmp_path, (1, 2), keep=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with caplog.at_level(logging.WARNING, "keras_margin.training"):
            assert checkpoints.save(3, ARRAYS, {}) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "No checkpoint at step 3: " in caplog.text and "training goes on" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000001.npz", "step-000000002.npz"]
    assert checkpoints.newest()[1]["step"] == 2
    assert checkpoints.save(4, ARRAYS, {}) is not None and checkpoints.newest()[1]["step"] == 4


def test_what_a_killed_process_left_half_written_is_swept(tmp_path):
    """Removes what a killed process left half-written."""
    filled(tmp_path, (1,))
    (tmp_path / ".step-000000002.npz.123.tmp").write_bytes(b"half")
    filled(tmp_path, (3,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000001.npz", "step-000000003.npz"]


def test_it_is_due_by_updates_or_by_the_clock(tmp_path, monkeypatch):
    """Saves after as many updates or as much time."""
    by_step = training.Checkpoints(tmp_path, every=4)
    assert [step for step in range(1, 10) if by_step.due(step)] == [4, 8]
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    by_clock = training.Checkpoints(tmp_path, minutes=2)
    assert not by_clock.due(1)
    now[0] += 120
    assert by_clock.due(1)
    by_clock.save(1, ARRAYS, {})
    assert not by_clock.due(2)


@pytest.mark.parametrize("options", [{"keep": 0}, {"minutes": -1}, {"every": 0}])
def test_numbers_out_of_range_are_refused(options, tmp_path):
    """Refuses numbers out of range."""
    with pytest.raises(ValueError, match="keep >= 1, minutes >= 0 and every >= 1"):
        training.Checkpoints(tmp_path, **options)
