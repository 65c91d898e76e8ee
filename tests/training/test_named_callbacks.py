"""Callbacks that a recipe or --callbacks names, "package.module:name"."""

import csv
import sys

import keras
import pytest

tf = pytest.importorskip("tensorflow")
import training_runs  # noqa: E402

from keras_margin import cli, training  # noqa: E402
from keras_margin.recipes import _settings  # noqa: E402

pytestmark = pytest.mark.tensorflow_only

MODULE = """
import keras

SEEN = []


def both(recipe, seed, path="log.csv"):
    SEEN.append((recipe.name, seed))
    return [keras.callbacks.CSVLogger(path), keras.callbacks.TerminateOnNaN()]


def with_folder(folder):
    return keras.callbacks.CSVLogger(folder)


def nothing():
    return None


NUMBER = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a module `own_trackers` in it."""
    (tmp_path / "own_trackers.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_trackers", None)


def recipe_of(*names):
    return training_runs.recipe_of(steps=4, decay_steps=(), decay="constant", callbacks=names)


@pytest.mark.slow
def test_a_recipes_callbacks_come_behind_the_given_ones(folder):
    """The logger writes what a callback before it put into the logs; the factory gets recipe and seed."""
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(lfw_accuracy=0.5))
    training.fit(recipe_of("own_trackers:both"), training_runs.reader_of(), seed=3, reports=2, callbacks=[note])
    rows = list(csv.DictReader((folder / "log.csv").read_text().splitlines()))
    assert [row["lfw_accuracy"] for row in rows] == ["0.5", "0.5"]
    assert sys.modules["own_trackers"].SEEN == [("small", 3)]


def test_a_class_of_keras_is_named_as_it_is():
    """Builds a class of Keras by its name."""
    (made,) = training._callbacks.named_by(recipe_of("keras.callbacks:TerminateOnNaN"), 0)
    assert isinstance(made, keras.callbacks.TerminateOnNaN)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("own_trackers", ValueError, "callbacks: one of your own is named 'package.module:name'"),
        ("missing_trackers:x", ValueError, "callbacks='missing_trackers:x': there is no module 'missing_trackers'"),
        ("own_trackers:one", ValueError, "own_trackers has no 'one'. It has: NUMBER, SEEN, both"),
        ("own_trackers:NUMBER", TypeError, "must be a function that returns a Keras callback. Received: 3"),
        ("own_trackers:with_folder", TypeError, "a function that needs 'folder'"),
        ("own_trackers:nothing", TypeError, "must return a Keras callback, or a list of them. Received: None"),
    ],
)
def test_names_that_lead_to_no_callback_are_refused(name, error, message, folder):
    """Refuses names that lead to no callback."""
    with pytest.raises(error, match=message):
        training.fit(recipe_of(name), training_runs.reader_of())


def test_a_wrong_name_is_refused_before_anything_is_written(folder, capsys):
    """Refuses a wrong name before anything is written."""
    assert cli.main(["train", "--callbacks", "own_trackers:one", "--out", "run"]) == 1
    assert "own_trackers has no 'one'" in capsys.readouterr().err
    assert not list(folder.glob("run*"))


def test_the_flag_adds_to_the_recipes_key():
    """--set callbacks= and --callbacks name one list; both are kept in recipe.json."""
    import argparse

    from keras_margin.cli import _flags, train

    parser = argparse.ArgumentParser()
    _flags.add_to(parser)
    given = parser.parse_args(["--set", "callbacks=a:x,b:y", "--callbacks", "c:z", "--callbacks", "d:w"])
    recipe = train.chosen_recipe(given)
    assert recipe.run.callbacks == ("a:x", "b:y", "c:z", "d:w")
    assert _settings.from_json(_settings.to_json(recipe)) == recipe
