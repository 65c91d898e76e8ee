"""Bars for what takes over two seconds, lines of the log elsewhere."""

import io
import logging
import time

import pytest
from rich.console import Console

from keras_margin._utils import progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_bars_a_line_is_logged_every_five_seconds(clock, caplog):
    """Logs a line every five seconds without bars."""
    caplog.set_level(logging.INFO, "keras_margin.progress")
    counter = progress.Progress("Checked", "images", 4000)
    for seconds, count in ((104.9, 1000), (105.5, 2000), (107, 2500), (111, 3000)):
        clock[0] = seconds
        counter.at(count)
    # 5.5 s for 2,000 of 4,000, 11 s for 3,000.
    assert caplog.messages == [
        "Checked 2,000 of 4,000 images, 6 s left.",
        "Checked 3,000 of 4,000 images, 4 s left.",
    ]


def test_a_bar_appears_after_two_seconds(clock):
    """Shows a bar after two seconds, and removes it with the last count."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    with progress.bars(console):
        quick, slow = progress.Progress("Checked", "images", 10), progress.Progress("Scanned", "bytes", 4000)
        quick.at(5)
        quick.at(10)
        clock[0] += 1.9
        slow.at(1000)
        assert written.getvalue() == ""
        clock[0] += 0.2
        slow.at(3000)
        slow.at(4000)
    assert "Scanned bytes" in written.getvalue() and "4,000/4,000" in written.getvalue()
    assert "Checked" not in written.getvalue()


def test_without_a_terminal_a_line_comes_every_five_seconds(clock):
    """Writes a line every five seconds where there is no terminal."""
    written = io.StringIO()
    with progress.bars(Console(file=written, force_terminal=False, width=20)):
        counter = progress.Progress("Checked", "[images]", 4000)
        for seconds, count in ((104.9, 1000), (500, 1000), (502, 500)):
            clock[0] = seconds
            counter.add(count)
        clock[0] = 999
        counter.at(4000)
    assert written.getvalue().splitlines() == [
        "Checked 2,000 of 4,000 [images], 0:06:40 left.",
        "Checked 4,000 of 4,000 [images].",
    ]


def test_a_stage_is_one_line_where_there_is_no_terminal():
    """A stage writes its line before its work begins."""
    written = io.StringIO()
    with progress.bars(Console(file=written, force_terminal=False, width=20)), progress.stage("Measuring [lfw]"):
        assert written.getvalue() == "Measuring [lfw] ...\n"
    assert written.getvalue() == "Measuring [lfw] ...\n"


def test_a_silent_stage_writes_that_it_is_still_running(monkeypatch):
    """Where nothing was written for a while, a stage writes the time so far, and stops with its work."""
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.04)
    written = io.StringIO()
    with progress.bars(Console(file=written, force_terminal=False, width=20)):
        with progress.stage("Measuring lfw"):
            deadline = time.monotonic() + 30
            while "so far" not in written.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
        after = written.getvalue()
        time.sleep(0.2)
    assert "Measuring lfw: 0 s so far.\n" in after and written.getvalue() == after


def test_a_stage_on_a_terminal_leaves_its_time(clock):
    """A stage of over two seconds ends in a line with its time; a short one leaves none."""
    for seconds, words in ((1.0, None), (3.0, "Measuring lfw: 3 s.")):
        written = io.StringIO()
        with progress.bars(Console(file=written, force_terminal=True, width=100)), progress.stage("Measuring lfw"):
            clock[0] += seconds
        assert words in written.getvalue() if words else " s." not in written.getvalue()


def test_a_stage_without_bars_is_logged(caplog):
    """Without `bars()` nothing is written but a line of the log."""
    caplog.set_level(logging.INFO, "keras_margin.progress")
    with progress.stage("Measuring lfw"):
        pass
    assert caplog.messages == ["Measuring lfw ..."]


def test_an_error_takes_the_bars_away(clock):
    """Removes the bars after an error."""
    console = Console(file=io.StringIO(), force_terminal=True)
    with pytest.raises(KeyError), progress.bars(console):
        counter = progress.Progress("Checked", "images", 10)
        clock[0] += 3
        counter.at(1)
        raise KeyError
    assert progress._bars is None and not console._live_stack
