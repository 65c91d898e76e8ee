"""Lines that say which stage of a run begins and that it is still going on."""

import contextlib
import threading
import time

from keras_margin import progress


class Stages:
    """Writes a line where a stage begins, and one every `SECONDS` while it lasts; a log file shows them too.

    Args:
        console: rich Console; None for standard output.

    Example:
        >>> with Stages(console).stage("Exporting embedder.tflite"):
        ...     export.to_tflite(model, "embedder.tflite")
    """

    SECONDS = 10.0

    def __init__(self, console=None):
        if console is None:
            import rich.console

            console = rich.console.Console()
        self.console = console

    def say(self, text):
        """Writes one line, not broken at the terminal's edge."""
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    @contextlib.contextmanager
    def stage(self, text):
        """Context of one stage.

        Args:
            text: What is done, without a full stop.
        """
        self.say(f"{text} ...")
        done, began = threading.Event(), time.monotonic()

        def go_on():
            while not done.wait(self.SECONDS):
                self.say(f"{text}: {time.monotonic() - began:.0f} s so far")

        # A daemon: a process that is killed does not wait for it.
        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            with progress.bars(self.console):
                yield
        finally:
            done.set()
            thread.join()
