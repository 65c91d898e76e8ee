"""TrainingDiagnostics: a callback that checks a run now and then and warns of known faults, each in a sentence."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_margin import margins
from keras_margin.training import _batch_statistics
from keras_margin.training._callback import RunCallback

_LOG = logging.getLogger("keras_margin.training")


class TrainingDiagnostics(RunCallback):
    """Watches a run, and speaks up once for each thing that it finds wrong, with what to try.

    Of a batch every few updates: the angle to the own prototype and to the nearest other, the share past pi, the
    embeddings' length and spread, saturated logits, dead dimensions, lambda; see `BatchStatistics`. Of the data:
    classes without an image, and, where training does not get off the ground, whether images of one label are alike.
    When a number stops being one: which tensor was first.

    Findings are warnings of the logger `keras_margin.training` and sentences in `.sentences`.

    Args:
        every: Updates between two looks; None for a two-hundredth of the run, at least 10.
        patience: Updates after which a run should have got off the ground; None for two epochs, at least 150, or
            half of a shorter run, at least 100.

    Raises:
        ValueError: When training begins under Model.fit, which shows callbacks neither batches nor embeddings.

    Example:
        >>> diagnostics = TrainingDiagnostics(every=50)  # For `callbacks=` of `fit`.
        >>> diagnostics.sentences  # What it found so far.
        []
    """

    def __init__(self, every: int | None = None, patience: int | None = None) -> None:
        super().__init__()
        self.every, self.patience = every, patience
        self.sentences, self.statistics = [], []
        self._said = set()
        self._before = [0, 0.0, 0.0]
        self._best = 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "sentences": self.sentences,
            "said": sorted(self._said),
            "before": self._before,
            "best": self._best,
            "statistics": [vars(each) for each in self.statistics],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.sentences, self._said = list(state["sentences"]), set(state["said"])
        self._before, self._best = list(state["before"]), state["best"]
        self.statistics = [_batch_statistics.BatchStatistics(**each) for each in state["statistics"]]

    def on_train_begin(self, logs: Any = None) -> None:
        """Looks at the data."""
        run = self.run
        steps, epoch = run.recipe.run.steps, run.reader.num_images / run.recipe.data.batch_size
        self.every = self.every or max(10, steps // 200)
        self.patience = self.patience or int(max(100, min(max(150, 2 * epoch), steps / 2)))
        counts = np.bincount(run.reader.labels, minlength=run.reader.num_classes)[: run.reader.num_classes]
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            self._say(
                "never sampled",
                f"{len(empty)} of {len(counts)} prototypes are never sampled: no image has the label {empty[0]}. "
                "They are only pushed away. Number the classes without gaps.",
            )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the batch where it is due."""
        run, step = self.run, self.run.step
        # The first batch too: what comes later is compared with it.
        if step > 1 and step % self.every:
            return
        count, loss, accuracy = logs.totals()
        rows = max(1, count - self._before[0])
        loss, accuracy = (loss - self._before[1]) / rows, (accuracy - self._before[2]) / rows
        self._before = logs.totals()
        if not math.isfinite(loss):
            self._nan(run, f"The loss is {loss} at step {step}")
            return
        local = run.strategy.experimental_local_results
        self.statistics.append(
            _batch_statistics.measure(self.model.head, local(run.embeddings)[0].numpy(), _first(local, run))
        )
        for name, finding in FINDINGS.items():
            if name not in self._said:
                sentence = finding(self, run, step, accuracy)
                if sentence:
                    self._say(name, sentence)
        self._best = max(self._best, accuracy)

    def on_failure(self, error: BaseException) -> None:
        """Where the head refused what the network put out: which tensor was first."""
        run = self.params.get("run") if self.params else None
        if isinstance(error, Exception) and run is not None and "finite" in str(error) and hasattr(run, "batch"):
            self._nan(run, f"Step {run.step + 1} failed")

    def _nan(self, run, what):
        images = run.strategy.experimental_local_results(run.batch[0])[0]
        first = _batch_statistics.first_not_finite(run.model.embedder, images)
        where = f"the first to hold NaN or inf is {first}" if first else "weights and activations are finite by now"
        self._say(
            "nan",
            f"{what}: {where}. Try a lower learning_rate, a warm-up (warmup_steps), clip_norm=5; with "
            "mixed_float16, mixed_bfloat16 or float32.",
        )

    def _say(self, name, sentence):
        self._said.add(name)
        self.sentences.append(sentence)
        _LOG.warning("%s", sentence)


def _first(local, run):
    return local(run.batch[1])[0].numpy()


def _stalls(diagnostics, run, step, accuracy):
    """Whether the run has not got off the ground in time."""
    chance = 1 / run.reader.num_classes
    return step >= diagnostics.patience and max(accuracy, diagnostics._best) < chance + 0.15 * (1 - chance)


def _shuffled(diagnostics, run, step, accuracy):
    if not _stalls(diagnostics, run, step, accuracy):
        return None
    agreement = _batch_statistics.label_agreement(run.reader, run.seed)
    if agreement is None or agreement > 0.55:
        return None
    return (
        f"The labels look shuffled: after {step} updates {accuracy:.1%} of the training images are nearest to their "
        f"own prototype, and two images of one label are no more alike than any two (area under the ROC of their "
        f"pixels {agreement:.2f}, chance 0.50). Look at some images beside their labels; check that both come from one "
        "list in one order."
    )


def _stalled_sphereface(diagnostics, run, step, accuracy):
    head = run.model.head
    if not head.margin.anneals:
        return None
    fell = step >= min(50, diagnostics.patience) and diagnostics._best > 0.3 and accuracy < 0.5 * diagnostics._best
    if not (fell or _stalls(diagnostics, run, step, accuracy)):
        return None
    course = (
        f"fell from {diagnostics._best:.1%} to {accuracy:.1%}" if fell else f"is {accuracy:.1%} after {step} updates"
    )
    return (
        f"{type(head).__name__} has stalled: accuracy {course}, lambda is down to {head.annealing_lambda:.3g}, and the "
        f"mean angle to its own prototype is {diagnostics.statistics[-1].theta:.0f} degrees, where {head.margin} "
        f"passes pi at {_batch_statistics.angle_at_pi(head.margin):.0f}. Lambda falls before the network can follow: "
        "try a slower fall (head.gamma=0.01), a higher floor (head.lambda_min=10), a lower learning_rate, or "
        "head.margin=3."
    )


def _margin_too_large(diagnostics, run, step, accuracy):
    head = run.model.head
    has_margin = head.margin != margins.Softmax() and not head.margin.anneals
    if not has_margin or not _stalls(diagnostics, run, step, accuracy) or "shuffled labels" in diagnostics._said:
        return None
    now = diagnostics.statistics[-1]
    if "exploding length" in diagnostics._said and now.past_pi < 0.5:
        return None
    return (
        f"The margin, {head.margin}, is too large to start from scratch with: after {step} updates {accuracy:.1%} of "
        f"the training images are nearest to their own prototype, at {now.theta:.0f} degrees on average (the nearest "
        f"other at {now.nearest:.0f}), {now.past_pi:.0%} of them pushed past pi. Try margin_warmup_steps, a smaller "
        "margin, a smaller scale, or weights= of a network trained without margin."
    )


def _exploding(diagnostics, run, step, accuracy):
    lengths = [each.length for each in diagnostics.statistics]
    # The length of a scaled embedding drifts up without harm; where it is the scale itself, it is every logit's.
    most = 10 if run.model.head.scale is None else 1000
    if lengths[-1] < most * max(lengths[0], 10):
        return None
    return (
        f"The embeddings' length explodes: from {lengths[0]:.3g} to {lengths[-1]:.3g} by step {step}. Try a lower "
        "learning_rate, clip_norm=5, more weight_decay, or a backbone that ends in batch normalisation."
    )


def _saturated(diagnostics, run, step, accuracy):
    now = diagnostics.statistics[-1]
    if now.saturated < 0.95 or step < diagnostics.patience or accuracy > 0.9:
        return None
    return (
        f"The logits are saturated: for {now.saturated:.0%} of the samples the softmax is 0 or 1 in float32, so they "
        "learn nothing, or all at once. The scale is "
        f"{run.model.head.scale or now.length:.3g}: try a smaller one, or scale_warmup_steps."
    )


def _dead(diagnostics, run, step, accuracy):
    now = diagnostics.statistics[-1]
    if now.dead < 0.1 or step < diagnostics.patience:
        return None
    return (
        f"{now.dead:.0%} of the embedding's dimensions are dead: the same for every image. Is there a ReLU behind the "
        "last layer, or a learning rate so high that it killed units? End the backbone in a linear layer or batch "
        "normalisation."
    )


def _collapsed(diagnostics, run, step, accuracy):
    now = diagnostics.statistics[-1]
    if now.spread > 5 or step < diagnostics.patience or accuracy > 0.5:
        return None
    return (
        f"The embeddings have fallen together: any two are {now.spread:.1f} degrees apart. Try a lower learning_rate "
        "or batch normalisation behind the embedding."
    )


# Most telling first: a cause goes before what it brings about.
FINDINGS = {
    "shuffled labels": _shuffled,
    "stalled sphereface": _stalled_sphereface,
    "exploding length": _exploding,
    "margin too large": _margin_too_large,
    "saturated": _saturated,
    "dead dimensions": _dead,
    "collapsed": _collapsed,
}
