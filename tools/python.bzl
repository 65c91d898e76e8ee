"""Macros for the root BUILD file: one call per package, folder of scripts, or folder of tests."""

load("@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test")

def package_library(name, deps = [], apart = []):
    """Declares one package of the library, or one module that lies directly in keras_margin/.

    Args:
        name: Name of the package: its files are keras_margin/<name>/**/*.py or keras_margin/<name>.py.
        deps: Labels of what its files import. `:init` is added: Python runs keras_margin/__init__.py first.
        apart: Names of packages inside this one that have a target of their own.
    """
    srcs = native.glob(
        ["keras_margin/%s.py" % name, "keras_margin/%s/**/*.py" % name],
        exclude = ["keras_margin/%s/**/*.py" % other for other in apart],
        allow_empty = True,
    )
    if not srcs:
        fail("No keras_margin/%s.py and no files in keras_margin/%s/: delete this target." % (name, name))
    py_library(name = name, srcs = srcs, deps = [":init"] + deps)

def script_binaries(name, srcs, deps, modules = []):
    """Declares one py_library of a folder's scripts, and one py_binary for each: //:examples/train_casia.

    Args:
        name: Name of the library.
        srcs: Every Python file of the folder.
        deps: Labels of what these files import.
        modules: Those of srcs that are imported only and get no binary.
    """
    py_library(name = name, srcs = srcs, deps = deps)
    for src in srcs:
        if src not in modules:
            py_binary(name = src[:-len(".py")], srcs = [src], deps = [":" + name])

def package_tests(name, deps, data = []):
    """Declares one py_test for each test file of a folder, //:tests/data/test_bin, and a test_suite of them all.

    Args:
        name: The folder, which is also the name of the suite: its files are <name>/test_*.py.
        deps: Labels of what these files import. pytest is added, and `:test_helpers` for tests/conftest.py.
        data: Labels of the files that the tests read. pyproject.toml is added: it configures pytest.
    """
    srcs = native.glob([name + "/test_*.py"], allow_empty = False)
    for src in srcs:
        py_test(
            name = src[:-len(".py")],
            srcs = ["tools/pytest_main.py", src],
            main = "tools/pytest_main.py",
            args = [src],
            data = ["pyproject.toml"] + data,
            deps = [":test_helpers", "@pypi//pytest"] + deps,
        )
    native.test_suite(name = name, tests = [":" + src[:-len(".py")] for src in srcs])
