"""Searches scale, margin and learning rate with KerasTuner, judged on people that were not trained on.

    python examples/tune.py --folder=runs/tuning                 ORL, 24 trials: minutes
    python examples/tune.py --folder=runs/tuning                 again: goes on with the trials that are missing
    python examples/tune.py --folder=runs/mine --data=FACES --scales=16,32,64 --rates=0.03 --seeds=0,1,2

Needs the extra `tuner`. A trial trains one network a seed on half of the people and measures mean average precision
at R (MAP@R) on a quarter of them. The last quarter chooses nothing: on it the best trial and the library's own
defaults are compared when the search is over. Each seed parts the people anew and starts from other weights.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_margin as km

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "folder", "runs/tuning", "where KerasTuner keeps its trials; an unfinished search goes on from there"
)
flags.DEFINE_string("data", "orl", "set of labelled images, as keras_margin.data.open reads it")
flags.DEFINE_string("backbone", "ir_small", "network, by name")
flags.DEFINE_list("image_size", ["28", "24"], "height,width in pixels")
flags.DEFINE_list("scales", ["8", "16", "32", "64"], "scales of ArcFaceHead")
flags.DEFINE_list("margins", ["0.0", "0.2", "0.5"], "margins in radians")
flags.DEFINE_list("rates", ["0.03", "0.1"], "learning rates of SGD with momentum 0.9")
flags.DEFINE_integer("epochs", 15, "of each training")
flags.DEFINE_integer("batch_size", 32, "images of an update")
flags.DEFINE_list("seeds", ["0"], "of people, first weights and order; a trial's figures are their means")

OBJECTIVE, TEST, EER = "val_map_at_r", "test_map_at_r", "val_eer"
DEFAULTS = {"scale": 64.0, "margin": 0.5}
NAMES = ("scale", "margin", "learning_rate")


def main(argv):
    """Searches, prints the tables."""
    if argv[1:]:
        sys.exit(f"error: all options are flags. Received: {' '.join(argv[1:])}.")
    try:
        tuner = tuned(Console())
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
    tried = tuner.oracle.trials.values()
    trials = sorted((trial for trial in tried if trial.status == "COMPLETED"), key=lambda trial: -trial.score)
    if not trials:
        sys.exit(f"error: none of {len(tried)} trials came to an end; what each met is above.")
    for made in (of_trials(trials), of_values(trials)):
        Console().print(made)
    for line in on_the_last_people(trials):
        Console().print(line)


def tuned(console):
    """The KerasTuner that searched."""
    try:
        import keras_tuner
    except ImportError as error:
        raise ImportError('KerasTuner is not installed. Run: pip install -e ".[tuner]"') from error

    class Tuner(keras_tuner.GridSearch):
        """Tries all combinations; a trial is one training a seed."""

        def run_trial(self, trial, parts, **options):
            found = [trained(trial.hyperparameters.values, each, seed) for seed, each in parts.items()]
            if not all(np.isfinite(list(each.values())).all() for each in found):
                raise keras_tuner.errors.FailedTrialError("The training ended in NaN or infinity.")
            return {name: float(np.mean([each[name] for each in found])) for name in found[0]}

    def build(hp):
        """Says what there is to search; the networks are built in the trials, which know their classes."""
        hp.Choice("scale", numbers(FLAGS.scales))
        hp.Choice("margin", numbers(FLAGS.margins))
        hp.Choice("learning_rate", numbers(FLAGS.rates))
        return keras.Sequential()

    grid = len(numbers(FLAGS.scales)) * len(numbers(FLAGS.margins)) * len(numbers(FLAGS.rates))
    reader = km.data.open(FLAGS.data, image_size=tuple(map(int, FLAGS.image_size)))
    parts = {int(seed): parted(reader, int(seed)) for seed in FLAGS.seeds}
    check_folder()
    folder, project = os.path.split(os.path.abspath(FLAGS.folder))
    tuner = Tuner(
        build,
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        directory=folder,
        project_name=project,
        max_trials=None,
        # A rate that is too high fails with every scale and margin: the others are still to be tried.
        max_consecutive_failed_trials=grid + 1,
        seed=0,
    )
    done = sum(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values())
    console.print(f"{reader.num_classes:,} people; trials done before: {done}")
    tuner.search(parts, verbose=1)
    return tuner


def check_folder():
    """Writes what is searched next to the trials; trials of another search are not gone on with."""
    names = ("data", "backbone", "image_size", "scales", "margins", "rates", "epochs", "batch_size", "seeds")
    path, mine = os.path.join(FLAGS.folder, "flags.json"), {name: FLAGS[name].value for name in names}
    if os.path.exists(path):
        other = read_flags(path)
        changed = [name for name in names if other.get(name) != mine[name]]
        if changed:
            raise ValueError(
                f"{FLAGS.folder} has trials of another search, with --{changed[0]}={other.get(changed[0])}. Received: "
                f"--{changed[0]}={mine[changed[0]]}. Name another --folder."
            )
        return
    os.makedirs(FLAGS.folder, exist_ok=True)
    # Renamed when it is whole: a kill in the middle leaves no half of it.
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(mine, file)
    os.replace(f"{path}.new", path)


def read_flags(path):
    """What a search of before was called with."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}. Name another --folder.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object. Received: {type(found).__name__}. Name another --folder.")
    return found


def numbers(texts):
    return [float(text) for text in texts]


def parted(reader, seed):
    """(images, labels) of half of the people, of a quarter and of the last quarter."""
    quarter = reader.num_classes // 4
    training, others = km.data.identity_disjoint_split(reader.labels, 2 * quarter, seed)
    validation, test = (others[part] for part in km.data.identity_disjoint_split(reader.labels[others], quarter, seed))
    return [reader.subset(part).arrays() for part in (training, validation, test)]


def trained(values, parts, seed):
    """The figures of one training."""
    (images, labels), validation, test = parts
    keras.utils.set_random_seed(seed)
    backbone = km.models.backbones.build(FLAGS.backbone, image_size=images.shape[1:3])
    head = km.ArcFaceHead(int(labels.max()) + 1, margin=values["margin"], scale=values["scale"])
    model = km.EmbeddingModel(backbone, head=head)
    model.compile(keras.optimizers.SGD(values["learning_rate"], momentum=0.9))
    model.fit(images, labels, batch_size=FLAGS.batch_size, epochs=FLAGS.epochs, verbose=0)
    found = {OBJECTIVE: measured(map_at_r(validation[1]), model, *validation)}
    found[TEST] = measured(map_at_r(test[1]), model, *test)
    found[EER] = measured(km.metrics.EqualErrorRate(memory=max(2, len(validation[1]))), model, *validation)
    keras.backend.clear_session()
    return found


def map_at_r(labels):
    """MAP@R over all images of these labels, however many they are and however many a person has."""
    return km.metrics.MeanAveragePrecisionAtR(
        longest=max(1, int(np.bincount(labels).max()) - 1), memory=max(2, len(labels))
    )


def measured(metric, model, images, labels):
    """The metric of these images; it compares those of a batch with all that came before."""
    embeddings = model.predict(images, verbose=0)
    for start in range(0, len(labels), 512):
        metric.update_state(labels[start : start + 512], embeddings[start : start + 512])
    return float(metric.result())


def figure(trial, name):
    return trial.metrics.get_best_value(name)


def of_trials(trials):
    """A row a trial, the best first."""
    made = Table(title=f"{len(trials)} trials on people not trained on")
    for column in (*NAMES, "MAP@R", "EER"):
        made.add_column(column, justify="right")
    for trial in trials:
        values = [f"{trial.hyperparameters.values[name]:g}" for name in NAMES]
        made.add_row(*values, f"{figure(trial, OBJECTIVE):.3f}", f"{figure(trial, EER):.1%}")
    return made


def of_values(trials):
    """What each value is worth: MAP@R over all trials that have it."""
    made = Table(title="MAP@R by value, over the others")
    for column in ("", "value", "mean", "best"):
        made.add_column(column, justify="right")
    for name in NAMES:
        for value in sorted({trial.hyperparameters.values[name] for trial in trials}):
            scores = [figure(each, OBJECTIVE) for each in trials if each.hyperparameters.values[name] == value]
            made.add_row(name, f"{value:g}", f"{np.mean(scores):.3f}", f"{max(scores):.3f}")
    return made


def on_the_last_people(trials):
    """Sentences on the people that chose nothing: the best trial, and the best with the library's defaults."""
    usual = [trial for trial in trials if DEFAULTS.items() <= trial.hyperparameters.values.items()]
    for title, trial in (("best trial", trials[0]), ("best with the defaults", usual[0] if usual else None)):
        if trial is not None:
            values = ", ".join(f"{name} {trial.hyperparameters.values[name]:g}" for name in NAMES)
            yield f"{title} ({values}), on the last quarter of the people: MAP@R {figure(trial, TEST):.3f}"


if __name__ == "__main__":
    app.run(main)
