"""Extension of griffe: shows docstrings on the site as they are read in the code."""

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Makes examples of the section "Example:", and blocks of code of paragraphs that are formulas."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Changes the text of a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = for_markdown(obj.docstring.value)


def for_markdown(text: str) -> str:
    """Returns a docstring whose "Example:" is griffe's "Examples:", and whose formulas keep their lines.

    A paragraph behind the first is formulas where each of its lines has an equals sign, or two spaces between words.
    """
    first, *paragraphs = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE).split("\n\n")
    for place, paragraph in enumerate(paragraphs):
        if all(re.match(r"\S.*( = |\S  +\S)", line) for line in paragraph.strip("\n").split("\n")):
            paragraphs[place] = re.sub(r"^", "    ", paragraph, flags=re.MULTILINE)
    return "\n\n".join([first, *paragraphs])
