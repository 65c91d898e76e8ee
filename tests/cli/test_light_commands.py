"""What needs no backend loads none: the package, the help, and the commands that only read or compute."""

import os
import subprocess
import sys

import pytest

from keras_margin import cli

# Each takes a tenth of a second of processor time or more to import, TensorFlow seconds.
HEAVY = ("h5py", "jax", "keras", "matplotlib", "onnx", "onnxruntime", "scipy", "sklearn", "tensorflow", "torch")
PROGRAM = f"""
import sys
from keras_margin import cli
try:
    status = cli.main(sys.argv[1:])
except SystemExit as end:
    status = end.code
print("loaded:", *[name for name in {HEAVY} if name in sys.modules])
sys.exit(status)
"""


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["recipes"], ["recipes", "orl_demo"], ["plan", "--classes=1000"], ["train", "--help"]],
    ids=" ".join,
)
def test_a_command_loads_no_backend(arguments):
    """The command does its work without Keras, a backend, or another library that takes long to import."""
    found = run(*arguments)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "loaded:"


def test_inspect_loads_no_backend(tmp_path):
    """The metadata next to an ONNX file are read without anything that could run it."""
    (tmp_path / "face.onnx").write_bytes(b"not read")
    (tmp_path / "face.onnx.json").write_text('{"format": "keras-margin embedder", "head": "ArcFaceHead"}')
    found = run("inspect", tmp_path / "face.onnx")
    assert found.returncode == 0 and "ArcFaceHead" in found.stdout, found.stderr
    assert found.stdout.splitlines()[-1] == "loaded:"


def test_the_package_loads_nothing_heavy():
    """`import keras_margin` loads neither a backend nor NumPy."""
    code = f"import sys, keras_margin; print([name for name in {(*HEAVY, 'numpy', 'rich')} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_plan_is_for_the_gpu_that_the_driver_names(tmp_path):
    """Without --memory the memory is the first GPU's, in MiB by nvidia-smi."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 24576\necho 81920\n")
    program.chmod(0o755)
    found = run("plan", "--classes=1000", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "over 1 device of 24 GiB" in found.stdout


def test_a_plan_without_a_gpu_is_for_the_machine(tmp_path, capsys, monkeypatch):
    """Where there is no driver the memory is the machine's."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["plan", "--classes=1000"]) == 0
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert f"over 1 device of {gib:,.0f} GiB" in capsys.readouterr().out


def test_the_names_of_recipes_can_be_copied_at_80_columns(capsys, monkeypatch):
    """A terminal of 80 columns shows the whole name of every recipe, on one line."""
    from keras_margin import recipes

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # As on a terminal.
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert cli.main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert set(recipes.RECIPES) <= {word for line in lines for word in line.split()}
    assert "\t" not in "".join(lines)  # Which is what a pipe gets.
