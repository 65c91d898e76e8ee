"""ONNX embedders by ONNX Runtime: every layout and batch, external weights, a normalization never guessed."""

import json
import subprocess
import sys

import numpy as np
import onnx_files
import pytest
from onnx_files import SIDE, SIZE, averages, unit, write

from keras_margin import cli
from keras_margin.evaluation import embedders

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PIXELS = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_every_layout_and_batch_gives_the_networks_rows(batch, channels_first, tmp_path):
    """Channels first or last, any batch, one image a call, or a batch that does not divide the images."""
    path = write(tmp_path / "net.onnx", batch=batch, channels_first=channels_first)
    embedder = embedders.load_embedder(path, normalization=(127.5, 128.0))
    assert (embedder.kind, embedder.image_size, embedder.embedding_size) == ("onnx", (SIDE, SIDE), SIZE)
    np.testing.assert_allclose(embedder.embed(PIXELS), unit(averages(PIXELS, 127.5, 128)), atol=1e-5)
    np.testing.assert_allclose(embedder.embed(PIXELS, lengths=True), averages(PIXELS, 127.5, 128), atol=1e-4)


def test_a_free_batch_is_bounded(tmp_path, monkeypatch):
    """Many images run in batches of at most MAX_BATCH."""
    monkeypatch.setattr("keras_margin.runtime._onnx.MAX_BATCH", 2)
    embedder = embedders.load_embedder(write(tmp_path / "net.onnx"), normalization="raw")
    np.testing.assert_allclose(embedder.embed(PIXELS), unit(averages(PIXELS)), atol=1e-5)


def test_weights_in_an_external_file_are_read(tmp_path):
    """The weights may lie in a file next to the model; without it the error says so."""
    path = write(tmp_path / "net.onnx", external=True)
    assert (tmp_path / "net.onnx.data").stat().st_size >= onnx_files.KERNEL.nbytes
    embedder = embedders.load_embedder(path, normalization="raw")
    np.testing.assert_allclose(embedder.embed(PIXELS), unit(averages(PIXELS)), atol=1e-5)
    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(ValueError, match="files of its external data next to it"):
        embedders.load_embedder(path, normalization="raw")


def test_a_named_normalization_is_its_numbers(tmp_path):
    """`imagenet` is (x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)."""
    embedder = embedders.load_embedder(write(tmp_path / "net.onnx"), normalization="imagenet")
    wanted = averages(PIXELS / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    np.testing.assert_allclose(embedder.embed(PIXELS, lengths=True), wanted, atol=1e-4)
    assert embedder.normalization == IMAGENET


def test_an_unknown_normalization_is_an_error(tmp_path):
    """The error lists the names that are known."""
    with pytest.raises(ValueError, match="'minus_one_one', 'facenet', 'imagenet'.*Did you mean 'imagenet'"):
        embedders.load_embedder(write(tmp_path / "net.onnx"), normalization="imagenett")


def test_a_missing_normalization_is_never_guessed(tmp_path):
    """A network on floats, without metadata, has to be told."""
    with pytest.raises(ValueError, match="takes float32, so it must be told how its pixels are normalised"):
        embedders.load_embedder(write(tmp_path / "net.onnx"))


def test_the_metadata_declare_the_normalization(tmp_path):
    """`image.normalization`, inside the file or in the JSON next to it, is taken; another one is refused."""
    text = json.dumps({"image": {"normalization": {"mean": [123.675, 116.28, 103.53], "std": 57.0}}})
    inside = write(tmp_path / "inside.onnx", metadata=text)
    beside = write(tmp_path / "beside.onnx")
    (tmp_path / "beside.onnx.json").write_text(text)
    for path in (inside, beside):
        embedder = embedders.load_embedder(path)
        np.testing.assert_allclose(embedder.embed(PIXELS), unit(averages(PIXELS, IMAGENET[0], 57)), atol=1e-5)
        with pytest.raises(ValueError, match="declare normalization=.*Received: normalization=.0.0, 1.0."):
            embedders.load_embedder(path, normalization="raw")


def test_a_declared_normalization_must_be_one(tmp_path):
    """What the metadata declare is checked like an argument."""
    path = write(tmp_path / "net.onnx", metadata=json.dumps({"image": {"normalization": {"mean": 1, "std": 0}}}))
    with pytest.raises(ValueError, match="must declare image.normalization as"):
        embedders.load_embedder(path)


def test_three_numbers_of_a_bgr_network_are_red_green_blue(tmp_path):
    """The three numbers of a normalization are R, G, B whatever the network is fed."""
    path = write(tmp_path / "net.onnx")
    wanted = unit(averages(PIXELS[..., ::-1], IMAGENET[0][::-1], IMAGENET[1][::-1]))
    loaded = embedders.load_embedder(path, normalization="imagenet", channels="BGR")
    np.testing.assert_allclose(loaded.embed(PIXELS), wanted, atol=1e-5)
    np.testing.assert_allclose(
        embedders.OnnxEmbedder(path, "imagenet", channels="BGR").embed(PIXELS), wanted, atol=1e-5
    )


def test_declared_bgr_and_three_numbers_are_turned_once(tmp_path):
    """Of a file whose metadata say BGR and three numbers R, G, B, without arguments: FileEmbedder and OnnxEmbedder."""
    told = {"channels": "BGR", "normalization": dict(zip(("mean", "std"), IMAGENET, strict=True))}
    path = write(tmp_path / "net.onnx", metadata=json.dumps({"image": told}))
    wanted = unit(averages(PIXELS[..., ::-1], IMAGENET[0][::-1], IMAGENET[1][::-1]))
    np.testing.assert_allclose(embedders.load_embedder(path).embed(PIXELS), wanted, atol=1e-5)
    np.testing.assert_allclose(embedders.OnnxEmbedder(path).embed(PIXELS), wanted, atol=1e-5)


def test_a_network_on_pixels_refuses_a_normalization(tmp_path):
    """A network that takes uint8 gets the pixels."""
    path = write(tmp_path / "net.onnx", uint8=True, channels_first=False)
    embedder = embedders.load_embedder(path)
    assert embedder.takes_pixels
    np.testing.assert_allclose(embedder.embed(PIXELS), unit(averages(PIXELS)), atol=1e-5)
    with pytest.raises(ValueError, match="takes uint8 pixels and normalises inside"):
        embedders.load_embedder(path, normalization="raw")


def test_files_that_are_no_embedders_are_named(tmp_path):
    """Several outputs, or bytes that are not ONNX, are refused by name."""
    with pytest.raises(ValueError, match=r"one output, or one called 'embedding'. Received: .*two.onnx, with \['out0'"):
        embedders.load_embedder(write(tmp_path / "two.onnx", outputs=2), normalization="raw")
    (tmp_path / "bad.onnx").write_bytes(b"not ONNX")
    with pytest.raises(ValueError, match="ONNX Runtime cannot read .*bad.onnx .8 bytes."):
        embedders.load_embedder(tmp_path / "bad.onnx", normalization="raw")


def test_threads_reach_onnx_runtime(tmp_path, monkeypatch):
    """num_threads sets the threads inside an operator; 0 is refused."""
    import onnxruntime

    seen, make = [], onnxruntime.InferenceSession

    def watched(path, options, **kwargs):
        seen.append(options.intra_op_num_threads)
        return make(path, options, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    path = write(tmp_path / "net.onnx")
    embedders.load_embedder(path, normalization="raw", num_threads=1)
    assert seen == [1]
    with pytest.raises(ValueError, match="num_threads >= 1"):
        embedders.load_embedder(path, normalization="raw", num_threads=0)


def test_the_commands_take_onnx(tmp_path, capsys, monkeypatch):
    """`verify` and `embed` run an ONNX file, with a normalization by name."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.onnx", batch=1)
    for name, pixels in zip(("a.png", "b.png"), PIXELS, strict=False):
        Image.fromarray(pixels).save(name)
    flags = ["--normalization=imagenet", "--threads=1"]
    assert cli.main(["verify", "net.onnx", "a.png", "b.png", "--threshold=-1", *flags]) == 0
    one, other = unit(averages(PIXELS[:2], *IMAGENET))
    assert float(capsys.readouterr().out.split()[1]) == pytest.approx(one @ other, abs=1e-5)
    assert cli.main(["embed", "net.onnx", "a.png", "b.png", "--out=rows.npz", *flags]) == 0
    np.testing.assert_allclose(np.load("rows.npz")["embeddings"], [one, other], atol=1e-5)
    assert cli.main(["verify", "net.onnx", "a.png", "b.png"]) == 1
    assert "--normalization=127.5/128.0" in capsys.readouterr().err


_WITHOUT_THE_EXTRA = """
import sys
for name in {blocked!r}: sys.modules[name] = None
from keras_margin.evaluation import embedders
try:
    print(embedders.load_embedder(sys.argv[1], normalization='raw').embedding_size)
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("blocked", "printed"),
    [(("onnxruntime",), 'pip install -e ".[onnx]"'), (("tensorflow", "keras", "jax", "torch", "onnx"), str(SIZE))],
)
def test_onnx_needs_onnx_runtime_alone(blocked, printed, tmp_path):
    """Without ONNX Runtime the error names the extra; without TensorFlow, Keras and the onnx package all is well."""
    path = write(tmp_path / "net.onnx")
    code = _WITHOUT_THE_EXTRA.format(blocked=blocked)
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert printed in run.stdout
