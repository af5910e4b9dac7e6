"""Arguments that are whole numbers, checked in one place: NumPy's integers count as Python's, True and 3.0 do not."""

import operator

import numpy as np


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


def whole_numbers(values, name):
    """An array of whole numbers, such as labels, as integers or bool. ValueError, with what was given, for anything else."""
    values = np.asarray(values)
    if values.dtype.kind in "iub":
        return values
    try:
        numbers = values.astype("float64") if values.dtype.kind not in "USc" else None
    except (TypeError, ValueError):
        numbers = None
    if numbers is None:
        raise ValueError(f"{name} are whole numbers, got {values.dtype}")
    odd = numbers != np.floor(numbers)
    if odd.any() or not np.isfinite(numbers).all():
        raise ValueError(f"{name} are whole numbers, got {numbers[odd | ~np.isfinite(numbers)][0]:g}")
    return numbers.astype("int64")
