"""Files and folders that appear whole or not at all."""

import os
import pathlib
import subprocess
import sys

import pytest

from keras_margin._utils import files

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tree(root):
    """Every path below `root`, hidden ones too, with the text of the files."""
    paths = sorted(root.rglob("*"))
    return {path.relative_to(root).as_posix(): path.read_text() if path.is_file() else None for path in paths}


def test_a_file_appears_when_the_block_ends(tmp_path):
    """Creates the file when the block ends, and not before."""
    with files.atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert tree(tmp_path) == {"a.txt": "new"}


def test_a_folder_appears_at_the_end_with_its_missing_parents(tmp_path):
    """Creates the folder when the block ends, and its missing parents with it."""
    with files.atomic_write(tmp_path / "runs" / "b" / "run") as temporary:
        temporary.mkdir()
        (temporary / "x").write_text("1")
    assert tree(tmp_path) == {"runs": None, "runs/b": None, "runs/b/run": None, "runs/b/run/x": "1"}


def test_an_older_file_or_folder_is_replaced_as_a_whole(tmp_path):
    """Replaces an older file or folder as a whole."""
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "run" / "deep").mkdir(parents=True)
    (tmp_path / "run" / "deep" / "old").write_text("old")
    with files.atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    with files.atomic_write(tmp_path / "run") as temporary:
        temporary.mkdir()
        (temporary / "x").write_text("new")
    assert tree(tmp_path) == {"a.txt": "new", "run": None, "run/x": "new"}


@pytest.mark.parametrize("error", [ValueError("bad"), OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["a.txt", "run", "new/deep/run"])
def test_if_the_block_raises_everything_is_as_it_was(tmp_path, error, name):
    """Changes nothing if the block raises."""
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(type(error)), files.atomic_write(tmp_path / name) as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("written")
        raise error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["a.txt", "run"])
def test_a_block_that_writes_nothing_loses_nothing(tmp_path, name):
    """Keeps the older file if the block writes nothing."""
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(FileNotFoundError), files.atomic_write(tmp_path / name):
        pass
    assert tree(tmp_path) == before


def test_what_others_put_into_a_new_parent_meanwhile_stays(tmp_path):
    """Keeps what others wrote into a new parent folder meanwhile."""
    with pytest.raises(ValueError), files.atomic_write(tmp_path / "runs" / "run"):
        (tmp_path / "runs" / "theirs").write_text("theirs")
        raise ValueError
    assert tree(tmp_path) == {"runs": None, "runs/theirs": "theirs"}


def test_a_name_relative_to_the_working_folder_is_fine(tmp_path, monkeypatch):
    """Accepts a name relative to the working folder."""
    monkeypatch.chdir(tmp_path)
    with files.atomic_write("a.txt") as temporary:
        temporary.write_text("new")
    assert tree(tmp_path) == {"a.txt": "new"}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    """Names a place that cannot be written."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/run cannot be written: .*\.$"), files.atomic_write(tmp_path / "file/run"):
        pytest.fail("the block must not run")
    assert tree(tmp_path) == {"file": ""}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    """Names a folder without permission."""
    (tmp_path / "locked").mkdir(mode=0o500)
    path = tmp_path / "locked" / "run"
    with pytest.raises(PermissionError, match="run cannot be written: Permission denied"), files.atomic_write(path):
        pytest.fail("the block must not run")


def test_a_refused_permission_is_told_by_the_given_path(tmp_path, monkeypatch):
    """Names the path that was given where permission is refused."""

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files.tempfile, "mkdtemp", refuse)
    with pytest.raises(PermissionError, match="^runs/run cannot be written: Permission denied.$"):  # noqa: SIM117
        with files.atomic_write("runs/run"):
            pytest.fail("the block must not run")
    assert tree(tmp_path) == {}


CHATTER = """
import os, sys
from keras_margin._utils import files
try:
    with files.suppress_native_stderr():
        os.write(2, b"from C++\\n")
        print("from Python", file=sys.stderr)
        {last}
except ValueError:
    pass
os.write(2, b"after\\n")
"""


@pytest.mark.parametrize(("last", "said"), [("", "after\n"), ("raise ValueError", "from C++\nfrom Python\nafter\n")])
def test_chatter_is_shown_only_with_an_error(last, said):
    """Shows native output only together with an error."""
    code = CHATTER.format(last=last or "pass")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stderr == said
