"""From the messages of the topic come the same readings as from the intervals behind them."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from taskstream.batch import Origin
from taskstream.board.gatherer import KEEP, SETTLE_NS, Gatherer
from taskstream.board.reading import VIEWS, Reading, reading_of
from taskstream.chart.chart import DOCUMENTED, NETDATA
from taskstream.errors import MessageError
from taskstream.interval import COLUMNS, Agent, Interval, Series, Zombies
from taskstream.message.columns import pack
from taskstream.record import COUNTS, VERSION
from taskstream.sink.rates import messages
from tests.readings import SECOND
from tests.synthetic import ORIGIN

SERIES = Series(tuple(range(10, 10 + len(COLUMNS))), (1000,) * len(COLUMNS))
FULL = Interval(
    start_ns=5 * SECOND,
    end_ns=10 * SECOND,
    wall_ns=1_790_000_010 * SECOND,
    counts=tuple(range(len(COUNTS))),
    received=(0,) * len(COUNTS),
    missed={"on_fork": 2},
    release_late=True,
    groups={"host": {"": SERIES}} | {view: {"a": SERIES, "b": SERIES} for view in VIEWS[1:]},
    zombies=Zombies(2, SECOND),
    agent=Agent(cpu_ns=1, resident_bytes=2, queued=3, dropped=4, forgotten=5),
)


def sent(
    interval: Interval = FULL, origin: Origin = ORIGIN, semantics: str = DOCUMENTED
) -> list[bytes]:
    return [pack(message) for message in messages(interval, origin, semantics)]


def later(number: int) -> Interval:
    by = number * 5 * SECOND
    return replace(
        FULL, start_ns=FULL.start_ns + by, end_ns=FULL.end_ns + by, wall_ns=FULL.wall_ns + by
    )


def gathered(values: list[bytes]) -> list[Reading]:
    gatherer = Gatherer()
    for value in values:
        gatherer.add(value, 0)
    return gatherer.take(SETTLE_NS)


@pytest.mark.parametrize("semantics", [DOCUMENTED, NETDATA])
def test_a_reading_is_the_one_of_the_interval_that_was_published(semantics):
    assert gathered(sent(semantics=semantics)) == [reading_of(FULL, ORIGIN.host, semantics)]


def test_so_it_is_where_failures_were_not_watched_and_nobody_counted_by_group():
    plain = replace(FULL, failures_watched=False, groups={}, zombies=None)
    assert gathered(sent(plain)) == [reading_of(plain, ORIGIN.host)]


def test_a_view_without_groups_is_known_to_be_empty():
    quiet = replace(FULL, groups={"service": {}})
    assert gathered(sent(quiet))[0].tables["service"] == {}


def test_a_chart_in_several_messages_is_one_table():
    many = replace(FULL, groups={"command": {f"c{n}": SERIES for n in range(4500)}})
    assert len(gathered(sent(many))[0].tables["command"]) == 4500


def test_messages_may_come_in_any_order():
    values = [value for number in range(3) for value in sent(later(number))]
    random.Random(7).shuffle(values)
    assert gathered(values) == [reading_of(later(number), ORIGIN.host) for number in range(3)]


def test_hosts_and_runs_are_told_apart():
    other = replace(ORIGIN, host="db-1")
    found = gathered([*sent(), *sent(origin=other)])
    assert {reading.host for reading in found} == {ORIGIN.host, "db-1"}


def test_nothing_is_given_while_messages_still_come():
    gatherer = Gatherer(settle_ns=100)
    for now_ns, value in enumerate(sent()):
        gatherer.add(value, now_ns)
        assert gatherer.take(now_ns + 99) == []
    assert len(gatherer.take(now_ns + 100)) == 1


def test_a_reading_is_given_once():
    gatherer = Gatherer(settle_ns=0)
    for value in sent():
        gatherer.add(value, 0)
    assert len(gatherer.take(0)) == 1
    assert gatherer.take(1) == []


def test_a_message_that_comes_late_gives_the_whole_reading_once_more():
    gatherer = Gatherer(settle_ns=0)
    *most, last = sent()
    for value in most:
        gatherer.add(value, 0)
    assert gatherer.take(0) != [reading_of(FULL, ORIGIN.host)]
    gatherer.add(last, 1)
    assert gatherer.take(1) == [reading_of(FULL, ORIGIN.host)]


def test_no_more_than_a_few_readings_are_kept():
    gatherer = Gatherer(settle_ns=0)
    for number in range(50):
        for value in sent(later(number)):
            gatherer.add(value, number)
        gatherer.take(number)
    assert len(gatherer._parts) == KEEP


def changed(**values: Any) -> bytes:
    return pack({**msgpack.unpackb(sent()[0]), **values})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda: b"\xc1", "neither MessagePack nor JSON"),
        (lambda: pack([1]), "no rates, but 'list'"),
        (lambda: changed(kind="fork"), "no rates, but 'fork': is this the topic of the rates"),
        (lambda: changed(v=VERSION + 1), f"version {VERSION + 1}; .* up to {VERSION}"),
        (lambda: changed(groups=3), "lack or spoil"),
        (lambda: changed(groups=[{"group": None}]), "lack or spoil"),
        (lambda: changed(host=["x"]), "lack or spoil"),
    ],
)
def test_what_is_no_message_of_this_topic_is_refused_with_the_reason(
    value: Callable[[], bytes], reason
):
    with pytest.raises(MessageError, match=reason):
        Gatherer().add(value(), 0)
