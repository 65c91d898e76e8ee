"""Converts the detector's TensorFlow functions to a LiteRT model. Needs TensorFlow and the `mtcnn` package."""

import tempfile

import tensorflow as tf

from keras_margin._utils import files
from keras_margin.detection import graph
from keras_margin.detection._cascade import AT_ONCE, LEVEL_BOXES


def input_specs(canvas):
    """The two inputs of every function of a photograph: `photo` uint8 (H, W, 3) and `size` int32 (2,)."""
    return [tf.TensorSpec((*canvas, 3), tf.uint8, name="photo"), tf.TensorSpec((2,), tf.int32, name="size")]


def convert(signatures, prepare=None):
    """Converts functions without variables to one LiteRT model of builtin operators.

    Args:
        signatures: {name: (function of tensors without variables, list of tf.TensorSpec)}; each returns a dict.
        prepare: Function that is called with the tf.lite.TFLiteConverter before it converts, or None.

    Returns:
        bytes of the model; signatures of the same constants share them.
    """
    holder = tf.Module()
    holder.functions = {name: tf.function(function, autograph=False) for name, (function, _) in signatures.items()}
    concrete = {name: holder.functions[name].get_concrete_function(*specs) for name, (_, specs) in signatures.items()}
    with tempfile.TemporaryDirectory() as folder, files.suppress_native_stderr():
        tf.saved_model.save(holder, folder, concrete)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(concrete))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if prepare is not None:
            prepare(converter)
        return converter.convert()


def stages(canvas, min_face_size, min_score):
    """Builds the stages of the detector, each a signature: `propose`, `refine` and `output`.

    Args:
        canvas: (height, width), pixels.
        min_face_size: Pixels of the canvas.
        min_score: In (0, 1).

    Returns:
        bytes of the model.
    """
    cascade = graph.Cascade(min_face_size, min_score, graph.Slots(level=LEVEL_BOXES))

    def propose(photo, size):
        found = cascade.propose(photo, size)
        numbers = [tf.fill((each[0].shape[0],), number) for number, each in enumerate(found)]
        boxes, strengths, missed = (tf.concat(parts, 0) for parts in zip(*found, strict=True))
        return {"boxes": boxes, "strengths": strengths, "levels": tf.concat(numbers, 0), "missed": missed}

    def refine(photo, size, boxes):
        return dict(zip(("boxes", "strengths"), cascade.refine(photo, size, boxes), strict=True))

    def output(photo, size, boxes):
        return dict(zip(("boxes", "points", "strengths"), cascade.output(photo, size, boxes), strict=True))

    specs = input_specs(canvas)
    boxes = {name: [*specs, tf.TensorSpec((count, 4), tf.float32, name="boxes")] for name, count in AT_ONCE.items()}
    with tf.device("/CPU:0"):
        return convert(
            {"propose": (propose, specs), "refine": (refine, boxes["refine"]), "output": (output, boxes["output"])}
        )
