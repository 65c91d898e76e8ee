"""Small ONNX files for tests, written by the onnx package: an embedder of averages, channels first or last."""

import numpy as np

SIDE, SIZE = 8, 5
KERNEL = np.random.default_rng(3).normal(size=(3 * 4, SIZE)).astype(np.float32)


def averages(images, mean=0.0, std=1.0):
    """What `write` computes: the means of 2 x 2 quarters of each channel, times KERNEL, in float64."""
    pixels = (np.asarray(images, np.float64) - np.asarray(mean)) / np.asarray(std)
    quarters = pixels.reshape(-1, 2, SIDE // 2, 2, SIDE // 2, 3).mean(axis=(2, 4))
    return quarters.transpose(0, 3, 1, 2).reshape(len(quarters), -1) @ KERNEL


def unit(rows):
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Graph:
    """An ONNX graph from `image` (batch, 3, side, side) on, put together a node at a time.

    Attributes:
        last: Name of the newest node's first output.
    """

    def __init__(self, side=SIDE, batch="n", seed=0):
        self._nodes, self._constants, self._shape = [], {}, [batch, 3, side, side]
        self._random = np.random.default_rng(seed)
        self.last = "image"

    def drawn(self, *shape, low=-1.0):
        """Returns float32 numbers between `low` and 1."""
        return self._random.uniform(low, 1, shape).astype(np.float32)

    def constant(self, value):
        """Returns the name of a new constant."""
        name = f"constant{len(self._constants)}"
        self._constants[name] = np.asarray(value)
        return name

    def add(self, operator, *inputs, outputs=1, name="", domain="", **attributes):
        """Adds a node; an input is a name, or an array for a new constant. Returns its first output's name."""
        import onnx

        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        made = [f"{operator.lower()}{len(self._nodes)}_{number}" for number in range(outputs)]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        node = onnx.helper.make_node(operator, names, made, name=name or made[0], domain=domain, **attributes)
        self._nodes.append(node)
        self.last = made[0]
        return self.last

    def conv(self, channels, x=None, before=3, **attributes):
        """Adds a convolution of 3 x 3 with drawn numbers."""
        kernel = self.drawn(channels, before // attributes.get("group", 1), 3, 3)
        return self.add("Conv", x or self.last, kernel, self.drawn(channels), **{"pads": [1, 1, 1, 1], **attributes})

    def save(self, path, opset=17, **options):
        """Writes the file; its output is the newest node's."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        graph = helper.make_graph(
            self._nodes,
            "net",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, self._shape)],
            [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.save(model, path, **options)
        return path


def write(path, *, batch="n", channels_first=True, uint8=False, external=False, metadata=None, outputs=1):
    """Writes the embedder as an ONNX file.

    Args:
        path: The file.
        batch: Its fixed batch, or a name for any.
        channels_first: Whether its input is (batch, 3, height, width).
        uint8: Whether it takes pixels.
        external: Whether its weights lie in a file of their own.
        metadata: Text for its metadata, or None.
        outputs: Number of outputs.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = [batch, 3, SIDE, SIDE] if channels_first else [batch, SIDE, SIDE, 3]
    nodes, x = [], "image"
    if uint8:
        nodes.append(helper.make_node("Cast", [x], ["floats"], to=TensorProto.FLOAT))
        x = "floats"
    if not channels_first:
        nodes.append(helper.make_node("Transpose", [x], ["first"], perm=[0, 3, 1, 2]))
        x = "first"
    half = SIDE // 2
    nodes.append(helper.make_node("AveragePool", [x], ["pooled"], kernel_shape=[half, half], strides=[half, half]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes += [helper.make_node("MatMul", ["flat", "kernel"], [f"out{number}"]) for number in range(outputs)]
    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "averages",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info(f"out{number}", TensorProto.FLOAT, [batch, SIZE]) for number in range(outputs)],
        [numpy_helper.from_array(KERNEL, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata is not None:
        model.metadata_props.add(key="keras_margin.contract", value=metadata)
    options = {"save_as_external_data": True, "location": f"{path.name}.data", "size_threshold": 0} if external else {}
    onnx.save(model, path, **options)
    return path
