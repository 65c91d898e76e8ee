"""What a run writes for devices and servers, each file compared with the model."""

import contextlib
import dataclasses
import logging
import pathlib

import numpy as np

from keras_margin import export
from keras_margin.evaluation import verification
from keras_margin.export._options import MIN_REPRESENTATIVE
from keras_margin.training.experiment import _measures

# Of the training images, by which int8 sets its ranges; of the test people's, on which files are compared.
_REPRESENTATIVE, _COMPARED = 300, 1000


def write(model, recipe, reader, parts, measures, folder, out, precisions, stages):
    """Writes the embedding alone as TFLite files and a SavedModel.

    Args:
        model: EmbeddingModel.
        recipe: What it was trained by.
        reader: All images.
        parts: (images trained on, images of the held-out people): int8's ranges come from the one, what a file
            verifies from the other.
        measures: What was measured; the files carry it.
        folder: Where the run is.
        out: Where it will be: a report names that.
        precisions: As `quantize` of export.to_precisions.
        stages: Stages.

    Returns:
        (tuple of export.ParityReport, tuple of sentences for the report). A quantised file that is too far from the
        model is left out, and its report says so.
    """
    learn, test = parts
    chosen = np.linspace(0, len(learn) - 1, min(len(learn), _REPRESENTATIVE)).astype(int)
    representative, _ = reader.subset(learn[chosen]).arrays()
    # Whole people, so that there are pairs of one person among them.
    test = test[np.argsort(reader.labels[test], kind="stable")][:_COMPARED]
    images, labels = reader.subset(test).arrays()
    genuine, impostors = _measures.pairs_there_are(labels)
    about = {"recipe": dataclasses.asdict(recipe), "measured": [dataclasses.asdict(each) for each in measures]}
    # The strictest FAR, down to 1e-3, that the test's impostor pairs can show.
    options = export.Options(far=max(1e-3, verification.least_far(max(1, impostors))), about=about)
    pairs = (images, labels) if genuine and impostors else None
    precisions, left_out = precisions_for(representative, precisions)
    names = ", ".join(each or "float32" for each in precisions)
    with _notes() as notes:
        for sentence in left_out:
            stages.say(sentence)
            notes.append(sentence)
        with stages.stage(f"Exporting TFLite files ({names}) and comparing them on {len(images)} images"):
            reports = export.to_precisions(
                model,
                folder,
                representative=representative,
                quantize=precisions,
                pairs=pairs,
                options=options,
                strict=False,
            )
        with stages.stage("Exporting a SavedModel"):
            saved = export.to_savedmodel(model, folder / "savedmodel", samples=images, options=options)
    reports = tuple(
        dataclasses.replace(report, path=str(out / pathlib.Path(report.path).name)) for report in (*reports, saved)
    )
    return reports, tuple(notes)


def precisions_for(representative, precisions):
    """Leaves int8 out where too few images differ to set its ranges.

    Args:
        representative: uint8 images (n, height, width, 3).
        precisions: As `quantize` of export.to_precisions.

    Returns:
        (the precisions that can be written, list of sentences on the others).
    """
    different = len({image.tobytes() for image in representative})
    if "int8" not in precisions or different >= MIN_REPRESENTATIVE:
        return tuple(precisions), []
    sentence = (
        f"No int8 file: its ranges take {MIN_REPRESENTATIVE} different training images, and there are {different}."
    )
    return tuple(each for each in precisions if each != "int8"), [sentence]


@contextlib.contextmanager
def _notes():
    """Context that yields a list of what the export says of every network with PReLU, and keeps it off the terminal.

    The recipes' networks have PReLU by their papers, so a warning at the end of each run says nothing about the run.
    """
    notes = []

    def keep(record):
        if "PReLU" not in record.getMessage():
            return True
        notes.append(record.getMessage())
        return False

    logger = logging.getLogger("keras_margin.export")
    logger.addFilter(keep)
    try:
        yield notes
    finally:
        logger.removeFilter(keep)
