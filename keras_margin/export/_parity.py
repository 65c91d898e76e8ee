"""The gate in front of every export: the reloaded file compared with its model, image by image and pair by pair."""

import dataclasses

import numpy as np

from keras_margin import evaluation
from keras_margin.export import _cosines, _graph, _threshold
from keras_margin.export._accuracy import Accuracy
from keras_margin.export._options import LIMITS, Limits
from keras_margin.export._verification import Verification

_IN_WORDS = {
    None: "float32",
    "float16": "float16 weights",
    "dynamic": "int8 weights, float32 activations",
    "int8": "int8 weights and activations",
}


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
        return f"{text} {self.accuracy}"


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
        verification: Verification, or None.
    """

    network: object
    options: object
    samples: np.ndarray
    synthetic: bool
    verification: Verification | None = None
    # What the model answers, by the images' name: one Judge may judge several files.
    _answers: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, network, options, samples, pairs, verification=None):
        """The Judge of these sample images and pairs, of which either may be None.

        A Verification of photographs takes the place of pairs; `verified` judges it once `judge` has judged the rest.
        """
        if pairs is not None:
            verification = Verification.of(network, pairs, options.far)
        if options.calibrate and verification is None:
            raise ValueError("Options(calibrate=True) measures pairs. Pass pairs=, of people that were not trained on.")
        if samples is None and verification is not None:
            samples = verification.images
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
        if self.verification is not None and self.verification.photographs is None:
            report = self.verified(report, run(self.verification.images))
        return report

    def verified(self, report, embeddings, found=None):
        """The report with what these embeddings, the file's, verify.

        Args:
            report: ParityReport.
            embeddings: Array (k, d), a row an image of the pairs, or a row a photograph in which the file found a face.
            found: bool array (n,), which photographs those are; None for aligned faces.

        Raises:
            ParityError: Where the file verifies worse than a limit allows.
        """
        verification = self.verification
        scores = verification.scores(embeddings, found)
        report = dataclasses.replace(report, accuracy=self._accuracy(scores, found))
        if not report.passed:
            raise ParityError.of(report)
        if self.options.calibrate:
            judged = slice(None) if found is None else found[verification.pairs].all(axis=1)
            report = dataclasses.replace(report, calibration=self._calibration(scores, judged))
        return report

    def _by_model(self, name, images):
        # Operation by operation: nothing is traced, and no graph optimiser stands between the model and its file.
        def embed(part):
            return _graph.embed(self.network, part, self.options.flip_sum)

        if name not in self._answers:
            self._answers[name] = _graph.run_in_batches(embed, images, min(16, len(images)))
        return self._answers[name]

    def _calibration(self, scores, judged):
        from keras_margin.evaluation.protocols import calibrating

        of, far = self.verification, self.options.far
        identities = None if of.labels is None else of.labels[of.pairs][judged]
        return calibrating.calibrate_scores(scores[judged], of.is_same[judged], identities, far=far).as_metadata()

    def _accuracy(self, scores, found):
        of, far = self.verification, self.options.far
        num_people = None if of.labels is None else len(np.unique(of.labels[of.pairs]))
        num_impostor = int((~of.is_same).sum())
        no_threshold = _threshold.refusal(far, num_impostor, num_people)
        model_scores = of.scores(self._by_model("pairs", of.images), of.found)
        accuracy = Accuracy(
            far=far,
            threshold=None if no_threshold else evaluation.threshold_at_far(scores, of.is_same, far),
            tar=evaluation.tar_at_far(scores, of.is_same, far),
            eer=evaluation.eer(scores, of.is_same),
            model_tar=evaluation.tar_at_far(model_scores, of.is_same, far),
            model_eer=evaluation.eer(model_scores, of.is_same),
            num_genuine=int(of.is_same.sum()),
            num_impostor=num_impostor,
            num_people=num_people,
            no_threshold=no_threshold,
        )
        if found is None:
            return accuracy
        missing = {"no_face": int((~found).sum()), "model_no_face": int((~of.found).sum())}
        return dataclasses.replace(accuracy, photographs=len(found), **missing)
