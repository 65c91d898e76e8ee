"""EmbeddingModel and the two other ways to train, through Keras's own fit, evaluate, predict and files."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km
from keras_margin.losses import IAM
from keras_margin.models.backbones._tails import TAILS

CLASSES = 4
# XLA compiles small models slowly on TensorFlow; JAX without it runs operation by operation.
JIT = keras.backend.backend() == "jax"


@pytest.fixture(scope="module")
def data():
    """Four Gaussian clusters."""
    generator = np.random.default_rng(0)
    labels = np.arange(48) % CLASSES
    centers = 3 * generator.normal(size=(CLASSES, 6))
    return (centers[labels] + generator.normal(size=(48, 6))).astype("float32"), labels.astype("int32")


def backbone(name=None):
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x), name=name)


def embedding_model(head="arcface", optimizer=None, **options):
    model = km.EmbeddingModel(backbone(), km.layers.HEADS[head](CLASSES, **options))
    model.compile(optimizer or keras.optimizers.SGD(0.05), jit_compile=JIT)
    return model


# A head with state and one whose other logits are not cosines; ArcFace is in the tests below.
@pytest.mark.slow
@pytest.mark.parametrize("head", ["sphereface", "qamface"])
def test_an_embedding_model_trains_saves_and_resumes(head, data, tmp_path):
    """Trains, saves and resumes an embedding model."""
    images, labels = data
    model = embedding_model(head, auxiliary_loss=IAM(0.1))
    history = model.fit(images, labels, epochs=8, batch_size=16, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert history["accuracy"][-1] > 0.5
    embeddings = model.predict(images, verbose=0)
    alone = keras.Model(model.embedder.input, model.embedder.output)
    alone.compile(jit_compile=JIT)
    np.testing.assert_allclose(embeddings, alone.predict(images, verbose=0), rtol=1e-6)
    scores = model.evaluate(images, labels, verbose=0, return_dict=True)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    prototypes = ops.convert_to_numpy(model.head.prototypes)
    nearest = np.argmax(unit @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T, axis=1)
    assert scores["accuracy"] == pytest.approx(np.mean(nearest == labels))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(images, verbose=0), embeddings, rtol=1e-6)
    assert again.evaluate(images, labels, verbose=0, return_dict=True) == pytest.approx(scores)
    assert again.head.get_config() == model.head.get_config()
    if head == "sphereface":
        # 8 epochs of 3 batches are 24 updates; evaluate and predict moved nothing; the file remembers.
        wanted = 1000 / (1 + 0.12 * 24)
        assert model.head.annealing_lambda == again.head.annealing_lambda == pytest.approx(wanted, rel=1e-6)
    again.fit(images, labels, batch_size=16, verbose=0)
    assert int(again.optimizer.iterations) == 27


@pytest.mark.slow
@pytest.mark.parametrize("head", ["arcface", "sphereface"])
def test_a_plain_keras_model_trains_with_the_heads_loss(head, data, tmp_path):
    """Trains a plain Keras model with the head's loss."""
    images, labels = data
    model = keras.Sequential([backbone()])
    layer = km.layers.HEADS[head](CLASSES, auxiliary_loss=IAM(0.1))
    model.add(layer)
    model.compile(keras.optimizers.SGD(0.05), loss=layer.loss, metrics=["accuracy"], jit_compile=JIT)
    history = model.fit(images, labels, epochs=8, batch_size=16, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate(images, labels, verbose=0) == pytest.approx(model.evaluate(images, labels, verbose=0))
    again.fit(images, labels, batch_size=16, verbose=0)
    assert np.abs(model.predict(images, verbose=0)).max() <= 1.0
    if head == "sphereface":
        assert again.layers[-1].annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 27), rel=1e-6)


@pytest.mark.slow
def test_logits_train_with_keras_cross_entropy(data, tmp_path):
    """Labels are a second input; any softmax cross-entropy on logits will do."""
    images, labels = data
    image, label = keras.Input((6,)), keras.Input((), dtype="int32")
    network = backbone()
    logits = km.SphereFaceHead(CLASSES, auxiliary_loss=IAM(0.1))(network(image), label)
    model = keras.Model([image, label], logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss=loss, jit_compile=JIT)
    history = model.fit([images, labels], labels, epochs=8, batch_size=16, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert model.layers[-1].annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 24), rel=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    wanted = model.evaluate([images, labels], labels, verbose=0)
    assert again.evaluate([images, labels], labels, verbose=0) == pytest.approx(wanted)


@pytest.mark.slow
def test_the_three_ways_take_the_same_steps(data):
    """One update each from the same weights, by the same batch, leaves the same weights."""
    images, labels = data
    first = embedding_model(auxiliary_loss=IAM(0.1))
    weights = [ops.convert_to_numpy(weight) for weight in first.weights]

    def updated(model, x, losses_of):
        model.set_weights([w.copy() for w in weights])
        model.compile(keras.optimizers.SGD(0.05), jit_compile=JIT, **losses_of)
        model.fit(x, labels, batch_size=48, verbose=0)
        return [ops.convert_to_numpy(weight) for weight in model.weights]

    recommended = updated(first, images, {})
    head = km.ArcFaceHead(CLASSES, auxiliary_loss=IAM(0.1))
    plain = keras.Sequential([backbone(), head])
    plain.build((None, 6))
    by_cosines = updated(plain, images, {"loss": head.loss})
    image, label = keras.Input((6,)), keras.Input((), dtype="int32")
    two_inputs = keras.Model([image, label], km.ArcFaceHead(CLASSES, auxiliary_loss=IAM(0.1))(backbone()(image), label))
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    by_logits = updated(two_inputs, [images, labels], {"loss": cross_entropy})
    for other in (by_cosines, by_logits):
        for found, want in zip(other, recommended, strict=True):
            np.testing.assert_allclose(found, want, rtol=2e-4, atol=2e-5)


def test_a_plain_model_with_another_loss_is_refused(data):
    """Refuses a plain model with another loss."""
    images, labels = data
    model = keras.Sequential([backbone(), km.ArcFaceHead(CLASSES)])
    model.compile("sgd", loss="sparse_categorical_crossentropy", jit_compile=JIT)
    with pytest.raises(ValueError, match="(?s)bare cosines, without margin.*loss=head.loss"):
        model.fit(images, labels, verbose=0)


def test_a_loss_given_to_the_embedding_model_is_refused():
    """Refuses a loss that is given to the embedding model."""
    with pytest.raises(ValueError, match="compile without loss="):
        km.EmbeddingModel(backbone(), km.ArcFaceHead(CLASSES)).compile("sgd", loss="mse")


def test_training_without_labels_is_refused(data):
    """Refuses to train without labels."""
    with pytest.raises(ValueError, match="no labels"):
        embedding_model().fit(data[0], verbose=0)


def test_a_wrong_backbone_or_head_is_refused():
    """Refuses a wrong backbone or head."""
    with pytest.raises(TypeError, match="Keras model as backbone.*Received: 'ir_resnet50'"):
        km.EmbeddingModel("ir_resnet50", km.ArcFaceHead(CLASSES))
    with pytest.raises(TypeError, match="MarginHead"):
        km.EmbeddingModel(backbone(), keras.layers.Dense(3))


@pytest.mark.slow
def test_sample_weights_weigh_the_loss(data):
    """Weighs the loss by sample weights."""
    images, labels = data
    model = embedding_model()
    weights = np.where(labels == 0, 1.0, 0.0).astype("float32")
    weighted = model.evaluate(images, labels, sample_weight=weights, batch_size=48, verbose=0, return_dict=True)
    of_class_0 = model.evaluate(images[labels == 0], labels[labels == 0], verbose=0, return_dict=True)
    # Keras divides a weighted sum by the batch size.
    assert weighted["loss"] == pytest.approx(of_class_0["loss"] * np.mean(labels == 0), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["embedding model", "head.loss"])
def test_a_bad_label_of_weight_0_is_left_out(way, data):
    """Under XLA and JAX's jit, which cannot raise: loss and weights stay those of the batch without the sample."""
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch runs eagerly, where a bad label is an error")
    images, labels = data[0][:8], data[1][:8].copy()
    weights = np.ones(8, "float32")
    weights[3] = 0.0
    found = []
    for third in (labels[3], CLASSES + 5):
        labels[3] = third
        keras.utils.set_random_seed(1)
        head = km.ArcFaceHead(CLASSES)
        network = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
        if way == "head.loss":
            model = keras.Sequential([network, head])
            model.compile(keras.optimizers.SGD(0.05), loss=head.loss, jit_compile=True)
        else:
            model = km.EmbeddingModel(network, head)
            model.compile(keras.optimizers.SGD(0.05), jit_compile=True)
        # Not fit, which reads all labels beforehand.
        loss = model.train_on_batch(images, labels, sample_weight=weights, return_dict=True)["loss"]
        found.append([np.asarray(loss), *(ops.convert_to_numpy(weight) for weight in model.trainable_weights)])
    for bad, good in zip(*reversed(found), strict=True):
        assert np.all(np.isfinite(bad))
        np.testing.assert_allclose(bad, good, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_further_metrics_see_labels_and_cosines(data):
    """Passes labels and cosines to further metrics."""
    images, labels = data
    model = km.EmbeddingModel(backbone(), km.ArcFaceHead(CLASSES))
    top = keras.metrics.SparseTopKCategoricalAccuracy(k=CLASSES, name="top_all")
    model.compile("sgd", metrics=["accuracy", top], jit_compile=JIT)
    history = model.fit(images, labels, verbose=0).history
    assert history["top_all"] == [1.0]
    assert set(history) == {"loss", "accuracy", "top_all"}


@pytest.mark.slow
def test_gradient_accumulation_moves_lambda_once_an_update(data):
    """Moves lambda once an update under gradient accumulation."""
    images, labels = data
    model = embedding_model("sphereface", keras.optimizers.SGD(0.01, gradient_accumulation_steps=3))
    model.fit(images, labels, batch_size=8, epochs=2, verbose=0)
    # 12 batches are 4 updates.
    assert model.head.annealing_lambda == pytest.approx(1000 / (1 + 0.12 * 4), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_with_a_float32_head(policy, data):
    """Trains with a float32 head in mixed precision."""
    images, labels = data
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = embedding_model()
        history = model.fit(images, labels, epochs=6, batch_size=16, verbose=0).history
    finally:
        keras.config.set_dtype_policy(before)
    assert history["loss"][-1] < history["loss"][0]
    assert keras.backend.standardize_dtype(model.head.prototypes.dtype) == "float32"
    assert model.predict(images, verbose=0).dtype == np.dtype("float16") or policy == "mixed_bfloat16"


@pytest.mark.slow
def test_weights_survive_save_weights(data, tmp_path):
    """Restores weights from save_weights."""
    images, labels = data
    model, other = embedding_model(), embedding_model()
    model.fit(images, labels, verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(images, verbose=0), model.predict(images, verbose=0))
    prototypes = ops.convert_to_numpy(model.head.prototypes)
    np.testing.assert_array_equal(ops.convert_to_numpy(other.head.prototypes), prototypes)


@pytest.mark.slow
@pytest.mark.tensorflow_only
def test_a_keras_applications_network_fits():
    """Fits a network of keras.applications."""
    network = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, include_top=False, weights=None)
    model = km.EmbeddingModel(network, km.ArcFaceHead(CLASSES), tail="gdc", embedding_size=16)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)  # One step: tracing it takes longer.
    images = np.random.default_rng(0).normal(size=(8, 64, 64, 3)).astype("float32")
    before = ops.convert_to_numpy(network.get_layer("Conv1").kernel)
    loss = model.fit(images, np.arange(8) % CLASSES, verbose=0).history["loss"][0]
    assert np.isfinite(loss) and model.head.prototypes.shape == (CLASSES, 16)
    # The gradient came through the tail to the network's first layer; its maps are 2 x 2.
    assert (before != ops.convert_to_numpy(network.get_layer("Conv1").kernel)).any()
    assert model.embedder.get_layer("tail_gdc").kernel.shape[:2] == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("tail", TAILS)
def test_a_feature_map_gets_a_tail_and_survives_saving(tail, tmp_path):
    """Adds a tail to a feature map, and saves it."""
    inputs = keras.Input((8, 8, 3))
    maps = keras.Model(inputs, keras.layers.Conv2D(4, 3, strides=2)(inputs))
    model = km.EmbeddingModel(maps, tail=tail, embedding_size=6, head=km.ArcFaceHead(3))
    model.compile("sgd", jit_compile=JIT)
    images = np.random.default_rng(0).uniform(0, 255, (6, 8, 8, 3)).astype("float32")
    before = [ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    model.fit(images, np.array([0, 1, 2, 0, 1, 2]), epochs=1, verbose=0)
    moved = [
        np.abs(ops.convert_to_numpy(weight) - old).max()
        for weight, old in zip(model.trainable_weights, before, strict=True)
    ]
    # The last batch normalisation takes the bias of the fully connected layer in front of it away again.
    assert sum(amount > 0 for amount in moved) >= len(moved) - 1
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(images, verbose=0), model.predict(images, verbose=0), rtol=1e-5)


def test_a_size_without_a_tail_and_an_unknown_tail_are_refused():
    """Refuses a size without a tail, and an unknown tail."""
    inputs = keras.Input((8, 8, 3))
    maps = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    with pytest.raises(ValueError, match="without a tail the backbone has its own. Received: embedding_size=6"):
        km.EmbeddingModel(maps, head=km.ArcFaceHead(3), embedding_size=6)
    with pytest.raises(ValueError, match="tail must be one of 'bn-dropout-fc-bn', 'gdc', 'gap'"):
        km.EmbeddingModel(maps, head=km.ArcFaceHead(3), tail="avg")
