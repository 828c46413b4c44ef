"""Numbers as decimal digits, many at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskstream.message.digits import decimal

EDGES = [0, 1, 9, 10, 9_999, 10_000, 10_001, 99_990_000, 100_000_000, 1_000_000_001, 2**32 - 1]


def written(numbers: list[int], type_: type[np.uint32] | type[np.uint64]) -> list[str]:
    digits = decimal(np.array([numbers], type_))
    return [bytes(one).decode() for one in digits[0]]


@pytest.mark.parametrize("number", EDGES)
def test_a_number_of_32_bits_is_at_the_right_end_of_12_places(number):
    assert written([number], np.uint32) == [str(number).rjust(12)]


@pytest.mark.parametrize("number", [*EDGES, 2**53 + 1, 10**16, 10**19, 2**64 - 1])
def test_a_number_of_64_bits_is_at_the_right_end_of_20_places(number):
    assert written([number], np.uint64) == [str(number).rjust(20)]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8))
def test_any_numbers_are_written_as_python_writes_them(numbers):
    assert written(numbers, np.uint64) == [str(number).rjust(20) for number in numbers]


def test_none_are_none():
    assert decimal(np.empty((0, 3), np.uint32)).shape == (0, 3, 12)
