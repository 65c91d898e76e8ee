"""The commands on galleries and clusters take ONNX embedders, foreign ones with their --normalization."""

import re

import numpy as np
import pytest
from onnx_files import SIDE, averages, unit, write
from PIL import Image

from keras_margin import cli

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FACES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An ONNX embedder, and a folder of two people with one image each and a stranger's image."""
    folder = tmp_path_factory.mktemp("onnx")
    write(folder / "net.onnx")
    for name, face in zip(("people/Ada/1.png", "people/Alan/1.png", "stranger.png"), FACES, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(folder / name)
    return folder


def test_an_onnx_embedder_enrolls_and_identifies(folder, capsys):
    """Each person is found again; the stranger's best cosine is below a threshold just above it."""
    rows = unit(averages(FACES, 127.5, 128))
    best = float((rows[:2] @ rows[2]).max())
    flags = [f"--model={folder / 'net.onnx'}", "--normalization=127.5/128"]
    assert cli.main(["enroll", str(folder / "people"), str(folder / "g.npz"), *flags]) == 0
    photographs = [str(folder / name) for name in ("people/Ada/1.png", "people/Alan/1.png", "stranger.png")]
    arguments = ["identify", *photographs, str(folder / "g.npz"), *flags, f"--threshold={best + 1e-3}"]
    assert cli.main(arguments) == 3
    said = capsys.readouterr().out
    assert "Ada/1.png: Ada, cosine 1.0000" in said and "stranger.png: nobody" in said


@pytest.mark.parametrize("threshold", ["0", "-0.2"])
def test_cluster_refuses_a_threshold_before_it_embeds(threshold, folder, capsys):
    """Everybody would be everybody's neighbor: the rule, the value, and no image was opened."""
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "1.png").write_bytes(b"not an image")
    arguments = [str(folder / "broken"), str(folder / "c.csv"), f"--model={folder / 'net.onnx'}"]
    assert cli.main(["cluster", *arguments, "--normalization=raw", f"--threshold={threshold}"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(rf"a --threshold in \(0, 1\], a cosine. Received: {threshold} ", error), error
