"""What silently spoils an evaluation, looked for before it runs: swapped channels, wrong pixels, images seen twice."""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from keras_margin import evaluation
from keras_margin._utils import normalization
from keras_margin.evaluation.protocols.base import Protocol, VariedEmbedder

# Pairs of either kind that a measured check embeds.
_PAIRS = 200
_RESAMPLES = 500
# A difference of AUC that matters, and how sure it must be that it is one at all.
_MATTERS, _SURE = 0.01, 0.99
# Most photographs of faces are redder than blue in the middle, whoever is on them: that is skin, and warm light.
_SKIN_SEEN, _SKIN_SWAPPED = 0.7, 0.3

# What networks are fed, by their authors' habits; (mean, std), grey levels.
NORMALIZATIONS = {
    "pixels, 0 to 255": normalization.resolve("raw"),
    "0 to 1": normalization.resolve("zero_one"),
    "-1 to 1": normalization.resolve("minus_one_one"),
    "ImageNet's mean and deviation": normalization.resolve("imagenet"),
}

# Two images are one where their 16 x 16 thumbnails, grey, less their mean, have at least this cosine.
NEAR = 0.998
_SIDE = 16
_BLOCK = 2048


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: "channels", "normalization" or "overlap".
        level: "ok", "unknown" where the images cannot tell, or "warning".
        text: A sentence with the figures.

    Example:
        >>> Finding("channels", "ok", "AUC 0.990 fed RGB, 0.970 fed BGR.").level
        'ok'
    """

    check: str
    level: str
    text: str


def check_channels(embedder: VariedEmbedder, protocol: Protocol, seed: int = 0) -> Finding:
    """Finds out whether model and images agree on the order of channels, by measuring it twice.

    The images alone: in most photographs of faces the middle is redder than blue; a set where it is bluer was
    probably stored as BGR. The model: a few hundred pairs are embedded as given and with red and blue swapped. A
    network separates people better with the order that it was trained on; where the swapped order has the higher AUC,
    by 0.01 at least and surely (99 % of bootstrap resamples), one of the two is wrong.

    Args:
        embedder: `evaluation.FileEmbedder`.
        protocol: `Protocol`.
        seed: Of the pairs and the bootstrap.

    Returns:
        `Finding`. "unknown" where the images are grey, or both orders do equally well.

    Example:
        >>> keras_margin.data.write_bin("tiny.bin", np.full((8, 16, 16, 3), 128, np.uint8), [True, False, True, False])
        >>> protocol = load_protocol("tiny.bin", image_size=(16, 16))
        >>> network = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D()])
        >>> network.save("tiny.keras")
        >>> check_channels(keras_margin.evaluation.load_embedder("tiny.keras"), protocol).level  # The images are grey.
        'unknown'
    """
    looked = _Look(protocol, seed)
    middle = looked.images[:, looked.images.shape[1] // 4 : -looked.images.shape[1] // 4].astype(np.float32)
    red, blue = middle[..., 0].mean(axis=(1, 2)), middle[..., 2].mean(axis=(1, 2))
    if (looked.images[..., 0] == looked.images[..., 2]).mean() > 0.99:
        return Finding("channels", "unknown", f"{protocol.name} is grey: the order of channels cannot be told.")
    redder = float(np.mean(red > blue))
    skin = f"{redder:.0%} of the images are redder than blue in the middle"
    given = looked.scores(embedder)
    other = "BGR" if embedder.channels == "RGB" else "RGB"
    swapped = looked.scores(embedder.varied(channels=other))
    aucs = looked.auc(given), looked.auc(swapped)
    shown = f"AUC {aucs[0]:.3f} fed {embedder.channels}, {aucs[1]:.3f} fed {other}; {skin}"
    if looked.better(swapped, given):
        whose = "the images were stored as BGR" if redder < _SKIN_SWAPPED else f"the model was trained on {other}"
        hint = "" if redder < _SKIN_SWAPPED else f" If it was, say so: channels={other}."
        return Finding("channels", "warning", f"Red and blue look swapped: {shown}. Probably {whose}.{hint}")
    if redder < _SKIN_SWAPPED:
        return Finding(
            "channels", "warning", f"{protocol.name} looks stored as BGR, the model notwithstanding: {shown}."
        )
    if looked.better(given, swapped):
        return Finding("channels", "ok", f"{shown}.")
    return Finding("channels", "unknown", f"The model hardly sees colour: {shown}.")


def check_normalization(embedder: VariedEmbedder, protocol: Protocol, seed: int = 0) -> Finding:
    """Finds out whether a network that takes floats is fed the pixels it wants, by measuring what others are fed.

    A few hundred pairs are embedded as declared and under each of NORMALIZATIONS; where one has the higher AUC, as
    surely as in `check_channels`, the declared one is doubtful.

    Args:
        embedder: `evaluation.FileEmbedder`.
        protocol: `Protocol`.
        seed: Of the pairs and the bootstrap.

    Returns:
        `Finding`; "ok" without measuring where the file normalises inside and says so.

    Example:
        >>> import types
        >>> check_normalization(types.SimpleNamespace(takes_pixels=True), protocol=None).level
        'ok'
    """
    if embedder.takes_pixels:
        return Finding("normalization", "ok", "The file takes pixels and normalises inside.")
    looked = _Look(protocol, seed)
    declared = embedder.normalization or (0.0, 1.0)
    given = looked.scores(embedder)
    others = {name: pair for name, pair in NORMALIZATIONS.items() if not _same(pair, declared)}
    found = {name: looked.scores(embedder.varied(normalization=pair)) for name, pair in others.items()}
    aucs = {name: looked.auc(scores) for name, scores in found.items() if scores is not None}
    if not aucs:
        return Finding("normalization", "ok", "The network answers to no other pixels.")
    best = max(aucs, key=aucs.get)  # type: ignore[arg-type]
    shown = f"AUC {looked.auc(given):.3f} with (mean, std) = {declared}, at best {aucs[best]:.3f} with {best}"
    if looked.better(found[best], given):
        hint = f"normalization={others[best]}"
        return Finding("normalization", "warning", f"The pixels look wrongly normalised: {shown}. Try {hint}.")
    return Finding("normalization", "ok", f"{shown}.")


class _Look:
    """A few hundred pairs of a protocol, embedded this way and that."""

    def __init__(self, protocol, seed):
        pairs, self.is_same = protocol.sample_pairs(_PAIRS, seed)
        rows, index = np.unique(pairs, return_inverse=True)
        self.images, self._pairs, self._seed = protocol.images(rows), index.reshape(pairs.shape), seed

    def scores(self, embedder):
        """Cosine of each pair; None where an embedding has no direction."""
        parts = (self.images[start : start + 64] for start in range(0, len(self.images), 64))
        try:
            return evaluation.pair_scores(np.concatenate([embedder.embed(part) for part in parts]), self._pairs)
        except ValueError:
            return None

    def auc(self, scores):
        return 0.0 if scores is None else evaluation.auc(scores, self.is_same)

    def better(self, scores, than):
        """Whether one way separates better, by as much as matters and surely; drawn over the same pairs."""
        if scores is None or than is None or self.auc(scores) - self.auc(than) < _MATTERS:
            return scores is not None and than is None
        generator, wins, drawn = np.random.default_rng(self._seed), 0, 0
        for _ in range(_RESAMPLES):
            rows = generator.integers(len(scores), size=len(scores))
            same = self.is_same[rows]
            if same.any() and not same.all():
                drawn += 1
                wins += evaluation.auc(scores[rows], same) > evaluation.auc(than[rows], same)
        return wins >= _SURE * drawn


def _same(pair, declared):
    return all(np.allclose(one, other, rtol=0.05) for one, other in zip(pair, declared, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFingerprints:
    """What tells images apart: digests (n,) of their pixels, and thumbnails (n, 256), unit rows or zeros for blanks."""

    digests: np.ndarray
    thumbnails: np.ndarray


def image_fingerprints(batches: Iterable[np.ndarray]) -> ImageFingerprints:
    """Computes `ImageFingerprints` of images that come in batches, uint8 (n, height, width, 3).

    Example:
        >>> found = image_fingerprints([np.zeros((2, 32, 32, 3), np.uint8), np.ones((1, 32, 32, 3), np.uint8)])
        >>> len(found.digests)
        3
    """
    digests, thumbnails = [], []
    for images in batches:
        digests += [hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() for image in images]  # type: ignore[arg-type]
        thumbnails.append(_thumbnails(images))
    return ImageFingerprints(np.array(digests), np.concatenate(thumbnails))


def _thumbnails(images):
    # Luma, which JPEG keeps best; it stores colour at half the resolution.
    grey = images.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
    small = _area(grey.shape[1]) @ grey @ _area(grey.shape[2]).T
    rows = small.reshape(len(small), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1)


def _area(length):
    """Matrix (_SIDE, length): means of a line of pixels over _SIDE equal parts, pixels on an edge by their share."""
    edges = np.linspace(0, length, _SIDE + 1)
    pixels = np.arange(length)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(covered, 0, None) * _SIDE / length).astype(np.float32)


def check_overlap(one: ImageFingerprints, other: ImageFingerprints, names: Sequence[str]) -> Finding:
    """Finds images that two sets share: pixel for pixel, or nearly, such as the same photograph compressed again.

    Args:
        one: `image_fingerprints` of the first set.
        other: Those of the second.
        names: What the two are called.

    Returns:
        `Finding`, a warning where they share any.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
        >>> one, other = image_fingerprints([images[:3]]), image_fingerprints([images[2:]])
        >>> check_overlap(one, other, ("lfw", "training")).level
        'warning'
    """
    same = np.isin(one.digests, other.digests)
    near = same.copy()
    for start in range(0, len(near), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for first in range(0, len(other.thumbnails), _BLOCK):
            near[rows] |= (one.thumbnails[rows] @ other.thumbnails[first : first + _BLOCK].T).max(axis=1) >= NEAR
    if not near.any():
        return Finding("overlap", "ok", f"{names[0]} and {names[1]} share no image.")
    return Finding(
        "overlap",
        "warning",
        f"{near.sum():,} of {len(near):,} images of {names[0]} are in {names[1]} too: {same.sum():,} pixel for pixel, "
        f"{(near & ~same).sum():,} nearly; the first is image {near.argmax()}.",
    )


def check_people(people: np.ndarray | None, trained_on: Iterable[str], names: Sequence[str]) -> Finding:
    """Finds people of a set that the model was trained on, by their names.

    Args:
        people: String array (n,), who is on each image; None where the set does not tell.
        trained_on: Names of the training identities.
        names: What the two are called.

    Returns:
        `Finding`; "unknown" where there are no names, or numbers for names, which say nothing between two sets.

    Example:
        >>> check_people(np.array(["Ada", "Grace"]), ["Grace", "Alan"], ("lfw", "training")).level
        'warning'
    """
    known = set() if people is None else {str(each) for each in np.unique(people)}
    if not known or all(each.isdigit() for each in known):
        return Finding("overlap", "unknown", f"{names[0]} has no names of people to look for in {names[1]}.")
    both = sorted(known & set(map(str, trained_on)))
    if not both:
        return Finding("overlap", "ok", f"{names[0]} and {names[1]} share no name.")
    return Finding(
        "overlap",
        "warning",
        f"{len(both):,} of {len(known):,} people of {names[0]} are in {names[1]} too: {both[0]} first.",
    )
