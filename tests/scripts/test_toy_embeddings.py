"""examples/toy_embeddings.py, on a few digits: what it measures, writes and refuses."""

import importlib.util
import io
import json
import pathlib

import numpy as np
import pytest
import scripts
from rich.console import Console

pytest.importorskip("tensorflow")

pytestmark = pytest.mark.tensorflow_only

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "examples" / "toy_embeddings.py"


@pytest.fixture(scope="module")
def toy():
    """The script as a module, among whose digits are the first 10 of each."""
    spec = importlib.util.spec_from_file_location("toy_embeddings", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with scripts.own_flags(), pytest.MonkeyPatch.context() as patch:
        spec.loader.exec_module(module)
        few = module.km.data.open("digits").subset(np.flatnonzero(np.arange(5000) % 500 < 10))
        patch.setattr(module.km.data, "open", lambda name: few)
        yield module


def parsed(toy, *arguments):
    """The command line, and what absl leaves of it."""
    toy.FLAGS.unparse_flags()
    for name in toy.FLAGS:
        toy.FLAGS[name].unparse()
    return toy.FLAGS(["toy_embeddings.py", "--training_digits=6", "--epochs=1", *map(str, arguments)])


def nothing(toy):
    """A callback that does nothing."""
    return toy.keras.callbacks.Callback()


@pytest.fixture(scope="module")
def task(toy):
    parsed(toy)
    return toy.prepare(3, nothing(toy))


@pytest.mark.slow
def test_the_losses_share_a_view_of_disjoint_digits(toy, task):
    """Gives all losses the lower network's view of disjoint digits."""
    assert [len(part) for part in (*task.train, *task.test)] == [60, 60, 40, 40]
    assert task.train[0].shape[1:] == (3, 3, 64)
    for labels, count in ((task.train[1], 6), (task.test[1], 4)):
        assert np.bincount(labels).tolist() == [count] * 10
    train, test = ({row.tobytes() for row in images} for images, _ in (task.train, task.test))
    assert not train & test
    assert sorted(task.shared) == [f"conv{number}" for number in range(1, 7)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dimension"), [("softmax", 3), ("arcface+iam", 2)])
def test_a_result_is_what_its_embeddings_say(toy, task, name, dimension):
    """Computes a result from its embeddings."""
    parsed(toy)
    result = toy.run(name, dimension, task, nothing(toy))
    x, prototypes = np.float64(result.shown.embeddings), np.float64(result.shown.prototypes)
    labels = result.shown.labels
    assert x.shape == (40, dimension) and prototypes.shape == (10, dimension)
    directions = prototypes / np.linalg.norm(prototypes, axis=1)[:, None]
    assert result.accuracy == np.mean(np.argmax(x @ directions.T, axis=1) == labels)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a, axis=-1) / np.linalg.norm(b)

    means = [x[labels == digit].mean(axis=0) for digit in range(10)]
    within = sum((1 - cosine(x[labels == digit], means[digit])).sum() for digit in range(10))
    between = sum(4 * (1 - cosine(mean, x.mean(axis=0))) for mean in means)
    assert result.fisher == pytest.approx(within / between, rel=1e-4)
    # Softmax decides by lengths and a bias too.
    assert (result.by_logit is None) == (name != "softmax")
    assert (result.dimension, result.loss, result.seed) == (dimension, name, 3)


@pytest.mark.slow
def test_every_loss_trains_the_upper_layers_alone(toy, task, monkeypatch):
    """Starts every loss from the shared weights, and trains the upper layers alone."""
    parsed(toy)
    seen = []
    monkeypatch.setattr(
        toy, "fit", lambda network, *rest: seen.append(network) or toy.km.EmbeddingModel(network, rest[0])
    )
    toy.run("cosface", 2, task, nothing(toy))
    (upper,) = seen
    names = {layer.name for layer in upper.layers if layer.weights}
    assert names == {"conv5", "conv6", "embedding"}
    for name in ("conv5", "conv6"):
        for found, wanted in zip(upper.get_layer(name).get_weights(), task.shared[name], strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_lambda_is_at_its_floor_from_half_of_the_updates_on(toy):
    """Keeps lambda at its floor from half of the updates on."""
    for updates in (40, 500):
        margin = toy.LOSSES["sphereface_m4"][1](None, updates).margin
        at = [max(margin.lambda_min, margin.base / (1 + margin.gamma * step)) for step in range(updates)]
        assert at[0] == 1000 and at[updates // 2 - 1] > 0.25 and at[updates // 2] == pytest.approx(0.25)


def test_every_name_makes_the_head_it_says(toy):
    """Makes the head of every name."""
    heads = {name: make(None, 10) for name, (_, make) in toy.LOSSES.items()}
    assert [heads[f"sphereface_m{m}"].margin.margin for m in (1, 2, 3, 4)] == [1, 2, 3, 4]
    kinds = {name: type(head).__name__ for name, head in heads.items()}
    assert [kinds[name] for name in ("softmax", "normsoftmax", "cosface", "arcface", "qamface")] == [
        "SoftmaxHead",
        "NormSoftmaxHead",
        "CosFaceHead",
        "ArcFaceHead",
        "QAMFaceHead",
    ]
    assert [heads[name].margin.margin for name in ("cosface", "arcface", "qamface")] == [0.1] * 3


@pytest.mark.slow
def test_a_run_writes_its_figure_its_report_and_its_table(toy, tmp_path, capsys):
    """Writes the figure, the report and the table of a run."""
    out = tmp_path / "runs" / "toy"
    toy.main(parsed(toy, "--losses=softmax,cosface+iam", "--dimensions=3", "--seeds=5", f"--out={out}"))
    assert sorted(path.name for path in out.iterdir()) == ["embeddings_3d.png", "report.json"]
    assert (out / "embeddings_3d.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((out / "report.json").read_text())
    assert report["settings"] == {
        "losses": ["softmax", "cosface+iam"],
        "dimensions": ["3"],
        "seeds": ["5"],
        "training_digits": 6,
        "epochs": 1,
        "whole_network": False,
    }
    first, second = report["runs"]
    assert [(run["loss"], run["dimension"], run["seed"]) for run in (first, second)] == [
        ("softmax", 3, 5),
        ("cosface+iam", 3, 5),
    ]
    said = capsys.readouterr().out
    for run, title in ((first, "softmax"), (second, "CosFace m=0.1 + IAM")):
        row = next(line for line in said.splitlines() if f" {title} " in line and "°" in line)
        assert f"{run['accuracy']:.3f}" in row and f"{run['inter']:.1f}°" in row
    assert "by largest logit" in said and "minutes. Everything is in" in said


def test_the_whole_network_may_be_trained(toy, monkeypatch):
    """Trains the whole network on request."""
    parsed(toy, "--whole_network")
    seen = []
    monkeypatch.setattr(
        toy, "fit", lambda network, *rest: seen.append(network) or toy.km.EmbeddingModel(network, rest[0])
    )
    task = toy.prepare(0, nothing(toy))
    assert task.train[0].shape == (60, 28, 28, 1)
    monkeypatch.setattr(toy.km.EmbeddingModel, "predict", lambda self, images, **options: toy.np.asarray(self(images)))
    assert toy.run("arcface", 2, task, nothing(toy)).shown.embeddings.shape == (40, 2)
    assert seen[1].input_shape == (None, 28, 28, 1)


def test_what_cannot_be_run_is_refused_in_one_line(toy, tmp_path):
    """Refuses invalid arguments in one line."""
    (tmp_path / "file").write_text("mine")
    cases = {
        "All options are flags, such as --epochs=2. Received: epochs=2.": ["epochs=2"],
        "softmax+iam. Received: --losses=softmax+iam": ["--losses=softmax+iam"],
        "Received: --losses=arcface,arcfase": ["--losses=arcface,arcfase"],
        "2 or 3 dimensions. Received: --dimensions=2,4": ["--dimensions=2,4"],
        "Seeds are integers >= 0. Received: --seeds=0,-1": ["--seeds=0,-1"],
        "num_train in [1, 10)": ["--training_digits=10"],
        "File exists": [f"--out={tmp_path / 'file'}"],
    }
    cases = {words.removeprefix("softmax+iam. "): arguments for words, arguments in cases.items()}
    for words, arguments in cases.items():
        with pytest.raises(SystemExit) as ending:
            toy.main(parsed(toy, f"--out={tmp_path / 'out'}", *arguments))
        assert str(ending.value.code).startswith("error: ") and words in ending.value.code, ending.value.code
    assert (tmp_path / "file").read_text() == "mine"


def test_the_table_fits_a_terminal(toy):
    """Fits the table into a terminal, with means and sample deviations."""
    parsed(toy)
    shown = toy.km.plots.Embedded(np.ones((10, 2)), np.arange(10))
    results = [
        toy.Result(dimension, name, seed, 0.5 + 0.125 * seed, 0.5, 0.031, 12.3, 45.6, 1.0, shown)
        for seed in (0, 1, 2)
        for dimension in (2, 3)
        for name in toy.NAMES
    ]
    console = Console(file=io.StringIO(), width=80)
    console.print(toy.table_of(results))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any("QAMFace m=0.1 + IAM" in line and "0.625±0.125" in line and "45.6±0.0°" in line for line in lines)
