"""Writing that leaves either the whole file or nothing."""

import contextlib
import os
import pathlib
import shutil
import tempfile


@contextlib.contextmanager
def written_whole(path):
    """Context that yields a temporary path beside `path`, and renames it to `path` if the block ends well.

    Files and folders alike; an older one at `path` is replaced only then. If the block raises, `path` is as it was and
    nothing is left beside it.

    Args:
        path: Where the file or folder is to be; missing parent folders are made.

    Yields:
        pathlib.Path of the same name in a temporary folder on the same disk.

    Raises:
        OSError: Where the place cannot be written.

    Example:
        >>> with written_whole("report.json") as temporary:
        ...     temporary.write_text("{}")
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary = folder / path.name
        yield temporary
        if path.is_dir():
            # A folder cannot be renamed over another that is not empty.
            os.replace(path, folder / "replaced")
        os.replace(temporary, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
