"""Arguments that are whole numbers, checked in one place: NumPy's integers count as Python's, True and 3.0 do not."""

import operator


def whole_number(value, name, least=1, most=None):
    """`value` as an int. ValueError, with the argument's name and what is possible, for anything else and out of range."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        possible = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is a whole number {possible}, got {value!r}")
    return number
