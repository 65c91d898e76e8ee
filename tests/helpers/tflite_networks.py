"""Tiny TFLite networks whose embeddings a NumPy formula gives, with or without metadata."""

import json
import pathlib

import numpy as np

HEIGHT, WIDTH, SIZE = 8, 6, 5
NORMALIZATION = (127.5, 128.0)
KERNEL = np.random.default_rng(0).normal(size=(HEIGHT * WIDTH * 3, SIZE))


def images_of(count, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def expected(images, mean=127.5, std=128.0):
    """x = (image - mean) / std, y = flatten(x) @ kernel, embedding = y / ||y||, in float64."""
    y = ((images.astype(np.float64) - mean) / std).reshape(len(images), -1) @ KERNEL
    return y / np.linalg.norm(y, axis=1, keepdims=True)


def convert(folder, name, shape, dtype, function, **options):
    """A .tflite file of `function(image, kernel)` with the signature image -> its dict of outputs."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(KERNEL, dtype=tf.float32)
    spec = tf.TensorSpec(shape, dtype, name="image")
    module.call = tf.function(lambda image: function(image, module.kernel), input_signature=[spec])
    tf.saved_model.save(module, str(folder / name), signatures=module.call)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / name))
    for option, value in options.items():
        setattr(converter, option, value)
    path = folder / f"{name}.tflite"
    path.write_bytes(converter.convert())
    return path


def full_integer(dtype, mean, std, shape=(3, HEIGHT, WIDTH, 3)):
    import tensorflow as tf

    def representative():
        for seed in range(20):
            yield [((images_of(shape[0], seed) - np.float32(mean)) / np.float32(std)).astype(np.float32)]

    return {
        "optimizations": [tf.lite.Optimize.DEFAULT],
        "representative_dataset": representative,
        "target_spec": tf.lite.TargetSpec(supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8]),
        "inference_input_type": tf.as_dtype(dtype),
        "inference_output_type": tf.as_dtype(dtype),
    }


def project(image, kernel):
    import tensorflow as tf

    return {"embedding": tf.reshape(image, [-1, HEIGHT * WIDTH * 3]) @ kernel}


def own_export(image, kernel):
    """What keras-margin exports: uint8 in, normalised inside, unit length out."""
    import tensorflow as tf

    answer = project((tf.cast(image, tf.float32) - 127.5) / 128.0, kernel)["embedding"]
    return {"embedding": answer / tf.norm(answer, axis=-1, keepdims=True)}


def with_metadata(path, out, **metadata):
    """A copy of a TFLite file that carries these metadata, as an export of ours does."""
    from keras_margin.export._metadata import embed_metadata

    out = pathlib.Path(out)
    out.write_bytes(embed_metadata(pathlib.Path(path).read_bytes(), json.dumps(metadata)))
    return out


def aligned_metadata():
    """Metadata of a network on faces aligned by five points."""
    from keras_margin.alignment import transform

    points = transform.landmark_template((HEIGHT, WIDTH)).round(4).tolist()
    return {"alignment": {"transform": "similarity", "points": points}}
