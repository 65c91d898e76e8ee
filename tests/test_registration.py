"""Files are read in a fresh process that imported keras_margin and nothing of it."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_margin as km

IMAGES = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2])
ORDERS = {
    "keras first": "import keras\nimport keras_margin",
    "keras_margin first": "import keras_margin\nimport keras",
    "one of its modules first": "import keras_margin.recipes\nimport keras",
    "one that needs no keras first": "from keras_margin import evaluation\nimport keras",
}
READ = """
import numpy, sys
folder = sys.argv[1]
images, labels = numpy.load(f"{folder}/images.npy"), numpy.load(f"{folder}/labels.npy")
for name in ("embedding", "cosines"):
    model = keras.models.load_model(f"{folder}/{name}.keras")
    model.run_eagerly = keras.config.backend() == "tensorflow"  # Tracing takes longer than one batch.
    numpy.save(f"{folder}/{name}.npy", [model.evaluate(images, labels, verbose=0)[0]])
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("keras_margin")]
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder with an EmbeddingModel and a way-1 model, and the loss of each."""
    folder = tmp_path_factory.mktemp("saved")
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    sum_of_losses = km.losses.CenterLoss() + km.losses.IAM(0.1)
    models = {"embedding": km.EmbeddingModel(network, km.SphereFaceHead(3, auxiliary_loss=sum_of_losses))}
    decay = keras.optimizers.schedules.CosineDecay(0.01, 100)
    models["embedding"].compile(km.optimizers.SGDWithL2(km.optimizers.schedules.WarmUp(decay, 10, 0.01, shifted=True)))
    head = km.ArcFaceHead(3)
    models["cosines"] = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3), head])
    models["cosines"].compile("sgd", loss=head.loss, metrics=["accuracy"])
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", LABELS)
    wanted = {}
    for name, model in models.items():
        wanted[name] = model.evaluate(IMAGES, LABELS, verbose=0)[0]
        model.save(folder / f"{name}.keras")
    return folder, wanted


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_files_are_read_in_a_fresh_process(order, saved):
    """Reads files in a fresh process."""
    folder, wanted = saved
    found = subprocess.run(
        [sys.executable, "-c", ORDERS[order] + READ, folder], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-2000:]
    for name, loss in wanted.items():
        assert np.load(folder / f"{name}.npy")[0] == pytest.approx(loss, rel=1e-5)
        (folder / f"{name}.npy").unlink()


def test_classes_are_registered_under_the_packages_name():
    """Registers classes under the package's name."""
    for known in (km.ArcFaceHead, km.EmbeddingModel, km.margins.ArcFace, km.losses.IAM, km.optimizers.SGDWithL2):
        name = keras.saving.get_registered_name(known)
        assert name == f"keras_margin>{known.__name__}"
        assert keras.saving.get_registered_object(name) is known


@pytest.mark.once
def test_importing_keras_margin_imports_no_keras():
    """Imports no Keras with keras_margin."""
    code = "import sys, keras_margin; assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
