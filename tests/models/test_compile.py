"""EmbeddingModel.compile, fit and evaluate take what Keras takes, and give what Keras gives."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km
from keras_margin.losses import IAM, CenterLoss

CLASSES = 4
JIT = keras.backend.backend() == "jax"
BASE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def data():
    """Four Gaussian clusters."""
    generator = np.random.default_rng(0)
    labels = np.arange(24) % CLASSES
    centers = 3 * generator.normal(size=(CLASSES, 6))
    return (centers[labels] + generator.normal(size=(24, 6))).astype("float32"), labels.astype("int32")


def backbone():
    return keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(seed=1))]
    )


def head(name="arcface", **options):
    return km.layers.HEADS[name](CLASSES, prototypes_initializer=keras.initializers.RandomNormal(seed=2), **options)


def embedding_model(name="arcface", optimizer=None, loss_weights=None, **options):
    model = km.EmbeddingModel(backbone(), head(name, **options))
    model.compile(optimizer or keras.optimizers.SGD(0.05), loss_weights=loss_weights, jit_compile=JIT)
    return model


# --- Metrics and weights, as Keras has them ---------------------------------------------------------------------------


def top2(name="top2"):
    return keras.metrics.SparseTopKCategoricalAccuracy(k=2, name=name)


METRICS = {
    "weighted alone": lambda: {"weighted_metrics": [top2()]},
    "both": lambda: {"metrics": [top2()], "weighted_metrics": [top2("weighted_top2")]},
    "bare": lambda: {"metrics": top2()},
    "string": lambda: {"metrics": "sparse_categorical_crossentropy"},
    "nested": lambda: {"metrics": [[top2()]]},
    "dict": lambda: {"metrics": {"output": top2()}},
    "dict of lists": lambda: {"metrics": {"output": [top2()]}, "weighted_metrics": {"output": [top2("weighted_top2")]}},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", METRICS)
def test_metrics_are_those_of_a_plain_keras_model(form, data):
    """Names and values are what keras.Sequential([backbone, head]) reports, with sample weights."""
    images, labels = data
    weights = np.linspace(0.0, 2.0, 24).astype("float32")
    model = km.EmbeddingModel(backbone(), head())
    model.compile("sgd", jit_compile=JIT, **METRICS[form]())
    layer = head()
    plain = keras.Sequential([keras.Input((6,)), backbone(), layer])
    given = METRICS[form]()
    if form in ("bare", "string"):
        given["metrics"] = [given["metrics"]]  # Keras itself wants a list.
    if "dict" in form:
        given = {kind: {layer.name: of_output["output"]} for kind, of_output in given.items()}
    plain.compile("sgd", loss=layer.loss, jit_compile=JIT, **given)
    found = model.evaluate(images, labels, sample_weight=weights, batch_size=24, verbose=0, return_dict=True)
    wanted = plain.evaluate(images, labels, sample_weight=weights, batch_size=24, verbose=0, return_dict=True)
    found.pop("accuracy")
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_accuracy_is_weighted_only_where_asked_for(data):
    """As in Keras: `accuracy` of metrics is not weighted, that of weighted_metrics is."""
    images, labels = data
    model = km.EmbeddingModel(backbone(), head())
    model.compile("sgd", metrics=["accuracy"], weighted_metrics=["accuracy"], jit_compile=JIT)
    unit = model.predict(images, verbose=0)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    prototypes = ops.convert_to_numpy(model.head.prototypes)
    nearest = np.argmax(unit @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T, axis=1)
    weights = np.where(nearest == labels, 1.0, 3.0).astype("float32")
    found = model.evaluate(images, labels, sample_weight=weights, verbose=0, return_dict=True)
    right = np.mean(nearest == labels)
    assert 0 < right < 1
    assert found["accuracy"] == pytest.approx(right)
    assert found["weighted_accuracy"] == pytest.approx(right / (right + 3 * (1 - right)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("given", [0.25, [0.25], {"output": 0.25}])
def test_loss_weights_multiply_the_loss(given, data):
    """Multiplies the loss by loss_weights."""
    images, labels = data
    whole, weighted = embedding_model(), embedding_model(loss_weights=given)
    wanted = whole.evaluate(images, labels, verbose=0, return_dict=True)
    found = weighted.evaluate(images, labels, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(0.25 * wanted["loss"], rel=1e-6)
    assert found["accuracy"] == wanted["accuracy"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metrics": {"a": ["acc"], "b": ["acc"]}}, "one output: metrics may have one key. Received: 'a', 'b'"),
        ({"weighted_metrics": [["acc"], ["acc"]]}, "one output: weighted_metrics must be one list"),
        ({"loss_weights": [1.0, 2.0]}, r"one loss: loss_weights is one number. Received: loss_weights=\[1.0, 2.0\]"),
        ({"loss_weights": "half"}, "one loss: loss_weights is one number. Received: loss_weights='half'"),
    ],
)
def test_compile_refuses_what_is_for_several_outputs(given, message):
    """Refuses arguments for several outputs."""
    with pytest.raises(ValueError, match=message):
        km.EmbeddingModel(backbone(), head()).compile("sgd", **given)


@pytest.mark.slow
@pytest.mark.parametrize("monitor", [keras.callbacks.ModelCheckpoint, keras.callbacks.EarlyStopping])
def test_accuracy_can_be_monitored_without_a_mode(monitor, data, tmp_path):
    """Keras finds out by itself that more is better."""
    images, labels = data
    model = embedding_model()
    options = (
        {"filepath": tmp_path / "best.keras", "save_best_only": True} if monitor.__name__ == "ModelCheckpoint" else {}
    )
    callbacks = [
        monitor(monitor="val_accuracy", **options),
        keras.callbacks.ReduceLROnPlateau("val_accuracy", patience=9),
    ]
    model.fit(images, labels, validation_data=(images, labels), epochs=2, callbacks=callbacks, verbose=0)
    for callback in callbacks:
        assert callback.monitor_op(1.0, 0.5), "an accuracy of 1 is better than one of 0.5"
        assert not callback.monitor_op(0.5, 1.0)


# --- Sample weights in the three ways ---------------------------------------------------------------------------------


def way_1(name, options):
    layer = head(name, **options)
    model = keras.Sequential([keras.Input((6,)), backbone(), layer])
    model.compile(keras.optimizers.SGD(0.05), loss=layer.loss, jit_compile=JIT)
    return model, layer, lambda images, labels, weights: images


def way_2(name, options):
    inputs = keras.Input((6,)), keras.Input((), dtype="int32"), keras.Input(())
    layer = head(name, **options)
    model = keras.Model(inputs, layer(backbone()(inputs[0]), inputs[1], inputs[2]))
    model.compile(keras.optimizers.SGD(0.05), loss=BASE, jit_compile=JIT)
    return model, layer, lambda images, labels, weights: [images, labels, weights]


def way_3(name, options):
    model = embedding_model(name, **options)
    return model, model.head, lambda images, labels, weights: images


# An auxiliary loss without weights, one with, and a margin with a loss of its own.
WEIGHED = {
    "arcface with iam": ("arcface", lambda: {"auxiliary_loss": IAM(0.5)}),
    "cosface with center loss": ("cosface", lambda: {"auxiliary_loss": CenterLoss(0.1)}),
    "magface": ("magface", lambda: {"lambda_g": 20.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WEIGHED)
def test_the_three_ways_train_equally_with_sample_weights(case, data):
    """Trains equally in the three ways with sample weights."""
    images, labels = data
    name, options = WEIGHED[case]
    weights = np.linspace(0.0, 3.0, 24).astype("float32")
    trained = []
    for way in (way_3, way_1, way_2):
        model, layer, inputs = way(name, options())
        model.fit(
            inputs(images, labels, weights),
            labels,
            sample_weight=weights,
            batch_size=8,
            epochs=2,
            shuffle=False,
            verbose=0,
        )
        dense = next(each for each in model._flatten_layers() if isinstance(each, keras.layers.Dense))
        trained.append([ops.convert_to_numpy(weight) for weight in (*dense.weights, *layer.weights)])
    start = [ops.convert_to_numpy(weight) for weight in backbone().weights]
    assert np.abs(trained[0][0] - start[0]).max() > 0.01, "it has trained"
    for other in trained[1:]:
        for found, want in zip(other, trained[0], strict=True):
            np.testing.assert_allclose(found, want, rtol=2e-4, atol=2e-5)


# --- Lambda's clock ---------------------------------------------------------------------------------------------------


def expected_lambda(step):
    return 1000 / (1 + 0.12 * step)


@pytest.mark.slow
def test_lambda_counts_updates_under_loss_scaling(data):
    """mixed_float16 wraps the optimiser that accumulates in a LossScaleOptimizer."""
    images, labels = data
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = embedding_model("sphereface", keras.optimizers.SGD(0.01, gradient_accumulation_steps=4))
        assert type(model.optimizer).__name__ == "LossScaleOptimizer"
        model.fit(images, labels, batch_size=3, epochs=2, verbose=0)
    finally:
        keras.config.set_dtype_policy(before)
    # 16 batches are 4 updates.
    assert model.head.annealing_lambda == pytest.approx(expected_lambda(4), rel=1e-6)


@pytest.mark.slow
def test_lambda_stays_when_accumulation_changes(data):
    """Compiled again with another accumulation, it goes on from where it is."""
    images, labels = data
    model = embedding_model("sphereface", keras.optimizers.SGD(0.01))
    model.fit(images, labels, batch_size=8, epochs=2, verbose=0)
    assert model.head.annealing_lambda == pytest.approx(expected_lambda(6), rel=1e-6)
    model.compile(keras.optimizers.SGD(0.01, gradient_accumulation_steps=3), jit_compile=JIT)
    assert model.head.annealing_lambda == pytest.approx(expected_lambda(6), rel=1e-6)
    model.fit(images, labels, batch_size=8, epochs=2, verbose=0)
    assert model.head.annealing_lambda == pytest.approx(expected_lambda(8), rel=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "float32"])
def test_the_symbols_dtype_is_that_of_the_embeddings(policy, data):
    """Also where the backbone ends in float32 under a policy of half precision, as those of this library do."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        for last in (None, "float32"):
            network = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, dtype=last)])
            model = km.EmbeddingModel(network, head())
            symbol, embeddings = model(keras.Input((6,))), model(data[0])
            assert symbol.dtype == keras.backend.standardize_dtype(embeddings.dtype)
            assert symbol.shape == (None, 3)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", ["arcface", "subcenter_arcface", "softmax"])
def test_a_heads_symbols_are_float32_under_every_policy(name):
    """As its cosines and logits are."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = km.layers.HEADS[name](CLASSES)
        embeddings, labels = keras.Input((3,), dtype="float16"), keras.Input((), dtype="int32")
        symbols = [layer(embeddings), layer(embeddings, labels)]
        half = ops.ones((2, 3), "float16")
        tensors = [layer(half), layer(half, ops.array([0, 1]))]
    finally:
        keras.config.set_dtype_policy(before)
    for each in (*symbols, *tensors):
        assert keras.backend.standardize_dtype(each.dtype) == "float32"
