"""An identity is a number that tells processes apart, a reused pid among them."""

import numpy as np
import pytest

from taskstream.grouping.identity import identities, identity, lies_within, tgid_of

SECOND = 10**9


def test_one_and_many_agree():
    tgids, starts = [1, 4_194_303, 77], [0, 5 * SECOND, 1 << 60]
    many = identities(np.array(tgids, np.uint32), np.array(starts, np.uint64))
    assert many.tolist() == [identity(t, s) for t, s in zip(tgids, starts, strict=True)]


@pytest.mark.parametrize("other", [(8, 5 * SECOND), (7, 5 * SECOND + 1), (7, 6 * SECOND)])
def test_another_tgid_or_another_start_is_another_identity(other):
    assert identity(7, 5 * SECOND) != identity(*other)


@pytest.mark.parametrize("start_ns", [0, 5 * SECOND, 365 * 86_400 * SECOND])
def test_an_identity_tells_its_tgid(start_ns):
    assert tgid_of(identity(4_194_303, start_ns)) == 4_194_303


@pytest.mark.parametrize(
    ("offset_ns", "within"), [(0, True), (9_999_999, True), (10_000_000, False), (-1, False)]
)
@pytest.mark.parametrize("tick_ns", [5 * SECOND, (1 << 42) - 1, 1 << 42])
def test_an_exact_start_lies_within_its_tick_also_where_the_upper_bits_turn(
    tick_ns, offset_ns, within
):
    exact = identity(7, tick_ns + offset_ns)
    assert lies_within(exact, identity(7, tick_ns), 10_000_000) is within
