"""Models: EmbeddingModel, which trains under a margin head and predicts embeddings; networks; other people's weights.

`backbones` builds networks from images to embeddings, `convert` reads the weights that people already have.
Names are loaded on first use: building a network needs no head.
"""

from typing import TYPE_CHECKING

from keras_margin import _lazy

if TYPE_CHECKING:
    from keras_margin.models import backbones, convert
    from keras_margin.models.embedding_model import EmbeddingModel

__all__ = ["EmbeddingModel", "backbones", "convert"]

_HOMES = {"EmbeddingModel": "embedding_model", "backbones": "backbones", "convert": "convert"}

if not TYPE_CHECKING:  # A checker that sees __getattr__ lets every misspelt name pass.
    __getattr__ = _lazy.loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
