"""Measures any embedder by the protocols of the field: a table here, JSON, Markdown and arrays in files.

keras-margin evaluate face.tflite lfw.bin cfp_fp.bin --require "lfw.accuracy>=0.995"
keras-margin evaluate runs/latest unseen=faces/ --flip=sum --training=CASIA-WebFace
keras-margin evaluate embeddings.npy lfw.bin

MODEL: a Keras file, SavedModel folder, TFLite or ONNX file, a run's folder; or embeddings made elsewhere, a .npy for
one set or a folder with NAME.npy for each. DATA, perhaps as NAME=PATH: a .bin; a folder with pairs.txt or pairs.csv,
of YTF, of IJB-B or IJB-C, of CFP (two sets, NAME_ff and NAME_fp); a folder of identities, .rec or TFRecord; "orl"; a
.npy of labels. --protocol=labelled takes a folder as one of identities though it holds a list of pairs. The lists may
be in the folder of photographs that `keras-margin align` read; --align does both at once.

Exit status: 0; 1 an error; 3 a requirement that is not met.
"""

import argparse
import pathlib
import tempfile

import numpy as np
from rich.console import Console

from keras_margin import data
from keras_margin._utils import files, progress
from keras_margin.cli import _added, _aligned_sets, _flags, _tables
from keras_margin.cli._source import Source
from keras_margin.evaluation import embedders, protocols
from keras_margin.evaluation.protocols import checks, report

NOT_MET = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("model", help="embedder, or embeddings in .npy")
    parser.add_argument(
        "data",
        nargs="+",
        help="PATH or NAME=PATH of a set; held_out: of a run's folder, the people it was not trained on",
    )
    parser.add_argument(
        "--require", action="append", default=[], metavar="BOUND", help='"lfw.accuracy>=0.99"; repeatable'
    )
    parser.add_argument("--flip", choices=("sum", "concatenate"), help="add embeddings of mirror images")
    parser.add_argument("--lengths", action="store_true", help="let the network's own embedding lengths weigh")
    parser.add_argument(
        "--normalization",
        type=_flags.normalization,
        metavar="MEAN/STD",
        help="of a network that takes floats: 127.5/128, or a name: imagenet",
    )
    parser.add_argument("--threads", type=_flags.count, help="for LiteRT or ONNX Runtime")
    parser.add_argument("--channels", choices=embedders.CHANNELS, help="what the network was trained on; default: RGB")
    parser.add_argument(
        "--protocol",
        action="append",
        default=[],
        metavar="[NAME=]PROTOCOL",
        help=f"{', '.join(protocols.FORMATS)}: of a set, or of all; default: by what is there",
    )
    parser.add_argument("--fit", choices=("crop", "resize"), help="what to do with images of another size")
    _aligned_sets.add_argument(parser)
    parser.add_argument(
        "--far", type=_numbers, default=None, help="wanted FARs, by commas; default: 1e-1 to 1e-6, where measurable"
    )
    parser.add_argument("--resamples", type=int, default=None, help="of the bootstrap; 0 for no intervals")
    parser.add_argument("--folds", type=int, default=10, help="of a .bin: runs of consecutive pairs; default: 10")
    parser.add_argument("--no_detector_weights", action="store_true", help="images of a template count alike")
    parser.add_argument(
        "--quality",
        action="store_true",
        help="errors against discarded images, by the lengths of embeddings; of a file that keeps them",
    )
    parser.add_argument(
        "--groups",
        action="append",
        default=[],
        metavar="[NAME=]FILE.csv",
        help="rates by group at one threshold: image or identity, then columns of groups; of a set, or of all",
    )
    parser.add_argument("--group_far", type=float, help="FAR of that threshold; default: 1e-3, where measurable")
    parser.add_argument("--training", help="what the model was trained on, to look for the same images and people")
    parser.add_argument("--no_checks", action="store_true", help="do not measure channels, normalisation and overlap")
    parser.add_argument("--strict", action="store_true", help="a warning of the checks is an error, before embedding")
    parser.add_argument("--embeddings", metavar="FOLDER", help="keep embeddings there as NAME.npy")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of the table")
    parser.add_argument("--out", help="JSON file; .md and .npz go beside it; default: MODEL.evaluation.json")
    parser.add_argument("--batch", type=int, default=64, help="images at a time")
    parser.add_argument("--seed", type=int, default=0, help="of drawn pairs and of the bootstrap")


def run(arguments: argparse.Namespace) -> int | None:
    """Evaluates, prints and writes."""
    console, busy = Console(), Console(stderr=True)
    with progress.bars(busy), tempfile.TemporaryDirectory() as folder:
        found, judged, out = _evaluate(arguments, busy, folder)
    if arguments.json:
        _tables.show_json(found.as_dict(), console)
    else:
        _print(found, judged, console)
    written = f"Written: {out}, {out.with_suffix('.md')}, {out.with_suffix('.npz')}"
    (busy if arguments.json else console).print(written, markup=False, highlight=False, soft_wrap=True)
    if any(isinstance(each[1], ValueError) for each in judged):
        raise next(each[1] for each in judged if isinstance(each[1], ValueError))
    return 0 if all(each[0] for each in judged) else NOT_MET


def _evaluate(arguments, busy, folder):
    """Returns (report, (whether it holds, error, sentence) of each bound, file), the report written.

    `folder` is for files that are needed meanwhile.
    """
    named = {name: _held_out(path, arguments.model) for name, path in map(_named, arguments.data)}
    if len(named) < len(arguments.data):
        raise ValueError(f"Sets need different names: NAME=PATH. Received: {', '.join(arguments.data)}.")
    chosen = _protocols(arguments.protocol, named)
    named, chosen = _suites(named, chosen)
    groups = _added.read_groups(arguments.groups, named)
    if arguments.group_far is not None and not groups:
        raise ValueError("--group_far is the FAR of --groups. Received: no --groups. Pass --groups=FILE.csv.")
    if arguments.flip and arguments.quality:
        raise ValueError(f"--quality is that of single images. Received: --flip={arguments.flip}. Leave one out.")
    with progress.stage(f"Opening {arguments.model}"):
        source = Source(arguments)
    out = _out(arguments)
    places, told = _aligned_sets.aligned(named, source, arguments.align, folder)
    opened = {}
    for name, path in places.items():
        with progress.stage(f"Opening {name}"):
            opened[name] = protocols.load_protocol(
                path, image_size=source.image_size, fit=arguments.fit, name=name, protocol=chosen.get(name)
            )
        if name not in chosen:
            _say_protocol(name, path, opened[name], busy)
    bounds = [report.Requirement.parse(text, list(opened)) for text in arguments.require]
    source.check_sets(opened)
    findings = [] if arguments.no_checks else _checks(arguments, source, opened)
    _say(findings, busy)
    if arguments.strict and any(found["level"] == "warning" for found in findings):
        raise ValueError("The checks found something, and --strict was given. Nothing was measured.")
    sets, arrays = {}, {}
    for name, protocol in opened.items():
        measured = _measure(arguments, source, protocol)
        measured = _added.groups(arguments, protocol, measured, groups.get(name))
        sets[name] = {
            "path": str(named[name]),
            "protocol": protocol.title,
            "images": protocol.num_images,
            "values": measured.values,
            "unmeasurable": list(measured.unmeasurable),
            "notes": [*measured.notes, *([told[name]] if told else [])],
        }
        arrays |= {f"{name}/{what}": values for what, values in measured.arrays.items()}
    judged = [_judge(bound, sets) for bound in bounds]
    requirements = [{"text": each[2], "met": each[0]} for each in judged]
    found = report.Report(source.described(), sets, findings, requirements, arrays)
    found.write(out)
    return found, judged, out


def _protocols(given, named):
    """Returns the protocol of each set for which one was given."""
    chosen = {}
    for text in given:
        name, equals, protocol = text.rpartition("=")
        if protocol not in protocols.FORMATS or (equals and name not in named):
            raise ValueError(
                f"--protocol takes one of {', '.join(protocols.FORMATS)}, for all sets or as NAME=PROTOCOL for one of "
                f"{', '.join(named)}. Received: --protocol={text}."
            )
        chosen |= dict.fromkeys([name] if equals else named, protocol)
    return chosen


def _suites(named, chosen):
    """Returns (paths by name, protocols by name) with each set of several protocols as that many sets."""
    paths, protocol_of = {}, dict(chosen)
    for name, path in named.items():
        parts = [] if name in chosen or not pathlib.Path(path).exists() else protocols.suite(path)
        if len(parts) < 2:
            paths[name] = path
            continue
        for part in parts:
            full = f"{name}_{part.rpartition('_')[2]}"
            paths[full], protocol_of[full] = path, part
    return paths, protocol_of


def _say_protocol(name, path, protocol, busy):
    """Says by which protocol a folder is measured where there is a choice."""
    others = protocols.choices(path)[1:]
    if others:
        text = f"{name}: {protocol.title}. To measure it otherwise: --protocol={name}={' or '.join(others)}."
        busy.print(text, markup=False, highlight=False, soft_wrap=True)


def _measure(arguments, source, protocol):
    settings = protocols.Settings(
        far=arguments.far,
        resamples=arguments.resamples,
        seed=arguments.seed,
        folds=arguments.folds,
        detector_weights=not arguments.no_detector_weights,
    )
    with progress.stage(f"Embedding {protocol.name}, {protocol.num_images:,} images"):
        counted = progress.Progress("Embedded", f"images of {protocol.name}", protocol.num_images)
        embeddings = source.embeddings(protocol, counted.add)
    if arguments.embeddings:
        folder = pathlib.Path(arguments.embeddings)
        with files.atomic_write(folder / f"{protocol.name}.npy") as temporary:
            np.save(temporary, embeddings)
    with progress.stage(f"Measuring {protocol.name}"):
        if not arguments.quality:
            return protocol.measure(embeddings, settings)
        rows, quality = _added.split_lengths(embeddings, arguments)
        return _added.quality(protocol, protocol.measure(rows, settings), quality)


def _checks(arguments, source, opened):
    """Findings as dicts, of each set and of each two."""
    found, fingerprints = [], {}
    if source.embedder is None:
        return found
    for name, protocol in opened.items():
        with progress.stage(f"Checking {name}"):
            look = checks.Look(source.embedder, protocol, arguments.seed)
            for check in (checks.check_channels, checks.check_normalization):
                found.append((name, check(source.embedder, protocol, arguments.seed, look)))
            if len(opened) > 1 or arguments.training:
                fingerprints[name] = checks.image_fingerprints(protocol.batches(arguments.batch))
    names = list(fingerprints)
    for at, name in enumerate(names):
        for other in names[at + 1 :]:
            found.append((name, checks.check_overlap(fingerprints[name], fingerprints[other], (name, other))))
    if arguments.training and fingerprints:
        with progress.stage(f"Reading {arguments.training}"):
            found += _training(arguments, source, opened, fingerprints)
    return [{"set": name, "check": each.check, "level": each.level, "text": each.text} for name, each in found]


def _training(arguments, source, opened, fingerprints):
    """Images and people that a set shares with what the model was trained on."""
    reader = data.open(arguments.training, image_size=source.image_size)
    trained = checks.image_fingerprints(images for images, _ in reader.dataset(arguments.batch).as_numpy_iterator())
    for name, protocol in opened.items():
        yield name, checks.check_overlap(fingerprints[name], trained, (name, arguments.training))
        yield name, checks.check_people(protocol.people, reader.label_names, (name, arguments.training))


def _judge(bound, sets):
    """(whether it holds, its error or None, sentence)."""
    found = sets[bound.set_name]
    try:
        holds, said = bound.judge(found["values"], found["unmeasurable"])
    except ValueError as error:
        return False, error, bound.text
    return holds, None, said


def _print(found, judged, console):
    header, rows = found.table()
    caption = "± over folds; [95 % interval]"
    table = _tables.Table(header, title=str(found.model["path"]), caption=caption)
    for row in rows:
        table.add(*row)
    table.show(console)
    for name, each in found.sets.items():
        for note in (f"{each['protocol']}, {each['images']:,} images of {each['path']}.", *each["notes"]):
            console.print(f"{name}: {note}", markup=False, highlight=False, soft_wrap=True)
    for holds, _, said in judged:
        console.print(said, style=None if holds else "bold red", markup=False, highlight=False, soft_wrap=True)


def _say(findings, busy):
    styles = {"warning": "bold yellow", "unknown": "dim", "ok": "dim"}
    for found in findings:
        text = f"{found['set']}, {found['check']}, {found['level']}: {found['text']}"
        busy.print(text, style=styles[found["level"]], markup=False, highlight=False, soft_wrap=True)


def _out(arguments):
    """Where the report goes; refused before the work where it cannot."""
    # With the model's own suffix: face.tflite and face.keras are evaluated side by side.
    path = pathlib.Path(arguments.out or f"{pathlib.Path(arguments.model)}.evaluation.json")
    if path.suffix != ".json":
        raise ValueError(f"--out names a JSON file. Received: --out={path}.")
    with files.atomic_write(path.with_suffix(".tried")) as temporary:
        temporary.touch()
    path.with_suffix(".tried").unlink()
    return path


def _named(text):
    name, equals, path = text.partition("=")
    if equals and "/" not in name:
        return name, path
    return pathlib.Path(text).stem or text, text


def _held_out(path, model):
    """Returns the split file of a run's folder for "held_out", the people that the run was not trained on."""
    split = pathlib.Path(model, "split.json")
    return str(split) if path == "held_out" and split.is_file() else path


def _numbers(text):
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers by commas, received {text}") from None
