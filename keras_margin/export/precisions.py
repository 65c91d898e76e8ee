"""One network in several precisions, and their table: what each costs and what it loses."""

import pathlib
import tempfile
from collections.abc import Sequence

import keras
import numpy as np

from keras_margin._typing import PathLike
from keras_margin.export import _graph, tflite
from keras_margin.export._options import LIMITS, Options
from keras_margin.export._parity import Judge, ParityError, ParityReport
from keras_margin.export._source import open_source

PRECISIONS = (None, "float16", "int8")


def to_precisions(
    model: keras.Model | PathLike,
    folder: PathLike,
    *,
    representative: np.ndarray | None,
    quantize: Sequence[str | None] = PRECISIONS,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
    options: Options | None = None,
    strict: bool = True,
) -> tuple[ParityReport, ...]:
    """Writes the embedding network as one TFLite file a precision: embedder.tflite, embedder_float16.tflite, ...

    Args:
        model: As for `to_tflite`.
        folder: Folder to write into; made if missing.
        representative: uint8 images (n, height, width, 3), RGB, by which "int8" sets its ranges, at least 8 of which
            differ; best those of people who are not in `pairs`.
        quantize: Which precisions, as for `to_tflite`.
        pairs: As for `to_tflite`. Without them the files are compared on `representative`.
        options: Options; its `limits`, if any, hold for every precision.
        strict: Whether a precision that is too far from the model is an error. If not, its file is left out and its
            report, which did not pass, says why; float32 is an error either way.

    Returns:
        Tuple of ParityReport, in the order of `quantize`; `as_table` shows them.

    Raises:
        TypeError, ValueError, ParityError, OSError: As `to_tflite`. Files that passed before the error stay.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> reports = to_precisions(model, "out", representative=images, quantize=(None, "float16"))
        >>> [report.quantize for report in reports]
        [None, 'float16']
    """
    unknown = [each for each in quantize if each not in LIMITS]
    if unknown:
        raise ValueError(f"quantize must hold some of {', '.join(map(repr, LIMITS))}. Received: {unknown[0]!r}.")
    source, options = open_source(model), options or Options()
    representative = _graph.checked_images(source.network, representative, "representative")
    tflite.check_representative(representative, quantize)
    judge = Judge.of(source.network, options, representative if pairs is None else None, pairs)
    reports = []
    with tempfile.TemporaryDirectory() as savedmodel:
        _graph.write_savedmodel(source.network, savedmodel, options)
        for each in quantize:
            path = pathlib.Path(folder) / f"embedder{'' if each is None else f'_{each}'}.tflite"
            try:
                reports.append(tflite.write(source, judge, path, each, representative, savedmodel))
            except ParityError as error:
                if strict or each is None:
                    raise
                reports.append(error.report)  # type: ignore[arg-type]
    return tuple(reports)


def as_table(reports: Sequence[ParityReport]) -> str:
    """Formats reports as a Markdown table: precision, size, drift, and accuracy compared with the model's.

    Args:
        reports: Sequence of ParityReport, at least one.

    Returns:
        str, without a last newline.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> "face.tflite" in as_table([to_tflite(model, "face.tflite", samples=images)])
        True
    """
    header, rows = as_rows(reports)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))


def as_rows(reports: Sequence[ParityReport]) -> tuple[list[str], list[list[str]]]:
    """Formats reports as text in cells: precision, size, drift, and accuracy where pairs were given.

    Args:
        reports: Sequence of ParityReport, at least one.

    Returns:
        (header, rows): list of str, and a list of as many str for each report.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> header, rows = as_rows([to_tflite(model, "face.tflite", samples=images)])
        >>> rows[0][0]
        'face.tflite'
    """
    columns = {
        "file": lambda report: pathlib.Path(report.path).name if report.passed else "refused, not written",
        "precision": lambda report: report.quantize or "float32",
        "KiB": lambda report: f"{report.bytes / 1024:,.0f}",
        "mean cosine": lambda report: f"{report.mean_cosine:.6f}",
        "worst cosine": lambda report: f"{report.worst_cosine:.6f}",
    }
    measured = next((report.accuracy for report in reports if report.accuracy is not None), None)
    if measured is not None:
        columns |= {
            f"EER (model {measured.model_eer:.2%})": _of_accuracy("eer", ".2%"),
            f"TAR at FAR {measured.far:g} (model {measured.model_tar:.2%})": _of_accuracy("tar", ".2%"),
            "threshold": _threshold_cell,
        }
    return list(columns), [[cell(report) for cell in columns.values()] for report in reports]


def _of_accuracy(name, form):
    """A cell's function: empty where a file was refused before its accuracy was measured."""
    return lambda report: "" if report.accuracy is None else format(getattr(report.accuracy, name), form)


def _threshold_cell(report):
    """Returns the shipped threshold; "none" where people or pairs were too few for one."""
    if report.accuracy is None:
        return ""
    return "none" if report.accuracy.threshold is None else f"{report.accuracy.threshold:.4f}"
