"""What a run measures: raw pixels, the untrained and the trained network, on the same people."""

import dataclasses

import numpy as np

from keras_margin import evaluation, plots
from keras_margin.callbacks import _embedding
from keras_margin.data import splits
from keras_margin.models import backbones
from keras_margin.plots.scores import worst_pairs

# Pairs of each kind in the gallery of errors.
_WORST = 6


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """One protocol's figures for one way to embed.

    Attributes:
        protocol: "known people" or "unseen people".
        embedder: "raw pixels", "untrained network" or "trained network".
        eer: Equal error rate over the pairs of test images; of more than 3,000 images, over a sample of the pairs.
        rank_1: Share of probes whose nearest gallery image is the same person's; None where not measured.
        ten_fold: Mean ten-fold verification accuracy over as many genuine as impostor pairs, at most 3,000 of each;
            None where not measured, which is also where there are fewer than ten of each.
        ten_fold_std: Its standard deviation over the folds.

    Example:
        >>> result = EvaluationResult("unseen people", "raw pixels", 0.31, None, 0.69, 0.05)
        >>> result.eer
        0.31
    """

    protocol: str
    embedder: str
    eer: float
    rank_1: float | None = None
    ten_fold: float | None = None
    ten_fold_std: float | None = None


def unseen_people(reader, held_out, seed):
    """(images to train on, images of other people to test on); refused here where the test could measure nothing."""
    if held_out is None:
        held_out = min(500, max(2, round(reader.num_classes / 10)))
    if not 2 <= held_out <= reader.num_classes - 2:
        raise ValueError(
            "At least two identities are held out for the test and two are left to train on. Received: "
            f"held_out={held_out} of {reader.num_classes} identities."
        )
    learn, test = splits.identity_disjoint_split(reader.labels, held_out, seed)
    if pairs_there_are(reader.labels[test])[0] == 0:
        raise ValueError(
            "The test compares images of one person: at least one held-out identity needs two. Received: "
            f"{len(test)} images of {held_out} held-out identities. Hold out more with --held_out."
        )
    return learn, test


def pairs_there_are(labels):
    """(genuine, impostor) pairs among these images."""
    genuine = sum(count * (count - 1) // 2 for count in np.bincount(labels).tolist())
    return genuine, len(labels) * (len(labels) - 1) // 2 - genuine


def compare_embedders(recipe, model, reader, probes, gallery=None, seed=0, pictures=None):
    """Measures raw pixels, the untrained and the trained network on the same images.

    Args:
        recipe: recipes.Recipe.
        model: The trained EmbeddingModel.
        reader: From keras_margin.data.open.
        probes: Int array, numbers of the test images.
        gallery: Int array, numbers of other images of the same people, to identify them by; None to verify.
        seed: Of sampled pairs.
        pictures: Folder for roc.png, the curves of all three, and errors.png, the trained network's worst pairs; None
            for no pictures.

    Returns:
        List of EvaluationResult.
    """
    images, labels = reader.subset(probes).arrays()
    known_images, known = (None, None) if gallery is None else reader.subset(gallery).arrays()
    untrained = backbones.build(recipe.model.backbone, image_size=recipe.model.image_size, **dict(recipe.model.options))
    embedders = {
        "raw pixels": _raw_pixels,
        "untrained network": _embedding.make_embed_fn(untrained, recipe.model.flip_features),
        "trained network": _embedding.make_embed_fn(model.embedder, recipe.model.flip_features),
    }
    measures, curves = [], {}
    for name, embed in embedders.items():
        embeddings = embed(images)
        pairs, is_same = evaluation.all_pairs(labels) if len(labels) <= 3000 else _some_pairs(labels, seed)
        scores = evaluation.pair_scores(embeddings, pairs)
        curves[name] = evaluation.roc(scores, is_same)
        eer = evaluation.eer(scores, is_same)
        if gallery is None:
            folds = _ten_fold(embeddings, labels, seed)
            figures = {"ten_fold": folds.mean, "ten_fold_std": folds.std} if folds else {}
            measures.append(EvaluationResult("unseen people", name, eer, **figures))
        else:
            rank_1 = evaluation.rank_k(embeddings, labels, embed(known_images), known)
            measures.append(EvaluationResult("known people", name, eer, rank_1=rank_1))
    if pictures is not None:
        _draw(curves, (images, pairs, scores, is_same), pictures)
    return measures


def verdict(measures):
    """A sentence where the trained network is not better than raw pixels on some people; "" where it is."""
    found = {(each.protocol, each.embedder): each.eer for each in measures}
    worse = [
        f"on {protocol} (EER {found[protocol, 'trained network']:.1%} against {eer:.1%})"
        for (protocol, embedder), eer in found.items()
        if embedder == "raw pixels" and found[protocol, "trained network"] >= eer
    ]
    if not worse:
        return ""
    return (
        f"The trained network is not better than raw pixels {' and '.join(worse)}: do not use it. Train longer "
        "(--steps), on more people, or by the recipe for small sets (--recipe=arcface_small); `keras-margin audit` "
        "looks for wrong labels and unaligned faces."
    )


def _raw_pixels(images):
    """Grey pixels less their mean: the plainest embedding there is."""
    pixels = images.astype(np.float32).mean(axis=-1).reshape(len(images), -1)
    pixels -= pixels.mean(axis=1, keepdims=True)
    # A blank image has no direction, and no cosine; an even grey is at right angles to every other.
    pixels[~pixels.any(axis=1)] = 1.0
    return pixels


def _some_pairs(labels, seed):
    """Pairs of a large test set: every genuine one up to 100,000, and every impostor one up to a million."""
    genuine, impostor = pairs_there_are(labels)
    return evaluation.make_pairs(labels, min(genuine, 100_000), min(impostor, 1_000_000), seed)


def _ten_fold(embeddings, labels, seed):
    """KFoldAccuracy over ten folds with as many pairs of either kind, or None where there are too few."""
    number = min(3000, *pairs_there_are(labels))
    if number < 10:
        return None
    pairs, is_same = evaluation.make_pairs(labels, number, number, seed)
    return evaluation.k_fold_accuracy(evaluation.pair_scores(embeddings, pairs), is_same, folds=10)


def _draw(curves, tested, folder):
    """Draws the curves and the worst pairs of the last embedder; without matplotlib nothing."""
    images, pairs, scores, is_same = tested
    try:
        plots.roc_curve(curves, path=folder / "roc.png")
        worst = worst_pairs(scores, is_same, _WORST)
        shown, index = np.unique(pairs[worst], return_inverse=True)
        plots.error_gallery(
            images[shown],
            index.reshape(-1, 2),
            scores[worst],
            is_same[worst],
            folder / "errors.png",
            count=_WORST,
        )
    except ImportError:
        # The pictures are an extra; the figures are in the report.
        pass
