"""Approximate nearest neighbors by libraries that do it well, behind one small interface; imported when one is made."""

import importlib
from typing import Any, Protocol

import numpy as np

from keras_margin._utils.messages import install_hint

# Neighbors a node of a graph has, and how many candidates are kept while building and searching: the libraries' usual
# compromise, taken alike for all three.
_CONNECTIONS, _WIDTH = 16, 200


class Index(Protocol):
    """Finds rows that are like a probe; a row is known by its number, in the order of adding."""

    def add(self, rows: np.ndarray) -> None:
        """Adds float32 unit rows (n, embedding_size)."""

    def search(self, probes: np.ndarray, count: int) -> np.ndarray:
        """Returns int64 (n, count): of each unit probe the numbers of the rows most like it; -1 where none is left."""

    def __len__(self) -> int:
        """Returns how many rows were added."""


def make_index(index: str, embedding_size: int) -> Index:
    """Makes an empty index.

    Args:
        index: "usearch", "faiss" or "hnswlib": the library, each with its graph of neighbors (HNSW).
        embedding_size: Length of a row.

    Returns:
        `Index`.

    Raises:
        ValueError: Another name.
        ImportError: The library is not installed; the message names the extra.

    Reference: Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical
    navigable small world graphs, 2016.
    """
    if index not in INDEXES:
        raise ValueError(f"index must be one of {', '.join(map(repr, INDEXES))}, or None. Received: index={index!r}.")
    try:
        library = importlib.import_module(_MODULES[index])
    except ImportError as error:
        raise ImportError(f"index={index!r} needs that library: {install_hint(index)}. {error}") from error
    return INDEXES[index](library, embedding_size)


class _Usearch:
    def __init__(self, library, embedding_size):
        self._index = library.Index(
            ndim=embedding_size,
            metric="ip",
            dtype="f32",
            connectivity=_CONNECTIONS,
            expansion_add=_WIDTH,
            expansion_search=_WIDTH,
        )

    def add(self, rows):
        self._index.add(np.arange(len(self), len(self) + len(rows)), rows)

    def search(self, probes, count):
        found, wanted = self._index.search(probes, count), np.full((len(probes), count), -1)
        keys = np.atleast_2d(found.keys)
        wanted[:, : keys.shape[1]] = keys.astype(np.int64)
        return np.where((wanted >= 0) & (wanted < len(self)), wanted, -1)

    def __len__(self):
        return len(self._index)


class _Faiss:
    def __init__(self, library, embedding_size):
        self._index = library.IndexHNSWFlat(embedding_size, _CONNECTIONS, library.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = self._index.hnsw.efSearch = _WIDTH

    def add(self, rows):
        self._index.add(np.ascontiguousarray(rows))

    def search(self, probes, count):
        return self._index.search(np.ascontiguousarray(probes), count)[1]

    def __len__(self):
        return self._index.ntotal


class _Hnswlib:
    def __init__(self, library, embedding_size):
        self._index = library.Index(space="ip", dim=embedding_size)
        self._index.init_index(max_elements=1, M=_CONNECTIONS, ef_construction=_WIDTH)

    def add(self, rows):
        end = len(self) + len(rows)
        if end > self._index.get_max_elements():
            self._index.resize_index(max(end, 3 * len(self) // 2))
        self._index.add_items(rows, np.arange(len(self), end))

    def search(self, probes, count):
        most, wanted = min(count, len(self)), np.full((len(probes), count), -1)
        self._index.set_ef(max(_WIDTH, most))
        wanted[:, :most] = self._index.knn_query(probes, k=most)[0].astype(np.int64)
        return wanted

    def __len__(self):
        return self._index.get_current_count()


INDEXES: dict[str, Any] = {"usearch": _Usearch, "faiss": _Faiss, "hnswlib": _Hnswlib}
_MODULES = {"usearch": "usearch.index", "faiss": "faiss", "hnswlib": "hnswlib"}
