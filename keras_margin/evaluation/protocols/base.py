"""What every protocol on files has in common: images in a fixed order, and numbers from their embeddings."""

import abc
import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any
from typing import Protocol as TypingProtocol

import numpy as np

from keras_margin import evaluation
from keras_margin._typing import PathLike, Size
from keras_margin.data._decoding import resize_image
from keras_margin.evaluation.verification import VerificationReport

# Pairs times resamples that a bootstrap may cost unless told: about a minute.
_RESAMPLED_PAIRS = 10**9
_FEWEST_RESAMPLES = 100


class MeasuredEmbedder(TypingProtocol):
    """What a protocol measures: `evaluation.FileEmbedder`, or an object of your own."""

    def embed(self, images: np.ndarray, lengths: bool = False, /) -> np.ndarray:
        """Returns an embedding a row, with its own length where `lengths` is set."""


class VariedEmbedder(MeasuredEmbedder, TypingProtocol):
    """What the checks of channels and pixels look at."""

    @property
    def channels(self) -> str:
        """RGB or BGR, what the network is fed."""

    @property
    def normalization(self) -> Any:
        """(mean, std) that are applied to pixels first, or None."""

    @property
    def takes_pixels(self) -> bool:
        """Whether the network normalises inside."""

    def varied(self, **changes: Any) -> Any:
        """Returns the same network, fed otherwise."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a user may choose about a measurement.

    Attributes:
        far: Wanted FARs; None for 1e-1 to 1e-6, of which those that the set cannot show are left out without a note.
        resamples: Of the bootstrap; 0 for no intervals, None for 1,000 or as many, at least 100, as take a minute.
        seed: Of pairs that are drawn and of the bootstrap.
        folds: Of a `.bin`, which are runs of consecutive pairs; 10 of the published ones.
        detector_weights: Whether the detector's scores weigh the images of a template, where a list has them.

    Example:
        >>> Settings(far=(1e-3,), resamples=200).bootstrap(num_pairs=6000).resamples
        200
    """

    far: tuple[float, ...] | None = None
    resamples: int | None = None
    seed: int = 0
    folds: int = 10
    detector_weights: bool = True

    def bootstrap(self, num_pairs: int) -> evaluation.Bootstrap | None:
        """`evaluation.Bootstrap` for so many pairs, or None."""
        count = self.resamples
        if count is None:
            count = min(1000, _RESAMPLED_PAIRS // num_pairs)
            count = count if count >= _FEWEST_RESAMPLES else 0
        return evaluation.Bootstrap(resamples=count, seed=self.seed) if count else None


@dataclasses.dataclass(frozen=True, eq=False)
class ProtocolResult:
    """What a protocol found.

    Attributes:
        values: Name to number, flat, in the order in which to print them.
        unmeasurable: Names among them that the set is too small to show: FARs that let fewer than ten of its impostor
            pairs pass.
        notes: Sentences that a reader of the numbers must know.
        arrays: Name to array, what pictures are drawn of: "scores" and "is_same" of all pairs, "pairs" (m, 2) as rows
            of the images where pairs are of images, "folds" (m,) where pairs have them, "cmc" where there is
            identification.

    Example:
        >>> ProtocolResult({"accuracy": 0.98, "tar_at_far_1e-06": 0.9}, unmeasurable=("tar_at_far_1e-06",)).notes
        ()
    """

    values: dict[str, float]
    unmeasurable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


class Protocol(abc.ABC):
    """A published way to measure, with the files it is measured on.

    Attributes:
        name: What its numbers are called, such as "lfw".
        path: The file or folder.
        title: The protocol in words.
        num_images: How many images are embedded, in a fixed order.
        people: String array (num_images,), who is on each image; or None where the files do not tell.

    Example:
        >>> keras_margin.data.write_bin("tiny.bin", np.zeros((8, 16, 16, 3), np.uint8), [True, False, True, False])
        >>> protocol = load_protocol("tiny.bin", image_size=(16, 16))
        >>> isinstance(protocol, Protocol), protocol.name, next(protocol.batches(3)).shape
        (True, 'tiny', (3, 16, 16, 3))
    """

    people: Any

    def __init__(
        self,
        name: str,
        path: PathLike,
        title: str,
        num_images: int,
        people: np.ndarray | None = None,
        image_names: list[str] | None = None,
    ) -> None:
        self.name, self.path, self.title = name, str(path), title
        self.num_images, self.people = num_images, people
        self.image_names = list(map(str, range(num_images) if image_names is None else image_names))

    @abc.abstractmethod
    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Iterator over all images in order, uint8 RGB arrays (at most batch_size, height, width, 3)."""

    @abc.abstractmethod
    def images(self, rows: np.ndarray) -> np.ndarray:
        """Some of the images, uint8 array (len(rows), height, width, 3)."""

    @abc.abstractmethod
    def sample_pairs(self, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(pairs, is_same) of at most `count` genuine and as many impostor pairs of images, for quick looks."""

    def measure(self, embeddings: np.ndarray, settings: Settings = Settings()) -> ProtocolResult:
        """The protocol's numbers.

        Args:
            embeddings: Real array (num_images, embedding_size), in the order of `batches`, rows of any length but 0.
            settings: `Settings`.

        Returns:
            `ProtocolResult`.

        Raises:
            TypeError, ValueError: As the functions of `keras_margin.evaluation`; another number of rows.
        """
        if np.ndim(embeddings) != 2 or len(embeddings) != self.num_images:
            raise ValueError(
                f"{self.name} has {self.num_images:,} images and wants as many rows of embeddings. Received: an array "
                f"of shape {np.shape(embeddings)}."
            )
        return self._measure(embeddings, settings)

    @abc.abstractmethod
    def _measure(self, embeddings: np.ndarray, settings: Settings) -> ProtocolResult:
        """`measure` of checked embeddings."""


def fitted(images: np.ndarray, image_size: Size | None, fit: str | None, where: str) -> np.ndarray:
    """Images at the size that a model takes; ValueError where they are not and nobody said what to do about it."""
    if image_size is None or images.shape[1:3] == tuple(image_size):
        return images
    height, width = images.shape[1:3]
    if fit == "resize":
        return resize_image(images, image_size).numpy()
    top, left = (height - image_size[0]) // 2, (width - image_size[1]) // 2
    if fit == "crop" and top >= 0 and left >= 0:
        return images[:, top : top + image_size[0], left : left + image_size[1]]
    raise ValueError(
        f"{where} has images of {height} x {width} pixels, the model takes {image_size[0]} x {image_size[1]}. Use the "
        'set aligned for this model; or pass fit="crop", which cuts the middle out (112 x 96 of 112 x 112), or '
        'fit="resize", which stretches, and say so beside the numbers.'
    )


@contextlib.contextmanager
def noted() -> Iterator[list[str]]:
    """Context whose list gets what evaluation warns of; what other code warns of is passed on."""
    notes = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            notes.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def verification_values(report: VerificationReport) -> tuple[dict[str, float], tuple[str, ...]]:
    """Returns (values, names of the unmeasurable) of a `VerificationReport`."""
    values = report.named_values()
    rates = [name for name in values if name.startswith("tar_at_far_") and not name.endswith(("_low", "_high"))]
    hidden = [name for name, row in zip(rates, report.tar_at_far, strict=True) if not row.measurable]
    unmeasurable = tuple(name for name in values if name.replace("threshold_at", "tar_at").startswith(tuple(hidden)))
    return values, unmeasurable if hidden else ()


def accuracy_note(report: VerificationReport) -> str | None:
    """Returns a sentence where accuracy is not the share of pairs judged right; None where it is, or is missing."""
    if not any(each.balanced for each in report.accuracy.values()):
        return None
    return (
        f"Accuracy is (TAR + 1 - FAR) / 2, because there are {report.num_genuine:,} genuine and "
        f"{report.num_impostor:,} impostor pairs: each kind counts half."
    )


def interval_note(report: VerificationReport) -> str | None:
    """Returns a sentence on how the intervals were drawn; None where they drew people."""
    return {
        "identity": None,
        "pair": "Nobody tells who is on the images: intervals draw pairs, which share people, and are too narrow.",
        None: "No intervals: a bootstrap of so many pairs takes long. Ask for resamples.",
    }[report.resampled]


def angle_values(scores: np.ndarray, is_same: np.ndarray) -> dict[str, float]:
    """Mean angles of both kinds of pair, degrees."""
    theta = np.degrees(np.arccos(np.clip(np.asarray(scores, np.float64), -1, 1)))
    return {
        "genuine_angle": float(theta[is_same].mean()),
        "impostor_angle": float(theta[~is_same].mean()),
    }
