"""Partitions that were read ahead of others wait, and nobody waits for ever."""

from dataclasses import replace

import numpy as np
import pytest

from taskstream.batch import Origin
from taskstream.lead import BOUND_S, PATIENCE_MS, GroupLead, Lead, passed_ms
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


def test_a_partition_at_its_end_is_waited_for_till_it_is_so_since_the_others_came_so_far(lead):
    lead.note("b", [at(0)], 0)
    lead.note("a", [at(9 * BOUND_S)], 1000)
    lead.look(["a"], 1000, {"b": 999})
    assert (lead.held, lead.behind) == ({"a"}, True)
    lead.look(["a"], 1500, {"b": 1000})
    assert (lead.held, lead.behind) == (set(), False)


def test_nobody_waits_for_a_quiet_partition_that_is_at_its_end_time_and_again(lead):
    lead.note("b", [at(0)], 0)
    for second in range(1, 5 * BOUND_S, 100):
        lead.note("a", [at(second)], second * 1000)
        lead.look(["a"], second * 1000, {"b": second * 1000 - 2000})
        assert (lead.held, lead.behind) == (set(), False)


def test_what_is_forgotten_holds_nobody(lead):
    lead.note("a", [at(9 * BOUND_S)], 0)
    lead.note("b", [at(0)], 0)
    lead.forget([ORIGIN])
    lead.look(["a", "b"], 0)
    assert not lead.behind


# --- of a group ----------------------------------------------------------------------------------

NOW_MS = WALL_S * 1000
BOUND_MS = BOUND_S * 1000


def test_in_a_group_a_partition_that_is_ahead_waits_until_the_other_is_near():
    lead = GroupLead(2)
    lead.passed(0, BOUND_MS + 1, NOW_MS)
    lead.look(NOW_MS)
    assert lead.ahead == {0}, "of the other nothing is known yet"
    lead.passed(1, 1, NOW_MS)
    lead.look(NOW_MS)
    assert lead.ahead == set()
    lead.passed(0, BOUND_MS + 2, NOW_MS)
    lead.look(NOW_MS)
    assert lead.ahead == {0}


def test_in_a_group_nobody_waits_for_what_is_at_its_end_since_the_others_came_so_far():
    lead = GroupLead(2)
    lead.passed(1, 1, NOW_MS)
    lead.passed(0, 9 * BOUND_MS, NOW_MS + 5)
    lead.at_end(1, NOW_MS + 4)
    lead.look(NOW_MS + 6)
    assert lead.ahead == {0}, "it may have been given more since"
    lead.at_end(1, NOW_MS + 5)
    lead.look(NOW_MS + 6)
    assert lead.ahead == set()


def test_in_a_group_nobody_waits_for_a_quiet_partition_that_is_at_its_end_time_and_again():
    lead = GroupLead(2)
    for now_ms in range(NOW_MS, NOW_MS + 5 * PATIENCE_MS, 250):
        lead.passed(0, now_ms, now_ms)
        if now_ms % 5000 == 0:
            lead.at_end(1, now_ms - 3000)
        lead.look(now_ms)
        assert lead.ahead == set() or now_ms < NOW_MS + 10_000


def test_in_a_group_a_quiet_partition_is_waited_for_that_may_be_given_hours_at_once():
    lead = GroupLead(2)
    for now_ms in range(NOW_MS, NOW_MS + 2 * PATIENCE_MS, 1000):
        for partition in (0, 1):
            lead.at_end(partition, now_ms)
        lead.look(now_ms)
    lead.passed(0, NOW_MS, now_ms + 1000)
    lead.look(now_ms + 1000)
    assert lead.ahead == {0}


def test_in_a_group_what_gives_nothing_for_a_minute_is_waited_for_no_longer():
    lead = GroupLead(2)
    lead.passed(0, 9 * BOUND_MS, NOW_MS)
    lead.passed(1, 1, NOW_MS)
    for later_ms, ahead in ((0, {0}), (PATIENCE_MS - 1, {0}), (PATIENCE_MS, set())):
        lead.passed(1, 1, NOW_MS + later_ms)  # the same again
        lead.look(NOW_MS + later_ms)
        assert lead.ahead == ahead, later_ms


def test_in_a_group_what_waited_for_others_is_waited_for_in_its_turn():
    lead = GroupLead(2)
    lead.passed(0, 5 * BOUND_MS, NOW_MS)
    for later_ms in range(0, 2 * PATIENCE_MS, 1000):
        lead.passed(1, later_ms, NOW_MS + later_ms)
        lead.look(NOW_MS + later_ms)
        assert lead.ahead == {0}
    lead.passed(1, 9 * BOUND_MS, NOW_MS + 2 * PATIENCE_MS)
    lead.look(NOW_MS + 2 * PATIENCE_MS)
    assert lead.ahead == {1}


def test_in_a_group_there_is_always_a_partition_to_read():
    random = np.random.default_rng(7)
    lead = GroupLead(5)
    for turn in range(500):
        lead.passed(
            int(random.integers(5)), int(random.integers(20)) * BOUND_MS // 4, NOW_MS + turn
        )
        lead.look(NOW_MS + turn)
        assert len(lead.ahead) < 5


def test_a_partition_was_read_as_far_as_the_run_of_which_the_least_is_known():
    assert passed_ms([at(50), at(20, OTHER, ahead_s=10)]) == (WALL_S + 30) * 1000
    assert passed_ms([Partial(ORIGIN, 0)]) is None
    assert passed_ms([]) is None
