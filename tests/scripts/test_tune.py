"""The example that searches hyper-parameters, run as a user runs it on two trials."""

import pytest
from scripts import run_main

from keras_margin.models import backbones

pytest.importorskip("keras_tuner")

pytestmark = [
    pytest.mark.tensorflow_only,
    pytest.mark.slow,
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


def test_a_search_prints_its_trials_and_values(runs):
    """Prints a row a trial, what each value is worth, and the figures on the people that chose nothing."""
    (code, output), *_ = runs[0]
    assert code == 0, code
    assert "40 people; trials done before: 0" in output
    table = table_of(output)
    assert all(word in table for word in ("scale", "margin", "learning_rate", "MAP@R", "EER", "by value"))
    assert "best trial" in table and "best with the defaults" in table and "on the last quarter" in table


def test_the_same_search_goes_on_where_it_ended(runs):
    """Called again, it trains nothing, and prints the same figures."""
    (_, first), (code, again), _ = runs[0]
    assert code == 0 and "trials done before: 1" in again and "Running Trial" not in again
    assert table_of(again) == table_of(first)
    assert len(list(runs[1].glob("trial_*"))) == 1


def test_another_search_in_the_folder_is_refused(runs):
    """Trials with other flags would be compared with those that are there."""
    code, _ = runs[0][2]
    assert "has trials of another search, with --epochs=1. Received: --epochs=2. Name another --folder." in code
