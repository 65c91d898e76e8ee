"""Prototypes split by class, or batches, over devices: training as on one, no gathering, files for any number."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_margin as km

# Run in a process of its own: JAX's number of devices is fixed once it has begun.
SCRIPT = """
import re, sys
import jax, keras, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import keras_margin as km
from keras_margin.optimizers import SGDWithL2

x = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
y = np.arange(16) * 5 % 40

def use(shape):
    if shape is None:
        keras.distribution.set_distribution(None)
        return
    count = shape[0] * shape[1]
    mesh = keras.distribution.DeviceMesh(shape, ["batch", "model"], keras.distribution.list_devices()[:count])
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*prototypes"] = ("model", None)
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))

def model_of(head, path=None):
    keras.utils.set_random_seed(0)
    if path:
        return keras.saving.load_model(path)
    model = km.EmbeddingModel(keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)]), km.layers.HEADS[head](40))
    model.compile(SGDWithL2(0.1, momentum=0.9, l2=1e-3))
    return model

def with_batch_norm():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6,)), keras.layers.Dense(5, use_bias=False), keras.layers.BatchNormalization()]
    model = km.EmbeddingModel(keras.Sequential(layers), km.ArcFaceHead(40, scale=8.0))
    model.compile(SGDWithL2(0.1, momentum=0.9, l2=1e-3))
    return model

def train(model):
    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    return history["loss"], [np.asarray(weight) for weight in model.get_weights()]

def collectives(model):
    prototypes = model.head.prototypes.value
    mesh = prototypes.sharding.mesh
    put = lambda array, *axes: jax.device_put(array, NamedSharding(mesh, PartitionSpec(*axes)))
    def loss(embeddings, prototypes, labels):
        with keras.StatelessScope(state_mapping=[(model.head.prototypes, prototypes)]):
            return model.head.compute_loss(embeddings, labels).sum()
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    embeddings, labels = put(x[:8, :5], "batch", None), put(y[:8].astype("int32"), "batch")
    text = step.lower(embeddings, prototypes, labels).compile().as_text()
    return re.findall(r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?[(]", text)

folder = sys.argv[1]
for head in ("arcface", "qamface"):
    use(None)
    losses, weights = train(model_of(head))
    for shape in [(1, 2), (1, 4), (2, 2)] if head == "arcface" else [(2, 2)]:
        use(shape)
        model = model_of(head)
        found, shards = train(model), model.head.prototypes.value.addressable_shards
        np.testing.assert_allclose(found[0], losses, rtol=1e-5)
        for got, want in zip(found[1], weights):
            assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max(), (head, shape)
        assert {shard.data.shape for shard in shards} == {(40 // shape[1], 5)}, shape
        velocity = next(each for each in model.optimizer.momentums if "prototypes" in each.path).value
        assert velocity.sharding == model.head.prototypes.value.sharding
        used = collectives(model)
        assert "all-gather" not in used and "all-reduce" in used, used
        if shape == (1, 4) and head == "arcface":
            model.save(folder + "/four.keras")
            more = train(model)[0]
use(None)
losses, weights = train(with_batch_norm())
keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:2]))
model = with_batch_norm()
found = train(model)
assert len(model.head.prototypes.value.addressable_shards) == 2
np.testing.assert_allclose(found[0], losses, rtol=1e-5)
for got, want in zip(found[1], weights):
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()
use((1, 2))
two = model_of(None, folder + "/four.keras")
assert {shard.data.shape for shard in two.head.prototypes.value.addressable_shards} == {(20, 5)}
np.testing.assert_allclose(train(two)[0], more, rtol=1e-5)
use(None)
np.testing.assert_allclose(train(model_of(None, folder + "/four.keras"))[0], more, rtol=1e-5)
print("sharded as unsharded")
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="ModelParallel shards on JAX alone")
@pytest.mark.slow
def test_two_and_four_devices_train_as_one(tmp_path):
    """Trains on two and on four devices as on one, and reads the files of each."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    root = str(pathlib.Path(__file__).parents[2])
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": root}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.stdout.strip().endswith("sharded as unsharded"), found.stderr[-3000:]


@pytest.fixture
def split_over_two(monkeypatch):
    mesh = keras.distribution.DeviceMesh((1, 2), ["batch", "model"], np.array(["cpu:0", "cpu:1"]))
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*prototypes"] = ("model", None)
    split = keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    monkeypatch.setattr(keras.distribution, "distribution", lambda: split)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="of the other backends")
def test_a_layout_that_the_backend_ignores_is_refused(split_over_two):
    """Refuses a layout that the backend ignores."""
    with pytest.raises(NotImplementedError, match="shards on JAX alone"):
        km.ArcFaceHead(10).build((None, 4))


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="ModelParallel shards on JAX alone")
def test_streaming_over_split_prototypes_is_refused(split_over_two):
    """Refuses streaming over split prototypes."""
    with pytest.raises(ValueError, match="it would gather what ModelParallel split"):
        km.ArcFaceHead(10, implementation="streaming").build((None, 4))
    assert km.ArcFaceHead(10**9).implementation_for(4096) == "fused"
