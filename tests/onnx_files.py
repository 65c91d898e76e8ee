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
