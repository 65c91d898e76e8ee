"""Alignment of a folder: names, policies, processes, resuming, the report, and that the source stays as it is."""

import hashlib
import json
import os

import faces
import numpy as np
import pytest
from PIL import Image

from keras_margin.alignment import align, align_all, align_folder
from keras_margin.alignment.transform import LANDMARKS_112

X, Y = faces.SHIFT


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def crop(path):
    return np.asarray(Image.open(path))


def report_of(out):
    return json.loads((out / "alignment.json").read_text())


@pytest.fixture
def photographs(tmp_path):
    root = tmp_path / "photographs"
    faces.save(root / "ann" / "1.png", faces.photograph((X, Y)))
    faces.save(root / "ann" / "2.bmp", faces.photograph((3, 4), seed=1))
    faces.save(root / "Бен 本" / "é.png", faces.photograph((X, Y), (0, 0), seed=2))
    faces.save(root / "deep" / "er" / "none.png", faces.photograph(seed=3))
    (root / "deep" / "bad.jpg").write_bytes(b"no image")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "1.png").write_bytes(b"no image")
    return root


def test_faces_are_cropped_into_the_same_folders(photographs, tmp_path):
    """Writes the crops into folders of the same names, and leaves the source as it is."""
    before, out = digests(photographs), tmp_path / "out"
    report = align_folder(photographs, out, detector=faces.detect, image_format="png")
    assert digests(photographs) == before
    notes = [".alignment.jsonl", "alignment.html", "alignment.json"]
    assert sorted(digests(out)) == [*notes, "ann/1.png", "ann/2.png", "Бен 本/é.png"]
    # The stand-in's points are the template moved by whole pixels: the crop is a plain slice.
    np.testing.assert_array_equal(crop(out / "ann" / "1.png"), faces.photograph((X, Y))[Y : Y + 112, X : X + 112])
    np.testing.assert_array_equal(crop(out / "ann" / "2.png"), faces.photograph((3, 4), seed=1)[4:116, 3:115])
    assert (report.images, report.crops, report.resumed) == (5, 3, 0)
    assert report.no_face == ("deep/er/none.png",)
    assert report.several == {"Бен 本/é.png": 2}
    assert list(report.refused) == ["deep/bad.jpg"] and "no readable" in report.refused["deep/bad.jpg"]
    written = report_of(out)
    assert written["no_face"] == ["deep/er/none.png"] and written["several"] == report.several
    assert written["settings"]["policy"] == "largest" and written["crops"] == 3


def test_several_processes_write_the_very_same_files(photographs, tmp_path):
    """Writes the very same files with several processes."""
    alone = align_folder(photographs, tmp_path / "one", detector=faces.detect)
    together = align_folder(photographs, tmp_path / "two", detector=faces.detect, workers=2)
    assert together == alone
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    for name in (".alignment.jsonl", "alignment.json"):  # The order in which images were done is theirs.
        del one[name], two[name]
    assert one.pop("alignment.html") == two.pop("alignment.html")
    assert one == two and all(name.endswith(".jpg") for name in one)


@pytest.mark.parametrize(
    ("policy", "corners"),
    [("largest", [(40, 10)]), ("centre", [(20, 20)]), ("all", [(0, 5), (20, 20), (40, 10)]), ("skip", [])],
)
def test_each_policy_takes_the_faces_it_names(tmp_path, policy, corners):
    """Takes the faces that each policy names."""
    # Boxes of sides 100, 101, 102 in the order of rows: (0, 5), (40, 10), (20, 20).
    image = faces.photograph((0, 5), (40, 10), (20, 20), shape=(150, 160))

    def detect(image):
        boxes, points, scores = faces.detect(image)
        boxes[1:2, 2:] += 30
        boxes[2:, :2] += 8  # Its middle at (75, 75): the image's is at (79.5, 74.5).
        return boxes, points, scores

    wanted = [image[y : y + 112, x : x + 112] for x, y in corners]
    found = align_all(image, detector=detect, policy=policy)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, np.pad(other, [(0, 112 - len(other)), (0, 112 - other.shape[1]), (0, 0)]))
    if policy != "all":
        single = align(image, detector=detect, policy=policy)
        assert (single is None) == (not wanted)
    faces.save(tmp_path / "in" / "1.png", image)
    faces.save(tmp_path / "in" / "2.png", faces.photograph((X, Y)))
    report = align_folder(tmp_path / "in", tmp_path / "out", policy=policy, detector=detect, image_format="png")
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    suffixed = {"all": ["1.face0.png", "1.face1.png", "1.face2.png", "2.face0.png"], "skip": ["2.png"]}
    assert names == suffixed.get(policy, ["1.png", "2.png"]) and report.several == {"1.png": 3}


def test_the_narrow_crop_and_its_size(photographs, tmp_path):
    """Cuts the narrow crop, in the size that was asked for."""
    align_folder(photographs, tmp_path / "out", size=(112, 96), detector=faces.detect, image_format="png")
    np.testing.assert_array_equal(
        crop(tmp_path / "out" / "ann" / "1.png"), faces.photograph((X, Y))[Y : Y + 112, X + 8 : X + 104]
    )


def test_images_that_differ_in_their_extension_alone_keep_it(tmp_path):
    """Keeps the extension of images that differ in it alone."""
    for name in ("a/1.png", "a/1.bmp", "a/1.png.bmp", "b/2.png"):
        faces.save(tmp_path / "in" / name, faces.photograph((X, Y), seed=len(name)))
    report = align_folder(tmp_path / "in", tmp_path / "out", detector=faces.detect)
    names = sorted(name for name in digests(tmp_path / "out") if name.endswith(".jpg"))
    assert names == ["a/1.bmp.jpg", "a/1.png.bmp.jpg", "a/1.png.jpg", "b/2.jpg"] and report.crops == 4


class Counting:
    """The stand-in detector, which notes how often it is asked, and is killed at one of them."""

    def __init__(self, killed_at=None):
        self.calls, self.killed_at = 0, killed_at

    def __call__(self, image):
        self.calls += 1
        if self.calls == self.killed_at:
            raise KeyboardInterrupt
        return faces.detect(image)


def test_a_killed_call_continues_with_the_rest(photographs, tmp_path):
    """Continues after a call that was killed, and does only what is left."""
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        align_folder(photographs, out, detector=Counting(killed_at=3))
    assert not (out / "alignment.json").exists()
    with open(out / ".alignment.jsonl", "a") as file:
        file.write('{"image": "ann/')  # The line that a kill cut short.
    again = Counting()
    report = align_folder(photographs, out, detector=again)
    assert again.calls == 2 and report.resumed == 3 and report.images == 5
    unbroken = align_folder(photographs, tmp_path / "other", detector=Counting())
    assert (report.crops, report.no_face, report.several, report.refused) == (
        unbroken.crops,
        unbroken.no_face,
        unbroken.several,
        unbroken.refused,
    )
    assert digests(out / "ann") == digests(tmp_path / "other" / "ann")


def test_what_is_new_changed_or_lost_is_done_and_nothing_else(photographs, tmp_path):
    """Aligns what is new, changed or lost, and nothing else."""
    align_folder(photographs, tmp_path / "out", detector=Counting())
    faces.save(photographs / "ann" / "3.png", faces.photograph((1, 2), seed=8))
    faces.save(photographs / "ann" / "1.png", faces.photograph((5, 6), seed=9))
    (tmp_path / "out" / "ann" / "2.jpg").unlink()
    (photographs / "deep" / "er" / "none.png").unlink()
    again = Counting()
    report = align_folder(photographs, tmp_path / "out", detector=again)
    assert again.calls == 3 and report.images == 5 and report.no_face == ()
    assert sorted(digests(tmp_path / "out" / "ann")) == ["1.jpg", "2.jpg", "3.jpg"]


def test_an_image_that_goes_while_it_is_looked_for_is_reported(photographs, tmp_path):
    """Reports an image that vanishes during the call."""

    def detect(image):
        for path in photographs.rglob("*.png"):
            path.unlink()
        return faces.detect(image)

    report = align_folder(photographs, tmp_path / "out", detector=detect)
    assert any("No such file" in reason for reason in report.refused.values())


def test_other_arguments_for_the_same_folder_are_refused(photographs, tmp_path):
    """Refuses other arguments for a folder that was begun, and loses nothing of it."""
    out = tmp_path / "out"
    align_folder(photographs, out, detector=faces.detect)
    before = digests(out)
    for change, message in (
        ({"size": (112, 96)}, r"begun with size=\[112, 112\]. Received: size=\[112, 96\]"),
        ({"policy": "centre"}, "begun with policy='largest'"),
        ({"detector": Counting()}, "begun with detector='faces.detect'"),
    ):
        with pytest.raises(ValueError, match=message):
            align_folder(photographs, out, **{"detector": faces.detect} | change)
    assert digests(out) == before


def test_crops_of_another_arithmetic_are_not_mixed(photographs, tmp_path):
    """A journal of version 1, whose crops were point-sampled, is not resumed."""
    out = tmp_path / "out"
    align_folder(photographs, out, detector=faces.detect)
    journal = out / ".alignment.jsonl"
    journal.write_text(journal.read_text().replace("version 2", "version 1"))
    with pytest.raises(ValueError, match="begun with format='keras-margin alignment, version 1'"):
        align_folder(photographs, out, detector=faces.detect)


def test_a_folder_that_holds_something_else_is_refused(photographs, tmp_path):
    """Refuses a folder that holds something else."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("dear")
    with pytest.raises(ValueError, match="has files in it that no alignment wrote"):
        align_folder(photographs, tmp_path / "out", detector=faces.detect)
    assert digests(tmp_path / "out").keys() == {"mine.txt"}


@pytest.mark.parametrize("out", ["photographs", "photographs/aligned", ".", "link/aligned"])
def test_source_and_result_must_be_apart(photographs, tmp_path, out):
    """Refuses a result inside the source, and the source inside the result."""
    (tmp_path / "link").symlink_to(photographs)
    before = digests(photographs)
    with pytest.raises(ValueError, match="neither inside the other"):
        align_folder(photographs, tmp_path / out, detector=faces.detect)
    assert digests(photographs) == before


def test_a_link_in_the_result_does_not_reach_the_source(photographs, tmp_path):
    """Follows no link in the result that leads back into the photographs."""
    align_folder(photographs, tmp_path / "out", detector=faces.detect)
    (tmp_path / "out" / "ann" / "1.jpg").unlink()
    (tmp_path / "out" / "ann" / "2.jpg").unlink()
    (tmp_path / "out" / "ann").rmdir()
    (tmp_path / "out" / "ann").symlink_to(photographs / "ann")
    before = digests(photographs)
    with pytest.raises(OSError, match="leads out of"):
        align_folder(photographs, tmp_path / "out", detector=faces.detect)
    assert digests(photographs) == before


def test_a_folder_that_links_to_itself_ends(photographs, tmp_path, caplog):
    """Ends in a folder that links to itself."""
    (photographs / "ann" / "again").symlink_to(photographs)
    report = align_folder(photographs, tmp_path / "out", detector=faces.detect)
    assert report.images == 5 and "a link to a folder that it is in" in caplog.text


def test_names_that_are_no_characters_come_through(tmp_path):
    """Keeps names whose bytes are not characters."""
    name = os.fsdecode(b"\xff\xfe 1.png")
    faces.save(tmp_path / "in" / "a" / "1.png", faces.photograph((X, Y)))
    try:
        os.rename(tmp_path / "in" / "a" / "1.png", tmp_path / "in" / "a" / name)
    except OSError:
        pytest.skip("this disk takes no such name")
    report = align_folder(tmp_path / "in", tmp_path / "out", detector=faces.detect)
    assert report.crops == 1 and os.listdir(tmp_path / "out" / "a") == [name.replace("png", "jpg")]
    assert align_folder(tmp_path / "in", tmp_path / "out", detector=faces.detect).resumed == 1


def test_a_huge_image_is_searched_in_a_small_copy(tmp_path):
    """Searches a small copy of a huge image, and cuts the face from the image itself."""
    shapes = []

    def detect(image):
        shapes.append(image.shape)
        # The copy is half as large: a point at (2 x + 0.5, 2 y + 0.5) of the image is at (x, y) of it.
        points = (LANDMARKS_112 + [600, 400] - 0.5) / 2
        return np.array([[300, 200, 356, 256]]), points[None], np.ones(1)

    image = np.random.default_rng(0).integers(0, 256, (1000, 4096, 3), dtype=np.uint8)
    faces.save(tmp_path / "in" / "1.bmp", image)
    align_folder(tmp_path / "in", tmp_path / "out", detector=detect, image_format="png")
    assert shapes == [(500, 2048, 3)]
    np.testing.assert_array_equal(crop(tmp_path / "out" / "1.png"), image[400:512, 600:712])


def test_a_failing_detector_is_reported_and_ends_the_call(tmp_path):
    """Reports a detector that fails on some images; ends the call where it fails on most."""
    for number in range(30):
        faces.save(tmp_path / "in" / f"{number:02}.png", faces.photograph((X, Y), seed=number, shape=(120, 140)))
    with pytest.raises(ValueError, match=r"The detector fails on most images.*RuntimeError\('no such luck'\)"):
        align_folder(tmp_path / "in", tmp_path / "out", detector=faces.failing)
    failed = iter(range(100))

    def sometimes(image):
        return faces.failing(image) if next(failed) == 7 else faces.detect(image)

    report = align_folder(tmp_path / "in", tmp_path / "other", detector=sometimes)
    assert report.crops == 29 and list(report.refused) == ["07.png"]


def test_points_that_fix_no_transform_are_reported(tmp_path):
    """Reports points that fix no transform."""
    faces.save(tmp_path / "in" / "1.png", faces.photograph())
    report = align_folder(
        tmp_path / "in", tmp_path / "out", detector=lambda image: ([[0, 0, 9, 9]], np.zeros((1, 5, 2)), [1.0])
    )
    assert report.crops == 0 and "not all the same" in report.refused["1.png"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"policy": "nearest"}, ValueError, "policy must be one of largest, centre, all, skip"),
        ({"workers": 0}, ValueError, "workers=0"),
        ({"image_format": "gif"}, ValueError, "image_format='gif'"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"source": "nowhere"}, NotADirectoryError, "nowhere, which is none"),
        ({"source": "empty"}, ValueError, r"empty has no image \(.avif, .bmp"),
    ],
)
def test_impossible_arguments_are_refused_first(photographs, tmp_path, change, error, message):
    """Refuses impossible arguments before it makes anything."""
    (tmp_path / "empty").mkdir()
    arguments = {"source": "photographs", "detector": faces.detect} | change
    with pytest.raises(error, match=message):
        align_folder(tmp_path / arguments.pop("source"), tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
