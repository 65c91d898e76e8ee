"""Compiles the C programs of export/c against the libLiteRt.so of ai-edge-litert, as their first lines say."""

import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest


def compiled(source, target):
    """Returns `target`, compiled from `source` without a warning; skips where compiler or library are missing.

    Args:
        source: pathlib.Path of the .c file; a line of its first comment is the command.
        target: pathlib.Path of the program.
    """
    litert = pytest.importorskip("ai_edge_litert")
    library = pathlib.Path(litert.__path__[0])
    version = importlib.metadata.version("ai-edge-litert")
    if tuple(map(int, version.split(".")[:2])) < (2, 3):
        pytest.skip(f"the program declares the C API of LiteRT 2.3; ai-edge-litert is {version}")
    if compiler() is None or not (library / "libLiteRt.so").exists():
        pytest.skip("needs a C compiler, and an ai-edge-litert that carries libLiteRt.so")
    command = re.search(r"^ \*     (cc .*)$", source.read_text(encoding="utf-8"), re.MULTILINE).group(1)
    words = command.replace('"$LITERT"', str(library)).split()[1:]
    if not has_jpeg():
        words = [word for word in words if word not in ("-DWITH_JPEG", "-ljpeg")]
    given = {f"export/c/{source.name}": str(source), source.stem: str(target)}
    words = [given.get(word, word) for word in words]
    subprocess.run([compiler(), *words, "-Wall", "-Wextra", "-Werror"], check=True)
    return target


def compiler():
    """The C compiler's path, or None."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def has_jpeg():
    """Whether a program can be compiled and linked with libjpeg."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "jpeg.c")
        source.write_text("#include <stdio.h>\n#include <jpeglib.h>\nint main(void) { return 0; }\n", encoding="utf-8")
        command = [compiler(), str(source), "-o", f"{folder}/jpeg", "-ljpeg"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
