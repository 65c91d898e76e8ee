"""Bars for what takes over two seconds, lines of the log elsewhere."""

import io
import logging

import pytest
from rich.console import Console

from keras_margin import progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_bars_a_line_is_logged_every_ten_seconds(clock, caplog):
    caplog.set_level(logging.INFO, "keras_margin.progress")
    counter = progress.Progress("Checked", "images", 4000)
    for seconds, count in ((109.9, 1000), (110.5, 2000), (112, 2500), (121, 3000)):
        clock[0] = seconds
        counter.at(count)
    assert caplog.messages == ["Checked 2,000 of 4,000 images.", "Checked 3,000 of 4,000 images."]


def test_a_bar_appears_after_two_seconds_and_goes_with_the_last_count(clock):
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
    assert "Scanned bytes" in written.getvalue() and "4000/4000" in written.getvalue()
    assert "Checked" not in written.getvalue()


def test_where_there_is_no_terminal_a_line_is_written_every_ten_seconds(clock):
    written = io.StringIO()
    with progress.bars(Console(file=written, force_terminal=False, width=20)):
        counter = progress.Progress("Checked", "[images]", 4000)
        for seconds, count in ((109.9, 1000), (110.5, 2000), (112, 2500), (121, 4000)):
            clock[0] = seconds
            counter.at(count)
    assert written.getvalue() == "Checked 2,000 of 4,000 [images].\nChecked 4,000 of 4,000 [images].\n"


def test_an_error_takes_the_bars_away(clock):
    console = Console(file=io.StringIO(), force_terminal=True)
    with pytest.raises(KeyError), progress.bars(console):
        counter = progress.Progress("Checked", "images", 10)
        clock[0] += 3
        counter.at(1)
        raise KeyError
    assert progress._bars is None and not console._live_stack
