"""What a file's metadata get from a set of pairs: the worth of a cosine, and thresholds of a search."""

import dataclasses

from keras_margin import evaluation
from keras_margin.evaluation.protocols.base import Settings


@dataclasses.dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibration on a protocol's pairs.

    Attributes:
        report: `evaluation.CalibrationReport`.
        search: `decisions.SearchThresholds`, or None.
        no_search: Why there are no thresholds of a search, a sentence; or None.
        set_name: The protocol's name.
    """

    report: evaluation.CalibrationReport
    search: object | None
    no_search: str | None
    set_name: str

    def as_metadata(self):
        """Returns the entries "calibration" and "search" of a file's metadata."""
        search = None if self.search is None else self.search.as_metadata() | {"set": self.set_name}
        return {"calibration": self.report.as_metadata() | {"set": self.set_name}, "search": search}


def calibrate(protocol, embeddings, seed=0, resamples=200, **options):
    """Calibrates embeddings of a protocol's images on its pairs.

    Args:
        protocol: `Protocol` of pairs; people that the network was not trained on.
        embeddings: Real array (num_images, embedding_size), in the order of `protocol.batches`.
        seed: Of drawn pairs and of the bootstrap.
        resamples: Of the bootstrap, >= 1.
        options: As for `evaluation.fit_calibration`: method, prior, far, frr.

    Returns:
        `Calibrated`.

    Raises:
        TypeError, ValueError: As `evaluation.fit_calibration`; a protocol that has no pairs.

    Example:
        >>> calibrated = calibrate(protocol, keras_margin.evaluation.protocols.embed(embedder, protocol))
        >>> keras_margin.evaluation.embedders.update_metadata("face.tflite", calibrated.as_metadata())
    """
    arrays = protocol.measure(embeddings, Settings(resamples=0, seed=seed, far=(1.0,))).arrays
    if "scores" not in arrays or not len(arrays["scores"]):
        raise ValueError(f"{protocol.name} has no pairs to calibrate on. Pass a .bin, a list of pairs or a folder.")
    scores, is_same = arrays["scores"], arrays["is_same"]
    identities = None
    if protocol.people is not None and "pairs" in arrays:
        identities = protocol.people[arrays["pairs"]]
    return calibrate_scores(scores, is_same, identities, protocol.name, seed=seed, resamples=resamples, **options)


def calibrate_scores(scores, is_same, identities=None, set_name="pairs", *, seed=0, resamples=200, **options):
    """Calibrates scores: `calibrate` where pairs were scored before.

    Args:
        scores: Real array (n,), cosines.
        is_same: Bool array (n,).
        identities: Array (n, 2), who is on either side of each pair; or None.
        set_name: What the metadata call the pairs.
        seed: Of the bootstrap.
        resamples: Of the bootstrap, >= 1.
        options: As for `calibrate`.

    Returns:
        `Calibrated`.

    Raises:
        TypeError, ValueError: As `evaluation.fit_calibration`.
    """
    bootstrap = evaluation.Bootstrap(resamples=resamples, seed=seed)
    report = evaluation.fit_calibration(scores, is_same, identities, bootstrap=bootstrap, **options)
    try:
        search, no_search = evaluation.fit_search_thresholds(scores[~is_same]), None
    except ValueError as error:
        search, no_search = None, f"No thresholds of a search: {error}"
    return Calibrated(report, search, no_search, set_name)
