"""keras-margin: margin-softmax embeddings for Keras 3, from the data to the device.

    import keras_margin as km

    head = km.ArcFaceHead(num_classes)
    model = km.EmbeddingModel(backbone, head=head)

Names are loaded on first use (PEP 562), so `keras_margin.runtime` runs on a device that has neither Keras nor
TensorFlow, and `keras_margin.evaluation` needs NumPy alone.
"""

import importlib
from typing import TYPE_CHECKING

from keras_margin import _registration

if TYPE_CHECKING:
    # `name as name` is how a typed package says that it exports the name; sorted imports would take a line each.
    # isort: off
    from keras_margin import (
        alignment as alignment,
        callbacks as callbacks,
        data as data,
        detection as detection,
        evaluation as evaluation,
        export as export,
        layers as layers,
        losses as losses,
        margins as margins,
        metrics as metrics,
        models as models,
        ops as ops,
        optimizers as optimizers,
        plots as plots,
        recipes as recipes,
        runtime as runtime,
        training as training,
    )
    from keras_margin.evaluation.embedders import load_embedder as load_embedder
    from keras_margin.layers import (
        AdaFaceHead as AdaFaceHead,
        ArcFaceHead as ArcFaceHead,
        CombinedMarginHead as CombinedMarginHead,
        CosFaceHead as CosFaceHead,
        CurricularFaceHead as CurricularFaceHead,
        L2SoftmaxHead as L2SoftmaxHead,
        LSoftmaxHead as LSoftmaxHead,
        MagFaceHead as MagFaceHead,
        MarginHead as MarginHead,
        NormSoftmaxHead as NormSoftmaxHead,
        QAMFaceHead as QAMFaceHead,
        SoftmaxHead as SoftmaxHead,
        SphereFaceArccosHead as SphereFaceArccosHead,
        SphereFaceHead as SphereFaceHead,
        SubCenterArcFaceHead as SubCenterArcFaceHead,
    )
    from keras_margin.models import EmbeddingModel as EmbeddingModel
    # isort: on

__version__ = "0.2.0"

_MODULES = (
    "alignment",
    "callbacks",
    "data",
    "detection",
    "evaluation",
    "export",
    "layers",
    "losses",
    "margins",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "plots",
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
    "EmbeddingModel": "models",
    "load_embedder": "evaluation",
}

_BACKENDS = ("tensorflow", "jax", "torch")

__all__ = ["__version__", *_MODULES, *_HOMES]


def _load(name: str):
    home = _HOMES.get(name, name)
    if home not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has: {', '.join(__all__)}.")
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("keras", *_BACKENDS):
            raise
        from keras_margin._utils.messages import install_hint

        raise ImportError(
            f"keras-margin needs Keras and a backend for it; {missing} cannot be imported. Install one: "
            f"{install_hint('cpu')} (TensorFlow without CUDA), or with gpu (TensorFlow with CUDA), or jax or torch and "
            "KERAS_BACKEND=jax or torch, in the brackets. For keras_margin.runtime alone litert is enough."
        ) from error
    return getattr(module, name) if name in _HOMES else module


if not TYPE_CHECKING:  # A checker that sees __getattr__ lets every misspelt name pass.
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted(__all__)


_registration.register_when_keras_is_imported(__name__)
