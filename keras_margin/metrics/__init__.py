"""Keras metrics for embeddings: verification and retrieval over what has been seen, and the angle to the own prototype.

    model = km.EmbeddingModel(backbone, head=km.ArcFaceHead(num_classes))
    model.compile(optimizer, metrics=[km.metrics.EqualErrorRate(), km.metrics.RecallAtK(1)])
    model.fit(images, labels, validation_data=(val_images, val_labels))    # loss, accuracy, val_equal_error_rate, ...

Each reads one kind of output, as the losses do:

    embeddings   EqualErrorRate, TARAtFAR, AUC, RecallAtK, MeanAveragePrecisionAtR: subclasses of EmbeddingMetric
    cosines      MeanTargetAngle: a plain Keras metric, as every other one in an EmbeddingModel's `compile`

A metric of embeddings works in any Keras model that puts out embeddings; `EmbeddingModel` tells the two kinds apart.
"""

from keras_margin.metrics.angles import MeanTargetAngle
from keras_margin.metrics.base import EmbeddingMetric
from keras_margin.metrics.retrieval import MeanAveragePrecisionAtR, RecallAtK
from keras_margin.metrics.verification import AUC, EqualErrorRate, TARAtFAR

__all__ = ["AUC", "EmbeddingMetric", "EqualErrorRate", "MeanAveragePrecisionAtR", "MeanTargetAngle", "RecallAtK"]
__all__ += ["TARAtFAR"]
