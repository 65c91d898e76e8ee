"""An object of the user's own by the name "package.module:name"."""

import importlib
import os
import sys
from typing import Any


def load_object(name: str, option: str) -> Any:
    """Imports the object called "package.module:name".

    The module is looked for in the current folder too, as `python -m` does.

    Args:
        name: "package.module:name".
        option: What was set to that name, for the message, such as "backbone".

    Raises:
        ValueError: Where the name is none, there is no such module or nothing of that name in it, or the module cannot
            be imported.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"{option}: one of your own is named 'package.module:name'. Received: {name!r}.")
    found = _module(module_name, f"{option}={name!r}")
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = ", ".join(sorted(each for each in vars(found) if not each.startswith("_"))[:20])
            raise ValueError(
                f"{option}={name!r}: {getattr(found, '__name__', found)} has no {attribute!r}. It has: "
                f"{known or 'nothing'}."
            )
        found = getattr(found, part)
    return found


def _module(module_name: str, given: str) -> Any:
    here = os.getcwd()
    # Behind all other folders: a file here must not take the place of an installed package.
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except Exception as error:  # Whatever the module's own lines raise.
        missing = isinstance(error, ModuleNotFoundError) and (
            module_name == error.name or module_name.startswith(f"{error.name}.")
        )
        what = (
            f"there is no module {getattr(error, 'name', None)!r} among the installed packages, nor in {here}"
            if missing
            else f"importing {module_name} failed with {type(error).__name__}: {error}"
        )
        raise ValueError(f"{given}: {what}.") from error
    finally:
        if added:
            sys.path.remove(here)
