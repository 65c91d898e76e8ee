"""What a file's metadata get from a set of pairs: the worth of a cosine, and thresholds of a search."""

import dataclasses
from typing import Any

import numpy as np

from keras_margin import evaluation
from keras_margin._typing import ArrayLike
from keras_margin._utils.decisions import SearchThresholds
from keras_margin.evaluation.calibration import CalibrationReport
from keras_margin.evaluation.protocols.base import Protocol, Settings


@dataclasses.dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibration on a protocol's pairs.

    Attributes:
        report: What `evaluation.fit_calibration` returned.
        search: What `evaluation.fit_search_thresholds` returned, or None.
        no_search: Why there are no thresholds of a search, a sentence; or None.
        set_name: The protocol's name.

    Example:
        >>> scores = np.tile([0.9, 0.7, 0.4, 0.5, 0.2, 0.1], 20)
        >>> calibrated = calibrate_scores(scores, np.tile([True] * 3 + [False] * 3, 20), resamples=20)
        >>> isinstance(calibrated, Calibrated), calibrated.search, calibrated.as_metadata()["calibration"]["set"]
        (True, None, 'pairs')
    """

    report: CalibrationReport
    search: SearchThresholds | None
    no_search: str | None
    set_name: str

    def as_metadata(self):
        """Returns the entries "calibration" and "search" of a file's metadata."""
        search = None if self.search is None else self.search.as_metadata() | {"set": self.set_name}
        return {"calibration": self.report.as_metadata() | {"set": self.set_name}, "search": search}


def calibrate(
    protocol: Protocol, embeddings: np.ndarray, seed: int = 0, resamples: int = 200, **options: Any
) -> Calibrated:
    """Calibrates embeddings of a protocol's images on its pairs.

    Args:
        protocol: `Protocol` of pairs; people that the network was not trained on.
        embeddings: Real array (num_images, embedding_size), in the order of `protocol.batches`.
        seed: Of drawn pairs and of the bootstrap.
        resamples: Of the bootstrap, >= 1.
        options: As for `evaluation.fit_calibration`: method, prior, far, frr. Where nobody says who is on the images,
            the folds are the protocol's.

    Returns:
        `Calibrated`.

    Raises:
        TypeError, ValueError: As `evaluation.fit_calibration`; a protocol that has no pairs.

    Example:
        >>> labels, noise = np.repeat(np.arange(30), 4), np.random.default_rng(0).normal(size=(120, 30))
        >>> np.save("labels.npy", labels)
        >>> calibrated = calibrate(load_protocol("labels.npy"), np.eye(30)[labels] + 0.2 * noise, resamples=20)
        >>> calibrated.set_name, calibrated.report.num_people, list(calibrated.as_metadata())
        ('labels', 30, ['calibration', 'search'])

    `evaluation.embedders.update_metadata` writes what `Calibrated.as_metadata` returns into an exported file.
    """
    arrays = protocol.measure(embeddings, Settings(resamples=0, seed=seed, far=(1.0,))).arrays
    if "scores" not in arrays or not len(arrays["scores"]):
        raise ValueError(f"{protocol.name} has no pairs to calibrate on. Pass a .bin, a list of pairs or a folder.")
    # A pair without a face has a score that is no cosine.
    found = arrays.get("found", np.ones(len(arrays["scores"]), bool))
    identities = arrays.get("identities")
    if protocol.people is not None and "pairs" in arrays:
        identities = protocol.people[arrays["pairs"]]
    if identities is None and "folds" in arrays:
        options.setdefault("folds", arrays["folds"][found])
    return calibrate_scores(
        arrays["scores"][found],
        arrays["is_same"][found],
        None if identities is None else identities[found],
        protocol.name,
        seed=seed,
        resamples=resamples,
        **options,
    )


def calibrate_scores(
    scores: np.ndarray,
    is_same: np.ndarray,
    identities: ArrayLike | None = None,
    set_name: str = "pairs",
    *,
    seed: int = 0,
    resamples: int = 200,
    **options: Any,
) -> Calibrated:
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

    Example:
        >>> scores, is_same = np.tile([0.9, 0.7, 0.4, 0.5, 0.2, 0.1], 20), np.tile([True] * 3 + [False] * 3, 20)
        >>> report = calibrate_scores(scores, is_same, resamples=20).report
        >>> report.method, report.num_genuine, report.cllr < 1
        ('logistic', 60, True)
    """
    bootstrap = evaluation.Bootstrap(resamples=resamples, seed=seed)
    report = evaluation.fit_calibration(scores, is_same, identities, bootstrap=bootstrap, **options)
    try:
        search, no_search = evaluation.fit_search_thresholds(scores[~is_same]), None
    except ValueError as error:
        search, no_search = None, f"No thresholds of a search: {error}"
    return Calibrated(report, search, no_search, set_name)
