"""dynamic: int8 weights, each activation rounded as it comes, and depthwise convolutions left in floats.

XNNPACK multiplies int8 weights with activations it rounds itself, in convolutions and dense layers. In depthwise ones
it does not: each would end a delegated part and run in TFLite's own kernel, and a MobileFaceNet would take 1.8 times
float32's time. They hold few of a network's weights, so they get back those of the float32 model.
"""

import numpy as np


def quantized(converter):
    """A model with int8 weights, bytes.

    Args:
        converter: tf.lite.TFLiteConverter; its `optimizations` are set here.

    Returns:
        bytes of the model.
    """
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = converter.convert()
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    if not any(_is_int8(model, weights) for weights in _depthwise_weights(model)):
        return content
    converter.optimizations = []
    plain = flatbuffer_utils.convert_bytearray_to_object(bytearray(converter.convert()))
    _take_weights(model, plain)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _take_weights(model, plain):
    """Puts the float32 weights of `plain`'s depthwise convolutions into `model`, the same graph in the same order."""
    ours, theirs = list(_depthwise_weights(model)), list(_depthwise_weights(plain))
    if [tuple(tensor.shape) for tensor in ours] != [tuple(tensor.shape) for tensor in theirs]:
        raise RuntimeError("The converter ordered the depthwise convolutions of two models of one graph differently.")
    for tensor, floats in zip(ours, theirs, strict=True):
        if not _is_int8(model, tensor):
            continue
        data = plain.buffers[floats.buffer].data
        rounded = np.asarray(model.buffers[tensor.buffer].data).view(np.int8).reshape(tensor.shape)
        scale = np.asarray(tensor.quantization.scale)
        if not np.all(np.abs(rounded * scale - np.asarray(data).view(np.float32).reshape(tensor.shape)) <= scale):
            raise RuntimeError(f"{floats.name.decode()} is not what {tensor.name.decode()} was rounded from.")
        tensor.type, tensor.quantization = floats.type, None
        # A buffer of its own: two tensors may share the rounded one.
        model.buffers.append(type(model.buffers[0])())
        model.buffers[-1].data = data
        tensor.buffer = len(model.buffers) - 1


def _depthwise_weights(model):
    """The weights' tensors of every depthwise convolution, in the order they run."""
    from tensorflow.lite.python import schema_py_generated as schema

    kind = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    codes = {number for number, code in enumerate(model.operatorCodes) if code.builtinCode == kind}
    for graph in model.subgraphs:
        yield from (graph.tensors[each.inputs[1]] for each in graph.operators if each.opcodeIndex in codes)


def _is_int8(model, tensor):
    from tensorflow.lite.python import schema_py_generated as schema

    return tensor.type == schema.TensorType.INT8 and model.buffers[tensor.buffer].data is not None
