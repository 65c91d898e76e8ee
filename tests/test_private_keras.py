"""Each private API of Keras that the library uses does what `_keras` needs it for; fails when Keras moves it."""

import re

import keras
import numpy as np
import pytest
from keras import ops
from source_tree import ROOT

from keras_margin import _keras

JIT = keras.backend.backend() == "jax"
X = np.arange(6.0).reshape(3, 2).astype("float32")


class Probe(keras.layers.Layer):
    """Passes its input on; keeps what `look` returns in each call."""

    def __init__(self, look):
        super().__init__()
        self._look, self.seen = look, []

    def call(self, inputs):
        self.seen.append(self._look())
        return inputs


def test_a_symbolic_call_is_told_from_a_real_one():
    """Distinguishes a symbolic call from a real one."""
    probe = Probe(_keras.in_symbolic_scope)
    probe(ops.array(X))
    assert probe.seen == [False]
    probe.compute_output_spec(keras.KerasTensor((3, 2)))
    assert probe.seen == [False, True]


LOSS = keras.losses.MeanSquaredError()
PRIVATE = re.compile(r"\bkeras\.src\b|\._(flatten_layers|compile_metrics|aggregate_additional_loss|direction)\b")


@pytest.mark.parametrize(("compiled", "wanted"), [(LOSS, LOSS), ([LOSS], LOSS), ("mse", "mse"), (None, None)])
def test_a_layer_can_ask_for_the_compiled_loss(compiled, wanted):
    """Finds the compiled loss from a layer."""
    probe = Probe(_keras.compiled_loss)
    model = keras.Sequential([keras.Input((2,)), probe])
    if compiled is not None:
        model.compile("sgd", loss=compiled)
    probe.seen.clear()
    model(X)
    assert probe.seen == [wanted]


def test_outside_of_a_model_there_is_no_compiled_loss():
    """Finds no compiled loss outside of a model."""
    probe = Probe(_keras.compiled_loss)
    probe(ops.array(X))
    assert probe.seen == [None]


def test_of_two_losses_none_is_the_one():
    """Finds none among two losses."""
    probe = Probe(_keras.compiled_loss)
    inputs = keras.Input((2,))
    outputs = probe(inputs)
    model = keras.Model(inputs, [outputs, outputs + 1])
    model.compile("sgd", loss=[LOSS, "mse"])
    probe.seen.clear()
    model(X)
    assert probe.seen == [None]


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        ("sparse_categorical_crossentropy", True),
        (keras.losses.categorical_crossentropy, True),
        (keras.losses.SparseCategoricalCrossentropy(), True),
        (keras.losses.CategoricalFocalCrossentropy(), True),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), False),
        ("mse", False),
        (lambda y_true, y_pred: y_pred, False),
        ("no such loss", False),
    ],
)
def test_losses_of_probabilities_are_known(loss, wanted):
    """Knows the losses of probabilities."""
    assert _keras.takes_probabilities(loss) is wanted


class Monitored(keras.Model):
    """A model with a MaximizedMean next to no compiled metrics."""

    def __init__(self):
        super().__init__()
        self.score = _keras.MaximizedMean("score")

    def call(self, inputs):
        return inputs


@pytest.mark.parametrize("monitor", ["score", "val_score"])
def test_callbacks_maximize_a_maximized_mean(monitor):
    """Lets callbacks maximize a maximized mean."""
    model = Monitored()
    model.compile("sgd", loss="mse")
    callback = keras.callbacks.EarlyStopping(monitor)
    callback.set_model(model)
    callback._set_monitor_op()
    assert callback.monitor_op is ops.greater


def test_a_maximized_mean_is_a_mean_among_the_models_metrics():
    """Lists a maximized mean among the model's metrics as a mean."""
    model = Monitored()
    model.compile("sgd", loss="mse")
    model.score.update_state([1.0, 0.0, 0.0, 1.0])
    model.score.update_state([1.0])
    assert float(model.get_metrics_result()["score"]) == pytest.approx(0.6)
    model.reset_metrics()
    assert float(model.score.result()) == 0
    assert len(model.score.variables) == 2, "total and count, which the JAX trainer carries along"


def test_compiled_metrics_hold_all_that_was_compiled():
    """Holds all compiled metrics."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", loss="mse", metrics=["mae"], weighted_metrics=["mse"], jit_compile=JIT)
    compiled = _keras.compiled_metrics(model)
    assert not compiled.built
    model.evaluate(X, X, verbose=0)
    assert compiled.built and [metric.name for metric in compiled.metrics] == ["mae", "mse"]
    compiled.reset_state()
    compiled.update_state(ops.array(X), ops.array(X + 2), ops.array([1.0, 1.0, 0.0]))
    assert {name: float(value) for name, value in compiled.result().items()} == pytest.approx({"mae": 2.0, "mse": 4.0})
    bare = keras.Sequential([keras.Input((2,))])
    bare.compile("sgd", loss="mse")
    assert _keras.compiled_metrics(bare) is None


def test_an_added_loss_counts_with_its_sum():
    """Counts an added loss with its sum."""
    model = keras.Sequential([keras.Input((2,))])
    assert float(_keras.added_loss(model, ops.array([1.0, 2.5]))) == 3.5


@pytest.mark.tensorflow_only
def test_an_added_loss_is_shared_by_the_replicas():
    """Shares an added loss among the replicas."""
    import tensorflow as tf

    from keras_margin import training

    with training.make_strategy(2).scope():
        model = keras.Sequential([keras.Input((2,))])
        assert tf.distribute.get_strategy().num_replicas_in_sync == 2
        assert float(_keras.added_loss(model, ops.array(3.0))) == 1.5


def test_all_layers_are_those_inside_of_layers_too():
    """Lists the layers inside of layers too."""
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="within")])
    model = keras.Sequential([keras.Input((2,)), inner, keras.layers.Dense(1, name="last")])
    found = _keras.all_layers(model)
    assert {"within", "last", inner.name} <= {layer.name for layer in found}
    assert model not in found


@pytest.mark.once
def test_keras_src_is_imported_in_one_file():
    """Imports keras.src in one file."""
    found = {path.name for path in (ROOT / "keras_margin").rglob("*.py") if PRIVATE.search(path.read_text())}
    assert found == {"_keras.py"}


def test_a_metric_group_puts_its_values_into_the_logs():
    """By the names of its metrics, whose direction callbacks find; a group of none adds nothing."""
    low = keras.metrics.Mean(name="low")
    _keras.set_direction(low, "down")

    class Model(keras.Sequential):
        def __init__(self):
            super().__init__([keras.layers.Dense(1)])
            self.group, self.empty = _keras.MetricGroup([low], "group"), _keras.MetricGroup([], "empty")

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            low.update_state(ops.sum(x) * 0 + 0.25)
            return self.get_metrics_result()

    model = Model()
    model.compile("sgd", "mse", jit_compile=JIT)
    stop = keras.callbacks.EarlyStopping(monitor="low")
    history = model.fit(X, X[:, :1], callbacks=[stop], verbose=0).history
    assert history["low"] == [0.25] and set(history) == {"loss", "low"}
    assert stop.monitor_op(0.1, 0.2) and not stop.monitor_op(0.2, 0.1)
