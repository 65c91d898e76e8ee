"""How the commands write lists of names."""


def some(lines, most):
    """The first lines of many, printable, and one that counts the others."""
    lines = list(lines)
    shown = [printable(line) for line in lines[:most]]
    return [*shown, f"and {len(lines) - most:,} more"] if len(lines) > most else shown


def printable(text):
    """A text that any terminal takes: file names may hold bytes that are no characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
