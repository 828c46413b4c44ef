"""What holds for a topic, on the real Kafka and on librdkafka's mock alike: one suite for both.

The mock stands where Kafka would be too slow to start. This is what shows that it may.
"""

import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from taskstream.batch import Batch
from taskstream.consumer import TopicSource
from taskstream.errors import BrokerError
from taskstream.report import Report
from taskstream.sequence import StreamBooks
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from tests.capturing import report
from tests.kafka.cluster import KafkaCluster
from tests.mock_cluster import MockCluster
from tests.plain import events_of, map_of
from tests.synthetic import batch, each_kind, event, known, lives
from tests.topic import fetch, murmur2, wait_until

pytestmark = pytest.mark.kafka

QUICK = {"fetch.wait.max.ms": "10"}

Create = Callable[[str], None]


class Broker:
    """A broker, whichever: its address, and how a topic of four partitions is made there."""

    def __init__(self, bootstrap: str, create: Create) -> None:
        self.bootstrap = bootstrap
        self._create = create

    def topic(self) -> str:
        """Make a topic with a name of its own."""
        name = f"contract-{uuid.uuid4().hex}"
        self._create(name)
        return name


@pytest.fixture(scope="module", params=["mock", "kafka"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "mock":
        with MockCluster() as cluster:
            yield Broker(cluster.bootstrap, lambda name: cluster.topic_create(name))
        return
    kafka: KafkaCluster = request.getfixturevalue("kafka")
    yield Broker(kafka.bootstrap, kafka.create_topic)


@pytest.fixture(params=["event", "batch", "json"])
def message(request: pytest.FixtureRequest) -> str:
    return request.param


def sink_to(broker: Broker, topic: str, message: str = "event", **settings: str) -> KafkaSink:
    named = {name.replace("_", "."): value for name, value in settings.items()}
    return KafkaSink(
        KafkaOptions(bootstrap=broker.bootstrap, topic=topic, message=message, settings=named)
    )


def publish(sink: KafkaSink, *things: Batch | Report) -> None:
    for one in things:
        (sink.write if isinstance(one, Batch) else sink.report)(one)
    wait_until(lambda: not sink.in_queue(), sink.tick)


def read(broker: Broker, topic: str) -> tuple[list[Batch], list[Report]]:
    batches, reports = [], []
    with TopicSource(broker.bootstrap, topic, settings=QUICK) as source:
        while not source.at_end:
            decoded = source.read(0.05)
            assert not decoded.rejected
            batches += decoded.batches
            reports += decoded.reports
    return batches, reports


def test_what_is_published_is_acknowledged_and_can_be_read(broker, message):
    topic, given = broker.topic(), lives(200)
    sink = sink_to(broker, topic, message)
    publish(sink, each_kind(), given, report(0), report(1, final=True))
    assert sink.account.delivered == sink.account.received == 800 + len(each_kind())
    assert sink.others["report"] == 2
    batches, reports = read(broker, topic)
    expected = [known(each_kind()), known(given)]
    found = sorted((e for b in batches for e in known(b)), key=repr)
    assert found == sorted((e for part in expected for e in part), key=repr)
    assert sorted(reports, key=lambda r: r.boot_ns) == [report(0), report(1, final=True)]


def test_each_process_is_in_one_partition_in_order(broker, message):
    topic = broker.topic()
    given = lives(100, cpus=1)
    publish(sink_to(broker, topic, message), given)
    places: dict[int, set[int]] = {}
    times: dict[int, list[int]] = {}
    for one in fetch(broker.bootstrap, topic):
        for told in sorted(events_of(one.value), key=lambda e: e["boot_ns"]):
            places.setdefault(told["tgid"], set()).add(one.partition)
            times.setdefault(told["tgid"], []).append(told["boot_ns"])
    assert len(places) == 100
    assert all(len(partitions) == 1 for partitions in places.values())
    assert all(own == sorted(own) and len(own) == 4 for own in times.values())
    if message != "batch":
        assert len(set.union(*places.values())) > 1


def test_a_reader_can_begin_at_a_moment(request):
    """(The mock knows no moments.)"""
    broker = Broker(
        request.getfixturevalue("kafka").bootstrap, request.getfixturevalue("kafka").create_topic
    )
    topic, given = broker.topic(), lives(50)
    publish(sink_to(broker, topic), given)
    stamps_ms = (given.records["boot_ns"].astype(np.int64) + given.wall_offset_ns) // 1_000_000
    since_ms = int(np.median(stamps_ms))
    with TopicSource(broker.bootstrap, topic, since_ms=since_ms, settings=QUICK) as source:
        found = []
        while not source.at_end:
            found += [e["seq"] for b in source.read(0.05).batches for e in known(b)]
    later = given.records["seq"][stamps_ms >= since_ms].tolist()
    assert sorted(found) == sorted(later)
    assert 0 < len(later) < len(given)


def test_the_same_key_is_in_the_same_partition_on_every_broker(broker):
    """The partitioner is the client's, not the broker's: murmur2, as Java's clients have it."""
    topic = broker.topic()
    publish(sink_to(broker, topic), lives(20))
    found = {one.key: one.partition for one in fetch(broker.bootstrap, topic)}
    assert found == {key: (murmur2(key) & 0x7FFFFFFF) % 4 for key in found}


def test_the_record_timestamp_is_the_time_of_the_event(broker):
    topic = broker.topic()
    publish(sink_to(broker, topic), each_kind())
    for one in fetch(broker.bootstrap, topic):
        assert one.stamp_ms == map_of(one.value)["wall_ns"] // 1_000_000


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd", "snappy"])
def test_every_compression_is_taken(broker, compression):
    topic = broker.topic()
    sink = sink_to(broker, topic, "batch", compression_type=compression)
    publish(sink, lives(50))
    assert sink.account.delivered == 200
    assert sum(len(b) for b in read(broker, topic)[0]) == 200


def test_books_of_a_topic_that_was_written_twice_know_the_copies(broker, message):
    topic = broker.topic()
    for _ in range(2):
        publish(sink_to(broker, topic, message), lives(30))
    books = StreamBooks(from_start=True)
    for one in read(broker, topic)[0]:
        books.add(one)
    assert books.duplicates == 120
    assert sum(s.missing for s in books.summaries()) == 0


def test_a_message_that_is_too_large_is_counted_as_rejected_and_the_rest_goes_on(broker):
    """Nothing can be halved below one event."""
    topic = broker.topic()
    sink = sink_to(broker, topic, "batch", message_max_bytes="2000", batch_size="2000")
    large = event("exec", argv=b"x" * 5000 + b"\0")
    publish(sink, batch(large), lives(10))
    assert (sink.account.delivered, sink.account.rejected) == (40, 1)
    assert any("too large" in reason.lower() for reason in sink.errors)


def test_a_topic_that_is_not_there_cannot_be_read(broker):
    absent = f"absent-{uuid.uuid4().hex}"
    with pytest.raises(BrokerError, match="cannot be read"):
        TopicSource(broker.bootstrap, absent)


def test_messages_are_as_they_were_encoded(broker):
    """The broker adds nothing to a value, and keeps the key."""
    topic = broker.topic()
    publish(sink_to(broker, topic), batch(event("fork")))
    (one,) = fetch(broker.bootstrap, topic)
    assert one.key.startswith(b"build-7/")
    assert events_of(one.value)[0]["kind"] == "fork"
