"""Runs a script's `main` for many command lines in one process: importing TensorFlow is most of a script's time."""

import contextlib
import json
import pathlib
import subprocess
import sys

from absl import flags

ROOT = pathlib.Path(__file__).resolve().parents[1]

_DRIVER = """
import contextlib, importlib.util, io, json, sys
from absl import flags, logging
logging.use_absl_handler()
spec = importlib.util.spec_from_file_location("script", sys.argv[1])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
for arguments in json.loads(sys.argv[2]):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            code = script.main(flags.FLAGS(["script", *arguments])) or 0
        except SystemExit as ending:
            code = ending.code
    print(json.dumps([code, out.getvalue()]))
"""


@contextlib.contextmanager
def own_flags():
    """Context for a script that is imported beside others: absl has one table of flags, and refuses a name twice."""
    others = {
        flag.name: flag
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        if module.startswith("benchmarks")
        for flag in defined
    }
    flags.FLAGS.remove_flag_values(others)
    before = set(flags.FLAGS)
    try:
        yield
    finally:
        flags.FLAGS.remove_flag_values(set(flags.FLAGS) - before)
        for name, flag in others.items():
            flags.FLAGS[name] = flag


def run_main(script, *command_lines):
    """What absl's app.run would do with each command line.

    Returns:
        ([(exit code, or the text that sys.exit was given; standard output)], standard error of all of them).
    """
    command_lines = json.dumps([[str(argument) for argument in line] for line in command_lines])
    command = [sys.executable, "-c", _DRIVER, str(ROOT / script), command_lines]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise AssertionError(f"{script} ended in a traceback:\n{run.stderr}")
    return [tuple(json.loads(line)) for line in run.stdout.splitlines()], run.stderr
