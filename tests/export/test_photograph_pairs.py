"""What a file of photographs verifies from the photograph on: `photograph_pairs=` and `--photograph_pairs`."""

import hopper
import numpy as np
import pytest

from keras_margin import evaluation, export, runtime
from keras_margin._utils import canvas, metadata
from keras_margin.evaluation.model_card import model_card

pytestmark = [pytest.mark.tensorflow_only, pytest.mark.slow]

pytest.importorskip("mtcnn", reason="the align extra is not installed")
pytest.importorskip("ai_edge_litert", reason="the litert extra is not installed")

CANVAS, SHAPE = (120, 160), (32, 28)
TINTS = [(1.0, 1.0, 1.0), (1.0, 0.8, 0.6), (0.6, 0.8, 1.0)]


@pytest.fixture(scope="module")
def network():
    """A network of random weights on faces of 32 x 28 pixels."""
    return hopper.network(SHAPE)


@pytest.fixture(scope="module")
def photographs():
    """(9 photographs that fit on the canvas, labels): one face in three colors and sizes; number 4 shows nobody."""
    picture = hopper.photograph()
    found = []
    for tint in TINTS:
        for height in (112, 104, 118):
            small = canvas.shrunk(picture, (height, height * 512 // 600))
            found.append(np.rint(small * np.array(tint)).astype(np.uint8))
    found[4] = np.full((100, 90, 3), 90, np.uint8)
    return found, np.repeat(np.arange(3), 3)


@pytest.fixture(scope="module")
def written(network, photographs, tmp_path_factory):
    """(path, ParityReport) of a file that was measured on them."""
    path = tmp_path_factory.mktemp("pairs") / "face.tflite"
    options = export.Options(far=0.1)
    return path, export.to_tflite(network, path, photo=CANVAS, photograph_pairs=photographs, options=options)


def test_figures_are_those_of_the_file(written, photographs):
    """EER and TAR of each pair's cosine, by the runtime's own detection and embedding; without a face -1."""
    (images, labels), (path, report) = photographs, written
    embedder = runtime.Embedder(path, num_threads=1)
    rows = []
    for number, image in enumerate(images):
        faces = embedder.faces(image)
        assert len(faces) == (number != 4)
        rows.append(np.float64(faces[0].embedding) if faces else None)
    first, second = np.triu_indices(len(images), 1)
    scores = np.array(
        [-1.0 if rows[a] is None or rows[b] is None else rows[a] @ rows[b] for a, b in zip(first, second, strict=True)]
    )
    same = labels[first] == labels[second]
    accuracy = report.accuracy
    assert (accuracy.num_genuine, accuracy.num_impostor, accuracy.num_people) == (9, 27, 3)
    assert (accuracy.photographs, accuracy.no_face, accuracy.model_no_face) == (9, 1, 1)
    assert accuracy.eer == pytest.approx(evaluation.eer(scores, same), abs=1e-9)
    assert accuracy.tar == pytest.approx(evaluation.tar_at_far(scores, same, 0.1), abs=1e-9)
    # Two of person 1's three pairs have no face: more than 7 of 9 cannot be accepted.
    assert accuracy.tar <= 7 / 9 and accuracy.eer > 0


def test_the_report_and_card_count_photographs(written):
    """Both say that whole photographs were measured, and how many show no face."""
    path, report = written
    assert "impostor pairs of 9 photographs, 1 without a face (the Keras detector: 1): EER" in str(report)
    found = metadata.read_metadata(path)
    assert found["accuracy"]["photographs"] == 9 and found["accuracy"]["no_face"] == 1
    assert "9 whole photographs, whose faces the file finds itself; 1 show none to it" in model_card(found, "face")


def test_samples_are_the_photographs_faces(written):
    """Without samples= and photographs= the gate compares on the pairs' own, not on noise and pictures put together."""
    report = written[1]
    assert report.num_images == 8 and not report.synthetic
    assert not report.photo.synthetic and (report.photo.photographs, report.photo.found) == (9, 8)


@pytest.mark.parametrize("kept", [[3, 1, 6, 0, 4, 7, 2, 5], []], ids=["mixed up", "none found"])
def test_a_file_that_embeds_other_faces_is_refused(network, photographs, tmp_path, monkeypatch, kept):
    """Held to the limits of Options: a file that mixes photographs up, or finds no face on any, is not written."""
    from keras_margin.export import _photo_gate

    real = _photo_gate.embed_photographs

    def changed(*arguments):
        rows, found = real(*arguments)
        return rows[kept], found & bool(kept)

    monkeypatch.setattr(_photo_gate, "embed_photographs", changed)
    options = export.Options(far=0.1, limits=export.Limits(tar_drop=0.01))
    with pytest.raises(export.ParityError, match=r"TAR -0\.\d+ against the model's, limit -0.0100"):
        export.to_tflite(network, tmp_path / "a.tflite", photo=CANVAS, photograph_pairs=photographs, options=options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photo": None}, "for a file that takes photographs. Pass photo=True too"),
        ({"pairs": (np.zeros((4, *SHAPE, 3), np.uint8), [True, False])}, "both give the threshold"),
        ({"photograph_pairs": ([np.zeros((50, 50, 3), np.uint8)] * 4, [0, 0, 1, 1])}, "4 photographs, in which none"),
        ({"photograph_pairs": ([np.zeros((50, 50, 3), np.uint8)] * 4, [0, 0, 1])}, "photograph_pairs needs one bool"),
        ({"photograph_pairs": ([np.zeros((50, 50, 3), np.uint8)] * 4, [0, 0, 0, 0])}, "of one person and of two"),
    ],
)
def test_pairs_of_no_use_are_refused(network, photographs, tmp_path, change, message):
    """Before anything is converted."""
    given = {"photo": CANVAS, "photograph_pairs": photographs, "options": export.Options(far=0.5), **change}
    with pytest.raises(ValueError, match=message):
        export.to_tflite(network, tmp_path / "a.tflite", **given)
    assert list(tmp_path.iterdir()) == []


def test_the_command_measures_a_folder(network, photographs, tmp_path, capsys):
    """PERSON/image.png; the report has the figures of the library."""
    from PIL import Image

    from keras_margin.cli import main

    for number, (image, label) in enumerate(zip(*photographs, strict=True)):
        (tmp_path / "people" / f"p{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "people" / f"p{label}" / f"{number}.png")
    network.save(tmp_path / "model.keras")
    line = ["export", str(tmp_path / "model.keras"), str(tmp_path / "face.tflite"), "--photo=120x160", "--far=0.1"]
    assert main([*line, f"--photograph_pairs={tmp_path / 'people'}"]) == 0
    assert "9 genuine and 27 impostor pairs of 9 photographs, 1 without a face" in capsys.readouterr().out
    for arguments, words in (
        ([f"--photograph_pairs={tmp_path}"], "PERSON/image.jpg. Received"),
        ([f"--photograph_pairs={tmp_path}", "--pairs=orl"], "takes the place of --pairs"),
    ):
        assert main([*line, *arguments]) != 0
        assert words in capsys.readouterr().err
