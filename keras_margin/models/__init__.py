"""Models: EmbeddingModel, which trains under a margin head and predicts embeddings."""

from keras_margin.models._loss_schedule import LossSchedule
from keras_margin.models._training import accumulation_steps, synchronize_batch_norm
from keras_margin.models.embedding_model import EmbeddingModel

__all__ = ["EmbeddingModel", "LossSchedule", "accumulation_steps", "synchronize_batch_norm"]
