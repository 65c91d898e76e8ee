"""`keras-margin prepare`, `pairs`, `align` and `audit`: what they write, print and end with."""

import itertools
import json
import types

import faces
import numpy as np
import pytest
from PIL import Image
from records import jpeg

import keras_margin.data
from keras_margin import cli
from keras_margin._utils import progress
from keras_margin.data import pairs


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, " ".join(out.split()), err


@pytest.fixture
def people(tmp_path):
    """Six people, five photographs each, all different."""
    root = tmp_path / "people"
    for number in range(30):
        path = root / f"Mr {number // 5} 氏" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return root


def test_prepare_writes_shards_that_open_reads(people, tmp_path, capsys):
    """Writes shards that `data.open` reads."""
    status, out, _ = run(capsys, "prepare", people, tmp_path / "shards", "--shards=3", "--seed=4")
    assert status == 0 and "30 images of 6 identities in 3 shards" in out
    reader = keras_margin.data.open(tmp_path / "shards")
    assert reader.num_images == 30 and reader.label_names[0] == "Mr 0 氏"
    status, _, err = run(capsys, "prepare", people, tmp_path / "shards")
    assert status == 1 and "is there already" in err


@pytest.mark.slow
def test_pairs_as_a_bin_and_as_a_list_are_the_same_pairs(people, tmp_path, capsys):
    """Draws the same pairs as a .bin and as a list."""
    flags = ["--genuine=12", "--impostor=6", "--folds=3", "--seed=1"]
    status, out, _ = run(capsys, "pairs", people, tmp_path / "a.bin", *flags)
    assert status == 0 and "12 genuine and 6 impostor pairs of 6 people in 3 folds" in out
    assert run(capsys, "pairs", people, tmp_path / "a.csv", *flags)[0] == 0
    images, is_same = keras_margin.data.load_bin(tmp_path / "a.bin")
    names, listed_same, folds = pairs.read_pairs(tmp_path / "a.csv")
    np.testing.assert_array_equal(is_same, listed_same)
    assert np.bincount(folds).tolist() == [6, 6, 6] and folds.tolist() == sorted(folds)
    reader = keras_margin.data.open(people)
    by_name = dict(zip((f"{path}" for path in reader.paths), reader.arrays()[0], strict=True))
    for number, pair in enumerate(names):
        for place, name in enumerate(pair):
            np.testing.assert_array_equal(images[2 * number + place], by_name[str(people / name)])


def test_pairs_that_cannot_be_are_refused_and_nothing_is_written(people, tmp_path, capsys):
    """Refuses impossible pairs, and writes nothing."""
    status, _, err = run(capsys, "pairs", people, tmp_path / "a.txt")
    assert status == 1 and ".bin or .csv" in err
    status, _, err = run(capsys, "pairs", people, tmp_path / "a.csv", "--genuine=12", "--impostor=7", "--folds=3")
    assert status == 1 and "multiple of --folds=3" in err
    status, _, err = run(capsys, "pairs", people, tmp_path / "a.csv", "--genuine=3000", "--folds=3")
    assert status == 1 and "at most 60 genuine and 75 impostor pairs" in err and "num_" not in err
    assert not (tmp_path / "a.csv").exists()


def test_pairs_of_a_small_set_are_as_many_as_fit(people, tmp_path, capsys):
    """Six people make three folds of two, with 2 * 10 genuine and 25 impostor pairs each."""
    status, out, _ = run(capsys, "pairs", people, tmp_path / "a.csv")
    assert status == 0 and "60 genuine and 60 impostor pairs of 6 people in 3 folds" in out


def test_a_split_parts_the_people_of_prepare_and_pairs(people, tmp_path, capsys):
    """prepare --split takes the people to train on, pairs --split the others."""
    split = tmp_path / "split.json"
    status, out, _ = run(capsys, "split", people, split, "--held_out=2", "--seed=1")
    assert status == 0 and "2 people held out with 10 images, 4 left to train on with 20." in out
    held_out = set(keras_margin.data.read_split(split).held_out)
    assert run(capsys, "prepare", people, tmp_path / "shards", "--shards=1", f"--split={split}")[0] == 0
    assert not held_out & set(keras_margin.data.open(tmp_path / "shards").label_names)
    flags = ["--folds=1", "--genuine=10", "--impostor=10", f"--split={split}"]
    assert run(capsys, "pairs", people, tmp_path / "a.csv", *flags)[0] == 0
    names, _, _ = pairs.read_pairs(tmp_path / "a.csv")
    assert all(name.partition("/")[0] in held_out for pair in names for name in pair)
    status, _, err = run(capsys, "pairs", tmp_path / "shards", tmp_path / "b.csv", f"--split={split}")
    assert status == 1 and "which lacks 2 of them" in err


def test_align_prints_what_became_of_the_images(tmp_path, capsys):
    """Prints how many images were aligned, and why others were not."""
    root = tmp_path / "in"
    faces.save(root / "ann" / "1.png", faces.photograph(faces.SHIFT))
    faces.save(root / "ann" / "2.png", faces.photograph())
    faces.save(root / "ann" / "3.png", faces.photograph((0, 0), (9, 9)))
    (root / "ann" / "4.png").write_bytes(b"[red]no[/red] image")
    (root / "ann" / "5.cr2").touch()
    flags = ["--detector=faces:make_detector", "--size=112x96", "--format=png"]
    status, out, _ = run(capsys, "align", root, tmp_path / "out", *flags)
    assert status == 0
    assert "│ 4 │ 2 │ 1 │ 1 │ 1 │ 0 │" in out
    assert "No face: ann/2.png" in out and "Several faces: ann/3.png (2)" in out
    assert "Refused: ann/4.png: no readable" in out
    assert "Files that are not images: 1 .cr2" in out
    assert f"Contact sheet: {tmp_path / 'out'}/alignment.html" in out
    assert np.asarray(Image.open(tmp_path / "out" / "ann" / "1.png")).shape == (112, 96, 3)
    status, out, _ = run(capsys, "align", root, tmp_path / "out", *flags)
    assert status == 0 and "│ 4 │ 2 │ 1 │ 1 │ 1 │ 4 │" in out


def test_align_reports_progress_without_a_terminal(tmp_path, capsys, monkeypatch):
    """A line on standard error each ten seconds; here a clock on which each look takes six."""
    for number in range(4):
        faces.save(tmp_path / "in" / f"{number}.png", faces.photograph(faces.SHIFT, seed=number))
    seconds = itertools.count(step=6)
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: float(next(seconds))))
    status, _, err = run(capsys, "align", tmp_path / "in", tmp_path / "out", "--detector=faces:make_detector")
    assert status == 0 and "Aligned 2 of 4 images, " in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--detector=faces"], "--detector needs mtcnn, a .tflite file, or package.module:name"),
        (["--detector=faces:nothing"], "--detector needs mtcnn, a .tflite file, or package.module:name"),
        (["--detector=nowhere:make"], "nowhere"),
        (["--detector=faces:make_detector", "--min_score=0.9"], "min_score are MTCNN's"),
    ],
)
def test_align_refuses_a_detector_that_is_none(people, tmp_path, capsys, flags, message):
    """Refuses a detector that does not exist."""
    status, _, err = run(capsys, "align", people, tmp_path / "out", *flags)
    assert status == 1 and message in err


@pytest.mark.slow
def test_a_sound_set_ends_with_0_and_an_unsound_one_with_3(people, tmp_path, capsys):
    """Ends with 0 for a sound set, and with 3 for an unsound one."""
    assert run(capsys, "audit", people)[::2] == (0, "")
    flags = ["--genuine=3", "--impostor=3", "--folds=3"]
    run(capsys, "pairs", people, tmp_path / "held.bin", *flags)
    status, out, _ = run(capsys, "audit", people, f"--against={tmp_path / 'held.bin'}", f"--json={tmp_path / 'a.json'}")
    assert status == 0, "the .bin has other pixels: it was resized from 24 to 112"
    (people / "Mr 0 氏" / "again.jpg").write_bytes(jpeg(7))
    status, out, _ = run(capsys, "audit", people, f"--json={tmp_path / 'a.json'}")
    assert status == 3 and "Not sound: across_identities" in out
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["faults"] == ["across_identities"] and found["num_images"] == 31
    ((first, second),) = found["across_identities"]
    assert first[0] == "Mr 0 氏" and first[1].endswith("again.jpg") and second[1].endswith("7.jpg")


def test_an_audit_says_what_is_turned_and_unaligned(people, capsys):
    """The command lists turned images, and says where many sizes look unaligned."""
    status, out, _ = run(capsys, "audit", people)
    assert status == 0 and "look unaligned" not in out
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(people / "Mr 1 氏" / "5.jpg").save(people / "Mr 1 氏" / "5.jpg", exif=exif)
    for number in range(4):
        (people / "Mr 2 氏" / f"{number} large.jpg").write_bytes(jpeg(100 + number, 30 + number))
    status, out, _ = run(capsys, "audit", people)
    assert status == 0 and "turned upright by their EXIF tag │ 1 │" in out and "5.jpg (orientation 6)" in out
    assert "they look unaligned" in out and "keras-margin align SOURCE OUT" in out


def test_strict_ends_with_3_for_what_is_merely_odd(people, capsys):
    """Ends with 3 for warnings too with --strict."""
    (people / "Mr 9").mkdir()
    (people / "Mr 9" / "1.jpg").write_bytes(jpeg(99))
    status, out, _ = run(capsys, "audit", people)
    assert status == 0 and "identities with one image │ 1 │ Mr 9" in out
    assert run(capsys, "audit", people, "--strict")[0] == 3
    assert run(capsys, "audit", people / "nowhere")[0] == 1
