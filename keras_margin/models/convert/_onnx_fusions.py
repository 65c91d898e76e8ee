"""PReLU as TensorFlow writes it, in four or five nodes, put together again."""

import numpy as np


def fuse_prelu(nodes, constants, make_node):
    """Returns the nodes with each PReLU as one of them; its slope is added to `constants`.

    relu(x) + c (x - |x|) and relu(x) + c relu(-x) are PReLU(x) with the slopes 2 c and -c.

    Args:
        nodes: List of NodeProto, in order.
        constants: dict from name to array.
        make_node: onnx.helper.make_node.
    """
    made_by = {name: node for node in nodes for name in node.output}
    return [_fused(node, made_by, constants, make_node) for node in nodes]


def _fused(node, made_by, constants, make_node):
    if node.op_type != "Add":
        return node
    parts = [made_by.get(name) for name in node.input]
    for positive, negative in (parts, parts[::-1]):
        if positive is None or negative is None or (positive.op_type, negative.op_type) != ("Relu", "Mul"):
            continue
        x = positive.input[0]
        slope = _slope(negative, x, made_by, constants)
        if slope is not None:
            name = f"{node.output[0]}:slope"
            constants[name] = slope
            return make_node("PRelu", [x, name], list(node.output), name=node.name)
    return node


def _slope(product, x, made_by, constants):
    """The slope where a product is what PReLU is below zero, else None."""
    for factor, other in (product.input, product.input[::-1]):
        made = made_by.get(factor)
        if other not in constants or made is None:
            continue
        constant = np.asarray(constants[other])
        if made.op_type == "Sub" and made.input[0] == x and _is(made_by, made.input[1], "Abs", x):
            return 2 * constant
        if made.op_type == "Relu" and _is(made_by, made.input[0], "Neg", x):
            return -constant
    return None


def _is(made_by, name, operator, x):
    made = made_by.get(name)
    return made is not None and made.op_type == operator and made.input[0] == x
