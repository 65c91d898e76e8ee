"""`from_preset` and `save_to_preset` of an EmbeddingModel."""

import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

from keras_margin import layers
from keras_margin._typing import PathLike

Model = TypeVar("Model")


class PresetMethods:
    """Loads a model from a preset, and saves it as one."""

    @classmethod
    def from_preset(
        cls: type[Model], preset: PathLike, head: layers.MarginHead | None = None, load_weights: bool = True
    ) -> Model:
        """Loads a model from a preset, not compiled. No code of a preset is run.

        Args:
            preset: Folder that `save_to_preset` wrote, or "hf://user/repository" of the Hugging Face Hub, perhaps with
                "@revision"; the latter needs the extra `hub`.
            head: A head to train instead of the preset's, for other classes; None for the preset's own.
            load_weights: Whether to load weights; False for the architecture alone.

        Returns:
            The model.

        Raises:
            FileNotFoundError: Nothing is there.
            ValueError: Not a preset, a damaged one, one without a head where none is given, an unregistered layer.
            ImportError: A handle, without huggingface_hub.
            OSError: The repository cannot be fetched.

        Example:
            >>> backbone = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
            >>> folder = EmbeddingModel(backbone, keras_margin.ArcFaceHead(10)).save_to_preset("mine")
            >>> EmbeddingModel.from_preset(folder).head.num_classes
            10
            >>> EmbeddingModel.from_preset(folder, head=keras_margin.CosFaceHead(3)).head.num_classes
            3
        """
        from keras_margin.models import presets  # Reads files, which training need not.

        return presets.load(cls, preset, head=head, load_weights=load_weights)

    def save_to_preset(
        self,
        folder: PathLike,
        *,
        metadata: Mapping[str, Any] | None = None,
        include_head: bool = True,
        overwrite: bool = False,
    ) -> pathlib.Path:
        """Saves the model as a preset: a folder in keras-hub's layout, written whole or not at all.

        Args:
            folder: Where it goes.
            metadata: What the model does not tell, plain JSON values under the keys of an exported file's metadata:
                `about` (license, intended_use, limits), `image` (normalization of a backbone that takes floats),
                `alignment`, `threshold`, `calibration`, `search`, `recipe`, `measured`.
            include_head: Whether the head goes along. Its prototypes stand for the people it was trained on: leave it
                out of what you publish.
            overwrite: Whether to replace an older preset at `folder`, whole.

        Returns:
            The folder.

        Raises:
            FileExistsError: Something is at `folder`, and it is not a preset or `overwrite` is False.
            ValueError: The model is not built, or the metadata are not JSON.
            OSError: The folder cannot be written; it is as it was.

        Example:
            >>> backbone = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
            >>> model = EmbeddingModel(backbone, keras_margin.ArcFaceHead(10))
            >>> folder = model.save_to_preset("mine", metadata={"about": {"license": "cc-by-4.0"}}, include_head=False)
            >>> sorted(path.name for path in folder.iterdir())
            ['README.md', 'config.json', 'metadata.json', 'model.weights.h5']
        """
        from keras_margin.models import presets

        return presets.save(self, folder, metadata=metadata, include_head=include_head, overwrite=overwrite)
