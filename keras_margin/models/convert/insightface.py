"""insightface's networks: state dicts and ONNX files to Keras models, and Keras models to state dicts."""

import logging
import pathlib
import re
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_margin._typing import PathLike
from keras_margin._utils import files
from keras_margin.models import backbones
from keras_margin.models.convert import _onnx_file, _parts, _torch_file

logger = logging.getLogger(__name__)

# insightface's PyTorch code feeds (x / 255 - 0.5) / 0.5.
INPUT_SCALE = 127.5

# Theirs by our names: r18 ... r200, mbf, mbf_large.
ARCHITECTURES = {
    "ir_resnet18": (2, 2, 2, 2),
    "ir_resnet34": (3, 4, 6, 3),
    "ir_resnet50": (3, 4, 14, 3),
    "ir_resnet100": (3, 13, 30, 3),
    "ir_resnet200": (6, 26, 60, 6),
    "mobilefacenet_x2": (1, 4, 6, 2),
    "mobilefacenet_large": (2, 8, 12, 4),
}
_WIDTHS = {"mobilefacenet_x2": 2, "mobilefacenet_large": 4}

# Where a file of training keeps the network, besides epochs and optimisers.
_NESTED = ("state_dict_backbone", "backbone", "state_dict", "model_state_dict", "model")


class _Network(NamedTuple):
    """One network of either family.

    Attributes:
        name: Ours, if it is a published one.
        family: "IR-ResNet" or "MobileFaceNet".
        counts: Units of the stages, or blocks.
        width: Of a MobileFaceNet; None.
    """

    name: str | None
    family: str
    counts: tuple
    width: int | None

    @property
    def parts(self):
        return _parts.ir_resnet(self.counts) if self.width is None else _parts.mobilefacenet(self.counts)

    def shapes(self, embedding_size):
        if self.width is None:
            return _parts.ir_shapes(self.counts, embedding_size)
        return _parts.mobilefacenet_shapes(self.counts, self.width, embedding_size)

    def build(self, **kwargs):
        if self.width is None:
            return backbones.ir_resnet(self.counts, dropout=0.0, **kwargs)
        return backbones.mobilefacenet(blocks=self.counts, width=self.width, **kwargs)

    def __str__(self) -> str:
        return self.name or f"{self.family} of {self.counts}"


def from_insightface(path: PathLike, architecture: str | None = None, input_scale: float | None = None) -> keras.Model:
    """Builds the Keras network with the weights of a file that insightface's PyTorch code wrote.

    Reads state dicts of iresnet18, 34, 50, 100, 200 and MobileFaceNet (arcface_torch's backbone.pth, checkpoints too)
    and ONNX files of the same networks (w600k_r50.onnx and the like; extra "onnx"). Nothing in the file is run. The
    embeddings are PyTorch's to float32 rounding.

    Args:
        path: File ending in .onnx, or of torch.save by any other name.
        architecture: Name in ARCHITECTURES that the file must be of; None to take what it is.
        input_scale: Pixels enter as (x - 127.5) / input_scale; None for 127.5, or what an ONNX graph does itself.

    Returns:
        keras.Model from RGB pixels (batch, 112, 112, 3) in [0, 255] to embeddings (batch, embedding_size), not
        normalised: a backbone of keras_margin.models.backbones, to predict, train on or export.

    Raises:
        ValueError: Where the file is damaged, asks for anything but tensors, or is not of the architecture; the
            message names the first difference.
        ImportError: For an ONNX file without the extra.
        OSError: Where the file cannot be read.

    Example:
        >>> network = keras_margin.models.backbones.mobilefacenet_x2(blocks=(1, 1, 1, 1), input_scale=127.5)
        >>> to_insightface(network, "backbone.pth")
        >>> from_insightface("backbone.pth").output_shape
        (None, 512)

    Reference: insightface, recognition/arcface_torch.
    """
    if architecture is not None and architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}. Received: {architecture!r}.")
    wanted = None if architecture is None else _known(architecture)
    if pathlib.Path(path).suffix.lower() == ".onnx":
        known = [wanted] if wanted else [_known(name) for name in ARCHITECTURES]
        network, state, found_scale = _onnx_file.load(path, known)
    else:
        state, found_scale = _state_dict(path), INPUT_SCALE
        network = wanted or _network_of(path, state)
    state = _checked(path, network, state)
    last = "features.weight" if network.width is None else "features.layers.2.weight"
    model = network.build(
        embedding_size=state[last].shape[0], input_scale=input_scale or found_scale, name=network.name or "backbone"
    )
    if network.width is None:
        _fold_the_last_scale(path, state)
    _fill(model, network.parts, state)
    return model


def to_insightface(model: keras.Model, path: PathLike) -> None:
    """Writes a network's weights as the state dict that insightface's PyTorch code loads.

    torch.load(path, weights_only=True) gives it; PyTorch is not needed to write it. What was read by from_insightface
    is written back equal, save that num_batches_tracked, which nothing uses, is 0. Pixels that entered by another scale
    than insightface's 127.5 are made up for in the first kernel.

    Args:
        model: IR-ResNet or MobileFaceNet of `models.backbones` at 112 x 112 pixels, of the published widths, with
            PReLU and without squeeze-and-excitation; or an EmbeddingModel of one.
        path: File to write, usually *.pth.

    Raises:
        ValueError: Where insightface has no such network; the message names the first difference.
        OSError: Where the place cannot be written.

    Example:
        >>> import pathlib
        >>> to_insightface(keras_margin.models.backbones.mobilefacenet_x2(blocks=(1, 1, 1, 1)), "backbone.pth")
        >>> pathlib.Path("backbone.pth").stat().st_size > 1e6
        True
    """
    backbone = getattr(model, "embedder", model)
    names = {layer.name for layer in backbone.layers}
    network = _network_by_layers(names)
    weights = {weight.path: ops.convert_to_numpy(weight) for weight in backbone.weights if "seed" not in weight.path}
    parts = network.parts
    ours = {f"{part.layer}/{entry.ours}" for part in parts for entry in _parts.KINDS[part.kind] if entry.ours}
    for kind, differing in (("has no", ours - weights.keys()), ("has", weights.keys() - ours)):
        if differing:
            raise ValueError(
                f"{backbone.name} is not a network of insightface's: as {network} it {kind} {min(differing)}."
            )
    if tuple(backbone.input_shape[1:]) != (112, 112, 3):
        raise ValueError(f"insightface's networks take 112 x 112 pixels. Received: {backbone.input_shape[1:]}.")
    state = _parts.to_state_dict(parts, weights)
    for name, shape in network.shapes(state[f"{parts[-1].module}.bias"].shape[0]).items():
        if state[name].shape != shape:
            raise ValueError(
                f"{backbone.name} is not a network of insightface's: {name} would be {state[name].shape}, "
                f"{network} has {shape}."
            )
    scale = float(backbone.get_layer("normalize").scale) * INPUT_SCALE
    if not np.isclose(scale, 1, rtol=1e-6):
        state[f"{parts[0].module}.weight"] *= np.float32(scale)
    with files.atomic_write(path) as temporary:
        _torch_file.save(state, temporary)


def _known(name):
    family = "MobileFaceNet" if name in _WIDTHS else "IR-ResNet"
    return _Network(name, family, ARCHITECTURES[name], _WIDTHS.get(name))


def _named(family, counts, width=None):
    for name, known in ARCHITECTURES.items():
        if known == counts and _WIDTHS.get(name) == width:
            return _known(name)
    return _Network(None, family, counts, width)


def _state_dict(path: PathLike):
    """Tensors by name, out of a state dict or of a checkpoint that holds one."""
    value = _torch_file.load(path)
    if isinstance(value, dict):
        for key in _NESTED:
            if isinstance(value.get(key), dict):
                value = value[key]
                break
    if not isinstance(value, dict) or not any(isinstance(item, np.ndarray) for item in value.values()):
        what = f"a dict of {', '.join(map(str, list(value)[:5]))}" if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{path} holds no state dict, tensors by name, but {what}.")
    state = {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, np.ndarray)}
    # What DistributedDataParallel puts in front.
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): item for key, item in state.items()}
    return state


def _network_of(path, state):
    """The network whose names these are."""
    if "layer1.0.bn1.weight" in state and "fc.weight" in state:
        counts = tuple(_count(state, rf"layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
        return _named("IR-ResNet", counts)
    if "conv_sep.layers.0.weight" in state and "layers.0.layers.0.weight" in state:
        depth = r"\.layers\.(\d+)\.layers\.\d+\.layers\.\d+\.weight"
        counts = (_count(state, rf"layers\.1{depth}") or 1, *(_count(state, rf"layers\.{n}{depth}") for n in (3, 5, 7)))
        return _named("MobileFaceNet", counts, max(1, state["layers.0.layers.0.weight"].shape[0] // 64))
    raise ValueError(
        f"{path} is of no network that is known here: its first tensor is {next(iter(state))!r}. Known are "
        "insightface's IR-ResNets (layer1.0.bn1.weight ... features.weight) and MobileFaceNets "
        "(layers.0.layers.0.weight ... features.layers.3.weight); from_state_dict knows more."
    )


def _count(state, pattern):
    """One more than the largest number that `pattern` finds in a name."""
    return 1 + max((int(found[1]) for name in state if (found := re.match(pattern, name))), default=-1)


def _network_by_layers(names):
    """The network of insightface's whose layers have these names of ours."""

    def units(stage):
        return max((int(found[1]) for name in names if (found := re.match(rf"{stage}_unit(\d+)_", name))), default=0)

    stages = [units(f"stage{stage}") for stage in (1, 2, 3, 4)]
    if "stage1_unit1_bn1" in names and all(stages):
        return _named("IR-ResNet", tuple(stages))
    if "tail_gdc" in names and "last_conv" in names:
        counts = (max(1, units("stem")), *(count - 1 for count in stages[:3]))
        return _named("MobileFaceNet", counts, 4 if counts == ARCHITECTURES["mobilefacenet_large"] else 2)
    raise ValueError("insightface's networks are IR-ResNets of four stages and MobileFaceNets. Received neither.")


def _checked(path, network, state):
    """Float32 arrays of just the network's names and shapes.

    Raises:
        ValueError: On the first difference, in the network's order.
    """
    last = "features.bias" if network.width is None else "features.layers.3.bias"
    embedding_size = state[last].shape[0] if last in state and state[last].ndim == 1 else 512
    wanted = network.shapes(embedding_size)
    checked = {}
    for name, shape in wanted.items():
        if name not in state:
            raise ValueError(f"{path} is not {network}: {name} is missing.")
        array = state[name]
        if array.shape != shape:
            raise ValueError(f"{path} is not {network}: {name} is {array.shape}, and should be {shape}.")
        if array.dtype.kind != "f":
            raise ValueError(f"{path}: {name} is {array.dtype}, and should be float32.")
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity.")
        checked[name] = array.astype("float32")
    extra = [name for name in state if name not in wanted and not name.endswith(".num_batches_tracked")]
    if extra:
        raise ValueError(f"{path} is not {network}: {extra[0]} is one tensor too many.")
    return checked


def _fold_the_last_scale(path, state):
    """Takes the last scale, fixed at 1 in training, into the layer in front where a file has another."""
    scale = state["features.weight"]
    if (scale == 1).all():
        return
    logger.warning("%s: features.weight is not 1; it is multiplied into fc and features.running_mean.", path)
    # g (x - m) / sqrt(v + eps) = (g x - g m) / sqrt(v + eps)
    state["fc.weight"] = state["fc.weight"] * scale[:, None]
    state["fc.bias"] = state["fc.bias"] * scale
    state["features.running_mean"] = state["features.running_mean"] * scale


def _fill(model: keras.Model, parts, state):
    ours = {weight.path: weight for weight in model.weights}
    for part in parts:
        for entry in _parts.KINDS[part.kind]:
            if entry.ours is not None:
                weight = ours[f"{part.layer}/{entry.ours}"]
                weight.assign(entry.read(state[f"{part.module}.{entry.theirs}"], tuple(weight.shape)))  # type: ignore[operator]
