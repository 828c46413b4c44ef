"""Intervals of a pipeline's thread are readings in another, in order and all of them."""

from threading import Thread

from taskstream.board.reading import reading_of
from taskstream.chart.chart import NETDATA
from taskstream.feed import IntervalFeed
from taskstream.interval import Interval
from taskstream.record import COUNTS
from tests.readings import SECOND


def interval(number: int) -> Interval:
    return Interval(
        start_ns=number * SECOND,
        end_ns=(number + 1) * SECOND,
        wall_ns=(1_790_000_000 + number) * SECOND,
        counts=(number,) * len(COUNTS),
        received=(number,) * len(COUNTS),
    )


def test_every_interval_is_given_once_and_in_order():
    feed = IntervalFeed("title", "web-3")
    assert feed.take() == []
    feed.interval(interval(1))
    feed.interval(interval(2))
    assert feed.take() == [reading_of(interval(n), "web-3") for n in (1, 2)]
    assert feed.take() == []


def test_intervals_of_another_thread_arrive_whole():
    feed, taken = IntervalFeed("title", "web-3"), []

    def fill() -> None:
        for number in range(500):
            feed.interval(interval(number))
        feed.close()

    thread = Thread(target=fill)
    thread.start()
    while not feed.over:
        taken += feed.take()
    thread.join()
    taken += feed.take()
    assert taken == [reading_of(interval(n), "web-3") for n in range(500)]


def test_the_formulas_are_those_that_were_asked_for():
    feed = IntervalFeed("title", "web-3", NETDATA)
    feed.interval(interval(1))
    assert feed.take() == [reading_of(interval(1), "web-3", NETDATA)]


def test_what_was_noted_stays_noted():
    feed = IntervalFeed("title", "web-3")
    assert feed.notes() == []
    feed.note("no trampolines: kprobes")
    assert feed.notes() == feed.notes() == ["no trampolines: kprobes"]
