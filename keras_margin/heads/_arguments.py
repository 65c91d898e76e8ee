"""What heads check of their arguments, in words that name the rule, what came and the mend."""

import math
import numbers


def is_finite_number(value):
    """True for a real number, not a bool, that is neither NaN nor infinite."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def require_radians(owner, margin, name="margin"):
    """Raises ValueError unless `margin` is in [0, pi) radians."""
    if is_finite_number(margin) and 0 <= margin < math.pi:
        return
    mend = (
        f" If that is in degrees, pass math.radians({margin})."
        if is_finite_number(margin) and margin >= math.pi
        else ""
    )
    raise ValueError(f"{owner} needs a {name} in [0, pi) radians. Received: {name}={margin!r}.{mend}")


def require_range(owner, value, low, high, name, unit=""):
    """Raises ValueError unless `low <= value <= high`."""
    if not (is_finite_number(value) and low <= value <= high):
        raise ValueError(f"{owner} needs {name} in [{low}, {high}]{unit}. Received: {name}={value!r}.")


def require_integer(owner, value, low, high, name, meaning="", mend=""):
    """Raises ValueError unless `value` is an int, not a bool, with `low <= value <= high`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= value <= high:
        span = f">= {low}" if math.isinf(high) else f"{low} to {high}"
        raise ValueError(f"{owner} needs {name}, an int {span}{meaning}. Received: {name}={value!r}.{mend}")


def refuse_straight_through(owner, options, why):
    """Raises ValueError where `options` ask for gradient="straight_through"; `why` completes "which ..."."""
    if options.get("gradient", "exact") != "exact":
        raise ValueError(
            f"gradient='straight_through' takes d target / d cos = 1, {why}. {owner} has gradient='exact' alone. "
            f"Received: gradient={options['gradient']!r}."
        )


def refuse_options(owner, options, names, why):
    """Raises ValueError where `options` hold one of `names`, another head's arguments; `why` ends the sentence."""
    for name in names:
        if name in options:
            raise ValueError(f"{owner} {why}. Received: {name}={options[name]!r}.")
