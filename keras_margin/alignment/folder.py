"""Alignment of a whole folder of photographs into another: in several processes, resumed, with a report."""

import collections
import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from typing import Literal

from keras_margin._typing import PathLike, Size
from keras_margin._utils import files
from keras_margin._utils.progress import Progress
from keras_margin.alignment import _journal, _sheet, _workers
from keras_margin.alignment._policies import check_policy
from keras_margin.alignment.detector import Detector
from keras_margin.alignment.images import EXTENSIONS
from keras_margin.alignment.transform import landmark_template

REPORT = "alignment.json"
FORMATS = ("jpg", "png")

# So many images may fail in the detector, whatever the others do, before it is the detector that is at fault.
_FEW = 20

_logger = logging.getLogger("keras_margin.alignment")


@dataclasses.dataclass(frozen=True)
class AlignmentReport:
    """What became of a folder's images.

    Attributes:
        images: How many there are.
        crops: How many faces were written.
        no_face: Names of the images without a face, below the folder, in order.
        several: Name -> number of faces, of images with more than one.
        refused: Name -> reason, of images that cannot be read or aligned.
        resumed: How many of the images an earlier call had done.
        other_files: Extension -> number of files whose names are not those of images, such as {".cr2": 2, "": 1}.

    Example:
        >>> report = AlignmentReport(3, 2, ("sky.jpg",), several={}, refused={}, resumed=0, other_files={".cr2": 1})
        >>> report.crops, report.no_face
        (2, ('sky.jpg',))
    """

    images: int
    crops: int
    no_face: tuple
    several: dict
    refused: dict
    resumed: int = 0
    other_files: dict = dataclasses.field(default_factory=dict)


def align_folder(
    source: PathLike,
    out: PathLike,
    size: int | Size = 112,
    policy: Literal["largest", "centre", "all", "skip"] = "largest",
    detector: Detector | None = None,
    workers: int = 1,
    image_format: Literal["jpg", "png"] = "jpg",
) -> AlignmentReport:
    """Crops the faces of all images below a folder, into the same folders below another.

    `source/ann/7.png` becomes `out/ann/7.jpg`. Where two images of a folder differ in their extension alone, all of
    that folder keep theirs: `7.png.jpg`. With the policy "all" the faces of an image are `7.face0.jpg`, `7.face1.jpg`,
    from left to right. Nothing of `source` is written to. Hidden files and folders do not count, links are followed.

    Every crop appears whole or not at all, and `out/.alignment.jsonl` notes each image that is done: the same call goes
    on where one was killed, and later does what is new or changed. `out/alignment.json` is the report, and
    `out/alignment.html` shows the first crops and lists the images without one.

    Faces are looked for in a copy of at most 2,048 pixels a side, in whose pixels a detector's `min_face_size` counts,
    and cropped out of the image itself. A detector with a true attribute `shrinks_photographs`, as the default one,
    which shrinks to its canvas, gets the image as it is.

    Args:
        source: A folder, of any depth.
        out: The folder to write: new, empty, or of an earlier call with the same arguments.
        size: Side of a square crop, or (height, width), in pixels; 112 or (112, 96).
        policy: Which of several faces: "largest", "centre", "all", or "skip" for none; see `align`.
        detector: See `align`; with several workers it must travel between processes (pickle). Default:
            `detection.FaceDetector()`, or `MTCNNDetector()` where LiteRT is not installed.
        workers: Processes, >= 1; 1 is this one. A script that starts several needs `if __name__ == "__main__":`.
        image_format: "jpg" of quality 95 with all of its colour, or "png", which loses nothing.

    Returns:
        AlignmentReport.

    Raises:
        NotADirectoryError: If `source` is no folder.
        ValueError: If an argument is out of range, one folder is inside the other, `source` has no images, `out` has
            something else in it, or the detector fails on more than half of the images.
        ImportError: If the `align` extra is not installed.
        OSError: If something cannot be written.

    Example:
        >>> import pathlib
        >>> from PIL import Image
        >>> pathlib.Path("photographs").mkdir()
        >>> Image.new("RGB", (40, 40)).save("photographs/sky.png")
        >>> nothing = np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0)
        >>> report = align_folder("photographs", "faces", detector=lambda image: nothing)
        >>> report.images, report.crops, list(report.no_face)
        (1, 0, ['sky.png'])
    """
    check_policy(policy)
    if workers < 1 or image_format not in FORMATS:
        raise ValueError(
            f"align_folder needs workers >= 1 and image_format in {FORMATS}. Received: workers={workers}, "
            f"image_format={image_format!r}."
        )
    source, out = os.path.realpath(os.fsdecode(source)), os.path.realpath(os.fsdecode(out))
    _check_folders(source, out)
    height, width = _side_lengths(size)
    targets, other_files = _targets(source, image_format)
    if not targets:
        there = f" It has {counted(other_files)} files." if other_files else ""
        raise ValueError(f"{source} has no image ({', '.join(EXTENSIONS)}) in it or in its folders.{there}")
    settings = {
        "source": source,
        "size": [height, width],
        "policy": policy,
        "image_format": image_format,
        "detector": _workers.description(detector),
    }
    with _journal.opened(out, settings) as journal:
        done = {
            name: entry
            for name, entry in journal.found.items()
            if name in targets and _still_so(entry, name, out, source)
        }
        todo = {name: target for name, target in targets.items() if name not in done}
        job = _workers.Job(source, out, (height, width), policy, detector)
        entries = dict(done)
        progress = Progress("Aligned", "images", len(targets))
        failures = 0
        for entry in _workers.run(job, todo, workers):
            journal.add(entry)
            entries[entry["image"]] = entry
            failures += entry.get("detector_failed", False)
            if failures > max(_FEW, (len(entries) - len(done)) / 2):
                raise ValueError(f"The detector fails on most images, such as {entry['image']}: {entry['refused']}.")
            progress.at(len(entries))
    report = _report([entries[name] for name in targets], len(done), other_files)
    with files.atomic_write(os.path.join(out, REPORT)) as temporary:
        content = {"settings": settings} | dataclasses.asdict(report)
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")
    _sheet.write(out, report, [crop for name in targets for crop in entries[name]["crops"]])
    return report


def counted(extensions: Mapping[str, int]) -> str:
    """Numbers of files by their extensions, in words: "2 .cr2, 1 without an extension"."""
    return ", ".join(f"{count:,} {extension or 'without an extension'}" for extension, count in extensions.items())


def _check_folders(source, out):
    if not os.path.isdir(source):
        raise NotADirectoryError(f"align_folder needs a folder of images. Received: {source}, which is none.")
    shared = os.path.commonpath([source, out])
    if shared in (source, out):
        raise ValueError(
            f"Photographs and crops need folders apart, neither inside the other. Received: {source} and {out}."
        )


def _side_lengths(size):
    landmark_template(size)  # Refuses what is no size.
    return tuple(int(side) for side in size) if isinstance(size, tuple | list) else (int(size),) * 2


def _still_so(entry, name, out, source):
    """Whether what the journal says of an image still holds: the image as it was, its crops there."""
    return entry["stamp"] == _journal.stamp(os.path.join(source, name)) and all(
        os.path.exists(os.path.join(out, crop)) for crop in entry["crops"]
    )


def _targets(source, image_format):
    """What is below source, in order.

    Returns:
        Dict: name of an image -> (name of its crop without the extension, the extension).
        Dict: extension -> number of files whose names are not those of images, the most frequent first.
    """
    found, others = {}, collections.Counter()
    for folder, files_in in _folders(source):
        names = [name for name in files_in if name.lower().endswith(EXTENSIONS)]
        others.update(os.path.splitext(name)[1].lower() for name in files_in if not name.lower().endswith(EXTENSIONS))
        stems = [os.path.splitext(name)[0] for name in names]
        # Compared without case, because some disks do.
        unique = len({stem.casefold() for stem in stems}) == len(stems)
        for name, stem in zip(names, stems, strict=True):
            found[os.path.join(folder, name)] = (os.path.join(folder, stem if unique else name), f".{image_format}")
    return found, dict(others.most_common())


def _folders(source):
    """Yields (folder below source, sorted names of its files); a folder that is inside itself, once."""
    stack = [("", frozenset())]
    while stack:
        folder, above = stack.pop()
        try:
            identity = os.stat(os.path.join(source, folder))
            with os.scandir(os.path.join(source, folder)) as listing:
                entries = sorted(
                    (each for each in listing if not each.name.startswith(".")), key=lambda each: each.name
                )
        except OSError as error:
            _logger.warning("Left out %s: %s.", os.path.join(source, folder), error.strerror or error)
            continue
        if (identity.st_dev, identity.st_ino) in above:
            _logger.warning("Left out %s, a link to a folder that it is in.", os.path.join(source, folder))
            continue
        above = above | {(identity.st_dev, identity.st_ino)}
        folders = {each.name for each in entries if _is_folder(each)}
        yield folder, [each.name for each in entries if each.name not in folders]
        stack += [(os.path.join(folder, name), above) for name in sorted(folders, reverse=True)]


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # A link that leads to itself.
        return False


def _report(entries, resumed, other_files):
    return AlignmentReport(
        images=len(entries),
        crops=sum(len(entry["crops"]) for entry in entries),
        no_face=tuple(entry["image"] for entry in entries if entry["faces"] == 0 and not entry["refused"]),
        several={entry["image"]: entry["faces"] for entry in entries if entry["faces"] > 1},
        refused={entry["image"]: entry["refused"] for entry in entries if entry["refused"]},
        resumed=resumed,
        other_files=other_files,
    )
