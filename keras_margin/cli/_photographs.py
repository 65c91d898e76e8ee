"""Image files for an embedder: what every command on photographs shares."""

import argparse
import importlib
import pathlib

import numpy as np

from keras_margin._utils import files
from keras_margin._utils.progress import Progress
from keras_margin.alignment import images, photographs
from keras_margin.alignment.detector import MTCNNDetector
from keras_margin.cli import _errors, _exported, _flags, _words

_AT_ONCE = 32
_NAMED = 10

# Of every command that looks for faces.
DETECTOR_HELP = (
    "mtcnn, the package on TensorFlow; a .tflite that takes photographs; or package.module:name, a callable that makes "
    "a detector"
)
_FLAGS = ("align", "detector", "fit", "threads", "normalization", "channels")


class UnusableError(ValueError):
    """A photograph that gives no embedding.

    Attributes:
        path: The file.
        reason: Why, a few words; None where no face was found.
    """

    def __init__(self, path, text, reason=None):
        super().__init__(text)
        self.path, self.reason = path, reason


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of every command that feeds photographs to an embedder."""
    parser.add_argument("--align", action="store_true", help="find the largest face and crop it onto the template")
    parser.add_argument("--detector", help=f"aligns; {DETECTOR_HELP}")
    parser.add_argument(
        "--fit",
        choices=("crop", "resize"),
        help="of pictures of another size that are not to be aligned: cut the middle out, or stretch the whole",
    )
    parser.add_argument("--threads", type=_flags.count, help="for LiteRT or ONNX Runtime")
    parser.add_argument(
        "--normalization",
        type=_flags.normalization,
        metavar="MEAN/STD",
        help=_flags.NORMALIZATION_HELP,
    )
    parser.add_argument("--channels", choices=("RGB", "BGR"), help="what a foreign network takes; default: RGB")


class Photographs:
    """An embedder, and image files as it takes them.

    Args:
        arguments: Parsed flags of `add_arguments`, and `model`.
    """

    def __init__(self, arguments):
        self._align, self._fit = arguments.align, arguments.fit
        self._detector = None if arguments.detector is None else made_detector(arguments.detector)
        path = _exported.file_of(arguments.model)
        with files.suppress_native_stderr():  # LiteRT writes a line on its start.
            self.embedder = _embedder(path)(path, arguments.normalization, arguments.threads, arguments.channels)
        # The file's own detector and aligner, unless others are asked for.
        asked = arguments.detector is not None or arguments.fit is not None
        self._found_by_file = self.embedder.takes_photographs and not asked

    def face(self, path):
        """An image file as uint8 RGB of the embedder's size.

        Raises:
            UnusableError: Where it cannot be read, shows no face to align, or has a size that is refused.
        """
        try:
            image = images.read_image(path)
        except images.ImageError as error:
            raise UnusableError(path, f"{path} cannot be read: {error}.", f"it cannot be read: {error}") from error
        if self._found_by_file:
            found = self.embedder.largest_face(image)
            if found is None:
                raise UnusableError(path, f"No face was found in {path}.")
            return found
        try:
            face = photographs.prepare_photograph(
                image, self.embedder, align=self._align, detector=self._detector, fit=self._fit
            )
        except ValueError as error:
            reason = _errors.in_flags(str(error), _FLAGS)
            raise UnusableError(path, f"{path} cannot be used: {reason}", reason) from error
        if face is None:
            raise UnusableError(path, f"No face was found in {path}.")
        return face

    def embedded(self, paths, left_out, least_quality=None):
        """Embeds image files, a batch in memory at a time.

        Args:
            paths: List of paths.
            left_out: `LeftOut`, which gets the files that give no embedding.
            least_quality: `Embedder.quality` below which a file gives none; None takes all.

        Yields:
            (list of paths, float32 array (n, embedding_size)), n >= 1.
        """
        progress = Progress("Embedded", "images", len(paths))
        kept, faces = [], []
        for done, path in enumerate(paths, 1):
            try:
                faces.append(self.face(path))
                kept.append(path)
            except UnusableError as error:
                left_out.add(error)
            if faces and (len(faces) == _AT_ONCE or done == len(paths)):
                kept, rows = self._good_enough(kept, faces, left_out, least_quality)
                if kept:
                    yield kept, rows
                kept, faces = [], []
            progress.at(done)

    def _good_enough(self, paths, faces, left_out, least):
        """(paths, embeddings) of the faces whose quality suffices."""
        if least is None:
            return paths, self.embedder.embed(faces)
        rows = self.embedder.embed(faces, lengths=True)
        quality = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
        good = np.flatnonzero(quality >= least)
        for at in np.flatnonzero(quality < least).tolist():
            reason = f"its quality, {quality[at]:.4g}, is below {least:g}"
            left_out.add(UnusableError(paths[at], f"{paths[at]} cannot be used: {reason}", reason))
        unit = rows[good] / np.maximum(quality[good], np.finfo(np.float32).tiny)[:, None]
        return [paths[at] for at in good], unit.astype(np.float32)


def _embedder(path):
    """The class that opens an embedder's file."""
    from keras_margin import runtime
    from keras_margin.evaluation import embedders

    return embedders.OnnxEmbedder if str(path).lower().endswith(".onnx") else runtime.Embedder


class LeftOut:
    """Counts the image files that gave no embedding, and keeps why."""

    def __init__(self):
        self.errors = []

    def add(self, error):
        """Adds an UnusableError."""
        self.errors.append(error)

    def check(self, used):
        """Raises the first error where there is no image that was used."""
        if not used and self.errors:
            more = f" None of the {len(self.errors):,} images gives an embedding." if len(self.errors) > 1 else ""
            raise ValueError(f"{self.errors[0]}{more}")

    def counts(self):
        """Returns how many of each kind, such as ", 3 without a face, 1 that cannot be used", or nothing."""
        no_face = sum(error.reason is None for error in self.errors)
        parts = [(no_face, "without a face"), (len(self.errors) - no_face, "that cannot be used")]
        return "".join(f", {number:,} {what}" for number, what in parts if number)

    def say(self):
        """Prints the files, the first of each kind."""
        for title, no_face in (("No face", True), ("Cannot be used", False)):
            lines = [
                str(error.path) if error.reason is None else f"{error.path}: {error.reason}"
                for error in self.errors
                if (error.reason is None) == no_face
            ]
            for line in _words.some(lines, _NAMED):
                say(f"{title}: {line}")


def images_in(path):
    """The image files that a path means, in order of their names.

    Raises:
        ValueError: A folder without an image.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in images.EXTENSIONS
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise ValueError(f"{path} holds no image: {', '.join(images.EXTENSIONS)}.")
    return found


def read(path):
    """The photographs that a path means, uint8 arrays.

    Raises:
        ValueError: One that cannot be read, or a folder without an image.
    """
    try:
        return [images.read_image(file) for file in images_in(path)]
    except images.ImageError as error:
        raise ValueError(f"{path} holds an image that cannot be read: {error}.") from error


def made_detector(text):
    """The detector of --detector=mtcnn, --detector=face.tflite or --detector=package.module:name."""
    if text == "mtcnn":
        return MTCNNDetector()
    if text.endswith(".tflite"):
        from keras_margin import runtime

        embedder = runtime.Embedder(text)
        if not embedder.takes_photographs:
            raise ValueError(
                f"--detector={text} takes aligned faces alone. Name a file of keras-margin export --photo."
            )
        return embedder.detect
    module, colon, name = text.partition(":")
    maker = getattr(importlib.import_module(module), name, None) if colon and module else None
    if not callable(maker):
        raise ValueError(
            "--detector needs mtcnn, a .tflite file, or package.module:name, a callable without arguments that returns "
            f"a detector. Received: {text}."
        )
    return maker()


def say(text):
    """Prints one line that no terminal breaks or colors, and of which no tab becomes spaces."""
    print(_words.printable(text))  # noqa: T201  The command line speaks.
