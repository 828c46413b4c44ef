"""The agent wakes often while events come, and ever less often while none do."""

from taskstream.pacing import Pacing


def test_while_events_come_every_sleep_is_the_flush_interval():
    pacing = Pacing(20, 100)
    assert [pacing.next_ms(found) for found in (1, 500, 3)] == [20, 20, 20]


def test_while_none_come_each_sleep_is_twice_the_last_up_to_the_bound():
    pacing = Pacing(20, 100)
    assert [pacing.next_ms(0) for _ in range(5)] == [40, 80, 100, 100, 100]


def test_the_first_event_ends_the_slow_down_at_once():
    pacing = Pacing(20, 100)
    for _ in range(9):
        pacing.next_ms(0)
    assert pacing.next_ms(1) == 20
    assert pacing.next_ms(0) == 40


def test_a_flush_interval_above_the_bound_is_the_bound():
    pacing = Pacing(500, 100)
    assert [pacing.next_ms(0), pacing.next_ms(1)] == [500, 500]
