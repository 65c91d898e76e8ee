"""What ONNX Runtime answers to images, and how near a Keras model comes to it."""

import numpy as np

from keras_margin._utils import normalization
from keras_margin._utils.messages import install_hint

# Smallest cosine between the embeddings of the model and of the file.
LEAST_COSINE = 0.99999


def embeddings(graph, images, given, channels):
    """Returns the float32 rows (n, d) of an ONNX file for uint8 RGB images.

    Args:
        graph: What `onnx.py` read of the file.
        images: uint8 array (n, height, width, 3).
        given: Normalization, or None.
        channels: "RGB" or "BGR".
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"Comparing with an ONNX file needs ONNX Runtime: {install_hint('onnx')}.") from error
    session = onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
    x = np.asarray(images)
    if given is not None:
        mean, std = normalization.mean_and_std(given)
        x = (x.astype(np.float32) - mean) / std
    x = x[..., ::-1] if channels == "BGR" else x
    x = x.transpose(0, 3, 1, 2) if graph.channels_first else x
    rows, batch = [], graph.batch or 1
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        (answer,) = session.run([graph.output], {graph.input: np.ascontiguousarray(filled)})
        rows.append(answer.reshape(batch, -1)[: len(part)])
    return np.concatenate(rows)


def compared(path, wanted, found, runtime="ONNX Runtime"):
    """Returns the cosines of rows, float64; `runtime` is what ran the file.

    Raises:
        ValueError: Where one is below LEAST_COSINE, or the rows differ in shape.
    """
    if wanted.shape != found.shape:
        raise ValueError(f"{path} answers shape {wanted.shape}, the converted network {found.shape}.")
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    cosines = np.divide((wanted * found).sum(axis=1), lengths, out=np.zeros(len(wanted)), where=lengths > 0)
    worst = int(np.argmin(cosines))
    if not cosines[worst] >= LEAST_COSINE:
        raise ValueError(
            f"The network converted from {path} is not the file's: cosine {cosines[worst]:.6f} to {runtime} for "
            f"image {worst}; at least {LEAST_COSINE} is needed."
        )
    return cosines
