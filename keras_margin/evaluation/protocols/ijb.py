"""IJB-B and IJB-C from insightface's archive: templates one to one, and one to many where the lists are there."""

import pathlib
from collections.abc import Iterator

import numpy as np

from keras_margin import alignment, evaluation
from keras_margin._typing import Size
from keras_margin.evaluation import lists
from keras_margin.evaluation.protocols._images import ImageFiles
from keras_margin.evaluation.protocols._pairs import some_of
from keras_margin.evaluation.protocols.base import (
    Protocol,
    ProtocolResult,
    Settings,
    angle_values,
    noted,
    verification_values,
)

_MEDIA = "*_face_tid_mid.txt"


def recognizes(path: pathlib.Path) -> bool:
    """Whether this is a folder with `meta/*_face_tid_mid.txt`."""
    return any(path.glob(f"meta/{_MEDIA}"))


def open_protocol(path: pathlib.Path, name: str | None, image_size: Size | None, fit: str | None) -> "IJBProtocol":
    """`IJBProtocol` of a folder; images are aligned by the list's five points, so `fit` is not needed."""
    return IJBProtocol(path, name, image_size)


class IJBProtocol(Protocol):
    """Folder with `meta/` (the lists) and `loose_crop/` (the images that they name)."""

    def __init__(self, path: pathlib.Path, name: str | None = None, image_size: Size | None = None) -> None:
        meta = path / "meta"
        listed = lists.read_faces(_only(meta, "*_name_5pts_score.txt"))
        names, self._templates, self._media = lists.read_media(_only(meta, _MEDIA))
        _check_order(meta, listed.names, names)
        self._pairs, self._is_same = lists.read_template_pairs(_only(meta, "*_template_pair_label.txt"))
        self._detector_scores = listed.detector_scores
        self._galleries = [lists.read_subjects(each) for each in sorted(meta.glob("*_1N_gallery_*.csv"))]
        probes = sorted(meta.glob("*_1N_probe_mixed.csv"))
        self._probes = lists.read_subjects(probes[0]) if probes and self._galleries else None
        size = image_size or (112, 112)

        def align(row, image):
            # Sampled once a pixel, as the published numbers' code aligns.
            return alignment.align_points(image, listed.landmarks[row], size, antialias=False)

        self._files = ImageFiles([path / "loose_crop" / each for each in names.tolist()], size, None, align)
        title = "templates 1:1" + (" and 1:N" if self._probes is not None else "")
        super().__init__(name or path.name, path, title, len(names))

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        return self._files.batches(batch_size)

    def images(self, rows: np.ndarray) -> np.ndarray:
        return self._files.load(rows)

    def sample_pairs(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Two images of a template are one person; one image each of two templates that the list calls different."""
        generator = np.random.default_rng(seed)
        order = np.argsort(self._templates, kind="stable")
        ids, starts, sizes = np.unique(self._templates[order], return_index=True, return_counts=True)
        several = generator.permutation(np.flatnonzero(sizes > 1))[:count]
        genuine = [order[starts[at] + generator.choice(sizes[at], 2, replace=False)] for at in several]
        different = np.flatnonzero(~self._is_same)
        different = self._pairs[generator.choice(different, min(count, len(different)), replace=False)]
        impostor = order[starts[np.searchsorted(ids, different)]]
        pairs = np.concatenate([np.reshape(genuine, (-1, 2)).astype(np.intp), impostor])
        return some_of(pairs, np.arange(len(pairs)) < len(genuine), count, seed)

    def _measure(self, embeddings: np.ndarray, settings: Settings):
        weights = self._detector_scores if settings.detector_weights else None
        unit, ids = evaluation.template_embeddings(embeddings, self._templates, self._media, weights)
        scores = evaluation.template_scores(unit, ids, self._pairs)
        values, arrays = {}, {"scores": scores, "is_same": self._is_same}
        with noted() as notes:
            report = evaluation.score_report(
                scores, self._is_same, far=settings.far, bootstrap=settings.bootstrap(len(scores))
            )
            if self._probes is not None:
                most = min(10, *(len(templates) for templates, _ in self._galleries))
                found = evaluation.ijb_identification(unit, ids, self._probes, self._galleries, max_rank=most)
                values = {
                    f"tpir_at_fpir_{rate:.0e}": float(tpir) for rate, tpir in zip(found.fpir, found.tpir, strict=True)
                }
                values |= {f"rank_{k}": float(found.cmc[k - 1]) for k in (1, 5, 10) if k <= len(found.cmc)}
                arrays["cmc"] = found.cmc
        rates, unmeasurable = verification_values(report)
        weighed = "weighed by the detector" if settings.detector_weights else "equal weights"
        return ProtocolResult(
            values=rates | values | angle_values(scores, self._is_same),
            unmeasurable=unmeasurable,
            notes=(*notes, f"Templates: media averaged, images {weighed}."),
            arrays=arrays,
        )


def _only(folder, pattern):
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ValueError(f"{folder} must hold one file {pattern}. Received: {[each.name for each in found] or 'none'}.")
    return found[0]


def _check_order(meta, faces, media):
    if len(faces) != len(media) or (faces != media).any():
        at = int((faces[: len(media)] != media[: len(faces)]).argmax())
        raise ValueError(
            f"The lists of {meta} must name the same images in one order. Received: {len(faces)} and {len(media)} "
            f"names, different first in row {at + 1}. Do they belong to one set?"
        )
