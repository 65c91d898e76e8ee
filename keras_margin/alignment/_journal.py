"""What of a folder is aligned already: a line of JSON an image, appended as it is done."""

import contextlib
import json
import os

NAME = ".alignment.jsonl"
_FORMAT = "keras-margin alignment, version 2"  # 1 did not average the area of a shrunken pixel.


class Journal:
    """The notes of earlier calls, and a place for those of this one.

    Attributes:
        found: {name of an image: entry}.
    """

    def __init__(self, file, found):
        self.found = found
        self._file = file

    def add(self, entry):
        """Notes an image that is done; known to the system before this returns, so that it outlives a kill."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


@contextlib.contextmanager
def opened(out, settings):
    """Context that yields the Journal of a folder, which is made if it is not there.

    Raises:
        ValueError: If `out` has something in it and no journal, or one of other settings.
    """
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, NAME)
    head = {"format": _FORMAT} | settings
    found = _read(path, out, head)
    with open(path, "a", encoding="ascii") as file:
        if found is None:
            file.write(json.dumps(head) + "\n")
        yield Journal(file, found or {})


def _read(path, out, head):
    """The entries of a journal; None where there is nothing yet."""
    try:
        with open(path, "rb+") as file:
            lines = file.read().split(b"\n")
            # A kill may have cut the last line short: what follows would be appended to it.
            file.truncate(file.tell() - len(lines.pop()))
    except FileNotFoundError:
        if os.listdir(out):
            raise ValueError(
                f"{out} has files in it that no alignment wrote. Nothing of them is touched: choose a new folder."
            ) from None
        return None
    if not lines:
        return None
    try:
        first, *entries = (json.loads(line) for line in lines)
        found = {entry["image"]: entry for entry in entries}
        complete = all({"faces", "crops", "refused", "stamp"} <= entry.keys() for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError):
        first, complete = None, False
    if not complete or not isinstance(first, dict):
        raise ValueError(f"{path} is not what an alignment noted. Remove {out} to start again.")
    if first != head:
        other = next(name for name in [*head, *first] if first.get(name) != head.get(name))
        raise ValueError(
            f"{out} was begun with {other}={first.get(other)!r}. Received: {other}={head.get(other)!r}. Choose a new "
            "folder, or repeat the first call to finish it."
        )
    return found


def stamp(path):
    """[bytes, time of change] of a file, or None where it is gone."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]
