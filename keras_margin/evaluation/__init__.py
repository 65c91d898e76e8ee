"""The field's metrics as functions of NumPy arrays, its protocols on their files, and embedders out of any file.

The metrics are imported with NumPy alone: no Keras, no TensorFlow. `protocols`, `load_protocol` and `load_embedder` are
loaded on first use.
"""

from typing import TYPE_CHECKING

from keras_margin import _lazy
from keras_margin.evaluation._intervals import Bootstrap, tar_interval
from keras_margin.evaluation.calibration import METHODS, CalibrationReport, fit_calibration
from keras_margin.evaluation.clustering import ClusteringScore, bcubed_score, chinese_whispers, pairwise_score
from keras_margin.evaluation.distractors import (
    CrossTar,
    MegaFaceResult,
    TrillionPairsResult,
    cross_tar_at_far,
    megaface,
    trillion_pairs,
)
from keras_margin.evaluation.gallery_thresholds import fit_search_thresholds
from keras_margin.evaluation.groups import FEWEST_IN_GROUP, Gap, GroupRates, GroupReport, Rate, group_report
from keras_margin.evaluation.identification import cmc, rank_k
from keras_margin.evaluation.k_fold import KFoldAccuracy, assign_folds, centered_k_fold_accuracy, k_fold_accuracy
from keras_margin.evaluation.lists import (
    FaceList,
    VideoPairs,
    read_faces,
    read_media,
    read_subjects,
    read_template_pairs,
    read_ytf_splits,
)
from keras_margin.evaluation.open_set import OpenSetResult, ijb_identification, open_set_identification
from keras_margin.evaluation.pairs import all_pairs, make_pairs, pair_scores
from keras_margin.evaluation.probabilities import Reliability, cllr, min_cllr, reliability
from keras_margin.evaluation.quality import ErrorVersusDiscard, error_versus_discard, rejection_threshold
from keras_margin.evaluation.retrieval import mean_average_precision
from keras_margin.evaluation.statistics import (
    AngleDistributions,
    AngleStatistics,
    angle_distributions,
    angle_statistics,
    angular_fisher_score,
    pair_angles,
)
from keras_margin.evaluation.templates import combine_flips, template_embeddings, template_scores
from keras_margin.evaluation.thresholds import Roc, auc, eer, roc, tar_at_far, threshold_at_far
from keras_margin.evaluation.verification import (
    TarAtFar,
    VerificationReport,
    is_measurable,
    least_far,
    score_report,
    verification_report,
)

if TYPE_CHECKING:
    from keras_margin.evaluation import protocols
    from keras_margin.evaluation.embedders import FileEmbedder, load_embedder
    from keras_margin.evaluation.protocols import load_protocol

# The name of 0.1, which other code may call.
centred_k_fold_accuracy = centered_k_fold_accuracy

__all__ = [
    "AngleDistributions",
    "AngleStatistics",
    "Bootstrap",
    "CalibrationReport",
    "ClusteringScore",
    "CrossTar",
    "ErrorVersusDiscard",
    "FEWEST_IN_GROUP",
    "FaceList",
    "FileEmbedder",
    "Gap",
    "GroupRates",
    "GroupReport",
    "KFoldAccuracy",
    "METHODS",
    "MegaFaceResult",
    "OpenSetResult",
    "Rate",
    "Reliability",
    "Roc",
    "TarAtFar",
    "TrillionPairsResult",
    "VerificationReport",
    "VideoPairs",
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
    "is_measurable",
    "k_fold_accuracy",
    "least_far",
    "load_embedder",
    "load_protocol",
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
    "read_faces",
    "read_media",
    "read_subjects",
    "read_template_pairs",
    "read_ytf_splits",
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
    "FileEmbedder": "embedders",
    "load_embedder": "embedders",
    "load_protocol": "protocols",
    "protocols": "protocols",
}

if not TYPE_CHECKING:
    __getattr__ = _lazy.loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
