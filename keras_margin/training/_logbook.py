"""Loss and accuracy of the updates since the last report, brought over from the device when somebody looks."""

import collections.abc


class Logbook(collections.abc.Mapping):
    """What callbacks get as `logs`: `loss`, `accuracy`, `learning_rate`, and `lambda` where the head anneals.

    Loss and accuracy are means since the last report, the other two of the last update. Looking makes the host wait for
    the device, so a callback that looks at every update slows a GPU down.

    Args:
        model: EmbeddingModel.
        schedule: Learning rate by step.
    """

    def __init__(self, model, schedule):
        self._model, self._schedule = model, schedule
        self.step = 0
        self.count, self.sums = 0, [0.0, 0.0]
        self._all = [0, 0.0, 0.0]
        self._waiting = []

    def note(self, step, numbers):
        """Takes in one update's tensor (2,), of loss and accuracy; `step` updates are made."""
        self.step = step
        self._waiting.append(numbers)
        if len(self._waiting) >= 256:
            self._bring()

    def _bring(self):
        for numbers in self._waiting:
            loss, accuracy = numbers.numpy().tolist()
            self.sums = [self.sums[0] + loss, self.sums[1] + accuracy]
            self.count += 1
            self._all = [self._all[0] + 1, self._all[1] + loss, self._all[2] + accuracy]
        self._waiting = []

    def clear(self):
        """Starts the next means, after a report."""
        self._bring()
        self.count, self.sums = 0, [0.0, 0.0]

    def totals(self):
        """[updates, sum of losses, sum of accuracies] of the whole run: of two moments the difference is between."""
        self._bring()
        return list(self._all)

    def __getitem__(self, name):
        if name not in self._names():
            raise KeyError(name)
        return _READ[name](self)

    def copy(self):
        """The present numbers, a dict."""
        return dict(self)

    def __iter__(self):
        return iter(self._names())

    def __len__(self):
        return len(self._names())

    def _names(self):
        return [name for name in _READ if name != "lambda" or self._model.head.margin.anneals]

    def state(self):
        """What JSON can hold; `restore` reads it."""
        self._bring()
        return {"count": self.count, "sums": self.sums, "all": self._all}

    def restore(self, step, state):
        """Goes on where `state` was read."""
        self.step, self.count, self.sums = step, state["count"], list(state["sums"])
        self._all = list(state["all"])

    def _mean(self, which):
        self._bring()
        return self.sums[which] / max(1, self.count)


_READ = {
    "loss": lambda book: book._mean(0),
    "accuracy": lambda book: book._mean(1),
    "learning_rate": lambda book: float(book._schedule(max(0, book.step - 1))),
    "lambda": lambda book: book._model.head.annealing_lambda,
}
