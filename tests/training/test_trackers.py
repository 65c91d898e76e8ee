"""Weights & Biases and MLflow by their own Keras callbacks, offline; skipped where they are not installed."""

import sys

import pytest

tf = pytest.importorskip("tensorflow")
import training_runs  # noqa: E402

from keras_margin import callbacks, training  # noqa: E402

# Their own warnings are theirs.
pytestmark = [pytest.mark.tensorflow_only, pytest.mark.filterwarnings("ignore")]

MODULE = """
def wandb(recipe, seed):
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    wandb.init(project="faces", mode="offline", config={"learning_rate": recipe.schedule.learning_rate, "seed": seed})
    return WandbMetricsLogger(log_freq=2)


def mlflow(recipe):
    import mlflow
    from mlflow.keras import MlflowCallback

    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.start_run(run_name=recipe.name)
    return MlflowCallback()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the module `offline_trackers` in it."""
    (tmp_path / "offline_trackers.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield tmp_path
    sys.modules.pop("offline_trackers", None)


def fit(name):
    recipe = training_runs.recipe_of(steps=4, decay_steps=(), decay="constant", callbacks=(f"offline_trackers:{name}",))
    verification = callbacks.Verification(training_runs.reader_of(20), name="lfw")
    trained = training.fit(recipe, training_runs.reader_of(), seed=3, reports=2, callbacks=[verification])
    return trained, verification


def test_weights_and_biases_logs_a_run_offline(folder):
    """Loss, rate and the figures of verification are in its summary, and its files in the folder."""
    wandb = pytest.importorskip("wandb")
    trained, verification = fit("wandb")
    found = dict(wandb.run.summary)
    wandb.finish()
    assert found["epoch/loss"] == pytest.approx(trained.history[-1][1]["loss"])
    assert found["epoch/lfw_accuracy"] == pytest.approx(verification.history[-1][1]["lfw_accuracy"])
    assert found["batch/learning_rate"] == pytest.approx(0.05) and found["batch/loss"] > 0
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))


def test_mlflow_logs_a_run_into_a_local_store(folder):
    """Loss and verification of each report, the optimiser's numbers and the model's summary."""
    mlflow = pytest.importorskip("mlflow")
    trained, verification = fit("mlflow")
    run = mlflow.active_run().info.run_id
    mlflow.flush_async_logging()
    mlflow.end_run()
    client = mlflow.MlflowClient()
    losses = [each.value for each in client.get_metric_history(run, "loss")]
    assert losses == pytest.approx([logs["loss"] for _, logs in trained.history])
    accuracies = [each.value for each in client.get_metric_history(run, "lfw_accuracy")]
    assert accuracies == pytest.approx([row["lfw_accuracy"] for _, row in verification.history])
    assert client.get_run(run).data.params["optimizer_momentum"] == "0.9"
