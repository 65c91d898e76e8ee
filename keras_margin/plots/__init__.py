"""Figures of what evaluation computed; matplotlib is the extra "plots" and is imported when a figure is drawn.

`target_curve` computes what `target_logits` and `loss_curves` draw; it alone needs Keras and is loaded on first use.

Every function returns a matplotlib Figure of its own (no pyplot, no global state) and, given a path, also writes it
there: as PNG, PDF or SVG by the suffix, complete or not at all.
"""

from typing import TYPE_CHECKING

from keras_margin import _lazy
from keras_margin.plots.curves import loss_curves, target_logits
from keras_margin.plots.decisions import edc_curve, group_rates, reliability_diagram
from keras_margin.plots.embeddings import Embedded, embedding_map
from keras_margin.plots.scores import angle_histogram, error_gallery, score_histogram
from keras_margin.plots.training import training_curves
from keras_margin.plots.verification import cmc_curve, det_curve, roc_curve

if TYPE_CHECKING:
    from keras_margin.plots.margin_curves import target_curve

__all__ = [
    "Embedded",
    "angle_histogram",
    "cmc_curve",
    "det_curve",
    "edc_curve",
    "embedding_map",
    "error_gallery",
    "group_rates",
    "loss_curves",
    "reliability_diagram",
    "roc_curve",
    "score_histogram",
    "target_curve",
    "target_logits",
    "training_curves",
]

if not TYPE_CHECKING:
    __getattr__ = _lazy.loader(__name__, {"Curve": "margin_curves", "target_curve": "margin_curves"})


def __dir__() -> list[str]:
    return sorted(__all__)
