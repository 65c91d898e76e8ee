"""What an exported file verifies, next to its model."""

import dataclasses


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
        photographs: How many photographs the pairs are of, where the file finds and crops the faces itself; None where
            they are of aligned faces.
        no_face: Photographs of them in which the file finds no face; their pairs score -1.
        model_no_face: The same of the Keras detector, in front of the model.

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
    photographs: int | None = None
    no_face: int | None = None
    model_no_face: int | None = None

    def __str__(self) -> str:
        """The figures in a sentence, for people."""
        text = f"On {self.num_genuine:,} genuine and {self.num_impostor:,} impostor pairs"
        if self.photographs is not None:
            text += (
                f" of {self.photographs:,} photographs, {self.no_face:,} without a face (the Keras detector: "
                f"{self.model_no_face:,})"
            )
        text += (
            f": EER {self.eer:.2%} (model {self.model_eer:.2%}), TAR {self.tar:.2%} (model {self.model_tar:.2%}) "
            f"at FAR {self.far:g}"
        )
        return (
            f"{text}. {self.no_threshold}" if self.threshold is None else f"{text} with threshold {self.threshold:.4f}."
        )
