"""What the papers say about the angles of an embedding: how tight its classes are and how far apart."""

from dataclasses import dataclass

import numpy as np

from keras_margin._typing import ArrayLike
from keras_margin.evaluation import _arrays
from keras_margin.evaluation.pairs import make_pairs


@dataclass(frozen=True)
class AngleStatistics:
    """The rows of ArcFace's table 3, in degrees in [0, 180].

    Attributes:
        w_ec: Mean angle between a class's prototype and its embedding centre; small means the two agree. None
            without prototypes.
        w_inter: Mean over the prototypes of the angle to the nearest other prototype. None without prototypes.
        intra: Mean angle between an embedding and the centre of its class; smaller is tighter.
        inter: Mean over the centres of the angle to the nearest other centre; larger is further apart.

    Example:
        >>> found = angle_statistics(np.array([[1.0, 0.0], [0.0, 2.0]]), [0, 1])
        >>> isinstance(found, AngleStatistics), round(found.inter), found.w_ec
        (True, 90, None)
    """

    w_ec: float | None
    w_inter: float | None
    intra: float
    inter: float


def angle_statistics(embeddings: ArrayLike, labels: ArrayLike, prototypes: ArrayLike | None = None) -> AngleStatistics:
    """Computes angle statistics of an embedding and, where given, of the head that trained it.

    unit = embeddings / norm(embeddings); centre_i = mean of the unit embeddings of class i
    intra = mean_j angle(x_j, centre of j's class)      inter   = mean_i min_{k != i} angle(centre_i, centre_k)
    w_ec  = mean_i angle(W_i, centre_i)                 w_inter = mean_i min_{k != i} angle(W_i, W_k)

    The paper leaves open whether a centre averages raw or unit embeddings; it trains on unit embeddings, so they
    are. `intra` averages over images (a class of one image adds a 0), the others over classes. `w_ec` covers the
    classes that have an embedding, `w_inter` all prototypes.

    Args:
        embeddings: Real array (n, embedding_size), rows of any length but 0.
        labels: Integer or string array (n,), at least two classes; integers in [0, num_classes) with prototypes.
        prototypes: Real array (num_classes, embedding_size) such as `head.prototypes`, a class a row; or None.

    Returns:
        `AngleStatistics`, in degrees.

    Raises:
        TypeError: Embeddings that are not numbers, labels that are not integers (or strings, without prototypes).
        ValueError: A zero, NaN or infinite row, one class only, a class whose embeddings cancel out, labels that
            are not rows of the prototypes, sizes that differ.

    Example:
        >>> result = angle_statistics(np.array([[1.0, 0.0], [0.0, 2.0]]), [0, 1], prototypes=[[1.0, 1.0], [0.0, 3.0]])
        >>> round(result.intra), round(result.inter), round(result.w_ec, 1), round(result.w_inter)
        (0, 90, 22.5, 45)

    Reference: Deng et al., ArcFace, CVPR 2019, table 3.
    """
    embeddings = _arrays.check_embeddings(embeddings)
    labels = _arrays.check_labels(labels, len(embeddings))
    if prototypes is not None:
        prototypes = _check_prototypes(prototypes, embeddings, labels)
    unit = _arrays.unit_rows(embeddings)
    classes, index = _classes(labels)
    centres = _class_centres(unit, index, classes)
    w_ec = w_inter = None
    if prototypes is not None:
        prototypes = _arrays.unit_rows(prototypes)
        w_ec = _mean_degrees(_arrays.angles(prototypes[classes], centres))
        w_inter = _mean_degrees(_nearest_angles(prototypes))
    intra = _mean_degrees(_angles_to_centres(unit, centres, index))
    return AngleStatistics(w_ec, w_inter, intra, _mean_degrees(_nearest_angles(centres)))


def angular_fisher_score(embeddings: ArrayLike, labels: ArrayLike) -> float:
    """Computes the angular Fisher score, scatter within classes over scatter between them; lower is better.

    AFS = S_w / S_b
    S_w = sum_i sum_{x in class i} (1 - cos(x, m_i));  S_b = sum_i n_i * (1 - cos(m_i, m))

    with m_i the mean of class i's n_i embeddings and m the mean of all, of the raw embeddings as printed: longer
    ones weigh more. Pass unit embeddings for a score that does not know lengths.

    Args:
        embeddings: Real array (n, embedding_size), rows of any length but 0.
        labels: Integer or string array (n,), at least two classes.

    Returns:
        Float >= 0.

    Raises:
        TypeError: Embeddings that are not numbers, labels that are neither integers nor strings.
        ValueError: A zero, NaN or infinite embedding, one class only, embeddings whose mean is zero (of a class or of
            all), class means that all point one way.

    Example:
        >>> x = np.array([[2.0, 1.0], [2.0, -1.0], [-1.0, 2.0], [1.0, 2.0]])
        >>> round(angular_fisher_score(x, [0, 0, 1, 1]), 4)
        0.3604

    Reference: Liu et al., SphereFace, CVPR 2017, eq. 11 (appendix E).
    """
    embeddings = _arrays.check_embeddings(embeddings)
    labels = _arrays.check_labels(labels, len(embeddings))
    classes, index = _classes(labels)
    centres = _class_centres(embeddings, index, classes)
    mean = embeddings.mean(axis=0, dtype=np.float64)[None]
    mean = _unit_means(mean, _largest_entries(embeddings).max(), embeddings.dtype, ["all classes together"])
    within = _one_minus_cos(_angles_to_centres(_arrays.unit_rows(embeddings), centres, index)).sum()
    between = np.bincount(index) @ _one_minus_cos(_arrays.angles(centres, np.broadcast_to(mean, centres.shape)))
    if between == 0:
        raise ValueError(
            "angular_fisher_score needs class means that point different ways. Received: all of them parallel, so "
            "there is no scatter between classes. The embedding has collapsed."
        )
    return float(within / between)


@dataclass(frozen=True, eq=False)
class AngleDistributions:
    """Angles of a labelled set, in degrees in [0, 180]; `plots.angle_histogram` draws them.

    Attributes:
        genuine: float64 (m,), of every pair of images of one person.
        impostor: float64 (k,), of random pairs of two people.
        centre: float64 (n,), of each image to the centre of its person.

    Example:
        >>> found = angle_distributions(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), [0, 0, 1])
        >>> isinstance(found, AngleDistributions), found.genuine.round(6).tolist()
        (True, [90.0])
    """

    genuine: np.ndarray
    impostor: np.ndarray
    centre: np.ndarray


def angle_distributions(
    embeddings: ArrayLike, labels: ArrayLike, num_impostor: int = 500_000, seed: int = 0
) -> AngleDistributions:
    """Computes the angles whose histograms are ArcFace's figure 6, and those of each image to its centre.

    Args:
        embeddings: Real array (n, embedding_size), rows of any length but 0.
        labels: Integer or string array (n,), at least two people, one of them with two images.
        num_impostor: How many pairs of two people to draw, >= 1; all there are, if fewer. The paper draws about half a
            million.
        seed: Seed of numpy's default generator.

    Returns:
        `AngleDistributions`, in degrees. Memory is that of the genuine pairs: a person with 1,000 images has half a
        million.

    Raises:
        TypeError: Embeddings that are not numbers, labels that are neither integers nor strings.
        ValueError: A zero, NaN or infinite embedding, one person only, nobody with two images, embeddings of a person
            that cancel out.

    Example:
        >>> found = angle_distributions(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), ["a", "a", "b"])
        >>> found.genuine.round(6).tolist(), sorted(found.impostor.round(6).tolist()), found.centre.round(6).tolist()
        ([45.0], [45.0, 90.0], [22.5, 22.5, 0.0])

    Reference: Deng et al., ArcFace, CVPR 2019, figure 6.
    """
    embeddings = _arrays.check_embeddings(embeddings)
    labels = _arrays.check_labels(labels, len(embeddings))
    num_impostor = _arrays.check_count(num_impostor, "num_impostor", 1)
    classes, index = _classes(labels)
    sizes = np.bincount(index)
    num_genuine = int((sizes * (sizes - 1) // 2).sum())
    if not num_genuine:
        raise ValueError("Angles of genuine pairs need a person with two images. Received: one image of each.")
    most = len(labels) * (len(labels) - 1) // 2 - num_genuine
    pairs, is_same = make_pairs(labels, num_genuine, min(num_impostor, most), seed)
    unit = _arrays.unit_rows(embeddings)
    theta = np.degrees(_arrays.paired_angles(unit, pairs))
    centre = _angles_to_centres(unit, _class_centres(unit, index, classes), index)
    return AngleDistributions(theta[is_same], theta[~is_same], np.degrees(centre))


def pair_angles(embeddings: ArrayLike, pairs: ArrayLike) -> np.ndarray:
    """Computes the angle of each pair of embeddings, in degrees, exact near 0 and 180 where arccos of a cosine is not.

    Args:
        embeddings: Real array (n, embedding_size), rows of any length but 0.
        pairs: Integer array (m, 2), indices in [0, n).

    Returns:
        float64 array (m,) in [0, 180].

    Raises:
        TypeError, ValueError: As `pair_scores`.

    Example:
        >>> pair_angles(np.array([[2.0, 0.0], [0.0, 5.0], [3.0, 0.0]]), [[0, 1], [0, 2]]).tolist()
        [90.0, 0.0]

    Reference: Deng et al., ArcFace, CVPR 2019, figure 7.
    """
    embeddings = _arrays.check_embeddings(embeddings)
    pairs = _arrays.check_pairs(pairs, len(embeddings))
    return np.degrees(_arrays.paired_angles(_arrays.unit_rows(embeddings), pairs))


def _one_minus_cos(theta: np.ndarray) -> np.ndarray:
    return 2 * np.sin(theta / 2) ** 2


def _mean_degrees(theta: np.ndarray) -> float:
    return float(np.degrees(theta.mean()))


def _check_prototypes(prototypes: ArrayLike, embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    prototypes = _arrays.check_embeddings(prototypes, "prototypes")
    _arrays.check_same_size(embeddings, prototypes, "embeddings", "prototypes")
    if len(prototypes) < 2:
        raise ValueError("prototypes must hold at least two classes. Received: 1 row.")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, rows of prototypes. Received: dtype={labels.dtype}.")
    if labels.min() < 0 or labels.max() >= len(prototypes):
        raise ValueError(
            f"labels must be rows of prototypes, in [0, {len(prototypes)}). Received: labels in [{labels.min()}, "
            f"{labels.max()}]. Pass the embeddings of the training classes, or no prototypes."
        )
    return prototypes


def _classes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct labels and each image's place among them."""
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"Statistics between classes need at least two. Received: only label {classes[0].item()!r}.")
    return classes, index


def _class_centres(rows, index, classes):
    """Direction of each class's mean row, float64 (num_classes, embedding_size)."""
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index)
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(rows[order], starts, axis=0, dtype=np.float64) / counts[:, None]
    largest = np.maximum.reduceat(_largest_entries(rows)[order], starts)
    return _unit_means(means, largest, rows.dtype, [f"label {label!r}" for label in classes.tolist()])


def _largest_entries(rows: np.ndarray):
    return np.maximum(rows.max(axis=1).astype(np.float64), -rows.min(axis=1).astype(np.float64))


def _unit_means(means, largest, dtype, names):
    """Unit rows of means; ValueError where one is zero but for the rounding of entries as large as `largest`."""
    eps = np.finfo(np.result_type(dtype, np.float32)).eps
    zero = _largest_entries(means) <= 8 * eps * largest
    if zero.any():
        raise ValueError(
            f"The embeddings of {names[zero.argmax()]} cancel out: their mean is zero and has no direction. Leave "
            "them out, or look for a mislabelled opposite."
        )
    return _arrays.unit_rows(means)


def _angles_to_centres(unit, centres, index):
    theta = np.empty(len(unit))
    for block in _arrays.blocks(len(unit), centres.itemsize * centres.shape[1]):
        theta[block] = _arrays.angles(unit[block], centres[index[block]])
    return theta


def _nearest_angles(unit: np.ndarray) -> np.ndarray:
    """Angle from each unit row to the nearest other one, radians, (n,); n >= 2."""
    nearest = np.empty(len(unit), np.intp)
    for block in _arrays.blocks(len(unit), unit.itemsize * len(unit)):
        cosines = unit[block] @ unit.T
        cosines[np.arange(len(cosines)), np.arange(block.start, block.stop)] = -np.inf
        nearest[block] = cosines.argmax(axis=1)
    return _arrays.angles(unit, unit[nearest])
