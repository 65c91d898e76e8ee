"""How backbones train: activations computed twice, frozen statistics, half precision, two replicas."""

import keras
import numpy as np
import pytest
from gradients import value_and_gradients
from keras import ops
from network_formulas import inferred

import keras_margin as km
from keras_margin.models import backbones
from keras_margin.models.backbones import _layers

# XLA compiles small models slowly on TensorFlow; JAX without it compiles operation by operation.
JIT = keras.backend.backend() == "jax"
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def small(**kwargs):
    """A unit with a convolution in its shortcut, and one with none."""
    options = {"widths": (4,), "image_size": (12, 12), "embedding_size": 5, "dropout": 0.0}
    return backbones.ir_resnet((2,), **{**options, **kwargs})


def beginning(network, layer, tail):
    """The network as far as `layer`, and a tail: the layers that follow are those before over again."""
    begun = keras.Model(network.input, network.get_layer(layer).output)
    return backbones.with_tail(begun, tail, embedding_size=5)


def images(side=12):
    return np.random.default_rng(0).uniform(0, 255, (8, side, side, 3)).astype("float32")


def trained(network, steps=2, side=12, eagerly=False):
    """The model after a few steps on eight images."""
    model = km.EmbeddingModel(network, head=km.ArcFaceHead(3, scale=4.0))
    model.head.prototypes.assign(np.random.default_rng(5).normal(size=(3, 5)))
    model.compile(keras.optimizers.SGD(0.05), jit_compile=JIT, run_eagerly=eagerly and not JIT)
    losses = [float(model.train_on_batch(images(side), LABELS)[0]) for _ in range(steps)]
    return model, losses


def numbers(network):
    return {weight.path: ops.convert_to_numpy(weight) for weight in network.weights if "seed" not in weight.path}


def batch_normalized(x, gamma, beta, upstream, epsilon):
    """(y, mean, variance, dx, dgamma, dbeta) in float64: y = gamma h + beta, h = (x - mean) / sqrt(variance + epsilon).

    dx = gamma / sqrt(variance + epsilon) * (dy - mean(dy) - h mean(dy h)), means over all but the channels.
    """
    axes = (0, 1, 2)
    mean, variance = x.mean(axes), x.var(axes)
    h = (x - mean) / np.sqrt(variance + epsilon)
    centered = upstream - upstream.mean(axes) - h * (upstream * h).mean(axes)
    dx = gamma / np.sqrt(variance + epsilon) * centered
    return gamma * h + beta, mean, variance, dx, (upstream * h).sum(axes), upstream.sum(axes)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(8, 5, 7, 6), (2, 1, 1, 6)])
def test_batch_normalisation_is_its_formula(shape):
    """Computes the formula of batch normalization."""
    generator = np.random.default_rng(3)
    x, upstream = generator.normal(0.7, 2.0, (2, *shape))
    gamma, beta = generator.normal(size=(2, shape[-1]))
    layer = _layers.batch_norm("bn", momentum=0.7)
    layer.build(shape)
    layer.moving_mean.assign(np.full(shape[-1], 0.5))

    def energy(x, gamma, beta):
        with keras.StatelessScope(state_mapping=[(layer.gamma, gamma), (layer.beta, beta)]):
            return layer(x, training=True) * ops.cast(upstream, "float32")

    found, gradients = value_and_gradients(energy, x, gamma, beta)
    y, mean, variance, *wanted = batch_normalized(x, gamma, beta, upstream, 1e-5)
    np.testing.assert_allclose(found, y * upstream, rtol=1e-4, atol=1e-4)
    for gradient, value in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(gradient, value, rtol=1e-3, atol=1e-4)
    layer(ops.cast(x, "float32"), training=True)
    moved = (ops.convert_to_numpy(each) for each in (layer.moving_mean, layer.moving_variance))
    for statistic, value in zip(moved, (0.7 * 0.5 + 0.3 * mean, 0.7 + 0.3 * variance), strict=True):
        np.testing.assert_allclose(statistic, value, rtol=1e-5, atol=1e-6)


@pytest.mark.tensorflow_only
def test_batch_normalization_takes_the_fused_kernel():
    """Takes the fused kernel of batch normalization where a replica trains alone."""
    import tensorflow as tf

    layer = _layers.batch_norm("bn")
    layer.build((4, 3, 3, 2))

    def operators(**how):
        graph = tf.function(lambda x: layer(x, **how)).get_concrete_function(tf.zeros((4, 3, 3, 2))).graph
        return {each.type for each in graph.get_operations()}

    assert "FusedBatchNormV3" in operators(training=True)
    assert "FusedBatchNormV3" not in operators(training=False)
    layer.trainable = False
    assert "FusedBatchNormV3" not in operators(training=True)


@pytest.mark.slow
def test_computing_activations_twice_changes_no_number():
    """Losses, weights and moving statistics: a plain checkpoint would move the statistics twice a step."""
    plain, again = small(), small()
    again.set_weights(plain.get_weights())
    _, wanted = trained(plain)
    _, found = trained(backbones.rematerialized(again))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    wanted, found = numbers(plain), numbers(again)
    assert wanted.keys() == found.keys()
    for path, values in wanted.items():
        np.testing.assert_allclose(found[path], values, rtol=2e-4, atol=2e-5, err_msg=path)
    np.testing.assert_allclose(inferred(again, images()), inferred(plain, images()), atol=1e-3)


def test_a_network_without_units_has_nothing_to_compute_twice():
    """Refuses recomputation for a network without units."""
    with pytest.raises(ValueError, match="lenet_plus_plus has no residual units"):
        backbones.rematerialized(backbones.lenet_plus_plus())


@pytest.mark.slow
def test_frozen_batch_normalization_keeps_its_numbers():
    """Keeps statistics, scale and bias of frozen batch normalization."""
    network = small()
    backbones.set_batch_norm(network, "frozen")
    before = numbers(network)
    trained(network)
    after = numbers(network)
    norms = [path for path in before if "bn" in path or path.startswith("embedding/")]
    assert len(norms) > 20
    assert all((before[path] == after[path]).all() for path in norms)
    assert (before["stage1_unit1_conv1/kernel"] != after["stage1_unit1_conv1/kernel"]).any()
    backbones.set_batch_norm(network, "sync")
    trained(network)
    assert (numbers(network)["stem_bn/moving_mean"] != after["stem_bn/moving_mean"]).all()
    with pytest.raises(ValueError, match="mode must be one of 'sync', 'frozen'. Received: mode='local'"):
        backbones.set_batch_norm(network, "local")


FAMILIES = {
    "ir_resnet": lambda: small(squeeze_excite=True, image_size=(16, 16)),
    "spherenet": lambda: backbones.spherenet((1, 0), widths=(4, 6), image_size=(16, 16), embedding_size=5),
    "mobilefacenet": lambda: beginning(
        backbones.mobilefacenet(blocks=(1, 1, 1, 1), image_size=(16, 16)), "stage1_unit2_add", "gdc"
    ),
    "mobilefacenet_x2": lambda: beginning(
        backbones.mobilefacenet_x2(blocks=(1, 1, 1, 1), image_size=(16, 16)), "stage1_unit1_depthwise_prelu", "gdc"
    ),
    "inception_resnet_v1": lambda: beginning(
        backbones.inception_resnet_v1(units=(1, 0, 0), image_size=(75, 75)), "reduction_a_concat", "gap"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "policy"),
    [
        ("ir_resnet", "mixed_bfloat16"),
        ("spherenet", "mixed_bfloat16"),
        ("mobilefacenet", "mixed_float16"),
        # Its layers are those of the others; on JAX it takes half a minute to compile.
        pytest.param("inception_resnet_v1", "mixed_bfloat16", marks=pytest.mark.once),
    ],
)
def test_half_precision_trains_near_to_float32(family, policy):
    """Trains in half precision near to float32."""
    network = FAMILIES[family]()
    side = network.input_shape[1]
    keras.config.set_dtype_policy(policy)
    try:
        half = FAMILIES[family]()
        half.set_weights(network.get_weights())
        model, found = trained(half, 2, side, eagerly=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert half.layers[-1].compute_dtype == policy.removeprefix("mixed_")
    assert {ops.convert_to_numpy(weight).dtype.name for weight in model.trainable_weights} == {"float32"}
    logits = model.head(half(images(side)), ops.array(LABELS, "int32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    _, wanted = trained(network, 1, side, eagerly=True)
    # bfloat16 has eight bits, float16 eleven; what follows the first step is training's own.
    assert found[0] == pytest.approx(wanted[0], rel=0.1 if policy == "mixed_bfloat16" else 0.02)
    assert np.isfinite(found).all()
    assert all(np.isfinite(values).all() for values in numbers(half).values())


@pytest.mark.slow
@pytest.mark.tensorflow_only
@pytest.mark.parametrize("family", ["spherenet", "mobilefacenet_x2", "inception_resnet_v1"])
def test_two_replicas_take_the_step_of_one(family):
    """Takes the step of one device on two replicas."""
    import tensorflow as tf

    from keras_margin import training

    # From some first weights a maximum or a ReLU of Inception's stem lies so near to its turn that noise of 1e-7 on the
    # pixels moves the stem's kernel on one device too: by 4e-4 from seed 0, by 1.5e-5 from this one, measured on the
    # network before it was cut for this test.
    keras.utils.set_random_seed(1)
    alone = FAMILIES[family]()
    weights, side = alone.get_weights(), alone.input_shape[1]
    _, wanted = trained(alone, 1, side, eagerly=True)
    with training.make_strategy(2).scope():
        network = FAMILIES[family]()
        network.set_weights(weights)
        model = km.EmbeddingModel(network, head=km.ArcFaceHead(3, scale=4.0))
        model.head.prototypes.assign(np.random.default_rng(5).normal(size=(3, 5)).astype("float32"))
        model.compile(keras.optimizers.SGD(0.05), jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((images(side), LABELS)).batch(8)
    history = model.fit(data, shuffle=False, verbose=0)  # The data come in order; Keras would warn of its own wish.
    assert history.history["loss"] == pytest.approx(wanted, rel=1e-4)
    wanted, found = numbers(alone), numbers(network)
    for path, values in wanted.items():
        np.testing.assert_allclose(found[path], values, rtol=1e-3, atol=1e-3, err_msg=path)
