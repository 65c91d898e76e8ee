"""The contract of a Keras layer, one check a promise, for any layer of embeddings and, if given, labels.

As keras-hub's `run_layer_test`, but each check is a test of its own, so that a failure does not hide the others:

    @pytest.mark.parametrize("check", CHECKS)
    def test_the_layer_keeps_its_promises(check, tmp_path):
        CHECKS[check](LayerCase(...), tmp_path)
"""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable

import keras
import numpy as np
from gradients import value_and_gradients
from keras import ops


@dataclasses.dataclass(frozen=True)
class Weight:
    """What a weight is created as."""

    shape: tuple
    trainable: bool = True
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class LayerCase:
    """A layer and what it promises.

    Args:
        make: Returns a new layer that is not built; takes `dtype=`.
        embeddings: Float array (batch, size).
        labels: Integer array (batch,).
        weights: Each `Weight` by its name, in the layer's order.
        output_shape: Of a call, with labels and without.
        values: Further functions of a layer, by name, whose values a file must restore to the bit.
    """

    make: Callable
    embeddings: np.ndarray
    labels: np.ndarray
    weights: dict
    output_shape: tuple
    values: dict = dataclasses.field(default_factory=dict)

    def built(self, **options):
        """Returns a layer that is built, with weights far from their initial values, the same for each call."""
        layer = self.make(**options)
        layer.build((None, self.embeddings.shape[1]))
        generator = np.random.default_rng(5)
        for weight in layer.weights:
            value = generator.uniform(0.5, 2.5, weight.shape)
            weight.assign(value.astype(keras.backend.standardize_dtype(weight.dtype)))
        return layer

    def outputs(self, layer, embeddings=None):
        """Returns the outputs without and with labels."""
        embeddings = ops.array(self.embeddings if embeddings is None else embeddings)
        return {"alone": layer(embeddings), "with labels": layer(embeddings, ops.array(self.labels, "int32"))}


def arrays(tensors):
    """Returns NumPy arrays for the tensors in a dict."""
    return {name: ops.convert_to_numpy(tensor) for name, tensor in tensors.items()}


def same(found, wanted):
    """Requires equal arrays under the same names."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def dtype_of(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)


def build_creates_the_weights(case, folder):
    """Creates the weights in `build`, each with its name, shape, dtype and flag, and none before."""
    layer = case.make()
    assert layer.weights == [] and not layer.built
    layer.build((None, case.embeddings.shape[1]))
    found = {weight.name: Weight(tuple(weight.shape), weight.trainable, dtype_of(weight)) for weight in layer.weights}
    assert layer.built and found == case.weights and list(found) == list(case.weights)


def the_first_call_builds(case, folder):
    """Builds with the first call, to the same weights."""
    layer = case.make()
    layer(ops.array(case.embeddings))
    assert [weight.name for weight in layer.weights] == list(case.weights)


def output_shape_is_that_of_a_call(case, folder):
    """Computes the shape of an output before the call, whatever the batch."""
    layer = case.built()
    shape, label_shape = case.embeddings.shape, case.labels.shape
    for name, output in case.outputs(layer).items():
        assert tuple(output.shape) == case.output_shape, name
    assert layer.compute_output_shape(shape) == layer.compute_output_shape(shape, label_shape) == case.output_shape
    assert layer.compute_output_shape((None, shape[1])) == (None, *case.output_shape[1:])


def config_builds_an_equal_layer(case, folder):
    """Holds every argument in the config, which building does not change, and builds an equal layer from it."""
    layer = case.make()
    before = layer.get_config()
    check_config(layer)
    layer.build((None, case.embeddings.shape[1]))
    assert layer.get_config() == before


def check_config(thing):
    """Requires a config of JSON that has every named argument of `__init__`, and builds an equal object."""
    config = thing.get_config()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(type(thing).__init__).parameters.values()
    named = {parameter.name for parameter in parameters if parameter.kind in kinds} - {"self"}
    assert named <= config.keys()
    assert type(thing).from_config(thing.get_config()).get_config() == config
    written = json.loads(json.dumps(keras.saving.serialize_keras_object(thing)))
    again = keras.saving.deserialize_keras_object(written)
    assert type(again) is type(thing) and again.get_config() == config


def a_file_restores_the_layer(case, folder):
    """Restores from a .keras file the config, each weight and each value, to the bit."""
    layer = case.built()
    model = keras.Sequential([keras.Input(case.embeddings.shape[1:]), layer])
    model.save(folder / "layer.keras")
    again = keras.saving.load_model(folder / "layer.keras").layers[-1]
    assert again.get_config() == layer.get_config()
    same(*({weight.name: ops.convert_to_numpy(weight) for weight in each.weights} for each in (again, layer)))
    same(*(arrays(case.outputs(each)) for each in (again, layer)))
    same(*(arrays({name: value(each) for name, value in case.values.items()}) for each in (again, layer)))


def symbols_compute_what_numbers_do(case, folder):
    """Computes in a functional model what an eager call does, announced with its shape and dtype."""
    layer = case.built()
    embedding, label = keras.Input(case.embeddings.shape[1:]), keras.Input((), dtype="int32")
    symbols = {"alone": layer(embedding), "with labels": layer(embedding, label)}
    wanted = case.outputs(layer)
    for name, symbol in symbols.items():
        assert symbol.shape == (None, *case.output_shape[1:]) and dtype_of(symbol) == dtype_of(wanted[name])
    given = ops.array(case.embeddings), ops.array(case.labels, "int32")
    models = keras.Model(embedding, symbols["alone"]), keras.Model([embedding, label], symbols["with labels"])
    same(arrays({"alone": models[0](given[0]), "with labels": models[1](list(given))}), arrays(wanted))


def computes_in_float32(case, folder, policy):
    """Keeps weights and outputs in float32 under a policy of half precision, equal to those without it."""
    half, full = case.built(dtype=keras.DTypePolicy(policy)), case.built()
    assert {weight.name: dtype_of(weight) for weight in half.weights} == {
        name: weight.dtype for name, weight in case.weights.items()
    }
    rounded = case.embeddings.astype("float16")
    found, wanted = case.outputs(half, rounded), case.outputs(full, rounded.astype("float32"))
    assert {dtype_of(output) for output in found.values()} == {"float32"}
    same(arrays(found), arrays(wanted))


def freezing_leaves_nothing_trainable(case, folder):
    """Has no trainable weight while it is frozen, and the same ones afterwards."""
    layer = case.built()
    trainable = [name for name, weight in case.weights.items() if weight.trainable]
    layer.trainable = False
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == len(case.weights)
    layer.trainable = True
    assert [weight.name for weight in layer.trainable_weights] == trainable


def every_trainable_weight_has_a_gradient(case, folder):
    """Has a finite gradient that is not zero, by the embeddings and by each trainable weight."""
    layer = case.built()
    factors = np.random.default_rng(6).normal(size=case.output_shape)

    def weighted(embeddings, *values):
        with keras.StatelessScope(state_mapping=list(zip(layer.trainable_weights, values, strict=True))):
            return layer.call(embeddings, ops.array(case.labels, "int32")) * ops.array(factors, "float32")

    weights = [ops.convert_to_numpy(weight) for weight in layer.trainable_weights]
    _, gradients = value_and_gradients(weighted, case.embeddings, *weights, jit=False)
    for name, gradient in zip(
        ["embeddings", *(weight.name for weight in layer.trainable_weights)], gradients, strict=True
    ):
        assert np.all(np.isfinite(gradient)) and np.any(gradient != 0), name


CHECKS = {
    check.__name__: check
    for check in (
        build_creates_the_weights,
        the_first_call_builds,
        output_shape_is_that_of_a_call,
        config_builds_an_equal_layer,
        a_file_restores_the_layer,
        symbols_compute_what_numbers_do,
        freezing_leaves_nothing_trainable,
        every_trainable_weight_has_a_gradient,
    )
} | {
    f"computes in float32 under {policy}": functools.partial(computes_in_float32, policy=policy)
    for policy in ("mixed_float16", "mixed_bfloat16", "float16")
}
