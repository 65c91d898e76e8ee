"""The example that fine-tunes, run as a user runs it on a few steps."""

import pytest
from scripts import run_main

from keras_margin.models import backbones

pytestmark = pytest.mark.tensorflow_only

SHORT = ("--seeds=0", "--steps=2", "--pretrain_steps=2", "--image_size=28,24", "--images=1")


def with_one_unit(**options):
    """ir_small with half of its units, which every run traces again."""
    return backbones.ir_resnet((1, 1), widths=(8, 8), embedding_size=16, **options)


@pytest.mark.slow
def test_every_start_gets_its_row_and_what_cannot_be_is_said(tmp_path, monkeypatch):
    """Prints a row for every start, and says what is impossible."""
    monkeypatch.setitem(backbones.BACKBONES, "ir_small", with_one_unit)
    backbones.build("ir_small", image_size=(28, 24), stem_strides=1).save(tmp_path / "face.keras")
    runs, _ = run_main(
        "examples/fine_tune.py",
        [*SHORT, f"--weights={tmp_path / 'face.keras'}", "--start=untuned"],
        [*SHORT, f"--weights={tmp_path / 'none.keras'}", "--start=untuned"],
        [*SHORT, "--start=frozen", "--start=untuned"],
    )
    (code, given), (missing, _), (learnt, table) = runs
    assert code == 0, code
    assert "1 images of each of 10 people, 2 steps" in given and "pretraining" not in given
    assert "none.keras" in missing
    assert learnt == 0, learnt
    assert "pretraining on faces: 200 images of 20 classes" in table
    assert "not tuned" in table and "frozen: stem*" in table and "from scratch" not in table
