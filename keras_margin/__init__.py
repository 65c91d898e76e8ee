"""keras-margin: margin-softmax embeddings for Keras 3, from the data to the device.

    import keras_margin as km

    head = km.ArcFaceHead(num_classes)
    model = km.EmbeddingModel(backbone, head=head)

Names are loaded on first use (PEP 562), so `keras_margin.runtime` runs on a device that has neither Keras nor
TensorFlow, and `keras_margin.evaluation` needs NumPy alone.
"""

import importlib

from keras_margin import _registration

__version__ = "0.1.0"

_MODULES = (
    "alignment",
    "audit",
    "backbones",
    "convert",
    "curves",
    "data",
    "embedders",
    "evaluation",
    "experiment",
    "export",
    "layers",
    "losses",
    "margins",
    "metadata",
    "models",
    "ops",
    "optimizers",
    "pairs",
    "photographs",
    "plots",
    "progress",
    "protocols",
    "recipes",
    "runtime",
    "training",
)

_HOMES = {
    "MarginHead": "layers",
    "NormSoftmaxHead": "layers",
    "ArcFaceHead": "layers",
    "CosFaceHead": "layers",
    "SphereFaceHead": "layers",
    "SphereFaceArccosHead": "layers",
    "CombinedMarginHead": "layers",
    "QAMFaceHead": "layers",
    "AdaFaceHead": "layers",
    "MagFaceHead": "layers",
    "CurricularFaceHead": "layers",
    "SubCenterArcFaceHead": "layers",
    "SoftmaxHead": "layers",
    "LSoftmaxHead": "layers",
    "L2SoftmaxHead": "layers",
    "HEADS": "layers",
    "BACKBONES": "backbones",
    "EmbeddingModel": "models",
    "load_embedder": "embedders",
}

_BACKENDS = ("tensorflow", "jax", "torch")

__all__ = ["__version__", *_MODULES, *_HOMES]


def __getattr__(name):
    home = _HOMES.get(name, name)
    if home not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__all__)}.")
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("keras", *_BACKENDS):
            raise
        from keras_margin.messages import install_hint

        raise ImportError(
            f"keras-margin needs Keras and a backend for it; {missing} cannot be imported. Install one: "
            f"{install_hint('cpu')} (TensorFlow without CUDA), or with gpu (TensorFlow with CUDA), or jax or torch and "
            "KERAS_BACKEND=jax or torch, in the brackets. For keras_margin.runtime alone litert is enough."
        ) from error
    return getattr(module, name) if name in _HOMES else module


def __dir__():
    return sorted(__all__)


_registration.register_when_keras_is_imported(__name__)
