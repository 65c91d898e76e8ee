"""Full integer files: which tensors of one are not of integers, and how its embedding is stored."""

import numpy as np


def quantization_of(content):
    """(type's name, scale, zero point) of a TFLite model's embedding, or None where it is of floats.

    embedding = scale * (stored - zero_point)

    Args:
        content: The model, bytes.
    """
    detail = _interpreter(content).get_output_details()[0]
    if np.issubdtype(detail["dtype"], np.floating):
        return None
    scale, zero_point = detail["quantization"]
    return np.dtype(detail["dtype"]).name, float(scale), int(zero_point)


def float_operators(content):
    """[(operator, the path of what it makes)] of a TFLite model's operators that take or make floats, in order.

    Args:
        content: The model, bytes.

    Returns:
        List of pairs of str; empty where every tensor of the file is of integers.
    """
    interpreter = _interpreter(content)
    floats = {
        detail["index"]: detail["name"]
        for detail in interpreter.get_tensor_details()
        if np.issubdtype(detail["dtype"], np.inexact)
    }
    found = []
    for operator in interpreter._get_ops_details():
        touched = [int(index) for index in (*operator["outputs"], *operator["inputs"]) if int(index) in floats]
        if touched:
            found.append((operator["op_name"], floats[touched[0]]))
    # What turns integers into floats and back is there for the sake of others.
    causes = [each for each in found if each[0] not in ("QUANTIZE", "DEQUANTIZE")]
    # A float tensor that no operator names is an input that is passed on.
    return causes or found or [("input or output", name) for name in floats.values()]


def _interpreter(content):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without XNNPACK, whose own operators would hide those of the file.
    return Interpreter(
        model_content=bytes(content), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
