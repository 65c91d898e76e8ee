"""Lists of pairs are read as people have them: any byte-order mark, suffix and delimiter, and one fold."""

import numpy as np
import pytest
from PIL import Image

from keras_margin import data, evaluation
from keras_margin.data import pairs
from keras_margin.evaluation import protocols

pytestmark = pytest.mark.tensorflow_only

HEAD = "fold,same,first,second\n"
ROWS = "0,1,a/1.png,a/2.png\n0,0,a/1.png,b/1.png\n1,1,c/1.png,c/2.png\n1,0,c/1.png,d/2.png\n"
CSV = HEAD + ROWS
LFW = "2\t1\na\t1\t2\na\t1\tb\t1\nc\t1\t2\nc\t1\td\t2\n"


def pictures(root, name="{person}/{image}.png"):
    """Two images of each of four people; grey level 10 * person + image."""
    for person, letter in enumerate("abcd"):
        for image in (1, 2):
            path = root / name.format(person=letter, image=image)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), 10 * person + image, np.uint8)).save(path)
    return root


def shown(protocol):
    """(grey levels of the two sides, whether they are one person) of every pair."""
    chosen, is_same = protocol.sample_pairs(100)
    return [tuple(protocol.images(pair)[:, 0, 0, 0].tolist()) for pair in chosen], is_same.tolist()


EXPECTED = [(1, 2), (1, 11), (21, 22), (21, 32)], [True, False, True, False]


def accuracy(protocol):
    embeddings = np.random.default_rng(0).normal(size=(protocol.num_images, 3))
    return protocol.measure(embeddings, protocols.Settings(far=(0.5,), resamples=0))


FORMS = {
    "UTF-8 with a mark": CSV.encode("utf-8-sig"),
    "UTF-16": CSV.encode("utf-16"),
    "semicolons": CSV.replace(",", ";").encode(),
    "tabs": CSV.replace(",", "\t").encode(),
    "spaces": CSV.replace(",", ", ").encode(),
    "empty lines and CRLF": CSV.replace("\n", "\r\n\r\n").encode(),
    "words": CSV.replace(",1,", ",True,").replace(",0,", ",False,").encode(),
    "floats": CSV.replace(",1,", ",1.0,").replace(",0,", ",0.0,").replace("\n1,", "\n1.0,").encode(),
    "backslashes": CSV.replace("/", "\\").encode(),
    "folds with a gap": (HEAD + ROWS.replace("1,1,c", "2,1,c").replace("1,0,c", "2,0,c")).encode(),
    "another order": "\n".join(",".join([*line.split(",")[::-1], "x"]) for line in CSV.split()).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_csv_is_read_as_spreadsheets_save_it(tmp_path, form):
    """Byte-order marks, delimiters, spaces, words for bools and column orders change nothing."""
    (pictures(tmp_path) / "pairs.csv").write_bytes(FORMS[form])
    protocol = protocols.load_protocol(tmp_path)
    assert shown(protocol) == EXPECTED
    assert protocol.people.tolist() == ["a", "a", "b", "c", "c", "d"]
    assert "accuracy" in accuracy(protocol).values


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lfws_list_is_read_with_a_byte_order_mark(tmp_path, encoding):
    """pairs.txt may be UTF-8 with a mark, or UTF-16."""
    (pictures(tmp_path, "{person}/{person}_000{image}.png") / "pairs.txt").write_bytes(LFW.encode(encoding))
    assert shown(protocols.load_protocol(tmp_path)) == EXPECTED


def test_every_image_of_lfws_layout_has_its_own_suffix(tmp_path):
    """Suffixes may differ within a person, and be in capitals."""
    pictures(tmp_path, "{person}/{person}_000{image}.png")
    for path in tmp_path.glob("*/*_0002.png"):
        path.rename(path.with_suffix(".BMP"))  # PNG inside, which is what counts.
    (tmp_path / "pairs.txt").write_text(LFW)
    assert shown(protocols.load_protocol(tmp_path)) == EXPECTED


def test_lfws_images_may_be_in_a_folder_of_their_own(tmp_path):
    """The folders of people may be in one folder next to the list, as in lfw.tgz."""
    pictures(tmp_path / "lfw", "{person}/{person}_000{image}.png")
    (tmp_path / "pairs.txt").write_text(LFW)
    assert shown(protocols.load_protocol(tmp_path / "pairs.txt")) == EXPECTED


def test_names_with_spaces_are_told_by_tabs(tmp_path):
    """In a list with tabs, a person's name may have spaces."""
    for letter in "abcd":
        for image in (1, 2):
            path = tmp_path / f"Mr {letter}" / f"Mr {letter}_000{image}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((4, 4), 10 * "abcd".index(letter) + image, np.uint8)).save(path)
    text = LFW
    for letter in "abcd":
        text = text.replace(f"{letter}\t", f"Mr {letter}\t")
    (tmp_path / "pairs.txt").write_text(text)
    assert shown(protocols.load_protocol(tmp_path)) == EXPECTED


def test_bytes_that_are_no_utf_8_are_names_as_the_disk_has_them(tmp_path):
    """A Latin-1 name finds its file."""
    path = pictures(tmp_path) / "b\udce9.png"
    Image.fromarray(np.full((4, 4), 99, np.uint8)).save(path)
    (tmp_path / "pairs.csv").write_bytes((HEAD + "0,1,a/1.png,b").encode() + b"\xe9.png\n")
    assert shown(protocols.load_protocol(tmp_path)) == ([(1, 99)], [True])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pairs.csv", CSV.replace("\n1,", "\n0,")),
        ("pairs.csv", "same,first,second\n" + "\n".join(line[2:] for line in ROWS.split())),
        ("pairs.txt", "2\na\t1\t2\nc\t1\t2\na\t1\tb\t1\nc\t1\td\t2\n"),
    ],
)
def test_one_fold_gives_no_accuracy_and_says_so(tmp_path, name, text):
    """A list of one fold is measured without accuracy, with a note."""
    pictures(tmp_path, "{person}/{image}.png" if name == "pairs.csv" else "{person}/{person}_000{image}.png")
    (tmp_path / name).write_text(text)
    measured = accuracy(protocols.load_protocol(tmp_path))
    assert "accuracy" not in measured.values and "eer" in measured.values
    assert any("there is one fold" in note for note in measured.notes)


def test_a_bin_asked_for_one_fold_gives_no_accuracy_and_says_so(tmp_path):
    """folds=1 measures a .bin without accuracy, with a note."""
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)
    is_same = np.arange(20) % 2 == 0
    data.write_bin(tmp_path / "a.bin", images, is_same)
    protocol = protocols.load_protocol(tmp_path / "a.bin")
    embeddings = np.random.default_rng(1).normal(size=(40, 3))
    measured = protocol.measure(embeddings, protocols.Settings(far=(0.5,), resamples=0, folds=1))
    assert "accuracy" not in measured.values and any("there is one fold" in note for note in measured.notes)
    scores = evaluation.pair_scores(embeddings, np.arange(40).reshape(20, 2))
    assert measured.values["eer"] == evaluation.eer(scores, is_same)


def test_a_list_of_image_numbers_says_what_to_draw_instead(tmp_path):
    """A list drawn from a set without files cannot be measured, and says so."""
    reader = data.ArrayReader(np.full((12, 4, 4), 9, np.uint8), np.arange(12) // 3)
    pairs.write_pairs(tmp_path / "a.csv", reader, 4, 4, folds=2)
    with pytest.raises(ValueError, match=r"a\.csv names images by their numbers, .*keras-margin pairs SET OUT\.bin"):
        protocols.load_protocol(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("pairs.csv", "img1,img2,label\na,b,1\n", r"line 1: its first line is \['img1', 'img2', 'label'\]"),
        ("pairs.csv", HEAD + "0,1,a\n", r"line 2: 3 fields, \['0', '1', 'a'\]"),
        ("pairs.txt", "1\t1\ne\t1\t2\ne\t1\ta\t2\n", r"e_0001 with \.jpg.*There is no such folder"),
        ("pairs.txt", "1\t1\na\t1\t3\na\t1\tb\t2\n", r"a_0003 with \.jpg.*That folder has 2 images"),
    ],
)
def test_what_a_list_lacks_is_said_with_what_is_there(tmp_path, name, text, words):
    """An error names the line, or the folder and what it has."""
    (pictures(tmp_path, "{person}/{person}_000{image}.png") / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        protocols.load_protocol(tmp_path)


def test_lists_are_written_with_slashes_and_read_back(tmp_path):
    """Written names are those of any system, with their folds."""
    reader = data.open(pictures(tmp_path))
    pairs.write_pairs(tmp_path / "pairs.csv", reader, 2, 2, folds=2)
    names, is_same, folds = pairs.read_pairs(tmp_path / "pairs.csv")
    assert all("/" in name for pair in names for name in pair)
    assert (is_same.sum(), folds.tolist()) == (2, [0, 0, 1, 1])
