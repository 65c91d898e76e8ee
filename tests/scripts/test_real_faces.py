"""The people of the real-face benchmark: who trains and who is tested, on a tiny copy of its folders."""

import pathlib

import pytest

from benchmarks import real_faces_sets
from keras_margin.data import pair_lists

pytestmark = pytest.mark.tensorflow_only


@pytest.fixture
def faces(tmp_path):
    """FACES and CROPS: CFP's names; LFW's people of three folds, two of them tested, Ann Lee and Bob Ray in CFP."""
    root = tmp_path / "faces"
    names = ["Ann Lee", *(f"Name {letter}" for letter in "abcdefghij" * 39), *["Other"] * 108, "Bob Ray"]
    files = {
        "cfp/Data/list_name.txt": "\n".join(names[:500]),
        "lists/lfw/people.txt": "3\n3\nAnn_Lee\t2\nCy_Orr\t2\nDi_Poe\t1\n2\nEd_Quo\t2\nFay_Roe\t1\n"
        "4\nGus_Sen\t2\nHal_Tor\t1\nBob_Ray\t2\nIda_Ure\t2\n",
        "lfw_photos/pairs.txt": "2\t1\nAnn_Lee\t1\t2\nCy_Orr\t1\tDi_Poe\t1\nEd_Quo\t1\t2\nEd_Quo\t2\tFay_Roe\t1\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for line in files["lists/lfw/people.txt"].splitlines():
        name, _, count = line.partition("\t")
        for image in range(1, int(count or 0) + 1):
            _touch(root / "lfw_aligned" / name / f"{name}_{image:04d}.jpg")
    for person in (1, 400, 401):
        _touch(tmp_path / "crops/cfp/Data/Images" / f"{person:03d}" / "frontal" / "01.jpg")
    return root, tmp_path / "crops"


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_training_people_are_cfps_400_and_lfws_others(faces, tmp_path):
    """Folds 1 and 2 of LFW, people whose name is in CFP and people of one image do not train."""
    counts = real_faces_sets.write_training_set(*faces, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Gus_Sen", "Ida_Ure", "c001", "c400"]
    assert counts == {"cfp": (400, 2), "lfw": (2, 4)}


def test_pairs_of_training_people_are_left_out(faces, tmp_path):
    """Ann Lee is among CFP's first 400: her pair is left out and counted, the folds stay."""
    out, left_out = real_faces_sets.write_unseen_lfw(faces[0], tmp_path / "out")
    names, is_same, folds = pair_lists.read_pairs(out / "pairs.csv")
    assert left_out == 1
    assert [tuple(pathlib.PurePosixPath(each).stem for each in pair) for pair in names] == [
        ("Cy_Orr_0001", "Di_Poe_0001"),
        ("Ed_Quo_0001", "Ed_Quo_0002"),
        ("Ed_Quo_0002", "Fay_Roe_0001"),
    ]
    assert is_same.tolist() == [False, True, False] and folds.tolist() == [0, 1, 1]


def test_a_missing_part_says_what_belongs_there(tmp_path):
    """The error names the path and what belongs there."""
    with pytest.raises(FileNotFoundError, match="cfp/Data/list_name.txt.*CFP as distributed belongs into cfp/"):
        real_faces_sets.cfp_names(tmp_path)


@pytest.mark.parametrize("name", ["Jean-Pierre O'Neil", "jean_pierre_oneil"])
def test_names_are_compared_without_signs(name):
    """Case, spaces, underscores and signs do not tell people apart."""
    assert real_faces_sets.plain(name) == "jeanpierreoneil"
