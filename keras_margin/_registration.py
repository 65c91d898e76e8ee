"""Registers what is saved in files with Keras, as soon as both Keras and this package are imported.

`keras.models.load_model` finds classes of other packages only where they were registered, that is, imported. Importing
keras_margin does not import Keras, which takes seconds and is missing on a device. So whichever comes last registers.
"""

import importlib
import importlib.abc
import sys

# The packages and modules with registered classes.
_BACKENDS = ("keras", "tensorflow", "jax", "torch")
_SERIALIZABLE = ("margins", "losses", "layers", "metrics", "models.backbones", "models.embedding_model", "optimizers")


def register_when_keras_is_imported(package: str) -> None:
    """Imports the packages with registered classes now if Keras is imported, else right after it will be."""
    finder = _Finder(package)
    if "keras" in sys.modules:
        finder.register()
    else:
        sys.meta_path.insert(0, finder)


class _Finder(importlib.abc.MetaPathFinder):
    """Sees Keras and the package's own modules being imported; registers when the outermost of them is through."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._depth = 0

    def find_spec(self, name, path=None, target=None):
        """Finds Keras and own modules as the other finders do, and wraps what runs them; None for all others."""
        if name != "keras" and not name.startswith(f"{self._package}."):
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader.exec_module = self._then_register(spec.loader.exec_module)  # type: ignore[method-assign]
                return spec
        return None

    def _then_register(self, run):
        def run_and_register(module):
            self._depth += 1
            try:
                run(module)
            finally:
                self._depth -= 1
            # A module of this package that is still being imported cannot be imported by another one yet.
            if not self._depth and "keras" in sys.modules and self in sys.meta_path:
                self.register()

        return run_and_register

    def register(self) -> None:
        """Imports the packages with registered classes; leaves it where Keras has no backend to work on."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in _SERIALIZABLE:
            try:
                importlib.import_module(f"{self._package}.{name}")
            except ModuleNotFoundError as error:
                if (error.name or "").split(".")[0] in _BACKENDS:
                    return
                raise
