"""The split of a run, written into its folder."""

from keras_margin.data import splits

FILE = "split.json"


def write(folder, split):
    """Writes FILE, as `keras-margin split` does; an unfinished run goes on with the split that it has.

    Args:
        folder: pathlib.Path of the run.
        split: data.Split of the run's set.

    Raises:
        ValueError: Where the folder's unfinished run holds other people out.
    """
    path = folder / FILE
    if not path.exists():
        splits.write_split(path, split)
        return
    before = splits.read_split(path)
    if before.held_out != split.held_out:
        raise ValueError(
            f"{folder} is an unfinished run of something else: held_out was {_few(before.held_out)} there and is "
            f"{_few(split.held_out)} here. Choose another --out, or pass --restart to throw it away."
        )
    if before.num_identities != split.num_identities:
        raise ValueError(
            f"{folder} is an unfinished run of something else: its set had {before.num_identities:,} people, this one "
            f"has {split.num_identities:,}. Choose another --out, or pass --restart to throw it away."
        )


def _few(names):
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3:,} more" if len(names) > 3 else shown
