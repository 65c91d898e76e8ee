"""Retrieval, a list for each person: iQIYI-VID's mean average precision."""

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays, _streaming


def mean_average_precision(
    query: ArrayLike, query_labels: ArrayLike, gallery: ArrayLike, gallery_labels: ArrayLike, k: int = 100
) -> float:
    """Computes MAP@k: how early the entries of the query's person come in the list of the k most similar ones.

    average_precision = sum(matches_to(r) / r for each rank r <= k that is a match) / number of the person's entries
    MAP@k = mean(average_precision) over the queries

    With more than k entries of a person, 1 is out of reach, as in the challenge's own count. Equal scores put the wrong
    entry first. iQIYI-VID has one query a person, here the mean of the person's training embeddings, and 100 places.

    Args:
        query: Real array (num_queries, embedding_size), rows of any length but 0.
        query_labels: Integer or string array (num_queries,), each in `gallery_labels` too.
        gallery: Real array (num_gallery, embedding_size); may be a memory map.
        gallery_labels: Integer or string array (num_gallery,).
        k: Length of a list, >= 1; cut to num_gallery.

    Returns:
        Float in [0, 1].

    Raises:
        TypeError: Embeddings or labels of another type.
        ValueError: A zero, NaN or infinite embedding, sizes that differ, a query without an entry, more than 50 million
            places in all.

    Example:
        >>> gallery = np.array([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.0, 1.0]])
        >>> round(mean_average_precision(gallery[:1], [7], gallery, [7, 1, 7, 1], k=3), 4)
        0.8333

    Reference: iQIYI-VID challenge 2018; Deng et al., ArcFace, CVPR 2019, table 9.
    """
    query, gallery = _arrays.check_embeddings(query, "query"), _arrays.check_embeddings(gallery, "gallery")
    _arrays.check_same_size(query, gallery, "query", "gallery")
    query_labels = _arrays.check_labels(query_labels, len(query), "query_labels")
    gallery_labels = _arrays.check_labels(gallery_labels, len(gallery), "gallery_labels")
    query_index, gallery_index = _arrays.common_index(query_labels, gallery_labels)
    k = min(_arrays.check_count(k, "k", 1), len(gallery))
    relevant = np.bincount(gallery_index, minlength=query_index.max() + 1)[query_index]
    if not relevant.all():
        raise ValueError(
            f"Each query needs an entry of its person in the gallery. Received: {np.count_nonzero(relevant == 0)} "
            f"without, the first is query {relevant.argmin()} of {query_labels[relevant.argmin()].item()!r}."
        )

    def is_match(rows, columns):
        return query_index[rows] == gallery_index[columns]

    lists = _streaming.HighestPerRow(query, gallery, k, goes_last=is_match)
    _streaming.offer_all(query, gallery, [lists])
    rows, columns, _ = lists.ordered()
    matches = is_match(rows, columns).reshape(len(query), k)
    precision = np.cumsum(matches, axis=1) / np.arange(1, k + 1)
    return float(np.mean(np.sum(precision * matches, axis=1) / relevant))
