"""The loaders that people have train an EmbeddingModel, to the weights that arrays give; gaps in labels are named."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km

CLASSES, SIDE, BATCH = 3, 4, 6
BACKEND = keras.backend.backend()
IMAGES = np.random.default_rng(0).integers(0, 255, (18, SIDE, SIDE, 3)).astype("uint8")
LABELS = np.sort(np.arange(18) % CLASSES).astype("int32")


def model_of():
    network = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            keras.layers.Rescaling(1 / 128, -1),
            keras.layers.Flatten(),
            keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=1)),
        ]
    )
    head = km.ArcFaceHead(CLASSES, scale=8.0, prototypes_initializer=keras.initializers.RandomNormal(seed=2))
    model = km.EmbeddingModel(network, head)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=BACKEND == "jax")
    return model


def weights_after(*data, **options):
    model = model_of()
    model.fit(*data, epochs=2, shuffle=False, verbose=0, **options)
    return [ops.convert_to_numpy(weight) for weight in model.trainable_weights]


class Sequence(keras.utils.PyDataset):
    """Batches by number."""

    def __len__(self):
        return len(IMAGES) // BATCH

    def __getitem__(self, index):
        part = slice(index * BATCH, (index + 1) * BATCH)
        return IMAGES[part], LABELS[part]


def tf_data(folder):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(BATCH).prefetch(1)


def tf_data_of_dicts(folder):
    """As tensorflow_datasets yields them: a map makes them pairs."""
    tf = pytest.importorskip("tensorflow")
    rows = tf.data.Dataset.from_tensor_slices({"image": IMAGES, "label": LABELS})
    return rows.map(lambda row: (row["image"], row["label"])).batch(BATCH)


class Rows(Sequence):
    """Batches by number, dicts."""

    def __getitem__(self, index):
        images, labels = super().__getitem__(index)
        return {"img": images, "person": labels}


def test_rows_that_are_dicts_are_refused_with_the_map():
    """A loader of dicts gets an error that shows the map from its own keys, in fit and in evaluate."""
    wanted = r"dicts with 'img', 'person'. .* dataset.map\(lambda row: \(row\['img'\], row\['person'\]\)\)"
    with pytest.raises(ValueError, match=wanted):
        model_of().fit(Rows(), shuffle=False, verbose=0)
    with pytest.raises(ValueError, match=wanted):
        model_of().evaluate(Rows(), verbose=0)


def test_unmapped_tf_data_is_refused_with_the_map():
    """What tensorflow_datasets yields, without a map, is refused likewise."""
    tf = pytest.importorskip("tensorflow")
    rows = tf.data.Dataset.from_tensor_slices({"image": IMAGES, "label": LABELS}).batch(BATCH)
    with pytest.raises(ValueError, match=r"row\['image'\], row\['label'\]"):
        model_of().fit(rows, shuffle=False, verbose=0)


def image_folder(folder):
    """keras.utils.image_dataset_from_directory; its labels are those of the sorted names."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("PIL")
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        path = folder / f"person {label}" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    return keras.utils.image_dataset_from_directory(
        folder, image_size=(SIDE, SIDE), batch_size=BATCH, shuffle=False, verbose=False
    )


def torch_loader(folder):
    if BACKEND != "torch":
        pytest.skip("for the backend torch, where it is installed")
    import torch

    rows = torch.utils.data.TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(LABELS).long())
    return torch.utils.data.DataLoader(rows, batch_size=BATCH)


def grain_loader(folder):
    grain = pytest.importorskip("grain")
    return grain.MapDataset.source(list(zip(IMAGES, LABELS, strict=True))).to_iter_dataset().batch(BATCH)


LOADERS = {
    "PyDataset": lambda folder: Sequence(),
    "tf.data": tf_data,
    "tf.data of dicts": tf_data_of_dicts,
    "image_dataset_from_directory": image_folder,
    "torch DataLoader": torch_loader,
    "grain": grain_loader,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_trains_as_arrays_do(name, tmp_path):
    """In one order, two epochs: the same weights."""
    wanted = weights_after(IMAGES, LABELS, batch_size=BATCH)
    assert np.abs(wanted[0] - ops.convert_to_numpy(model_of().trainable_weights[0])).max() > 1e-3, "it has trained"
    for one, other in zip(weights_after(LOADERS[name](tmp_path)), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_array_labels_with_gaps_are_answered_by_relabel():
    """Answers labels with gaps by a hint at relabel."""
    with pytest.raises(
        ValueError, match=r"labels from 0 to 7, 2 different ones.*keras_margin\.data\.relabel\(labels\)"
    ):
        model_of().fit(IMAGES, np.where(LABELS == 0, 0, 7), verbose=0)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "jax", reason="XLA cannot raise: the loss reads inf")
def test_a_loaders_labels_with_gaps_are_answered_by_relabel():
    """At the batch that has one, on TensorFlow and PyTorch."""

    class Gaps(Sequence):
        def __getitem__(self, index):
            images, labels = super().__getitem__(index)
            return images, 10 * labels

    with pytest.raises(Exception, match=r"labels must be in \[0, 2\].*keras_margin\.data\.relabel"):
        model_of().fit(Gaps(), verbose=0)
