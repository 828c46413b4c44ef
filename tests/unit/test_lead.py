"""Partitions that were read ahead of others wait, and nobody waits for ever."""

from dataclasses import replace

import pytest

from taskstream.batch import Origin
from taskstream.lead import BOUND_S, PATIENCE_MS, Lead
from taskstream.partial import Partial
from tests.synthetic import ORIGIN

WALL_S = 1_790_000_000
OTHER = replace(ORIGIN, host="web-2")


@pytest.fixture
def lead() -> Lead[str]:
    return Lead()


def at(second: int, origin: Origin = ORIGIN, ahead_s: int = 0) -> Partial:
    """Return what was counted of a second; the host's clock may be ahead."""
    offset_ns = (WALL_S + ahead_s) * 10**9
    return Partial(origin, 0, offset_ns, cells={second: {}})


def test_a_partition_that_is_ahead_by_more_than_the_bound_waits_until_the_other_is_near(lead):
    lead.note("a", [at(2 * BOUND_S)], 0)
    lead.note("b", [at(BOUND_S - 1)], 0)
    lead.look(["a", "b"], 0)
    assert (lead.held, lead.behind) == ({"a"}, True)
    lead.note("b", [at(BOUND_S)], 1)
    lead.look(["a", "b"], 1)
    assert (lead.held, lead.behind) == (set(), False)


def test_nobody_waits_for_a_partition_that_was_read_to_its_end(lead):
    lead.note("a", [at(9 * BOUND_S)], 0)
    lead.note("b", [at(0)], 0)
    lead.look(["a"], 0)
    assert (lead.held, lead.behind) == (set(), False)


def test_what_was_read_to_its_end_is_ahead_all_the_same_while_another_has_more(lead):
    lead.note("a", [at(9 * BOUND_S)], 0)
    lead.note("b", [at(0)], 0)
    lead.look(["b"], 0)
    assert (lead.held, lead.behind) == (set(), True)


def test_a_partition_of_which_nothing_came_yet_is_waited_for(lead):
    lead.note("a", [at(BOUND_S)], 0)
    lead.look(["a", "b"], 0)
    assert (lead.held, lead.behind) == ({"a"}, True)


def test_a_partition_that_gives_nothing_for_a_minute_is_waited_for_no_longer(lead):
    lead.note("a", [at(9 * BOUND_S)], 0)
    lead.look(["a", "b"], 0)
    lead.look(["a", "b"], PATIENCE_MS - 1)
    assert lead.held == {"a"}
    lead.look(["a", "b"], PATIENCE_MS)
    assert (lead.held, lead.behind) == (set(), False)


def test_a_partition_that_was_held_for_long_is_waited_for_when_it_may_give_again(lead):
    lead.note("a", [at(3 * BOUND_S)], 0)
    lead.note("b", [at(0)], 0)
    lead.look(["a", "b"], 0)
    for now_ms in range(0, 3 * PATIENCE_MS, PATIENCE_MS // 2):
        lead.note("b", [at(1)], now_ms)
        lead.look(["a", "b"], now_ms)
    lead.note("b", [at(9 * BOUND_S)], now_ms)
    lead.look(["a", "b"], now_ms)
    assert lead.held == {"b"}


def test_clocks_of_hosts_are_not_compared_where_a_run_is_in_both_partitions(lead):
    lead.note("a", [at(5), at(7, OTHER, ahead_s=9 * BOUND_S)], 0)
    lead.note("b", [at(6)], 0)
    lead.note("b", [at(8, OTHER, ahead_s=9 * BOUND_S)], 0)
    lead.look(["a", "b"], 0)
    assert (lead.held, lead.behind) == (set(), False)


def test_a_partition_that_has_nothing_of_a_run_is_as_far_as_its_other_hosts_are(lead):
    lead.note("a", [at(5 * BOUND_S)], 0)
    lead.note("b", [at(5 * BOUND_S, OTHER)], 0)
    lead.look(["a", "b"], 0)
    assert not lead.behind
    lead.note("a", [at(7 * BOUND_S)], 0)
    lead.look(["a", "b"], 0)
    assert lead.held == {"a"}


def test_partitions_that_wait_for_one_another_are_all_read(lead):
    lead.note("a", [at(9 * BOUND_S), at(0, OTHER, ahead_s=-9 * BOUND_S)], 0)
    lead.note("b", [at(9 * BOUND_S, OTHER, ahead_s=-9 * BOUND_S), at(0)], 0)
    lead.look(["a", "b"], 0)
    assert (lead.held, lead.behind) == (set(), True)


def test_what_is_forgotten_holds_nobody(lead):
    lead.note("a", [at(9 * BOUND_S)], 0)
    lead.note("b", [at(0)], 0)
    lead.forget([ORIGIN])
    lead.look(["a", "b"], 0)
    assert not lead.behind
