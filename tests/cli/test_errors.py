"""What the command line says of mistakes: flags for arguments, near names, the command's usage."""

import subprocess
import sys

import pytest

from keras_margin import cli
from keras_margin.cli import _errors


@pytest.mark.parametrize(
    ("text", "flags", "wanted"),
    [
        (
            "needs num_threads >= 1. Received: num_threads=0.",
            ["threads"],
            "needs --threads >= 1. Received: --threads=0.",
        ),
        ('Pass align=True or fit="crop".', ["align", "fit"], "Pass --align or --fit=crop."),
        ("pass normalization=(127.5, 128.0), or", ["normalization"], "pass --normalization=127.5/128.0, or"),
        ("align_folder needs workers >= 1", ["workers"], "align_folder needs --workers >= 1"),
        ("/data/size=3/x.png and image_size=(1, 2)", ["size"], "/data/size=3/x.png and image_size=(1, 2)"),
        ("A set must have shards in [1, 6]", ["set", "shards"], "A set must have --shards in [1, 6]"),
        ("--fit=crop contradicts", ["fit"], "--fit=crop contradicts"),
        ("Received: seed=-1.", [], "Received: seed=-1."),
    ],
)
def test_arguments_become_flags(text, flags, wanted):
    """A library's message in the words of the command line; what the command has no flag for stays."""
    assert _errors.in_flags(text, flags) == wanted


def test_an_unknown_command_gets_the_nearest(capsys):
    """Status 2, the usage, and a question."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["verfy"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "usage: keras-margin" in error and "no command 'verfy'. Did you mean 'verify'?" in error


def test_an_unknown_flag_shows_the_commands_usage(capsys):
    """Not the usage of keras-margin, which has none of the command's flags."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["verify", "a", "b", "c", "--aling"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: keras-margin verify [-h] [--threshold")
    assert "there is no flag --aling. Did you mean '--align'?" in error


def test_an_argument_too_many_is_named(capsys):
    """A word that no flag begins."""
    with pytest.raises(SystemExit):
        cli.main(["verify", "a", "b", "c", "d"])
    assert "keras-margin verify: error: unexpected arguments: d" in capsys.readouterr().err


def test_no_command_prints_the_help(capsys):
    """keras-margin alone is a question, not a mistake."""
    assert cli.main([]) == 0
    out, error = capsys.readouterr()
    assert "usage: keras-margin" in out and " recipes " in out and error == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recipes", "arcface_casia_r5"], "Did you mean 'arcface_casia_r50'?"),
        (["recipes", "orl_demo", "--set", "lerning_rate=1"], "Did you mean 'learning_rate'?"),
        (["backbones", "ir_resnet_50"], "Did you mean 'ir_resnet50'?"),
    ],
)
def test_an_unknown_name_gets_the_nearest(arguments, words, capsys):
    """Recipes, their keys, backbones."""
    assert cli.main(arguments) == 1
    assert words in capsys.readouterr().err


def test_a_package_that_is_missing_is_one_sentence():
    """The bottom of a chain of errors is named with the extra that installs it; other errors keep their text."""
    try:
        try:
            raise ModuleNotFoundError("No module named 'nowhere_at_all'", name="nowhere_at_all")
        except ImportError as error:
            raise ImportError("Something else.") from error
    except ImportError as error:
        assert _errors.sentence(error) == "Something else."
    assert _errors.sentence(KeyError("nobody")) == "nobody"


@pytest.mark.parametrize("arguments", [["--help"], ["recipes"], ["recipes", "orl_demo"], ["inspect", "--help"]])
def test_light_commands_import_no_backend(arguments):
    """Help and recipes answer without the seconds that TensorFlow, Keras and JAX take to import."""
    program = (
        "import sys\nfrom keras_margin import cli\n"
        "try: cli.main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
