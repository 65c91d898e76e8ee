"""The metadata of an exported file: what it takes and gives, where it comes from, what was measured."""

import dataclasses
import json

import keras
import tensorflow as tf

from keras_margin import __version__
from keras_margin._utils.metadata import FORMAT, FORMAT_VERSION, METADATA_NAME
from keras_margin.alignment._described import describe_template
from keras_margin.export import _graph, _threshold


def build_metadata(source, options, report, stored=None):
    """Builds the metadata, a dict of plain JSON values.

    Args:
        source: Source.
        options: Options.
        report: ParityReport.
        stored: (type's name, scale, zero point) of an embedding in integers; None for float32.
    """
    height, width = source.network.input_shape[1:3]
    about = dict(options.about or {})
    recipe, measured = about.pop("recipe", source.recipe), about.pop("measured", source.measured)
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "keras_margin": __version__,
        "signature": _graph.SIGNATURE,
        "image": {
            "name": "image",
            "dtype": "uint8",
            "batch": options.batch_size,
            "height": height,
            "width": width,
            "channels": "RGB",
            "range": [0, 255],
        },
        "embedding": {
            "name": "embedding",
            "dtype": "float32",
            "size": source.network.output_shape[-1],
            "unit_length": True,
            "flip_sum": options.flip_sum,
            **_in_integers(stored),
        },
        **({"length": {"name": "length", "dtype": "float32"}} if options.length else {}),
        "alignment": describe_template(height, width, options.aligned),
        **({} if report.photo is None else {"photo": _photo_signatures(report.photo)}),
        "quantize": report.quantize,
        "parity": {
            "mean_cosine": report.mean_cosine,
            "worst_cosine": report.worst_cosine,
            "images": report.num_images,
            "synthetic": report.synthetic,
        },
        "threshold": None,
        "no_threshold": "No threshold: the file was exported without pairs to choose one on.",
        "accuracy": None,
        "head": source.head,
        "recipe": recipe,
        "measured": measured,
        "about": about or None,
        "made_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
    if report.accuracy is not None:
        accuracy = dataclasses.asdict(report.accuracy)
        found, reason = accuracy.pop("threshold"), accuracy.pop("no_threshold")
        metadata["accuracy"] = accuracy
        metadata["no_threshold"] = reason
        if found is not None:
            metadata["threshold"] = {
                "cosine": found,
                "far": accuracy["far"],
                "tar": accuracy["tar"],
                "basis": _threshold.basis(accuracy["num_impostor"], accuracy["num_people"]),
            }
    return metadata | (report.calibration or {})


def _photo_signatures(parity):
    """What the signatures of a photograph take and give; docs/one-file.md says it in sentences."""
    photo = parity.photo
    canvases = [
        {"height": canvas[0], "width": canvas[1], **dict(zip(("detect", "embed"), photo.names(canvas), strict=True))}
        for canvas in photo.canvases
    ]
    return {
        "canvases": canvases,
        "inputs": {
            "photo": "uint8 (height, width, 3), RGB, the photograph at the top left",
            "size": "int32 (2,), the photograph's height and width",
            "points": "float32 (5, 2) of (x, y), of embed",
        },
        "detect": {
            "boxes": "float32 (faces, 4) of x1, y1, x2, y2, the largest first, 0 in empty slots",
            "points": "float32 (faces, 5, 2) of (x, y), in the order of alignment",
            "scores": "float32 (faces,)",
            "count": "int32, slots taken",
            "dropped": "int32 (3,), boxes left out by two stages for want of room, and faces",
        },
        "embed": {"embedding": "float32 (1, size), of unit length", "face": "uint8 crop that was embedded"},
        "faces": photo.faces,
        "min_face_size": photo.min_face_size,
        "parity": parity.figures(),
    }


def _in_integers(stored):
    """What differs for an embedding in integers: scale * (stored - zero_point), of unit length up to rounding."""
    if stored is None:
        return {}
    dtype, scale, zero_point = stored
    return {"dtype": dtype, "scale": scale, "zero_point": zero_point, "unit_length": False}


def as_json(metadata):
    """Returns the metadata as JSON text; names in any script stay as they are.

    Raises:
        ValueError: Where what the user gave has no JSON, as NaN or an array has none.
    """
    try:
        return json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"The metadata must hold plain JSON values (head, recipe, about): {error}.") from error


def embed_metadata(content, text):
    """Returns a TFLite model's bytes with the metadata among its named buffers; weights and graph stay as they were."""
    # What TFLite's own converter writes its metadata with.
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    buffer = schema.BufferT()
    buffer.data = list(text.encode("utf-8"))
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
