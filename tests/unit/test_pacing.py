"""The agent looks often while many events come, and ever less often while few do."""

from taskstream.pacing import Pacing


def test_while_many_events_come_every_sleep_is_the_flush_interval():
    pacing = Pacing(20, 100, aim=64)
    assert [pacing.next_ms(found) for found in (64, 5000, 100)] == [20, 20, 20]


def test_while_none_come_each_sleep_is_twice_the_last_up_to_the_bound():
    pacing = Pacing(20, 100)
    assert [pacing.next_ms(0) for _ in range(5)] == [40, 80, 100, 100, 100]


def test_a_steady_rate_settles_where_a_look_finds_what_it_should():
    pacing = Pacing(10, 1000, aim=60)
    sleep_ms = 10
    for _ in range(20):
        sleep_ms = pacing.next_ms(sleep_ms)  # an event per ms
    assert sleep_ms == 60


def test_a_burst_ends_the_slow_down_at_once():
    pacing = Pacing(20, 100, aim=64)
    for _ in range(9):
        pacing.next_ms(0)
    assert pacing.next_ms(400) == 20


def test_a_flush_interval_above_the_bound_is_the_bound():
    pacing = Pacing(500, 100)
    assert [pacing.next_ms(0), pacing.next_ms(1)] == [500, 500]
