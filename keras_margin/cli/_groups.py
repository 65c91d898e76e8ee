"""Rates by group of `keras-margin evaluate`: its lists, and what they add to a set's numbers."""

import dataclasses

from keras_margin import progress, protocols


def read(given, named):
    """Returns the `GroupList` of each set for which one was given.

    Args:
        given: List of FILE.csv, for all sets, or NAME=FILE.csv.
        named: Names of the sets.

    Raises:
        OSError, ValueError: As `protocols.read_groups`; a set that is not evaluated.
    """
    groups = {}
    for text in given:
        name, equals, path = text.partition("=")
        if equals and "/" not in name and name not in named:
            raise ValueError(
                f"--groups takes FILE.csv, or NAME=FILE.csv of one of {', '.join(named)}. Received: {text}."
            )
        whose = [name] if equals and name in named else named
        groups |= dict.fromkeys(whose, protocols.read_groups(path if equals and name in named else text))
    return groups


def added(arguments, protocol, measured, groups):
    """Returns a set's `ProtocolResult` with the rates of its groups, or as it was without groups."""
    if groups is None:
        return measured
    pairs = len(measured.arrays.get("scores", ())) or 1
    settings = protocols.Settings(resamples=arguments.resamples, seed=arguments.seed)
    with progress.stage(f"Measuring the groups of {protocol.name}"):
        found = protocols.measure_groups(protocol, measured, groups, arguments.group_far, settings.bootstrap(pairs))
    return dataclasses.replace(
        measured,
        values=measured.values | found.values,
        notes=(*measured.notes, *found.notes),
        arrays=measured.arrays | found.arrays,
    )
