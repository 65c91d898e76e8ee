"""Writes the notebooks of examples/notebooks: NAME.ipynb out of NAME.md, run from top to bottom, with what it showed.

    python tools/notebooks.py           runs all and writes them
    python tools/notebooks.py angles    one of them

Text is a cell, and so is each block of Python. A block that is marked `no-output` runs, and what it shows is not kept.
"""

import ast
import base64
import contextlib
import io
import json
import os
import pathlib
import re
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "notebooks"
_CODE = re.compile(r"^```python([^\n]*)\n(.*?)\n```$", re.DOTALL | re.MULTILINE)


def cells_of(text: str) -> list[tuple[str, str, bool]]:
    """Returns the cells of a page: ("markdown" or "code", text, whether what it shows is kept)."""
    found, end = [], 0
    for block in _CODE.finditer(text):
        found += [
            ("markdown", text[end : block.start()].strip(), True),
            ("code", block[2], "no-output" not in block[1]),
        ]
        end = block.end()
    return [cell for cell in [*found, ("markdown", text[end:].strip(), True)] if cell[1]]


def run_cell(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs one cell and returns what it shows in Jupyter: what it prints, then the value of its last expression."""
    body = ast.parse(source).body
    last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = None if last is None else eval(compile(last, "cell", "eval"), names)
    outputs = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": lines_of(printed.getvalue())})
    if value is not None:
        outputs.append({"data": shown(value), "execution_count": None, "metadata": {}, "output_type": "execute_result"})
    return outputs


def shown(value: Any) -> dict[str, Any]:
    """Returns a value as the data of an output: a matplotlib figure as a picture, anything else as text."""
    if not hasattr(value, "savefig"):
        return {"text/plain": lines_of(repr(value))}
    picture = io.BytesIO()
    value.savefig(picture, format="png", dpi=80, metadata={"Software": None})
    return {"image/png": base64.b64encode(picture.getvalue()).decode("ascii"), "text/plain": ["<Figure>"]}


def lines_of(text: str) -> list[str]:
    """Returns a text as notebooks have it: its lines, each with its end."""
    return text.splitlines(keepends=True)


def notebook(cells: list[tuple[str, str, bool]], outputs: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns a notebook of the format 4.5; `outputs`: of each cell."""
    made = []
    for number, ((kind, text, keeps), shows) in enumerate(zip(cells, outputs, strict=True)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines_of(text)}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": shows if keeps else []}
        made.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def run(page: pathlib.Path) -> list[list[dict[str, Any]]]:
    """Runs the cells of a page in one namespace and an empty folder; returns what each shows."""
    names: dict[str, Any] = {"__name__": "__main__"}
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            cells = cells_of(page.read_text(encoding="utf-8"))
            return [run_cell(text, names) if kind == "code" else [] for kind, text, _ in cells]
        finally:
            os.chdir(before)


def main(names: list[str]) -> None:
    """Writes the notebooks of the names, or all."""
    for page in sorted(FOLDER.glob("*.md")):
        if not names or page.stem in names:
            made = notebook(cells_of(page.read_text(encoding="utf-8")), run(page))
            page.with_suffix(".ipynb").write_text(
                json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
