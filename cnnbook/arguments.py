"""Arguments that are whole numbers or arrays, checked in one place.

NumPy's integers count as Python's, True and 3.0 do not. An array may come as a list, or as a pandas Series, whose index
then plays no part.
"""

import contextlib
import operator

import numpy as np


def whole_number(value, name, least=1, most=None):
    """`value` as an int. ValueError, with the argument's name and what is possible, for anything else and out of range."""
    number = integer(value)
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


def integer(value):
    """`value` as an int, where it is a whole number of Python or NumPy; else None."""
    try:
        return None if isinstance(value, bool | np.ndarray) else operator.index(value)
    except TypeError:
        return None


def plain(value):
    """A value with Python's numbers in place of NumPy's, in tuples and lists too; an array as a tuple."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim:
        return tuple(map(plain, value))
    if type(value) in (tuple, list):
        return type(value)(map(plain, value))
    return value


def array(value, name):
    """`value` as a NumPy array of numbers, the same object where it is one.

    ValueError, with the argument's name, for lists of unequal lengths, text, and whatever else is not of numbers.
    """
    try:
        found = np.asarray(value)
    except ValueError:
        shapes = list(dict.fromkeys(str(np.shape(part)) for part in value))
        raise ValueError(
            f"{name} is one array, or a list of equal ones: these have the shapes {', '.join(shapes[:3])}"
        ) from None
    if found.dtype == object:  # of Python's numbers, or of anything else
        with contextlib.suppress(ValueError):
            found = np.array(found.tolist())
    if found.dtype.kind not in "biuf" and found.dtype.name != "bfloat16":
        other = next((v for v in found.flat if not isinstance(v, int | float | np.number)), found.dtype.name)
        raise ValueError(f"{name} holds numbers, got {str(other)!r}"[:200])
    return found
