"""How the commands write lists of names, thresholds and what they rest on."""


def some(lines, most):
    """The first lines of many, printable, and one that counts the others."""
    lines = list(lines)
    shown = [printable(line) for line in lines[:most]]
    return [*shown, f"and {len(lines) - most:,} more"] if len(lines) > most else shown


def printable(text):
    """A text that any terminal takes: file names may hold bytes that are not characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def basis(metadata):
    """Returns what the threshold in a file's metadata rests on: its FAR and TAR, and the number of pairs behind them.

    Args:
        metadata: The metadata, a dict with a `threshold`.

    Returns:
        str, such as "TAR 98.20% on 450 genuine pairs, FAR 0.001 on 4,500 impostor pairs". The metadata's
        own phrase for what the FAR rests on is taken where they have one.
    """
    threshold, accuracy = metadata["threshold"], metadata.get("accuracy") or {}
    parts = []
    if threshold.get("tar") is not None:
        parts.append(f"TAR {threshold['tar']:.2%}{_on(accuracy, 'genuine')}")
    if threshold.get("far") is not None:
        rests = f" on {threshold['basis']}" if threshold.get("basis") else _on(accuracy, "impostor")
        parts.append(f"FAR {threshold['far']:g}{rests}")
    if not accuracy:
        parts.append("the metadata do not say on how many pairs")
    return ", ".join(parts)


def _on(accuracy, kind):
    pairs = accuracy.get(f"num_{kind}")
    return "" if pairs is None else f" on {pairs:,} {kind} pairs"


def why_none(metadata):
    """Returns why a file ships no threshold, a sentence."""
    return (metadata or {}).get("no_threshold") or "The file ships no threshold."


def shown_threshold(given, metadata):
    """Returns (threshold of a decision or None, a text of where it comes from).

    Args:
        given: The caller's cosine, or None for the file's.
        metadata: The file's metadata, or None.
    """
    if given is not None:
        return given, "given by --threshold: its FAR is not known here"
    shipped = (metadata or {}).get("threshold") or {}
    if shipped.get("cosine") is None:
        return None, ""
    return shipped["cosine"], f"shipped with the file: {basis(metadata)}"


def verdict(similarity, threshold, basis):
    """Returns "the same person: 0.81 >= threshold 0.53 (shipped with the file: ...)", or "different people: ..."."""
    sign, words = (">=", "the same person") if similarity >= threshold else ("<", "different people")
    return f"{words}: {similarity:.6f} {sign} threshold {threshold:.6g} ({basis})"


_VERDICTS = {"same": "the same person", "different": "different people", "ask": "ask a person"}


def zone_verdict(cosine, zone):
    """Returns (SAME, DIFFERENT or ASK of `decisions`, the verdict in words with its two thresholds)."""
    found = zone.verdict(cosine)
    basis = (
        f"the same person from {zone.same_from:.4f}, FAR {zone.far:g}; different people below "
        f"{zone.different_below:.4f}, FRR {zone.frr:g}"
    )
    return found, f"{_VERDICTS[found]} ({basis})"
