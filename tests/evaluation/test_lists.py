import re

import numpy as np
import pytest

from keras_margin import evaluation
from keras_margin.evaluation import lists

FACE = "{} 46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648 {}\n"


def written(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    return path


def test_faces_are_names_five_points_and_a_score(tmp_path):
    """Reads names, five points and a score of each face."""
    faces = lists.read_faces(written(tmp_path, FACE.format("1.jpg", 0.999) + FACE.format("2.jpg", 0.5)))
    assert faces.names.tolist() == ["1.jpg", "2.jpg"]
    np.testing.assert_array_equal(faces.detector_scores, np.float32([0.999, 0.5]))
    np.testing.assert_array_equal(faces.landmarks[0, :2], np.float32([[46.06, 62.026], [87.785, 60.323]]))
    assert faces.landmarks.shape == (2, 5, 2)


def test_media_are_template_then_medium(tmp_path):
    """Reads media as template, then medium."""
    names, templates, media = lists.read_media(written(tmp_path, "1.jpg 1 69544\n2.jpg 1 69544\nx.png 7 5\n"))
    assert names.tolist() == ["1.jpg", "2.jpg", "x.png"]
    assert templates.tolist() == [1, 1, 7] and media.tolist() == [69544, 69544, 5]


def test_template_pairs_carry_their_label(tmp_path):
    """Reads template pairs with their label."""
    pairs, is_same = lists.read_template_pairs(written(tmp_path, "1 11065 1\n1 11066 0\n"))
    assert pairs.tolist() == [[1, 11065], [1, 11066]] and is_same.tolist() == [True, False]
    assert is_same.dtype == bool


def test_subjects_list_a_template_once(tmp_path):
    """Lists a template of a subject once."""
    text = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID\n9,4,img/a.png,1\n3,2,frames/b.png,2\n9,4,img/c.png,3\n"
    templates, subjects = lists.read_subjects(written(tmp_path, text))
    assert templates.tolist() == [3, 9] and subjects.tolist() == [2, 4]


def test_ytf_splits_give_pairs_and_folds(tmp_path):
    """Reads pairs and folds of YTF's splits."""
    text = (
        "split number, pair number, first name, second name, is same\n"
        "1, 1, A_B/0, A_B/2, 1\n1, 2, A_B/1, C/5, 0\n2, 1, D/0, E/3, 0\n\n"
    )
    videos = lists.read_ytf_splits(written(tmp_path, text))
    assert videos.pairs.tolist() == [["A_B/0", "A_B/2"], ["A_B/1", "C/5"], ["D/0", "E/3"]]
    assert videos.folds.tolist() == [0, 0, 1] and videos.is_same.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("reader", "text", "words"),
    [
        ("read_faces", "1.jpg 1 2 3\n", "a line must have 12 columns. Received: '1.jpg 1 2 3'"),
        ("read_faces", FACE.format("1.jpg", "high"), "could not convert string 'high'"),
        ("read_media", "1.jpg 1 2\n2.jpg 1\n", "list.txt: "),
        ("read_media", "", "Received: 'nothing'"),
        ("read_media", "1.jpg 1 2 3\n", "a line must have 3 columns"),
        ("read_template_pairs", "1 2 1\n1 2 x\n", "could not convert string 'x'"),
        ("read_template_pairs", "1 2 1\n1 3 2\n", "row 2: the label must be 0 or 1. Received: 2"),
        ("read_subjects", "TEMPLATE_ID,SUBJECT_ID\n1,2\n1,3\n", "template 1 of [2, 3]"),
        ("read_subjects", "TEMPLATE_ID\n1\n", "must have 2 columns"),
        ("read_subjects", "TEMPLATE_ID,SUBJECT_ID\n", "there must be lines after the header"),
        ("read_ytf_splits", "1, 1, a, b, 1\n1, 2, a, b\n", "line 2: a line is a split number from 1"),
        ("read_ytf_splits", "1, 1, a, b, yes\n", "Received: '1, 1, a, b, yes'"),
        ("read_ytf_splits", "0, 1, a, b, 1\n", "a split number from 1"),
        ("read_ytf_splits", "1, a, b, 1\n", "a pair number, two videos"),
        ("read_ytf_splits", "split, pair, first, second, same\n", "must hold pairs of videos"),
    ],
)
def test_readers_name_the_file_and_the_line(tmp_path, reader, text, words):
    """Names the file and the line of an error."""
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        getattr(evaluation, reader)(written(tmp_path, text))
    assert "list.txt" in str(error.value)


def test_the_road_of_ytf_from_frames_to_ten_fold_accuracy(tmp_path):
    """Computes YTF's ten-fold accuracy from frames."""
    generator = np.random.default_rng(0)
    people = generator.normal(size=(40, 8))
    names = np.array([f"p{person:02}/{video}" for person in range(40) for video in (0, 1)])
    frames = np.repeat(names, 5)
    embeddings = np.repeat(people, 10, axis=0) + 0.9 * generator.normal(size=(400, 8))
    lines = []
    for fold in range(10):
        a, b, c, d = range(4 * fold, 4 * fold + 4)
        lines += [f"{fold + 1}, 1, p{a:02}/0, p{a:02}/1, 1", f"{fold + 1}, 2, p{b:02}/1, p{c:02}/0, 0"]
        lines += [f"{fold + 1}, 3, p{d:02}/0, p{d:02}/1, 1", f"{fold + 1}, 4, p{c:02}/1, p{d:02}/0, 0"]
    videos = lists.read_ytf_splits(written(tmp_path, "\n".join(lines)))
    unit, ids = evaluation.template_embeddings(embeddings, frames)
    scores = evaluation.template_scores(unit, ids, videos.pairs)
    means = {name: embeddings[frames == name].mean(axis=0) for name in names}
    expected = [
        means[a] @ means[b] / np.linalg.norm(means[a]) / np.linalg.norm(means[b]) for a, b in videos.pairs.tolist()
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    assert evaluation.k_fold_accuracy(scores, videos.is_same, videos.folds).mean > 0.9


def test_lfws_people_are_read_fold_by_fold(tmp_path):
    """people.txt: the number of folds, then of each fold the number of people, their names and images."""
    people = lists.read_lfw_people(written(tmp_path, "2\n2\nA_B\t1\nC_D\t12\n1\nE_F\t3\n"))
    assert people.names.tolist() == ["A_B", "C_D", "E_F"]
    assert people.num_images.tolist() == [1, 12, 3] and people.folds.tolist() == [0, 0, 1]


def test_lfws_development_people_are_one_fold(tmp_path):
    """peopleDevTrain.txt begins with the number of its people."""
    people = lists.read_lfw_people(written(tmp_path, "2\nA_B\t1\nC_D\t12\n"))
    assert people.names.tolist() == ["A_B", "C_D"] and people.folds.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2\n2\nA_B\t1\n1\nE_F\t3\n", "line 4: a fold is a number of people"),
        ("3\nA_B\t1\n", "2 too few"),
        ("1\nA_B\tmany\n", "line 2"),
        ("", "must hold the people"),
    ],
)
def test_a_list_of_people_of_another_form_is_named(tmp_path, text, words):
    """The error names the line, or how many people are missing."""
    with pytest.raises(ValueError, match=words):
        lists.read_lfw_people(written(tmp_path, text))
