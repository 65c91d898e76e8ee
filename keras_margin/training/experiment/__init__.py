"""One run from data to device: train a recipe, measure it on held-out people, export it, compare the files.

What `keras-margin train` and examples/train_casia.py call. A run's folder holds model.keras, best.keras where it was
verified, embedder.tflite with its JSON, savedmodel/, recipe.json, split.json, report.json, report.md with its pictures,
log.csv and tensorboard/. It is `NAME.partial` until everything is there; a killed run goes on from it.
"""

import dataclasses
import os
import pathlib
from typing import Any

import tensorflow as tf

from keras_margin import callbacks, training
from keras_margin._typing import PathLike
from keras_margin.callbacks import _pair_sets
from keras_margin.data import splits
from keras_margin.data.reader import Reader
from keras_margin.export.precisions import PRECISIONS
from keras_margin.recipes.base import Recipe
from keras_margin.training import _batches, _building, _errors, _state, _stop, _strategies
from keras_margin.training._logs import Logs
from keras_margin.training._progress import ProgressBar
from keras_margin.training.experiment import _exports, _folder, _measures, _report, _split
from keras_margin.training.experiment._measures import EvaluationResult
from keras_margin.training.experiment._stages import Stages

__all__ = ["EvaluationResult", "RunConfig", "RunResult", "Stages", "run"]


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How a run is carried out: what may differ without another result, but for the order in which floats are added.

    Attributes:
        replicas: Devices of this machine that share each batch.
        strategy: "mirrored" or "multiworker"; see training.make_strategy.
        deterministic: Whether TensorFlow's operators must give the same bits in every run; slower.
        checkpoint_minutes: Minutes between two checkpoints.
        checkpoint_steps: Updates between two, instead; None for the minutes.
        keep: How many of the newest checkpoints are kept while the run lasts; with `verify` the best one as well.
        verify: Paths of `.bin` sets or folders of identities to verify on while training; "held_out" is pairs of the
            held-out people.
        verify_every: Updates between two verifications; None for a tenth of the run.
        diagnostics: Whether the run is watched for what is known to go wrong.
        restart: Whether an unfinished run of the same name is thrown away.

    Example:
        >>> RunConfig(replicas=2, checkpoint_steps=100).replicas
        2
    """

    replicas: int = 1
    strategy: str = "mirrored"
    deterministic: bool = False
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int | None = None
    keep: int = 2
    verify: tuple = ()
    verify_every: int | None = None
    diagnostics: bool = True
    restart: bool = False


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run found.

    Attributes:
        measures: Tuple of EvaluationResult; empty in a worker that is not the first, as all below.
        reports: Tuple of export.ParityReport.
        seconds: Time spent in training, all models.
        folder: The run's folder.
        warnings: What callbacks.TrainingDiagnostics found, sentences.
        verdict: A sentence where the trained network is not better than raw pixels on the test people; else "".

    Example:
        >>> result = RunResult((), (), seconds=60.0, folder="runs/latest", warnings=(), verdict="")
        >>> result.folder
        'runs/latest'
    """

    measures: tuple
    reports: tuple
    seconds: float
    folder: pathlib.Path
    warnings: tuple = ()
    verdict: str = ""


@_stop.interruptible()
@_errors.friendly_errors()
def run(
    recipe: Recipe,
    reader: Reader,
    out: PathLike,
    *,
    held_out: int | None = None,
    known_people: bool = False,
    seed: int = 0,
    config: RunConfig | None = None,
    console: Any = None,
    source: str | None = None,
) -> RunResult:
    """Trains on some identities, measures on the others, exports.

    With `known_people` a second model is trained first, on half of everybody's photographs, and measured on the other
    half: what a closed set of people gets. The exported model is always the one that is not trained on its test people;
    split.json names them.

    Killed at any moment, the same call goes on from the last checkpoint. At SIGINT and SIGTERM the update is finished
    and a checkpoint written first. What can be checked is checked before anything is written.

    Args:
        recipe: recipes.Recipe.
        reader: From keras_margin.data.open.
        out: Folder of the run; an older run there is replaced at the end.
        held_out: Identities kept for the test; None for a tenth, at least 2 and at most 500.
        known_people: Whether to measure known people too; each identity then needs at least 6 images.
        seed: Of splits, weights, order and augmentation.
        config: RunConfig; None for its defaults.
        console: rich Console for the progress bars and a line a stage; None for standard output.
        source: What `reader` reads, for split.json: the path that keras_margin.data.open took, or None.

    Returns:
        RunResult.

    Raises:
        ValueError: Where recipe, data and replicas do not fit together, `out` holds something that is not a run, or
            `out.partial` an unfinished run of another recipe.
        OSError: Where `out` cannot be written or its disk is nearly full.
        KeyboardInterrupt: After a signal; its text says whether there is something to go on from.

    Example:
        >>> changes = {"backbone": "ir_small", "image_size": (32, 32), "batch_size": 8, "steps": 1}
        >>> recipe = keras_margin.recipes.Recipe("tiny", "").replace(**changes)
        >>> reader = keras_margin.data.open("orl", image_size=(32, 32))
        >>> run(recipe, reader, "runs/tiny", held_out=40)  # Refused before anything is written.
        Traceback (most recent call last):
        ...
        ValueError: ...
    """
    out = pathlib.Path(out)
    with _folder.interrupts_told(out):
        return _run(recipe, reader, out, held_out, known_people, seed, config or RunConfig(), console, source)


def _run(recipe, reader, out, held_out, known_people, seed, config, console, source):
    """The RunResult of `run`."""
    _folder.check_out(out)
    learn, test = _measures.unseen_people(reader, held_out, seed)
    split = splits.Split.of(reader, test, seed, source)
    parts = [("known people", *splits.per_identity_split(reader.labels, 5, seed))] if known_people else []
    parts += [("unseen people", learn, test)]
    strategy = training.make_strategy(config.replicas, config.strategy)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    for _, indices, _ in parts:
        _batches.check(recipe, reader.subset(indices), strategy.num_replicas_in_sync)
    sets = _verification_sets(config, recipe, reader, test, split)
    _check_builds(recipe, reader)
    work = _Work(recipe, reader, seed, config, strategy, Stages(console))
    if not _strategies.is_chief(strategy):
        for purpose, indices, _ in parts:
            work.train(None, purpose, indices, ())
        return RunResult((), (), work.found.seconds, out)
    with _folder.atomic_directory(out, recipe, seed, config.restart) as folder:
        _split.write(folder, split)
        work.stages.say(_about(split, len(learn), folder, config))
        for purpose, indices, probes in parts:
            model = work.train(folder, purpose, indices, sets if purpose == "unseen people" else ())
            if purpose == "known people":
                with work.stages.stage(f"Measuring on {len(probes)} other images of known people"):
                    work.found.measures += _measures.compare_embedders(recipe, model, reader, probes, indices)
        work.measure(model, learn, test, folder)
        work.found.reports, work.found.notes = _exports.write(
            model, recipe, reader, (learn, test), work.found.measures, folder, out, PRECISIONS, work.stages
        )
        work.found.verdict = _measures.verdict(work.found.measures)
        with work.stages.stage("Writing the report"):
            _report.write(folder, out.name, recipe, seed, config, work.found)
    found = work.found
    return RunResult(tuple(found.measures), found.reports, found.seconds, out, found.warnings, found.verdict)


def _about(split, images, folder, config):
    """Two lines on who trains, and on the checkpoints."""
    when = f"{config.checkpoint_minutes:g} minutes" if config.checkpoint_steps is None else ""
    when = when or f"{config.checkpoint_steps:,} updates"
    best = " and the best" if config.verify else ""
    return (
        f"Training on {images:,} images of {split.num_identities - len(split.held_out):,} people; "
        f"{len(split.held_out):,} people are held out for the test, by name in split.json.\n"
        f"Checkpoints every {when} in {folder / _folder.CHECKPOINTS}; the newest "
        f"{config.keep}{best} are kept until the run is done."
    )


def _verification_sets(config, recipe, reader, test, split):
    """PairSet values of what `config.verify` names."""
    if split.source is not None and split.source in (os.path.abspath(name) for name in config.verify):
        raise ValueError(
            f"A set to verify on has other people than the training data. Received: {split.source} for both. Pass "
            "--verify=held_out for its held-out people."
        )
    sets = [
        _pair_sets.drawn_pairs("held_out", reader.subset(test), split.seed)
        if name == "held_out"
        else _pair_sets.read_pairs(name, recipe.model.image_size, split.seed)
        for name in config.verify
    ]
    names = [each.name for each in sets]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Sets to verify on need different file names, which name their figures. Received: {', '.join(names)}."
        )
    return tuple(sets)


def _check_builds(recipe, reader):
    """Raises what building the model would, before anything is written; on symbols, so that it costs no memory."""
    training.check_recipe(recipe, reader.num_classes)


class _Work:
    """One run's training, measuring and what was found."""

    def __init__(self, recipe, reader, seed, config, strategy, stages):
        self.recipe, self.reader, self.seed, self.config = recipe, reader, seed, config
        self.strategy, self.stages = strategy, stages
        self.found = _report.RunRecord()

    def train(self, folder, purpose, indices, sets):
        """The trained model of one part of the images; `folder` is None in a worker that writes nothing."""
        recipe, config = self.recipe, self.config
        exported = purpose == "unseen people"
        # Those that the recipe names watch the one model that is kept: a tracker begins one run, not two.
        recipe = recipe if exported else recipe.replace(callbacks=())
        checkpoints = folder and training.Checkpoints(
            folder / _folder.CHECKPOINTS / purpose.replace(" ", "_"),
            minutes=config.checkpoint_minutes,
            every=config.checkpoint_steps,
            keep=config.keep,
        )
        watching = []
        if folder and exported:
            watching.append(Logs(folder, max(1, recipe.run.steps // 200), recipe.data.batch_size))
        diagnostics = callbacks.TrainingDiagnostics() if config.diagnostics and folder else None
        watching += [diagnostics] if diagnostics else []
        words = "training" if exported else "training (known people)"
        bar = ProgressBar(recipe.run.steps, recipe.data.batch_size, words, self.stages.console)
        verification = None
        if sets:
            every = config.verify_every or max(1, recipe.run.steps // 10)
            verification = callbacks.Verification(
                sets,
                every,
                recipe.model.flip_features,
                folder,
                report=lambda step, values: bar.say(f"step {step:,}  {_pair_sets.as_text(values)}"),
            )
            watching.append(verification)
        with bar:
            trained = training.fit(
                recipe,
                self.reader.subset(indices),
                strategy=self.strategy,
                seed=self.seed,
                callbacks=[*watching, *([bar] if _strategies.is_chief(self.strategy) else [])],
                checkpoints=checkpoints,
            )
        self.found.seconds += trained.seconds
        self.found.warnings += () if diagnostics is None else tuple(diagnostics.sentences)
        model = trained.model
        if folder and _strategies.is_multiworker(self.strategy):
            model = _alone(recipe, model)
        if exported:
            self.found.history = trained.history
        if verification is not None:
            self.found.verification = tuple(verification.history)
            _save_best(recipe, model, checkpoints, folder / "best.keras")
        return model

    def measure(self, model, learn, test, folder):
        """Figures and pictures of the exported model, and its file."""
        with self.stages.stage(f"Measuring on {len(test):,} images of the held-out people"):
            self.found.measures += _measures.compare_embedders(
                self.recipe, model, self.reader, test, seed=self.seed, pictures=folder
            )
        with self.stages.stage("Measuring angles"):
            self.found.angles = _report.angles_of(
                model, self.reader.subset(learn), self.reader.subset(test), self.recipe, self.seed
            )
        model.save(folder / "model.keras")


def _alone(recipe, model):
    """The same model under no strategy: the other workers have ended, and whatever asks them would wait for ever."""
    alone = _building.build_model(recipe, model.head.num_classes)
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
    alone = _building.build_model(recipe, model.head.num_classes)
    _state.load_checkpoint(best[0], alone, recipe)
    alone.save(path)
