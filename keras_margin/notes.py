"""What a layer knows of a batch and its output cannot carry, for the loss that meets that output next."""

import weakref

# By the id of the tensor the note is about.
_notes = {}


def remember(tensor, note):
    """Keeps `note` for as long as `tensor` lives; returns `tensor`.

    Args:
        tensor: A layer's output. The note is found by this very object: a copy or a cast of it has none.
        note: Anything.
    """
    key = id(tensor)
    if key not in _notes:
        # The note goes when its tensor goes, before another tensor can have that id.
        weakref.finalize(tensor, _notes.pop, key, None)
    _notes[key] = note
    return tensor


def recall(tensor):
    """The note about `tensor`, or None."""
    return _notes.get(id(tensor))
