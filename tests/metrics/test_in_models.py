"""The metrics in an EmbeddingModel: `compile`, `fit`, `evaluate`, callbacks, replicas, files."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km

CLASSES, COUNT = 5, 40
JIT = keras.backend.backend() == "jax"


@pytest.fixture(scope="module")
def data():
    """Five overlapping clusters."""
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.arange(COUNT) % CLASSES)
    centers = generator.normal(size=(CLASSES, 6))
    return (centers[labels] + generator.normal(size=(COUNT, 6))).astype("float32"), labels.astype("int32")


def model_with(metrics, optimizer=None, **options):
    dense = keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(seed=1))
    head = km.ArcFaceHead(CLASSES, prototypes_initializer=keras.initializers.RandomNormal(seed=2))
    model = km.EmbeddingModel(keras.Sequential([keras.Input((6,)), dense]), head)
    model.compile(optimizer or keras.optimizers.SGD(0.05), metrics=metrics, jit_compile=JIT, **options)
    return model


def every_metric():
    return [
        km.metrics.EqualErrorRate(),
        km.metrics.TARAtFAR(0.05),
        km.metrics.AUC(),
        km.metrics.RecallAtK(1),
        km.metrics.MeanAveragePrecisionAtR(),
        km.metrics.MeanTargetAngle(),
    ]


def alone(metric, model, data):
    """The value of a metric that gets the model's output, in one batch."""
    images, labels = data
    embeddings = model.predict(images, verbose=0)
    of_cosines = isinstance(metric, km.metrics.MeanTargetAngle)
    metric.update_state(labels, model.head(embeddings) if of_cosines else embeddings)
    return float(metric.result())


NAMES = {"equal_error_rate", "tar_at_far_5e-02", "auc", "recall_at_1", "mean_average_precision_at_r"}
NAMES |= {"mean_target_angle"}


@pytest.mark.slow
def test_history_has_every_metric_of_training_and_validation(data):
    """Under Keras's names; the last validation is what the metrics give for the model as it is."""
    model = model_with(every_metric())
    history = model.fit(*data, batch_size=20, epochs=2, validation_data=data, verbose=0).history
    assert history.keys() == NAMES | {f"val_{name}" for name in NAMES} | {
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
    }
    for metric in every_metric():
        assert history[f"val_{metric.name}"][-1] == pytest.approx(alone(metric, model, data), abs=1e-4)
        assert np.isfinite(history[metric.name]).all()


@pytest.mark.slow
def test_the_mean_target_angle_is_that_of_float64(data):
    """Computes the mean target angle of float64."""
    model = model_with([km.metrics.MeanTargetAngle()])
    x = model.predict(data[0], verbose=0).astype(np.float64)
    own = ops.convert_to_numpy(model.head.prototypes).astype(np.float64)[data[1]]
    cosines = np.sum(x * own, axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(own, axis=1)
    found = model.evaluate(*data, verbose=0, return_dict=True)["mean_target_angle"]
    assert found == pytest.approx(np.degrees(np.arccos(cosines)).mean(), rel=1e-4)


@pytest.mark.slow
def test_the_metrics_leave_training_as_it_is(data):
    """Trains to the same weights with the metrics as without."""

    def trained(metrics):
        model = model_with(metrics)
        model.fit(*data, batch_size=20, epochs=2, shuffle=False, verbose=0)
        return [ops.convert_to_numpy(weight) for weight in model.trainable_weights]

    for found, wanted in zip(trained([km.metrics.AUC()]), trained(None), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_sample_weights_reach_weighted_metrics_alone(data):
    """Passes sample weights to weighted metrics alone."""
    images, labels = data
    weights = np.where(np.arange(COUNT) % 2, 2.0, 0.0).astype("float32")
    model = model_with([km.metrics.AUC(name="plain")], weighted_metrics=[km.metrics.AUC(name="weighted")])
    found = model.evaluate(images, labels, sample_weight=weights, verbose=0, return_dict=True)
    half = images[1::2], labels[1::2]
    assert found["plain"] == pytest.approx(alone(km.metrics.AUC(), model, data), abs=1e-6)
    assert found["weighted"] == pytest.approx(alone(km.metrics.AUC(), model, half), abs=1e-6)
    assert found["plain"] != pytest.approx(found["weighted"], abs=1e-3)


@pytest.mark.slow
def test_callbacks_know_which_way_is_better(data, tmp_path):
    """ModelCheckpoint without a mode keeps the lowest error rate and the highest recall."""
    for metric, better in ((km.metrics.EqualErrorRate(), 0.1), (km.metrics.RecallAtK(1), 0.9)):
        best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", f"val_{metric.name}", save_best_only=True)
        model_with([metric]).fit(*data, validation_data=data, callbacks=[best], verbose=0)
        assert best.monitor_op(better, 0.5) and not best.monitor_op(0.5, better)


@pytest.mark.slow
def test_a_model_that_is_not_built_yet_takes_them(data):
    """A subclassed backbone shows its size with the first batch."""

    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = km.EmbeddingModel(Network(), km.ArcFaceHead(CLASSES))
    model.compile("sgd", metrics=[km.metrics.RecallAtK(1)], jit_compile=JIT)
    assert 0 < model.fit(*data, verbose=0).history["recall_at_1"][0] <= 1


@pytest.mark.slow
def test_a_model_compiled_again_has_the_new_metrics_alone(data):
    """Replaces the metrics of a model that is compiled again."""
    model = model_with([km.metrics.RecallAtK(1)])
    model.compile("sgd", metrics=[km.metrics.AUC()], jit_compile=JIT)
    assert set(model.evaluate(*data, verbose=0, return_dict=True)) == {"loss", "accuracy", "auc"}


@pytest.mark.slow
def test_a_file_has_the_metrics_that_were_compiled(data, tmp_path):
    """Restores the compiled metrics from a file."""
    model = model_with(
        [km.metrics.RecallAtK(3), "sparse_categorical_crossentropy"], weighted_metrics=[km.metrics.AUC()]
    )
    wanted = model.evaluate(*data, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras").evaluate(*data, verbose=0, return_dict=True)
    assert found == pytest.approx(wanted, rel=1e-4) and {"recall_at_3", "auc"} <= set(found)


@pytest.mark.slow
def test_a_plain_model_that_puts_out_embeddings_takes_them(data):
    """With a Keras loss on (labels, embeddings), such as AngularTripletLoss."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    model.compile("sgd", km.losses.AngularTripletLoss(), metrics=[km.metrics.RecallAtK(1)], jit_compile=JIT)
    found = model.evaluate(*data, batch_size=COUNT, verbose=0, return_dict=True)
    metric = km.metrics.RecallAtK(1)
    metric.update_state(data[1], model.predict(data[0], verbose=0))
    assert found["recall_at_1"] == pytest.approx(float(metric.result()), abs=1e-6)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_two_replicas_give_the_values_of_one_device(data):
    """The pairs across the replicas are among them; of the last batch, of one image, one replica has none."""
    from keras_margin import training

    images, labels = data[0][:33], data[1][:33]
    some = [km.metrics.EqualErrorRate(), km.metrics.MeanAveragePrecisionAtR(), km.metrics.MeanTargetAngle()]
    wanted = model_with(some).evaluate(images, labels, batch_size=16, verbose=0, return_dict=True)
    with training.make_strategy(2).scope():
        model = model_with(None)
    # Outside of the scope: the variables are made under the model's strategy all the same.
    again = [keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric)) for metric in some[:2]]
    model.compile("sgd", metrics=again, jit_compile=False)
    found = model.evaluate(images, labels, batch_size=16, verbose=0, return_dict=True)
    assert found == pytest.approx({name: wanted[name] for name in found}, rel=1e-4) and len(found) == 4
