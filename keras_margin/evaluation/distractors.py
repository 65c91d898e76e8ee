"""Sets too large for a score matrix: MegaFace, Trillion-Pairs and any two sets of embeddings against each other.

All of it is exact: the numbers are those of the whole matrix of float64 cosines, ties and duplicates included, computed
a few megabytes at a time at the cost of one float32 matrix product. An embedder that maps nearly everything to one
point leaves float32 nothing to tell apart; it gets its true, poor numbers, slowly.
"""

from dataclasses import dataclass

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays, _streaming


@dataclass(frozen=True, eq=False)
class CrossTar:
    """TAR at FARs, of every score of one set against another.

    Attributes:
        far: float64 (k,), the wanted FARs.
        tar: float64 (k,), the highest TAR that keeps to each.
        threshold: float64 (k,): accept where score >= threshold; the next number above the best refused impostor.
        num_genuine: How many genuine scores.
        num_impostor: How many impostor scores.

    Example:
        >>> result = cross_tar_at_far(np.eye(2), [0, 1], np.array([[2.0, 0.1], [0.1, 2.0]]), [0, 1], far=0.5)
        >>> isinstance(result, CrossTar), result.far.tolist(), result.tar.tolist()
        (True, [0.5], [1.0])
    """

    far: np.ndarray
    tar: np.ndarray
    threshold: np.ndarray
    num_genuine: int
    num_impostor: int


@dataclass(frozen=True, eq=False)
class MegaFaceResult:
    """MegaFace challenge 1, both scenarios.

    Attributes:
        cmc: float64 (max_rank,); cmc[k - 1] is the rank-k rate.
        verification: `CrossTar` of probe pairs against probes and distractors.
        num_searches: How many couples of a probe and a mate were searched.

    Example:
        >>> probe = np.array([[1.0, 0.0], [0.9, 0.1]])
        >>> result = megaface(probe, ["a", "a"], np.array([[0.0, 1.0], [-1.0, 0.0]]), max_rank=1, far=0.5)
        >>> isinstance(result, MegaFaceResult), result.num_searches, result.cmc.tolist()
        (True, 2, [1.0])
    """

    cmc: np.ndarray
    verification: CrossTar
    num_searches: int


@dataclass(frozen=True, eq=False)
class TrillionPairsResult:
    """Trillion-Pairs, both scenarios.

    Attributes:
        tpir: Share of searches that put the mate first and above the threshold, in [0, 1].
        fpir: The wanted FPIR.
        threshold: Accept the first of a search where score >= threshold.
        verification: `CrossTar` of probe pairs against probes and distractors.
        num_searches: How many couples of a probe and a mate were searched.

    Example:
        >>> probe = np.array([[1.0, 0.0], [0.9, 0.1]])
        >>> result = trillion_pairs(probe, ["a", "a"], np.array([[0.0, 1.0], [-1.0, 0.0]]), fpir=0.5, far=0.5)
        >>> isinstance(result, TrillionPairsResult), result.num_searches, result.tpir
        (True, 2, 1.0)
    """

    tpir: float
    fpir: float
    threshold: float
    verification: CrossTar
    num_searches: int


def cross_tar_at_far(
    probe: ArrayLike, probe_labels: ArrayLike, gallery: ArrayLike, gallery_labels: ArrayLike, far: float | ArrayLike
) -> CrossTar:
    """Computes TAR at FARs over every score of probe against gallery, streaming.

    tar = mean(genuine > refused); refused = the best impostor that the FAR does not allow, as in `tar_at_far`

    Args:
        probe: Real array (num_probes, embedding_size), rows of any length but 0.
        probe_labels: Integer or string array (num_probes,).
        gallery: Real array (num_gallery, embedding_size), may be a memory map; not the probes again, whose score with
            themselves would count as genuine.
        gallery_labels: Integer or string array (num_gallery,).
        far: Wanted FARs in (0, 1], a number or a sequence. The number of impostors that they allow may not pass 50
            million, which are 600 MB.

    Returns:
        `CrossTar`.

    Raises:
        TypeError: Embeddings or labels of another type.
        ValueError: A zero, NaN or infinite embedding, sizes that differ, no genuine or no impostor score, a FAR
            outside (0, 1] or one that allows too many impostors to be kept.

    Example:
        >>> x = np.eye(4)
        >>> result = cross_tar_at_far(x[:2], [0, 1], x, [0, 1, 2, 3], far=0.5)
        >>> result.tar.tolist(), result.num_genuine, result.num_impostor
        ([1.0], 2, 6)
    """
    probe, gallery = _check_sets(probe, gallery, "gallery")
    probe_labels = _arrays.check_labels(probe_labels, len(probe), "probe_labels")
    gallery_labels = _arrays.check_labels(gallery_labels, len(gallery), "gallery_labels")
    probe_index, gallery_index = _arrays.common_index(probe_labels, gallery_labels)
    wanted = np.atleast_1d(_arrays.check_far(far))
    rows, columns = _arrays.mates(probe_index, gallery_index)
    num_impostor = len(probe) * len(gallery) - len(rows)
    _check_kinds(len(rows), num_impostor)
    _arrays.warn_unmeasurable(wanted, num_impostor, stacklevel=2)

    allowed = _arrays.most_accepted(wanted, num_impostor)
    highest = _highest(
        probe, gallery, allowed, num_impostor, lambda row, column: probe_index[row] == gallery_index[column], len(rows)
    )
    _streaming.offer_all(probe, gallery, [highest])
    genuine = _streaming.exact_cosines(probe, rows, gallery, columns)
    return _cross_tar(genuine, highest, wanted, allowed, num_impostor)


def megaface(
    probe: ArrayLike,
    probe_labels: ArrayLike,
    distractors: ArrayLike,
    max_rank: int = 100,
    far: float | ArrayLike = 1e-6,
    without_probes: ArrayLike = (),
    without_distractors: ArrayLike = (),
) -> MegaFaceResult:
    """Computes rank-k identification and TAR at a FAR among distractors, as MegaFace's challenge 1 measures them.

    Identification: each ordered couple of two images of a person is one search, the first through a gallery of the
    second and all distractors; other images of the person are not in it. rank = 1 + number of distractors with score
    >= the mate's: ties count against the probe. Verification: all pairs of two images of a person are genuine, every
    probe with every distractor is an impostor; probes of different people are not paired.

    Args:
        probe: Real array (num_probes, embedding_size), rows of any length but 0.
        probe_labels: Integer or string array (num_probes,); at least one person has two images.
        distractors: Real array (num_distractors, embedding_size), nobody of the probes; may be a memory map.
        max_rank: Integer in [1, num_distractors].
        far: Wanted FARs, as for `cross_tar_at_far`.
        without_probes: Rows to leave out, integers; those that a refined list names as mislabelled.
        without_distractors: The same of the distractors, such as images of probes that slipped in among them.

    Returns:
        `MegaFaceResult`.

    Raises:
        TypeError, ValueError: As `cross_tar_at_far`; rows to leave out that are not there, nobody with two images.

    Example:
        >>> probe = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.5, 0.5]])
        >>> result = megaface(probe, [0, 0, 1, 1], np.array([[0.0, 1.0], [-1.0, 0.0]]), max_rank=2, far=0.5)
        >>> result.cmc.tolist(), result.verification.tar.tolist()
        ([0.5, 1.0], [1.0])

    Reference: Kemelmacher-Shlizerman et al., The MegaFace Benchmark, CVPR 2016; refined lists: Deng et al., ArcFace,
    CVPR 2019, section 3.3.
    """
    sets = _DistractorSets.check(probe, probe_labels, distractors, without_probes, without_distractors)
    max_rank = _arrays.check_count(max_rank, "max_rank", 1, len(sets.columns))
    table, searches, verification = sets.measure(max_rank, far)
    ranks = np.concatenate(
        [
            1 + np.count_nonzero(table[sets.rows[block]] >= searches[block, None], axis=1)
            for block in _arrays.blocks(len(searches), 16 * max_rank)
        ]
    )
    rates = np.cumsum(np.bincount(ranks, minlength=max_rank + 1)[1 : max_rank + 1]) / len(ranks)
    return MegaFaceResult(rates, verification, len(ranks))


def trillion_pairs(
    probe: ArrayLike,
    probe_labels: ArrayLike,
    distractors: ArrayLike,
    fpir: float = 1e-3,
    far: float | ArrayLike = 1e-9,
    without_probes: ArrayLike = (),
    without_distractors: ArrayLike = (),
) -> TrillionPairsResult:
    """Computes identification at an FPIR and verification at a FAR among distractors, as Trillion-Pairs reports them.

    Identification: searches as in `megaface`; one succeeds where the mate scores above every distractor and above the
    threshold. FPIR is the share of probes whose best distractor is at or above the threshold. Verification as in
    `megaface`. The challenge's server is gone and its paper-less rules with it: this is our reading of "identification
    at FPR 1e-3" and "verification at FPR 1e-9".

    Args:
        probe: As for `megaface`, and so are the next two.
        probe_labels: Who the probes are.
        distractors: Nobody of them.
        fpir: Wanted FPIR in (0, 1]. Under 1 / num_probes it warns.
        far: Wanted FARs, as for `cross_tar_at_far`.
        without_probes: As for `megaface`.
        without_distractors: As for `megaface`.

    Returns:
        `TrillionPairsResult`.

    Raises:
        TypeError, ValueError: As `megaface`.

    Example:
        >>> probe = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.5, 0.5]])
        >>> trillion_pairs(probe, [0, 0, 1, 1], np.array([[0.1, 1.0], [-1.0, 0.0]]), fpir=0.5, far=0.5).tpir
        0.5

    Reference: http://trillionpairs.deepglint.com (as cited by Deng et al., ArcFace, CVPR 2019, table 8).
    """
    sets = _DistractorSets.check(probe, probe_labels, distractors, without_probes, without_distractors)
    wanted = _arrays.check_far(fpir, "fpir")
    if wanted.ndim:
        raise ValueError(f"fpir must be one number. Received: {fpir!r}.")
    _arrays.warn_unmeasurable(wanted, len(sets.probe), 2, "FPIR", "probes")
    table, searches, verification = sets.measure(1, far)
    best = table[:, 0]
    refused = _arrays.best_refused(best, wanted)
    identified = (searches > best[sets.rows]) & (searches > refused)
    return TrillionPairsResult(
        float(identified.mean()), float(fpir), float(np.nextafter(refused, np.inf)), verification, len(identified)
    )


@dataclass(frozen=True, eq=False)
class _DistractorSets:
    """Checked probes and distractors, and the couples (rows, mates) of two probes of one person, both orders."""

    probe: np.ndarray
    distractors: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    mates: np.ndarray

    @classmethod
    def check(
        cls,
        probe: ArrayLike,
        probe_labels: ArrayLike,
        distractors: ArrayLike,
        without_probes: ArrayLike,
        without_distractors: ArrayLike,
    ) -> "_DistractorSets":
        probes, others = _check_sets(probe, distractors, "distractors")
        labels = _arrays.check_labels(probe_labels, len(probes), "probe_labels")
        kept = _remaining(len(probes), without_probes, "without_probes")
        columns = _remaining(len(others), without_distractors, "without_distractors")
        probes, labels = probes[kept], labels[kept]
        index = np.unique(labels, return_inverse=True)[1]
        rows, mates = _arrays.mates(index, index)
        other = rows != mates
        _check_kinds(int(np.count_nonzero(other)), len(probes) * len(columns))
        return cls(probes, others, columns, rows[other], mates[other])

    def measure(self, count: int, far: float | ArrayLike):
        """(best scores of distractors a probe, score of each couple, `CrossTar`), in one pass."""
        wanted = np.atleast_1d(_arrays.check_far(far))
        num_impostor = len(self.probe) * len(self.columns)
        _arrays.warn_unmeasurable(wanted, num_impostor, stacklevel=3)
        allowed = _arrays.most_accepted(wanted, num_impostor)
        highest = _highest(self.probe, self.distractors, allowed, num_impostor)
        per_row = _streaming.HighestPerRow(self.probe, self.distractors, count)
        _streaming.offer_all(self.probe, self.distractors, [highest, per_row], self.columns)
        couples = _streaming.exact_cosines(self.probe, self.rows, self.probe, self.mates)
        pairs = couples[self.rows < self.mates]
        return per_row.table(), couples, _cross_tar(pairs, highest, wanted, allowed, num_impostor)


def _highest(probe, gallery, allowed, num_impostor, is_mate=None, num_mates=0):
    # One more than the FAR allows: the best that it refuses. A FAR of 1 refuses none.
    needed = np.where(allowed < num_impostor, allowed + 1, 1)
    return _streaming.Highest(probe, gallery, int(needed.max()), is_mate, num_mates)


def _cross_tar(genuine, highest, wanted, allowed, num_impostor):
    refused = np.array([-np.inf if number == num_impostor else highest.nth(int(number) + 1) for number in allowed])
    tar = _arrays.tar_above(genuine, refused)
    return CrossTar(wanted, tar, np.nextafter(refused, np.inf), len(genuine), num_impostor)


def _check_sets(probe: ArrayLike, others: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    probe, others = _arrays.check_embeddings(probe, "probe"), _arrays.check_embeddings(others, name)
    _arrays.check_same_size(probe, others, "probe", name)
    return probe, others


def _check_kinds(num_genuine: int, num_impostor: int) -> None:
    if not num_genuine:
        raise ValueError("There must be genuine scores. Received: no two images of one person. Check the labels.")
    if not num_impostor:
        raise ValueError("There must be impostor scores. Received: images of one person alone.")


def _remaining(count: int, without: ArrayLike, name: str) -> np.ndarray:
    """The rows in [0, count) that are not left out."""
    without = np.asarray(without)
    if without.size and (without.ndim != 1 or without.dtype.kind not in "iu"):
        raise TypeError(f"{name} must be integers, rows to leave out. Received: {without.dtype} {without.shape}.")
    if without.size and not (without.min() >= 0 and without.max() < count):
        raise ValueError(f"{name} must be rows in [0, {count}). Received: {without.min()} to {without.max()}.")
    keep = np.ones(count, bool)
    keep[without.astype(np.intp)] = False
    if not keep.any():
        raise ValueError(f"{name} must leave some rows. Received: all {count} of them.")
    return np.flatnonzero(keep)
