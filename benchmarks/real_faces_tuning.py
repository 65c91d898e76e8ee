"""Tuned networks on people whom no training met: CFP's 401 to 500 and LFW's unseen pairs, a row a start.

    python examples/fine_tune.py --data_dir=CFP400 --held_out=60 --weights=FACE.keras --start=all --out=WORK/all
    python -m benchmarks.real_faces_tuning FACES CROPS WORK before=FACE.keras all=WORK/all

A row is a network, or a folder of networks that differ by their seeds: mean and standard deviation over them. Prints
the table of all rows so far and writes WORK/tuning.json, which a second call goes on from. FACES and CROPS as in
benchmarks/real_faces.py. Pairs without a face are never the same person.
"""

import argparse
import json
import pathlib
import statistics

import keras
import numpy as np

from benchmarks import real_faces_sets, study_report
from keras_margin.callbacks import _embedding
from keras_margin.evaluation import protocols

FIGURES = {"accuracy": "accuracy", "eer": "EER"}


def main():
    """Measures each row and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("faces", "crops", "work"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("rows", nargs="+", metavar="NAME=PATH")
    arguments = parser.parse_args()
    cfp = real_faces_sets.write_unseen_cfp(arguments.faces, arguments.crops, arguments.work / "sets/cfp")
    lfw, _ = real_faces_sets.write_unseen_lfw(arguments.faces, arguments.work / "sets/lfw")
    paths = {"cfp_fp": (cfp, "cfp_fp"), "cfp_ff": (cfp, "cfp_ff"), "lfw": (lfw, "pairs")}
    kept = arguments.work / "tuning.json"
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for row in arguments.rows:
        name, _, path = row.partition("=")
        if name not in found:
            found[name] = [measured(network, paths) for network in networks(path)]
            kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found, list(paths)))


def networks(path):
    """The .keras file, or those in a folder, in order."""
    path = pathlib.Path(path)
    found = [path] if path.is_file() else sorted(path.glob("*.keras"))
    if not found:
        raise FileNotFoundError(f"A row needs a .keras file or a folder of some. Received: {str(path)!r}, without any.")
    return found


def measured(path, paths):
    """{set: {figure: value}} of one network, images of all sets embedded once."""
    network = keras.saving.load_model(path, compile=False)
    embed = _embedding.make_embed_fn(network)
    rows, values = {}, {}
    for name, (root, kind) in paths.items():
        protocol = protocols.load_protocol(root, image_size=network.input_shape[1:3], fit="resize", protocol=kind)
        keys = protocol.listed.rows()[0].tolist()
        missing = [at for at, key in enumerate(keys) if key not in rows]
        for start in range(0, len(missing), 64):
            some = missing[start : start + 64]
            rows |= zip([keys[at] for at in some], embed(protocol.images(some)), strict=True)
        of_set = protocol.measure(np.stack([rows[key] for key in keys]), protocols.Settings(resamples=0)).values
        values[name] = {figure: of_set[figure] for figure in FIGURES}
    return values


def table(found, sets):
    """Markdown: mean and standard deviation over the seeds of each figure, per cent."""
    heads = [f"{name} {title}" for name in sets for title in FIGURES.values()]
    lines = [f"| start | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for row, seeds in found.items():
        cells = [_cell([100 * seed[name][figure] for seed in seeds]) for name in sets for figure in FIGURES]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values):
    _, spread = study_report.mean_and_spread(values)
    return f"{statistics.fmean(values):.2f}" + ("" if spread is None else f" ± {spread:.2f}")


if __name__ == "__main__":
    main()
