"""Lists the people of a gallery, or removes some.

keras-margin gallery list people.npz
keras-margin gallery remove people.npz "Ada Lovelace" Grace

`remove` writes the file again without these people; what a disk or a backup keeps of replaced files is beyond it. Needs
neither TensorFlow nor LiteRT.
"""

import argparse

from keras_margin._utils.messages import did_you_mean
from keras_margin.cli import _photographs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    actions = parser.add_subparsers(dest="action", metavar="list|remove", required=True)
    listing = actions.add_parser("list", help="the people, and how many embeddings each has")
    removing = actions.add_parser("remove", help="remove people")
    for action in (listing, removing):
        action.add_argument("gallery", help="the gallery's file, as enroll writes it")
    removing.add_argument("names", nargs="+", help="people")


def run(arguments: argparse.Namespace) -> None:
    """Lists or removes."""
    from keras_margin import runtime

    gallery = runtime.Gallery.load(arguments.gallery)
    if arguments.action == "list":
        for name in gallery.names:
            _photographs.say(f"{name}\t{len(gallery.embeddings_of(name))}")
        return
    for name in arguments.names:
        if name not in gallery:
            raise ValueError(f"{arguments.gallery} knows nobody called {name!r}.{did_you_mean(name, gallery.names)}")
    removed = sum(gallery.remove(name) for name in dict.fromkeys(arguments.names))
    gallery.save(arguments.gallery)
    _photographs.say(f"{arguments.gallery}: {removed:,} embeddings removed, {len(gallery.names):,} people left.")
