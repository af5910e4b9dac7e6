"""Whole numbers as arguments: those of NumPy count, what only looks like one is refused in words."""

import numpy as np
import pytest

from cnnbook.arguments import whole_number, whole_numbers


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.arange(4).max()])
def test_whole_numbers_of_every_kind_are_pythons_afterwards(value):
    number = whole_number(value, "channel")
    assert type(number) is int and number == 3


@pytest.mark.parametrize("value", [True, np.True_, 3.0, np.float32(3), "3", None, [3], np.array([3])])
def test_what_is_no_whole_number_is_refused_with_its_name(value):
    with pytest.raises(ValueError, match="^channel is a whole number of at least 1, got "):
        whole_number(value, "channel")


def test_the_bounds_belong_to_what_is_possible():
    assert whole_number(0, "target", least=0, most=9) == 0 and whole_number(9, "target", least=0, most=9) == 9
    for value in (-1, 10):
        with pytest.raises(ValueError, match=f"^target is a whole number from 0 to 9, got {value}$"):
            whole_number(value, "target", least=0, most=9)


@pytest.mark.parametrize("dtype", ["int8", "uint64", "bool", "float16", "float32"])
def test_arrays_of_whole_numbers_of_every_kind_are_integers_afterwards(dtype):
    found = whole_numbers(np.array([0, 1, 1], dtype), "labels")
    assert found.tolist() == [0, 1, 1] and found.dtype.kind in "iub"


@pytest.mark.parametrize(
    "values, given",
    [
        ([0.0, 0.5], "0.5"),
        ([1.0, np.nan], "nan"),
        ([np.inf], "inf"),
        (["1"], "<U1"),
        ([1j], "complex128"),
        ([None], "nan"),
    ],
)
def test_arrays_of_other_things_are_refused(values, given):
    with pytest.raises(ValueError, match=f"labels are whole numbers, got {given}"):
        whole_numbers(values, "labels")
