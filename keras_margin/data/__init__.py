"""Labelled face images: one format a file, each read by `open`.

A format is a module with two functions: `recognizes(path)`, which answers at a glance, and
`open_reader(path, image_size, strict)`, which returns a `Reader`. Its row in FORMATS makes it known.
"""

import os

from keras_margin._typing import PathLike, Size
from keras_margin.data import _contents, _shards, digits, folder, glyphs, orl, recordio, tfrecord
from keras_margin.data._array_reader import ArrayReader
from keras_margin.data._labels import relabel
from keras_margin.data.auditing import audit
from keras_margin.data.augmentation import Augmentation
from keras_margin.data.bin import load_bin, write_bin
from keras_margin.data.pairs import write_protocol
from keras_margin.data.reader import Reader
from keras_margin.data.splits import (
    Split,
    draw_split,
    identity_disjoint_split,
    per_identity_split,
    read_split,
    write_split,
)

__all__ = [
    "ArrayReader",
    "Augmentation",
    "Reader",
    "Split",
    "audit",
    "draw_split",
    "identity_disjoint_split",
    "load_bin",
    "open",
    "per_identity_split",
    "prepare",
    "read_split",
    "relabel",
    "write_bin",
    "write_protocol",
    "write_split",
]

# The first that recognizes a path opens it.
FORMATS = {
    "orl": orl,
    "digits": digits,
    "glyphs": glyphs,
    "recordio": recordio,
    "tfrecord": tfrecord,
    "folder": folder,
}

_SETS = (
    "a folder of identities (root/identity/image.jpg), a folder with train.rec or with TFRecord shards, or None for "
    "the ORL faces"
)

# What is not a set, but close to one.
_OTHER_FILES = {
    ".tfrecord": "Pass the directory that holds all shards and their index.json.",
    ".bin": _contents.HINTS[".bin"],
    ".idx": "The images are in the .rec file next to it: pass that.",
}


def open(path: PathLike | None = None, *, image_size: Size | None = None, strict: bool = False) -> Reader:
    """Opens a set of labelled images, whatever its format.

    - None or "orl": the ORL faces, 40 people x 10 (see `keras_margin.data.orl`). A directory that is called orl
      is opened as "./orl".
    - "digits": 5,000 handwritten digits of MNIST, 10 x 500 (see `keras_margin.data.digits`); no faces, for toy figures.
    - "glyphs": 2,965 kanji in 16 type designs, rendered from fonts that Debian packages (see
      `keras_margin.data.glyphs`); type, no faces, for open-set comparisons on a small machine.
    - A directory with `train.rec`, or another .rec file: MXNet RecordIO, as insightface ships CASIA, MS1M and
      Glint360K, with its `.idx` and `property`; also the .rec file by its name. See
      `keras_margin.data.recordio.open_reader`. No mxnet is needed.
    - A directory that `prepare` wrote: TFRecord shards with their `index.json`.
    - Any other directory: a folder of identities, `root/identity/*.{jpg,jpeg,png,bmp}`, with file names in any case.
      The classes are the directories in the order of their names, compared character by character ("10" is before
      "2"), and so are the images in each. Hidden files and directories do not count; links are followed.

    Images come out upright: the orientation that a camera notes in EXIF is applied, as everywhere in this library.

    A set is checked when it is opened: of a folder the first and last bytes of each file are looked at, and a file
    that they leave in doubt is decoded; of a .rec file every record's header is read; of TFRecord the sizes of the
    files are compared. Unreadable images, identities without an image and images outside the identity directories are
    left out, and named in a warning of the logger `keras_margin.data`; `reader.unreadable` has the images. Where an
    image turns out to be damaged inside only when its turn comes, the next readable one takes its place, with its own
    label, so that a long run goes on; that is logged by name too, and `reader.replaced` has them. When they are more
    than half of all, it stops.

    Args:
        path: None, "orl", "digits", "glyphs", or a str or path-like.
        image_size: (height, width) of the images that come out. None is (112, 92) for the ORL faces, (28, 28) for the
            digits, (64, 64) for the glyphs, what `property` says for RecordIO, that of what was prepared for TFRecord,
            and otherwise (112, 112). Images of another size are resized, and stretched if their sides have another
            ratio: align faces first.
        strict: Whether to refuse what would be left out or replaced. Pass it to evaluate.

    Returns:
        A `Reader`.

    Raises:
        FileNotFoundError: If there is nothing at `path`, or a set lacks a file that it cannot do without, or the
            glyphs a font; the message then names the packages.
        NotADirectoryError: If `path` is a file of no known format.
        ValueError: If the set has not at least two identities with a readable image, or, if `strict`, an image
            is unreadable. From the iteration of a dataset the same comes as `tf.errors.InvalidArgumentError`.
        ImportError: If the package that carries the ORL faces or the digits, or Pillow for the glyphs, is missing.

    Example:
        >>> reader = open("orl", image_size=(112, 112))
        >>> reader.num_classes, reader.num_images
        (40, 400)
        >>> dataset = reader.dataset(32, shuffle=True, seed=1, repeat=True)
    """
    for module in FORMATS.values():
        if module.recognizes(path):
            return module.open_reader(path, image_size, strict)
    path = os.fsdecode(path or "")  # None is a format of its own.
    if not os.path.lexists(path):
        raise FileNotFoundError(
            f"open() needs a directory that exists. Received: path={path!r}, where there is nothing. Pass {_SETS}."
        )
    extension = os.path.splitext(path)[1].lower()
    hint = _OTHER_FILES.get(extension) or f"{_contents.HINTS.get(extension, '')} Pass {_SETS}.".lstrip()
    raise NotADirectoryError(f"open() needs a set of labelled images. Received: path={path!r}, which is a file. {hint}")


def prepare(
    source: Reader | PathLike | None, out: PathLike, shards: int = 16, seed: int = 0, strict: bool = False
) -> None:
    """Writes a set as TFRecord shards, which `open(out)` and every other reader of TFRecord read.

    The images are written as they are, without decoding them, in one random order over the whole set, so that also
    who reads the shards from front to back gets them shuffled. What is written streams: memory does not grow with the
    images. If the call is killed, the same call goes on with the first shard that is not whole; `out` appears under
    its name when everything is there. Until then it is in a hidden folder `.out.partial` next to it.

    A record is a tf.train.Example of `image`, the bytes of a JPEG, PNG or BMP file, and `label`. Next to the shards
    `index.json` has the counts, the names of the classes and the SHA-256 of every file.

    Args:
        source: A Reader, or whatever `open` takes.
        out: The folder to write; it must not be there yet, or be empty.
        shards: Number of files, in [1, 1000] and at most the number of images.
        seed: Int >= 0; chooses the order.
        strict: Whether to refuse images that cannot be read, which are otherwise left out with a warning.

    Raises:
        ValueError: If `out` is there already, `shards` or `seed` is out of range, or what an unfinished call left is of
            other data, shards or seed.
        OSError: If something cannot be written.

    Example:
        >>> prepare("orl", "orl-shards", shards=4)
        >>> open("orl-shards").num_images
        400
    """
    reader = source if isinstance(source, Reader) else open(source, strict=strict)
    _shards.write(reader, out, shards, seed, strict)
