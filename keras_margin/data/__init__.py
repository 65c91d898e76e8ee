"""Labelled face images: one format a file, each read by `open`.

A format is a module with two functions: `recognises(path)`, which answers at a glance, and
`open_reader(path, image_size, strict)`, which returns a `Reader`. Its row in FORMATS makes it known.
"""

import os

from keras_margin.data import folder, orl
from keras_margin.data.folder import FolderReader
from keras_margin.data.reader import ArrayReader, Reader
from keras_margin.data.splits import identity_disjoint_split, per_identity_split

__all__ = [
    "FORMATS",
    "ArrayReader",
    "FolderReader",
    "Reader",
    "identity_disjoint_split",
    "open",
    "per_identity_split",
]

# The first that recognises a path opens it.
FORMATS = {
    "orl": orl,
    "folder": folder,
}


def open(path=None, *, image_size=None, strict=False):
    """Opens a set of labelled face images.

    - None or "orl": the ORL faces, 40 people x 10 (see `keras_margin.data.orl`). A directory that is called orl
      is opened as "./orl".
    - A directory: a folder of identities, `root/identity/*.{jpg,jpeg,png,bmp}`, with file names in any case. The
      classes are the directories in the order of their names, compared character by character ("10" is before
      "2"), and so are the images in each. Hidden files and directories do not count; links are followed.

    A folder is checked when it is opened: the first and last bytes of each file are looked at, and a file that
    they leave in doubt is decoded. Unreadable images, identities without an image and images outside the identity
    directories are left out, and named in a warning of the logger `keras_margin.data.folder`; `reader.unreadable`
    has the images. Where an image turns out to be damaged inside only when its turn comes, the next readable one
    takes its place, with its own label, so that a long run goes on; that is logged by name too, and
    `reader.replaced` has them. When they are more than half of all, it stops.

    Args:
        path: None, "orl", or a str or path-like.
        image_size: (height, width) of the images that come out. None is (112, 92) for the ORL faces and (112, 112)
            for a folder. Images of another size are resized, and stretched if their sides have another ratio:
            align faces first.
        strict: Whether to refuse what would be left out or replaced. Pass it to evaluate.

    Returns:
        A `Reader`.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        NotADirectoryError: If `path` is a file of no known format.
        ValueError: If the folder has not at least two identities with a readable image, or, if `strict`, an image
            is unreadable. From the iteration of a dataset the same comes as `tf.errors.InvalidArgumentError`.
        ImportError: If the ORL faces are not installed.

    Example:
        >>> reader = open("orl", image_size=(112, 112))
        >>> reader.num_classes, reader.num_images
        (40, 400)
        >>> dataset = reader.dataset(32, shuffle=True, seed=1, repeat=True)
    """
    for module in FORMATS.values():
        if module.recognises(path):
            return module.open_reader(path, image_size, strict)
    if not os.path.lexists(path):
        raise FileNotFoundError(
            f"open() needs a directory that exists. Received: path={os.fsdecode(path)!r}, where there is nothing. "
            "Pass a folder of identities, or None for the embedded ORL faces."
        )
    raise NotADirectoryError(
        f"open() needs a folder of identities, root/identity/image.jpg. Received: path={os.fsdecode(path)!r}, which is "
        "a file. Pass the directory that holds the directories of the identities."
    )
