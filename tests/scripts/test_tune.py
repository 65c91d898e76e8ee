"""The example that searches hyper-parameters, run as a user runs it on two trials."""

import importlib.util
import json

import numpy as np
import pytest
from scripts import ROOT, own_flags, run_main

from keras_margin.models import backbones

pytest.importorskip("keras_tuner")

pytestmark = [
    pytest.mark.tensorflow_only,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner"),  # Of its own code, in 1.4.8.
]


def with_one_unit(**options):
    """ir_small with half of its units, which every run traces again."""
    return backbones.ir_resnet((1, 1), widths=(8, 8), embedding_size=16, **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """[(exit code, output)] of a search, of the same again, and of another in its folder; and the folder."""
    folder = tmp_path_factory.mktemp("tuning") / "search"
    flags = [f"--folder={folder}", "--scales=64", "--margins=0.5", "--rates=0.1", "--epochs=1", "--batch_size=200"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "ir_small", with_one_unit)
        return run_main("examples/tune.py", flags, flags, [*flags, "--epochs=2"])[0], folder


def table_of(output):
    """What is printed behind the progress: the tables and the sentences."""
    return output[output.index("trials on people not trained on") :]


@pytest.mark.slow
def test_a_search_prints_its_trials_and_values(runs):
    """Prints a row a trial, what each value is worth, and the figures on the people that chose nothing."""
    (code, output), *_ = runs[0]
    assert code == 0, code
    assert "40 people; trials done before: 0" in output
    table = table_of(output)
    assert all(word in table for word in ("scale", "margin", "learning_rate", "MAP@R", "EER", "by value"))
    assert "best trial" in table and "best with the defaults" in table and "on the last quarter" in table


@pytest.mark.slow
def test_the_same_search_goes_on_where_it_ended(runs):
    """Called again, it trains nothing, and prints the same figures."""
    (_, first), (code, again), _ = runs[0]
    assert code == 0 and "trials done before: 1" in again and "Running Trial" not in again
    assert table_of(again) == table_of(first)
    assert len(list(runs[1].glob("trial_*"))) == 1


@pytest.mark.slow
def test_another_search_in_the_folder_is_refused(runs):
    """Trials with other flags would be compared with those that are there."""
    code, _ = runs[0][2]
    assert "has trials of another search, with --epochs=1. Received: --epochs=2. Name another --folder." in code


@pytest.mark.slow
def test_every_trial_is_tried_though_others_fail(tmp_path, monkeypatch):
    """A rate that is too high fails with each scale and margin; none of them counts as done."""
    monkeypatch.setitem(backbones.BACKBONES, "ir_small", with_one_unit)
    flags = [f"--folder={tmp_path / 'search'}", "--scales=16,64", "--margins=0,0.5", "--rates=1e30", "--epochs=1"]
    flags.append("--batch_size=200")
    runs, _ = run_main("examples/tune.py", flags, flags)
    assert [code for code, _ in runs] == ["error: none of 4 trials came to an end; what each met is above."] * 2
    assert "trials done before: 0" in runs[1][1]


@pytest.mark.parametrize(
    ("content", "said"), [("{", "flags.json is not JSON: "), ("[]", "must hold a JSON object. Received: list.")]
)
def test_a_broken_folder_is_named(tmp_path, content, said):
    """A flags.json that says nothing of the search before is named, and stays."""
    (tmp_path / "flags.json").write_text(content)
    ((code, _),), _ = run_main("examples/tune.py", [f"--folder={tmp_path}"])
    assert str(tmp_path / "flags.json") in code and said in code and "Name another --folder." in code
    assert (tmp_path / "flags.json").read_text() == content


def test_a_set_that_is_not_there_leaves_no_folder(tmp_path):
    """The data are read before anything is written."""
    ((code, _),), _ = run_main("examples/tune.py", [f"--folder={tmp_path / 'search'}", f"--data={tmp_path / 'none'}"])
    assert str(tmp_path / "none") in code and not list(tmp_path.iterdir())


@pytest.fixture
def script():
    """The module examples/tune.py, its flags at their defaults."""
    with own_flags():
        spec = importlib.util.spec_from_file_location("tune", ROOT / "examples/tune.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.FLAGS(["tune.py"])
        yield module


def test_flags_are_never_half_there(script, tmp_path, monkeypatch):
    """Where the writing ends in the middle, there is no flags.json; then it is what was passed."""

    def half(value, file):
        file.write("{")
        raise OSError("No space left on device")

    script.FLAGS.folder = str(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", half)
        with pytest.raises(OSError, match="No space left"):
            script.check_folder()
    assert not (tmp_path / "flags.json").exists()
    script.check_folder()
    assert json.loads((tmp_path / "flags.json").read_text())["margins"] == ["0.0", "0.2", "0.5"]
    assert [path.name for path in tmp_path.iterdir()] == ["flags.json"]


class Looked:
    """A model whose images are their embeddings."""

    def predict(self, images, verbose):
        return images


def test_every_image_is_measured(script):
    """Of 1,100 people with two images the last 100 couples look like each other: their 200 images have an AP of 0."""
    people = np.random.default_rng(0).normal(size=(1100, 16)).astype("float32")
    looks = np.repeat(people, 2, axis=0)
    looks[2001::4], looks[2003::4] = looks[2003::4].copy(), looks[2001::4].copy()
    labels = np.repeat(np.arange(1100), 2)
    found = script.measured(script.map_at_r(labels), Looked(), looks, labels)
    assert found == pytest.approx(2000 / 2200, abs=1e-6)


def test_every_place_counts(script):
    """Of a person with 100 images the 99 others are the list, not the first 64 places."""
    labels = np.repeat([0, 1], 100)
    angles = np.concatenate([np.linspace(0, 0.1, 99), [3.1], np.linspace(3.0, 3.2, 100)])
    looks = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
    # The one that looks like the others' has them in all places. Theirs have it somewhere, and then one of them less.
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    precisions = []
    for query in range(200):
        order = np.argsort(-(units @ units[query]), kind="stable")
        matches = (labels[order[order != query]] == labels[query])[:99]
        precisions.append((matches * np.cumsum(matches) / np.arange(1, 100)).sum() / 99)
    found = script.measured(script.map_at_r(labels), Looked(), looks, labels)
    assert found == pytest.approx(np.mean(precisions), abs=1e-3)
    assert precisions[99] == 0 and max(precisions) < 1
