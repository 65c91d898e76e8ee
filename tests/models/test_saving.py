"""What is saved of an EmbeddingModel comes back."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km

CLASSES = 3
JIT = keras.backend.backend() == "jax"
IMAGES = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
LABELS = np.arange(12) % CLASSES


@keras.saving.register_keras_serializable("tests_models")
class Subclassed(keras.Model):
    """A backbone that defines `call` alone, without `training` and `compute_output_shape`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(4)
        self.norm = keras.layers.BatchNormalization()

    def call(self, inputs):
        return self.norm(self.dense(inputs))


def network():
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])


def trained(backbone=None, head=None, **compiled):
    model = km.EmbeddingModel(backbone or network(), head or km.ArcFaceHead(CLASSES))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), jit_compile=JIT, **compiled)
    model.fit(IMAGES, LABELS, batch_size=6, verbose=0)
    return model


@pytest.mark.slow
def test_a_subclassed_backbone_trains_and_is_saved(tmp_path):
    """Its output's size is found out by calling it."""
    model = trained(Subclassed())
    assert model.head.prototypes.shape == (CLASSES, 4)
    assert model.embedder.dense.kernel.shape == (5, 4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again.embedder, Subclassed)
    np.testing.assert_array_equal(again.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    wanted = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    assert again.evaluate(IMAGES, LABELS, verbose=0, return_dict=True) == pytest.approx(wanted)
    again.fit(IMAGES, LABELS, verbose=0)


@pytest.mark.slow
def test_a_subclassed_backbone_is_built_by_a_symbol():
    """Builds a subclassed backbone by a symbolic call."""
    model = km.EmbeddingModel(Subclassed(), km.ArcFaceHead(CLASSES))
    assert model(keras.Input((5,))).shape == (None, 4)
    assert model.head.prototypes.shape == (CLASSES, 4)


@pytest.mark.slow
def test_a_file_remembers_what_compile_was_given(tmp_path):
    """Metrics, weighted metrics, loss weights and the optimiser with its state."""
    weights = np.linspace(0, 1, 12).astype("float32")
    metrics = [keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")]
    model = trained(metrics=metrics, weighted_metrics=["accuracy"], loss_weights=0.5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    wanted = model.evaluate(IMAGES, LABELS, sample_weight=weights, verbose=0, return_dict=True)
    assert set(wanted) == {"loss", "accuracy", "top2", "weighted_accuracy"}
    found = again.evaluate(IMAGES, LABELS, sample_weight=weights, verbose=0, return_dict=True)
    assert found == pytest.approx(wanted)
    for each in (model, again):
        each.fit(IMAGES, LABELS, batch_size=6, shuffle=False, verbose=0)
    for found, want in zip(again.weights, model.weights, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(want), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("save", [keras.Model.save, keras.saving.save_model], ids=["save", "save_model"])
def test_hdf5_keeps_head_state_and_auxiliary_losses(save, tmp_path):
    """An .h5 file, however it is written, is read back whole: weights, annealing step, centers, and the same loss."""
    head = km.SphereFaceHead(3, auxiliary_loss=km.losses.IAM(0.1) + km.losses.CenterLoss())
    model = trained(head=head)
    save(model, tmp_path / "model.h5")
    again = keras.saving.load_model(tmp_path / "model.h5")
    assert again.head.annealing_lambda == model.head.annealing_lambda
    for found, want in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(found), ops.convert_to_numpy(want))
    assert again.evaluate(IMAGES, LABELS, verbose=0) == model.evaluate(IMAGES, LABELS, verbose=0)


def test_frozen_layers_of_a_file_stay_frozen(tmp_path):
    """A .keras file brings each layer back trainable or not, as it was saved."""
    layers = [keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(4)]
    model = km.EmbeddingModel(keras.Sequential(layers), km.ArcFaceHead(CLASSES))
    model.embedder.layers[0].trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert [each.trainable for each in (*again.embedder.layers, again.head, again)] == [False, True, True, True]
