"""Open-set identification, one against many who may not be there: IJB-B and IJB-C 1:N."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays, _streaming
from keras_margin.evaluation.templates import rows_of_templates


@dataclass(frozen=True, eq=False)
class OpenSetResult:
    """Identification of probes of whom some are in the gallery.

    Attributes:
        cmc: float64 (max_rank,); cmc[k - 1] is the rank-k rate of the mated searches.
        fpir: float64 (m,), the wanted FPIRs.
        tpir: float64 (m,), the share of mated searches that find their mate at each.
        threshold: float64 (m,): accept a candidate where score >= threshold. Of several galleries, one row each.
        num_mated: Searches whose person is in the gallery.
        num_nonmated: Searches whose person is not.

    Example:
        >>> probe = np.array([[1.0, 0.1], [-1.0, 0.3]])
        >>> result = open_set_identification(probe, [0, 2], np.eye(2), [0, 1], fpir=1.0, max_rank=1)
        >>> isinstance(result, OpenSetResult), result.num_mated, result.num_nonmated, result.cmc.tolist()
        (True, 1, 1, [1.0])
    """

    cmc: np.ndarray
    fpir: np.ndarray
    tpir: np.ndarray
    threshold: np.ndarray
    num_mated: int
    num_nonmated: int


def open_set_identification(
    probe: ArrayLike,
    probe_labels: ArrayLike,
    gallery: ArrayLike,
    gallery_labels: ArrayLike,
    fpir: float | ArrayLike = (1e-2, 1e-1),
    max_rank: int = 10,
    within_rank: int = 1,
) -> OpenSetResult:
    """Computes TPIR at FPIR and rank-k rates of searches through a gallery that not everybody is in.

    FPIR = share of nonmated searches whose best candidate has score >= threshold
    TPIR = share of mated searches whose mate has score >= threshold and rank <= within_rank
    rank = 1 + number of gallery entries of other people with score >= the best mate's

    A search counts once, however many wrong candidates it raises: scripts that pool all impostor scores and allow
    FPIR * num_probes of them set another threshold. Ties count against the probe. Exact in float64.

    Args:
        probe: Real array (num_probes, embedding_size), rows of any length but 0.
        probe_labels: Integer or string array (num_probes,).
        gallery: Real array (num_gallery, embedding_size).
        gallery_labels: Integer or string array (num_gallery,).
        fpir: Wanted FPIRs in (0, 1]; under 1 / nonmated searches they warn.
        max_rank: Integer in [1, num_gallery].
        within_rank: Integer in [1, max_rank].

    Returns:
        `OpenSetResult`.

    Raises:
        TypeError: Embeddings or labels of another type.
        ValueError: A zero, NaN or infinite embedding, sizes that differ, no mated or no nonmated search, an FPIR or
            rank out of range.

    Example:
        >>> probe = np.array([[1.0, 0.1], [0.2, 1.0], [-1.0, 0.3]])
        >>> result = open_set_identification(probe, [0, 1, 2], np.eye(2), [0, 1], fpir=1.0, max_rank=2)
        >>> result.tpir.tolist(), result.cmc.tolist(), result.num_nonmated
        ([1.0], [1.0, 1.0], 1)

    Reference: Grother and Ngan, FRVT part 2, NISTIR 8271, section 3; Maze et al., IARPA Janus Benchmark-C, ICB 2018.
    """
    return _identify(probe, probe_labels, gallery, gallery_labels, fpir, max_rank, within_rank)


def ijb_identification(
    unit: ArrayLike,
    template_ids: ArrayLike,
    probe: tuple[ArrayLike, ArrayLike],
    galleries: Sequence[tuple[ArrayLike, ArrayLike]],
    fpir: float | ArrayLike = (1e-2, 1e-1),
    max_rank: int = 10,
) -> OpenSetResult:
    """Evaluates IJB-B's and IJB-C's 1:N: every probe through each of the two galleries, the rates of both averaged.

    A person is in one gallery alone, so a probe is a mated search in one and a nonmated search in the other. TPIR is
    the mean of the galleries', each at its own threshold; the rank-k rate is over the mated searches of both.

    Args:
        unit: Real array (num_templates, embedding_size), as `template_embeddings` returns it.
        template_ids: Integer or string array (num_templates,), as it returns them.
        probe: (templates, subjects), two arrays (num_probes,), as `read_subjects` returns them.
        galleries: Sequence of the same, a gallery each.
        fpir: As for `open_set_identification`.
        max_rank: As for `open_set_identification`.

    Returns:
        `OpenSetResult`, with thresholds (num_galleries, m).

    Raises:
        TypeError, ValueError: As `open_set_identification`; a template without images.

    Example:
        >>> unit, ids = np.eye(4), [10, 11, 12, 13]
        >>> galleries = [([10], [0]), ([11], [1])]
        >>> ijb_identification(unit, ids, ([10, 11], [0, 1]), galleries, fpir=1.0, max_rank=1).cmc.tolist()
        [1.0]

    Reference: Maze et al., IARPA Janus Benchmark-C, ICB 2018, 1:N identification.
    """

    def embedded(templates, subjects):
        return unit[rows_of_templates(template_ids, templates, len(unit))], subjects

    if not len(galleries):
        raise ValueError("ijb_identification needs at least one gallery. Received: none.")
    unit = np.asarray(unit)
    results = []
    for gallery in galleries:
        unit_probe, probe_subjects = embedded(*probe)
        unit_gallery, gallery_subjects = embedded(*gallery)
        found = _identify(unit_probe, probe_subjects, unit_gallery, gallery_subjects, fpir, max_rank, within_rank=1)
        results.append(found)
    mated = np.array([result.num_mated for result in results])
    return OpenSetResult(
        cmc=mated @ np.array([result.cmc for result in results]) / mated.sum(),
        fpir=results[0].fpir,
        tpir=np.mean([result.tpir for result in results], axis=0),
        threshold=np.array([result.threshold for result in results]),
        num_mated=int(mated.sum()),
        num_nonmated=sum(result.num_nonmated for result in results),
    )


def _identify(
    probe: ArrayLike,
    probe_labels: ArrayLike,
    gallery: ArrayLike,
    gallery_labels: ArrayLike,
    fpir: float | ArrayLike,
    max_rank: int,
    within_rank: int,
) -> OpenSetResult:
    """`open_set_identification`, its warnings shown at the caller's caller."""
    probe, gallery = _arrays.check_embeddings(probe, "probe"), _arrays.check_embeddings(gallery, "gallery")
    _arrays.check_same_size(probe, gallery, "probe", "gallery")
    probe_labels = _arrays.check_labels(probe_labels, len(probe), "probe_labels")
    gallery_labels = _arrays.check_labels(gallery_labels, len(gallery), "gallery_labels")
    probe_index, gallery_index = _arrays.common_index(probe_labels, gallery_labels)
    max_rank = _arrays.check_count(max_rank, "max_rank", 1, len(gallery))
    within_rank = _arrays.check_count(within_rank, "within_rank", 1, max_rank)
    wanted = np.atleast_1d(_arrays.check_far(fpir, "fpir"))

    rows, columns = _arrays.mates(probe_index, gallery_index)
    counts = np.bincount(rows, minlength=len(probe))
    mated = counts > 0
    if mated.all() or not mated.any():
        kind = "nonmated" if mated.all() else "mated"
        raise ValueError(
            f"Open-set identification needs mated and nonmated searches. Received: {len(probe)} probes, no {kind} one."
            + (" Use cmc for a closed set." if mated.all() else " Check the labels.")
        )
    _arrays.warn_unmeasurable(wanted, int(np.count_nonzero(~mated)), 3, "FPIR", "nonmated searches")
    others = _streaming.HighestPerRow(
        probe, gallery, max_rank, lambda row, column: probe_index[row] == gallery_index[column], int(counts.max())
    )
    _streaming.offer_all(probe, gallery, [others])
    table = others.table()
    best = np.full(len(probe), -np.inf)
    np.maximum.at(best, rows, _streaming.exact_cosines(probe, rows, gallery, columns))
    ranks = 1 + np.count_nonzero(table[mated] >= best[mated, None], axis=1)
    refused = _arrays.best_refused(table[~mated, 0], wanted)
    found = (ranks <= within_rank) & (best[mated] > refused[:, None])
    rates = np.cumsum(np.bincount(ranks, minlength=max_rank + 1)[1 : max_rank + 1]) / len(ranks)
    return OpenSetResult(
        rates, wanted, found.mean(axis=1), np.nextafter(refused, np.inf), len(ranks), len(probe) - len(ranks)
    )
