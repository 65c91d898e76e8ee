"""verify, embed, enroll, identify and gallery on photographs, for a file whose metadata have an alignment."""

import itertools
import json
import pathlib
import re
import subprocess
import sys

import faces
import numpy as np
import pytest
from tflite_networks import HEIGHT, WIDTH, aligned_metadata, convert, expected, images_of, own_export, with_metadata

from keras_margin import alignment, cli, data, runtime
from keras_margin._utils import metadata
from keras_margin.data import auditing

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow_only

ROOT = pathlib.Path(__file__).resolve().parents[2]
THRESHOLD = {"cosine": 0.5, "far": 0.001, "tar": 0.9}
ACCURACY = {"num_genuine": 450, "num_impostor": 4500}
DETECTOR = "--detector=faces:make_detector"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return convert(tmp_path_factory.mktemp("models"), "face", [None, HEIGHT, WIDTH, 3], "uint8", own_export)


@pytest.fixture(scope="module")
def aligned(plain):
    """A file for aligned faces, with a threshold."""
    path = plain.with_name("aligned.tflite")
    return str(with_metadata(plain, path, threshold=THRESHOLD, accuracy=ACCURACY, **aligned_metadata()))


def save(path, image):
    faces.save(path, image)
    return str(path)


@pytest.fixture
def photographs(tmp_path):
    """A folder of two photographs with a face, one without, a file that is not an image, and a crop."""
    folder = tmp_path / "photographs"
    save(folder / "a.png", faces.photograph((20, 30)))
    save(folder / "b.png", faces.photograph((5, 40), seed=1))
    save(folder / "empty.png", faces.photograph(seed=2))
    (folder / "torn.png").write_bytes(b"\x89PNG and no more")
    return folder


def crop_of(path):
    return alignment.align(alignment.read_image(path), (HEIGHT, WIDTH), faces.detect)


def run(capfd, *arguments):
    """(exit status, standard output, standard error without LiteRT's greeting)."""
    status = cli.main([str(argument) for argument in arguments])
    out, error = capfd.readouterr()
    return status, out, "\n".join(line for line in error.splitlines() if not line.startswith("INFO:"))


def test_verify_refuses_a_photograph_where_faces_are_aligned(aligned, photographs, capfd):
    """Squeezed photographs would get a verdict about something else than their faces."""
    status, out, error = run(capfd, "verify", aligned, photographs / "a.png", photographs / "b.png")
    assert (status, out) == (1, "")
    assert re.search(r"a\.png cannot be used: .*aligned by five points.*picture of 160 x 160\. Pass --align ", error)


def test_verify_aligns_with_a_detector(aligned, photographs, capfd):
    """The cosine is that of the two aligned crops."""
    one, other = photographs / "a.png", photographs / "b.png"
    status, out, _ = run(capfd, "verify", aligned, one, other, DETECTOR)
    first, second = expected(np.stack([crop_of(one), crop_of(other)]))
    assert status in (0, 3) and float(out.split()[1]) == pytest.approx(first @ second, abs=2e-6)


def test_the_verdict_tells_what_its_threshold_rests_on(aligned, tmp_path, capfd):
    """FAR and the number of pairs behind it; of a threshold of the caller's own that they are not known."""
    one = save(tmp_path / "one.png", images_of(1)[0])
    status, out, _ = run(capfd, "verify", aligned, one, one)
    assert status == 0 and "the same person: 1.000000 >= threshold 0.5" in out
    assert "TAR 90.00% on 450 genuine pairs, FAR 0.001 on 4,500 impostor pairs" in out
    _, out, _ = run(capfd, "verify", aligned, one, one, "--threshold=0.7")
    assert "threshold 0.7 (given by --threshold: its FAR is not known here)" in out


def test_the_metadata_say_what_a_threshold_rests_on(plain, tmp_path, capfd):
    """Their own phrase is printed where they have one, and why there is no threshold where there is none."""
    one = save(tmp_path / "one.png", images_of(1)[0])
    threshold = {**THRESHOLD, "basis": "4,500 impostor pairs of 10 people: enough for a demonstration"}
    path = with_metadata(plain, tmp_path / "a.tflite", threshold=threshold, accuracy=ACCURACY)
    _, out, _ = run(capfd, "verify", path, one, one)
    assert "FAR 0.001 on 4,500 impostor pairs of 10 people: enough for a demonstration)" in out
    path = with_metadata(plain, tmp_path / "b.tflite", threshold=None, no_threshold="No threshold: 3 people.")
    _, out, _ = run(capfd, "verify", path, one, one)
    assert "No verdict. No threshold: 3 people. Pass --threshold." in out


def test_no_threshold_is_not_the_same_person(plain, tmp_path, capfd):
    """`verify ... && open_the_door` must not open it for want of a threshold: status 4."""
    one = save(tmp_path / "one.png", images_of(1)[0])
    status, out, _ = run(capfd, "verify", plain, one, one)
    assert status == 4 and "No verdict. The file ships no threshold. Pass --threshold." in out


def test_embed_goes_on_past_what_it_cannot_use(aligned, photographs, tmp_path, capfd):
    """Two faces are written; the picture without one and the torn file are counted and named."""
    status, out, error = run(capfd, "embed", aligned, photographs, DETECTOR, f"--out={tmp_path / 'e.npz'}")
    assert status == 0 and "2 embeddings of 5, 1 without a face, 1 that cannot be used." in out
    assert f"No face: {photographs / 'empty.png'}" in out
    assert f"Cannot be used: {photographs / 'torn.png'}: it cannot be read" in out
    assert error.startswith("Embedding 4 images.")
    with np.load(tmp_path / "e.npz", allow_pickle=False) as found:
        assert found["names"].tolist() == [str(photographs / "a.png"), str(photographs / "b.png")]
        crops = np.stack([crop_of(path) for path in found["names"]])
        np.testing.assert_allclose(found["embeddings"], expected(crops), atol=1e-6)


def test_embed_writes_nothing_where_nothing_can_be_used(aligned, photographs, tmp_path, capfd):
    """All photographs refused for their size: an error that names --align, and no file."""
    for name in ("empty.png", "torn.png"):
        (photographs / name).unlink()
    status, _, error = run(capfd, "embed", aligned, photographs, f"--out={tmp_path / 'e.npz'}")
    assert status == 1 and "Pass --align" in error and "None of the 2 images gives an embedding." in error
    assert not (tmp_path / "e.npz").exists()


def test_embed_shows_progress_without_a_terminal(aligned, photographs, tmp_path, capfd, monkeypatch):
    """A line on standard error every few seconds, here by a clock that runs six seconds a look."""
    now = itertools.count(0, 6)
    monkeypatch.setattr("keras_margin._utils.progress.time.monotonic", lambda: next(now))
    _, _, error = run(capfd, "embed", aligned, photographs, DETECTOR, f"--out={tmp_path / 'e.npz'}")
    assert re.search(r"Embedded \d of 4 images", error)


def test_embed_holds_one_batch_of_pictures(aligned, tmp_path, capfd, monkeypatch):
    """Memory is bounded: 70 crops are embedded in three calls of at most 32."""
    for number in range(70):
        save(tmp_path / "crops" / f"{number:02}.png", images_of(1, seed=number)[0])
    sizes, embed = [], runtime.Embedder.embed

    def counting(self, images):
        sizes.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(runtime.Embedder, "embed", counting)
    assert run(capfd, "embed", aligned, tmp_path / "crops", f"--out={tmp_path / 'e.npz'}")[0] == 0
    assert sizes == [32, 32, 6]


def test_names_that_are_no_text_come_back(aligned, tmp_path, capfd):
    """A file name of bytes that are not UTF-8 is kept in `names` as Python has it."""
    folder = tmp_path / "crops"
    save(folder / "plain.png", images_of(1)[0])
    try:
        (folder / "plain.png").rename(str(folder / "b\udcff.png"))
    except OSError:
        pytest.skip("this disk takes names in UTF-8 alone")
    assert run(capfd, "embed", aligned, folder, f"--out={tmp_path / 'e.npz'}")[0] == 0
    with np.load(tmp_path / "e.npz", allow_pickle=False) as found:
        assert found["names"].tolist() == [str(folder / "b\udcff.png")]


@pytest.fixture
def people(tmp_path):
    """Three people with two crops each."""
    for person in range(3):
        for number in range(2):
            image = images_of(1, seed=10 * person + number)[0]
            save(tmp_path / "people" / f"人 {person}" / f"{number}.png", image)
    return tmp_path / "people"


def enrolled(capfd, aligned, people, tmp_path):
    path = tmp_path / "people.npz"
    status, out, error = run(capfd, "enroll", people, path, f"--model={aligned}")
    assert status == 0 and "enrolled 3 people by 6 images" in out, error
    return path


def test_enroll_makes_a_gallery_of_a_folders_people(aligned, people, tmp_path, capfd):
    """Each folder is a person, each image one row; the rows are the formula's."""
    gallery = runtime.Gallery.load(enrolled(capfd, aligned, people, tmp_path))
    assert gallery.names == ("人 0", "人 1", "人 2") and gallery.model == runtime.Embedder(aligned).model_id
    wanted = expected(np.concatenate([images_of(1, seed=10), images_of(1, seed=11)]))
    np.testing.assert_allclose(gallery.embeddings_of("人 1"), wanted, atol=1e-6)


def test_nobody_is_enrolled_twice(aligned, people, tmp_path, capfd):
    """A second time is refused; with --replace the new images take the place of the old."""
    path = enrolled(capfd, aligned, people, tmp_path)
    status, _, error = run(capfd, "enroll", people, path, f"--model={aligned}")
    assert status == 1 and "人 0 and 2 more of" in error and "Pass --replace" in error
    (people / "人 0" / "1.png").unlink()
    assert run(capfd, "enroll", people, path, f"--model={aligned}", "--replace")[0] == 0
    gallery = runtime.Gallery.load(path)
    assert [len(gallery.embeddings_of(name)) for name in ("人 0", "人 1", "人 2")] == [1, 2, 2]


def test_a_gallery_of_another_model_is_refused(aligned, plain, people, tmp_path, capfd):
    """Cosines between the embeddings of two networks mean nothing."""
    path = enrolled(capfd, aligned, people, tmp_path)
    status, _, error = run(capfd, "enroll", people, path, f"--model={plain}", "--replace")
    assert status == 1 and "embeddings of another model" in error
    status, _, error = run(capfd, "identify", people / "人 1" / "0.png", path, f"--model={plain}", "--threshold=0")
    assert status == 1 and "embeddings of another model" in error


def test_identify_names_the_person_or_nobody(aligned, people, tmp_path, capfd):
    """A known crop is its person's; a stranger is nobody's, status 3; a torn file does not stop the others."""
    path = enrolled(capfd, aligned, people, tmp_path)
    known, stranger = people / "人 1" / "0.png", save(tmp_path / "stranger.png", 255 - images_of(1, seed=10)[0])
    status, out, _ = run(capfd, "identify", known, path, f"--model={aligned}")
    assert status == 0 and f"{known}: 人 1, cosine 1.000000" in out
    assert "FAR 0.001 on 4,500 impostor pairs" in out and "for each of 6 embeddings of 3 people" in out
    status, out, _ = run(capfd, "identify", stranger, known, path, f"--model={aligned}", "--threshold=0.99")
    assert status == 3 and f"{stranger}: nobody" in out and "人 1, cosine 1.000000" in out
    (tmp_path / "torn.png").write_bytes(b"")
    status, out, error = run(capfd, "identify", tmp_path / "torn.png", known, path, f"--model={aligned}")
    assert status == 1 and "torn.png cannot be read" in error and "人 1, cosine 1.000000" in out


def test_identify_without_a_threshold_is_refused(plain, people, tmp_path, capfd):
    """Without one, everybody would be somebody."""
    path = enrolled(capfd, str(plain), people, tmp_path)
    status, out, error = run(capfd, "identify", people / "人 1" / "0.png", path, f"--model={plain}")
    assert status == 1 and "ships no threshold. Without one everybody would be somebody" in error and out == ""


def test_gallery_lists_and_removes(aligned, people, tmp_path, capfd):
    """Names and numbers of embeddings by tabs; removed people are out of the file; an unknown name is asked for."""
    path = enrolled(capfd, aligned, people, tmp_path)
    assert run(capfd, "gallery", "list", path)[:2] == (0, "人 0\t2\n人 1\t2\n人 2\t2\n")
    status, _, error = run(capfd, "gallery", "remove", path, "人 0", "人 11")
    assert status == 1 and "nobody called '人 11'. Did you mean '人 1'?" in error
    assert run(capfd, "gallery", "list", path)[1].count("\n") == 3
    assert run(capfd, "gallery", "remove", path, "人 0", "人 2")[0] == 0
    assert runtime.Gallery.load(path).names == ("人 1",)


def test_a_runs_folder_stands_for_its_exported_file(aligned, tmp_path, capfd):
    """inspect and verify take RUN for RUN/embedder.tflite; of a .keras file they name it."""
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "model.keras").write_bytes(b"PK\x03\x04 and more")
    status, _, error = run(capfd, "inspect", run_folder)
    assert status == 1 and "is a training run without an exported file. Export it first: keras-margin export" in error
    (run_folder / "embedder.tflite").write_bytes(pathlib.Path(aligned).read_bytes())
    status, out, _ = run(capfd, "inspect", "--json", run_folder)
    assert status == 0 and json.loads(out) == metadata.read_metadata(aligned)
    one = save(tmp_path / "one.png", images_of(1)[0])
    assert run(capfd, "verify", run_folder, one, one)[0] == 0
    for arguments in (["inspect", run_folder / "model.keras"], ["verify", run_folder / "model.keras", one, one]):
        status, _, error = run(capfd, *arguments)
        assert status == 1 and "is a Keras file" in error and f"{run_folder / 'embedder.tflite'}" in error


# Of each command that does not work without TensorFlow, arguments that get as far as the missing package.
_NEEDING_TENSORFLOW = {
    "align": "{photographs} {out}/faces",
    "backbones": "",
    "convert": "{out}/a.keras {out}/a.pth",
    "export": "{out} {out}/face.tflite",
    "plot": "logits arcface --out={out}/a.png",
    "train": "--data_dir={people}",
    "verify": "{model} {photographs}/a.png {photographs}/b.png --align",
}


def test_without_tensorflow_every_command_ends_in_one_sentence(aligned, people, photographs, tmp_path):
    """On a device with NumPy and LiteRT alone a command that cannot work says what to install, not a traceback."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.keras").write_bytes(b"PK\x03\x04")
    places = {"photographs": photographs, "people": people, "out": tmp_path / "out", "model": aligned}
    lines = [[name, *text.format(**places).split()] for name, text in _NEEDING_TENSORFLOW.items()]
    program = (
        "import json, sys\n"
        "for name in ('tensorflow', 'keras', 'jax', 'torch', 'h5py', 'mtcnn'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"import os; os.environ['KERAS_MARGIN_CACHE'] = {str(tmp_path / 'cache')!r}  # No detector was converted yet.\n"
        "from keras_margin import cli\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    status = cli.main(line)\n"
        "    print(f'== {line[0]} {status}', file=sys.stderr, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(lines)], capture_output=True, text=True, check=True
    )
    assert "Traceback" not in done.stderr
    ends = re.findall(r"(.*)\n== (\w+) (\d)\n", done.stderr)
    assert [name for _, name, _ in ends] == [name for name, *_ in lines]
    for sentence, name, status in ends:
        assert status == "0" or sentence.startswith(f"keras-margin {name}: "), done.stderr
        assert status == "0" or "not installed: pip install -e" in sentence, sentence


def test_audit_works_without_tensorflow(people):
    """Pillow decodes where TensorFlow is missing: the same findings as with it."""
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'jax', 'torch', 'h5py'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from keras_margin import data\nfrom keras_margin.data import auditing\n"
        "print(auditing.audit(data.open(sys.argv[1])))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, people], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{auditing.audit(data.open(people))}\n", "")


def test_recipes_plan_and_inspect_work_without_tensorflow(aligned):
    """What needs neither network nor images works on the device."""
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'jax', 'torch', 'h5py'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from keras_margin import cli\n"
        "lines = ['recipes'], ['recipes', 'orl_demo'], ['plan', '--classes=1000'], ['inspect', sys.argv[1]]\n"
        "sys.exit(sum(cli.main(line) for line in lines))\n"
    )
    command = [sys.executable, "-c", program, aligned]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "arcface_casia_r50" in done.stdout
        and "head.margin" in done.stdout
        and "five points at" in done.stdout
        and "sampled 0.1" in done.stdout
        and '"num_genuine": 450' in done.stdout
    )
