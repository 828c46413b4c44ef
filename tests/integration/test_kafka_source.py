"""TopicSource against librdkafka's mock cluster: what a sink wrote is read back as it was."""

import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from confluent_kafka import Producer

from taskstream.batch import Batch
from taskstream.consumer import TopicSource
from taskstream.errors import BrokerError, ConfigError
from taskstream.message.batch_encode import encode_batch
from taskstream.message.decode import Decoded
from taskstream.message.encode import EventEncoder
from taskstream.record import COUNTS, KINDS, VERSION
from taskstream.report import CpuReport, Report
from taskstream.sequence import StreamBooks
from tests.mock_cluster import API_FETCH, MockCluster
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, each_kind, event, known, lives
from tests.topic import wait_until

pytestmark = pytest.mark.kafka

TOPIC = "taskstream.events"
QUICK = {
    "fetch.wait.max.ms": "10",
    "fetch.error.backoff.ms": "10",
    "reconnect.backoff.ms": "20",
    "reconnect.backoff.max.ms": "100",
    "topic.metadata.refresh.interval.ms": "200",
}
NO_RIGHT, UNKNOWN_TOPIC, NOT_LEADER = 29, 3, 6

SHAPES: dict[str, Callable[[Batch], list[bytes]]] = {
    "event": lambda given: EventEncoder(given.origin).encode(given).values,
    "batch": lambda given: encode_batch(given, most_events=50).values,
}


def fill(cluster: MockCluster, values: list[bytes | None]) -> None:
    """Put messages into the topic, spread over its partitions."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0})
    for number, value in enumerate(values):
        producer.produce(TOPIC, value, str(number))
    assert producer.flush(10) == 0


def source_of(cluster: MockCluster, **options: Any) -> TopicSource:
    return TopicSource(cluster.bootstrap, TOPIC, answer_ms=3000, settings=QUICK, **options)


def read_to_end(source: TopicSource) -> Decoded:
    """Read on until the end of every partition."""
    whole = Decoded()

    def read() -> None:
        decoded = source.read(0.05)
        whole.batches += decoded.batches
        whole.reports += decoded.reports
        whole.rejected += decoded.rejected

    wait_until(lambda: source.at_end, read)
    return whole


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_written_is_read_as_it_was(cluster, shape):
    fill(cluster, SHAPES[shape](lives(100)) + SHAPES[shape](each_kind()))
    with source_of(cluster) as source:
        decoded = read_to_end(source)
    assert not decoded.rejected
    expected = sorted(map(repr, known([lives(100), each_kind()])))
    assert sorted(map(repr, known(decoded.batches))) == expected


def test_a_topic_of_both_shapes_reports_and_rubbish_is_read_with_reasons(cluster):
    none = (0,) * len(COUNTS)
    report = Report(ORIGIN, 1, 2, (CpuReport(0, ORIGIN.run_ns, none, none, none, 0),))
    newer = msgpack.packb({"v": VERSION + 1, "kind": "fork"})
    fill(
        cluster,
        [
            *SHAPES["event"](each_kind()),
            b"rubbish",
            None,
            newer,
            msgpack.packb(report.to_map()),
            *SHAPES["batch"](lives(5)),
        ],
    )
    with source_of(cluster) as source:
        decoded = read_to_end(source)
    assert sum(map(len, decoded.batches)) == len(KINDS) + 20
    assert decoded.reports == [report]
    assert len(decoded.rejected) == 3
    assert any(str(VERSION + 1) in str(error) for _, error in decoded.rejected)


def test_events_of_four_partitions_have_no_gap_whatever_their_order(cluster):
    fill(cluster, SHAPES["event"](lives(200)))
    books = StreamBooks(from_start=True)
    with source_of(cluster) as source:
        for found in read_to_end(source).batches:
            books.add(found)
    assert [(s.events, s.missing, s.duplicates) for s in books.summaries()] == [(400, 0, 0)] * 2


def test_an_empty_topic_is_at_its_end(cluster):
    with source_of(cluster) as source:
        assert read_to_end(source) == Decoded()


def test_reading_from_the_end_skips_what_is_there(cluster):
    fill(cluster, SHAPES["event"](lives(5)))
    with source_of(cluster, from_end=True) as source:
        assert read_to_end(source).batches == []
        fill(cluster, SHAPES["event"](batch(event("fork"))))
        found: list[Batch] = []
        wait_until(lambda: found, lambda: found.extend(source.read(0.05).batches))
        assert known(found) == known(batch(event("fork")))


def test_the_end_moves_when_more_is_written(cluster):
    fill(cluster, SHAPES["event"](lives(5)))
    with source_of(cluster) as source:
        read_to_end(source)
        fill(cluster, SHAPES["event"](lives(7)))
        found: list[Batch] = []
        wait_until(
            lambda: sum(map(len, found)) == 28, lambda: found.extend(source.read(0.05).batches)
        )
        wait_until(lambda: source.at_end, lambda: source.read(0.05))


def test_two_sources_read_the_same_and_neither_takes_from_the_other(cluster):
    fill(cluster, SHAPES["event"](lives(5)))
    for _ in range(2):
        with source_of(cluster) as source:
            assert sum(map(len, read_to_end(source).batches)) == 20


def test_waiting_for_nothing_ends_in_time(cluster):
    with source_of(cluster) as source:
        began = time.monotonic()
        assert source.read(0.1) == Decoded()
        assert time.monotonic() - began < 1


def test_a_passing_error_is_no_end_of_reading(cluster):
    fill(cluster, SHAPES["event"](lives(5)))
    cluster.push_request_errors(API_FETCH, NOT_LEADER, NOT_LEADER)
    with source_of(cluster) as source:
        assert sum(map(len, read_to_end(source).batches)) == 20


def test_a_broker_that_goes_away_is_trouble_until_it_is_back(cluster):
    fill(cluster, SHAPES["event"](lives(5)))
    with source_of(cluster) as source:
        read_to_end(source)
        cluster.set_down()
        wait_until(lambda: source.trouble, lambda: source.read(0.05))
        assert f"waiting for broker {cluster.bootstrap}" in source.trouble
        cluster.set_up()
        fill(cluster, SHAPES["event"](batch(event("fork"))))
        found: list[Batch] = []
        wait_until(lambda: found, lambda: found.extend(source.read(0.05).batches))
        assert source.trouble == ""


def test_reading_that_is_refused_is_an_error(cluster):
    fill(cluster, SHAPES["event"](lives(5)))
    cluster.push_request_errors(API_FETCH, *[NO_RIGHT] * 9)
    with source_of(cluster) as source, pytest.raises(BrokerError) as raised:
        read_to_end(source)
    assert "authorization failed" in str(raised.value)
    assert TOPIC in str(raised.value)


@pytest.mark.parametrize("code", [NO_RIGHT, UNKNOWN_TOPIC])
def test_a_topic_that_cannot_be_read_is_told_at_the_start(cluster, code):
    cluster.topic_set_error(TOPIC, code)
    with pytest.raises(BrokerError, match=f"topic {TOPIC} cannot be read on {cluster.bootstrap}"):
        source_of(cluster)


def test_a_broker_that_does_not_answer_is_told_in_time(cluster):
    cluster.set_down()
    began = time.monotonic()
    with pytest.raises(BrokerError, match=f"broker {cluster.bootstrap} does not answer"):
        TopicSource(cluster.bootstrap, TOPIC, answer_ms=300)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("settings", [{"fetch.mni.bytes": "1"}, {"fetch.min.bytes": "few"}])
def test_a_wrong_setting_is_told_at_the_start(cluster, settings):
    with pytest.raises(ConfigError, match=r"^Kafka settings: "):
        TopicSource(cluster.bootstrap, TOPIC, settings=settings)


def test_a_step_of_the_wall_clock_in_the_topic_redates_no_event(cluster):
    later = batch(event("exit"), wall_offset_ns=WALL_OFFSET_NS - 3_600_000_000_000)
    fill(cluster, SHAPES["event"](each_kind()) + SHAPES["event"](later))
    with source_of(cluster) as source:
        found = known(read_to_end(source).batches)
    assert sorted(e["wall_ns"] for e in found) == sorted(
        e["wall_ns"] for e in known([each_kind(), later])
    )
