"""Every family of networks as TFLite: float32 and int8, by LiteRT's own operators alone."""

import numpy as np
import pytest
from network_formulas import inferred, with_random_weights

from keras_margin._utils import files
from keras_margin.models import backbones
from keras_margin.models.backbones import inception_resnet

pytestmark = pytest.mark.tensorflow_only

# Each kind of layer of each family once; the full depths repeat them.
NETWORKS = {
    "ir_resnet_se": lambda: backbones.ir_resnet(
        (1,), widths=(32,), image_size=(16, 16), embedding_size=8, squeeze_excite=True, stem_strides=2
    ),
    "spherenet": lambda: backbones.spherenet((1, 0), widths=(8, 8), image_size=(16, 12), embedding_size=8),
    "mobilefacenet_x2": lambda: mobilefacenet_parts(),
    "inception_resnet_v1": lambda: inception_parts(),
    "lenet_plus_plus": lambda: backbones.lenet_plus_plus(image_size=(12, 12)),
    "mnist_net": backbones.mnist_net,
}


def mobilefacenet_parts():
    """The stem, a unit of either kind, and the tail: the whole network repeats their layers."""
    from keras import Model

    whole = backbones.mobilefacenet_x2(blocks=(1, 1, 1, 1), image_size=(16, 16), activation="relu")
    begun = Model(whole.input, whole.get_layer("stage1_unit2_add").output)
    return backbones.with_tail(begun, "gdc", embedding_size=8)


def inception_parts():
    """A unit of kind A, one of kind C and a reduction: the whole network repeats their layers."""
    from keras import Input, Model, layers

    images = Input((9, 9, 8))
    x = inception_resnet._repeat(images, 1, inception_resnet._A, "a")
    x = inception_resnet._reduction(x, inception_resnet._REDUCTION_A[:1], "reduction")
    x = inception_resnet._residual(x, 1.0, inception_resnet._C[2], "c", activated=False)
    return Model(images, layers.Dense(8)(layers.GlobalAveragePooling2D()(x)))


MULTIPLYING = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}


def converted(model, folder, images):
    """The network as TFLite in float32 and in int8."""
    import keras
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve", lambda image: model(image, training=False), [tf.TensorSpec((1, *images.shape[1:]), tf.float32)]
    )
    archive.write_out(str(folder), verbose=False)
    for int8 in (False, True):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        # The default admits LiteRT's own operators alone: what needs Flex is an error.
        assert converter.target_spec.supported_ops == {tf.lite.OpsSet.TFLITE_BUILTINS}
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in images)
        with files.suppress_native_stderr():
            yield converter.convert()


def run(content, images):
    """(outputs, operators with the types of their first input) of a TFLite file, by the runtime of devices."""
    from ai_edge_litert.interpreter import Interpreter

    with files.suppress_native_stderr():
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
    types = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    operators = [
        (op["op_name"], types.get(op["inputs"][0])) for op in interpreter._get_ops_details() if len(op["inputs"])
    ]
    found = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(found), operators


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_converts_to_float32_and_int8(name, tmp_path):
    """Converts every family to float32 and int8."""
    model = with_random_weights(NETWORKS[name]())
    images = np.random.default_rng(0).uniform(0, 255, (8, *model.input_shape[1:])).astype("float32")
    wanted = inferred(model, images)
    for content, limit, kind in zip(
        converted(model, tmp_path, images), (1 - 1e-5, 0.98), ("float32", "int8"), strict=True
    ):
        found, operators = run(content, images)
        assert cosines(found, wanted).mean() > limit, kind
        multiplying = [dtype for operator, dtype in operators if operator in MULTIPLYING]
        assert len(multiplying) >= 5 and {np.dtype(dtype).name for dtype in multiplying} == {kind}
        assert not [operator for operator, _ in operators if operator.startswith(("Flex", "CUSTOM"))]
