"""The glyphs: drawn letters of a font that comes with matplotlib, and the kanji where their fonts are installed."""

import builtins
import json
import logging
import pathlib
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import keras_margin.data
from keras_margin.data import glyphs

FOLDER = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SANS = glyphs.Design("Sans", str(FOLDER / "DejaVuSans.ttf"))
BOLD = glyphs.Design("Bold", str(FOLDER / "DejaVuSans-Bold.ttf"))
SERIF = glyphs.Design("Serif", str(FOLDER / "DejaVuSerif.ttf"))

needs_the_fonts = pytest.mark.skipif(
    len(glyphs.installed()) < len(glyphs.DESIGNS),
    reason="the kanji fonts are not installed: apt-get install "
    + " ".join(sorted({design.package for design in glyphs.DESIGNS})),
)


@pytest.fixture
def no_fonts(tmp_path, monkeypatch):
    """A machine without fonts, with an empty cache."""
    for name in ("XDG_DATA_HOME", "XDG_DATA_DIRS", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    return glyphs.load((SANS, BOLD, SERIF), "AIÜ", cache=tmp_path_factory.mktemp("cache"))


def test_level_one_is_the_2965_kanji_of_rows_16_to_47():
    """Lists the 2965 kanji of rows 16 to 47 as level one; both codecs agree."""
    characters = glyphs.jis_level_1()
    assert len(characters) == len(set(characters)) == 2965
    assert (characters[0], characters[-1], characters[94]) == ("亜", "腕", "院")
    for character in characters:
        row = character.encode("euc_jp")[0] - 0xA0
        lead, trail = character.encode("shift_jis")
        # JIS X 0208's appendix 1: two rows share a lead byte, the even one has the trail bytes from 0x9F on.
        assert (lead - 0x81) * 2 + 1 + (trail >= 0x9F) == row and 16 <= row <= 47


def test_a_letter_is_centered_and_averaged_three_by_three(letters):
    """Draws a letter white in the middle, averaged three by three.

    Against Pillow's drawing at three times the size, averaged by NumPy.
    """
    font = ImageFont.truetype(SERIF.file, 152, layout_engine=ImageFont.Layout.BASIC)
    canvas = Image.new("L", (400, 400))
    ImageDraw.Draw(canvas).text((100, 100), "A", fill=255, font=font)
    ink = np.asarray(canvas.crop(canvas.getbbox())).astype(float)
    frame = np.zeros((192, 192))
    top, left = (192 - ink.shape[0]) // 2, (192 - ink.shape[1]) // 2
    frame[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    mean = frame.reshape(64, 3, 64, 3).mean(axis=(1, 3))
    found = letters.images[(letters.labels == 0) & (letters.designs == 2)][0]
    assert found.dtype == np.uint8 and found.max() == 255
    np.testing.assert_allclose(found, mean, atol=0.56)  # Pillow rounds ninths in fixed point, up to 5/9 off.


def test_images_are_ordered_by_character_and_then_by_design(letters):
    """Orders images by character, then by design."""
    assert letters.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and letters.designs.tolist() == [0, 1, 2] * 3
    assert letters.characters == ("A", "I", "Ü") and letters.design_names == ("Sans", "Bold", "Serif")
    with pytest.raises(ValueError, match="read-only"):
        letters.images[0] = 0


def test_missing_and_blank_characters_are_counted(tmp_path):
    """Leaves out and counts a character that a font lacks or leaves blank.

    DejaVu has no kanji: it would answer with the same box for each. A space has no ink.
    """
    found = glyphs.load((SANS, SERIF), "亜A 腕B", cache=tmp_path)
    assert found.characters == ("A", "B") and found.labels.tolist() == [0, 0, 1, 1]
    assert found.report == glyphs.GlyphReport({"Sans": 3, "Serif": 3}, {"Sans": 0, "Serif": 0}, ())
    with pytest.raises(ValueError, match=r"None of these fonts has any of the 2 characters: \['Sans'\]"):
        glyphs.load((SANS,), "亜腕", cache=tmp_path)


def test_the_same_design_again_is_dropped_whole(tmp_path):
    """Drops a design that is the same as another one."""
    copy = tmp_path / "copy.ttf"
    copy.write_bytes(pathlib.Path(SANS.file).read_bytes())
    found = glyphs.load((SANS, SERIF, glyphs.Design("Copy", str(copy))), "ABC", cache=tmp_path)
    assert found.report.dropped_designs == ("Copy",) and found.report.identical == {"Sans": 0, "Serif": 0, "Copy": 3}
    assert found.designs.tolist() == [0, 1] * 3 and found.design_names == ("Sans", "Serif", "Copy")


def test_single_images_that_an_earlier_design_has_are_left_out(tmp_path):
    """DejaVu's upright and mono share the signs that boxes are drawn of, and no letters."""
    mono = glyphs.Design("Mono", str(FOLDER / "DejaVuSansMono.ttf"))
    characters = [chr(code) for code in range(0x2500, 0x2518)] + list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    both = glyphs.load((SANS, mono), characters, cache=tmp_path)
    alone = {design: glyphs.load((design,), characters, cache=tmp_path) for design in (SANS, mono)}
    pixels = [dict(zip((a.characters[k] for k in a.labels), a.images, strict=True)) for a in alone.values()]
    same = {c for c in pixels[0].keys() & pixels[1].keys() if np.array_equal(pixels[0][c], pixels[1][c])}
    assert 0 < len(same) < len(pixels[1]) / 2
    assert both.report.identical == {"Sans": 0, "Mono": len(same)}
    left = {both.characters[label] for label, design in zip(both.labels, both.designs, strict=True) if design == 1}
    assert left == pixels[1].keys() - same


def test_the_second_call_reads_what_the_first_wrote(tmp_path, letters, monkeypatch):
    """Reads in the second call what the first one wrote."""
    first = glyphs.load((SANS, BOLD, SERIF), "AIÜ", cache=tmp_path)
    monkeypatch.setattr(glyphs, "_render", None)
    second = glyphs.load((SANS, BOLD, SERIF), "AIÜ", cache=tmp_path)
    assert isinstance(second.images, np.memmap)
    for one in (first, second):
        np.testing.assert_array_equal(one.images, letters.images)
        np.testing.assert_array_equal(one.labels, letters.labels)
        np.testing.assert_array_equal(one.designs, letters.designs)
        assert (one.characters, one.design_names, one.report) == (
            letters.characters,
            letters.design_names,
            letters.report,
        )


def test_each_choice_of_glyphs_has_its_own_cache(tmp_path):
    """Caches other designs, characters and fonts under names of their own."""
    copy = tmp_path / "font.ttf"
    for source in (SANS, SERIF):
        copy.write_bytes(pathlib.Path(source.file).read_bytes())
        found = glyphs.load((glyphs.Design("Own", str(copy)),), "AB", cache=tmp_path / "cache")
        expected = glyphs.load((source,), "AB", cache=tmp_path / "cache")
        np.testing.assert_array_equal(found.images, expected.images)
    assert len(glyphs.load((SANS,), "ABC", cache=tmp_path / "cache").images) == 3
    assert sorted(path.name[:7] for path in (tmp_path / "cache").iterdir()) == ["glyphs-"] * 5


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("images.npy", lambda data: data[:-100]),
        ("images.npy", lambda data: b""),
        ("labels.npy", lambda data: data[:140]),
        ("about.json", lambda data: data[:-10]),
        ("about.json", lambda data: json.dumps([1]).encode()),
        ("designs.npy", None),
    ],
)
def test_a_damaged_cache_is_reported_and_rendered_again(tmp_path, letters, caplog, name, change):
    """Reports a damaged cache and renders it again."""
    glyphs.load((SANS, BOLD, SERIF), "AIÜ", cache=tmp_path)
    (file,) = tmp_path.glob(f"glyphs-*/{name}")
    data = file.read_bytes()
    file.unlink() if change is None else file.write_bytes(change(data))
    with caplog.at_level(logging.WARNING, "keras_margin.data.glyphs"):
        again = glyphs.load((SANS, BOLD, SERIF), "AIÜ", cache=tmp_path)
    assert "is not what was written there" in caplog.text
    np.testing.assert_array_equal(again.images, letters.images)
    assert file.read_bytes() == data


def test_a_cache_that_cannot_be_written_costs_the_cache_alone(tmp_path, letters, caplog):
    """Loads glyphs without a cache where it cannot be written."""
    (tmp_path / "file").write_text("")
    found = glyphs.load((SANS, BOLD, SERIF), "AIÜ", cache=tmp_path / "file" / "cache")
    np.testing.assert_array_equal(found.images, letters.images)
    assert "could not be kept" in caplog.text


def test_a_machine_without_the_fonts_is_told_which_packages(no_fonts):
    """Names the packages of missing fonts."""
    assert glyphs.installed() == ()
    with pytest.raises(FileNotFoundError, match=r"16 fonts\..*IPAex Gothic \(ipaexg\.ttf\).*apt-get install fonts-aoy"):
        keras_margin.data.open("glyphs")


def test_fonts_are_found_in_any_subfolder(no_fonts):
    """Finds fonts by name in any folder below, and names only those that are missing."""
    place = no_fonts / "XDG_DATA_DIRS" / "fonts" / "deep" / "down"
    place.mkdir(parents=True)
    (place / "ipaexg.ttf").write_bytes(pathlib.Path(SANS.file).read_bytes())
    assert [design.name for design in glyphs.installed()] == ["IPAex Gothic"]
    with pytest.raises(FileNotFoundError, match=r"Not on this machine: IPAex Mincho \(ipaexm\.ttf\), VL") as caught:
        glyphs.load(cache=no_fonts)
    assert "fonts-ipaexfont-gothic" not in str(caught.value) and "fonts-ipaexfont-mincho" in str(caught.value)
    assert glyphs.load(glyphs.installed(), "A", cache=no_fonts).design_names == ("IPAex Gothic",)


def test_a_file_that_is_no_font_is_named(tmp_path):
    """Names a file that is not a font."""
    (tmp_path / "x.ttf").write_bytes(b"no font")
    with pytest.raises(ValueError, match=r"x\.ttf is not a font that can be read"):
        glyphs.load((glyphs.Design("X", str(tmp_path / "x.ttf")),), "A", cache=tmp_path)


@pytest.mark.parametrize(
    ("designs", "characters", "words"),
    [
        ((), "A", "different names. Received: none"),
        ((SANS, SANS), "A", "Received: Sans, Sans"),
        ((SANS,), "", "Received: 0"),
        ((SANS,), "AA", "Received: 2, of which 1 are different"),
        ((SANS,), ["AB", "C"], "1 are not one character"),
    ],
)
def test_unknown_and_repeated_designs_are_refused(designs, characters, words):
    """Refuses designs and characters that are empty or doubled."""
    with pytest.raises(ValueError, match=words):
        glyphs.load(designs, characters)


def test_a_missing_pillow_is_named_with_the_way_to_install_it(monkeypatch):
    """Names missing Pillow with the command that installs it."""
    imported = builtins.__import__

    def without(name, *rest, **options):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return imported(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'Pillow, which is not installed\. Run: pip install -e "\.\[glyphs\]"'):
        glyphs.load((SANS,), "A")


def test_the_reader_gives_grey_as_rgb_in_the_size(letters, monkeypatch):
    """Returns grey images as RGB, in the size that was asked for."""
    monkeypatch.setattr(glyphs, "load", lambda: letters)
    reader = keras_margin.data.open("glyphs")
    assert reader.label_names == ("A", "I", "Ü") and reader.image_size == (64, 64)
    images, labels = reader.arrays()
    assert labels.tolist() == letters.labels.tolist()
    for channel in range(3):
        np.testing.assert_array_equal(images[..., channel], letters.images)
    assert keras_margin.data.open("glyphs", image_size=(32, 24)).arrays()[0].shape == (9, 32, 24, 3)


def test_the_module_is_imported_without_pillow():
    """Imports the module without Pillow."""
    assert "PIL" not in vars(glyphs) and sys.modules["keras_margin.data.glyphs"] is glyphs


@needs_the_fonts
def test_thirty_kanji_differ_from_design_to_design(tmp_path):
    """Draws nearly all of thirty kanji in each design, and no two designs alike."""
    found = glyphs.load(characters=glyphs.jis_level_1()[::100], cache=tmp_path)
    assert len(found.characters) == 30 and not found.report.dropped_designs
    assert np.bincount(found.designs, minlength=16).min() >= 27
    # Of one kanji, each two designs differ in more than a tenth of the ink: M+ and VL Gothic, which are one, in 0.06.
    first = found.images[found.labels == 0].astype(float)
    apart = np.abs(first[:, None] - first[None]).sum((2, 3)) / first.sum((1, 2)).mean()
    assert apart[~np.eye(len(first), dtype=bool)].min() > 0.1
