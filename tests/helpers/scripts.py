"""Runs a script's `main` for many command lines in the tests' own process: importing TensorFlow is most of its time."""

import contextlib
import importlib.util
import io
import logging
import os
import pathlib
import sys
import tempfile

from absl import flags
from absl import logging as absl_logging

ROOT = pathlib.Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def own_flags():
    """Context for a script that is imported next to others: absl has one table of flags, and refuses a name twice."""
    by_module = flags.FLAGS.flags_by_module_dict()
    own = {flag.name for module, defined in by_module.items() if module.startswith("absl.") for flag in defined}
    others = {name: flags.FLAGS[name] for name in flags.FLAGS if flags.FLAGS[name].name not in own}
    flags.FLAGS.remove_flag_values(others)
    before = set(flags.FLAGS)
    try:
        yield
    finally:
        flags.FLAGS.remove_flag_values(set(flags.FLAGS) - before)
        for name, flag in others.items():
            flags.FLAGS[name] = flag


def unparsed():
    """Makes absl forget the command line that it has read."""
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()


@contextlib.contextmanager
def standard_error():
    """Context that yields a function: all that was written to standard error since, by Python or by C++."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile("w+", buffering=1, encoding="utf-8") as file:
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stderr(file):

                def said():
                    file.flush()
                    return pathlib.Path(f"/dev/fd/{file.fileno()}").read_text(encoding="utf-8")

                yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def absl_speaks():
    """Context in which Python's loggers speak through absl's handler, as under absl's app.run."""
    handler, loggers = absl_logging.get_absl_handler(), [logging.getLogger(name) for name in (None, "tensorflow")]
    absl_logging.use_absl_handler()
    levels, formatter = [logger.level for logger in loggers], handler.python_handler.formatter
    stream = handler.python_handler.setStream(sys.stderr)
    verbosity = absl_logging.get_verbosity()
    try:
        yield
    finally:
        absl_logging.set_verbosity(verbosity)
        handler.python_handler.setStream(stream)
        handler.setFormatter(formatter)
        logging.root.removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def run_main(script, *command_lines):
    """What absl's app.run would do with each command line.

    Returns:
        ([(exit code, or the text that sys.exit was given; standard output)], standard error of all of them).
    """
    found = []
    with own_flags(), standard_error() as said, absl_speaks():
        spec = importlib.util.spec_from_file_location("script", ROOT / script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for line in command_lines:
            unparsed()
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                try:
                    code = module.main(flags.FLAGS(["script", *map(str, line)])) or 0
                except SystemExit as ending:
                    code = ending.code
            found.append((code, out.getvalue()))
        unparsed()
        errors = said()
    return found, errors
