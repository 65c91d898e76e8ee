"""keras-margin: margin-softmax embeddings for Keras 3, from the data to the device.

    import keras_margin as km

    head = km.ArcFaceHead(num_classes)
    model = km.EmbeddingModel(backbone, head=head)

Names are loaded on first use (PEP 562), so `keras_margin.runtime` runs on a device that has neither Keras nor
TensorFlow, and `keras_margin.evaluation` needs NumPy alone.
"""

import importlib

__version__ = "0.1.0"

_MODULES = (
    "alignment",
    "backbones",
    "curves",
    "data",
    "evaluation",
    "export",
    "fused",
    "heads",
    "losses",
    "margins",
    "model",
    "numerics",
    "plots",
    "recipes",
    "runtime",
    "training",
)

_HOMES = {
    "MarginHead": "heads",
    "NormSoftmaxHead": "heads",
    "ArcFaceHead": "heads",
    "CosFaceHead": "heads",
    "SphereFaceHead": "heads",
    "SphereFaceArccosHead": "heads",
    "CombinedMarginHead": "heads",
    "QAMFaceHead": "heads",
    "AdaFaceHead": "heads",
    "MagFaceHead": "heads",
    "CurricularFaceHead": "heads",
    "SubCenterArcFaceHead": "heads",
    "SoftmaxHead": "heads",
    "LSoftmaxHead": "heads",
    "L2SoftmaxHead": "heads",
    "HEADS": "heads",
    "BACKBONES": "backbones",
    "EmbeddingModel": "model",
}

__all__ = ["__version__", *_MODULES, *_HOMES]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__all__)}.")


def __dir__():
    return sorted(__all__)
