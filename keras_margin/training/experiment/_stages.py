"""The lines of a run's stages on its console."""

import contextlib

from keras_margin._utils import progress


class Stages:
    """Writes the stages of a run, by progress.stage, and lines between them.

    Bars last for a stage alone: training has a bar of its own, and a console shows one display at a time.

    Args:
        console: rich Console; None for standard output.

    Example:
        >>> with Stages(console).stage("Exporting embedder.tflite"):
        ...     export.to_tflite(model, "embedder.tflite")
    """

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
        """Context of one stage; `text`: what is done, without a full stop."""
        with progress.bars(self.console), progress.stage(text):
            yield
