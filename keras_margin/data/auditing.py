"""What is wrong with a set of images, before a week of training finds out: damage, duplicates, swapped channels."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import json
from collections.abc import Mapping

import numpy as np

from keras_margin._typing import PathLike, Size
from keras_margin._utils import exif, files
from keras_margin._utils.progress import Progress
from keras_margin.data._encoded import UnreadableError, decode
from keras_margin.data._sizes import looks_aligned
from keras_margin.data.reader import LabelledImages

_BLOCK = 1024
_THREADS = 8

# Below so many colour images, or so clear a majority, red and blue say nothing.
_FEWEST_IN_COLOR = 20
_SWAPPED_SHARE = 0.5

# What makes a set unfit, against what one should merely know.
FAULTS = ("unreadable", "across_identities", "overlap", "swapped_channels")


@dataclasses.dataclass(frozen=True)
class Audit:
    """What `audit` found. Images are named as the reader names them: by file, or by file and byte.

    Attributes:
        num_images, num_classes: Of the set, without what was left out when it was opened.
        unreadable: (name, reason) of images that cannot be read or decoded.
        within_identities: Tuples of names: images of one person with the same pixels.
        across_identities: Tuples of (identity, name): images with the same pixels, of two persons or more.
        single_image: Names of the identities with one image.
        images_per_identity: (fewest, median, most).
        sizes: {(height, width): number of images}, upright, the commonest first.
        turned: (name, orientation) of images that are stored turned, with the EXIF orientation, 2 to 8, by which they
            are read upright. Software that ignores the tag sees them as they are stored.
        grey: Number of images without colour.
        bluer: Number of images in colour whose middle is bluer than red. Skin is redder than blue.
        overlap: {evaluation set: ((name here, name there), ...)}, images with the same pixels.
        common_identities: {evaluation set: names that both have}.

    Example:
        >>> images = np.zeros((4, 16, 16, 3), np.uint8)
        >>> found = audit(keras_margin.data.ArrayReader(images, [0, 0, 1, 1]))
        >>> isinstance(found, Audit), found.num_images, found.faults
        (True, 4, ('across_identities',))
    """

    num_images: int
    num_classes: int
    unreadable: tuple
    within_identities: tuple
    across_identities: tuple
    single_image: tuple
    images_per_identity: tuple
    sizes: dict
    turned: tuple
    grey: int
    bluer: int
    overlap: dict
    common_identities: dict

    @property
    def swapped_channels(self) -> bool:
        """Whether most images in colour are bluer than red in their middle: BGR that was taken for RGB."""
        color = self.num_images - len(self.unreadable) - self.grey
        return color >= _FEWEST_IN_COLOR and self.bluer > _SWAPPED_SHARE * color

    @property
    def looks_aligned(self) -> bool:
        """Whether nearly all images have one size, as aligned faces do; see `looks_aligned`."""
        return looks_aligned(self.sizes)

    @property
    def faults(self) -> tuple[str, ...]:
        """Names of what makes the set unfit to train on, out of FAULTS; empty for a sound one."""
        found = {name: getattr(self, name) for name in FAULTS} | {"overlap": any(self.overlap.values())}
        return tuple(name for name, value in found.items() if value)

    def to_json(self, path: PathLike) -> None:
        """Writes everything as JSON; the file appears whole or not at all."""
        content = dataclasses.asdict(self) | {
            "sizes": [{"height": h, "width": w, "images": count} for (h, w), count in self.sizes.items()],
            "swapped_channels": self.swapped_channels,
            "looks_aligned": self.looks_aligned,
            "faults": self.faults,
        }
        with files.atomic_write(path) as temporary:
            # ASCII, because names may hold bytes that are not characters.
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")


def audit(reader: LabelledImages, against: Mapping[str, LabelledImages | np.ndarray] | None = None) -> Audit:
    """Decodes every image of a set and compares it with all others, and with evaluation sets.

    Identical means: the same pixels once decoded, whatever the files' names, metadata and format. The same photograph
    saved again as JPEG, or aligned again, is not found.

    Args:
        reader: From `keras_margin.data.open`. What that left out counts as unreadable.
        against: {name: evaluation set}: a reader, or uint8 images (n, height, width, 3) as `load_bin` returns them.

    Returns:
        Audit.

    Raises:
        TypeError: If `against` holds something else.

    Example:
        >>> found = audit(keras_margin.data.open("orl"))
        >>> found.faults, len(found.single_image)
        ((), 0)
    """
    looks = _looks(reader, reader.num_images, "Audited")
    unreadable = (
        [(name, "left out when the set was opened") for name in reader.unreadable]
        if hasattr(reader, "unreadable")
        else []
    )
    unreadable += [(reader.name_of(number), reason) for number, reason in looks.unreadable]
    within, across = _duplicates(reader, looks)
    counts = np.bincount(reader.labels, minlength=reader.num_classes)
    overlap, common = {}, {}
    for name, other in (against or {}).items():
        overlap[name] = _overlap(reader, looks, name, other)
        common[name] = tuple(sorted(set(reader.label_names) & set(getattr(other, "label_names", ()))))
    return Audit(
        num_images=reader.num_images,
        num_classes=reader.num_classes,
        unreadable=tuple(unreadable),
        within_identities=within,
        across_identities=across,
        single_image=tuple(reader.label_names[label] for label in np.flatnonzero(counts == 1)),
        images_per_identity=(int(counts.min()), float(np.median(counts)), int(counts.max())),
        sizes=dict(looks.sizes.most_common()),
        turned=tuple((reader.name_of(number), orientation) for number, orientation in looks.turned),
        grey=looks.grey,
        bluer=looks.bluer,
        overlap=overlap,
        common_identities=common,
    )


class _Looks:
    """What a look at every image notes: 16 bytes of digest each, and counts."""

    def __init__(self, count: int) -> None:
        self.digests = np.zeros((count, 2), np.uint64)
        self.unreadable: list[tuple[int, str]] = []
        self.turned: list[tuple[int, int]] = []
        self.sizes: collections.Counter[Size] = collections.Counter()
        self.grey = self.bluer = 0


def _looks(source: LabelledImages | np.ndarray, count: int, did: str) -> _Looks:
    """Looks at all images of a reader, or of an array, in several threads."""
    looks = _Looks(count)
    progress = Progress(did, "images", count)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as executor:
        for start in range(0, count, _BLOCK):
            numbers = range(start, min(start + _BLOCK, count))
            for number, found in zip(numbers, executor.map(lambda n: _look(source, n), numbers), strict=True):
                if isinstance(found, UnreadableError):
                    looks.unreadable.append((number, str(found)))
                    continue
                looks.digests[number], size, orientation, grey, bluer = found
                if orientation != exif.UPRIGHT:
                    looks.turned.append((number, orientation))
                looks.sizes[size] += 1
                looks.grey += grey
                looks.bluer += bluer
            progress.at(numbers[-1] + 1)
    return looks


def _look(source, number):
    """(digest, size, EXIF orientation, whether grey, whether its middle is bluer than red), or the UnreadableError."""
    orientation = exif.UPRIGHT
    if isinstance(source, np.ndarray):
        image = source[number]
    else:
        try:
            contents = source.encoded(number)
            image = np.asarray(decode(contents))
            orientation = exif.orientation(contents)
        except UnreadableError as error:
            return error
    height, width = image.shape[:2]
    digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16, key=f"{height}x{width}".encode()).digest()
    grey = bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all())
    middle = image[height // 4 : height - height // 4, width // 4 : width - width // 4]
    bluer = not grey and bool(middle[..., 2].mean() > middle[..., 0].mean())
    return np.frombuffer(digest, np.uint64), (height, width), orientation, grey, bluer


def _readable(looks: _Looks) -> np.ndarray:
    keep = np.ones(len(looks.digests), bool)
    keep[[number for number, _ in looks.unreadable]] = False
    return np.flatnonzero(keep)


def _duplicates(reader, looks):
    """(groups of names within an identity, groups of (identity, name) across identities)."""
    within, across = [], []
    for numbers in _equal(looks.digests, _readable(looks)):
        labels = reader.labels[numbers]
        if (labels == labels[0]).all():
            within.append(tuple(reader.name_of(number) for number in numbers))
        else:
            across.append(
                tuple((reader.label_names[label], reader.name_of(n)) for label, n in zip(labels, numbers, strict=True))
            )
    return tuple(within), tuple(across)


def _equal(digests: np.ndarray, numbers: np.ndarray) -> list[list[int]]:
    """Groups of two or more numbers with equal digests, each ascending, in the order of their first."""
    order = numbers[np.lexsort((numbers, *digests[numbers].T))]
    same = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    ends = np.flatnonzero(np.append(~same, True)) + 1
    starts = np.append(0, ends[:-1])
    groups = [order[start:end].tolist() for start, end in zip(starts, ends, strict=True) if end - start > 1]
    return sorted(groups)


def _overlap(reader, looks, name, other):
    """((name here, name there), ...) of the images that an evaluation set shares with the set."""
    is_array = isinstance(other, np.ndarray)
    is_rgb = is_array and other.dtype == np.uint8 and other.ndim == 4 and other.shape[3] == 3
    if not is_rgb and (is_array or not hasattr(other, "encoded")):
        what = f"{other.dtype} array {other.shape}" if is_array else type(other).__name__
        raise TypeError(
            f"audit compares with readers and uint8 images (n, height, width, 3). Received: {name}, a {what}."
        )
    there = _looks(other, len(other) if is_array else other.num_images, "Compared")
    first = {}
    for number in _readable(there).tolist():
        first.setdefault(there.digests[number].tobytes(), number)
    name_there = (lambda number: f"{name}, image {number}") if is_array else other.name_of
    # All digests of theirs in one sorted array, so that ours need no table of millions of Python objects.
    known = np.sort(np.array([np.frombuffer(key, np.uint64)[0] for key in first], np.uint64))
    ours = _readable(looks)
    places = np.searchsorted(known, looks.digests[ours, 0])
    likely = ours[known[np.minimum(places, len(known) - 1)] == looks.digests[ours, 0]] if len(known) else []
    pairs = ((number, first.get(looks.digests[number].tobytes())) for number in likely)
    return tuple((reader.name_of(number), name_there(match)) for number, match in pairs if match is not None)
