"""Atomic writes of files and folders, and a context that suppresses what native libraries write to standard error."""

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

from keras_margin._typing import PathLike


@contextlib.contextmanager
def atomic_write(path: PathLike) -> Iterator[pathlib.Path]:
    """Context that yields a temporary path next to `path`, and renames it to `path` if the block ends well.

    Both files and folders; an older one at `path` is replaced only then. If the block raises, `path` is as it was and
    nothing is left next to it.

    Args:
        path: Where the file or folder is to be; missing parent folders are made.

    Yields:
        pathlib.Path of the same name in a temporary folder on the same disk.

    Raises:
        OSError: Where the place cannot be written; the message names `path`.

    Example:
        >>> with atomic_write("report.json") as temporary:
        ...     temporary.write_text("{}")
    """
    given, path = path, pathlib.Path(os.path.abspath(path))
    made = [folder for folder in path.parents if not folder.exists()]
    folder = None
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        except OSError as error:
            # What went wrong happened to a temporary name or a parent; what the user knows is the path they gave.
            raise type(error)(f"{given} cannot be written: {error.strerror or error}.") from error
        temporary = folder / path.name
        yield temporary
        replace_path(temporary, path, folder / "replaced")
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    shutil.rmtree(folder, ignore_errors=True)


def replace_path(temporary: pathlib.Path, path: pathlib.Path, aside: pathlib.Path) -> None:
    """Renames `temporary` to `path`; an older folder there is put aside first, and back if that fails.

    Args:
        temporary: File or folder, on the same disk.
        path: Where it is to be.
        aside: Where an older folder goes; there is nothing yet.
    """
    if not path.is_dir():
        os.replace(temporary, path)
        return
    # A folder cannot be renamed over another that is not empty.
    os.replace(path, aside)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.replace(aside, path)
        raise


@contextlib.contextmanager
def suppress_native_stderr() -> Iterator[None]:
    """Context in which nothing reaches standard error, C++ libraries included; what was said is shown if it raises.

    TensorFlow, its converter and LiteRT greet and report from C++, where no logger and no setting reaches them.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
