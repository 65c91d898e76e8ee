"""Looks for what is wrong with a set: images that cannot be read, identical ones, swapped channels, and overlap.

keras-margin audit CASIA-WebFace --against=lfw.bin --against=held-out --json=casia.json

Ends with status 0 if the set is sound, and with 3 if it has images that cannot be read, identical images under two
identities, images of an evaluation set, or red and blue that look swapped. Identical images of one person, identities
with one image, several sizes and images that are turned by their EXIF tag are listed, and change the status only with
--strict. A set of many sizes is said to look unaligned.
"""

import argparse
import os

from rich.console import Console
from rich.table import Table

from keras_margin import data
from keras_margin._utils import progress
from keras_margin.cli import _words
from keras_margin.data import auditing

UNSOUND = 3
_NAMED = 5

_UNALIGNED = (
    "More than a tenth of the images differ in size from the others: they look unaligned. Networks for faces are "
    "trained and measured on aligned crops: keras-margin align SOURCE OUT makes them."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("source", help="what keras_margin.data.open reads: a folder, a .rec file, shards, orl")
    parser.add_argument(
        "--against", action="append", default=[], help="an evaluation set, .bin or any other; may be repeated"
    )
    parser.add_argument("--json", help="file to write everything to")
    parser.add_argument("--strict", action="store_true", help="status 3 for whatever is found")


def run(arguments: argparse.Namespace) -> int | None:
    """Audits, prints the table and returns the status."""
    with progress.bars():
        against = {path: _evaluation_set(path) for path in arguments.against}
        found = auditing.audit(data.open(arguments.source), against)
    if arguments.json:
        found.to_json(arguments.json)
    rows = _rows(found)
    table = Table("", "found", "such as", title=_title(arguments.source, found), title_justify="left")
    for name, count, examples, is_fault in rows:
        style = "red" if count and is_fault else None
        table.add_row(name, f"{count:,}", "\n".join(_words.some(examples, _NAMED)), style=style)
    console = Console()
    console.print(table, markup=False)
    if not found.looks_aligned:
        console.print(_UNALIGNED, markup=False)
    unsound = bool(found.faults) or (arguments.strict and any(count for _, count, _, _ in rows))
    console.print(f"Not sound: {', '.join(found.faults) or 'see above'}." if unsound else "Sound.", markup=False)
    return UNSOUND if unsound else 0


def _evaluation_set(path):
    return data.load_bin(path)[0] if os.path.splitext(path)[1].lower() == ".bin" else data.open(path)


def _title(source, found):
    fewest, median, most = found.images_per_identity
    return (
        f"{_words.printable(source)}: {found.num_images:,} images of {found.num_classes:,} identities, {fewest:,} to "
        f"{most:,} of each, median {median:g}"
    )


def _rows(found):
    """(what, how many, names, whether it makes the set unfit)."""
    sizes = [f"{height} x {width}: {count:,}" for (height, width), count in found.sizes.items()]
    color = found.num_images - found.grey
    rows = [
        ("cannot be read", len(found.unreadable), [f"{name} ({why})" for name, why in found.unreadable], True),
        (
            "identical under two identities or more",
            len(found.across_identities),
            [" = ".join(f"{name} ({who})" for who, name in group) for group in found.across_identities],
            True,
        ),
        ("identical of one identity", len(found.within_identities), map(" = ".join, found.within_identities), False),
        ("identities with one image", len(found.single_image), found.single_image, False),
        ("sizes besides the commonest", max(0, len(found.sizes) - 1), sizes, False),
        (
            "turned upright by their EXIF tag",
            len(found.turned),
            [f"{name} (orientation {orientation})" for name, orientation in found.turned],
            False,
        ),
        ("grey among colour", found.grey if 0 < found.grey < found.num_images else 0, [], False),
        (
            "red and blue look swapped",
            int(found.swapped_channels),
            [f"{found.bluer:,} of {color:,} are bluer than red in their middle"] if found.bluer else [],
            True,
        ),
    ]
    for name, pairs in found.overlap.items():
        rows.append((f"images of {_words.printable(name)}", len(pairs), map(" = ".join, pairs), True))
    for name, people in found.common_identities.items():
        if people:
            rows.append((f"identities named as in {_words.printable(name)}", len(people), people, False))
    return rows
