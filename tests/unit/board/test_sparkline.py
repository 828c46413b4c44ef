"""Blocks tell high from low, little from nothing, and nothing from not known."""

import pytest

from taskstream.board.sparkline import sparkline


def test_values_rise_from_the_lowest_block_to_a_full_one():
    assert sparkline(range(8), 8) == "".join(sorted(sparkline(range(8), 8)))
    assert sparkline([0, 7], 2) == "▁█"


def test_the_highest_value_is_a_full_block_whatever_the_scale():
    for scale in (0.001, 1, 10**9):
        assert sparkline([scale / 2, scale], 2)[-1] == "█"


def test_little_is_drawn_higher_than_nothing():
    assert sparkline([0, 1, 10**6], 3) == "▁▂█"


def test_what_is_not_known_is_blank_and_not_zero():
    assert sparkline([0, None, 1], 3) == "▁ █"
    assert sparkline([None, None], 2) == "  "


def test_nothing_at_all_is_a_line_at_the_bottom():
    assert sparkline([0, 0, 0], 3) == "▁▁▁"


def test_too_few_values_stand_at_the_right_and_too_many_are_cut_at_the_left():
    assert sparkline([1], 4) == "   █"
    assert sparkline([9, 0, 1], 2) == "▁█"


def test_values_below_zero_are_drawn_as_zero():
    assert sparkline([-5, 0, 5], 3) == "▁▁█"


@pytest.mark.parametrize("width", [0, -1])
def test_without_room_there_is_nothing(width):
    assert sparkline([1, 2], width) == ""
