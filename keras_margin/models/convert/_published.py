"""Networks whose PyTorch weights are in common use, as their published code computes them.

Each is a function of (TorchBuilder, normalized image) that names the modules in the order in which they compute.
Numbers of units, channels and kernels are those of the tensors; strides and paddings are the code's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import layers

# --- foamliu/MobileFaceNet: ReLU6, a depthwise separable convolution with ReLU behind the stem ------------------------

# Inverted residuals that halve the map: the first of the settings (2, 64, 5, 2), (4, 128, 1, 2) and, behind six of
# stride 1, (4, 128, 1, 2).
_HALVING = (0, 5, 12)


def foamliu(build, x):
    """MobileFaceNet of foamliu: mobilefacenet.py."""
    x = _relu6(build, build.batch_norm(build.conv(x, "conv1.0", 2, 1), "conv1.1"), "conv1.2")
    x = build.conv(x, "dw_conv.depthwise", 1, 1, x.shape[-1])
    x = build.layer(layers.ReLU, "dw_conv.relu1", build.batch_norm(x, "dw_conv.bn1"))
    x = build.conv(x, "dw_conv.pointwise")
    x = build.layer(layers.ReLU, "dw_conv.relu2", build.batch_norm(x, "dw_conv.bn2"))
    for unit in range(build.count("features.")):
        x = _inverted_residual(build, x, f"features.{unit}", 2 if unit in _HALVING else 1)
    x = _relu6(build, build.batch_norm(build.conv(x, "conv2.0"), "conv2.1"), "conv2.2")
    x = build.batch_norm(build.conv(x, "gdconv.depthwise", groups=x.shape[-1]), "gdconv.bn")
    x = build.batch_norm(build.conv(x, "conv3"), "bn")
    return build.layer(layers.Flatten, "embedding", x)


def _inverted_residual(build, x, name, strides):
    inside = _relu6(build, build.batch_norm(build.conv(x, f"{name}.conv.0.0"), f"{name}.conv.0.1"), f"{name}.conv.0.2")
    inside = build.conv(inside, f"{name}.conv.1.0", strides, 1, inside.shape[-1])
    inside = _relu6(build, build.batch_norm(inside, f"{name}.conv.1.1"), f"{name}.conv.1.2")
    inside = build.batch_norm(build.conv(inside, f"{name}.conv.2"), f"{name}.conv.3")
    if strides == 1 and inside.shape[-1] == x.shape[-1]:
        return build.layer(layers.Add, f"{name}.add", [x, inside])
    return inside


def _relu6(build, x, name):
    return build.layer(layers.ReLU, name, x, max_value=6.0)


# --- MobileFaceNet of TreB1eN/InsightFace_Pytorch and ZhaoJ9014/face.evoLVe -------------------------------------------


def mobilefacenet(build, x):
    """MobileFaceNet of InsightFace_Pytorch's model.py and face.evoLVe's backbone/MobileFaceNets.py."""
    x = _block(build, x, "conv1", 2, 1)
    x = _block(build, x, "conv2_dw", 1, 1, x.shape[-1])
    for halving, stage in (("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5")):
        x = _depthwise(build, x, halving, 2)
        for unit in range(build.count(f"{stage}.model.")):
            name = f"{stage}.model.{unit}"
            x = build.layer(layers.Add, f"{name}.add", [x, _depthwise(build, x, name, 1)])
    x = _block(build, x, "conv_6_sep")
    x = _linear_block(build, x, "conv_6_dw", groups=x.shape[-1])
    return build.batch_norm(build.dense(x, "linear"), "bn")


def _linear_block(build, x, name, strides=1, pads=0, groups=1):
    return build.batch_norm(build.conv(x, f"{name}.conv", strides, pads, groups), f"{name}.bn")


def _block(build, x, name, strides=1, pads=0, groups=1):
    return build.prelu(_linear_block(build, x, name, strides, pads, groups), f"{name}.prelu")


def _depthwise(build, x, name, strides):
    x = _block(build, x, f"{name}.conv")
    x = _block(build, x, f"{name}.conv_dw", strides, 1, x.shape[-1])
    return _linear_block(build, x, f"{name}.project")


# --- IR and IR-SE of InsightFace_Pytorch, face.evoLVe and AdaFace -----------------------------------------------------


def ir(build, x):
    """IR, IR-SE and their bottlenecks: InsightFace_Pytorch's model.py, face.evoLVe's model_irse.py, AdaFace's net.py.

    Which layers a unit has is told by its tensors: AdaFace has a normalization in front of each PReLU.
    """
    x = build.batch_norm(build.conv(x, "input_layer.0", 1, 1), "input_layer.1")
    x = build.prelu(x, "input_layer.2")
    for unit in range(build.count("body.")):
        x = _ir_unit(build, x, f"body.{unit}", first=unit == 0)
    x = build.dense(build.batch_norm(x, "output_layer.0"), "output_layer.3")
    return build.batch_norm(x, "output_layer.4")


def _ir_unit(build, x, name, first):
    projected = build.has(f"{name}.shortcut_layer.0.weight")
    # The first unit of each stage halves the map. In all but the first stage the channels change there.
    strides = 2 if first or projected else 1
    shortcut = x
    if projected:
        shortcut = build.conv(x, f"{name}.shortcut_layer.0", strides)
        shortcut = build.batch_norm(shortcut, f"{name}.shortcut_layer.1")
    elif strides == 2:
        shortcut = build.max_pool(x, 1, 2, f"{name}.shortcut_layer")
    modules = [f"{name}.res_layer.{index}" for index in range(build.count(f"{name}.res_layer."))]
    # The last convolution has the stride.
    last = [module for module in modules if build.sides(f"{module}.weight")][-1:]
    for module in modules:
        x = _ir_layer(build, x, module, strides if [module] == last else 1)
    gate = f"{name}.res_layer.se_block"
    x = _squeeze_excite(build, x, gate) if build.has(f"{gate}.fc1.weight") else x
    return build.layer(layers.Add, f"{name}.add", [x, shortcut])


def _ir_layer(build, x, module, strides):
    if build.has(f"{module}.running_mean"):
        return build.batch_norm(x, module)
    if build.has(f"{module}.fc1.weight"):
        return _squeeze_excite(build, x, module)
    sides = build.sides(f"{module}.weight")
    return build.conv(x, module, strides, _half(sides)) if sides else build.prelu(x, module)


def _half(sides):
    return tuple(side // 2 for side in sides)


def _squeeze_excite(build, x, name):
    gate = build.layer(layers.GlobalAveragePooling2D, f"{name}.avg_pool", x, keepdims=True, data_format="channels_last")
    gate = build.layer(layers.ReLU, f"{name}.relu", build.conv(gate, f"{name}.fc1"))
    gate = build.layer(layers.Activation, f"{name}.sigmoid", build.conv(gate, f"{name}.fc2"), activation="sigmoid")
    return build.layer(layers.Multiply, name, [x, gate])


# --- InceptionResnetV1 of timesler/facenet-pytorch --------------------------------------------------------------------

_EPSILON = 1e-3


def inception_resnet_v1(build, x):
    """InceptionResnetV1 of facenet-pytorch: models/inception_resnet_v1.py; its `logits` are left out."""
    x = _basic(build, x, "conv2d_1a", 2)
    x = _basic(build, _basic(build, x, "conv2d_2a"), "conv2d_2b", 1, 1)
    x = build.max_pool(x, 3, 2, "maxpool_3a")
    x = _basic(build, _basic(build, x, "conv2d_3b"), "conv2d_4a")
    x = _basic(build, x, "conv2d_4b", 2)
    x = _repeated(build, x, "repeat_1", 0.17)
    x = _reduced(build, x, "mixed_6a", ((2,), (1, 1, 2)))
    x = _repeated(build, x, "repeat_2", 0.10)
    x = _reduced(build, x, "mixed_7a", ((1, 2), (1, 2), (1, 1, 2)))
    x = _repeated(build, x, "repeat_3", 0.20)
    x = _inception_unit(build, x, "block8", 1.0, activated=False)
    x = build.layer(layers.GlobalAveragePooling2D, "avgpool_1a", x, data_format="channels_last")
    return build.batch_norm(build.dense(x, "last_linear"), "last_bn", _EPSILON)


def _basic(build, x, name, strides=1, pads=0):
    x = build.batch_norm(build.conv(x, f"{name}.conv", strides, pads), f"{name}.bn", _EPSILON)
    return build.layer(layers.ReLU, f"{name}.relu", x)


def _repeated(build, x, name, scale):
    for unit in range(build.count(f"{name}.")):
        x = _inception_unit(build, x, f"{name}.{unit}", scale)
    return x


def _inception_unit(build, x, name, scale, activated=True):
    branches = [f"{name}.branch{number}" for number in range(3) if build.starts(f"{name}.branch{number}.")]
    ends = [_branch(build, x, branch) for branch in branches]
    up = build.conv(build.layer(layers.Concatenate, f"{name}.concat", ends), f"{name}.conv2d")
    up = build.layer(layers.Rescaling, f"{name}.scale", up, scale=scale) if scale != 1 else up
    x = build.layer(layers.Add, f"{name}.add", [up, x])
    return build.layer(layers.ReLU, f"{name}.relu", x) if activated else x


def _branch(build, x, name):
    """A chain of convolutions that keep the map's size, or a single one."""
    if build.has(f"{name}.conv.weight"):
        return _basic(build, x, name)
    for number in range(build.count(f"{name}.")):
        module = f"{name}.{number}"
        x = _basic(build, x, module, 1, _half(build.sides(f"{module}.conv.weight")))
    return x


def _reduced(build, x, name, chains):
    """Branches that end in stride 2 without padding, and a pool."""
    ends = []
    for number, strides in enumerate(chains):
        branch, y = f"{name}.branch{number}", x
        for at, stride in enumerate(strides):
            module = branch if len(strides) == 1 else f"{branch}.{at}"
            pads = 0 if stride == 2 else _half(build.sides(f"{module}.conv.weight"))
            y = _basic(build, y, module, stride, pads)
        ends.append(y)
    ends.append(build.max_pool(x, 3, 2, f"{name}.branch{len(chains)}"))
    return build.layer(layers.Concatenate, f"{name}.concat", ends)


# --- The table --------------------------------------------------------------------------------------------------------


class Published(NamedTuple):
    """One network's code.

    Attributes:
        function: Builds it.
        marks: Names of tensors by which a state dict is recognized.
        normalization: What its code feeds.
        channels: "RGB" or "BGR"; None where codes with the same names differ.
        side: Function of the state dict to (height, width) of the images.
        left_out: Prefixes of tensors that do not make the embedding.
    """

    function: Callable[..., Any]
    marks: tuple
    normalization: str
    channels: str | None
    side: Callable[..., Any]
    left_out: tuple = ()


# 16 pixels of the image are one of the last map.
def _of_global_kernel(name):
    return lambda state: tuple(16 * side for side in state[name].shape[2:])


def _of_fully_connected(state):
    channels, inputs = state["output_layer.0.weight"].shape[0], state["output_layer.3.weight"].shape[1]
    side = 16 * round((inputs / channels) ** 0.5)
    return side, side


NETWORKS = {
    "foamliu_mobilefacenet": Published(
        foamliu,
        ("dw_conv.depthwise.weight", "gdconv.depthwise.weight"),
        "imagenet",
        "RGB",
        _of_global_kernel("gdconv.depthwise.weight"),
    ),
    "mobilefacenet": Published(
        mobilefacenet,
        ("conv_23.conv.conv.weight", "conv_6_dw.conv.weight"),
        "minus_one_one",
        None,
        _of_global_kernel("conv_6_dw.conv.weight"),
    ),
    "adaface_ir": Published(
        ir,
        ("body.0.res_layer.2.running_mean", "output_layer.3.weight"),
        "minus_one_one",
        "BGR",
        _of_fully_connected,
    ),
    "ir": Published(
        ir, ("body.0.res_layer.2.weight", "output_layer.3.weight"), "minus_one_one", None, _of_fully_connected
    ),
    "facenet_inception_resnet_v1": Published(
        inception_resnet_v1,
        ("conv2d_1a.conv.weight", "last_linear.weight"),
        "facenet",
        "RGB",
        lambda _: (160, 160),
        ("logits.",),
    ),
}
