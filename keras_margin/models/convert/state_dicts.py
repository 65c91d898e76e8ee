"""PyTorch state dicts of published networks as Keras models, by a table of their modules' names."""

from typing import Any

import keras

from keras_margin._typing import PathLike
from keras_margin._utils import normalization as pixels
from keras_margin._utils.messages import did_you_mean
from keras_margin.models.convert import _published, _torch_objects
from keras_margin.models.convert._torch_builder import TorchBuilder

NETWORKS = tuple(_published.NETWORKS)


class UnknownNetworkError(ValueError):
    """A state dict of none of NETWORKS."""


def from_state_dict(
    path: PathLike, network: str | None = None, *, normalization: Any = None, channels: str | None = None
) -> keras.Model:
    """Returns the Keras model of a file of torch.save that holds a published network.

    Read are state dicts, training checkpoints and whole pickled modules; nothing that the file names is run, PyTorch
    is not needed. Known are the networks in NETWORKS, by their tensors' names:

        foamliu_mobilefacenet         foamliu/MobileFaceNet
        mobilefacenet                 TreB1eN/InsightFace_Pytorch and ZhaoJ9014/face.evoLVe
        ir                            IR and IR-SE of the same two
        adaface_ir                    mk-minchul/AdaFace, from 18 to 200 layers
        facenet_inception_resnet_v1   timesler/facenet-pytorch

    Args:
        path: The file.
        network: Name in NETWORKS that it must be; None for what it is.
        normalization: As `from_onnx`; None for what the network's code feeds.
        channels: "RGB" or "BGR", what the network was trained on; None for its code's. Of "mobilefacenet" and "ir" it
            has to be given: InsightFace_Pytorch trains on BGR, face.evoLVe on RGB, and their names are the same.

    Returns:
        keras.Model from RGB pixels (batch, height, width, 3) in [0, 255] to embeddings (batch, embedding_size), not
        normalised.

    Raises:
        ValueError: Where the file is damaged or is not one of the networks; the message names the first difference.
        OSError: Where it cannot be read.

    Example:
        >>> model = from_state_dict("mobilefacenet.pt")  # doctest: +SKIP
        >>> keras_margin.export.to_tflite(model, "face.tflite")  # doctest: +SKIP
    """
    if network is not None and network not in NETWORKS:
        hint = did_you_mean(network, NETWORKS)
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}. Received: network={network!r}.{hint}")
    if channels not in (None, "RGB", "BGR"):
        raise ValueError(f'channels must be "RGB" or "BGR". Received: channels={channels!r}.')
    state = _torch_objects.load(path)
    name = network or _recognized(path, state)
    known = _published.NETWORKS[name]
    channels = channels or known.channels
    if channels is None:
        raise ValueError(
            f"{path} is of {name}: InsightFace_Pytorch trains it on BGR, face.evoLVe on RGB, under the same names. "
            'Pass channels="BGR" or channels="RGB".'
        )
    missing = next((mark for mark in known.marks if mark not in state), None)
    if missing:
        raise ValueError(f"{path} is not of {name}: {missing} is missing.")
    state = {key: array for key, array in state.items() if not key.startswith(known.left_out or ("\0",))}
    build = TorchBuilder(path, state, name, channels)
    given = known.normalization if normalization is None else normalization
    x = build.image(known.side(state), pixels.resolve(given))
    return build.model(known.function(build, x), name)


def _recognized(path, state):
    for name, known in _published.NETWORKS.items():
        if all(mark in state for mark in known.marks):
            return name
    raise UnknownNetworkError(
        f"{path} is of no network that is known here: its first tensor is {next(iter(state))!r}. Known are "
        f"{', '.join(NETWORKS)}, and insightface's by from_insightface."
    )
