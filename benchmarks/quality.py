"""Measures whether the length of an embedding says how good the photograph is, on CFP's unseen people and their blur.

keras-margin train --data_dir=TRAIN --recipe=cfp_small --held_out=40 --head=adaface --steps=1000 --set head.margin=0.3 \
    --set head.scale=24 --set data.augmentation.blur=2 --out=runs/adaface
python -m benchmarks.quality CROPS runs/adaface/model.keras --pictures=quality/

CROPS holds cfp/ as `keras-margin align` writes it; TRAIN is `python -m benchmarks.real_faces training_set`. Models are
Keras files, or files exported with --length. Each photograph of people 401 to 500, whom training did not meet, is taken
as it is and blurred by Gaussians of some pixels of the crop. Prints lines of JSON and draws PICTURES/MODEL_FAR.png.
"""

import json
import pathlib

import numpy as np
from absl import app, flags
from PIL import Image, ImageFilter

from benchmarks.real_faces_sets import CFP_PEOPLE, TRAINED_CFP, part
from keras_margin import evaluation, plots
from keras_margin.evaluation import embedders

_SIGMAS = flags.DEFINE_multi_float("sigma", [0, 1, 2, 4], "Of the blur, pixels; the first is none.")
_FARS = flags.DEFINE_multi_float("threshold_far", [0.1, 0.01], "Of the threshold, over all impostor pairs.")
_PICTURES = flags.DEFINE_string("pictures", None, "Folder of the pictures; none without.")
_MOST, _RESAMPLES, _BATCH = 0.3, 1000, 64


def photographs(crops):
    """Returns (paths of the unseen people's crops, their people (n,), whether each is frontal (n,))."""
    images = part(crops, "cfp/Data/Images", "`keras-margin align cfp CROPS/cfp` writes it.")
    paths, people = [], []
    for person in range(TRAINED_CFP + 1, CFP_PEOPLE + 1):
        found = sorted((images / f"{person:03d}").glob("*/*.jpg"))
        paths += found
        people += [person - TRAINED_CFP - 1] * len(found)
    return paths, np.array(people), np.array([path.parent.name == "frontal" for path in paths])


def blurred(path, sigma, size):
    """Returns a crop, blurred and brought to the network's size, uint8 (height, width, 3)."""
    image = Image.open(path).convert("RGB")
    image = image.filter(ImageFilter.GaussianBlur(sigma)) if sigma else image
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


def embedded(embedder, paths, sigma):
    """Returns float32 rows (n, embedding_size) of their own length."""
    rows = []
    for start in range(0, len(paths), _BATCH):
        images = np.stack([blurred(path, sigma, embedder.image_size) for path in paths[start : start + _BATCH]])
        rows.append(embedder.embed(images, lengths=True))
    return np.concatenate(rows)


def sharpness(paths, sigmas):
    """Returns the variance of the Laplacian of each crop at its blur, (n,): a quality that needs no network."""
    found = []
    for path, sigma in zip(paths, sigmas, strict=True):
        grey = blurred(path, float(sigma), (112, 112)).astype(np.float64).mean(axis=2)
        laplacian = grey[2:, 1:-1] + grey[:-2, 1:-1] + grey[1:-1, 2:] + grey[1:-1, :-2] - 4 * grey[1:-1, 1:-1]
        found.append(laplacian.var())
    return np.array(found)


def over_people(values, people):
    """Returns (mean, low, high) of a number an image, people drawn with replacement."""
    sums, counts = np.bincount(people, values), np.bincount(people)
    drawn = np.random.default_rng(0).integers(0, len(counts), (_RESAMPLES, len(counts)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    return [round(float(each), 3) for each in (values.mean(), low, high)]


def falling(lengths, people):
    """Says how lengths (sigmas, n) follow the blur: means, and the rank correlation within each photograph."""
    sigmas = _SIGMAS.value
    say(mean_length={f"{sigma:g}": round(float(row.mean()), 3) for sigma, row in zip(sigmas, lengths, strict=True)})
    ranks = lengths.argsort(axis=0).argsort(axis=0) - (len(sigmas) - 1) / 2
    wanted = np.arange(len(sigmas)) - (len(sigmas) - 1) / 2
    say(rank_correlation_with_blur=over_people(wanted @ ranks / (wanted @ wanted), people))
    for sigma, row in zip(sigmas[1:], lengths[1:], strict=True):
        say(shorter_than_sharp=over_people((row < lengths[0]).astype(float), people), sigma=sigma)


def discarded(rows, quality, people, name, far):
    """Says and returns the error-versus-discard curve of a quality, its area over that of a random discard.

    The interval draws people with replacement; which images go at each share stays.
    """
    pairs, is_same = evaluation.all_pairs(people)
    scores = evaluation.pair_scores(rows, pairs)
    threshold = evaluation.threshold_at_far(scores, is_same, far)
    curve = evaluation.error_versus_discard(scores, is_same, pairs, quality, threshold, _MOST)
    goes = np.argsort(np.argsort(quality, kind="stable"))[pairs[is_same]].min(axis=1) / len(quality)
    shares = np.linspace(0, _MOST, 31)
    who, stays = people[pairs[is_same][:, 0]], goes[:, None] >= shares
    left = np.stack([np.bincount(who, each, people.max() + 1) for each in stays.T], axis=1)
    wrong = np.stack(
        [np.bincount(who, each, people.max() + 1) for each in (stays * (scores[is_same] < threshold)[:, None]).T],
        axis=1,
    )
    drawn = np.random.default_rng(0).integers(0, len(left), (_RESAMPLES, len(left)))
    fnmr = wrong[drawn].sum(axis=1) / left[drawn].sum(axis=1)
    low, high = np.percentile(fnmr.mean(axis=1) / fnmr[:, 0], [2.5, 97.5])
    ratio = [round(float(each), 3) for each in (curve.area / curve.random, low, high)]
    say(edc=name, far=far, fnmr=float(curve.fnmr[0]), fnmr_at_the_end=float(curve.fnmr[-1]), area_over_random=ratio)
    return curve.discarded, curve.fnmr


def say(**values):
    """Prints a line of JSON, floats of four digits."""
    shown = {name: float(f"{each:.4g}") if isinstance(each, float) else each for name, each in values.items()}
    print(json.dumps(shown), flush=True)


def measure(model, paths, people, frontal):
    """Measures one model, and draws its curves."""
    embedder = embedders.load_embedder(model)
    rows = np.stack([embedded(embedder, paths, sigma) for sigma in _SIGMAS.value])
    lengths = np.sqrt(np.einsum("snd,snd->sn", rows, rows, dtype=np.float64))
    say(model=pathlib.Path(model).name, images=len(paths), people=int(people.max()) + 1)
    falling(lengths, people)
    # A set of mixed photographs: each with a blur of its own, by chance.
    blur = np.random.default_rng(0).integers(0, len(rows), len(paths))
    mixed, every = rows[blur, np.arange(len(paths))], np.arange(len(paths))
    of_mixed, of_sharp = np.array(_SIGMAS.value)[blur], np.zeros(len(paths))
    qualities = {
        "sharp, by length": (rows[0], lengths[0]),
        "sharp, by sharpness": (rows[0], sharpness(paths, of_sharp)),
        "sharp, profiles first": (rows[0], frontal + 1e-6 * np.random.default_rng(0).random(len(paths))),
        "blurred, by length": (mixed, lengths[blur, every]),
        "blurred, by sharpness": (mixed, sharpness(paths, of_mixed)),
    }
    for far in _FARS.value:
        curves = {name: discarded(*each, people, name, far) for name, each in qualities.items()}
        if _PICTURES.value:
            pathlib.Path(_PICTURES.value).mkdir(parents=True, exist_ok=True)
            plots.edc_curve(curves, pathlib.Path(_PICTURES.value, f"{pathlib.Path(model).stem}_{far:g}.png"))


def main(arguments):
    """Measures the models."""
    if len(arguments) < 3:
        raise app.UsageError("Pass CROPS and a model or more.")
    found = photographs(arguments[1])
    for model in arguments[2:]:
        measure(model, *found)


if __name__ == "__main__":
    app.run(main)
