"""The field's protocols as functions of numpy arrays; no Keras, no TensorFlow."""

from keras_margin.evaluation.identification import cmc, rank_k
from keras_margin.evaluation.statistics import AngleStatistics, angle_statistics, angular_fisher_score
from keras_margin.evaluation.verification import (
    KFoldAccuracy,
    Roc,
    all_pairs,
    assign_folds,
    auc,
    eer,
    k_fold_accuracy,
    make_pairs,
    pair_scores,
    roc,
    tar_at_far,
    threshold_at_far,
)

__all__ = [
    "AngleStatistics",
    "KFoldAccuracy",
    "Roc",
    "all_pairs",
    "angle_statistics",
    "angular_fisher_score",
    "assign_folds",
    "auc",
    "cmc",
    "eer",
    "k_fold_accuracy",
    "make_pairs",
    "pair_scores",
    "rank_k",
    "roc",
    "tar_at_far",
    "threshold_at_far",
]
