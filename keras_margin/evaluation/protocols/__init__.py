"""Protocols on the files that they are published in: `.bin`, folders, pair lists, template lists; and checks of them.

A format is a module with `recognizes(path)`, which answers at a glance, and `open_protocol(path, name, image_size,
fit)`, which returns a `Protocol`. Its row in FORMATS makes it known; the first that recognizes a path opens it.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from keras_margin import evaluation
from keras_margin._typing import PathLike, Size
from keras_margin._utils.arrays import check_fit
from keras_margin.evaluation.protocols import bin_file, cfp, ijb, labelled, lfw_view1, pair_list, ytf
from keras_margin.evaluation.protocols.base import MeasuredEmbedder, Protocol, Settings
from keras_margin.evaluation.protocols.calibrating import calibrate

__all__ = [
    "Settings",
    "calibrate",
    "embed",
    "load_protocol",
]

FORMATS = {
    "bin": bin_file,
    "ijb": ijb,
    "ytf": ytf,
    "cfp_ff": cfp.FRONTAL_FRONTAL,
    "cfp_fp": cfp.FRONTAL_PROFILE,
    "pairs": pair_list,
    "lfw_view1": lfw_view1,
    "labelled": labelled,
}

# Sets of several protocols, all of which are measured where none is named.
_SUITES = (("cfp_ff", "cfp_fp"),)

# Sets that data.open knows by name.
_NAMED = ("orl", "digits", "glyphs")

FLIPS = (None, "sum", "concatenate")


def choices(path: PathLike) -> list[str]:
    """Lists the protocols by which a path can be measured, the one that `load_protocol` takes first.

    A folder with a list of pairs is measured over those pairs, but may be a folder of identities too.

    Args:
        path: str or path-like.

    Returns:
        List of keys of FORMATS, at least one.

    Example:
        >>> choices("orl")
        ['labelled']
    """
    path = pathlib.Path(os.fsdecode(path))
    found = [name for name, module in FORMATS.items() if module.recognizes(path)]
    # `labelled` recognizes everything; only in a folder is it a second choice.
    return found if path.is_dir() else found[:1]


def suite(path: PathLike) -> list[str]:
    """Lists the protocols by which a path is measured where none is named: all of a set's own, CFP's two.

    Args:
        path: str or path-like.

    Returns:
        List of keys of FORMATS, at least one.

    Example:
        >>> keras_margin.data.write_bin("tiny.bin", np.zeros((8, 16, 16, 3), np.uint8), [True, False, True, False])
        >>> suite("tiny.bin")
        ['bin']
    """
    found = choices(path)
    return next(([*names] for names in _SUITES if found[0] in names and set(names) <= set(found)), found[:1])


def load_protocol(
    path: PathLike,
    *,
    image_size: Size | None = None,
    fit: Literal["crop", "resize"] | None = None,
    name: str | None = None,
    protocol: str | None = None,
) -> Protocol:
    """Opens a protocol by its files.

    - `lfw.bin` and the like: verification, ten folds of consecutive pairs.
    - A `.csv` as `keras-margin pairs` writes it, beside the folders of its images, or a folder with `pairs.csv` or
      `pairs.txt` (LFW's, images in `name/name_0001.jpg`): verification over those pairs.
    - A folder with `splits.txt` or `splits_corrected.txt`: YTF, frames in `person/video/`, ten folds.
    - CFP as distributed, a folder with `Protocol/Split`: "cfp_ff" and "cfp_fp", ten folds of people.
    - A folder with `pairsDevTrain.txt` and `pairsDevTest.txt`: LFW's View 1, "lfw_view1".
    - A folder with `meta/*_face_tid_mid.txt`: IJB-B or IJB-C as insightface packs them, 1:1 and 1:N.
    - Whatever `data.open` takes, a folder of identities first of all, or "orl": all pairs, ten folds of people,
      identification with one image each enrolled.
    - A `split.json` of `keras-margin split` or of a training run: the same of the people that it holds out.
    - A `.npy` of labels: the same for embeddings that have no images here.

    The lists of YTF, CFP and LFW may be in the folder of the photographs that `keras-margin align` made the images
    from. A photograph without a face then gives its pairs the score -1, and the result's notes count them.

    Args:
        path: str or path-like.
        image_size: (height, width) that the model takes; None where no image will be embedded.
        fit: What to do with images of another size: None refuses them, "crop" cuts the middle out, "resize" stretches.
        name: What its numbers are called; None for the file's name without its suffix.
        protocol: A key of FORMATS; None for the first that recognizes the path, as `choices` lists them.

    Returns:
        `Protocol`.

    Raises:
        FileNotFoundError: Nothing is there, or a list of a set is missing.
        ValueError: Files of another form, images of another size; the error names file and line. A protocol that is
            unknown, or that does not take such files.

    Example:
        >>> images, is_same = np.zeros((8, 16, 16, 3), np.uint8), [True, False, True, False]
        >>> keras_margin.data.write_bin("tiny.bin", images, is_same)
        >>> protocol = keras_margin.evaluation.protocols.load_protocol("tiny.bin", image_size=(16, 16))
        >>> protocol.num_images
        8
    """
    check_fit(fit)
    path = pathlib.Path(os.fsdecode(path))
    if not path.exists() and str(path) not in _NAMED:
        raise FileNotFoundError(f"No such file or directory: {str(path)!r}.")
    found = choices(path)
    if protocol is not None and protocol not in FORMATS:
        raise ValueError(f"protocol must be one of {', '.join(FORMATS)}. Received: protocol={protocol!r}.")
    if protocol not in (None, *found):
        raise ValueError(f"{path} can be measured by {' or '.join(found)}. Received: protocol={protocol!r}.")
    return FORMATS[protocol or found[0]].open_protocol(path, name, image_size, fit)


def embed(
    embedder: MeasuredEmbedder,
    protocol: Protocol,
    *,
    flip: Literal["sum", "concatenate"] | None = None,
    lengths: bool = False,
    batch_size: int = 64,
    progress: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """Computes the embeddings of all images of a protocol, in its order.

    Args:
        embedder: `evaluation.embedders.FileEmbedder`, or another object with `embed(images, lengths)`.
        protocol: `Protocol`.
        flip: None; "sum" or "concatenate" to add those of the mirror images, as `evaluation.combine_flips`.
        lengths: Whether embeddings keep the length that the network gave them; the published scripts of flips, of
            templates and of SphereFace do. Exports without --length have none left.
        batch_size: Images at a time.
        progress: Function that is called with the number of images done since its last call; or None.

    Returns:
        float32 array (num_images, embedding_size), twice as wide where flips are concatenated.

    Raises:
        ValueError: Another `flip`; as `embedder.embed` and the protocol's files.

    Example:
        >>> import types
        >>> images = np.full((8, 16, 16, 3), 128, np.uint8)
        >>> keras_margin.data.write_bin("tiny.bin", images, [True, False, True, False])
        >>> protocol = load_protocol("tiny.bin", image_size=(16, 16))
        >>> means = types.SimpleNamespace(embed=lambda images, lengths: images.mean(axis=(1, 2), dtype=np.float32))
        >>> embed(means, protocol, flip="concatenate").shape
        (8, 6)
    """
    if flip not in FLIPS:
        raise ValueError(f'flip must be None, "sum" or "concatenate". Received: flip={flip!r}.')
    parts, mirrored = [], []
    for images in protocol.batches(batch_size):
        parts.append(embedder.embed(images, lengths))
        if flip:
            mirrored.append(embedder.embed(np.ascontiguousarray(images[:, :, ::-1]), lengths))
        if progress is not None:
            progress(len(images))
    rows = np.concatenate(parts)
    return evaluation.combine_flips(rows, np.concatenate(mirrored), flip) if flip else rows
