"""What callbacks of this package read of a run."""

from typing import Any

import keras


class RunCallback(keras.callbacks.Callback):
    """Base of the callbacks that read a run of `training.fit`: its step, recipe, reader, batch and embeddings.

    Keras's callbacks need none of it and work in `training.fit` as they do in Model.fit.
    """

    # What to use under Model.fit; a sentence.
    ELSEWHERE = ""

    @property
    def run(self) -> Any:
        """The run.

        Raises:
            ValueError: Under Model.fit, which has no recipe and does not show its batches.
        """
        run = (self.params or {}).get("run")
        if run is None:
            name = type(self).__name__
            raise ValueError(
                f"{name} works in keras_margin.training.fit and in `keras-margin train`, whose recipe and batches it "
                f"reads. Received: {name} in the callbacks of Model.fit. {self.ELSEWHERE}".rstrip()
            )
        return run
