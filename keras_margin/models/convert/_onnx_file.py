"""ONNX files of insightface's networks, as arrays by the names of its state dicts.

torch.onnx folds a batch normalisation that follows a convolution into it; there the normalisation here becomes the
identity plus a bias. Nodes stand in the order in which the network computes, so the k-th layer of the graph is the k-th
here.
"""

import numpy as np

from keras_margin._utils.messages import install_hint
from keras_margin.models.convert import _parts

# Kinds of ours that an operator of the graph may be.
_OPERATORS = {
    "Conv": _parts.CONVOLUTIONS,
    "BatchNormalization": _parts.NORMS,
    "PRelu": ("prelu",),
    "Gemm": _parts.DENSE,
    "MatMul": _parts.DENSE,
}
# They carry numbers on, or leave them as they are.
_PASSED = ("Add", "Flatten", "Reshape", "Identity", "Dropout", "Constant", "Shape", "Gather", "Concat", "Unsqueeze")
_SCALING = ("Sub", "Mul", "Div")
_EPSILON = 1e-5


def load(path, networks):
    """(network, arrays by name, input scale) of an ONNX file.

    Args:
        path: The file.
        networks: Those that it may be, in insightface's table.

    Raises:
        ValueError: Where it is not an ONNX file or of none of these networks; the message names the first difference.
        ImportError: Without the extra "onnx".
    """
    nodes, constants, scale = _graph(path)
    differences = {}
    for network in networks:
        try:
            return network, _matched(nodes, constants, network), scale
        except _DifferenceError as error:
            differences[network] = error
    # The network that it resembles longest is the one it was meant to be.
    nearest = max(differences, key=lambda network: differences[network].at)
    raise ValueError(f"{path} is not {nearest}: {differences[nearest]}.")


class _DifferenceError(Exception):
    def __init__(self, at, message):
        super().__init__(message)
        self.at = at


def _graph(path):
    """(nodes with weights, constants by name, input scale)."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError as error:
        raise ImportError(f"Reading ONNX needs the package onnx: {install_hint('onnx')}.") from error
    try:
        graph = onnx.load(path).graph
    except DecodeError as error:
        raise ValueError(f"{path} is not an ONNX file, or is cut off or damaged: {error}.") from None
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes, scaling = [], []
    for node in graph.node:
        if node.op_type == "Constant":
            values = [field.t for field in node.attribute if field.name == "value"]
            constants |= {node.output[0]: numpy_helper.to_array(value) for value in values}  # noqa: B035  One at most.
        if node.op_type in _OPERATORS:
            nodes.append(node)
        elif node.op_type in _SCALING and not nodes:
            scaling.append(node)
        elif node.op_type not in _PASSED:
            raise ValueError(f"{path} is of no network that is known here: its node {node.name!r} is a {node.op_type}.")
    if not nodes:
        raise ValueError(f"{path} is of no network that is known here: it has no convolution.")
    return nodes, constants, _scale(path, scaling, constants)


def _scale(path, scaling, constants):
    """What pixels are divided by inside the graph; 127.5, what insightface does in front of it, where they are not."""
    if not scaling:
        return 127.5
    operators = [node.op_type for node in scaling]
    values = [float(constants[node.input[1]].reshape(-1)[0]) for node in scaling if node.input[1] in constants]
    if len(values) != 2 or operators[0] != "Sub" or values[0] != 127.5 or operators[1] not in ("Mul", "Div"):
        raise ValueError(f"{path} changes its pixels by {operators}, {values}; (x - 127.5) / scale is known here.")
    return 1 / values[1] if operators[1] == "Mul" else values[1]


def _matched(nodes, constants, network):
    """Arrays by the names of the network's state dict."""
    state, parts = {}, network.parts
    embedding_size = constants[nodes[-1].input[1]].shape[0] if len(nodes[-1].input) > 1 else 0
    shapes = network.shapes(embedding_size)
    at, folded = 0, None
    for part in parts:
        node = nodes[at] if at < len(nodes) else None
        if part.kind in _parts.NORMS and folded is None and node is None and part is parts[-1]:
            # Some tools fold the last one into the fully connected layer, whose own bias it then is.
            folded = np.zeros(embedding_size, "float32")
        if part.kind in _parts.NORMS and folded is not None:
            # What has a bias here had none in PyTorch: the normalisation behind it is in it already.
            state |= _identity(part, folded)
            folded = None
            continue
        if node is None or part.kind not in _OPERATORS[node.op_type]:
            found = "ends" if node is None else f"has the {node.op_type} {node.name!r}"
            raise _DifferenceError(at, f"where {part.module} should be it {found}")
        arrays, bias = _arrays(node, constants, part)
        for name, array in arrays.items():
            if name not in shapes or array.shape != shapes[name]:
                raise _DifferenceError(at, f"{name} is {array.shape}, and should be {shapes.get(name)}")
        state |= arrays
        at, folded = at + 1, bias
    if at < len(nodes):
        raise _DifferenceError(at, f"its {nodes[at].op_type} {nodes[at].name!r} is one too many")
    return state


def _identity(part, bias):
    """Batch normalisation that adds a bias: variance + epsilon is 1."""
    ones = np.ones_like(bias)
    values = {"weight": ones, "bias": bias, "running_mean": 0 * ones, "running_var": ones * np.float32(1 - _EPSILON)}
    return {f"{part.module}.{name}": value for name, value in values.items()}


def _arrays(node, constants, part):
    """(arrays by name, bias that is folded in or None) of one node."""
    try:
        values = [constants[name] for name in node.input[1:] if name]
    except KeyError as error:
        raise _DifferenceError(0, f"{node.op_type} {node.name!r} has no weights but {error}") from None
    if part.kind in _parts.NORMS:
        names = ("weight", "bias", "running_mean", "running_var")
        epsilon = next((field.f for field in node.attribute if field.name == "epsilon"), _EPSILON)
        if not np.isclose(epsilon, _EPSILON, rtol=1e-3):
            # The same function by our epsilon.
            values[3] = values[3] + np.float32(epsilon - _EPSILON)
        return {f"{part.module}.{name}": value for name, value in zip(names, values, strict=True)}, None
    if part.kind == "prelu":
        return {f"{part.module}.weight": values[0].reshape(-1)}, None
    if part.kind in _parts.DENSE:
        transposed = any(field.name == "transB" and field.i for field in node.attribute)
        arrays = {f"{part.module}.weight": values[0] if transposed else values[0].T}
        if len(values) > 1 and part.kind == "flat_dense":
            arrays[f"{part.module}.bias"] = values.pop()
        return arrays, values[1] if len(values) > 1 else None
    return {f"{part.module}.weight": values[0]}, values[1] if len(values) > 1 else None
