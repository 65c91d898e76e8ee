"""Finds the faces of all images below a folder and crops them onto the field's template, into another folder.

keras-margin align photographs faces
keras-margin align photographs faces --size=112x96 --policy=centre --workers=8

Killed, the same command goes on where it was. The photographs are never written to. faces/alignment.json lists the
images with no face, with several, and those that cannot be read; faces/alignment.html shows the first crops. Needs the
`align` extra, and for HEIC the `heic` extra.
"""

import argparse

from rich.console import Console
from rich.table import Table

from keras_margin import alignment
from keras_margin._utils import progress
from keras_margin.alignment import folder
from keras_margin.alignment.detector import make_detector
from keras_margin.cli import _photographs, _words

_POLICIES = ("largest", "centre", "all", "skip")
_NAMED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("source", help="folder of photographs, of any depth")
    parser.add_argument("out", help="folder to write, apart from the source")
    parser.add_argument("--size", type=_size, default=(112, 112), help="HEIGHTxWIDTH: 112x112 or 112x96")
    parser.add_argument(
        "--policy", choices=_POLICIES, default="largest", help="which of several faces; default largest"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg", help="jpg of quality 95, or png")
    parser.add_argument("--min_face_size", type=float, help="smallest face looked for, pixels; default 20")
    parser.add_argument("--min_score", type=float, help="faces below this score do not count; default 0.8")
    parser.add_argument("--detector", help=_photographs.DETECTOR_HELP)


def run(arguments: argparse.Namespace) -> None:
    """Aligns and prints what became of the images."""
    detector = _detector(arguments)
    with progress.bars():
        report = alignment.align_folder(
            arguments.source,
            arguments.out,
            arguments.size,
            arguments.policy,
            detector,
            arguments.workers,
            arguments.format,
        )
    console = Console()
    console.print(_table(report))
    for title, names in (
        ("No face", report.no_face),
        ("Several faces", [f"{name} ({count})" for name, count in report.several.items()]),
        ("Refused", [f"{name}: {reason}" for name, reason in report.refused.items()]),
    ):
        for line in _words.some(names, _NAMED):
            console.print(f"{title}: {line}", markup=False, highlight=False, soft_wrap=True)
    if report.other_files:
        console.print(
            f"Files that are not images: {_words.printable(folder.counted(report.other_files))}", markup=False
        )
    console.print(f"Contact sheet: {_words.printable(arguments.out)}/alignment.html", markup=False, soft_wrap=True)
    console.print(f"All of them: {_words.printable(arguments.out)}/alignment.json", markup=False, soft_wrap=True)


def _table(report):
    table = Table("images", "faces written", "no face", "several faces", "refused", "done before")
    counts = (
        report.images,
        report.crops,
        len(report.no_face),
        len(report.several),
        len(report.refused),
        report.resumed,
    )
    table.add_row(*(f"{count:,}" for count in counts))
    return table


def _detector(arguments):
    settings = {name: getattr(arguments, name) for name in ("min_face_size", "min_score")}
    settings = {name: value for name, value in settings.items() if value is not None}
    if arguments.detector is None:
        return make_detector(**settings) if settings else None
    if arguments.detector == "mtcnn":
        return alignment.MTCNNDetector(**settings)
    if settings:
        raise ValueError(f"{', '.join(settings)} are MTCNN's. With --detector, let that callable choose its own.")
    return _photographs.made_detector(arguments.detector)


def _size(text):
    try:
        height, width = (int(side) for side in text.split("x")) if "x" in text else (int(text),) * 2
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs HEIGHTxWIDTH, such as 112x96, received {text}") from None
    return height, width
