"""Kanji in sixteen type designs, rendered from fonts: thousands of classes for a small machine. Type, not faces.

The classes are the 2,965 kanji of JIS level 1 (JIS X 0208, rows 16 to 47), the images of a class its renderings in the
designs of `DESIGNS`: gothic, mincho, handwriting and brush. What holds for type need not hold for faces: always say
so next to a result. The fonts are not part of this package and have licences of their own: they are looked for on the
machine, where Debian's packages put them, and drawn by Pillow (the extra `glyphs`).
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_margin._typing import PathLike, Size
from keras_margin._utils import files
from keras_margin._utils.messages import install_hint
from keras_margin.data._array_reader import ArrayReader
from keras_margin.data._labels import renumbered

IMAGE_SIZE = (64, 64)

# Drawn three times as large and averaged, so that hinting and strikes made for small sizes leave no mark. The em takes
# four fifths of the frame: brush designs reach beyond theirs.
_REDUCTION = 3
_FRAME = IMAGE_SIZE[0] * _REDUCTION
_EM = 152

# Part of the cache's key: raise it with any change of what is drawn.
_VERSION = 1
_ARRAYS = ("images", "labels", "designs")

# Unicode guarantees that this is not a character, so a font answers with its .notdef.
_NO_CHARACTER = chr(0x10FFFF)

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Design:
    """A type design and where it comes from.

    Attributes:
        name: What it is called in reports.
        file: The font's file name, looked for in the machine's font folders, or a path with a folder in it.
        package: Debian's package that brings it, or "" for a font of your own.
    """

    name: str
    file: str
    package: str = ""


# The first face of each file. No two of one drawing in other weights; a few that were tried and are not here: M+ is VL
# Gothic's kanji, Takao and IPA are IPAex's, Komatuna is Konatu's, UmePlus is Ume's, and Motoya L Maruberi's
# instructions take a quarter of a second a glyph.
DESIGNS = (
    Design("IPAex Gothic", "ipaexg.ttf", "fonts-ipaexfont-gothic"),
    Design("IPAex Mincho", "ipaexm.ttf", "fonts-ipaexfont-mincho"),
    Design("VL Gothic", "VL-Gothic-Regular.ttf", "fonts-vlgothic"),
    Design("Noto Sans CJK JP", "NotoSansCJK-Regular.ttc", "fonts-noto-cjk"),
    Design("Noto Serif CJK JP", "NotoSerifCJK-Regular.ttc", "fonts-noto-cjk"),
    Design("Motoya L Cedar", "MTLc3m.ttf", "fonts-motoya-l-cedar"),
    Design("Ume Gothic", "ume-tgo4.ttf", "fonts-horai-umefont"),
    Design("Ume Mincho", "ume-tmo3.ttf", "fonts-horai-umefont"),
    Design("Konatu", "Konatu.ttf", "fonts-konatu"),
    Design("Sawarabi Gothic", "sawarabi-gothic-medium.ttf", "fonts-sawarabi-gothic"),
    Design("Sawarabi Mincho", "sawarabi-mincho-medium.ttf", "fonts-sawarabi-mincho"),
    Design("Kiloji", "kiloji.ttf", "fonts-kiloji"),
    Design("Seto", "setofont.ttf", "fonts-seto"),
    Design("Reggae One", "ReggaeOne-Regular.ttf", "fonts-reggae"),
    Design("Aoyagi Kouzan T", "AoyagiKouzanT.ttf", "fonts-aoyagi-kouzan-t"),
    Design("Kouzan Mouhitsu", "kouzan-mouhitsu.ttf", "fonts-kouzan-mouhitsu"),
)


@dataclasses.dataclass(frozen=True)
class GlyphReport:
    """What was left out.

    Attributes:
        missing: How many of the characters each design lacks, by its name.
        identical: How many images of each design were left out because an earlier design has the same pixels.
        dropped_designs: Names of the designs that were left out whole: more than half of their images are an earlier
            design's.
    """

    missing: dict[str, int]
    identical: dict[str, int]
    dropped_designs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Glyphs:
    """The images, ordered by character and, within one, by design.

    Attributes:
        images: uint8 array, (num_images, 64, 64), grey: white ink, 255, on black, 0; the ink is in the middle.
        labels: int32 array, (num_images,); the character, an index into `characters`.
        designs: int32 array, (num_images,); the design, an index into `design_names`.
        characters: Tuple of str, those that some design has.
        design_names: Tuple of str, of the designs that were asked for, also where nothing is left of one.
        report: GlyphReport.
    """

    images: np.ndarray
    labels: np.ndarray
    designs: np.ndarray
    characters: tuple[str, ...]
    design_names: tuple[str, ...]
    report: GlyphReport


def jis_level_1() -> tuple[str, ...]:
    """The 2,965 kanji of JIS level 1, in their order: rows 16 to 47 of JIS X 0208, as Python's codec has them.

    Returns:
        Tuple of str.

    Example:
        >>> characters = jis_level_1()
        >>> len(characters), characters[0], characters[-1]
        (2965, '亜', '腕')
    """
    places = (bytes((0xA0 + row, 0xA0 + cell)) for row in range(16, 48) for cell in range(1, 95))
    return tuple(character for place in places if (character := place.decode("euc_jp", errors="ignore")))


def installed(designs: Sequence["Design"] = DESIGNS) -> tuple["Design", ...]:
    """Those of `designs` whose fonts are on this machine.

    Args:
        designs: Sequence of Design.

    Returns:
        Tuple of Design, to pass to `load` where some packages cannot be had.
    """
    paths = _find(designs)
    return tuple(design for design in designs if paths[design])


def load(
    designs: Sequence["Design"] = DESIGNS, characters: Sequence[str] | None = None, cache: PathLike | None = None
) -> Glyphs:
    """Renders the glyphs, or reads what an earlier call rendered.

    A character that a design lacks, and an image that an earlier design of the same character has pixel by pixel, are
    left out and counted. The first call takes about half a minute of one core and writes 195 MB into the cache; later
    ones map that into memory. The same fonts, Pillow and FreeType give the same pixels.

    Args:
        designs: Sequence of Design, with different names. The default is what `data.open("glyphs")` reads; results
            on other designs are results on another set.
        characters: Str or sequence of str, single characters; None for those of JIS level 1.
        cache: Folder to keep the renderings in; None is `cache_folder()`.

    Returns:
        Glyphs.

    Raises:
        ImportError: If Pillow is not installed.
        FileNotFoundError: If fonts are not on this machine; the message names Debian's packages.
        ValueError: If a font cannot be read, the designs or characters are not distinct, or nothing is left.

    Example:
        >>> glyphs = load()
        >>> glyphs.images.shape[1:], len(glyphs.characters)
        ((64, 64), 2965)
    """
    features = _pillow().features
    designs, characters = _check(designs, characters)
    paths = _find_all(designs)
    stamps = [(design.name, str(path), path.stat().st_size, path.stat().st_mtime_ns) for design, path in paths.items()]
    made_with = [_VERSION, features.version("pil"), features.version("freetype2"), *stamps, "".join(characters)]
    key = hashlib.sha256(json.dumps(made_with).encode()).hexdigest()[:16]
    folder = pathlib.Path(cache or cache_folder()) / f"glyphs-{key}"
    glyphs = _read(folder)
    if glyphs is None:
        glyphs = _render(paths, characters)
        _write(folder, glyphs)
    return glyphs


def recognizes(path: Any) -> bool:
    """Whether `keras_margin.data.open(path)` means the glyphs."""
    return isinstance(path, str) and path == "glyphs"


def open_reader(path: Any = "glyphs", image_size: Size | None = None, strict: bool = False) -> ArrayReader:
    """A reader of the glyphs of all `DESIGNS`, grey on three equal channels. See `keras_margin.data.open`.

    Args:
        path: "glyphs".
        image_size: (height, width); None is the size they are rendered in, (64, 64).
        strict: Changes nothing: without all the fonts it is always refused.
    """
    glyphs = load()
    return ArrayReader(glyphs.images, glyphs.labels, glyphs.characters, image_size)


def _pillow() -> Any:
    try:
        import PIL.features
        import PIL.ImageDraw
        import PIL.ImageFont
    except ImportError:
        raise ImportError(
            f"The glyphs are drawn by Pillow, which is not installed. Run: {install_hint('glyphs')}"
        ) from None
    return PIL


def _check(designs, characters):
    designs = tuple(designs)
    names = [design.name for design in designs]
    characters = jis_level_1() if characters is None else tuple(characters)
    if not designs or len(set(names)) < len(names):
        raise ValueError(f"glyphs.load needs designs with different names. Received: {', '.join(names) or 'none'}.")
    odd = [character for character in characters if len(character) != 1]
    if odd or not characters or len(set(characters)) < len(characters):
        raise ValueError(
            f"glyphs.load needs characters, each one time. Received: {len(characters)}, of which "
            f"{len(set(characters))} are different and {len(odd)} are not one character."
        )
    return designs, characters


def _font_folders() -> list[pathlib.Path]:
    """Where fonts may be, the user's own first."""
    home = pathlib.Path.home()
    data = [os.environ.get("XDG_DATA_HOME") or home / ".local/share"]
    data += (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    folders = [pathlib.Path(folder) / "fonts" for folder in data] + [home / ".fonts"]
    if sys.platform == "darwin":
        folders += [home / "Library/Fonts", pathlib.Path("/Library/Fonts")]
    return folders


def _find(designs: Sequence[Design]) -> dict[Design, pathlib.Path | None]:
    """The path of each design's font, or None, by design."""
    wanted = {design.file for design in designs if os.path.dirname(design.file) == ""}
    found: dict[str, pathlib.Path] = {}
    for folder in _font_folders() if wanted else ():
        for root, directories, names in os.walk(folder, followlinks=True):
            directories.sort()
            for name in wanted.intersection(names):
                found.setdefault(name, pathlib.Path(root, name))
    own = {design.file: pathlib.Path(design.file) for design in designs if os.path.isfile(design.file)}
    return {design: found.get(design.file) or own.get(design.file) for design in designs}


def _find_all(designs):
    paths = _find(designs)
    lacking = [design for design, path in paths.items() if path is None]
    if lacking:
        packages = sorted({design.package for design in lacking if design.package})
        hint = f"On Debian or Ubuntu run: apt-get install {' '.join(packages)}" if packages else "Pass their paths."
        raise FileNotFoundError(
            f"The glyphs are rendered from {len(designs)} fonts. Not on this machine: "
            f"{', '.join(f'{design.name} ({design.file})' for design in lacking)}. {hint}"
        )
    return paths


def cache_folder() -> pathlib.Path:
    """Where renderings are kept: keras-margin in the user's cache folder, $XDG_CACHE_HOME or ~/.cache.

    Returns:
        pathlib.Path, which need not be there.
    """
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "keras-margin"


def _draw(font: Any, character: str) -> np.ndarray | None:
    """The image of one character, or None where nothing is drawn."""
    from PIL import Image, ImageDraw

    # Twice the frame: where the ink lies against the em is the design's own affair.
    canvas = Image.new("L", (2 * _FRAME, 2 * _FRAME))
    ImageDraw.Draw(canvas).text((_FRAME // 2, _FRAME // 2), character, fill=255, font=font)
    box = canvas.getbbox()
    if box is None:
        return None
    ink = canvas.crop(box)
    if max(ink.size) > _FRAME:
        ink.thumbnail((_FRAME, _FRAME))
    image = Image.new("L", (_FRAME, _FRAME))
    image.paste(ink, ((_FRAME - ink.width) // 2, (_FRAME - ink.height) // 2))
    return np.asarray(image.reduce(_REDUCTION))


def _draw_all(path, characters):
    """The images of one design by the number of the character, without those that it lacks."""
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(str(path), _EM, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise ValueError(f"{path} is not a font that can be read: {error}. Install its package again.") from error
    blank = _draw(font, _NO_CHARACTER)
    notdef = None if blank is None else blank.tobytes()
    drawn = ((number, _draw(font, character)) for number, character in enumerate(characters))
    return {number: image for number, image in drawn if image is not None and image.tobytes() != notdef}


def _render(paths, characters):
    kept, seen = [], [set() for _ in characters]
    missing, identical, dropped = {}, {}, []
    for place, (design, path) in enumerate(paths.items()):
        _logger.info("Rendering %d characters of %s (%d of %d).", len(characters), design.name, place + 1, len(paths))
        images = _draw_all(path, characters)
        new = {number: image for number, image in images.items() if image.tobytes() not in seen[number]}
        missing[design.name] = len(characters) - len(images)
        if len(new) < len(images) / 2:
            dropped.append(design.name)
            new = {}
        identical[design.name] = len(images) - len(new)
        for number, image in new.items():
            seen[number].add(image.tobytes())
            kept.append((number, place, image))
    if not kept:
        raise ValueError(f"None of these fonts has any of the {len(characters)} characters: {list(missing)}.")
    kept.sort(key=lambda item: item[:2])
    labels, classes = renumbered(np.array([number for number, _, _ in kept]))
    return Glyphs(
        images=_read_only(np.stack([image for _, _, image in kept])),
        labels=_read_only(labels.astype(np.int32)),
        designs=_read_only(np.array([place for _, place, _ in kept], np.int32)),
        characters=tuple(characters[number] for number in classes),
        design_names=tuple(missing),
        report=GlyphReport(missing, identical, tuple(dropped)),
    )


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _write(folder: pathlib.Path, glyphs: Glyphs) -> None:
    about: dict[str, Any] = {"characters": "".join(glyphs.characters), "design_names": glyphs.design_names}
    about["report"] = dataclasses.asdict(glyphs.report)
    try:
        with files.atomic_write(folder) as temporary:
            temporary.mkdir()
            for name in _ARRAYS:
                np.save(temporary / f"{name}.npy", getattr(glyphs, name))
            (temporary / "about.json").write_text(json.dumps(about), encoding="utf-8")
    except OSError as error:
        # What was rendered is good all the same; the next call renders it again.
        _logger.warning("The glyphs could not be kept for the next time: %s", error)


def _read(folder: pathlib.Path) -> Glyphs | None:
    """What `_write` wrote, its arrays mapped into memory; None where it is not there or not whole."""
    if not folder.is_dir():
        return None
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        images, labels, designs = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
        if images.shape != (len(labels), *IMAGE_SIZE) or designs.shape != labels.shape or images.dtype != np.uint8:
            raise ValueError(f"images of shape {images.shape} and {len(labels)} labels")
        report = about["report"]
        report["dropped_designs"] = tuple(report["dropped_designs"])
        return Glyphs(
            *(images, labels, designs),
            tuple(about["characters"]),
            tuple(about["design_names"]),
            GlyphReport(**report),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        _logger.warning("%s is not what was written there (%s); the glyphs are rendered again.", folder, error)
        return None
