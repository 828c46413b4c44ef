"""The soak's judgement: charts that drift away from /proc/stat are found out."""

import pytest

from tests.soak.truth import Forks, drift

SECOND = 10**9


def looks(rate: int, seconds: int) -> Forks:
    """Look ten times a second at a host that creates tasks evenly; a look takes 1 ms."""
    forks = Forks()
    for tenth in range(seconds * 10 + 1):
        forks.before_ns.append(tenth * SECOND // 10)
        forks.after_ns.append(tenth * SECOND // 10 + 1_000_000)
        forks.values.append(1_000_000 + rate * tenth // 10)
    return forks


ENDS = [1_050_000_000 + second * SECOND for second in range(8)]


def test_charts_that_count_what_happened_do_not_drift():
    found = drift(ENDS, [2000] * 8, looks(2000, 10))
    assert (found.outside, found.widest, found.created) == (0, 200, 14_000)


@pytest.mark.parametrize("error", [-100, 100])
def test_a_small_error_of_every_interval_adds_up_until_it_is_seen(error):
    found = drift(ENDS, [2000 + error] * 8, looks(2000, 10))
    assert found.outside == 7 * 100 - found.widest


def test_an_end_without_a_look_on_both_sides_is_an_error():
    with pytest.raises(ValueError, match="no look on both sides"):
        drift([*ENDS, 99 * SECOND], [2000] * 9, looks(2000, 10))
