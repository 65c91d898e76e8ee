"""An embedder on LFW and CFP, the photographs aligned by this library: accuracy, the papers' statistics, speed.

    keras-margin align FACES/cfp CROPS/cfp
    keras-margin align FACES/lfw_photos CROPS/lfw_photos --policy=centre
    python -m benchmarks.real_faces measure MODEL FACES CROPS OUT --normalization=127.5/128
    python -m benchmarks.real_faces training_set FACES CROPS OUT
    python -m benchmarks.real_faces unseen MODEL FACES CROPS OUT --fit=resize
    python -m benchmarks.real_faces speed MODEL FACES --normalization=127.5/128

FACES holds cfp/ (CFP as distributed), lfw_aligned/ (LFW's 7,701 images of View 2 aligned to 112 x 112, with pairs.txt),
lfw_photos/ (photographs of folds 1 and 2, with a pairs.txt of those) and lists/lfw/people.txt; docs/real-faces.md says
how to get them. `measure` writes OUT/report.json, OUT/angles.png and OUT/roc.png, and keeps embeddings in OUT/*.npz,
which a second call takes as they are. `unseen` measures the people that `training_set` leaves out.
"""

import argparse
import json
import pathlib

import numpy as np

from benchmarks import real_faces_sets, real_faces_speed
from keras_margin import evaluation, plots
from keras_margin.cli._flags import normalization
from keras_margin.evaluation import embedders, protocols

# Sets whose pair angles are drawn, as ArcFace's figures 6 and 7.
_DRAWN = ("lfw", "cfp_ff", "cfp_fp")


def main():
    """Runs the subcommand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, arguments in (
        ("measure", ("model", "faces", "crops", "out")),
        ("unseen", ("model", "faces", "crops", "out")),
        ("training_set", ("faces", "crops", "out")),
        ("speed", ("model", "faces")),
    ):
        command = commands.add_parser(name)
        for argument in arguments:
            command.add_argument(argument)
        if "model" in arguments:
            command.add_argument("--normalization", type=normalization)
            command.add_argument("--fit", choices=("crop", "resize"))
        if name == "measure":
            command.add_argument("--sets", nargs="+", help="of lfw, lfw_1_2_field, lfw_1_2_ours, cfp_ff, cfp_fp")
        if name == "speed":
            command.add_argument("--images", type=int, default=512)
            command.add_argument("--photographs", type=int, default=60)
            command.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    globals()[arguments.command](arguments)


def training_set(arguments):
    """Writes the training set and prints what is in it."""
    counts = real_faces_sets.write_training_set(arguments.faces, arguments.crops, arguments.out)
    for name, (people, images) in counts.items():
        print(f"{name}: {people:,} people, {images:,} images")


def measure(arguments):
    """Measures a network on all sets, and prints and writes what it found."""
    faces, out = arguments.faces, pathlib.Path(arguments.out)
    field = real_faces_sets.part(faces, "lfw_aligned", "LFW aligned to 112 x 112 belongs there.")
    photographs = real_faces_sets.part(faces, "lfw_photos/pairs.txt", "It is LFW's pairs.txt of folds 1 and 2.")
    ours = real_faces_sets.part(arguments.crops, "lfw_photos", "`keras-margin align` writes it.")
    cfp = real_faces_sets.part(arguments.crops, "cfp", "`keras-margin align` writes it.")
    folds = real_faces_sets.write_lfw_folds
    paths = {
        "lfw": (field, "pairs", "lfw_field"),
        "lfw_1_2_field": (folds(photographs, field, out / "sets/field"), "pairs", "lfw_field"),
        "lfw_1_2_ours": (folds(photographs, ours, out / "sets/ours"), "pairs", "lfw_ours"),
        "cfp_ff": (cfp, "cfp_ff", "cfp"),
        "cfp_fp": (cfp, "cfp_fp", "cfp"),
    }
    _measure_all(arguments, {name: paths[name] for name in arguments.sets or paths}, out)


def unseen(arguments):
    """Measures a network on the people that `training_set` leaves out."""
    out = pathlib.Path(arguments.out)
    cfp = real_faces_sets.write_unseen_cfp(arguments.faces, arguments.crops, out / "sets/cfp")
    lfw, left_out = real_faces_sets.write_unseen_lfw(arguments.faces, out / "sets/lfw")
    print(f"{left_out} of LFW's 1,200 pairs have a person of CFP's training people and are left out.")
    paths = {"lfw": (lfw, "pairs", "lfw_field"), "cfp_ff": (cfp, "cfp_ff", "cfp"), "cfp_fp": (cfp, "cfp_fp", "cfp")}
    _measure_all(arguments, paths, out)


def speed(arguments):
    """Prints the ratios of `evaluate` to its network alone and of `align` to its detector alone."""
    print(json.dumps(real_faces_speed.measured(arguments), indent=2))


def _measure_all(arguments, paths, out):
    embedder = embedders.load_embedder(arguments.model, normalization=arguments.normalization)
    out.mkdir(parents=True, exist_ok=True)
    found, angles, rocs = {}, {}, {}
    for name, (path, kind, group) in paths.items():
        protocol = protocols.load_protocol(
            path, image_size=embedder.image_size, fit=arguments.fit, name=name, protocol=kind
        )
        embeddings = _embeddings(embedder, protocol, out / f"{group}.npz")
        measured = protocol.measure(embeddings)
        scores, is_same = measured.arrays["scores"], measured.arrays["is_same"]
        rocs[name] = evaluation.roc(scores, is_same)
        if name in _DRAWN:
            theta = np.degrees(np.arccos(np.clip(scores, -1, 1)))
            faces = scores > -1  # -1 is the score of a pair without a face, not an angle.
            angles[name] = {"impostor": theta[~is_same & faces], "genuine": theta[is_same & faces]}
        found[name] = {"images": protocol.num_images, "values": measured.values, "notes": list(measured.notes)}
        found[name] |= {"statistics": _statistics(embeddings, protocol.people)}
        print(name, protocol.num_images, "images", *measured.notes, sep="\n  ")
        _print_values(found[name])
    report = {"model": pathlib.Path(arguments.model).name, "sets": found}
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if angles:
        plots.angle_histogram(angles, out / "angles.png")
    plots.roc_curve(rocs, out / "roc.png")


def _embeddings(embedder, protocol, path):
    """Embeds a protocol's images but for those that an earlier set or call embedded into the same file."""
    keys = ["/".join(name.split("/")[-3:]) for name in protocol.listed.rows()[0].tolist()]
    keys = [key.removeprefix("lfw/") for key in keys]
    rows = dict(np.load(path, allow_pickle=False)) if path.exists() else {}
    missing = [at for at, key in enumerate(keys) if key not in rows]
    for start in range(0, len(missing), 64):
        some = missing[start : start + 64]
        rows |= zip([keys[at] for at in some], embedder.embed(protocol.images(some)), strict=True)
    if missing:
        np.savez(path, **rows)
    return np.stack([rows[key] for key in keys])


def _statistics(embeddings, people):
    """Intra and Inter of ArcFace's table 3 and SphereFace's Fisher score, over people with two images or more.

    The networks come without their training heads, so there are no prototypes: W-EC and W-Inter do not apply.
    """
    _, index, counts = np.unique(people, return_inverse=True, return_counts=True)
    several = counts[index] > 1
    rows, who = embeddings[several], np.asarray(people)[several]
    angles = evaluation.angle_statistics(rows, who)
    return {
        "people": len(np.unique(who)),
        "images": len(rows),
        "intra": angles.intra,
        "inter": angles.inter,
        "angular_fisher_score": evaluation.angular_fisher_score(rows, who),
    }


def _print_values(found):
    for name, value in (found["values"] | found["statistics"]).items():
        print(f"    {name:32} {value:.5g}")


if __name__ == "__main__":
    main()
