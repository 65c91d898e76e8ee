"""YouTube Faces: a video is the mean of its frames, ten folds of its split file."""

import pathlib
from collections.abc import Iterator

import numpy as np

from keras_margin import evaluation
from keras_margin._typing import Size
from keras_margin.evaluation.lists import read_ytf_splits
from keras_margin.evaluation.protocols._aligned import AlignedImages, lists_folder
from keras_margin.evaluation.protocols._images import SUFFIXES, ImageFiles
from keras_margin.evaluation.protocols._pairs import NO_FACE, NO_FACE_SCORE, measure_scores, some_of
from keras_margin.evaluation.protocols.base import Protocol, Settings

_LISTS = ("splits.txt", "splits_corrected.txt")
_FRAMES = ("aligned_images_DB", "frame_images_DB", ".")


def recognizes(path: pathlib.Path) -> bool:
    """Whether this is a folder with `splits.txt` or `splits_corrected.txt`, or aligned from one."""
    return lists_folder(path, _LISTS) is not None


def open_protocol(path: pathlib.Path, name: str | None, image_size: Size | None, fit: str | None) -> "YTFProtocol":
    """`YTFProtocol` of a folder."""
    return YTFProtocol(path, name, image_size, fit)


class YTFProtocol(Protocol):
    """Folder with `splits.txt` and frames `person/video/*.jpg`, in aligned_images_DB/ or in itself."""

    def __init__(
        self, path: pathlib.Path, name: str | None = None, image_size: Size | None = None, fit: str | None = None
    ) -> None:
        lists = lists_folder(path, _LISTS)
        listing = next(lists / each for each in _LISTS if (lists / each).is_file())
        self._videos = read_ytf_splits(listing)
        folder = next(each for each in _FRAMES if (path / each).is_dir())
        root, aligned = path / folder, AlignedImages(path)
        frames, self._video, self._missing = [], [], set()
        for video in np.unique(self._videos.pairs).tolist():
            found = sorted(each for each in (root / video).glob("*") if each.suffix.lower() in SUFFIXES)
            if not found and aligned.are_faceless(video if folder == "." else f"{folder}/{video}"):
                self._missing.add(video)
                continue
            if not found:
                raise ValueError(f"{listing} names video {video}, of which {root} has no frame.")
            frames += found
            self._video += [video] * len(found)
        self._video = np.array(self._video)  # type: ignore[assignment]
        self._files = ImageFiles(frames, image_size, fit)
        people = np.array([video.rpartition("/")[0] for video in self._video.tolist()])
        title = f"videos, mean of frames, folds of {listing.name}"
        super().__init__(name or path.name, path, title, len(frames), people)

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        return self._files.batches(batch_size)

    def images(self, rows: np.ndarray) -> np.ndarray:
        return self._files.load(rows)

    def sample_pairs(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The middle frames of both videos."""
        names, starts, sizes = np.unique(self._video, return_index=True, return_counts=True)
        found = ~np.isin(self._videos.pairs, list(self._missing))
        rows = np.searchsorted(names, self._videos.pairs)
        middle = (starts + sizes // 2)[np.where(found, rows, 0)]
        return some_of(np.where(found, middle, NO_FACE), self._videos.is_same, count, seed)

    def _measure(self, embeddings: np.ndarray, settings: Settings):
        videos = self._videos
        found = np.asarray(~np.isin(videos.pairs, list(self._missing)).any(axis=1))
        unit, ids = evaluation.template_embeddings(embeddings, self._video)
        scores = np.full(len(found), NO_FACE_SCORE)
        scores[found] = evaluation.template_scores(unit, ids, videos.pairs[found])
        people = np.array([[each.rpartition("/")[0] for each in pair] for pair in videos.pairs.tolist()])
        # Corrected lists call some pairs of one name different people: then names are not identities.
        people = people if ((people[:, 0] == people[:, 1]) == videos.is_same).all() else None  # type: ignore[assignment]
        missing = f"{len(self._missing):,} videos"
        return measure_scores(scores, found, videos.is_same, people, videos.folds, settings, missing)
