"""CFP, LFW and YTF as distributed, their images aligned into a folder of their own, some without a face."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from keras_margin import evaluation
from keras_margin.cli import main
from keras_margin.evaluation import protocols

pytestmark = pytest.mark.tensorflow_only

QUICK = protocols.Settings(far=(0.5,), resamples=0)


def picture(path, level, side=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), level, np.uint8)).save(path)


def aligned(out, source, no_face=(), policy="largest"):
    """Writes the report that `keras-margin align` leaves in its folder."""
    out.mkdir(parents=True, exist_ok=True)
    report = {"settings": {"source": str(source), "policy": policy}, "no_face": list(no_face), "refused": {}}
    (out / "alignment.json").write_text(json.dumps(report | {"several": {}}))
    return out


def cfp_lists(root, people=4):
    """CFP's lists for people of two frontal and one profile image, two folds of two people each."""
    lists = root / "Protocol"
    for fold in range(people // 2):
        one, two = 2 * fold, 2 * fold + 1
        for kind in ("FF", "FP"):
            (lists / "Split" / kind / f"{fold + 1:02d}").mkdir(parents=True)
        write = {
            "FF/{}/same.txt": [(2 * one + 1, 2 * one + 2), (2 * two + 1, 2 * two + 2)],
            "FF/{}/diff.txt": [(2 * one + 1, 2 * two + 2), (2 * two + 1, 2 * one + 1)],
            "FP/{}/same.txt": [(2 * one + 1, one + 1), (2 * two + 2, two + 1)],
            "FP/{}/diff.txt": [(2 * one + 1, two + 1), (2 * two + 2, one + 1)],
        }
        for name, pairs in write.items():
            text = "".join(f"{first},{second}\n" for first, second in pairs)
            (lists / "Split" / name.format(f"{fold + 1:02d}")).write_text(text)
    for letter, kind, count in (("F", "frontal", 2), ("P", "profile", 1)):
        lines = [
            f"{count * person + image} ../Data/Images/{person + 1:03d}/{kind}/{image:02d}.jpg"
            for person in range(people)
            for image in range(1, count + 1)
        ]
        (lists / f"Pair_list_{letter}.txt").write_text("\n".join(lines) + "\n")
    return root


def cfp_images(root, but=()):
    """Grey level 20 * person + 5 * image, 10 more for profiles; PNG, so that levels are exact."""
    for person in range(4):
        for kind, image in (("frontal", 1), ("frontal", 2), ("profile", 1)):
            name = f"Data/Images/{person + 1:03d}/{kind}/{image:02d}.png"
            if name not in but:
                picture(root / name, 20 * person + 5 * image + 10 * (kind == "profile"))
    return root


def levels(protocol):
    return np.concatenate([batch[:, 0, 0, 0] for batch in protocol.batches(3)]).tolist()


def told_by_level(protocol, noise=0.0):
    """An embedding that is the person alone."""
    people = np.array(levels(protocol)) // 20
    return np.eye(4)[people] + noise * np.random.default_rng(0).normal(size=(len(people), 4))


def test_cfps_own_folder_is_its_two_protocols(tmp_path):
    """A folder with Protocol/Split is measured as cfp_ff and cfp_fp."""
    root = cfp_images(cfp_lists(tmp_path / "cfp"))
    assert protocols.choices(root) == ["cfp_ff", "cfp_fp", "labelled"]
    assert protocols.suite(root) == ["cfp_ff", "cfp_fp"]
    assert protocols.suite(root / "Data") == ["labelled"]


def test_cfps_numbers_name_images_of_two_lists(tmp_path):
    """Of FP the first number is of Pair_list_F, the second of Pair_list_P; every pair shows the right two images."""
    root = cfp_images(cfp_lists(tmp_path / "cfp"))
    protocol = protocols.load_protocol(root, protocol="cfp_fp")
    pairs, is_same = protocol.sample_pairs(100)
    shown = [tuple(protocol.images(pair)[:, 0, 0, 0].tolist()) for pair in pairs]
    fold = [(5, 15), (30, 35), (5, 35), (30, 15)]
    assert shown == fold + [(first + 40, second + 40) for first, second in fold]
    assert is_same.tolist() == [True, True, False, False] * 2
    assert protocol.people.tolist() == ["001", "001", "002", "002", "003", "003", "004", "004"]
    assert protocol.name == "cfp_fp"


def test_cfps_folds_are_its_folders(tmp_path):
    """Accuracy is that of folds 01 and 02, each at the threshold of the other."""
    root = cfp_images(cfp_lists(tmp_path / "cfp"))
    protocol = protocols.load_protocol(root, protocol="cfp_ff")
    embeddings = told_by_level(protocol, noise=0.8)
    measured = protocol.measure(embeddings, QUICK)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    pairs, is_same = protocol.sample_pairs(100)
    scores = (unit[pairs[:, 0]] * unit[pairs[:, 1]]).sum(axis=1)
    expected = evaluation.k_fold_accuracy(scores, is_same, [0] * 4 + [1] * 4)
    assert measured.values["accuracy"] == expected.mean
    assert measured.values["num_genuine"] == measured.values["num_impostor"] == 4


@pytest.mark.parametrize("part", ["", "Data/Images"])
def test_aligned_images_find_the_lists_of_their_source(tmp_path, part):
    """alignment.json names the photographs' folder: lists are there, or above it; suffixes may differ."""
    lists = cfp_lists(tmp_path / "cfp")
    out = cfp_images(tmp_path / "written")
    out = aligned(out / part, lists / part)
    assert protocols.suite(out) == ["cfp_ff", "cfp_fp"]
    assert levels(protocols.load_protocol(out, protocol="cfp_fp")) == [5, 15, 30, 35, 45, 55, 70, 75]


def test_a_photograph_without_a_face_is_never_the_same(tmp_path):
    """Its pairs get the score -1: its genuine pair is wrong, its impostor pair right, and the note counts both."""
    lists = cfp_lists(tmp_path / "cfp")
    lost = "Data/Images/002/profile/01"
    out = aligned(cfp_images(tmp_path / "out", but=(f"{lost}.png",)), lists, no_face=[f"{lost}.jpg"])
    protocol = protocols.load_protocol(out, protocol="cfp_fp")
    assert protocol.num_images == 7
    measured = protocol.measure(told_by_level(protocol), QUICK)
    assert measured.arrays["scores"].tolist() == [1, -1, -1, 0, 1, 1, 0, 0]
    # Seven of eight pairs are right; of those with both faces, all are.
    assert measured.values["accuracy"] == 7 / 8
    assert measured.values["accuracy_faces_found"] == 1.0
    assert measured.values["num_pairs_without_face"] == 2
    assert measured.values["impostor_angle"] == pytest.approx(90.0)
    assert any("1 of 8 images have no face" in note and "1 genuine and 1 impostor" in note for note in measured.notes)
    assert len(protocol.sample_pairs(100)[0]) == 6


def test_a_missing_file_that_nobody_explains_is_an_error(tmp_path):
    """A file that is not there counts as no face only if alignment.json says so."""
    lost = "Data/Images/002/profile/01.png"
    root = cfp_images(cfp_lists(tmp_path / "cfp"), but=(lost,))
    with pytest.raises(ValueError, match=re.escape("an image that is not there") + ".*002/profile/01.jpg"):
        protocols.load_protocol(root, protocol="cfp_fp")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("Split/FP/01/same.txt", "1;1\n", "01/same.txt, line 1: a line is the numbers of two images"),
        ("Split/FP/01/diff.txt", "1,9\n", "Pair_list_P.txt must have the images that the splits name. Received: no 9."),
        ("Split/FP/01/diff.txt", "1,1\n", "Received: [1, 1] in diff.txt, of 001 and 001."),
        ("Pair_list_P.txt", "one two\n", "Pair_list_P.txt, line 1: a line is a number and a path"),
    ],
)
def test_cfps_lists_of_another_form_are_named(tmp_path, name, text, words):
    """The error names the file, the line and what it holds."""
    root = cfp_images(cfp_lists(tmp_path / "cfp"))
    (root / "Protocol" / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)):
        protocols.load_protocol(root, protocol="cfp_fp")


def test_evaluate_measures_both_sets_of_cfp(tmp_path):
    """`keras-margin evaluate EMBEDDINGS cfp` reports cfp_ff and cfp_fp."""
    root = cfp_images(cfp_lists(tmp_path / "cfp"))
    (tmp_path / "e").mkdir()
    for name in ("cfp_ff", "cfp_fp"):
        protocol = protocols.load_protocol(root, protocol=name)
        np.save(tmp_path / "e" / f"{name}.npy", told_by_level(protocol))
    out = tmp_path / "out.json"
    assert main(["evaluate", str(tmp_path / "e"), str(root), f"--out={out}", "--far=0.5", "--resamples=0"]) in (0, None)
    found = json.loads(out.read_text())["sets"]
    assert list(found) == ["cfp_ff", "cfp_fp"]
    assert found["cfp_ff"]["values"]["accuracy"] == found["cfp_fp"]["values"]["accuracy"] == 1.0


def lfw_images(root, but=()):
    """Two images of each of four people; level 20 * person + 5 * image."""
    for person, letter in enumerate("abcd"):
        for image in (1, 2):
            name = f"{letter}/{letter}_000{image}.png"
            if name not in but:
                picture(root / name, 20 * person + 5 * image)
    return root


LFW_PAIRS = "2\t1\na\t1\t2\na\t1\tb\t1\nc\t1\t2\nc\t1\td\t2\n"


def test_lfws_crops_find_pairs_txt_and_count_missing_faces(tmp_path):
    """pairs.txt of the photographs' folder; a person without any crop is missing too."""
    (tmp_path / "lfw").mkdir()
    (tmp_path / "lfw" / "pairs.txt").write_text(LFW_PAIRS)
    lost = ("d/d_0001.png", "d/d_0002.png")
    out = aligned(lfw_images(tmp_path / "out", lost), tmp_path / "lfw", [each.replace("png", "jpg") for each in lost])
    protocol = protocols.load_protocol(out)
    measured = protocol.measure(told_by_level(protocol), QUICK)
    assert measured.arrays["scores"].tolist() == [1, 0, 1, -1]
    assert measured.values["num_pairs_without_face"] == 1
    # d_0002 alone is in the list.
    assert any("1 of 6 images have no face" in note for note in measured.notes)


def test_a_csv_of_pairs_counts_missing_faces(tmp_path):
    """pairs.csv of the photographs' folder names their files; crops have other suffixes."""
    (tmp_path / "set").mkdir()
    lines = ["fold,same,first,second", "0,1,a/a_0001.jpg,a/a_0002.jpg", "0,0,a/a_0001.jpg,b/b_0001.jpg"]
    lines += ["1,1,c/c_0001.jpg,c/c_0002.jpg", "1,0,c/c_0001.jpg,d/d_0001.jpg"]
    (tmp_path / "set" / "pairs.csv").write_text("\n".join(lines))
    out = aligned(lfw_images(tmp_path / "out", ("c/c_0002.png",)), tmp_path / "set", ["c/c_0002.jpg"])
    protocol = protocols.load_protocol(out)
    assert protocol.measure(told_by_level(protocol), QUICK).arrays["scores"].tolist() == [1, 0, -1, 0]


def test_view_1_tests_at_the_training_lists_threshold(tmp_path):
    """pairsDevTrain.txt chooses the threshold, pairsDevTest.txt is measured at it."""
    root = lfw_images(tmp_path / "lfw")
    (root / "pairsDevTrain.txt").write_text("1\na\t1\t2\na\t1\tb\t1\n")
    (root / "pairsDevTest.txt").write_text("2\nc\t1\t2\nd\t1\t2\nc\t1\td\t2\nc\t2\td\t1\n")
    assert protocols.choices(root) == ["lfw_view1", "labelled"]
    protocol = protocols.load_protocol(root)
    # Angles of the images in degrees: training pairs 10 and 60 apart, so the threshold is between; of the test pairs
    # 20 and 70 (genuine), 90 and 0 (impostor).
    angle = {5: 0, 10: 10, 25: 60, 45: 0, 50: 20, 65: 20, 70: 90}
    theta = np.radians([angle[level] for level in levels(protocol)])
    measured = protocol.measure(np.stack([np.cos(theta), np.sin(theta)], axis=1), QUICK)
    middle = (np.cos(np.radians(10)) + np.cos(np.radians(60))) / 2
    assert measured.values["train_threshold"] == pytest.approx(middle)
    assert measured.values["accuracy"] == 0.5
    assert measured.values["num_genuine"] == 2 and len(measured.arrays["scores"]) == 4


def test_view_2_comes_before_view_1(tmp_path):
    """A folder with all of LFW's lists is measured by pairs.txt; View 1 is named."""
    root = lfw_images(tmp_path / "lfw")
    (root / "pairs.txt").write_text(LFW_PAIRS)
    for name in ("pairsDevTrain.txt", "pairsDevTest.txt"):
        (root / name).write_text("1\na\t1\t2\na\t1\tb\t1\n")
    assert protocols.choices(root) == ["pairs", "lfw_view1", "labelled"]


def test_a_video_without_any_face_is_never_the_same(tmp_path):
    """YTF: splits.txt of the source; a video scores -1 where the alignment found no face in any frame."""
    source = tmp_path / "ytf"
    source.mkdir()
    lines = ["split number, pair number in split, first name, second name, is same:"]
    lines += ["1, 1, a/1, a/2, 1", "1, 2, a/1, b/1, 0", "2, 1, c/1, c/2, 1", "2, 2, c/1, d/1, 0"]
    (source / "splits.txt").write_text("\n".join(lines))
    out = tmp_path / "out"
    for person, video in (("a", 1), ("a", 2), ("b", 1), ("c", 1), ("d", 1)):
        for frame in (1, 2):
            picture(out / "frame_images_DB" / person / str(video) / f"0.{frame}.png", 20 * "abcd".index(person) + frame)
    lost = [f"frame_images_DB/c/2/0.{frame}.jpg" for frame in (1, 2)]
    protocol = protocols.load_protocol(aligned(out, source, lost))
    measured = protocol.measure(told_by_level(protocol), QUICK)
    np.testing.assert_allclose(measured.arrays["scores"], [1, 0, -1, 0], atol=1e-12)
    assert any("1 videos have no face" in note for note in measured.notes)
    assert len(protocol.sample_pairs(10)[0]) == 3
