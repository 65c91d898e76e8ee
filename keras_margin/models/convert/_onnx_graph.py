"""An ONNX file as a Keras model: its nodes read, checked and built one after the other."""

import math
import pathlib

import keras
import numpy as np

from keras_margin._utils import metadata
from keras_margin._utils import normalization as pixels
from keras_margin._utils.messages import install_hint
from keras_margin.models.convert import _onnx_fusions, _onnx_operators
from keras_margin.models.convert._builder import Builder
from keras_margin.models.convert._onnx_values import CHANNELS_LAST, NotConvertedError, Value, require
from keras_margin.runtime import _tensors


def as_keras(path, normalization, channels, name=None, shown=None):
    """Returns the Keras model of an ONNX file, not yet compared with it; arguments as `from_onnx`.

    Args:
        path: The file.
        normalization: As `from_onnx`.
        channels: As `from_onnx`.
        name: As `from_onnx`.
        shown: What errors call the file; None for its path.
    """
    graph = Graph(path, shown)
    given = graph.checked(normalization)
    builder = Builder()
    images, x = builder.image(graph.image_size, given)
    if channels == "BGR" and not graph.channels_first:
        x = keras.ops.flip(x, axis=-1)
    if graph.channels_first:
        value = Value(x, CHANNELS_LAST, reversed=channels == "BGR")
    else:
        value = Value(x, (0, 1, 2, 3))
    output = _flat(graph, graph.compute(value, builder), builder)
    return keras.Model(images, output, name=name or Builder().name(pathlib.Path(path).stem))


def _flat(graph, value, builder):
    if not isinstance(value, Value):
        raise ValueError(f"{graph.shown} answers {graph.output!r}, which no image changes.")
    value = value.in_order(builder, "embedding")
    if None in value.shape[1:] or value.rank < 2 or math.prod(value.shape[1:]) != max(value.shape[1:]):
        raise ValueError(f"An embedder answers one row an image. Received: {graph.shown}, with shape {value.shape}.")
    if value.rank == 2:
        return value.tensor
    return builder.layer(keras.layers.Flatten, "embedding")(value.tensor)


class Graph:
    """An ONNX file: its nodes, constants, input and output.

    Attributes:
        path: The file.
        shown: What errors call it.
        input: Name of the image input.
        output: Name of the embedding.
        batch: Images a call, or None for any number.
        image_size: (height, width).
        channels_first: Whether the input is (batch, 3, height, width).
        takes_pixels: Whether the input is uint8.
    """

    def __init__(self, path, shown=None):
        self.path, path = path, shown or path
        self.shown = path
        self._onnx, model = _load(self.path)
        graph = model.graph
        text = next((each.value for each in model.metadata_props if each.key == metadata.METADATA_NAME), None)
        self.metadata = metadata.read_metadata(self.path) if text is None else metadata.parse(text, self.shown)
        self._opsets = {each.domain: each.version for each in model.opset_import}
        self._constants = {each.name: self._onnx.numpy_helper.to_array(each) for each in graph.initializer}
        inputs = [each for each in graph.input if each.name not in self._constants]
        outputs = [each.name for each in graph.output]
        if len(inputs) != 1 or (len(outputs) != 1 and "embedding" not in outputs):
            names = [each.name for each in inputs]
            raise ValueError(
                "An embedder has one input, the images, and one output, or one called 'embedding'. "
                f"Received: {path}, with {names} and {outputs}."
            )
        self.input, self.output = inputs[0].name, outputs[0] if len(outputs) == 1 else "embedding"
        tensor = inputs[0].type.tensor_type
        shape = tuple(side.dim_value if side.HasField("dim_value") else -1 for side in tensor.shape.dim)
        self.batch, self.image_size, self.channels_first = _tensors.layout(shape, path)
        kinds = {self._onnx.TensorProto.UINT8: True, self._onnx.TensorProto.FLOAT: False}
        if tensor.elem_type not in kinds:
            kind = self._onnx.TensorProto.DataType.Name(tensor.elem_type)
            raise ValueError(f"An embedder takes uint8 or float32. Received: {path}, which takes {kind}.")
        self.takes_pixels = kinds[tensor.elem_type]
        fused = _onnx_fusions.fuse_prelu(graph.node, self._constants, self._onnx.helper.make_node)
        self._nodes = _needed(fused, self.output)
        unknown = [node for node in self._nodes if not (node.domain in _DOMAINS and node.op_type in _KNOWN)]
        if unknown:
            named = ", ".join(sorted({f"{node.op_type} (node {node.name or node.output[0]!r})" for node in unknown}))
            known = ", ".join(_onnx_operators.OPERATORS)
            raise ValueError(f"{path} has operators that are not converted: {named}. Known are {known}.")

    def checked(self, given):
        """Returns the normalization as numbers, given or declared by the metadata; None for a file that takes pixels.

        Raises:
            ValueError: Where it is missing, not wanted, or another than the metadata declare.
        """
        given = pixels.declared(given, self.metadata, self.shown)
        if self.takes_pixels and given is not None:
            raise ValueError(
                f"{self.shown} takes uint8 pixels and normalises inside, so normalization must be left out. "
                f"Received: normalization={given!r}."
            )
        if not self.takes_pixels and given is None:
            raise pixels.missing(self.shown, "float32")
        return None if given is None else pixels.resolve(given)

    def compute(self, value, builder):
        """The value of the output for that of the input.

        Raises:
            ValueError: Where a node has something that is not converted; the message names it.
        """
        values = {**self._constants, self.input: value, "": None}
        for proto in self._nodes:
            inputs = [values[name] for name in proto.input]
            node = _Node(proto, inputs, self.batch, self._onnx.helper)
            try:
                if any(isinstance(each, Value) for each in inputs):
                    require(proto.op_type in _onnx_operators.OPERATORS, "it is known on constants alone")
                    found = _onnx_operators.OPERATORS[proto.op_type](builder, node)
                else:
                    found = self._constant(proto, inputs)
            except NotConvertedError as error:
                raise ValueError(
                    f"{self.shown}: the {proto.op_type} {node.name!r} is not converted: {error}."
                ) from error
            values |= zip(proto.output, found if isinstance(found, list) else [found], strict=False)
        return values[self.output]

    def _constant(self, proto, inputs):
        """The outputs of a node on constants alone, computed by the onnx package."""
        from onnx.reference import ReferenceEvaluator

        fed = {name: each for name, each in zip(proto.input, inputs, strict=True) if name}
        return ReferenceEvaluator(proto, opsets=self._opsets).run(None, fed)


# What shapes are computed with, on constants; on images they are not converted.
_ON_SHAPES = {"Gather", "Constant", "ConstantOfShape", "Range", "Equal", "Where", "Not", "Floor", "Ceil", "Mod"}
_KNOWN = {*_onnx_operators.OPERATORS, *_ON_SHAPES}
_DOMAINS = ("", "ai.onnx")


class _Node:
    """A node with its inputs' values."""

    def __init__(self, proto, inputs, batch, helper):
        self.inputs, self.outputs, self.batch = inputs, list(proto.output), batch
        self.name = proto.name or f"{proto.op_type}_{proto.output[0]}"
        self._attributes = {each.name: helper.get_attribute_value(each) for each in proto.attribute}

    def has(self, index):
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index):
        """An input that is computed from the images."""
        if not isinstance(self.inputs[index], Value):
            raise NotConvertedError(f"its input {index} is a constant")
        return self.inputs[index]

    def get(self, name, default=None):
        """An attribute."""
        return self._attributes.get(name, default)

    def axes(self, index):
        """Axes, which newer files have as an input and older ones as an attribute; None for neither."""
        if self.has(index):
            return [int(axis) for axis in np.ravel(self.inputs[index])]
        return self.get("axes")


def _load(path):
    """(the package onnx, the model)."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import helper, numpy_helper  # noqa: F401  Attributes of the package from now on.
    except ImportError as error:
        raise ImportError(f"Reading ONNX needs the package onnx: {install_hint('onnx')}.") from error
    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise ValueError(f"{path} is not an ONNX file, or is cut off or damaged: {error}.") from None
    if not model.graph.node:
        raise ValueError(f"{path} is not an ONNX file, or holds no network.")
    return onnx, model


def _needed(nodes, output):
    """The nodes on which the output depends, in order."""
    wanted, found = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]
