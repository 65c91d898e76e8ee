"""One run from data to device: train a recipe, measure it on people it never met, export it, compare the files.

What `keras-margin train` and examples/train_casia.py call. A run's folder holds model.keras, best.keras where it was
verified, embedder.tflite with its JSON, savedmodel/, recipe.json, report.json, report.md with its pictures, log.csv and
tensorboard/. It is `NAME.partial` until everything is there; a killed run goes on from it.
"""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from keras_margin import data, evaluation, export, training
from keras_margin.data import splits
from keras_margin.experiment import _folder, _measures, _report
from keras_margin.experiment._folder import can_go_on, partial_of
from keras_margin.experiment._measures import Measure

__all__ = ["Measure", "Outcome", "Running", "can_go_on", "partial_of", "run"]


# What a run writes for devices.
PRECISIONS = export.PRECISIONS


@dataclasses.dataclass(frozen=True)
class Running:
    """How a run is carried out: what may differ without another result, but for the order in which floats are added.

    Attributes:
        replicas: Devices of this machine that share each batch.
        strategy: "mirrored" or "multiworker"; see training.make_strategy.
        deterministic: Whether TensorFlow's operators must give the same bits in every run; slower.
        checkpoint_minutes: Minutes between two checkpoints.
        checkpoint_steps: Updates between two, instead; None for the minutes.
        keep: How many of the newest checkpoints are kept, beside the best.
        verify: Paths of `.bin` sets to verify on while training; "held_out" is pairs of the held-out people.
        verify_every: Updates between two verifications; None for a tenth of the run.
        doctor: Whether somebody watches for what is known to go wrong.
        restart: Whether an unfinished run of the same name is thrown away.
    """

    replicas: int = 1
    strategy: str = "mirrored"
    deterministic: bool = False
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int | None = None
    keep: int = 3
    verify: tuple = ()
    verify_every: int | None = None
    doctor: bool = True
    restart: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run found.

    Attributes:
        measures: Tuple of Measure; empty in a worker that is not the first, as all below.
        reports: Tuple of export.ParityReport.
        seconds: Time spent in training, all models.
        folder: The run's folder.
        warnings: What the doctor said, sentences.
    """

    measures: tuple
    reports: tuple
    seconds: float
    folder: pathlib.Path
    warnings: tuple = ()


def run(recipe, reader, out, *, held_out=None, known_people=False, seed=0, running=None, console=None):
    """Trains on some identities, measures on the others, exports.

    With `known_people` a second model is trained first, on half of everybody's photographs, and measured on the other
    half: what a closed set of people gets. The exported model is always the one that never met its test people.

    Killed at any moment, the same call goes on from the last checkpoint. What can be checked is checked first.

    Args:
        recipe: recipes.Recipe.
        reader: From keras_margin.data.open.
        out: Folder of the run; an older run there is replaced at the end.
        held_out: Identities kept for the test; None for a tenth, at least 2 and at most 500.
        known_people: Whether to measure known people too; each identity then needs at least 6 images.
        seed: Of splits, weights, order and augmentation.
        running: Running; None for its defaults.
        console: rich Console for the progress bars; None for standard output.

    Returns:
        Outcome.

    Raises:
        ValueError: Where recipe, data and replicas do not fit together, `out` holds something that is not a run, or
            `out.partial` an unfinished run of another recipe.
        OSError: Where `out` cannot be written or its disk is nearly full.
    """
    running = running or Running()
    out = pathlib.Path(out)
    _folder.check_out(out)
    learn, test = _measures.unseen_people(reader, held_out, seed)
    parts = [("known people", *splits.per_identity_split(reader.labels, 5, seed))] if known_people else []
    parts += [("unseen people", learn, test)]
    strategy = training.make_strategy(running.replicas, running.strategy)
    if running.deterministic:
        tf.config.experimental.enable_op_determinism()
    for _, indices, _ in parts:
        training.check_batches(recipe, reader.subset(indices), strategy.num_replicas_in_sync)
    sets = _verification_sets(running, recipe, reader, test, seed)
    _check_builds(recipe, reader)
    work = _Work(recipe, reader, seed, running, strategy, console)
    if not training.is_chief(strategy):
        for purpose, indices, _ in parts:
            work.train(None, purpose, indices, ())
        return Outcome((), (), work.found.seconds, out)
    with _folder.made_whole(out, recipe, seed, running.restart) as folder, training.plain_errors():
        for purpose, indices, probes in parts:
            model = work.train(folder, purpose, indices, sets if purpose == "unseen people" else ())
            if purpose == "known people":
                work.found.measures += _measures.compare_embedders(recipe, model, reader, probes, indices)
        work.measure(model, learn, test, folder)
        work.found.reports = _export(model, recipe, reader, (learn, test), work.found.measures, folder, out)
        _report.write(folder, out.name, recipe, seed, running, work.found)
    found = work.found
    return Outcome(tuple(found.measures), found.reports, found.seconds, out, found.warnings)


def _verification_sets(running, recipe, reader, test, seed):
    """PairSet values of what `running.verify` names."""
    sets = []
    for name in running.verify:
        if name == "held_out":
            images, labels = reader.subset(test).arrays()
            number = min(3000, *_measures.pairs_there_are(labels))
            pairs, is_same = evaluation.make_pairs(labels, number, number, seed)
            sets.append(training.PairSet("held_out", images, is_same, pairs))
        else:
            images, is_same = data.load_bin(name, recipe.image_size)
            sets.append(training.PairSet(pathlib.Path(name).stem, images, is_same))
    return tuple(sets)


def _check_builds(recipe, reader):
    """Raises what building the model would, before anything is written; on symbols, so that it costs no memory."""
    training.check_recipe(recipe, reader.num_classes)


class _Work:
    """One run's training, measuring and what was found."""

    def __init__(self, recipe, reader, seed, running, strategy, console):
        self.recipe, self.reader, self.seed, self.running = recipe, reader, seed, running
        self.strategy, self.console = strategy, console
        self.found = _report.Found()

    def train(self, folder, purpose, indices, sets):
        """The trained model of one part of the images; `folder` is None in a worker that writes nothing."""
        recipe, running = self.recipe, self.running
        exported = purpose == "unseen people"
        checkpoints = folder and training.Checkpoints(
            folder / _folder.CHECKPOINTS / purpose.replace(" ", "_"),
            minutes=running.checkpoint_minutes,
            every=running.checkpoint_steps,
            keep=running.keep,
        )
        callbacks = []
        if folder and exported:
            callbacks.append(training.Logs(folder, max(1, recipe.steps // 200), recipe.batch_size))
        doctor = training.Doctor() if running.doctor and folder else None
        callbacks += [doctor] if doctor else []
        verification = None
        if sets:
            every = running.verify_every or max(1, recipe.steps // 10)
            verification = training.Verification(sets, every, recipe.flip_features, folder)
            callbacks.append(verification)
        bar = training.ProgressBar(recipe.steps, recipe.batch_size, f"{purpose:13}", self.console)
        with bar:
            trained = training.fit(
                recipe,
                self.reader.subset(indices),
                strategy=self.strategy,
                seed=self.seed,
                callbacks=[*callbacks, *([bar] if training.is_chief(self.strategy) else [])],
                checkpoints=checkpoints,
            )
        self.found.seconds += trained.seconds
        self.found.warnings += () if doctor is None else tuple(doctor.sentences)
        model = trained.model
        if folder and training.is_multiworker(self.strategy):
            model = _alone(recipe, model)
        if exported:
            self.found.history = trained.history
        if verification is not None:
            self.found.verification = tuple(verification.history)
            _save_best(recipe, model, checkpoints, folder / "best.keras")
        return model

    def measure(self, model, learn, test, folder):
        """Figures and pictures of the exported model, and its file."""
        self.found.measures += _measures.compare_embedders(
            self.recipe, model, self.reader, test, seed=self.seed, curve=folder / "roc.png"
        )
        self.found.angles = _report.angles_of(
            model, self.reader.subset(learn), self.reader.subset(test), self.recipe, self.seed
        )
        model.save(folder / "model.keras")


def _alone(recipe, model):
    """The same model under no strategy: the other workers have ended, and whatever asks them would wait for ever."""
    alone = training.build_model(recipe, model.head.num_classes)
    alone.optimizer.build(alone.trainable_variables)
    for ours, theirs in zip(alone.variables, model.variables, strict=True):
        ours.assign(theirs.numpy())
    for ours, theirs in zip(alone.optimizer.variables, model.optimizer.variables, strict=True):
        ours.assign(theirs.numpy())
    return alone


def _save_best(recipe, model, checkpoints, path):
    """Writes the model of the best checkpoint."""
    best = checkpoints.best()
    if best is None:
        return
    alone = training.build_model(recipe, model.head.num_classes)
    training.load_checkpoint(best[0], alone, recipe)
    alone.save(path)


def _export(model, recipe, reader, parts, measures, folder, out):
    """The embedding alone in files for devices and servers, each compared with the model.

    Args:
        model: EmbeddingModel.
        recipe: What it was trained by.
        reader: All images.
        parts: (images trained on, images of people it never met): int8's ranges come from the one, what a file
            verifies from the other.
        measures: What was measured; the files carry it.
        folder: Where the run is.
        out: Where it will be: a report names that.

    Returns:
        Tuple of export.ParityReport. A quantised file that is too far from the model is left out, and says so.
    """
    learn, test = parts
    representative, _ = reader.subset(learn[np.linspace(0, len(learn) - 1, min(len(learn), 300)).astype(int)]).arrays()
    # Whole people, so that there are pairs of one person among them.
    test = test[np.argsort(reader.labels[test], kind="stable")][:1000]
    images, labels = reader.subset(test).arrays()
    genuine, impostors = _measures.pairs_there_are(labels)
    about = {"recipe": dataclasses.asdict(recipe), "measured": [dataclasses.asdict(each) for each in measures]}
    # The strictest FAR, down to 1e-3, that the test's impostor pairs can show.
    options = export.Options(far=max(1e-3, evaluation.least_far(max(1, impostors))), about=about)
    pairs = (images, labels) if genuine and impostors else None
    reports = (
        *export.to_precisions(
            model,
            folder,
            representative=representative,
            quantize=PRECISIONS,
            pairs=pairs,
            options=options,
            strict=False,
        ),
        export.to_savedmodel(model, folder / "savedmodel", samples=images, options=options),
    )
    return tuple(dataclasses.replace(report, path=str(out / pathlib.Path(report.path).name)) for report in reports)
