"""The field's metrics as functions of NumPy arrays, its protocols on their files, and embedders out of any file.

The metrics are imported with NumPy alone: no Keras, no TensorFlow. `protocols`, `lists` and `load_embedder` are loaded
on first use.
"""

from typing import TYPE_CHECKING

from keras_margin import _lazy
from keras_margin.evaluation._intervals import Bootstrap, tar_interval
from keras_margin.evaluation.calibration import fit_calibration
from keras_margin.evaluation.clustering import bcubed_score, chinese_whispers, pairwise_score
from keras_margin.evaluation.distractors import cross_tar_at_far, megaface, trillion_pairs
from keras_margin.evaluation.gallery_thresholds import fit_search_thresholds
from keras_margin.evaluation.groups import group_report
from keras_margin.evaluation.identification import cmc, rank_k
from keras_margin.evaluation.k_fold import assign_folds, centered_k_fold_accuracy, k_fold_accuracy
from keras_margin.evaluation.open_set import ijb_identification, open_set_identification
from keras_margin.evaluation.pairs import all_pairs, make_pairs, pair_scores
from keras_margin.evaluation.probabilities import cllr, min_cllr, reliability
from keras_margin.evaluation.quality import error_versus_discard, rejection_threshold
from keras_margin.evaluation.retrieval import mean_average_precision
from keras_margin.evaluation.statistics import angle_distributions, angle_statistics, angular_fisher_score, pair_angles
from keras_margin.evaluation.templates import combine_flips, template_embeddings, template_scores
from keras_margin.evaluation.thresholds import auc, eer, roc, tar_at_far, threshold_at_far
from keras_margin.evaluation.verification import score_report, verification_report

if TYPE_CHECKING:
    from keras_margin.evaluation import lists, protocols
    from keras_margin.evaluation.embedders import load_embedder

# The name of 0.1, which other code may call.
centred_k_fold_accuracy = centered_k_fold_accuracy

__all__ = [
    "Bootstrap",
    "all_pairs",
    "angle_distributions",
    "angle_statistics",
    "angular_fisher_score",
    "assign_folds",
    "auc",
    "bcubed_score",
    "centered_k_fold_accuracy",
    "chinese_whispers",
    "cllr",
    "cmc",
    "combine_flips",
    "cross_tar_at_far",
    "eer",
    "error_versus_discard",
    "fit_calibration",
    "fit_search_thresholds",
    "group_report",
    "ijb_identification",
    "k_fold_accuracy",
    "load_embedder",
    "lists",
    "make_pairs",
    "mean_average_precision",
    "megaface",
    "min_cllr",
    "open_set_identification",
    "pair_angles",
    "pair_scores",
    "pairwise_score",
    "protocols",
    "rank_k",
    "rejection_threshold",
    "reliability",
    "roc",
    "score_report",
    "tar_at_far",
    "tar_interval",
    "template_embeddings",
    "template_scores",
    "threshold_at_far",
    "trillion_pairs",
    "verification_report",
]

_HOMES = {
    "load_embedder": "embedders",
    "load_protocol": "protocols",
    "protocols": "protocols",
    "lists": "lists",
    # The names of 0.1, which other code may call.
    **dict.fromkeys(("is_measurable", "least_far"), "verification"),
    **dict.fromkeys(("read_faces", "read_media", "read_subjects", "read_template_pairs"), "lists"),
    **dict.fromkeys(("read_lfw_people", "read_ytf_splits"), "lists"),
}

if not TYPE_CHECKING:
    __getattr__ = _lazy.loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
