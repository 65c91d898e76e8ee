"""Ways to part labelled images into training and test images."""

import numpy as np


def identity_disjoint_split(labels, num_test, seed=0):
    """Parts the images by identity: nobody is in both parts. For verification of unseen people.

    Args:
        labels: Int array, (num_images,); the identity of every image.
        num_test: Number of identities to test on, in [1, number of identities).
        seed: Int >= 0; chooses the identities, all equally likely.

    Returns:
        (train_indices, test_indices), int64 arrays of image numbers, each in ascending order.

    Raises:
        ValueError: If one part would have no identity.

    Example:
        >>> train_indices, test_indices = identity_disjoint_split([0, 0, 1, 1, 2, 2], num_test=1)
        >>> len(train_indices), len(test_indices)
        (4, 2)
    """
    labels = _check_labels(labels)
    identities = np.unique(labels)
    if not 1 <= num_test < len(identities):
        raise ValueError(
            f"identity_disjoint_split needs num_test in [1, {len(identities)}), the number of identities. "
            f"Received: num_test={num_test}."
        )
    chosen = np.random.default_rng(seed).permutation(identities)[:num_test]
    is_test = np.isin(labels, chosen)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def per_identity_split(labels, num_train, seed=0):
    """Parts the images of each identity: everybody is in both parts. For identification of known people.

    Args:
        labels: Int array, (num_images,); the identity of every image.
        num_train: Number of images of each identity to train on, >= 1; the others are for the test.
        seed: Int >= 0; chooses the images, all equally likely.

    Returns:
        (train_indices, test_indices), int64 arrays of image numbers, each in ascending order.

    Raises:
        ValueError: If an identity would have no image in one part.

    Example:
        >>> train_indices, test_indices = per_identity_split([0, 0, 0, 1, 1, 1], num_train=2)
        >>> len(train_indices), len(test_indices)
        (4, 2)
    """
    labels = _check_labels(labels)
    identities, counts = np.unique(labels, return_counts=True)
    fewest = counts.argmin()
    if not 1 <= num_train < counts[fewest]:
        raise ValueError(
            f"per_identity_split needs num_train in [1, {counts[fewest]}), because identity {identities[fewest]} "
            f"has {counts[fewest]} images. Received: num_train={num_train}."
        )
    generator = np.random.default_rng(seed)
    is_train = np.zeros(len(labels), bool)
    for identity in identities:
        is_train[generator.permutation(np.flatnonzero(labels == identity))[:num_train]] = True
    return np.flatnonzero(is_train), np.flatnonzero(~is_train)


def _check_labels(labels):
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            "A split needs one integer label per image, in a one-dimensional array. "
            f"Received shape {labels.shape}, dtype {labels.dtype}. Pass reader.labels."
        )
    return labels
