"""What TrainingDiagnostics looks for: each function says what it found, in a sentence, or returns None."""

from keras_margin import margins
from keras_margin.callbacks import _batch_statistics


def _stalls(diagnostics, watched, step, accuracy):
    """Whether the run has not got off the ground in time."""
    chance = 1 / watched.num_classes
    return step >= diagnostics.patience and max(accuracy, diagnostics.best_accuracy) < chance + 0.15 * (1 - chance)


def _shuffled(diagnostics, watched, step, accuracy):
    if not _stalls(diagnostics, watched, step, accuracy):
        return None
    agreement = watched.label_agreement()
    if agreement is None or agreement > 0.55:
        return None
    return (
        f"The labels look shuffled: after {step} updates {accuracy:.1%} of the training images are nearest to their "
        f"own prototype, and two images of one label are no more alike than any two (area under the ROC of their "
        f"pixels {agreement:.2f}, chance 0.50). Look at some images beside their labels; check that both come from one "
        "list in one order."
    )


def _stalled_sphereface(diagnostics, watched, step, accuracy):
    head, advice = watched.head, watched.advice
    if not head.margin.anneals:
        return None
    fell = (
        step >= min(50, diagnostics.patience)
        and diagnostics.best_accuracy > 0.3
        and accuracy < 0.5 * diagnostics.best_accuracy
    )
    if not (fell or _stalls(diagnostics, watched, step, accuracy)):
        return None
    course = (
        f"fell from {diagnostics.best_accuracy:.1%} to {accuracy:.1%}"
        if fell
        else f"is {accuracy:.1%} after {step} updates"
    )
    return (
        f"{type(head).__name__} has stalled: accuracy {course}, lambda is down to {head.annealing_lambda:.3g}, and the "
        f"mean angle to its own prototype is {diagnostics.statistics[-1].theta:.0f} degrees, where {head.margin} "
        f"passes pi at {_batch_statistics.angle_at_pi(head.margin):.0f}. Lambda falls before the network can follow: "
        f"try a slower fall ({advice.gamma}), a higher floor ({advice.floor}), {advice.rate}, or {advice.smaller}."
    )


def _margin_too_large(diagnostics, watched, step, accuracy):
    head = watched.head
    has_margin = head.margin != margins.Softmax() and not head.margin.anneals
    if not has_margin or not _stalls(diagnostics, watched, step, accuracy) or diagnostics.has_said("shuffled labels"):
        return None
    now, advice = diagnostics.statistics[-1], watched.advice
    if diagnostics.has_said("exploding length") and now.past_pi < 0.5:
        return None
    return (
        f"The margin, {head.margin}, is too large to start from scratch with: after {step} updates {accuracy:.1%} of "
        f"the training images are nearest to their own prototype, at {now.theta:.0f} degrees on average (the nearest "
        f"other at {now.nearest:.0f}), {now.past_pi:.0%} of them pushed past pi. Try {advice.margin}, a smaller "
        f"margin, a smaller scale, or {advice.weights}."
    )


def _exploding(diagnostics, watched, step, accuracy):
    lengths, advice = [each.length for each in diagnostics.statistics], watched.advice
    # The length of a scaled embedding drifts up without harm; where it is the scale itself, it is every logit's.
    most = 10 if watched.head.scale is None else 1000
    if lengths[-1] < most * max(lengths[0], 10):
        return None
    return (
        f"The embeddings' length explodes: from {lengths[0]:.3g} to {lengths[-1]:.3g} by step {step}. Try "
        f"{advice.rate}, {advice.clip}, {advice.decay}, or a backbone that ends in batch normalisation."
    )


def _saturated(diagnostics, watched, step, accuracy):
    now = diagnostics.statistics[-1]
    if now.saturated < 0.95 or step < diagnostics.patience or accuracy > 0.9:
        return None
    return (
        f"The logits are saturated: for {now.saturated:.0%} of the samples the softmax is 0 or 1 in float32, so they "
        "learn nothing, or all at once. The scale is "
        f"{watched.head.scale or now.length:.3g}: try a smaller one, or {watched.advice.scale}."
    )


def _dead(diagnostics, watched, step, accuracy):
    now = diagnostics.statistics[-1]
    if now.dead < 0.1 or step < diagnostics.patience:
        return None
    return (
        f"{now.dead:.0%} of the embedding's dimensions are dead: the same for every image. Is there a ReLU behind the "
        "last layer, or a learning rate so high that it killed units? End the backbone in a linear layer or batch "
        "normalisation."
    )


def _collapsed(diagnostics, watched, step, accuracy):
    now = diagnostics.statistics[-1]
    if now.spread > 5 or step < diagnostics.patience or accuracy > 0.5:
        return None
    return (
        f"The embeddings have fallen together: any two are {now.spread:.1f} degrees apart. Try {watched.advice.rate} "
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
