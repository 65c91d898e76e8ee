"""report.json, report.md and the pictures: what a finished run leaves to read."""

import dataclasses
import json

import numpy as np

from keras_margin import evaluation, plots
from keras_margin.callbacks import _embedding, _records
from keras_margin.recipes import _settings
from keras_margin.recipes.base import flat
from keras_margin.training.experiment import _folder

# How the figures of callbacks.PairSet are named after their set.
_ACCURACY = "_accuracy"


def write(folder, name, recipe, seed, config, found):
    """Writes all of it.

    Args:
        folder: The run's folder, not yet under its name.
        name: The name it will have.
        recipe: recipes.Recipe.
        seed: The run's.
        config: RunConfig.
        found: RunRecord.
    """
    report = {
        "keras_margin": _folder.versions()["keras_margin"],
        "recipe": _settings.to_json(recipe),
        "seed": seed,
        "replicas": config.replicas,
        "strategy": config.strategy,
        "command": _folder.command(),
        "versions": _folder.versions(),
        "training_seconds": round(found.seconds, 1),
        "measures": [dataclasses.asdict(measure) for measure in found.measures],
        "verification": [{"step": step, **values} for step, values in found.verification],
        "exports": [dataclasses.asdict(each) for each in found.reports],
        "history": [{"step": step, **logs} for step, logs in found.history],
        "warnings": list(found.warnings),
        "notes": list(found.notes),
        "verdict": found.verdict,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    pictures = _draw(folder, found)
    (folder / "report.md").write_text(_markdown(name, report, pictures))


@dataclasses.dataclass
class RunRecord:
    """What a run found, as it goes.

    Attributes:
        measures: List of EvaluationResult.
        reports: Tuple of export.ParityReport.
        history: Pairs (step, logs) of the exported model's training.
        verification: Pairs (step, figures as callbacks.PairSet computes them).
        warnings: What callbacks.TrainingDiagnostics found.
        notes: What the export says of the network.
        verdict: As RunResult's.
        angles: (training images' angles to their own prototype, degrees; the test people's AngleDistributions or None).
        seconds: Time spent in training, all models.
    """

    measures: list = dataclasses.field(default_factory=list)
    reports: tuple = ()
    history: tuple = ()
    verification: tuple = ()
    warnings: tuple = ()
    notes: tuple = ()
    verdict: str = ""
    angles: tuple | None = None
    seconds: float = 0.0


def angles_of(model, train, test, recipe, seed, most=2000):
    """Angles of some training images to their own prototypes, and between the test people's images; see RunRecord."""
    chosen = np.random.default_rng(seed).permutation(train.num_images)[:most]
    part = train.subset(np.sort(chosen))
    images, _ = part.arrays()
    embed = _embedding.make_embed_fn(model.embedder)
    # A subset numbers its classes again; the names say which they were.
    place = {label: number for number, label in enumerate(train.label_names)}
    labels = np.array([place[part.label_names[label]] for label in part.labels])
    unit = _unit(embed(images))
    prototypes = np.array(model.head.prototypes)[labels]
    prototypes = prototypes if prototypes.ndim == 3 else prototypes[:, None]
    cosines = np.einsum("nd,nkd->nk", unit, _unit(prototypes)).max(axis=1)
    own = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    images, labels = test.arrays()
    return own, evaluation.angle_distributions(
        _embedding.make_embed_fn(model.embedder, recipe.model.flip_features)(images), labels, seed=seed
    )


def _unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def _draw(folder, found):
    """Names of the pictures that could be drawn, with a caption each."""
    drawn = {}
    try:
        history = _records.rows(folder / "log.csv") or [{"step": step, **logs} for step, logs in found.history]
        plots.training_curves({"training": history}, "loss", path=folder / "loss.png")
        drawn["loss.png"] = "Loss, margin and regulariser included, mean since the point before"
        accuracy = {"training, no margin": [(row["step"], row["accuracy"]) for row in history]}
        for name in _sets(found.verification[0][1]) if found.verification else ():
            accuracy[f"verification {name}"] = [
                (step, values[f"{name}{_ACCURACY}"]) for step, values in found.verification
            ]
        sets = {
            name: [{"step": step, "accuracy": value} for step, value in points] for name, points in accuracy.items()
        }
        plots.training_curves(sets, "accuracy", path=folder / "accuracy.png")
        drawn["accuracy.png"] = "Accuracy: nearest prototype of training images, and of verification pairs"
        if found.angles is not None:
            own, test = found.angles
            panels = {
                "training images": {"to its own prototype": own},
                "test people": {"impostor": test.impostor, "genuine": test.genuine},
            }
            plots.angle_histogram(panels, path=folder / "angles.png")
            drawn["angles.png"] = "Angles: of training images to their own prototype; between images of test people"
    except ImportError:
        pass  # The pictures are an extra; the figures are in the report.
    if (folder / "roc.png").exists():
        drawn["roc.png"] = "ROC on the held-out people"
    if (folder / "errors.png").exists():
        drawn["errors.png"] = (
            "The trained network's worst pairs of held-out people, each under its cosine: images of one person that it "
            "scores lowest, images of two that it scores highest"
        )
    return drawn


def _markdown(name, report, pictures):
    recipe = flat(report["recipe"])
    lines = [
        f"# {name}",
        "",
        f"Recipe `{recipe['name']}`: {recipe['head.name']} over {recipe['model.backbone']}, {recipe['run.steps']} "
        f"updates of {recipe['data.batch_size']} images, seed {report['seed']}, {report['replicas']} replica(s), "
        f"{recipe['run.precision']}. Training took {report['training_seconds']} s. The whole recipe is in "
        "`recipe.json`.",
        "",
        "```sh",
        report["command"],
        "```",
        "",
        *_table(
            ("people", "embedder", "rank-1", "EER", "10-fold accuracy"),
            [
                (
                    measure["protocol"],
                    measure["embedder"],
                    "" if measure["rank_1"] is None else f"{measure['rank_1']:.3f}",
                    f"{measure['eer']:.1%}",
                    "" if measure["ten_fold"] is None else f"{measure['ten_fold']:.3f} ± {measure['ten_fold_std']:.3f}",
                )
                for measure in report["measures"]
            ],
        ),
    ]
    if report["verdict"]:
        lines += [f"**{report['verdict']}**", ""]
    lines += _verification(report["verification"])
    if report["exports"]:
        lines += ["Exported files compared with the model, on images of held-out people:", ""]
        rows = [
            (each["path"].rsplit("/", 1)[-1], f"{each['bytes'] / 2**20:.1f}", f"{each['worst_cosine']:.6f}")
            for each in report["exports"]
        ]
        lines += _table(("file", "MiB", "worst cosine"), rows)
    if report["warnings"]:
        lines += ["Warnings during training:", "", *(f"- {warning}" for warning in report["warnings"]), ""]
    if report["notes"]:
        lines += ["Notes on the exported files:", "", *(f"- {note}" for note in report["notes"]), ""]
    for picture, caption in pictures.items():
        lines += [f"![{caption}]({picture})", "", f"{caption}.", ""]
    lines += ["Made with: " + ", ".join(f"{key} {value}" for key, value in report["versions"].items()) + "."]
    return "\n".join(lines) + "\n"


def _verification(rows):
    """Lines on the best and the last moment of the sets that were verified on while training."""
    if not rows:
        return []
    names = [key for key in rows[0] if key != "step"]
    best = max(rows, key=lambda row: np.mean([row[f"{name}{_ACCURACY}"] for name in _sets(names)]))
    shown = [
        (word, row["step"], *(f"{row[key]:.4f}" for key in names)) for word, row in (("best", best), ("last", rows[-1]))
    ]
    lines = ["Verification while training (`best.keras` is the moment with the best mean accuracy):", ""]
    return lines + _table(("", "step", *names), shown)


def _sets(names):
    """The names of the sets behind the names of their figures."""
    return [name.removesuffix(_ACCURACY) for name in names if name.endswith(_ACCURACY)]


def _table(columns, rows):
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*head, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]
