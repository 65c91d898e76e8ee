"""Runs that are broken on purpose: the diagnostics names the cause, and keeps silent where nothing is wrong."""

import logging
import math
import types

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import training_runs  # noqa: E402

from keras_margin import callbacks, layers, training  # noqa: E402
from keras_margin.callbacks import _batch_statistics  # noqa: E402
from keras_margin.callbacks._batch_statistics import BatchStatistics  # noqa: E402
from keras_margin.data import ArrayReader  # noqa: E402

pytestmark = pytest.mark.tensorflow_only


def treated(reader=None, **changes):
    """The diagnostics after a run of 200 updates."""
    diagnostics = callbacks.TrainingDiagnostics(every=10, patience=100)
    plain = {"head": "arcface", "steps": 200, "decay_steps": (), "decay": "constant", "learning_rate": 0.05}
    plain["backbone_options"] = (("dropout", 0.0),)
    training.fit(
        training_runs.recipe_of(**{**plain, **changes}),
        reader or training_runs.reader_of(120, classes=12),
        seed=1,
        callbacks=[diagnostics],
    )
    return diagnostics


@pytest.mark.slow
def test_a_sound_run_is_left_in_peace():
    """Reports nothing about a sound run."""
    diagnostics = treated()
    assert diagnostics.sentences == []
    # The first batch, and every tenth.
    assert len(diagnostics.statistics) == 21 and diagnostics.statistics[-1].theta < diagnostics.statistics[0].theta


@pytest.mark.slow
def test_shuffled_labels_are_named(caplog):
    """Names shuffled labels."""
    reader = training_runs.reader_of(1200, classes=60)
    images, labels = reader.arrays()
    labels = np.random.default_rng(0).permutation(labels)
    with caplog.at_level(logging.WARNING, "keras_margin.training"):
        diagnostics = treated(ArrayReader(images, labels, reader.label_names))
    assert diagnostics.sentences[0].startswith("The labels look shuffled: after 100 updates")
    assert diagnostics.sentences[0] in caplog.text
    assert not any("margin" in sentence for sentence in diagnostics.sentences)


@pytest.mark.slow
def test_a_stalled_sphereface_is_named():
    """Lambda at its floor from the first update on, and the floor at 0: the raw margin of 4, at a high rate."""
    options = (("scale", 16.0), ("base", 0.0), ("lambda_min", 0.0))
    reader = training_runs.reader_of(1200, classes=60)
    diagnostics = treated(reader, head="sphereface", head_options=options, learning_rate=1.0)
    assert any(sentence.startswith("SphereFaceHead has stalled: accuracy") for sentence in diagnostics.sentences)
    assert not any("shuffled" in sentence for sentence in diagnostics.sentences)


@pytest.mark.slow
def test_a_margin_too_large_from_scratch_is_named():
    """Names a margin that is too large from scratch."""
    reader = training_runs.reader_of(1200, classes=60)
    diagnostics = treated(reader, head_options=(("margin", 2.8), ("scale", 64.0)), learning_rate=0.5)
    (sentence,) = [
        sentence
        for sentence in diagnostics.sentences
        if sentence.startswith("The margin, ArcFace(margin=2.8") and "is too large" in sentence
    ]
    assert "margin_warmup_steps" in sentence
    assert not any("shuffled" in sentence for sentence in diagnostics.sentences)


@pytest.mark.slow
def test_an_exploding_length_is_named():
    """Names an exploding length."""
    diagnostics = treated(head_options=(("scale", 16.0),), learning_rate=200.0, weight_decay=0.0)
    assert diagnostics.sentences[0].startswith("The embeddings' length explodes: from")
    assert not any("The margin, " in sentence for sentence in diagnostics.sentences)


@pytest.mark.slow
def test_the_first_tensor_that_is_no_number_is_named(caplog):
    """Names the first tensor that is NaN or infinite."""
    diagnostics = callbacks.TrainingDiagnostics()
    recipe = training_runs.recipe_of(head="arcface", learning_rate=1e30, steps=30, decay_steps=())
    with pytest.raises(ValueError, match="finite embeddings"):
        training.fit(recipe, training_runs.reader_of(), seed=1, callbacks=[diagnostics])
    (sentence,) = diagnostics.sentences
    assert "the first to hold NaN or inf is" in sentence and "clip_norm" in sentence


def test_the_tensor_named_is_the_first():
    """Names the first of several such tensors."""
    network = training_runs.small((8, 8))
    images = np.ones((2, 8, 8, 3), "float32")
    assert _batch_statistics.first_not_finite(network, images) is None
    assert _batch_statistics.first_not_finite(network, images * math.nan) == "the images themselves"
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten(name="flat")(inputs)
    x = keras.layers.Activation(lambda x: 1 / (x - x), name="divides")(x)
    assert _batch_statistics.first_not_finite(keras.Model(inputs, x * 2), images).startswith(
        "the output of the layer divides "
    )
    network.get_layer("last").kernel.assign(network.get_layer("last").kernel * math.inf)
    assert _batch_statistics.first_not_finite(network, images).startswith(
        "the weight "
    ) and "last" in _batch_statistics.first_not_finite(network, images)


def test_classes_without_an_image_are_counted():
    """Counts classes without an image."""
    reader = training_runs.reader_of()
    gap = ArrayReader(*reader.arrays(), reader.label_names)
    gap.label_names = (*gap.label_names, "nobody")  # A reader of ours refuses such labels; another's may not.
    diagnostics = callbacks.TrainingDiagnostics()
    diagnostics.set_run(types.SimpleNamespace(recipe=training_runs.recipe_of(), reader=gap))
    diagnostics.on_train_begin()
    assert diagnostics.sentences[0].startswith("1 of 7 prototypes are never sampled: no image has the label 6.")


def test_statistics_of_a_batch_whose_angles_are_known():
    """Two prototypes at right angles; embeddings at 30, 45 and 60 degrees from the first, of length 2."""
    head = layers.ArcFaceHead(2, margin=0.5, scale=64.0)
    head.build((None, 3))
    head.prototypes.assign([[3.0, 0, 0], [0, 0.1, 0]])
    angles = np.radians([30.0, 45.0, 60.0])
    embeddings = 2 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    found = BatchStatistics(**vars(_batch_statistics.measure(head, embeddings, np.array([0, 0, 1]))))
    # The third is at 30 degrees from its own, the second prototype.
    assert found.theta == pytest.approx((30 + 45 + 30) / 3) and found.nearest == pytest.approx((60 + 45 + 60) / 3)
    assert found.length == pytest.approx(2) and found.past_pi == 0
    # 64 (cos 30 - cos 60) = 23.4 is under 30; 64 (cos 45 - cos 45) = 0.
    assert found.saturated == 0 and found.dead == pytest.approx(1 / 3)
    assert found.spread == pytest.approx((15 + 15 + 30) / 3)
    wide = layers.ArcFaceHead(2, margin=3.0, scale=100.0)
    wide.build((None, 3))
    wide.prototypes.assign(head.prototypes)
    found = _batch_statistics.measure(wide, embeddings, np.array([0, 0, 1]))
    # 3 + 0.52 > pi for all; 100 (cos 30 - cos 60) = 36.6 > 30 for two of three.
    assert found.past_pi == 1 and found.saturated == pytest.approx(2 / 3)
