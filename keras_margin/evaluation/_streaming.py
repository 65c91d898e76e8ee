"""The highest of all scores of one set against another, exact, and never the score matrix.

A float32 product screens: a score computed in float32 is within `slack` of its exact value, so what falls further than
that below the running bound can be dropped for good. The few that remain are scored again in float64, each by itself,
so that equal images have equal scores wherever they stand. The answer is that of the whole matrix in float64.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_margin.evaluation import _arrays

# A tile of scores is at most 32 MiB. Smaller ones are compared faster, from a cache, but their products cost more: a
# product of 512 x 2048 took 1.3 times as long a score as this one (two cores, OpenBLAS), a comparison takes 0.1 of it.
_ROWS, _COLUMNS = 4096, 2048
# Entries that one keeper may hold: 12 bytes each, and as much again while it sorts them out.
MOST_KEPT = 50_000_000
# What a keeper holds beyond what it must, before it sorts out: rarely enough to cost nothing compared with the product.
_SPARE_ENTRIES = 2**18


def slack(embedding_size: int) -> float:
    """How far a float32 cosine can be from its exact value, both rows brought to unit length in float32.

    The dot product is off by at most d u, u = eps / 2, each length by (d / 2 + 2) u, each division by u: under
    (2 d + 8) u in all, to first order. The margin on top covers the second order up to a million dimensions.
    """
    return (1.1 * embedding_size + 16) * float(np.finfo(np.float32).eps)


def exact_cosines(probe: np.ndarray, rows: np.ndarray, gallery: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """float64 cosines of probe[rows[i]] and gallery[columns[i]]; equal rows give equal bits."""
    cosines = np.empty(len(rows))
    for block in _arrays.blocks(len(rows), 4 * 8 * probe.shape[1]):
        a = _arrays.unit_rows(probe, rows[block], np.float64)
        b = _arrays.unit_rows(gallery, columns[block], np.float64)
        cosines[block] = np.einsum("ij,ij->i", a, b)
    return cosines


def offer_all(
    probe: np.ndarray, gallery: np.ndarray, keepers: Sequence[Any], columns: np.ndarray | None = None
) -> None:
    """Offers each keeper every score of probe against gallery[columns] that may pass its bound.

    Args:
        probe: Checked embeddings (num_probes, embedding_size).
        gallery: Checked embeddings (num_gallery, embedding_size).
        keepers: List of `Highest` and `HighestPerRow`.
        columns: Rows of the gallery that take part, integers; None for all.
    """
    unit = _arrays.unit_rows(probe).astype(np.float32, copy=False)
    columns = np.arange(len(gallery)) if columns is None else columns
    scores, passed = np.empty(_ROWS * _COLUMNS, np.float32), np.empty(_ROWS * _COLUMNS, bool)
    for start in range(0, len(columns), _COLUMNS):
        chosen = columns[start : start + _COLUMNS]
        entries = _arrays.unit_rows(gallery, _as_slice(chosen)).astype(np.float32, copy=False).T
        for first in range(0, len(unit), _ROWS):
            rows = slice(first, min(first + _ROWS, len(unit)))
            shape = (rows.stop - first, len(chosen))
            tile, mask = (buffer[: shape[0] * shape[1]].reshape(shape) for buffer in (scores, passed))
            np.matmul(unit[rows], entries, out=tile)
            bounds = [keeper.bound(rows, tile) for keeper in keepers]
            np.greater_equal(tile, bounds[0] if len(bounds) == 1 else np.minimum(*bounds), out=mask)
            found = np.flatnonzero(mask)
            if len(found):
                row, column = np.divmod(found, shape[1])
                for keeper in keepers:
                    keeper.offer(row + first, chosen[column], tile.ravel()[found])


def _as_slice(indices: np.ndarray) -> Any:
    """The same rows as a slice, which copies less, where they are a run."""
    whole = indices[-1] - indices[0] + 1 == len(indices)
    return slice(int(indices[0]), int(indices[-1]) + 1) if whole else indices


class _Keeper:
    """Entries (row, column, float32 score) that may be among the highest."""

    # What an entry of these rows must reach; and the method that lets go of those that cannot be among the highest.
    _bound_of: Callable[[Any], Any]
    _sort_out: Callable[[], None]

    def __init__(
        self,
        probe: np.ndarray,
        gallery: np.ndarray,
        must_keep: int,
        is_mate: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
    ) -> None:
        if must_keep > MOST_KEPT:
            raise ValueError(
                f"No more than {MOST_KEPT:,} scores can be kept. Received: a FAR or rank that needs {must_keep:,}. "
                "So high a FAR is as well told by a sample of the pairs: make_pairs, pair_scores and tar_at_far."
            )
        self._probe, self._gallery, self._is_mate = probe, gallery, is_mate
        self._double_slack = 2 * slack(probe.shape[1])
        self._limit = must_keep + max(must_keep // 2, _SPARE_ENTRIES)
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._held = 0

    def offer(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        keep = scores >= self._bound_of(rows)
        if self._is_mate is not None:
            keep &= ~self._is_mate(rows, columns)
        if not keep.any():
            return
        self._parts.append((rows[keep].astype(np.int32), columns[keep].astype(np.int32), scores[keep]))
        self._held += len(self._parts[-1][0])
        if self._held > self._limit:
            self._sort_out()

    def _entries(self) -> tuple[np.ndarray, ...]:
        """The three arrays of all that is held."""
        if len(self._parts) != 1:
            empty = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
            self._parts = [tuple(map(np.concatenate, zip(empty, *self._parts, strict=True)))]
        return self._parts[0]

    def _retain(self, chosen: np.ndarray) -> None:
        self._parts = [tuple(values[chosen] for values in self._entries())]
        self._held = len(self._parts[0][0])

    def _exact(self, chosen: Any) -> np.ndarray:
        rows, columns, _ = self._entries()
        return exact_cosines(self._probe, rows[chosen], self._gallery, columns[chosen])


class Highest(_Keeper):
    """Keeps the `count` highest scores of all, mates left out.

    Args:
        probe: Embeddings that are offered, for their exact scores.
        gallery: The others.
        count: How many, >= 1.
        is_mate: Function of (rows, columns) to bool, True where an entry is genuine; None where none is.
        num_mates: How many entries are.
    """

    def __init__(
        self,
        probe: np.ndarray,
        gallery: np.ndarray,
        count: int,
        is_mate: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        num_mates: int = 0,
    ) -> None:
        super().__init__(probe, gallery, count, is_mate)
        self._count, self._num_mates, self._bound = count, num_mates, np.float32(-np.inf)

    def bound(self, rows: Any, tile: np.ndarray) -> Any:
        place = tile.size - self._count - self._num_mates
        if place >= 0 and np.isneginf(self._bound):
            # The first tile gives a bound at once: else all of it would be kept and sorted out.
            self._bound = np.partition(tile, place, axis=None)[place] - np.float32(self._double_slack)
        return self._bound

    def _bound_of(self, rows: Any) -> Any:
        return self._bound

    def nth(self, count: int) -> float:
        """The exact score of rank `count` (1 is the highest), at most the count asked for; -inf where there is none."""
        scores = self._entries()[2]
        if count > len(scores):
            return -np.inf
        above, near = self._near(count)
        return float(np.sort(self._exact(near))[-(count - above)])

    def _near(self, count: int):
        """How many scores are certainly above the one of rank `count`, and the entries that may be it."""
        scores = self._entries()[2]
        middle = np.partition(scores, len(scores) - count)[len(scores) - count].astype(np.float64)
        above = scores > middle + self._double_slack
        return np.count_nonzero(above), np.flatnonzero(~above & (scores >= middle - self._double_slack))

    def _sort_out(self) -> None:
        scores = self._entries()[2]
        middle = np.partition(scores, len(scores) - self._count)[len(scores) - self._count]
        self._bound = max(self._bound, np.float32(middle - self._double_slack))
        self._retain(scores >= self._bound)
        if self._held > self._limit:
            # Too many are too close for float32 to part.
            above, near = self._near(self._count)
            best = near[np.argsort(-self._exact(near), kind="stable")[: self._count - above]]
            certain = np.flatnonzero(self._entries()[2] > self._entries()[2][near].max())
            self._retain(np.concatenate([certain, best]))


class HighestPerRow(_Keeper):
    """Keeps the `count` highest scores of each row, mates left out.

    Args:
        probe: Embeddings that are offered, for their exact scores.
        gallery: The others.
        count: How many a row, >= 1.
        is_mate: As for `Highest`.
        most_mates: No row has more mates than that.
        goes_last: Function of (rows, columns) to numbers; of equal scores in a row the lower number comes first.
    """

    def __init__(
        self,
        probe: np.ndarray,
        gallery: np.ndarray,
        count: int,
        is_mate: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        most_mates: int = 0,
        goes_last: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ) -> None:
        super().__init__(probe, gallery, count * len(probe), is_mate)
        self._count, self._most_mates, self._goes_last = count, most_mates, goes_last
        self._bounds = np.full(len(probe), -np.inf, np.float32)

    def bound(self, rows: Any, tile: np.ndarray) -> Any:
        place = tile.shape[1] - self._count - self._most_mates
        if place >= 0 and np.isneginf(self._bounds[rows]).any():
            # The first tile of a row bounds it at once: else all of it would be kept and sorted out.
            lowest = np.partition(tile, place, axis=1)[:, place] - np.float32(self._double_slack)
            self._bounds[rows] = np.maximum(self._bounds[rows], lowest)
        return self._bounds[rows, None]

    def _bound_of(self, rows: Any) -> Any:
        return self._bounds[rows]

    def ordered(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, columns, exact scores): at most `count` a row, rows in order, best first within a row."""
        scores = self._keep_exact()
        rows, columns, _ = self._entries()
        return rows, columns, scores

    def table(self) -> np.ndarray:
        """Exact scores (num_rows, count), falling; -inf where a row has fewer."""
        rows, _, scores = self.ordered()
        table = np.full((len(self._bounds), self._count), -np.inf)
        table[rows, _place_in_row(rows)] = scores
        return table

    def _keep_exact(self):
        rows, columns, _ = self._entries()
        scores = self._exact(slice(None))
        last = np.zeros(len(rows)) if self._goes_last is None else self._goes_last(rows, columns)
        order = np.lexsort((last, -scores, rows))
        order = order[_place_in_row(rows[order]) < self._count]
        self._retain(order)
        return scores[order]

    def _sort_out(self) -> None:
        rows, _, scores = self._entries()
        order = np.lexsort((-scores, rows))
        lowest = order[_place_in_row(rows[order]) == self._count - 1]
        self._bounds[rows[lowest]] = np.maximum(
            self._bounds[rows[lowest]], scores[lowest] - np.float32(self._double_slack)
        )
        self._retain(scores >= self._bounds[rows])
        if self._held > self._limit:
            self._keep_exact()  # Too many are too close for float32 to part.


def _place_in_row(rows: np.ndarray) -> np.ndarray:
    """Each entry's place among those of its row, from 0; rows must be in order."""
    if not len(rows):
        return np.empty(0, np.intp)
    starts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    return np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
