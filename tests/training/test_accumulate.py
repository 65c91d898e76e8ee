"""`accumulate`: a batch computed in parts gives the update of the whole batch."""

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import training_runs  # noqa: E402

from keras_margin import training  # noqa: E402
from keras_margin.models import backbones  # noqa: E402

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """A network without batch norm and dropout."""

    def build(image_size):
        inputs = keras.Input((*image_size, 3))
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(inputs))
        return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.PReLU()(keras.layers.Dense(8)(x))))

    monkeypatch.setitem(backbones.BACKBONES, "plain", build)


def trained(accumulate, replicas=1, **changes):
    recipe = training_runs.recipe_of(backbone="plain", steps=8, decay_steps=(4,), accumulate=accumulate, **changes)
    strategy = training.make_strategy(replicas)
    return training.fit(recipe, training_runs.reader_of(), strategy=strategy, seed=3, reports=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"clip_norm": 0.05, "iam_beta": 0.1, "head": "arcface", "head_options": ()}],
    ids=["annealed", "clipped"],
)
def test_parts_give_the_update_of_the_whole_batch(changes):
    """To 1e-5: weights after eight updates, lambda, and the loss and accuracy that are reported."""
    wanted, found = trained(1, **changes), trained(4, **changes)
    for one, other in zip(found.model.weights, wanted.model.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-5, err_msg=one.path)
    for (_, one), (_, other) in zip(found.history, wanted.history, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    if "head" not in changes:
        # Eight updates, not thirty-two batches.
        assert found.model.head.annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 8), rel=1e-6)


@pytest.mark.slow
def test_parts_are_split_over_replicas():
    """Splits parts over the replicas."""
    wanted, found = trained(1), trained(3, replicas=2)
    for one, other in zip(found.model.trainable_weights, wanted.model.trainable_weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-5, err_msg=one.path)


def test_parts_that_do_not_divide_the_batch_are_refused():
    """Refuses parts that do not divide the batch."""
    with pytest.raises(ValueError, match="accumulate must divide batch_size.*accumulate=5, batch_size=12"):
        training_runs.recipe_of(accumulate=5)
    with pytest.raises(ValueError, match=r"batch_size=12 does not split evenly over 2 replicas in 4 parts each"):
        trained(4, replicas=2)


def test_a_head_that_samples_its_classes_is_refused():
    """Refuses a head that samples its classes."""
    options = (("sample_rate", 0.5),)
    with pytest.raises(
        ValueError, match="takes the gradient of a whole batch. Received: accumulate=2, sample_rate=0.5"
    ):
        trained(2, head="arcface", head_options=options)
