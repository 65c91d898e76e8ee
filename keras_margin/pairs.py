"""Verification protocols made from any labelled set, and their `.bin` files."""

import numpy as np

from keras_margin import evaluation
from keras_margin.data import bin as bin_file


def make_protocol(labels, num_genuine=3000, num_impostor=3000, folds=10, seed=0):
    """Pairs for k-fold verification in the layout of LFW's view 2: the folds one after the other, no person in two.

    The identities are dealt to the folds at random; in each fold the pairs are drawn uniformly, without replacement,
    by `evaluation.make_pairs`. Cut into `folds` runs of equal length, as insightface's evaluation and
    `evaluation.k_fold_accuracy(..., folds=folds)` do, the pairs give back these folds.

    Args:
        labels: Integer or string array (n,); who is on each image.
        num_genuine: Pairs of one person, a multiple of `folds`, >= 0.
        num_impostor: Pairs of two persons, a multiple of `folds`, >= 0.
        folds: Number of folds, >= 1.
        seed: Int >= 0; the same seed gives the same pairs.

    Returns:
        (pairs, is_same): integer array (num_genuine + num_impostor, 2) of image numbers, and bool array.

    Raises:
        ValueError: If a count is no multiple of `folds`, or a fold's identities have not so many pairs; the error
            gives the number there is.

    Example:
        >>> labels = np.repeat(np.arange(40), 10)
        >>> pairs, is_same = make_protocol(labels, num_genuine=300, num_impostor=300)
        >>> pairs.shape, int(is_same[:60].sum())  # the first of the ten folds
        ((600, 2), 30)

    Reference: Huang et al., Labeled Faces in the Wild, 2007, view 2.
    """
    labels = np.asarray(labels)
    identities, index = np.unique(labels, return_inverse=True)
    if not 1 <= folds <= len(identities):
        raise ValueError(f"folds must be in [1, {len(identities)}], the number of identities. Received: folds={folds}.")
    for name, count in (("num_genuine", num_genuine), ("num_impostor", num_impostor)):
        if count < 0 or count % folds:
            raise ValueError(f"{name} must be a multiple of folds={folds}, >= 0. Received: {name}={count}.")
    rng = np.random.default_rng(seed)
    fold_of = rng.permutation(np.arange(len(identities)) % folds)[index]
    parts = []
    for fold in range(folds):
        members = np.flatnonzero(fold_of == fold)
        try:
            pairs, is_same = evaluation.make_pairs(
                labels[members], num_genuine // folds, num_impostor // folds, seed=(seed, fold)
            )
        except ValueError as error:
            raise ValueError(f"Fold {fold} of {folds}, {len(members)} images: {error}") from None
        parts.append((members[pairs], is_same))
    pairs, is_same = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pairs, is_same


def write_protocol(path, reader, num_genuine=3000, num_impostor=3000, folds=10, seed=0):
    """Draws a protocol from a reader's images and writes it as a verification `.bin`.

    Args:
        path: The `.bin` file.
        reader: From `keras_margin.data.open`; pass the people that were not trained on.
        num_genuine: Pairs of one person, a multiple of `folds`.
        num_impostor: Pairs of two persons, a multiple of `folds`.
        folds: Number of folds.
        seed: Int >= 0.

    Returns:
        (pairs, is_same), as `make_protocol`.

    Raises:
        ValueError: As `make_protocol`, and if an image cannot be read.

    Example:
        >>> reader = keras_margin.data.open("orl")
        >>> pairs, is_same = write_protocol("orl.bin", reader, num_genuine=300, num_impostor=300)
    """
    pairs, is_same = make_protocol(reader.labels, num_genuine, num_impostor, folds, seed)
    needed, rows = np.unique(pairs, return_inverse=True)
    images, _ = reader.subset(needed).arrays()
    if len(images) != len(needed):
        raise ValueError(
            f"Every image of a protocol must be readable. Received: {len(needed) - len(images)} of {len(needed)} that "
            "are not; the log names them. Remove them and draw again."
        )
    bin_file.write_bin(path, images[rows.ravel()], is_same)
    return pairs, is_same
