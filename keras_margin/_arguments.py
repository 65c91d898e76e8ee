"""Checks of arguments, with messages that give the rule, the value received and a hint.

A number may also be a tensor, as a schedule makes it inside a compiled step: its range was checked before.
"""

import math
import numbers
from collections.abc import Iterable
from typing import Any


def is_finite_number(value: Any) -> bool:
    """Tells whether `value` is a real number, not a bool, that is neither NaN nor infinite."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def require_number(
    owner: str,
    name: str,
    value: Any,
    low: float = 0,
    high: float = math.inf,
    *,
    unit: str = "",
    above: bool = False,
    below: bool = False,
    hint: str = "",
) -> None:
    """Raises ValueError unless `value` is a finite number from `low` to `high`; `above`, `below`: without that end.

    Args:
        owner: Name of the asking class.
        name: Name of the argument.
        value: What came.
        low: Lower end, part of the range unless `above`.
        high: Upper end, part of the range unless `below`; inf for none.
        unit: What follows the range, such as " radians".
        above: Whether `low` itself is refused.
        below: Whether `high` itself is refused.
        hint: What to do about a number beyond the range.
    """
    if is_tensor(value):
        return
    if is_finite_number(value):
        if (low < value if above else low <= value) and (value < high if below else value <= high):
            return
    else:
        hint = ""
    if math.isinf(high):
        rule = f"{name} {'>' if above else '>='} {low}"
    else:
        shown = "pi" if high == math.pi else high
        rule = f"{name} in {'(' if above else '['}{low}, {shown}{')' if below else ']'}"
    raise ValueError(f"{owner} needs {rule}{unit}. Received: {name}={value!r}.{' ' + hint if hint else ''}")


def require_radians(owner: str, value: Any, name: str = "margin") -> None:
    """Raises ValueError unless `value` is in [0, pi) radians."""
    in_degrees = is_finite_number(value) and value >= math.pi
    hint = f"If that is in degrees, pass math.radians({value})." if in_degrees else ""
    require_number(owner, name, value, 0, math.pi, unit=" radians", below=True, hint=hint)


def require_integer(
    owner: str, value: Any, low: float, high: float, name: str, meaning: str = "", hint: str = ""
) -> None:
    """Raises ValueError unless `value` is an int, not a bool, with `low <= value <= high`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= int(value) <= high:
        span = f">= {low}" if math.isinf(high) else f"{low} to {high}"
        hint = f" {hint}" if hint else ""
        raise ValueError(f"{owner} needs {name}, an int {span}{meaning}. Received: {name}={value!r}.{hint}")


def require_one_of(owner: str, name: str, value: Any, known: Iterable[str]) -> None:
    """Raises ValueError unless `value` is one of the strings `known`."""
    known = list(known)
    if not isinstance(value, str) or value not in known:
        names = ", ".join(map(repr, known))
        raise ValueError(f"{owner} needs {name} to be one of {names}. Received: {name}={value!r}.")


def refuse_options(owner: str, options: dict, names: Iterable[str], why: str) -> None:
    """Raises ValueError where `options` hold one of `names`, arguments of other classes; `why` ends the sentence."""
    for name in names:
        if name in options:
            raise ValueError(f"{owner} {why}. Received: {name}={options[name]!r}.")


def is_tensor(value: Any) -> bool:
    """Tells whether `value` is a tensor of the backend in use; a Python or NumPy number is none."""
    if isinstance(value, (numbers.Number, str)) or value is None:
        return False
    from keras import ops

    return ops.is_tensor(value)
