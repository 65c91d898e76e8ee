"""What a cosine means by a file's metadata: a likelihood ratio, a probability, a verdict, a threshold for a search.

NumPy alone: this runs on the device. `keras_margin.evaluation` fits what is applied here.
"""

import dataclasses
import math

import numpy as np

SAME, DIFFERENT, ASK = "same", "different", "ask"


@dataclasses.dataclass(frozen=True)
class Probability:
    """How probable it is that two faces are one person's.

    Attributes:
        probability: Of one person, in [0, 1].
        low: Lower end of its interval.
        high: Upper end.
        prior: Probability before the faces were seen, in (0, 1).
        cosine: Of the two embeddings.
        log_likelihood_ratio: ln(p(cosine | one person) / p(cosine | two people)); it does not depend on the prior.

    Example:
        >>> found = Probability(0.97, 0.95, 0.98, prior=0.5, cosine=0.52, log_likelihood_ratio=3.5)
        >>> found.probability, str(found)
        (0.97, '97 % (95 to 98 %) at even odds')
    """

    probability: float
    low: float
    high: float
    prior: float
    cosine: float
    log_likelihood_ratio: float

    def __str__(self):
        """Returns the probability in words, such as "97 % (95 to 98 %) at even odds"."""
        odds = "even odds" if self.prior == 0.5 else f"a prior of {self.prior:g}"
        low, high = percent(self.low).removesuffix(" %"), percent(self.high)
        return f"{percent(self.probability)} ({low} to {high}) at {odds}"


def percent(share):
    """Returns a probability as text; one that rounds to 0 or to 1 is not called so.

    Args:
        share: In [0, 1].

    Returns:
        str.

    Example:
        >>> percent(0.97), percent(0.9951), percent(0.99999), percent(0.0)
        ('97 %', '99.5 %', 'over 99.9 %', 'under 0.1 %')
    """
    if share < 0.001:
        return "under 0.1 %"
    if share > 0.999:
        return "over 99.9 %"
    return f"{100 * share:.0f} %" if 0.01 <= share <= 0.99 else f"{100 * share:.1f} %"


@dataclasses.dataclass(frozen=True)
class Zone:
    """Two thresholds; between them a person should look.

    Attributes:
        different_below: Cosine below which two faces are two people's; at most `frr` of the genuine pairs lie there.
        same_from: Cosine from which they are one person's; at most `far` of the impostor pairs lie there.
        far: Wanted FAR of `same_from`.
        frr: Wanted FRR of `different_below`.
    """

    different_below: float
    same_from: float
    far: float
    frr: float

    def verdict(self, cosine):
        """Returns SAME, DIFFERENT or ASK for a cosine."""
        return SAME if cosine >= self.same_from else DIFFERENT if cosine < self.different_below else ASK


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """The log-likelihood ratio of a cosine: straight lines between knots, level beyond the last.

    probability(cosine, prior) = 1 / (1 + exp(-(llr(cosine) + ln(prior / (1 - prior)))))

    Attributes:
        cosine: float64 (k,), knots, rising.
        llr: float64 (k,), natural logarithm of the likelihood ratio there, never falling.
        low: float64 (k,), lower end of its interval.
        high: float64 (k,), upper end.
        prior: The prior that is used where none is given, in (0, 1).
        zone: `Zone`, or None where the pairs were too few to choose one.

    Raises:
        ValueError: Arrays of other shapes, not finite, not monotone, or a prior out of range.

    Example:
        >>> calibration = Calibration([0.0, 0.5], [-5.0, 5.0], [-6.0, 4.0], [-4.0, 6.0])
        >>> str(calibration.probability(0.3))
        '73 % (50 to 88 %) at even odds'
        >>> str(calibration.probability(0.3, prior=0.01))
        '3 % (1 to 7 %) at a prior of 0.01'
    """

    cosine: np.ndarray
    llr: np.ndarray
    low: np.ndarray
    high: np.ndarray
    prior: float = 0.5
    zone: Zone | None = None

    def __post_init__(self):
        for name in ("cosine", "llr", "low", "high"):
            values = np.asarray(getattr(self, name), np.float64)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or values.shape != self.cosine.shape or not values.size:
                raise ValueError(f"A calibration's {name} must be shaped (k,), k >= 1. Received: {values.shape}.")
            if not np.isfinite(values).all():
                raise ValueError(f"A calibration's {name} must be finite. Received: {values.tolist()}.")
        if (np.diff(self.cosine) <= 0).any() or (np.diff(self.llr) < 0).any():
            raise ValueError("A calibration's cosines must rise, and their likelihood ratios must not fall.")
        checked_prior(self.prior)

    def log_likelihood_ratio(self, cosines):
        """Returns ln(p(cosine | one person) / p(cosine | two people)), float64, shaped like `cosines`."""
        return np.interp(cosines, self.cosine, self.llr)

    def probability(self, cosine, prior=None):
        """Returns the `Probability` of one person at a cosine.

        Args:
            cosine: In [-1, 1].
            prior: Probability of one person before the faces were seen, in (0, 1); None for the calibration's own.
                A door that only its owner tries has a high one; of a search among N people each has 1 / N or less.

        Raises:
            ValueError: A prior out of range, or a cosine that is not a number.
        """
        prior = checked_prior(self.prior if prior is None else prior)
        if not math.isfinite(cosine):
            raise ValueError(f"probability needs a cosine, finite. Received: cosine={cosine}.")
        llr, low, high = (float(np.interp(cosine, self.cosine, each)) for each in (self.llr, self.low, self.high))
        said = posterior(np.array([llr, low, high]), prior).tolist()
        return Probability(*said, prior, float(cosine), llr)

    def probabilities(self, cosines, prior=None):
        """Returns the probability of one person at each cosine, float64, shaped like `cosines`; see `probability`."""
        return posterior(self.log_likelihood_ratio(cosines), self.prior if prior is None else prior)

    def as_metadata(self):
        """Returns the calibration as a dict of plain JSON values, which `from_metadata` reads."""
        # Cosines in full: neighbors of an isotonic fit can differ in the eighth digit, and must still rise when read.
        rounded = {name: getattr(self, name).round(6).tolist() for name in ("llr", "low", "high")}
        zone = self.zone and dataclasses.asdict(self.zone)
        return {"cosine": self.cosine.tolist(), **rounded, "prior": self.prior, "zone": zone}

    @classmethod
    def from_metadata(cls, metadata):
        """Returns the calibration that a file's metadata hold under "calibration"; None where there is none.

        Args:
            metadata: Dict as keras_margin.runtime.read_metadata gives it; or None.

        Raises:
            ValueError: A calibration that lacks a part or is not sound.
        """
        found = (metadata or {}).get("calibration")
        if found is None:
            return None
        try:
            parts = [found[name] for name in ("cosine", "llr", "low", "high", "prior")]
            zone = found.get("zone") and Zone(**found["zone"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"The file's calibration is damaged: {error!r}. Calibrate it again.") from error
        return cls(*parts, zone)


@dataclasses.dataclass(frozen=True, eq=False)
class SearchThresholds:
    """The threshold of a search among N faces at a wanted FPIR, the share of strangers' searches that name somebody.

    FPIR(N, t) = 1 - (1 - FAR(t))^N

    as of N independent comparisons. Those of one probe are not independent: some probes are like many people. That
    makes the true FPIR lower, never higher: the mean over probes of 1 - (1 - FAR of the probe)^N is at most that.

    Attributes:
        far: float64 (k,), falling, in (0, 1]: the FAR of one comparison.
        cosine: float64 (k,), the threshold that has it, never falling.
        measured_to: Smallest FAR that was measured; below it cosines are extrapolated.

    Example:
        >>> thresholds = SearchThresholds([1.0, 1e-2, 1e-4, 1e-6], [-1.0, 0.2, 0.4, 0.6], 1e-4)
        >>> round(thresholds.threshold(1, 1e-2), 3), round(thresholds.threshold(100, 1e-2), 3)
        (0.2, 0.4)
    """

    far: np.ndarray
    cosine: np.ndarray
    measured_to: float

    def __post_init__(self):
        for name in _TABLES:
            values = np.asarray(getattr(self, name), np.float64)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or values.shape != self.far.shape or not np.isfinite(values).all() or not values.size:
                raise ValueError(f"Search thresholds need {name} shaped (k,), finite. Received: {values}.")
        if (np.diff(self.far) >= 0).any() or not 0 < self.far[-1] <= self.far[0] <= 1:
            raise ValueError("Search thresholds need FARs that fall, in (0, 1].")
        if (np.diff(self.cosine) < 0).any():
            raise ValueError("Search thresholds need cosines that do not fall.")

    def false_positive_rate(self, num_faces, threshold):
        """Returns the predicted FPIR of a search among `num_faces` embeddings at a threshold, a cosine."""
        rates = self._rates(num_faces)
        return float(np.exp(np.interp(threshold, self.cosine, np.log(rates))))

    def threshold(self, num_faces, far_per_search):
        """Returns the cosine from which the best of `num_faces` embeddings is named, at a wanted FPIR.

        Args:
            num_faces: Embeddings that are searched, >= 1; of several of a person each counts, which is on the safe
                side.
            far_per_search: Wanted FPIR, in (0, 1).

        Raises:
            ValueError: A number or rate out of range, or a rate below what the table reaches.
        """
        if not 0 < far_per_search < 1:
            raise ValueError(f"far_per_search must be in (0, 1). Received: {far_per_search}. One per cent is 0.01.")
        rates = self._rates(num_faces)
        if far_per_search < rates[-1]:
            raise ValueError(
                f"The file's search thresholds reach an FPIR of {rates[-1]:.2g} among {num_faces:,} embeddings. "
                f"Received: far_per_search={far_per_search}. Calibrate the file on more people."
            )
        return float(np.interp(-np.log(far_per_search), -np.log(rates), self.cosine))

    def _rates(self, num_faces):
        """FPIR at each row of the table."""
        if num_faces < 1:
            raise ValueError(f"A search needs at least one embedding to compare with. Received: {num_faces}.")
        with np.errstate(divide="ignore"):  # FAR 1 is FPIR 1.
            return -np.expm1(num_faces * np.log1p(-self.far))

    def __str__(self):
        """Returns the thresholds at an FPIR of 0.01 in words, for the sizes of gallery that the table reaches."""
        reached = [size for size in _SIZES if self._rates(size)[-1] <= _SHOWN_FPIR]
        shown = ", ".join(f"{self.threshold(size, _SHOWN_FPIR):.3f} among {size:,}" for size in reached)
        return f"of a search, to name one stranger in a hundred: {f'cosine {shown} faces' if shown else 'not measured'}"

    def as_metadata(self):
        """Returns the table as a dict of plain JSON values."""
        tables = {name: [float(f"{value:.6g}") for value in getattr(self, name)] for name in _TABLES}
        return {**tables, "measured_to": self.measured_to}

    @classmethod
    def from_metadata(cls, metadata):
        """Returns the thresholds that a file's metadata hold under "search"; None where there are none.

        Raises:
            ValueError: Thresholds that lack a part or are not sound.
        """
        found = (metadata or {}).get("search")
        if found is None:
            return None
        try:
            return cls(*(found[name] for name in (*_TABLES, "measured_to")))
        except (KeyError, TypeError) as error:
            raise ValueError(f"The file's search thresholds are damaged: {error!r}. Calibrate it again.") from error


_TABLES = ("far", "cosine")
# What a search's thresholds are said for: sizes of gallery, at one stranger in a hundred.
_SIZES, _SHOWN_FPIR = (10, 100, 1_000, 10_000), 0.01


def checked_prior(prior):
    """Returns a prior; ValueError where it is not in (0, 1)."""
    if not 0 < prior < 1:
        raise ValueError(f"prior must be in (0, 1), a probability. Received: prior={prior}. Even odds are 0.5.")
    return prior


def posterior(llr, prior):
    """Returns the probability after likelihood ratios, 1 / (1 + exp(-(llr + ln(prior / (1 - prior))))), float64.

    Args:
        llr: Real array, natural log-likelihood ratios.
        prior: Probability before, in (0, 1).

    Raises:
        ValueError: A prior out of range.
    """
    prior = checked_prior(prior)
    # exp of a negative number alone: it does not overflow.
    return np.exp(-np.logaddexp(0, -(np.asarray(llr, np.float64) + math.log(prior) - math.log1p(-prior))))
