"""The list files that template protocols come with, read into arrays."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_margin._typing import PathLike

__all__ = [
    "read_faces",
    "read_lfw_people",
    "read_media",
    "read_subjects",
    "read_template_pairs",
    "read_ytf_splits",
]


@dataclass(frozen=True, eq=False)
class FaceList:
    """The images of IJB-B or IJB-C, in the order in which they must be embedded.

    Attributes:
        names: String array (n,), file names.
        landmarks: float32 (n, 5, 2), x and y in pixels of eyes, nose, mouth corners, for `alignment.align_points`.
        detector_scores: float32 (n,).

    Example:
        >>> faces = FaceList(np.array(["1.jpg"]), np.zeros((1, 5, 2), np.float32), np.array([0.9], np.float32))
        >>> faces.landmarks.shape
        (1, 5, 2)
    """

    names: np.ndarray
    landmarks: np.ndarray
    detector_scores: np.ndarray


@dataclass(frozen=True, eq=False)
class VideoPairs:
    """The pairs of YTF.

    Attributes:
        pairs: String array (m, 2), names of videos.
        is_same: bool (m,).
        folds: Integer (m,), from 0: `k_fold_accuracy(..., folds=)` takes it.

    Example:
        >>> videos = VideoPairs(np.array([["a/1", "a/2"], ["a/1", "b/1"]]), np.array([True, False]), np.array([0, 1]))
        >>> videos.pairs[videos.is_same].tolist()
        [['a/1', 'a/2']]
    """

    pairs: np.ndarray
    is_same: np.ndarray
    folds: np.ndarray


@dataclass(frozen=True, eq=False)
class PeopleList:
    """The people of LFW's people.txt, peopleDevTrain.txt or peopleDevTest.txt.

    Attributes:
        names: String array (n,), who, with LFW's underscores.
        num_images: Integer (n,), how many images of each.
        folds: Integer (n,), from 0; all 0 in the development lists.

    Example:
        >>> PeopleList(np.array(["Ada_Lovelace"]), np.array([3]), np.array([0])).num_images.tolist()
        [3]
    """

    names: np.ndarray
    num_images: np.ndarray
    folds: np.ndarray


def read_faces(path: PathLike) -> FaceList:
    r"""Reads `ijbc_name_5pts_score.txt`: lines of a file name, ten coordinates and a detector score.

    Args:
        path: File.

    Returns:
        `FaceList`.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line of another form; the error names the file and the row.

    Example:
        >>> import pathlib
        >>> list_file = pathlib.Path("ijbc_name_5pts_score.txt")
        >>> _ = list_file.write_text("1.jpg 38 52 74 52 56 72 42 92 71 92 0.99\n")
        >>> faces = read_faces(list_file)
        >>> faces.names.tolist(), faces.landmarks.shape
        (['1.jpg'], (1, 5, 2))
    """
    values = _table(path, 12, np.float32, usecols=range(1, 12))
    return FaceList(_names(path), values[:, :10].reshape(-1, 5, 2), values[:, 10])


def read_media(path: PathLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Reads `ijbc_face_tid_mid.txt`: lines of a file name, its template and its medium.

    Args:
        path: File.

    Returns:
        (names, templates, media): string array and two integer arrays, each (n,).

    Raises:
        OSError, ValueError: As `read_faces`.

    Example:
        >>> import pathlib
        >>> list_file = pathlib.Path("ijbc_face_tid_mid.txt")
        >>> _ = list_file.write_text("1.jpg 7 100\n2.jpg 7 101\n")
        >>> names, templates, media = read_media(list_file)
        >>> templates.tolist(), media.tolist()
        ([7, 7], [100, 101])
    """
    values = _table(path, 3, np.int64, usecols=(1, 2))
    return _names(path), values[:, 0], values[:, 1]


def read_template_pairs(path: PathLike) -> tuple[np.ndarray, np.ndarray]:
    r"""Reads `ijbc_template_pair_label.txt`: lines of two templates and 1 (the same person) or 0.

    Args:
        path: File; the 15.7 million lines of IJB-C take seconds.

    Returns:
        (pairs, is_same): integer array (m, 2), bool array (m,).

    Raises:
        OSError, ValueError: As `read_faces`.

    Example:
        >>> import pathlib
        >>> list_file = pathlib.Path("ijbc_template_pair_label.txt")
        >>> _ = list_file.write_text("1 2 1\n1 3 0\n")
        >>> pairs, is_same = read_template_pairs(list_file)
        >>> pairs.tolist(), is_same.tolist()
        ([[1, 2], [1, 3]], [True, False])
    """
    values = _table(path, 3, np.int64)
    label = values[:, 2]
    _check_label(path, label)
    return values[:, :2], label.astype(bool)


def read_subjects(path: PathLike) -> tuple[np.ndarray, np.ndarray]:
    r"""Reads `ijbc_1N_gallery_G1.csv` or a probe list: after a header, lines beginning with a template and its subject.

    Args:
        path: File; further columns are left unread, a template may stand in many lines, one an image.

    Returns:
        (templates, subjects): integer arrays (num_templates,), a template once, in order.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line of another form, a template of two subjects.

    Example:
        >>> import pathlib
        >>> list_file = pathlib.Path("ijbc_1N_gallery_G1.csv")
        >>> _ = list_file.write_text("TEMPLATE_ID,SUBJECT_ID\n1,40\n2,41\n")
        >>> templates, subjects = read_subjects(list_file)
        >>> templates.tolist(), subjects.tolist()
        ([1, 2], [40, 41])
    """
    values = _table(path, 2, np.int64, delimiter=",", skiprows=1, usecols=(0, 1))
    pairs = np.unique(values, axis=0)
    twice = pairs[1:, 0] == pairs[:-1, 0]
    if twice.any():
        template = pairs[twice.argmax(), 0]
        subjects = pairs[pairs[:, 0] == template, 1].tolist()
        raise ValueError(f"{path}: a template belongs to one subject. Received: template {template} of {subjects}.")
    return pairs[:, 0], pairs[:, 1]


def read_ytf_splits(path: PathLike) -> VideoPairs:
    r"""Reads YTF's `splits.txt`: split number, pair number, two videos, and 1 (the same person) or 0, by commas.

    `splits_corrected.txt`, in which the set's authors corrected labels, has the same form. Say which you used.

    Args:
        path: File; a first line without a number is its header.

    Returns:
        `VideoPairs`.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line of another form; the error names the file and the line.

    Example:
        >>> import pathlib
        >>> list_file = pathlib.Path("splits.txt")
        >>> _ = list_file.write_text("1, 1, a/1, a/2, 1\n1, 2, a/1, b/1, 0\n")
        >>> videos = read_ytf_splits(list_file)
        >>> videos.pairs.tolist(), videos.folds.tolist()
        ([['a/1', 'a/2'], ['a/1', 'b/1']], [0, 0])

    Reference: Wolf, Hassner and Maoz, Face Recognition in Unconstrained Videos with Matched Background Similarity,
    CVPR 2011.
    """
    folds, pairs, is_same = [], [], []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            fields = [field.strip() for field in line.split(",")]
            if fields == [""] or (number == 1 and not fields[0].isdigit()):
                continue
            if not _is_ytf_line(fields):
                raise ValueError(
                    f"{path}, line {number}: a line is a split number from 1, a pair number, two videos, and 0 or 1, "
                    f"by commas. Received: {line.strip()!r}."
                )
            folds.append(int(fields[0]) - 1)
            pairs.append(fields[2:4])
            is_same.append(fields[4] == "1")
    if not pairs:
        raise ValueError(f"{path} must hold pairs of videos. Received: none.")
    return VideoPairs(np.array(pairs), np.array(is_same), np.array(folds))


def read_lfw_people(path: PathLike) -> PeopleList:
    """Reads LFW's people.txt, peopleDevTrain.txt or peopleDevTest.txt, of which training pairs may be drawn.

    people.txt begins with the number of folds; each fold, and each development list, with the number of its people;
    then lines of a name and a number of images. A test on View 2's fold k may train on the people of the others.

    Args:
        path: File.

    Returns:
        `PeopleList`.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line of another form, or fewer lines than announced; the error names the file and the line.

    Example:
        >>> import pathlib
        >>> _ = pathlib.Path("peopleDevTest.txt").write_text("1" + chr(10) + "Ada_Lovelace" + chr(9) + "3" + chr(10))
        >>> read_lfw_people("peopleDevTest.txt").names.tolist()
        ['Ada_Lovelace']

    Reference: Huang et al., Labeled Faces in the Wild, 2007, section IV, the unrestricted setting.
    """
    with open(path, encoding="utf-8") as file:
        lines = [(number, line.rstrip().rsplit(None, 1)) for number, line in enumerate(file, 1) if line.strip()]
    counts = [len(fields) == 1 and fields[0].isdigit() for _, fields in lines]
    rows, folds = [], []
    # people.txt alone begins with two numbers, the first that of its folds.
    left, fold = 0, -1
    for number, fields in lines[1:] if counts[:2] == [True, True] else lines:
        if left == 0 and len(fields) == 1 and fields[0].isdigit():
            left, fold = int(fields[0]), fold + 1
        elif left and len(fields) == 2 and fields[1].isdigit():
            rows.append((fields[0], int(fields[1])))
            folds.append(fold)
            left -= 1
        else:
            raise ValueError(
                f"{path}, line {number}: a fold is a number of people, then as many lines of a name and a number of "
                f"images. Received: {' '.join(fields)!r}."
            )
    if left or not rows:
        raise ValueError(f"{path} must hold the people that it announces. Received: {left or 'all'} too few.")
    return PeopleList(np.array([name for name, _ in rows]), np.array([count for _, count in rows]), np.array(folds))


def _is_ytf_line(fields: Sequence[str]) -> bool:
    numbered = len(fields) == 5 and fields[0].isdigit() and fields[0] != "0" and fields[1].isdigit()
    return numbered and all(fields[2:4]) and fields[4] in ("0", "1")


def _names(path: PathLike) -> np.ndarray:
    with open(path, encoding="utf-8") as file:
        return np.array([line.split(maxsplit=1)[0] for line in file if line.strip()])


def _table(path, columns, dtype, **options):
    """Numbers of a text file; ValueError that names the file and the row where it holds something else."""
    with open(path, encoding="utf-8") as file:
        first = file.readlines(1)
        fields = first[0].split(options.get("delimiter")) if first else []
    if not first or len(fields) < columns or (len(fields) > columns and "delimiter" not in options):
        raise ValueError(
            f"{path}: a line must have {columns} columns. Received: {(first or ['nothing'])[0].strip()!r}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "Input contained no data" is an error below.
            values = np.loadtxt(path, dtype, ndmin=2, encoding="utf-8", **options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not values.size:
        raise ValueError(f"{path}: there must be lines after the header. Received: none.")
    return values


def _check_label(path: PathLike, label: np.ndarray) -> None:
    wrong = (label != 0) & (label != 1)
    if wrong.any():
        raise ValueError(f"{path}, row {wrong.argmax() + 1}: the label must be 0 or 1. Received: {label[wrong][0]}.")
