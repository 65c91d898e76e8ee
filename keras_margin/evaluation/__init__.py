"""The field's protocols as functions of numpy arrays; no Keras, no TensorFlow."""

from keras_margin.evaluation.identification import cmc, rank_k
from keras_margin.evaluation.k_fold import KFoldAccuracy, assign_folds, centred_k_fold_accuracy, k_fold_accuracy
from keras_margin.evaluation.pairs import all_pairs, make_pairs, pair_scores
from keras_margin.evaluation.statistics import AngleStatistics, angle_statistics, angular_fisher_score
from keras_margin.evaluation.thresholds import Roc, auc, eer, roc, tar_at_far, threshold_at_far
from keras_margin.evaluation.verification import (
    Bootstrap,
    TarAtFar,
    VerificationReport,
    score_report,
    tar_interval,
    verification_report,
)

__all__ = [
    "AngleStatistics",
    "Bootstrap",
    "KFoldAccuracy",
    "Roc",
    "TarAtFar",
    "VerificationReport",
    "all_pairs",
    "angle_statistics",
    "angular_fisher_score",
    "assign_folds",
    "auc",
    "centred_k_fold_accuracy",
    "cmc",
    "eer",
    "k_fold_accuracy",
    "make_pairs",
    "pair_scores",
    "rank_k",
    "roc",
    "score_report",
    "tar_at_far",
    "tar_interval",
    "threshold_at_far",
    "verification_report",
]
