"""The people one looks for: their embeddings, searched exactly, kept in a file that runs nothing."""

import threading
from collections.abc import Sequence

import numpy as np

from keras_margin._typing import PathLike
from keras_margin._utils.decisions import SearchThresholds
from keras_margin.runtime import _gallery_file, _indexes, _ranking, _rows
from keras_margin.runtime._photo_gallery import PhotoGallery


class Gallery(PhotoGallery):
    """Known people and their embeddings.

    score(probe, person) = max over the person's rows g of cos(probe, g)

    Thread-safe: calls wait for one another.

    Args:
        embedding_size: Length of an embedding, >= 1.
        model: What made the embeddings, such as `Embedder.model_id`; kept in the file, so that embeddings of another
            network are not searched by mistake. None where it does not matter.
        index: None for exact search. "usearch", "faiss" or "hnswlib" for a graph of neighbors by that library, an
            extra: faster in large galleries, and may miss somebody. It lives in memory: it is built on the first
            search, and again after `load` and `remove`. Scores are exact either way.

    Raises:
        ImportError: Where the library of the index is not installed.
        TypeError: On an embedding size that is not an int, or a model that is not a str.
        ValueError: On an embedding size below 1.

    Example:
        >>> gallery = Gallery(2)
        >>> gallery.enroll("Ada", np.array([3.0, 4.0]))
        >>> gallery.enroll(["Ada", "Grace"], np.array([[2.0, 3.0], [1.0, 0.0]]))
        >>> [match.name for match in gallery.search(np.array([0.6, 0.8]), k=2, threshold=-1.0)[0]]
        ['Ada', 'Grace']
        >>> gallery.save("people.npz")
        >>> Gallery.load("people.npz").names
        ('Ada', 'Grace')
    """

    def __init__(self, embedding_size: int, model: str | None = None, index: str | None = None) -> None:
        if isinstance(embedding_size, bool) or not isinstance(embedding_size, (int, np.integer)):
            raise TypeError(f"Gallery needs embedding_size as an int. Received: embedding_size={embedding_size!r}.")
        if embedding_size < 1:
            raise ValueError(f"Gallery needs embedding_size >= 1. Received: embedding_size={embedding_size}.")
        if model is not None and not isinstance(model, str):
            raise TypeError(f"Gallery needs model as a str or None. Received: model={model!r}.")
        self.model = model
        self._index_name, self._index = index, None
        if index is not None:
            self._index = _indexes.make_index(index, int(embedding_size))  # A library that is missing is said at once.
        self._lock = threading.RLock()
        # Room for more rows than are in use; what is beyond `_count` is zero.
        self._rows = np.zeros((0, int(embedding_size)), np.float32)
        self._people = np.zeros(0, np.int64)  # Of each row, its person's place in _names.
        self._count = 0
        self._names, self._places = [], {}  # By place, and the place of each.

    @property
    def embedding_size(self) -> int:
        """Length of an embedding."""
        return self._rows.shape[1]

    @property
    def names(self):
        """Tuple of the people, in the order they were first enrolled."""
        return tuple(self._names)

    def __len__(self) -> int:
        """How many embeddings there are, of all people."""
        return self._count

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __repr__(self) -> str:
        return f"Gallery({len(self._names):,} people, {self._count:,} embeddings of {self.embedding_size})"

    def enroll(self, name: str | Sequence[str], embeddings: np.ndarray) -> None:
        """Adds a person, or more embeddings of a person.

        Args:
            name: Who; a str that is not empty. For many people at once: a list of them, one a row.
            embeddings: Float array (embedding_size,) or (n, embedding_size), n >= 1; of any length but zero.

        Raises:
            TypeError: A name that is not a str, or embeddings that are not floats.
            ValueError: An empty name, another shape, a zero, NaN or infinite embedding. Nothing was added then.

        Example:
            >>> gallery = Gallery(2)
            >>> gallery.enroll("Ada", np.array([3.0, 4.0]))
            >>> gallery.enroll(["Ada", "Grace"], np.array([[2.0, 3.0], [1.0, 0.0]]))
            >>> len(gallery), gallery.names
            (3, ('Ada', 'Grace'))
        """
        rows = self._checked_shape(embeddings, "enroll")
        lengths = _rows.lengths_of(rows, "embeddings")
        if not lengths.all():
            raise ValueError("enroll needs embeddings of some length. Received: a row of zeros, which is like nobody.")
        names = [name] * len(rows) if isinstance(name, str) else list(name)
        if any(not issubclass(kind, str) for kind in set(map(type, names))):
            raise TypeError(
                f"enroll needs names as str. Received: {next(n for n in names if not isinstance(n, str))!r}."
            )
        if len(names) != len(rows) or not all(names):
            raise ValueError(
                f"enroll needs a name, not empty, for each row. Received: {len(names)} for {len(rows)} rows."
            )
        with self._lock:
            end = self._count + len(rows)
            if end > len(self._rows):
                self._make_room(end if self._count == 0 else max(end, self._count * 3 // 2))
            fresh = [each for each in dict.fromkeys(names) if each not in self._places]
            self._places.update(zip(fresh, range(len(self._names), len(self._names) + len(fresh)), strict=True))
            self._names += fresh
            # Straight into their place: a second array of a million rows takes longer than the arithmetic.
            _rows.divide(rows, lengths, self._rows[self._count : end])
            self._people[self._count : end] = [self._places[each] for each in names]
            self._count = end

    def remove(self, name: str) -> int:
        """Removes a person: their name and every embedding, from memory at once, from a file with the next `save`.

        The rows are overwritten, not merely unlinked. `save` replaces the older file; what a disk or a backup keeps of
        replaced files is beyond this library.

        Args:
            name: Who.

        Returns:
            How many embeddings were removed.

        Raises:
            KeyError: Where there is no such person.
        """
        with self._lock:
            place = self._place_of(name)
            keep = np.flatnonzero(self._people[: self._count] != place)
            removed = self._count - len(keep)
            self._index = None
            self._own_rows()
            # In pieces: no second copy of a large gallery, and rows only ever move towards the front.
            for start in range(0, len(keep), 4096):
                part = keep[start : start + 4096]
                self._rows[start : start + len(part)] = self._rows[part]
            people = self._people[keep]
            self._people[: len(keep)] = people - (people > place)
            self._rows[len(keep) : self._count] = 0
            self._people[len(keep) : self._count] = 0
            self._count = len(keep)
            del self._names[place]
            self._places = {each: number for number, each in enumerate(self._names)}
            return removed

    def embeddings_of(self, name: str) -> np.ndarray:
        """The unit embeddings of a person, float32 (n, embedding_size), a copy.

        Raises:
            KeyError: Where there is no such person.
        """
        with self._lock:
            return self._rows[: self._count][self._people[: self._count] == self._place_of(name)]

    def search(
        self,
        embeddings: np.ndarray,
        k: int = 1,
        threshold: float | None = None,
        far_per_search: float | None = None,
        thresholds: SearchThresholds | None = None,
    ) -> list[list[_ranking.Match]]:
        """The people most similar to each embedding: exact, every row compared, unless the gallery has an index.

        One matrix product of the probes and the whole gallery (64 probes at a time).

        Args:
            embeddings: Float array (embedding_size,) or (n, embedding_size), of any length; a zero one is like nobody.
            k: People a probe, at most, >= 1.
            threshold: Cosine below which a person is left out; None for none.
            far_per_search: In place of a threshold, how often a stranger may be given a name, in (0, 1): the
                threshold then rises with the number of embeddings here. Needs `thresholds`.
            thresholds: `SearchThresholds`, such as `Embedder.search_thresholds`.

        Returns:
            List of n lists of `Match`, best first; empty where nobody reaches the threshold.

        Raises:
            TypeError: Embeddings that are not floats.
            ValueError: Another shape, NaN or infinity, k below 1, a rate out of range or without `thresholds`.
        """
        probes = self._checked(embeddings, "search")
        if k < 1:
            raise ValueError(f"search needs k >= 1. Received: k={k}.")
        with self._lock:
            if not self._count:
                return [[] for _ in probes]
            threshold = _ranking.decided(self._count, threshold, far_per_search, thresholds)
            parts = (
                probes[start : start + _rows.PROBES_AT_ONCE] for start in range(0, len(probes), _rows.PROBES_AT_ONCE)
            )
            return [found for part in parts for found in self._search(part, k, threshold)]

    def _search(self, probes, k, threshold):
        people, rows = self._people[: self._count], self._rows[: self._count]
        # Among the best k * r rows, r the most rows of one person, there are at least k people, the best k of all.
        most = 1 if len(self._names) == self._count or k == 1 else int(np.bincount(people).max())
        wanted = min(k * most, self._count)
        if self._index_name is None:
            best, scores = _ranking.best_rows(probes @ rows.T, wanted)
        else:
            best, scores = _ranking.indexed_rows(self._indexed(), rows, probes, wanted)
        for found in zip(best, scores, strict=True):
            yield _ranking.matches(*found, people, self._names, k, threshold)

    def _indexed(self):
        """The index of all rows: made on the first search, and again after a removal; new rows are added to it."""
        if self._index is None:
            self._index = _indexes.make_index(self._index_name, self.embedding_size)
        if len(self._index) < self._count:
            self._index.add(self._rows[len(self._index) : self._count])
        return self._index

    def save(self, path: PathLike) -> None:
        """Writes the gallery: an .npz of plain arrays. The file appears whole or not at all; an older one is replaced.

        Args:
            path: File to write, usually *.npz.

        Raises:
            OSError: Where it cannot be written.
        """
        with self._lock:
            _gallery_file.write(path, self.model, self._names, self._rows[: self._count], self._people[: self._count])

    @classmethod
    def load(cls, path: PathLike, index: str | None = None, memory_map: bool = False) -> "Gallery":
        """Reads a gallery that `save` wrote. Nothing in the file is run: arrays and JSON, no pickle.

        Args:
            path: The file.
            index: As for `Gallery`.
            memory_map: Whether the rows stay in the file and come into memory as searches read them, which several
                processes share; the file must stay. Enrolling or removing somebody takes them into memory.

        Returns:
            Gallery.

        Raises:
            FileNotFoundError: Where there is no such file.
            ImportError: Where the library of the index is not installed.
            ValueError: Where it is not a gallery, or damaged.
        """
        model, names, rows, people = _gallery_file.read(path, memory_map)
        gallery = cls(rows.shape[1], model, index)
        gallery._rows, gallery._people, gallery._count, gallery._names = rows, people, len(rows), names
        gallery._places = {name: place for place, name in enumerate(names)}
        return gallery

    def _place_of(self, name: str):
        if name not in self._places:
            raise KeyError(f"The gallery knows nobody called {name!r}.")
        return self._places[name]

    def _checked(self, embeddings, call):
        """Unit rows (n, embedding_size), a zero row left as it is."""
        return _rows.unit_rows(self._checked_shape(embeddings, call), "embeddings")

    def _checked_shape(self, embeddings, call):
        """Floats (n, embedding_size), n >= 1."""
        rows = np.asarray(embeddings)
        if not np.issubdtype(rows.dtype, np.floating):
            raise TypeError(f"{call} needs embeddings, floats. Received: {rows.dtype} of shape {rows.shape}.")
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != self.embedding_size or not len(rows):
            raise ValueError(
                f"{call} needs embeddings of shape (n, {self.embedding_size}) or ({self.embedding_size},), n >= 1. "
                f"Received: shape {np.shape(embeddings)}."
            )
        return rows

    def _own_rows(self):
        """Takes rows that are mapped from a file into memory, before they change."""
        if not self._rows.flags.writeable:
            self._rows = np.array(self._rows)

    def _make_room(self, capacity):
        rows, people = np.zeros((capacity, self.embedding_size), np.float32), np.zeros(capacity, np.int64)
        rows[: self._count], people[: self._count] = self._rows[: self._count], self._people[: self._count]
        if self._rows.flags.writeable:
            self._rows[:] = 0  # The older copy of everybody's data does not linger.
        self._rows, self._people = rows, people
