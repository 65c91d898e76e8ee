"""Who trains and who is held out, written down in the run's folder."""

import dataclasses
import json

import numpy as np

from keras_margin import files

FILE = "split.json"
# That of `keras-margin split`, so that what reads its files reads a run's.
_FORMAT = "keras-margin split, version 1"


@dataclasses.dataclass(frozen=True)
class Split:
    """The people of a run.

    Attributes:
        train: Names of the people that are trained on, as the reader has them.
        held_out: Names of the people that are tested on.
        seed: The seed that chose them.
        source: What the reader reads: a path, "orl" and the like; None where it has no path.
    """

    train: tuple
    held_out: tuple
    seed: int
    source: str | None

    @classmethod
    def of(cls, reader, learn, test, seed, source=None):
        """The Split of a reader's images `learn` and `test`, int arrays of image numbers."""
        names = [tuple(reader.label_names[label] for label in np.unique(reader.labels[part])) for part in (learn, test)]
        return cls(*names, seed, source)

    def write(self, folder):
        """Writes it as FILE: JSON with "train" and "held_out" (names), "seed", "source", "format", "num_identities".

        Raises:
            ValueError: Where the folder's unfinished run holds other people out.
        """
        path = folder / FILE
        people = len(self.train) + len(self.held_out)
        content = {"format": _FORMAT, "num_identities": people, **dataclasses.asdict(self)}
        content = json.loads(json.dumps(content))
        if path.exists():
            before = json.loads(path.read_text(encoding="ascii"))
            for name in ("held_out", "train"):
                if before[name] != content[name]:
                    raise ValueError(
                        f"{folder} is an unfinished run of something else: {name} was {_few(before[name])} there and "
                        f"is {_few(content[name])} here. Choose another --out, or pass --restart to throw it away."
                    )
            return
        with files.written_whole(path) as temporary:
            # ASCII: names of folders may hold bytes that are no characters.
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="ascii")


def _few(names):
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3:,} more" if len(names) > 3 else shown
