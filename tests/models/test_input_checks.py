"""EmbeddingModel refuses labels of another form, and warns of pixels in another range, before it trains."""

import warnings

import keras
import numpy as np
import pytest

import keras_margin as km

CLASSES = 4
JIT = keras.backend.backend() == "jax"


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    return generator.normal(size=(24, 6)).astype("float32"), np.arange(24) % CLASSES


def embedding_model():
    model = km.EmbeddingModel(keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)]), km.ArcFaceHead(CLASSES))
    model.compile("sgd", jit_compile=JIT)
    return model


STRUCTURES = {
    "dict": lambda labels: {"person": labels, "camera": labels},
    "tuple": lambda labels: (labels, labels),
}


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("batch_size", [1, 8])
def test_structures_of_labels_are_refused_by_name(kind, batch_size, data):
    """Names structures of labels that it refuses."""
    images, labels = data
    with pytest.raises(TypeError, match=rf"one integer tensor \(batch,\). Received: a {kind} of 2"):
        embedding_model().fit(images, STRUCTURES[kind](labels), batch_size=batch_size, verbose=0)


@pytest.mark.tensorflow_only
def test_labels_of_unknown_rank_are_refused_with_a_fix(data):
    """Refuses labels of unknown rank with a fix."""
    import tensorflow as tf

    images, labels = data

    def unknown(image, label):
        label = tf.py_function(lambda x: x, [label], tf.int32)
        return tf.ensure_shape(image, (None, 6)), label

    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8).map(unknown)
    with pytest.raises(ValueError, match=r"labels of unknown rank.*labels.set_shape\(\[None\]\)"):
        embedding_model().fit(dataset, shuffle=False, verbose=0)


def test_validation_on_unseen_people_says_what_to_use(data):
    """Names the way to validate on unseen people."""
    images, labels = data
    with pytest.raises(ValueError, match="validation_data: .*labels from 4 to 7.*measure them by verification"):
        embedding_model().fit(images, labels, validation_data=(images, labels + CLASSES), verbose=0)


def rescaling_model():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs))
    model = km.EmbeddingModel(keras.Model(inputs, keras.layers.Dense(3)(x)), km.ArcFaceHead(CLASSES))
    model.compile("sgd", jit_compile=JIT)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fit", "evaluate"])
def test_pixels_divided_by_255_get_a_warning(call):
    """Where the network rescales bytes itself."""
    images = np.random.default_rng(0).uniform(0, 1, (8, 4, 4, 3)).astype("float32")
    with pytest.warns(
        UserWarning, match="begins with a Rescaling layer for pixels in .0, 255.: it would see them as black"
    ):
        getattr(rescaling_model(), call)(images, np.arange(8) % CLASSES, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_as_bytes_get_no_warning(dtype):
    """Gives no warning of pixels as bytes."""
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3)).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        rescaling_model().fit(images, np.arange(8) % CLASSES, verbose=0)
