"""Faces of unknown people put together by person, and how well that was done."""

from dataclasses import dataclass

import numpy as np

from keras_margin.evaluation import _arrays


@dataclass(frozen=True)
class ClusteringScore:
    """How well clusters are people.

    Attributes:
        precision: Share of what was put together that belongs together, in [0, 1].
        recall: Share of what belongs together that was put together.
        f: Their harmonic mean.
    """

    precision: float
    recall: float

    @property
    def f(self):
        """2 precision recall / (precision + recall); 0 where both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def chinese_whispers(embeddings, threshold, iterations=20, seed=0):
    """Clusters embeddings: every face takes the label that weighs most among its neighbors, again and again.

    Neighbors are faces with cosine >= threshold, the weight of a neighbor is its cosine. No number of clusters is
    given. Faces are visited in random order, and the result depends on it a little.

    Args:
        embeddings: Real array (n, embedding_size), rows of any length but 0.
        threshold: Cosine in (0, 1]; that of verification at a FAR of 0.1 / n is a good start.
        iterations: Times that every face is visited, at most, >= 1; it ends earlier where nothing changes.
        seed: Of the order.

    Returns:
        Integer array (n,): clusters from 0 on, the largest first.

    Raises:
        TypeError, ValueError: As `pair_scores`; a threshold or number out of range.

    Example:
        >>> chinese_whispers(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [1.0, -0.1]]), threshold=0.9).tolist()
        [0, 1, 0, 0]

    Reference: Biemann, Chinese whispers - an efficient graph clustering algorithm, TextGraphs 2006.
    """
    embeddings = _arrays.check_embeddings(embeddings)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a cosine in (0, 1]. Received: threshold={threshold}.")
    iterations = _arrays.check_count(iterations, "iterations", 1)
    starts, neighbors, weights = _graph(_arrays.unit_rows(embeddings, dtype=np.float32), threshold)
    labels, rng = np.arange(len(embeddings)), np.random.default_rng(seed)
    nodes = np.flatnonzero(np.diff(starts))
    for _ in range(iterations):
        changed = False
        for node in rng.permutation(nodes):
            part = slice(starts[node], starts[node + 1])
            around, index = np.unique(labels[neighbors[part]], return_inverse=True)
            best = around[np.bincount(index, weights[part]).argmax()]
            changed |= best != labels[node]
            labels[node] = best
        if not changed:
            break
    return _by_size(labels)


def _graph(unit, threshold):
    """Returns (starts (n + 1,), neighbors, their cosines) of every row, itself left out."""
    counts, neighbors, weights = [], [], []
    for block in _arrays.blocks(len(unit), unit.itemsize * len(unit)):
        cosines = unit[block] @ unit.T
        cosines[np.arange(len(cosines)), np.arange(block.start, block.stop)] = -1
        row, column = np.nonzero(cosines >= threshold)
        counts.append(np.bincount(row, minlength=len(cosines)))
        neighbors.append(column)
        weights.append(cosines[row, column])
    return np.append(0, np.cumsum(np.concatenate(counts))), np.concatenate(neighbors), np.concatenate(weights)


def _by_size(labels):
    """Returns the labels numbered from 0, the largest cluster first, of equals the one whose face comes first."""
    _, first, index, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    place = np.empty(len(sizes), np.intp)
    place[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return place[index]


def pairwise_score(clusters, labels):
    """Scores clusters by pairs: precision is the share of pairs of one cluster that are of one person.

    precision = pairs of one cluster and one person / pairs of one cluster      recall = the same / pairs of one person

    Large clusters count by the square of their size; `bcubed_score` counts each face alike.

    Args:
        clusters: Integer or string array (n,).
        labels: Integer or string array (n,), who each face is.

    Returns:
        `ClusteringScore`. Precision is 1 where no two faces share a cluster, recall 1 where no two share a person.

    Raises:
        TypeError, ValueError: Labels of another type, lengths that differ.

    Example:
        >>> score = pairwise_score([0, 0, 1, 1], ["a", "a", "a", "b"])
        >>> score.precision, round(score.recall, 3)
        (0.5, 0.333)
    """
    both, of_cluster, of_person = _counts(clusters, labels)
    together, clustered, belonging = (int((sizes * (sizes - 1) // 2).sum()) for sizes in (both, of_cluster, of_person))
    return ClusteringScore(together / clustered if clustered else 1.0, together / belonging if belonging else 1.0)


def bcubed_score(clusters, labels):
    """Scores clusters face by face: of each face the share of its cluster that is its person, and the other way round.

    precision = mean over faces of |cluster and person| / |cluster|      recall = mean of the same / |person|

    Args:
        clusters: Integer or string array (n,).
        labels: Integer or string array (n,), who each face is.

    Returns:
        `ClusteringScore`.

    Raises:
        TypeError, ValueError: As `pairwise_score`.

    Example:
        >>> bcubed_score([0, 0, 1, 1], ["a", "a", "a", "b"]).precision
        0.75

    Reference: Amigo et al., A comparison of extrinsic clustering evaluation metrics based on formal constraints,
    Information Retrieval 12, 2009.
    """
    clusters, labels = _checked(clusters, labels)
    index, person = (np.unique(each, return_inverse=True)[1] for each in (clusters, labels))
    _, couple, both = np.unique(index * (person.max() + 1) + person, return_inverse=True, return_counts=True)
    return ClusteringScore(
        float((both[couple] / np.bincount(index)[index]).mean()),
        float((both[couple] / np.bincount(person)[person]).mean()),
    )


def _counts(clusters, labels):
    """Returns the sizes of the couples of cluster and person, of the clusters, of the people."""
    clusters, labels = _checked(clusters, labels)
    index, person = (np.unique(each, return_inverse=True)[1].astype(np.int64) for each in (clusters, labels))
    both = np.unique(index * (person.max() + 1) + person, return_counts=True)[1]
    return both, np.bincount(index), np.bincount(person)


def _checked(clusters, labels):
    clusters = _arrays.check_labels(clusters, name="clusters")
    return clusters, _arrays.check_labels(labels, len(clusters))
