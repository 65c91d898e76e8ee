"""tools/check_package.py finds what is missing in a wheel or an sdist, what is too much, and what is too large."""

import importlib.util
import io
import tarfile
import zipfile

import pytest
from source_tree import ROOT

pytestmark = pytest.mark.once
EXPECTED = {"keras_margin/__init__.py", "keras_margin/py.typed"}


@pytest.fixture(scope="module")
def tool():
    """The module tools/check_package.py."""
    spec = importlib.util.spec_from_file_location("check_package", ROOT / "tools" / "check_package.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(folder, *names):
    path = folder / "keras_margin-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (*names, "keras_margin-1.dist-info/METADATA", "keras_margin-1.dist-info/licenses/LICENSE"):
            archive.writestr(name, "text")
    return path


def sdist(folder, *names):
    path = folder / "keras_margin-1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in (*names, "README.md", "pyproject.toml"):
            archive.addfile(tarfile.TarInfo(f"keras_margin-1/{name}"), io.BytesIO())
    return path


def test_a_wheel_of_the_package_alone_is_sound(tool, tmp_path):
    """The package's files and the metadata are what a wheel holds."""
    assert tool.wheel_problems(wheel(tmp_path, *EXPECTED), EXPECTED) == []


def test_files_that_lack_or_do_not_belong_are_named(tool, tmp_path):
    """A wheel without py.typed, with a test and with a picture of the documentation."""
    made = wheel(tmp_path, "keras_margin/__init__.py", "tests/test_a.py", "docs/img/a.png")
    assert [problem.partition(" ")[2] for problem in tool.wheel_problems(made, EXPECTED)] == [
        "lacks keras_margin/py.typed",
        "should not hold docs/img/a.png",
        "should not hold tests/test_a.py",
    ]


def test_an_sdist_is_the_package_and_what_builds_it(tool, tmp_path):
    """Tests do not belong into it: half of them would be there."""
    assert tool.sdist_problems(sdist(tmp_path, *EXPECTED), EXPECTED) == []
    (problem,) = tool.sdist_problems(sdist(tmp_path, *EXPECTED, "tests/test_a.py"), EXPECTED)
    assert problem.endswith("should not hold tests/test_a.py")


def test_a_large_file_is_a_problem(tool, tmp_path, monkeypatch):
    """More bytes than the limit, 1 MB."""
    assert tool.MOST_BYTES == 1_000_000
    monkeypatch.setattr(tool, "MOST_BYTES", 10)
    (problem,) = tool.wheel_problems(wheel(tmp_path, *EXPECTED), EXPECTED)
    assert problem.endswith("more than 10")


def test_every_module_is_expected(tool):
    """The expectation is the tree: a module that is new is expected at once."""
    assert {"keras_margin/py.typed", "keras_margin/cli/plan.py"} <= tool.expected_files()


def test_an_environment_needs_no_ensurepip(tool, tmp_path, monkeypatch):
    """Makes environments without pip and installs into them from outside: Debian's Python may lack ensurepip."""
    commands = []
    monkeypatch.setattr(tool, "WORK", tmp_path)
    monkeypatch.setattr(tool, "run", lambda *command: commands.append([str(each) for each in command]))
    assert tool.environment("core", "--no-deps", "a.whl") == tmp_path / "core" / "bin"
    made, installed = commands
    assert made[1:] == ["-m", "venv", "--without-pip", str(tmp_path / "core")]
    assert installed[0] == made[0] and installed[-3:] == ["install", "--no-deps", "a.whl"]
    assert installed[installed.index("--python") + 1] == str(tmp_path / "core/bin/python")
