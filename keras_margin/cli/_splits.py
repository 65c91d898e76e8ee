"""One part of a set, by a split file: for the commands that read a set."""

from keras_margin import data

TRAINING, HELD_OUT = "training", "held_out"


def add_arguments(parser, part):
    """The flags, with the part that a command takes unless told."""
    parser.add_argument("--split", help="a file of keras-margin split: only one part of its people is taken")
    parser.add_argument("--part", choices=(TRAINING, HELD_OUT), default=part, help=f"of the split; default {part}")


def open_part(arguments, strict):
    """The reader of `arguments.source`, or of one part of it."""
    reader = data.open(arguments.source, strict=strict)
    if arguments.split is None:
        return reader
    train, held_out = data.read_split(arguments.split).indices(reader)
    return reader.subset(train if arguments.part == TRAINING else held_out)
