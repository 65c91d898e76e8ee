"""The gate in front of every export: the reloaded file compared with its model, image by image and pair by pair."""

import dataclasses

import numpy as np

from keras_margin import evaluation
from keras_margin.export import _cosines, _graph, _threshold
from keras_margin.export._options import LIMITS, Limits

_IN_WORDS = {
    None: "float32",
    "float16": "float16 weights",
    "dynamic": "int8 weights, float32 activations",
    "int8": "int8 weights and activations",
}
# All pairs of 3,000 images are 4.5 million; of more images, a sample of that order.
_ALL_PAIRS_OF, _MOST_GENUINE, _MOST_IMPOSTOR = 3000, 100_000, 1_000_000


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """What the file verifies, and what its model does, on the same pairs.

    Attributes:
        far: Target FAR.
        threshold: The operating threshold at that FAR, by the file's own scores: accept where cosine >= threshold. None
            where people or impostor pairs are too few to choose one on.
        tar: The file's TAR there.
        eer: The file's equal error rate.
        model_tar: The model's TAR at the same FAR, by its own threshold.
        model_eer: The model's equal error rate.
        num_genuine: Pairs of one person.
        num_impostor: Pairs of two.
        num_people: People on the pairs; None where the pairs do not tell.
        no_threshold: Why there is no threshold, a sentence; None where there is one.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> report = to_tflite(model, "face.tflite", pairs=(images, [True, False] * 2), options=Options(far=0.5))
        >>> isinstance(report.accuracy, Accuracy), report.accuracy.num_genuine, report.accuracy.threshold
        (True, 2, None)
    """

    far: float
    threshold: float | None
    tar: float
    eer: float
    model_tar: float
    model_eer: float
    num_genuine: int
    num_impostor: int
    num_people: int | None = None
    no_threshold: str | None = None


@dataclasses.dataclass(frozen=True)
class ParityReport:
    """How far an exported file's embeddings are from the model's.

    Attributes:
        path: The file or folder.
        quantize: None, "float16", "dynamic" or "int8".
        num_images: Sample images compared.
        synthetic: Whether the samples were noise, for want of images.
        mean_cosine: Mean cosine of the two embeddings of an image; 1 is equal.
        worst_cosine: Smallest of them.
        worst_images: Indices of the (up to five) worst sample images, worst first.
        limits: What had to be kept to.
        bytes: Size on disk.
        accuracy: Accuracy on the pairs; None where there were none.
        why: Why the embeddings of some images could not be compared, a sentence; empty where all could be.
        photo: PhotoParity of a file that takes photographs, or None.
        calibration: What `protocols.Calibrated.as_metadata` gives of the pairs, where Options.calibrate asks for it; or
            None.

    Example:
        >>> layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 128, -1), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()])
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
        >>> report = to_tflite(model, "face.tflite", samples=images)
        >>> isinstance(report, ParityReport), report.passed, report.failures
        (True, True, [])
    """

    path: str
    quantize: str | None
    num_images: int
    synthetic: bool
    mean_cosine: float
    worst_cosine: float
    worst_images: tuple
    limits: Limits
    bytes: int
    accuracy: Accuracy | None = None
    why: str = ""
    photo: object = None
    calibration: dict | None = None

    @property
    def failures(self) -> list[str]:
        """What is beyond its limit, a phrase each; empty where the file is as near as it must be."""
        limits, found = self.limits, []
        for name, value in (("mean", self.mean_cosine), ("worst", self.worst_cosine)):
            least = getattr(limits, name)
            if least is not None and not value >= least:
                found.append(f"{name} cosine {value:.6f}, limit {least:.6f}")
        if self.accuracy is None:
            return found
        rise = self.accuracy.eer - self.accuracy.model_eer
        drop = self.accuracy.model_tar - self.accuracy.tar
        if limits.eer_rise is not None and not rise <= limits.eer_rise:
            found.append(f"EER {rise:+.4f} against the model's, limit {limits.eer_rise:+.4f}")
        if limits.tar_drop is not None and not drop <= limits.tar_drop:
            found.append(f"TAR {-drop:+.4f} against the model's, limit {-limits.tar_drop:+.4f}")
        return found

    @property
    def passed(self) -> bool:
        """Whether the file is as near as it must be."""
        return not self.failures

    def __str__(self) -> str:
        """The report in a few sentences, for people."""
        images = "images of noise" if self.synthetic else "images"
        wanted = [
            f"the {name} had to reach {getattr(self.limits, name):g}"
            for name in ("worst", "mean")
            if getattr(self.limits, name) is not None
        ]
        text = (
            f"{self.path}: {self.bytes / 2**20:.1f} MiB, {_IN_WORDS[self.quantize]}. Against the model on "
            f"{self.num_images} {images}: cosine mean {self.mean_cosine:.6f}, worst {self.worst_cosine:.6f} "
            f"(image {self.worst_images[0]}){'; ' if wanted else ''}{', '.join(wanted)}."
        )
        text += f" {self.photo}" if self.photo is not None else ""
        if self.accuracy is None:
            return text
        found = self.accuracy
        return (
            f"{text} On {found.num_genuine:,} genuine and {found.num_impostor:,} impostor pairs: EER {found.eer:.2%} "
            f"(model {found.model_eer:.2%}), TAR {found.tar:.2%} (model {found.model_tar:.2%}) at FAR {found.far:g}"
            + (f". {found.no_threshold}" if found.threshold is None else f" with threshold {found.threshold:.4f}.")
        )


class ParityError(ValueError):
    """An exported file differs from its model by more than a limit; nothing was left at its path.

    Attributes:
        report: The ParityReport, or None.
    """

    def __init__(self, message: str, report: "ParityReport | None" = None) -> None:
        super().__init__(message)
        self.report = report

    @classmethod
    def of(cls, report: ParityReport) -> "ParityError":
        """The error that a report which did not pass comes to."""
        images = ", ".join(str(image) for image in report.worst_images)
        message = (
            f"{report.path} was not written: its embeddings differ from the model's. {'; '.join(report.failures)}. "
            f"Mean cosine {report.mean_cosine:.6f}, worst {report.worst_cosine:.6f}; worst sample images: {images}. "
            + (report.why or "Check the sample images, or choose a milder quantize=.")
        )
        return cls(message, report)


@dataclasses.dataclass(frozen=True, eq=False)
class Judge:
    """Everything to hold an export against: made, and found sound, before anything is converted.

    Attributes:
        network: The model's embedding network.
        options: Options.
        samples: uint8 images.
        synthetic: Whether they are noise.
        verification: (uint8 images, pairs (m, 2), is_same (m,), label of each image or None), or None.
    """

    network: object
    options: object
    samples: np.ndarray
    synthetic: bool
    verification: tuple | None = None
    # What the model answers, by the images' name: one Judge may judge several files.
    _answers: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, network, options, samples, pairs):
        """The Judge of these sample images and pairs, of which either may be None."""
        if options.calibrate and pairs is None:
            raise ValueError("Options(calibrate=True) measures pairs. Pass pairs=, of people that were not trained on.")
        verification = None if pairs is None else _checked_pairs(network, pairs, options.far)
        if samples is None and verification is not None:
            samples = verification[0]
        return cls(network, options, *_graph.samples_of(network, samples), verification)

    def judge(self, run, path, quantize, size):
        """The ParityReport of a file that `run` runs: from uint8 images to embeddings.

        Raises:
            ParityError: Where the file is not as near to its model as it must be.
        """
        wanted, found = self._by_model("samples", self.samples), run(self.samples)
        cosines = _cosines.cosines(wanted, found)
        worst = np.argsort(cosines, kind="stable")[:5]
        report = ParityReport(
            path=str(path),
            quantize=quantize,
            num_images=len(self.samples),
            synthetic=self.synthetic,
            mean_cosine=float(cosines.mean()),
            worst_cosine=float(cosines.min()),
            worst_images=tuple(int(index) for index in worst),
            limits=self.options.limits or LIMITS[quantize],
            bytes=size,
            why=_cosines.why(wanted, found),
        )
        if not report.passed:
            raise ParityError.of(report)
        if self.verification is not None:
            scores = evaluation.pair_scores(run(self.verification[0]), self.verification[1])
            report = dataclasses.replace(report, accuracy=self._accuracy(scores))
            if not report.passed:
                raise ParityError.of(report)
            if self.options.calibrate:
                report = dataclasses.replace(report, calibration=self._calibration(scores))
        return report

    def _by_model(self, name, images):
        # Operation by operation: nothing is traced, and no graph optimiser stands between the model and its file.
        def embed(part):
            return _graph.embed(self.network, part, self.options.flip_sum)

        if name not in self._answers:
            self._answers[name] = _graph.run_in_batches(embed, images, min(16, len(images)))
        return self._answers[name]

    def _calibration(self, scores):
        from keras_margin.evaluation.protocols import calibrating

        _, pairs, is_same, labels = self.verification
        identities = None if labels is None else labels[pairs]
        return calibrating.calibrate_scores(scores, is_same, identities, far=self.options.far).as_metadata()

    def _accuracy(self, scores):
        images, pairs, is_same, labels = self.verification
        num_people = None if labels is None else len(np.unique(labels[pairs]))
        far, num_impostor = self.options.far, int((~is_same).sum())
        no_threshold = _threshold.refusal(far, num_impostor, num_people)
        model_scores = evaluation.pair_scores(self._by_model("pairs", images), pairs)
        return Accuracy(
            far=far,
            threshold=None if no_threshold else evaluation.threshold_at_far(scores, is_same, far),
            tar=evaluation.tar_at_far(scores, is_same, far),
            eer=evaluation.eer(scores, is_same),
            model_tar=evaluation.tar_at_far(model_scores, is_same, far),
            model_eer=evaluation.eer(model_scores, is_same),
            num_genuine=int(is_same.sum()),
            num_impostor=num_impostor,
            num_people=num_people,
            no_threshold=no_threshold,
        )


def _checked_pairs(network, given, far):
    """Returns (images, pairs, is_same, labels or None) of (images, is_same) or of (images, labels)."""
    try:
        images, truth = given
    except (TypeError, ValueError):
        raise TypeError(
            "pairs must be (images, is_same), image 2i next to image 2i + 1, or (images, labels) for every pair."
        ) from None
    images, truth = _graph.checked_images(network, images, "pairs' images"), np.asarray(truth)
    if truth.dtype == bool and truth.shape == (len(images) // 2,) and len(images) % 2 == 0:
        pairs, is_same, labels = np.arange(len(images)).reshape(-1, 2), truth, None
    elif truth.dtype != bool and truth.shape == (len(images),):
        pairs, is_same = _pairs_of(truth)
        labels = truth
    else:
        raise ValueError(
            "pairs needs one bool for each two images, or one label an image. "
            f"Received: {len(images)} images with {truth.dtype} {truth.shape}."
        )
    impostors = int((~is_same).sum())
    if not 0 < impostors < len(is_same):
        raise ValueError(
            f"pairs needs pairs of one person and of two. Received: {len(is_same) - impostors} and {impostors}."
        )
    if far < 1 / impostors:
        raise ValueError(
            f"A threshold at far={far:g} cannot be measured on {impostors:,} impostor pairs, which show nothing "
            f"below {1 / impostors:.2g}. Give more pairs, or a higher far in Options."
        )
    return images, pairs, is_same, labels


def _pairs_of(labels):
    """(pairs, is_same): every pair of up to 3,000 images, a sample of those of more."""
    if len(labels) <= _ALL_PAIRS_OF:
        return evaluation.all_pairs(labels)
    counts = np.unique(labels, return_counts=True)[1].tolist()
    genuine = sum(count * (count - 1) // 2 for count in counts)
    impostor = len(labels) * (len(labels) - 1) // 2 - genuine
    return evaluation.make_pairs(labels, min(genuine, _MOST_GENUINE), min(impostor, _MOST_IMPOSTOR))
