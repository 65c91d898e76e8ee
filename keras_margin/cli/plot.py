"""Draws what was measured, trained or defined: PNG, PDF or SVG.

keras-margin plot roc face.tflite.evaluation.json other.evaluation.json --out=roc.png
keras-margin plot errors face.tflite.evaluation.json --set=lfw --out=errors.png
keras-margin plot reliability face.tflite.evaluation.json --calibration=face.tflite --out=reliability.png
keras-margin plot training runs/a runs/b --out=training.png
keras-margin plot logits arcface cosface sphereface --out=logits.svg
keras-margin plot embeddings points.npy --labels=labels.npy --out=map.png

roc, det, cmc, scores, angles, errors, edc (with --quality), groups (with --groups) and reliability, of a calibrated
file's probabilities, draw reports of `keras-margin evaluate`; training draws runs; logits and
losses draw heads by name; embeddings draws arrays of two or three columns.
"""

import argparse
import csv
import json
import pathlib

import numpy as np
from rich.console import Console

from keras_margin import evaluation, plots
from keras_margin._utils import decisions, metadata
from keras_margin.evaluation import protocols
from keras_margin.evaluation.protocols.report import read as read_report
from keras_margin.evaluation.verification import TarAtFar, VerificationReport
from keras_margin.plots.scores import worst_pairs

# Length of an embedding, for heads whose logits depend on it.
_NORM = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("kind", choices=sorted(KINDS), help="what to draw")
    parser.add_argument("inputs", nargs="+", help="reports, runs, names of heads, or .npy; perhaps as NAME=PATH")
    parser.add_argument("--out", required=True, help="the picture: .png, .pdf or .svg")
    parser.add_argument("--set", action="append", default=[], help="of reports: this set alone; repeatable")
    parser.add_argument("--far", type=float, default=None, help="of scores: mark the threshold of this FAR")
    parser.add_argument("--count", type=int, default=6, help="of errors: pairs of each kind")
    parser.add_argument("--data", help="of errors: where the set's images are, if not where they were")
    parser.add_argument(
        "--calibration", metavar="FILE", help="of reliability: the exported file whose calibration judges"
    )
    parser.add_argument("--labels", help="of embeddings: .npy of integers")
    parser.add_argument("--prototypes", help="of embeddings: .npy of the classes' prototypes")
    parser.add_argument("--values", help="of training: names of values, by commas")


def run(arguments: argparse.Namespace) -> None:
    """Draws."""
    inputs = dict(_named(text) for text in arguments.inputs)
    if len(inputs) < len(arguments.inputs):
        raise ValueError(f"Inputs need different names: NAME=PATH. Received: {' '.join(arguments.inputs)}.")
    if arguments.calibration and arguments.kind != "reliability":
        raise ValueError(f"--calibration is of reliability. Received: plot {arguments.kind}. Leave it out.")
    KINDS[arguments.kind](inputs, arguments)
    Console().print(f"Written: {arguments.out}", markup=False, highlight=False, soft_wrap=True)


def _draw_roc(inputs, arguments):
    found = _sets(inputs, arguments, "scores")
    curves_of = {name: evaluation.roc(arrays["scores"], arrays["is_same"]) for name, (_, arrays) in found.items()}
    intervals = {name: _intervals(values) for name, (values, _) in found.items()}
    draw = {"roc": plots.roc_curve, "det": plots.det_curve}[arguments.kind]
    draw(curves_of, arguments.out, reports=intervals)


def _draw_cmc(inputs, arguments):
    found = _sets(inputs, arguments, "cmc")
    plots.cmc_curve({name: arrays["cmc"] for name, (_, arrays) in found.items()}, arguments.out)


def _draw_scores(inputs, arguments):
    ((values, arrays),) = _one(_sets(inputs, arguments, "scores"), "scores").values()
    threshold = None
    if arguments.far is not None:
        threshold = evaluation.threshold_at_far(arrays["scores"], arrays["is_same"], arguments.far)
    plots.score_histogram(*_of_faces(arrays), arguments.out, threshold)


def _of_faces(arrays):
    """(scores, is_same) of the pairs with two faces: the score of any other is no cosine."""
    found = arrays.get("found", slice(None))
    return arrays["scores"][found], arrays["is_same"][found]


def _draw_angles(inputs, arguments):
    panels = {}
    for name, (_, arrays) in _sets(inputs, arguments, "scores").items():
        scores, is_same = _of_faces(arrays)
        theta = np.degrees(np.arccos(np.clip(scores.astype(np.float64), -1, 1)))
        panels[name] = {"impostor": theta[~is_same], "genuine": theta[is_same]}
    plots.angle_histogram(panels, arguments.out)


def _draw_errors(inputs, arguments):
    found = _one(_sets(inputs, arguments, "pairs"), "errors")
    ((values, arrays),) = found.values()
    scores, is_same, pairs = arrays["scores"], arrays["is_same"], arrays["pairs"]
    worst = worst_pairs(scores, is_same, arguments.count)
    rows, index = np.unique(pairs[worst], return_inverse=True)
    images = protocols.load_protocol(arguments.data or values["path"]).images(rows)
    plots.error_gallery(
        images, index.reshape(-1, 2), scores[worst], is_same[worst], arguments.out, count=arguments.count
    )


def _draw_edc(inputs, arguments):
    found = _sets(inputs, arguments, "edc_fnmr")
    plots.edc_curve(
        {name: (arrays["edc_discarded"], arrays["edc_fnmr"]) for name, (_, arrays) in found.items()}, arguments.out
    )


def _draw_groups(inputs, arguments):
    ((entry, _),) = _one(_sets(inputs, arguments, "group_threshold"), "groups").values()
    rates, values = {"FNMR": {}, "FMR": {}}, entry["values"]
    for name, value in values.items():
        group, _, kind = name.removeprefix("groups.").rpartition(".")
        if name.startswith("groups.") and kind in ("fnmr", "fmr"):
            shown = group.replace(".", ": ", 1)
            rates[kind.upper()][shown] = value, values.get(f"{name}_low"), values.get(f"{name}_high")
    plots.group_rates(rates, arguments.out)


def _draw_reliability(inputs, arguments):
    calibration = None
    if arguments.calibration is not None:
        calibration = decisions.Calibration.from_metadata(metadata.read_metadata(arguments.calibration))
    if calibration is None:
        raise ValueError(
            "reliability draws the probabilities of a calibrated file: pass --calibration=FILE, of keras-margin "
            f"calibrate. Received: --calibration={arguments.calibration}."
        )
    found = {}
    for name, (_, arrays) in _sets(inputs, arguments, "scores").items():
        scores, is_same = _of_faces(arrays)
        found[name] = evaluation.reliability(calibration.probabilities(scores), is_same, calibration.prior)
    plots.reliability_diagram(found, arguments.out)


def _draw_training(inputs, arguments):
    values = arguments.values.split(",") if arguments.values else None
    plots.training_curves({name: _history(pathlib.Path(path)) for name, path in inputs.items()}, values, arguments.out)


def _draw_heads(inputs, arguments):
    from keras_margin import layers  # The other figures need no Keras.
    from keras_margin.plots import margin_curves  # The other figures need no Keras.

    unknown = [name for name in inputs if name not in layers.HEADS]
    if unknown:
        raise ValueError(f"Heads are drawn by their names: {', '.join(layers.HEADS)}. Received: {unknown[0]}.")
    drawn = {}
    for name in inputs:
        head = layers.HEADS[name](2)
        depends = head.depends_on_norm
        drawn[f"{name}, norm {_NORM:g}" if depends else name] = margin_curves.target_curve(head, norm=_NORM)
    {"logits": plots.target_logits, "losses": plots.loss_curves}[arguments.kind](drawn, arguments.out)


def _draw_embeddings(inputs, arguments):
    if arguments.labels is None:
        raise ValueError("Embeddings are drawn with the class of each: pass --labels=labels.npy.")
    labels = np.load(arguments.labels, allow_pickle=False)
    if labels.dtype.kind in "US":
        labels = np.unique(labels, return_inverse=True)[1]
    centres = None if arguments.prototypes is None else np.load(arguments.prototypes, allow_pickle=False)
    panels = {name: plots.Embedded(np.load(path, allow_pickle=False), labels, centres) for name, path in inputs.items()}
    plots.embedding_map(panels, arguments.out)


KINDS = {
    "roc": _draw_roc,
    "det": _draw_roc,
    "cmc": _draw_cmc,
    "scores": _draw_scores,
    "angles": _draw_angles,
    "errors": _draw_errors,
    "edc": _draw_edc,
    "groups": _draw_groups,
    "reliability": _draw_reliability,
    "training": _draw_training,
    "logits": _draw_heads,
    "losses": _draw_heads,
    "embeddings": _draw_embeddings,
}


def _sets(inputs, arguments, what):
    """Dict from a curve's name to (the set's entry, its arrays), of all reports that have such arrays."""
    found, seen = {}, set()
    for name, path in inputs.items():
        report = read_report(path)
        for set_name, entry in report.sets.items():
            seen.add(set_name)
            arrays = {
                key.rpartition("/")[2]: values
                for key, values in report.arrays.items()
                if key.rpartition("/")[0] == set_name
            }
            if what in arrays and arrays[what].size and (not arguments.set or set_name in arguments.set):
                found[(name, set_name)] = entry, arrays
    if unknown := set(arguments.set) - seen:
        raise ValueError(f"The reports hold {', '.join(sorted(seen))}. Received: --set={sorted(unknown)[0]}.")
    if not found:
        raise ValueError(
            f"No set of {', '.join(inputs.values())} has {what}: {arguments.kind} cannot be drawn of them."
        )
    return {_label(key, found): value for key, value in found.items()}


def _label(key, keys):
    """The shortest name that tells a curve from the others: its set, its report, or both."""
    reports, sets = (len(set(part)) for part in zip(*keys, strict=True))
    return key[1] if reports == 1 else key[0] if sets == 1 else f"{key[0]}, {key[1]}"


def _one(found, kind):
    if len(found) > 1:
        raise ValueError(f"{kind} draws one set of one report. Received: {', '.join(found)}. Choose with --set.")
    return found


def _intervals(entry):
    """What `roc_curve` draws of a `VerificationReport`, out of a report's values."""
    values, rows = entry["values"], []
    for name, tar in values.items():
        if name.startswith("tar_at_far_") and f"{name}_low" in values:
            far = float(name.removeprefix("tar_at_far_"))
            threshold = values[name.replace("tar_at", "threshold_at")]
            shown = name not in entry["unmeasurable"]
            rows.append(TarAtFar(far, tar, values[f"{name}_low"], values[f"{name}_high"], threshold, shown))
    return VerificationReport(
        values["num_genuine"], values["num_impostor"], {}, values["auc"], values["eer"], tuple(rows), None
    )


def _history(path):
    """Rows of a run: its log.csv and verification.csv, or "history" of its report.json; or of a .jsonl or .csv file."""
    if path.is_dir():
        verified = path / "verification.csv"
        path = path / ("log.csv" if (path / "log.csv").exists() else "report.json")
        return _history(path) + (_history(verified) if verified.exists() else [])
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return [
            {name: float(value) for name, value in row.items() if value} for row in csv.DictReader(text.splitlines())
        ]
    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return json.loads(text)["history"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a run's report.json, .jsonl or .csv with a history. {error}") from error


def _named(text):
    name, equals, path = text.partition("=")
    if equals and "/" not in name:
        return name, path
    path = pathlib.Path(text)
    return path.name.removesuffix(".evaluation.json") if path.suffix == ".json" else path.stem or text, text
