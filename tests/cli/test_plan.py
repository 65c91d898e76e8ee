"""`keras-margin` itself, and `keras-margin plan`."""

import json
import re

import pytest

from keras_margin import cli

GIB = 2**30


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def rows(text):
    """First word of each row -> its numbers."""
    cells = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    assert cells[0] == ["head", "prototypes", "optimizer", "working", "total", "GFLOP", "fits"]
    return {cell[0].split()[0]: cell[1:] for cell in cells[1:]}


def test_a_plan_says_what_each_implementation_takes(capsys):
    """Prints the memory that each implementation takes."""
    status, out, _ = run(capsys, "plan", "--classes=1_000_000", "--batch=1024", "--gpus=8", "--memory=8")
    assert status == 0 and "1,000,000 classes x 512, batch 1,024 over 8 devices of 8 GiB" in " ".join(out.split())
    found = rows(out)
    weights = 1_000_000 * 512 * 4 / GIB
    assert list(found) == ["reference", "fused", "streaming", "sampled", "sharded"]
    assert [float(cell) for cell in found["streaming"][:2]] == pytest.approx([weights, weights], abs=0.005)
    assert float(found["sharded"][0]) == pytest.approx(weights / 8, abs=0.005)
    # Three products of 128 x 512 x a million, two operations each.
    assert float(found["fused"][4].replace(",", "")) == pytest.approx(6 * 128 * 512 * 1e6 / 1e9, rel=0.01)
    assert found["reference"][5] == "no" and found["sampled"][5] == "yes"
    for cells in found.values():
        assert float(cells[3]) == pytest.approx(sum(float(cell) for cell in cells[:3]), abs=0.02)


def test_a_plan_as_json_is_its_table_in_bytes(capsys):
    """The JSON has a row's sizes in bytes, and as many rows as the table."""
    _, out, _ = run(capsys, "plan", "--classes=1000", "--batch=8", "--sample_rate=1", "--memory=1", "--json")
    found = json.loads(out)
    assert found["available"] == GIB and [row["head"] for row in found["heads"]] == ["reference", "fused", "streaming"]
    assert all(row["prototypes"] == 4 * 1000 * 512 and row["fits"] for row in found["heads"])


def test_one_device_and_no_sampling_leave_three_rows(capsys):
    """Prints three rows for one device without sampling."""
    _, out, _ = run(capsys, "plan", "--classes=1000", "--batch=8", "--sample_rate=1")
    assert list(rows(out)) == ["reference", "fused", "streaming"]


def test_an_uneven_batch_is_refused_with_one_that_splits(capsys):
    """Refuses a batch that does not split among the replicas, and names one that does."""
    status, _, error = run(capsys, "plan", "--classes=1000", "--batch=1023", "--gpus=8")
    assert status == 1 and error.startswith("keras-margin plan:") and "--batch=1024" in error


@pytest.mark.parametrize("arguments", [["nothing"], ["plan"], ["plan", "--classes=0"], ["plan", "--classes=many"]])
def test_arguments_that_make_no_sense_end_with_status_2(capsys, arguments):
    """Ends with status 2 for arguments that contradict one another."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2 and "usage: keras-margin" in capsys.readouterr().err


def test_help_names_every_command(capsys):
    """Names every command in the help."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^ +{name}\s", text, re.M) for name in cli.COMMANDS)
