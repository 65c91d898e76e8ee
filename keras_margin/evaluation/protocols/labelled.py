"""Any labelled set, made into a protocol: everybody against everybody, ten folds of people, and identification."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_margin import data, evaluation
from keras_margin._typing import Size
from keras_margin.data import pairs
from keras_margin.data._encoded import decode
from keras_margin.evaluation.protocols._pairs import some_of
from keras_margin.evaluation.protocols.base import (
    Protocol,
    ProtocolResult,
    Settings,
    fitted,
    interval_note,
    noted,
    verification_values,
)

# Up to so many images every pair is scored; beyond, a sample of them.
_ALL_PAIRS_OF = 3000
_MOST_GENUINE, _MOST_IMPOSTOR = 1_000_000, 5_000_000
_LOOKED_AT = 32


def recognizes(path: pathlib.Path) -> bool:
    """Whether this is a set for `data.open`, or the labels of one: `.npy`."""
    return True


def open_protocol(path: pathlib.Path, name: str | None, image_size: Size | None, fit: str | None) -> "LabelledProtocol":
    """`LabelledProtocol` of a folder of identities, .rec, TFRecord shards, "orl", "digits" or labels in `.npy`.

    Of a `.json` file, a split such as a run's split.json, the people that it holds out are measured.
    """
    if path.suffix.lower() == ".npy":
        return LabelledProtocol(_labels(path), None, path, name)
    stored = _stored_size(_opened(path), path)
    reader = _opened(path, image_size if fit == "resize" else stored)
    people = np.array(reader.label_names)[reader.labels]
    return LabelledProtocol(people, _Images(reader, image_size, fit, path), path, name, pairs.image_names(reader))


class LabelledProtocol(Protocol):
    """Verification over all pairs with intervals by identity, ten-fold accuracy by people, rank-k with one image each.

    Args:
        people: Integer or string array (n,), who is on each image.
        images: Object with `batches(batch_size)` and `load(rows)`; or None where only embeddings will be measured.
        path: Where the set is.
        name: As for `evaluation.load_protocol`.
        image_names: As `Protocol` has them; None for numbers.
    """

    def __init__(
        self,
        people: np.ndarray,
        images: Any,
        path: pathlib.Path,
        name: str | None = None,
        image_names: list[str] | None = None,
    ) -> None:
        super().__init__(
            name or pathlib.Path(path).stem or "set",
            path,
            "verification over all pairs, ten folds of people, identification",
            len(people),
            people,
            image_names,
        )
        self._images = images

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        return self._source().batches(batch_size)

    def images(self, rows: np.ndarray) -> np.ndarray:
        return self._source().load(rows)

    def sample_pairs(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return some_of(*self._all_pairs(seed), count, seed)

    def _source(self):
        if self._images is None:
            raise ValueError(f"{self.path} holds labels and no images: it measures embeddings, a .npy, alone.")
        return self._images

    def _all_pairs(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        if self.num_images <= _ALL_PAIRS_OF:
            return evaluation.all_pairs(self.people)
        sizes = np.unique(self.people, return_counts=True)[1].astype(np.int64)
        genuine = int((sizes * (sizes - 1) // 2).sum())
        impostor = self.num_images * (self.num_images - 1) // 2 - genuine
        return evaluation.make_pairs(self.people, min(genuine, _MOST_GENUINE), min(impostor, _MOST_IMPOSTOR), seed)

    def _measure(self, embeddings: np.ndarray, settings: Settings):
        chosen, is_same = self._all_pairs(settings.seed)
        with noted() as notes:
            report = evaluation.verification_report(
                embeddings, chosen, is_same, self.people, None, settings.far, settings.bootstrap(len(chosen))
            )
        values, unmeasurable = verification_values(report)
        accuracy, said = self._ten_folds(embeddings, settings.seed)
        identified, cmc = self._identification(embeddings)
        statistics = evaluation.angle_statistics(embeddings, self.people)
        angles = {
            "intra_angle": statistics.intra,
            "inter_angle": statistics.inter,
            "angular_fisher_score": evaluation.angular_fisher_score(_unit(embeddings), self.people),
        }
        if self.num_images > _ALL_PAIRS_OF:
            said.append(f"A sample of {len(chosen):,} pairs, seed {settings.seed}.")
        scores = evaluation.pair_scores(embeddings, chosen)
        return ProtocolResult(
            # How many pairs first, then accuracy, as of sets that come with their pairs.
            values={name: values[name] for name in ("num_genuine", "num_impostor")}
            | accuracy
            | values
            | identified
            | angles,
            unmeasurable=unmeasurable,
            notes=tuple(note for note in (*notes, interval_note(report), *said) if note),
            arrays={"scores": scores, "is_same": is_same, "pairs": chosen, "cmc": cmc},
        )

    def _ten_folds(self, embeddings: np.ndarray, seed: int):
        """(accuracy values, notes) of folds that share nobody, with as many pairs as all of them can give."""
        for count in (3000, 1500, 700, 300, 100, 50, 20, 10):
            try:
                chosen, is_same = pairs.make_protocol(self.people, count, count, folds=10, seed=seed)
            except ValueError:
                continue
            scores = evaluation.pair_scores(embeddings, chosen)
            values = {}
            for search, name in (("exact", "accuracy"), ("grid", "accuracy_grid")):
                found = evaluation.k_fold_accuracy(scores, is_same, 10, search)  # type: ignore[arg-type]
                values |= {name: found.mean, f"{name}_std": found.std}
            return values, [f"Accuracy over {count:,} genuine and as many impostor pairs, seed {seed}."]
        return {}, ["No ten-fold accuracy: ten folds of people need two people each, one of them with two images."]

    def _identification(self, embeddings: np.ndarray):
        """(rank-k values, cmc) with the first image of each person enrolled, the others searched."""
        people, first = np.unique(self.people, return_index=True)
        probes = np.setdiff1d(np.arange(self.num_images), first)
        if not len(probes):
            return {}, np.empty(0)
        cmc = evaluation.cmc(embeddings[probes], self.people[probes], embeddings[first], people, min(20, len(first)))
        return {f"rank_{k}": float(cmc[k - 1]) for k in (1, 5, 10) if k <= len(cmc)}, cmc


class _Images:
    """A reader's images at the size that the model takes."""

    def __init__(self, reader, image_size, fit, path):
        self._reader, self._fitting = reader, (image_size, fit, str(path))

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        for images, _ in self._reader.dataset(batch_size).as_numpy_iterator():
            yield fitted(images, *self._fitting)

    def load(self, rows: np.ndarray):
        rows = np.asarray(rows)
        needed, places = np.unique(rows, return_inverse=True)
        return fitted(self._reader.subset(needed).arrays()[0][places], *self._fitting)


def _opened(path: pathlib.Path, image_size: Size | None = None):
    """Returns the reader of a set; of a split's held-out people where `path` is its file."""
    if path.suffix.lower() != ".json":
        return data.open(path if path.exists() else str(path), image_size=image_size, strict=True)
    split = data.read_split(path)
    if split.source is None:
        raise ValueError(
            f"{path} does not say where its set is: give it a `source`, what keras_margin.data.open reads."
        )
    reader = data.open(split.source, image_size=image_size, strict=True)
    return reader.subset(split.indices(reader)[1])


def _stored_size(reader, path):
    """(height, width) of the images as they are stored; ValueError where some looked at differ."""
    rows = np.unique(np.linspace(0, reader.num_images - 1, _LOOKED_AT).astype(int))
    sizes = {tuple(decode(reader.encoded(row)).shape[:2]) for row in rows.tolist()}
    if len(sizes) > 1:
        raise ValueError(
            f"The images of a set that is measured have one size: aligned faces. Received: {path}, with "
            f"{', '.join(f'{height} x {width}' for height, width in sorted(sizes)[:4])}. Align them, or pass "
            'fit="resize", which stretches.'
        )
    return sizes.pop()


def _labels(path: pathlib.Path):
    labels = np.load(path, allow_pickle=False)
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise ValueError(
            f"{path} as a set holds labels, one an embedding: integers or strings, shape (n,). Received: "
            f"{labels.dtype} {labels.shape}. Embeddings are the model: name that file first."
        )
    return labels


def _unit(embeddings: np.ndarray):
    embeddings = np.asarray(embeddings, np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
