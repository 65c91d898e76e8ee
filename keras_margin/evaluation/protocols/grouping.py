"""Who belongs to which group, from a list; and a protocol's rates by group."""

import csv
import dataclasses
import io
import pathlib

import numpy as np

from keras_margin import evaluation
from keras_margin._typing import PathLike
from keras_margin.data import pair_lists
from keras_margin.evaluation import verification
from keras_margin.evaluation.groups import FEWEST_IN_GROUP
from keras_margin.evaluation.protocols.base import Protocol, ProtocolResult

KEYS = ("image", "identity")
DEFAULT_FAR = 1e-3


@dataclasses.dataclass(frozen=True)
class GroupList:
    """A list of groups.

    Attributes:
        path: The file.
        key: "image" or "identity": what its first column names.
        columns: Dict from a column's name to a dict from an image or identity to its group.

    Example:
        >>> groups = GroupList("groups.csv", "identity", {"sex": {"Ada": "female", "Alan": "male"}})
        >>> groups.columns["sex"]["Ada"]
        'female'
    """

    path: str
    key: str
    columns: dict[str, dict[str, str]]


def read_groups(path: PathLike) -> GroupList:
    r"""Reads a list of groups: a `.csv` with a header, first `image` or `identity`, then a column for each grouping.

        identity,sex,born
        Ada,female,before 1900
        Alan,male,after 1900

    Images are called as lists of pairs call them: the file below the set's folder, or the number of the image.

    Args:
        path: The file, UTF-8. An empty cell is of no group.

    Returns:
        `GroupList`.

    Raises:
        OSError: It cannot be read.
        ValueError: Another form; the error names the line.

    Example:
        >>> import pathlib
        >>> written = pathlib.Path("groups.csv").write_text("identity,sex\nAda,female\nAlan,male\n")
        >>> read_groups("groups.csv").columns["sex"]["Ada"]
        'female'
    """
    text = pair_lists.read_text(pathlib.Path(path))
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=pair_lists.delimiter(text)))
    header = [each.strip() for each in rows[0]] if rows else []
    if len(header) < 2 or header[0] not in KEYS or len(set(header)) < len(header) or not all(header):
        raise ValueError(
            f"{path}, line 1: a list of groups begins with a header: image or identity, then one or more different "
            f"names of groupings. Received: {','.join(header)!r}."
        )
    columns = {name: {} for name in header[1:]}
    for number, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        if len(row) != len(header):
            raise ValueError(f"{path}, line {number}: {len(header)} cells, as in the header. Received: {len(row)}.")
        who, *groups = (cell.strip() for cell in row)
        for name, group in zip(columns, groups, strict=True):
            if columns[name].setdefault(who, group) != group:
                raise ValueError(
                    f"{path}, line {number}: {who!r} is in one group of {name}. Received: {group!r}, and "
                    f"{columns[name][who]!r} before."
                )
    return GroupList(str(path), header[0], columns)


def measure_groups(
    protocol: Protocol,
    measured: ProtocolResult,
    groups: GroupList,
    far: float | None = None,
    bootstrap: evaluation.Bootstrap | None = None,
) -> ProtocolResult:
    """Computes a protocol's rates by group, at one threshold for all.

    Args:
        protocol: `Protocol` of pairs of images whose people are known.
        measured: `ProtocolResult`, what its `measure` gave.
        groups: `GroupList`.
        far: FAR over all impostor pairs of the common threshold; None for 1e-3, or the least that the set can show.
        bootstrap: `evaluation.Bootstrap`, or None for no intervals.

    Returns:
        `ProtocolResult`: values such as "groups.sex.fnmr_gap", notes, and the threshold as an array.

    Raises:
        ValueError: A protocol without pairs or people, groups that name nobody of the set, a FAR out of range.

    Example:
        >>> labels = np.repeat(np.arange(20), 2)
        >>> np.save("labels.npy", labels)
        >>> protocol = load_protocol("labels.npy")
        >>> measured = protocol.measure(np.eye(20)[labels], Settings(resamples=0))
        >>> sex = {str(person): "female" if person < 10 else "male" for person in range(20)}
        >>> groups = GroupList("groups.csv", "identity", {"sex": sex})
        >>> measure_groups(protocol, measured, groups).values["groups.sex.fnmr_gap"]
        0.0
    """
    if "pairs" not in measured.arrays or protocol.people is None:
        raise ValueError(
            f"Rates by group need pairs of images and who is on each. {protocol.name} ({protocol.title}) has not both."
        )
    scores, is_same, pairs = (measured.arrays[name] for name in ("scores", "is_same", "pairs"))
    num_impostor = int((~is_same).sum())
    chosen = max(DEFAULT_FAR, verification.least_far(num_impostor)) if far is None else far
    threshold = evaluation.threshold_at_far(scores, is_same, chosen)
    notes = [f"Groups of {groups.path} at one threshold, {threshold:.4f}: FAR {chosen:g} over all impostor pairs."]
    values, identities = {}, np.asarray(protocol.people)[pairs]
    names = list(map(str, protocol.people)) if groups.key == "identity" else protocol.image_names
    for column, group_of in groups.columns.items():
        of_image = np.array([group_of.get(name, "") for name in names])
        if not (of_image != "").any():
            raise ValueError(
                f"{groups.path} must name somebody of {protocol.name} by {groups.key}, such as {names[0]!r}. Received: "
                f"nobody in {column}; its first is {next(iter(group_of), None)!r}."
            )
        found = evaluation.group_report(scores, is_same, identities, of_image[pairs], threshold, bootstrap)
        values |= {f"groups.{column}.{name}": value for name, value in found.named_values().items()}
        notes += _notes(column, found, int((of_image == "").sum()))
    return ProtocolResult(values, (), tuple(notes), {"group_threshold": np.array(threshold)})


def _notes(column, found, missing):
    """Yields sentences on what the rates of a column leave out."""
    few = [f"{group.name} ({group.people})" for group in found.groups if group.few]
    if few:
        least = FEWEST_IN_GROUP
        yield f"{column}: too few people with genuine pairs to compare, fewer than {least}: {', '.join(few)}."
    if found.fnmr is not None:
        yield f"{column}: FNMR is largest of {found.fnmr.worst}, smallest of {found.fnmr.best}."
    else:
        yield f"{column}: no gap, fewer than two groups have enough people."
    if missing:
        yield f"{column}: {missing:,} images are of no group; {found.unknown:,} pairs with them are left out."
    if found.mixed:
        yield f"{column}: {found.mixed:,} genuine pairs have their sides in different groups and count for none."
