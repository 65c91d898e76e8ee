"""Sets of photographs as `keras-margin evaluate --align` measures them: faces found and cropped first."""

import argparse
import pathlib

from keras_margin import alignment
from keras_margin._utils import progress
from keras_margin.alignment.photographs import check_template

_POLICIES = ("largest", "centre", "skip")


def add_argument(parser: argparse.ArgumentParser) -> None:
    """The flag."""
    parser.add_argument(
        "--align",
        nargs="?",
        const="largest",
        choices=_POLICIES,
        metavar="POLICY",
        help="the sets are photographs: find each face, by the model itself if it can, and crop it; of several faces "
        "the largest, the one in the centre, or none (skip)",
    )


def aligned(named, source, policy, folder):
    """Aligns the photographs of all sets.

    Args:
        named: {name of a set: its path}.
        source: Source.
        policy: As `alignment.align_folder` takes it; None for sets that are taken as they are.
        folder: Where to write the crops.

    Returns:
        ({name: path of its crops}, {name: a sentence on what became of its photographs}); the paths themselves, and no
        sentence, without a policy.

    Raises:
        ValueError: Embeddings instead of a model, a set that is not a folder, or as `alignment.align_folder`.
    """
    if policy is None:
        return named, {}
    if source.embedder is None:
        raise ValueError("--align crops faces for a model. Received: embeddings. Leave it out.")
    check_template(source.embedder)
    detector = source.detector()
    places, sentences = {}, {}
    for path in dict.fromkeys(named.values()):
        if not pathlib.Path(path).is_dir():
            raise ValueError(f"--align takes folders of photographs. Received: {path}. Leave it out.")
        place = pathlib.Path(folder, str(len(places)))
        with progress.stage(f"Aligning {path}"):
            # Lossless: what is embedded are the pixels of the aligner.
            found = alignment.align_folder(path, place, source.image_size, policy, detector, image_format="png")
        places[path] = place
        without = len(found.no_face) + len(found.refused)
        sentences[path] = (
            f"{found.images:,} photographs, their faces found by {'the model' if detector else 'the default detector'} "
            f"(of several: {policy}); {len(found.several):,} of several faces, {without:,} without one or unreadable."
        )
    return {name: places[path] for name, path in named.items()}, {name: sentences[path] for name, path in named.items()}
