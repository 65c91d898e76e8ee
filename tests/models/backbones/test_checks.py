"""What passes as a backbone, and what else people pass."""

import keras
import pytest

from keras_margin.models.backbones import _checks

pytestmark = pytest.mark.once


def dense(last, classes=4):
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, last(keras.layers.Dense(classes)(keras.layers.Flatten()(inputs))), name="top")


def softmax_layer():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(inputs)), name="top")


def wrapped(model):
    inputs = keras.Input(model.input_shape[1:])
    return keras.Model(inputs, model(inputs), name="top")


CLASSIFIERS = {
    "activation of a layer": softmax_layer,
    "Softmax layer": lambda: dense(keras.layers.Softmax()),
    "Activation layer": lambda: dense(keras.layers.Activation("softmax")),
    "keras.ops": lambda: dense(keras.ops.softmax),
    "log_softmax": lambda: dense(keras.layers.Activation("log_softmax")),
    "inside a model": lambda: wrapped(softmax_layer()),
    "inside a Sequential": lambda: keras.Sequential([softmax_layer()], name="top"),
}


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_softmax_top_is_not_an_embedder(kind):
    """A classifier that ends in a softmax is refused, whatever form it has; the message says how to take it off."""
    with pytest.raises(
        ValueError, match="Received: top, a classifier: its last layer '.*' is a softmax over (4|classes). Build"
    ):
        _checks.check_embedder(CLASSIFIERS[kind]())


@pytest.mark.slow
def test_a_feature_map_names_the_tail():
    """A network of keras.applications without its top is refused by naming tail=, and accepted with one."""
    maps = keras.applications.MobileNetV2(input_shape=(32, 32, 3), include_top=False, weights=None, alpha=0.35)
    with pytest.raises(
        ValueError, match=r"ends in a feature map \(None, 1, 1, 1280\). Pass tail='gdc', 'bn-dropout-fc-bn'"
    ):
        _checks.check_embedder(maps)
    _checks.check_embedder(maps, tail="gdc")


@pytest.mark.parametrize(
    "model", [lambda: dense(keras.layers.ReLU()), lambda: keras.Sequential([keras.layers.Dense(3)])]
)
def test_embedders_and_models_not_built_yet_pass(model):
    """What ends in numbers, and what does not know yet in what it ends, is a backbone."""
    _checks.check_embedder(model())


def test_several_outputs_are_refused():
    """A model of two outputs is refused: which of them is the embedding is not known."""
    inputs = keras.Input((8,))
    model = keras.Model(inputs, [inputs, keras.layers.Dense(2)(inputs)], name="two")
    with pytest.raises(ValueError, match="has one output, the embedding. Received: two"):
        _checks.check_embedder(model)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            "tf_keras.src.engine.functional",
            "old is a model of tf_keras .Keras 2., whose layers Keras 3 cannot run. Build",
        ),
        ("torch.nn.modules.module", "old is a module of PyTorch. Weights of insightface's networks"),
        ("somewhere", "Expected a Keras model as backbone. Received: <somewhere.Model"),
    ],
)
def test_models_of_other_libraries_are_named(module, message):
    """A model of tf_keras or PyTorch is a TypeError that names the library."""
    base = type("Model", (), {"__module__": module})
    given = type("Mine", (base,), {"__module__": "mine", "name": "old"})() if module != "somewhere" else base()
    with pytest.raises(TypeError, match=message):
        _checks.check_embedder(given)
