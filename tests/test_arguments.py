"""Whole numbers as arguments: those of NumPy count, what only looks like one is refused in words."""

import numpy as np
import pytest

from cnnbook.arguments import whole_number


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
