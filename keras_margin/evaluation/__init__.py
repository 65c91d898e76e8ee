"""The field's protocols as functions of numpy arrays; no Keras, no TensorFlow."""

from keras_margin.evaluation._intervals import Bootstrap, tar_interval
from keras_margin.evaluation.distractors import (
    CrossTar,
    MegaFaceResult,
    TrillionPairsResult,
    cross_tar_at_far,
    megaface,
    trillion_pairs,
)
from keras_margin.evaluation.identification import cmc, rank_k
from keras_margin.evaluation.k_fold import KFoldAccuracy, assign_folds, centered_k_fold_accuracy, k_fold_accuracy
from keras_margin.evaluation.lists import (
    FaceList,
    PeopleList,
    VideoPairs,
    read_faces,
    read_lfw_people,
    read_media,
    read_subjects,
    read_template_pairs,
    read_ytf_splits,
)
from keras_margin.evaluation.open_set import OpenSetResult, ijb_identification, open_set_identification
from keras_margin.evaluation.pairs import all_pairs, make_pairs, pair_scores
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
    FEWEST_ACCEPTED,
    TarAtFar,
    VerificationReport,
    is_measurable,
    least_far,
    score_report,
    verification_report,
)

# The name of 0.1, which other code may call.
centred_k_fold_accuracy = centered_k_fold_accuracy

__all__ = [
    "AngleDistributions",
    "AngleStatistics",
    "Bootstrap",
    "CrossTar",
    "FEWEST_ACCEPTED",
    "FaceList",
    "KFoldAccuracy",
    "MegaFaceResult",
    "OpenSetResult",
    "Roc",
    "TarAtFar",
    "TrillionPairsResult",
    "VerificationReport",
    "PeopleList",
    "VideoPairs",
    "all_pairs",
    "angle_distributions",
    "angle_statistics",
    "angular_fisher_score",
    "assign_folds",
    "auc",
    "centered_k_fold_accuracy",
    "cmc",
    "combine_flips",
    "cross_tar_at_far",
    "eer",
    "ijb_identification",
    "is_measurable",
    "k_fold_accuracy",
    "least_far",
    "make_pairs",
    "mean_average_precision",
    "megaface",
    "open_set_identification",
    "pair_angles",
    "pair_scores",
    "rank_k",
    "read_faces",
    "read_media",
    "read_subjects",
    "read_template_pairs",
    "read_lfw_people",
    "read_ytf_splits",
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
