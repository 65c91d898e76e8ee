"""Where `keras-margin evaluate` gets embeddings from: an embedder in any file, or files of embeddings."""

import pathlib

import numpy as np

from keras_margin import runtime
from keras_margin._utils import files
from keras_margin.evaluation import embedders, protocols


class Source:
    """An embedder, or embeddings made elsewhere.

    Args:
        arguments: The command's, with `model`, `flip`, `lengths`, `normalization`, `channels`, `threads` and `batch`.
    """

    def __init__(self, arguments):
        self._arguments, self.embedder, self._files = arguments, None, None
        path = pathlib.Path(arguments.model)
        if path.suffix.lower() == ".npy" or (path.is_dir() and any(path.glob("*.npy"))):
            unused = [name for name in ("flip", "normalization", "channels", "threads") if getattr(arguments, name)]
            if unused or arguments.lengths:
                raise ValueError(
                    f"Embeddings are evaluated as they are. Received: {path} with --{(unused or ['lengths'])[0]}."
                )
            self._files = path
        else:
            with files.suppress_native_stderr():
                self.embedder = embedders.load_embedder(
                    path,
                    normalization=arguments.normalization,
                    channels=arguments.channels,
                    num_threads=arguments.threads,
                )
            own = (self.embedder.metadata or {}).get("embedding") or {}
            if arguments.flip and own.get("flip_sum"):
                raise ValueError(f"{path} adds the mirror image by itself: leave --flip={arguments.flip} out.")

    def detector(self):
        """Returns the model's own detector, as `alignment.align` takes it; None where it takes aligned faces alone."""
        if not (self.embedder.metadata or {}).get("photo"):
            return None
        return runtime.Embedder(self.embedder.path, num_threads=self._arguments.threads).detect

    @property
    def image_size(self):
        """(height, width) that the embedder takes; None of embeddings."""
        return None if self.embedder is None else self.embedder.image_size

    def check_sets(self, opened):
        """Raises ValueError where files of embeddings and sets do not go together."""
        if self._files is None or self._files.is_dir():
            missing = [name for name in opened if self._files and not (self._files / f"{name}.npy").is_file()]
            if missing:
                raise ValueError(f"{self._files} must hold NAME.npy for each set. Received: no {missing[0]}.npy.")
        elif len(opened) > 1:
            raise ValueError(
                f"One .npy has the embeddings of one set. Received: {self._files} and {len(opened)} sets. Pass a "
                f"folder with {', '.join(f'{name}.npy' for name in opened)}."
            )

    def embeddings(self, protocol, progress):
        """Returns the embeddings of a protocol's images; `progress` is called with the number of images just done."""
        if self._files is None:
            return protocols.embed(
                self.embedder,
                protocol,
                flip=self._arguments.flip,
                lengths=self._arguments.lengths or self._arguments.quality,
                batch_size=self._arguments.batch,
                progress=progress,
            )
        path = self._files / f"{protocol.name}.npy" if self._files.is_dir() else self._files
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{path} must hold one array of numbers, as np.save writes it. {error}") from error

    def described(self):
        """Returns what the report tells of it, a dict."""
        if self.embedder is None:
            return {"path": str(self._files), "kind": "embeddings"}
        return {
            "path": self.embedder.path,
            "kind": self.embedder.kind,
            "image_size": "x".join(map(str, self.embedder.image_size)),
            "embedding_size": self.embedder.embedding_size,
            "channels": self.embedder.channels,
            "normalization": self.embedder.normalization,
            "flip": self._arguments.flip,
            "lengths": "the network's" if self._arguments.lengths else "unit",
        }
