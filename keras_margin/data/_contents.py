"""What a folder holds that is not read as a set of images, and what can be done about it."""

import collections
import os

_MOST_KINDS = 5
_MOST_FILES = 10_000

_TABLES = (
    "Parquet and Arrow tables are not read: save their images as root/identity/image.jpg, for example with the package "
    "datasets (load_dataset, then save each row's image into a folder named by its label)."
)
_ARCHIVES = "Unpack archives first."
_OTHER_IMAGES = "Convert these images to JPEG or PNG; keras-margin align reads WebP and TIFF, and writes JPEG."

# By extension, what to do with files that people have in place of JPEG, PNG and BMP.
HINTS = {
    ".parquet": _TABLES,
    ".arrow": _TABLES,
    ".zip": _ARCHIVES,
    ".tar": _ARCHIVES,
    ".tgz": _ARCHIVES,
    ".gz": _ARCHIVES,
    ".7z": _ARCHIVES,
    ".rar": _ARCHIVES,
    ".npy": "Arrays are opened by keras_margin.data.ArrayReader(images, labels, names).",
    ".npz": "Arrays are opened by keras_margin.data.ArrayReader(images, labels, names).",
    ".mdb": "LMDB is not read: save its images as root/identity/image.jpg.",
    ".h5": "HDF5 is not read: open its arrays with keras_margin.data.ArrayReader(images, labels, names).",
    ".bin": "A verification .bin is loaded by keras_margin.data.load_bin(path).",
    ".webp": _OTHER_IMAGES,
    ".tif": _OTHER_IMAGES,
    ".tiff": _OTHER_IMAGES,
    ".gif": "Convert these images to JPEG or PNG.",
    ".heic": "Convert these images to JPEG or PNG.",
    ".avif": "Convert these images to JPEG or PNG.",
}


def described(root: str) -> tuple[str | None, str | None]:
    """Counts the files of a folder, those of its folders included, by extension.

    Args:
        root: str.

    Returns:
        (words, hint): such as "3 .parquet, 1 .md", or None where there is no file; what to do about the commonest kind
        that is known, or None.
    """
    kinds: collections.Counter[str] = collections.Counter()
    for _, folders, names in os.walk(root):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        for name in names:
            if not name.startswith("."):
                kinds[os.path.splitext(name)[1].lower() or "no extension"] += 1
        if kinds.total() > _MOST_FILES:
            break
    common = kinds.most_common()
    words = ", ".join(f"{count:,} {kind}" for kind, count in common[:_MOST_KINDS])
    if len(common) > _MOST_KINDS:
        words += f" and {len(common) - _MOST_KINDS} other kinds"
    return words or None, next((HINTS[kind] for kind, _ in common if kind in HINTS), None)
