"""The rates of several hosts, through a broker, as a live screen takes them."""

from dataclasses import replace

import pytest
from confluent_kafka import Producer

from taskstream.batch import Origin
from taskstream.board.reading import VIEWS, Reading, reading_of
from taskstream.chart.chart import DOCUMENTED
from taskstream.consumer import TopicSource
from taskstream.feed import RatesFeed
from taskstream.interval import COLUMNS, Agent, Interval, Series
from taskstream.message.columns import pack
from taskstream.record import COUNTS
from taskstream.sink.rates import messages
from tests.mock_cluster import MockCluster
from tests.readings import SECOND
from tests.synthetic import ORIGIN
from tests.topic import wait_until

pytestmark = pytest.mark.kafka

TOPIC = "taskstream.rates"
HOSTS = ("web-3", "db-1", "build-7")
QUICK = {"fetch.wait.max.ms": "10", "fetch.error.backoff.ms": "10"}


def interval(number: int) -> Interval:
    series = Series((number,) * len(COLUMNS), (number,) * len(COLUMNS))
    return Interval(
        start_ns=number * SECOND,
        end_ns=(number + 1) * SECOND,
        wall_ns=(1_790_000_000 + number) * SECOND,
        counts=(number,) * len(COUNTS),
        received=(number,) * len(COUNTS),
        groups={view: {"a": series, "b": series} for view in VIEWS[1:]},
        agent=Agent(cpu_ns=number, resident_bytes=2 << 20, queued=3, dropped=4, forgotten=5),
    )


def publish(cluster: MockCluster, *numbers: int, hosts: tuple[str, ...] = HOSTS) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0})
    for number in numbers:
        for host in hosts:
            origin: Origin = replace(ORIGIN, host=host)
            for message in messages(interval(number), origin, DOCUMENTED):
                producer.produce(TOPIC, pack(message), f"{host}/{message['chart']}")
    assert producer.flush(10) == 0


def source_of(cluster: MockCluster, **options: int) -> TopicSource:
    return TopicSource(cluster.bootstrap, TOPIC, answer_ms=3000, settings=QUICK, **options)


def take(feed: RatesFeed, count: int) -> list[Reading]:
    found: list[Reading] = []
    wait_until(lambda: len(found) >= count, lambda: found.extend(feed.take()))
    return found


def test_what_several_hosts_published_is_read_back_whole(cluster):
    publish(cluster, 1, 2, 3)
    with source_of(cluster) as source:
        found = take(RatesFeed(source, "rates"), 9)
    expected = [reading_of(interval(number), host) for number in (1, 2, 3) for host in HOSTS]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert [reading.end_wall_ns for reading in found] == sorted(r.end_wall_ns for r in expected)


def test_what_is_published_from_now_on_follows(cluster):
    with source_of(cluster) as source:
        feed = RatesFeed(source, "rates")
        publish(cluster, 1)
        assert len(take(feed, 3)) == 3
        publish(cluster, 2, hosts=("web-3",))
        assert take(feed, 1) == [reading_of(interval(2), "web-3")]


def test_from_a_time_on_nothing_older_is_read(cluster):
    """The mock cluster knows no times: it says that there is nothing, which means the end."""
    publish(cluster, 1)
    with source_of(cluster, since_ms=4_000_000_000_000) as source:
        feed = RatesFeed(source, "rates")
        wait_until(lambda: source.at_end, feed.take)
        publish(cluster, 2, hosts=("web-3",))
        assert take(feed, 1) == [reading_of(interval(2), "web-3")]


def test_what_is_not_understood_is_noted_and_hides_nothing(cluster):
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0})
    producer.produce(TOPIC, pack({"v": 1, "kind": "fork"}))
    producer.flush(10)
    publish(cluster, 1)
    with source_of(cluster) as source:
        feed = RatesFeed(source, "rates")
        assert len(take(feed, 3)) == 3
        assert feed.notes() == [
            "1 messages were not understood: no rates, but 'fork': is this the topic of the rates?"
        ]


def test_a_broker_that_goes_away_is_noted(cluster):
    with source_of(cluster) as source:
        feed = RatesFeed(source, "rates")
        assert feed.notes() == []
        cluster.set_down()
        wait_until(lambda: bool(feed.notes()), feed.take)
        assert "waiting for broker" in feed.notes()[0]
