"""What `align_folder` tells of a folder besides its crops: the contact sheet, and the files that it skipped."""

import base64
import io
import json
import re
import sys

import faces
import numpy as np
import pytest
from PIL import Image

from keras_margin.alignment import align_folder


@pytest.fixture
def photographs(tmp_path):
    root = tmp_path / "photographs"
    faces.save(root / "ann" / "1.png", faces.photograph(faces.SHIFT))
    faces.save(root / "ann" / "2.bmp", faces.photograph((3, 4), seed=1))
    faces.save(root / "Бен 本" / "é.png", faces.photograph(faces.SHIFT, (0, 0), seed=2))
    faces.save(root / "deep" / "er" / "none.png", faces.photograph(seed=3))
    (root / "deep" / "bad.jpg").write_bytes(b"no image")
    return root


def test_files_that_are_no_images_are_counted(photographs, tmp_path):
    """By extension, without hidden ones: a folder of raw photographs is not skipped in silence."""
    for name in ("ann/1.CR2", "ann/2.cr2", "deep/notes", "deep/er/.DS_Store"):
        (photographs / name).write_bytes(b"")
    report = align_folder(photographs, tmp_path / "out", detector=faces.detect)
    assert report.other_files == {".cr2": 2, "": 1} and report.images == 5
    assert json.loads((tmp_path / "out" / "alignment.json").read_text())["other_files"] == {".cr2": 2, "": 1}
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "1.cr2").touch()
    with pytest.raises(ValueError, match=r"no image .* It has 1 \.cr2 files"):
        align_folder(tmp_path / "raw", tmp_path / "other", detector=faces.detect)


def test_heic_without_its_decoder_is_named(tmp_path, monkeypatch):
    """A photograph that cannot be decoded here is among the refused ones, with what to install."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    Image.init()
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    faces.save(tmp_path / "in" / "1.gif", faces.photograph(faces.SHIFT))
    (tmp_path / "in" / "2.HEIC").write_bytes(b"\0\0\0\x1cftypheic" + bytes(100))
    report = align_folder(tmp_path / "in", tmp_path / "out", detector=faces.detect)
    assert report.images == 2 and report.crops == 1
    assert list(report.refused) == ["2.HEIC"] and 'pip install -e ".[heic]"' in report.refused["2.HEIC"]


def test_the_contact_sheet_shows_crops_and_lists_the_rest(photographs, tmp_path):
    """Each crop with its name, then the images without a face, those refused, and those with several."""
    faces.save(photographs / "ann" / "a&b<i>.png", faces.photograph(seed=5))
    align_folder(photographs, tmp_path / "out", detector=faces.detect, image_format="png")
    page = (tmp_path / "out" / "alignment.html").read_text(encoding="utf-8")
    figures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt=""><figcaption>([^<]+)', page)
    assert [name for _, name in figures] == ["ann/1.png", "ann/2.png", "Бен 本/é.png"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(figures[0][0])))).astype(int)
    wanted = np.asarray(Image.open(tmp_path / "out" / "ann" / "1.png")).astype(int)
    # On noise JPEG of quality 85 keeps half of the detail and the mean: another crop is not taken for this one.
    assert np.corrcoef(shown.ravel(), wanted.ravel())[0, 1] > 0.9
    assert "<h2>No face: 2</h2><ul><li>ann/a&amp;b&lt;i&gt;.png</li><li>deep/er/none.png</li></ul>" in page
    assert "<li>deep/bad.jpg: no readable" in page and "<li>Бен 本/é.png (2)</li>" in page


@pytest.mark.slow
def test_the_contact_sheet_ends_after_a_hundred_crops(tmp_path):
    """A folder of ten million images gets a page of the first."""
    for number in range(103):
        faces.save(tmp_path / "in" / f"{number:03}.png", faces.photograph((0, 0), seed=number, shape=(112, 112)))
    align_folder(tmp_path / "in", tmp_path / "out", size=8, detector=faces.detect)
    page = (tmp_path / "out" / "alignment.html").read_text()
    assert page.count("<img") == 100 and "The first 100:" in page and "103 faces from 103 images" in page
