"""Models: EmbeddingModel, which trains under a margin head and predicts embeddings."""

from keras_margin.models.embedding_model import EmbeddingModel, accumulation_steps, synchronize_batch_norm

__all__ = ["EmbeddingModel", "accumulation_steps", "synchronize_batch_norm"]
