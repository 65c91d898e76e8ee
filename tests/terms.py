"""What the tests of every loss beside the margin share: a batch, a head, and that head's loss as a float64 formula."""

import keras
import numpy as np
from gradients import differences, of_head, relative_error, value_and_gradients
from keras import ops

import keras_margin as km
from keras_margin.losses import Terms

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


def head_with(term, num_classes=CLASSES, size=SIZE):
    head = km.NormSoftmaxHead(num_classes, scale=SCALE, auxiliary_loss=term)
    head.build((None, size))
    return head


def terms_of(embeddings, labels=LABELS, **known):
    return Terms(labels=ops.array(labels, "int32"), num_classes=CLASSES, embeddings=embeddings, **known)


def assert_exact_in_a_head(term, formula, from_cosines=False):
    """The head's loss with the term is softmax_loss + formula(x, w, labels), in value and gradients.

    The formula is weighted. `from_cosines`: by `head.loss` too, whose embeddings are those noted beside the cosines.
    """
    embeddings, prototypes = batch()
    head = head_with(term)
    exact = embeddings.astype("float64"), prototypes.astype("float64")

    def total(x, w):
        return softmax_loss(x, w, LABELS) + formula(x, w, LABELS)

    wanted = total(*exact)
    assert np.max(np.abs(formula(*exact, LABELS))) > 0.05 * np.max(wanted), "the term must show in the sum"
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


def assert_survives_its_config(term):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(term))
    assert type(again) is type(term)
    assert again.get_config() == term.get_config()
