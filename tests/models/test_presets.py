"""A preset is written whole, read back exactly, and runs no code; its folder opens wherever a model file does."""

import json
import os
import pathlib
import re
import shutil
import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_margin as km
from keras_margin.evaluation import model_card

IMAGES = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
LABELS = np.arange(12) % 3
PIXELS = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
EVERYTHING = {"README.md", "config.json", "metadata.json", "model.weights.h5", "task.json", "task.weights.h5"}


@keras.saving.register_keras_serializable("tests_presets")
class Subclassed(keras.Model):
    """A backbone that defines `call` alone."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(4)

    def call(self, inputs):
        return self.dense(inputs)


def network():
    layers = [keras.Input((5,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
    return keras.Sequential(layers, name="net")


def made(backbone=None, head=None):
    return km.EmbeddingModel(backbone or network(), head or km.ArcFaceHead(3), name="made")


def of_images(rescaling=True):
    layers = [keras.Input((8, 8, 3)), *([keras.layers.Rescaling(1 / 128, offset=-1)] if rescaling else [])]
    return made(keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(4)]))


def values(layer):
    return [ops.convert_to_numpy(each) for each in layer.weights]


def assert_equal_weights(found, wanted):
    assert len(values(found)) == len(values(wanted)) > 0
    for one, other in zip(values(found), values(wanted), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """(folder, model): a preset of a trained model."""
    model = made(head=km.SphereFaceHead(3, auxiliary_loss=km.losses.CenterLoss()))
    model.compile(keras.optimizers.SGD(0.1), jit_compile=keras.backend.backend() == "jax")
    model.fit(IMAGES, LABELS, batch_size=6, epochs=2, verbose=0)
    return model.save_to_preset(tmp_path_factory.mktemp("presets") / "mine"), model


def test_a_model_comes_back_with_its_heads_state(preset):
    """Embeddings, prototypes, the annealing step and the auxiliary loss's centers are the saved ones, bit for bit."""
    folder, model = preset
    again = km.EmbeddingModel.from_preset(folder)
    np.testing.assert_array_equal(again.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    assert_equal_weights(again.head, model.head)
    assert again.head.annealing_lambda == model.head.annealing_lambda < 1000
    assert (type(again.head), again.name, again.compiled) == (km.SphereFaceHead, "made", False)


def test_the_files_have_keras_hubs_names_and_entries(preset):
    """The folder has the files of a keras-hub preset, and metadata.json its entries."""
    folder, model = preset
    assert {path.name for path in folder.iterdir()} == EVERYTHING
    found = json.loads((folder / "metadata.json").read_text())
    assert found["keras_version"] == keras.__version__ and found["tasks"] == ["EmbeddingModel"]
    assert found["parameter_count"] == 5 * 4 + 4 + 4 * 4
    assert json.loads((folder / "config.json").read_text())["class_name"] == "Sequential"
    assert json.loads((folder / "task.json").read_text())["registered_name"] == "keras_margin>EmbeddingModel"


def test_keras_alone_loads_the_backbone(preset):
    """keras.saving.load_model reads the folder as an unzipped .keras file of the backbone."""
    folder, model = preset
    backbone = keras.saving.load_model(str(folder))
    assert_equal_weights(backbone, model.embedder)
    assert not backbone.compiled


def test_a_subclassed_backbone_comes_back(tmp_path):
    """A backbone that defines `call` alone is built again before its weights are loaded."""
    model = made(Subclassed())
    model(IMAGES)
    again = km.EmbeddingModel.from_preset(model.save_to_preset(tmp_path / "mine"))
    assert isinstance(again.embedder, Subclassed)
    assert_equal_weights(again, model)


@pytest.mark.parametrize("head", [None, km.CosFaceHead])
def test_frozen_layers_stay_frozen(tmp_path, head):
    """Each layer is trainable again or not as it was saved, under the saved head and under a new one."""
    model = made()
    model.embedder.layers[0].trainable = False
    again = km.EmbeddingModel.from_preset(model.save_to_preset(tmp_path / "mine"), head=head and head(7))
    assert [each.trainable for each in again.embedder.layers] == [False, True]
    assert again.trainable and again.head.trainable


def test_a_frozen_model_stays_frozen(tmp_path):
    """A model that is not trainable as a whole comes back as one."""
    model = made()
    model.trainable = False
    again = km.EmbeddingModel.from_preset(model.save_to_preset(tmp_path / "mine"))
    assert not again.trainable_variables and not again.head.trainable


def test_a_new_head_takes_the_place_of_the_saved_one(preset):
    """With head= the weights are the backbone's alone, whatever classes the preset's head had."""
    folder, model = preset
    again = km.EmbeddingModel.from_preset(folder, head=km.CosFaceHead(7))
    assert (type(again.head), again.head.num_classes) == (km.CosFaceHead, 7)
    assert_equal_weights(again.embedder, model.embedder)


def test_without_the_head_nothing_of_it_is_written(tmp_path):
    """include_head=False leaves its files out; loading then asks for a head, and names the way to the backbone."""
    folder = made().save_to_preset(tmp_path / "mine", include_head=False)
    assert {path.name for path in folder.iterdir()} == EVERYTHING - {"task.json", "task.weights.h5"}
    assert json.loads((folder / "metadata.json").read_text())["tasks"] == []
    with pytest.raises(ValueError, match=r"include_head=False. Pass head=.* keras.saving.load_model\("):
        km.EmbeddingModel.from_preset(folder)
    assert km.EmbeddingModel.from_preset(folder, head=km.ArcFaceHead(2)).head.num_classes == 2


def test_load_weights_false_gives_new_weights(preset):
    """Returns the architecture with weights of its own."""
    folder, model = preset
    again = km.EmbeddingModel.from_preset(folder, load_weights=False)
    assert again.head.num_classes == 3
    assert not np.array_equal(values(again.embedder)[0], values(model.embedder)[0])
    assert again.head.annealing_lambda == 1000


def test_the_optimizer_is_not_part_of_a_preset(preset):
    """Neither config names what compile() was given."""
    folder, _ = preset
    assert all("compile_config" not in (folder / name).read_text() for name in ("config.json", "task.json"))


def test_a_model_without_weights_is_refused(tmp_path):
    """A model that was never called has no weights to save."""
    with pytest.raises(ValueError, match="Received: made, not built yet"):
        made(Subclassed()).save_to_preset(tmp_path / "mine")


def test_an_existing_folder_stays_unless_told(tmp_path):
    """Refuses a folder that is there; overwrite=True replaces all of it."""
    folder = made().save_to_preset(tmp_path / "mine")
    (folder / "note.txt").write_text("old")
    with pytest.raises(FileExistsError, match="exists already.*overwrite=True"):
        made().save_to_preset(folder)
    made().save_to_preset(folder, overwrite=True, include_head=False)
    assert {path.name for path in folder.iterdir()} == EVERYTHING - {"task.json", "task.weights.h5"}


def test_overwrite_replaces_presets_alone(tmp_path):
    """A folder that is not a preset is never replaced; an empty one is filled."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="which is not one"):
        made().save_to_preset(tmp_path, overwrite=True)
    (tmp_path / "empty").mkdir()
    assert km.models.presets.is_preset(made().save_to_preset(tmp_path / "empty"))


@pytest.mark.parametrize("metadata", [None, "{", '{"keras_version": "3.0.0", "tasks": []}'])
def test_overwrite_spares_presets_of_others(tmp_path, metadata):
    """Refuses what Keras saves unzipped, and a preset of keras-hub, which have the same three files."""
    made().save(tmp_path / "whole", zipped=False)
    if metadata is not None:
        (tmp_path / "whole" / "metadata.json").write_text(metadata)
    before = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir() if path.is_file()}
    with pytest.raises(FileExistsError, match="replaces a preset of keras-margin.*which is not one. Name another"):
        made().save_to_preset(tmp_path / "whole", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir() if path.is_file()} == before


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    """Where the disk is full in the middle, the older preset is as it was, and nothing lies next to it."""
    folder = made().save_to_preset(tmp_path / "mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        made().save_to_preset(folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert os.listdir(tmp_path) == ["mine"]


def test_code_in_a_preset_is_not_run(tmp_path):
    """A Lambda layer, which is Python code in the config, is refused."""
    coded = keras.Sequential([keras.Input((5,)), keras.layers.Lambda(lambda x: x), keras.layers.Dense(4)])
    folder = made(coded).save_to_preset(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"config.json cannot be read as part of a preset: .*[Ll]ambda"):
        km.EmbeddingModel.from_preset(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", b"{", "config.json is not JSON"),
        ("config.json", b"[]", "config.json must hold a JSON object"),
        ("config.json", b"{}", "config.json must describe the backbone"),
        ("model.weights.h5", b"damaged", "model.weights.h5 cannot be read"),
        ("task.json", b"{}", "task.json cannot be read"),
        ("task.weights.h5", b"damaged", "task.weights.h5 cannot be read"),
        ("task.weights.h5", None, "task.weights.h5 is missing"),
        ("model.weights.h5", None, "without model.weights.h5"),
    ],
)
def test_a_damaged_preset_names_the_file(preset, tmp_path, name, content, said):
    """An error says which file is damaged or missing."""
    shutil.copytree(preset[0], tmp_path / "mine")
    (tmp_path / "mine" / name).unlink()
    if content is not None:
        (tmp_path / "mine" / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as raised:
        km.EmbeddingModel.from_preset(tmp_path / "mine")
    assert content != b"{" or "registered" not in str(raised.value)


def test_a_whole_model_unzipped_is_not_a_preset(tmp_path):
    """What model.save(zipped=False) writes is named as that."""
    made().save(tmp_path / "whole", zipped=False)
    with pytest.raises(ValueError, match="Received: a EmbeddingModel. A folder of model.save"):
        km.EmbeddingModel.from_preset(tmp_path / "whole", head=km.ArcFaceHead(2))


def test_the_metadata_say_what_the_network_takes(tmp_path):
    """Size, range where the first layer tells, template where the size does; what the user says is merged in."""
    given = {"about": {"license": "cc-by-4.0"}, "image": {"range": [0, 1]}, "threshold": {"cosine": 0.4, "far": 1e-3}}
    plain = km.runtime.read_metadata(of_images().save_to_preset(tmp_path / "plain"))
    told = km.runtime.read_metadata(of_images().save_to_preset(tmp_path / "told", metadata=given))
    image = {"dtype": "float32", "batch": None, "height": 8, "width": 8, "channels": "RGB"}
    assert plain["image"] == image | {"range": [0, 255]} and told["image"] == image | {"range": [0, 1]}
    assert plain["embedding"]["size"] == 4 and plain["alignment"] is None and plain["threshold"] is None
    assert plain["head"]["class"] == "ArcFaceHead" and plain["head"]["margin"] == 0.5
    assert told["threshold"] == {"cosine": 0.4, "far": 1e-3} and "no_threshold" not in told


def test_the_template_goes_into_the_metadata(tmp_path):
    """A network of 112x112 faces has the five points of the field's template."""
    backbone = keras.Sequential([keras.Input((112, 112, 3)), keras.layers.GlobalAveragePooling2D()])
    found = km.runtime.read_metadata(made(backbone).save_to_preset(tmp_path / "mine"))
    assert found["alignment"]["points"][2] == [56.0252, 71.7366]


def test_the_card_has_licence_and_use(tmp_path):
    """README.md begins with the hub's settings and ends with how to load the model."""
    about = {"license": "cc-by-4.0", "intended_use": "the door of our office"}
    folder = made().save_to_preset(tmp_path / "mine", metadata={"about": about}, include_head=False)
    card = (folder / "README.md").read_text()
    assert 'license: "cc-by-4.0"' in card.split("---")[1].splitlines()
    assert "## Intended use\n\nthe door of our office" in card and "Not stated" in card
    assert 'km.EmbeddingModel.from_preset("mine", head=km.ArcFaceHead(num_classes))' in card
    assert card == model_card.preset_card(km.runtime.read_metadata(folder), "mine")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"threshold": {"cosine": 1.5, "far": 0.1}}, "A threshold is"),
        ({"threshold": 0.4}, "Received: threshold=0.4"),
        ({"measured": [float("nan")]}, "plain JSON values"),
        ({"about": {"license": np.zeros(2)}}, "plain JSON values"),
        ({"about": "cc-by-4.0"}, "about is a dict.*Received: 'cc-by-4.0'"),
        ({"image": [8, 8]}, r"image is a dict.*Received: \[8, 8\]"),
        ("cc-by-4.0", "metadata is a dict.*Received: 'cc-by-4.0'"),
    ],
)
def test_metadata_that_mean_nothing_are_refused(tmp_path, metadata, said):
    """Refuses a threshold that is not one, and values without JSON; nothing is written."""
    with pytest.raises(ValueError, match=said):
        made().save_to_preset(tmp_path / "mine", metadata=metadata)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("nowhere", FileNotFoundError, "No such file or directory: 'nowhere'"),
        (".", ValueError, "without config.json"),
        ("kaggle://someone/something", ValueError, "Received: 'kaggle://someone/something'"),
    ],
)
def test_what_is_not_a_preset_is_refused(tmp_path, monkeypatch, name, error, said):
    """Refuses a missing folder, another folder, another hub."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=re.escape(said)):
        km.EmbeddingModel.from_preset(name)


def test_a_handle_without_the_extra_says_so(monkeypatch):
    """Without huggingface_hub the error names the extra, and what to do without a network."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"\.\[hub\].*copy the files of the repository"):
        km.EmbeddingModel.from_preset("hf://someone/faces")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The cache folder of huggingface_hub, which looks nowhere else."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "models--someone--faces"


@pytest.fixture
def published(hub, preset):
    """(model of the preset, commit) where the cache holds it as hf://someone/faces."""
    folder, model = preset
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(folder, hub / "snapshots" / commit)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(commit)
    return model, commit


def test_a_handle_is_read_from_the_hubs_cache(published):
    """hf://user/repository is loaded by huggingface_hub, at the main revision or at a named one."""
    model, commit = published
    for handle in ("hf://someone/faces", f"hf://someone/faces@{commit}"):
        assert_equal_weights(km.EmbeddingModel.from_preset(handle), model)


def test_keras_reads_the_same_handle(published):
    """Keras's own load_model finds the backbone; it asks TensorFlow whether a handle is a folder, on every backend."""
    pytest.importorskip("tensorflow")
    assert_equal_weights(keras.saving.load_model("hf://someone/faces"), published[0].embedder)


@pytest.mark.parametrize(
    ("handle", "error", "said"),
    [
        ("hf://someone/elsewhere", OSError, "hf://someone/elsewhere cannot be fetched.*copy the files"),
        ("hf://faces", ValueError, "A handle is hf://user/repository"),
        ("hf://a/b/c", ValueError, "A handle is hf://user/repository"),
    ],
)
def test_a_repository_that_is_not_there_says_so(hub, handle, error, said):
    """What cannot be fetched is named with the way around; a handle that is not one too."""
    with pytest.raises(error, match=said):
        km.EmbeddingModel.from_preset(handle)


@pytest.mark.tensorflow_only
def test_a_preset_opens_as_an_embedder(tmp_path):
    """load_embedder runs its backbone on pixels normalised as the metadata declare."""
    model = of_images(rescaling=False)
    normalization = {"mean": 127.5, "std": 128.0}
    folder = model.save_to_preset(tmp_path / "mine", metadata={"image": {"normalization": normalization}})
    embedder = km.load_embedder(folder)
    assert (embedder.kind, embedder.normalization, embedder.metadata["tasks"]) == (
        "keras",
        (127.5, 128.0),
        ["EmbeddingModel"],
    )
    kernel, bias = (each.astype(np.float64) for each in values(model.embedder))
    rows = ((PIXELS.astype(np.float64) - 127.5) / 128).reshape(4, -1) @ kernel + bias
    np.testing.assert_allclose(embedder.embed(PIXELS, lengths=True), rows, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="Leave it out"):
        km.load_embedder(folder, normalization="imagenet")


@pytest.mark.tensorflow_only
def test_an_export_of_a_preset_keeps_its_origin(tmp_path):
    """An exported file has the head, the recipe and what was measured out of the preset's metadata."""
    given = {"recipe": {"name": "mine"}, "measured": [{"set": "lfw", "accuracy": 0.99}]}
    model = of_images()
    folder = model.save_to_preset(tmp_path / "mine", metadata=given, include_head=False)
    report = km.export.to_savedmodel(folder, tmp_path / "saved", samples=np.repeat(PIXELS, 2, axis=0))
    found = km.runtime.read_metadata(tmp_path / "saved")
    assert (found["recipe"], found["measured"]) == (given["recipe"], given["measured"])
    assert found["head"] == km.runtime.read_metadata(folder)["head"] and report.worst_cosine > 0.999


@pytest.mark.tensorflow_only
def test_metadata_can_be_added_to_a_preset(tmp_path):
    """update_metadata, and with it `keras-margin calibrate`, writes into metadata.json and keeps the rest."""
    from keras_margin.evaluation import embedders

    folder = made().save_to_preset(tmp_path / "mine")
    before = json.loads((folder / "metadata.json").read_text())
    embedders.update_metadata(folder, {"calibration": {"method": "logistic"}})
    assert json.loads((folder / "metadata.json").read_text()) == before | {"calibration": {"method": "logistic"}}
