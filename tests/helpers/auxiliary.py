"""What the tests of every auxiliary loss share: a batch, a head, and that head's loss as a float64 formula."""

import keras
import numpy as np
from gradients import differences, of_head, relative_error, value_and_gradients
from keras import ops

import keras_margin as km
from keras_margin.ops.sample import LossInputs, Sample

CLASSES, SIZE, SCALE = 5, 4, 8.0
# Class 0 has many samples, class 3 one, class 4 none.
LABELS = np.array([0, 1, 0, 2, 0, 1, 3, 2, 0])


def batch(seed=0):
    """Embeddings and prototypes."""
    generator = np.random.default_rng(seed)
    embeddings = 2.0 * generator.normal(size=(len(LABELS), SIZE)).astype("float32")
    return embeddings, generator.normal(size=(CLASSES, SIZE)).astype("float32")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def angles(a, b):
    return np.arccos(np.clip(unit(a) @ unit(b).T, -1, 1))


def softmax_loss(embeddings, prototypes, labels):
    """NormSoftmax's cross-entropy, float64 (batch,)."""
    logits = SCALE * unit(embeddings) @ unit(prototypes).T
    largest = logits.max(axis=1)
    log_all = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    return log_all - logits[np.arange(len(labels)), labels]


def head_with(loss, num_classes=CLASSES, size=SIZE):
    head = km.NormSoftmaxHead(num_classes, scale=SCALE, auxiliary_loss=loss)
    head.build((None, size))
    return head


def inputs_of(embeddings, labels=LABELS, valid=None, training=False):
    """The LossInputs of embeddings of which nothing else is known."""
    labels = ops.array(labels, "int32")
    return LossInputs(Sample(None, None, None, labels, valid, embeddings), CLASSES, training=training)


def assert_exact_in_a_head(loss, formula, from_cosines=False):
    """The head's loss with the auxiliary one is softmax_loss + formula(x, w, labels), in value and gradients.

    The formula is weighted. `from_cosines`: by `head.loss` too, whose embeddings come with the cosines.
    """
    embeddings, prototypes = batch()
    head = head_with(loss)
    exact = embeddings.astype("float64"), prototypes.astype("float64")

    def total(x, w):
        return softmax_loss(x, w, LABELS) + formula(x, w, LABELS)

    wanted = total(*exact)
    assert np.max(np.abs(formula(*exact, LABELS))) > 0.05 * np.max(wanted), "the loss must show in the sum"
    wanted_gradients = differences(total, *exact)
    labels = ops.array(LABELS, "int32")
    ways = [lambda x: head.compute_loss(x, labels)]
    if from_cosines:
        ways.append(lambda x: head.loss_from_cosines(labels, head.call(x)))
    for function in ways:
        value, gradients = value_and_gradients(of_head(head, function), embeddings, prototypes)
        assert relative_error(value, wanted) < 1e-6
        for found, want in zip(gradients, wanted_gradients, strict=True):
            assert relative_error(found, want) < 1e-5


def compiled(function, *arrays):
    """Arrays that `function` returns out of a compiled program, where nothing can be raised; eagerly on PyTorch."""
    if keras.backend.backend() == "torch":
        return [ops.convert_to_numpy(found) for found in function(*map(ops.array, arrays))]
    if keras.backend.backend() == "jax":
        import jax

        return [np.asarray(found) for found in jax.jit(function)(*arrays)]
    import tensorflow as tf

    program = tf.function(function, jit_compile=True, autograph=False)
    return [found.numpy() for found in program(*map(tf.constant, arrays))]


def backbone():
    inputs = keras.Input((6,))
    return keras.Model(inputs, keras.layers.Dense(SIZE)(keras.layers.Dense(8, activation="relu")(inputs)))


def clusters():
    """Images and labels of five Gaussian clusters."""
    generator = np.random.default_rng(0)
    labels = np.arange(40) % CLASSES
    centers = 2 * generator.normal(size=(CLASSES, 6))
    return (centers[labels] + generator.normal(size=(40, 6))).astype("float32"), labels.astype("int32")
