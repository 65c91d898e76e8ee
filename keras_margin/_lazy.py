"""Names of a package that are imported on first use (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def loader(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a `__getattr__` for a package's `__init__`.

    Args:
        package: The package's name, its `__name__`.
        homes: Lazy name to the module below the package that has it; a module has itself.
    """

    def load(name: str) -> Any:
        if name not in homes:
            public = ", ".join(getattr(sys.modules[package], "__all__", homes))
            raise AttributeError(f"module {package!r} has no attribute {name!r}. It has: {public}.")
        module = importlib.import_module(f"{package}.{homes[name]}")
        return module if homes[name] == name else getattr(module, name)

    return load
