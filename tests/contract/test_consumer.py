"""What `taskstream.consumer` promises, on the real Kafka and on librdkafka's mock alike."""

import doctest
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from taskstream.batch import Batch, Origin, take
from taskstream.consumer import EventConsumer, Portion
from taskstream.errors import BrokerError
from taskstream.record import COUNTS
from taskstream.report import CpuReport, Report
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from tests.kafka.cluster import KafkaCluster
from tests.mock_cluster import MockCluster
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, each_kind, known, lives
from tests.topic import wait_until

pytestmark = pytest.mark.kafka

NONE = (0,) * len(COUNTS)
DEADLINE_S = 60
QUICK = {"fetch.wait.max.ms": "10", "heartbeat.interval.ms": "200"}


class Broker:
    """A broker, whichever, with a topic of four partitions for each test."""

    def __init__(self, bootstrap: str, create: Callable[[str], None]) -> None:
        self.bootstrap, self._create = bootstrap, create

    def fill(self, *things: Batch | Report, message: str = "event", topic: str = "") -> str:
        if not topic:
            topic = f"consumer-{uuid.uuid4().hex}"
            self._create(topic)
        sink = KafkaSink(KafkaOptions(bootstrap=self.bootstrap, topic=topic, message=message))
        for thing in things:
            (sink.write if isinstance(thing, Batch) else sink.report)(thing)
        wait_until(lambda: not sink.in_queue(), sink.tick)
        return topic


@pytest.fixture(scope="module", params=["mock", "kafka"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "mock":
        with MockCluster() as cluster:
            yield Broker(cluster.bootstrap, cluster.topic_create)
        return
    kafka: KafkaCluster = request.getfixturevalue("kafka")
    yield Broker(kafka.bootstrap, kafka.create_topic)


@pytest.fixture
def real(kafka: KafkaCluster) -> Broker:
    """Return the real Kafka alone: the mock takes most of a minute to hand a partition over."""
    return Broker(kafka.bootstrap, kafka.create_topic)


def part(batch: Batch, rows: Sequence[int]) -> Batch:
    records = take(batch.records, np.array(rows, np.intp))
    return Batch(batch.origin, records, batch.wall_offset_ns, batch.texts)


def report(*next_seqs: int, origin: Origin = ORIGIN, second: int = 1, lost: int = 0) -> Report:
    """Make a report of CPUs whose numbers go so far."""
    cpus = tuple(
        CpuReport(cpu, origin.run_ns + seq, NONE, (lost, *NONE[1:]), NONE, 0)
        for cpu, seq in enumerate(next_seqs)
    )
    return Report(origin, origin.run_ns + second * 10**9, WALL_OFFSET_NS, cpus)


def gather(
    consumer: EventConsumer, enough: Callable[[list[Portion]], object] | None = None
) -> list[Portion]:
    """Read to the end, or until there is enough."""
    portions: list[Portion] = []
    deadline = time.monotonic() + DEADLINE_S
    while not (enough(portions) if enough else consumer.at_end):
        assert time.monotonic() < deadline, portions
        portions.append(consumer.read(0.02))
    return portions


def events(portions: Sequence[Portion]) -> list[str]:
    return sorted(repr(e) for p in portions for b in p.batches for e in known(b))


def count(portions: Sequence[Portion]) -> int:
    return sum(map(len, portions))


@pytest.mark.parametrize("message", ["event", "batch"])
def test_each_event_of_either_shape_is_yielded_once_however_often_it_was_published(broker, message):
    kinds = each_kind()
    kinds = Batch(Origin("db-1", "boot", 7), kinds.records, WALL_OFFSET_NS, kinds.texts)
    given = [kinds, lives(200), lives(50, origin=Origin("web-1", "boot", 7))]
    topic = broker.fill(*given, report(1, 1), message=message)
    broker.fill(*given, message=message, topic=topic)
    with EventConsumer(broker.bootstrap, [topic], settings=QUICK) as consumer:
        portions = gather(consumer)
    assert events(portions) == sorted(repr(event) for event in known(given))
    assert sum(p.again for p in portions) == len(known(given))
    assert sum(p.late for p in portions) == 0
    assert [r for p in portions for r in p.reports] == [report(1, 1)]


def test_what_was_not_committed_is_read_again_and_what_was_is_not(real):
    topic = real.fill(lives(100))
    with EventConsumer(real.bootstrap, [topic], group=topic, settings=QUICK) as consumer:
        assert count(gather(consumer)) == 400
    with EventConsumer(real.bootstrap, [topic], group=topic, settings=QUICK) as consumer:
        assert count(gather(consumer)) == 400
        consumer.commit()
    with EventConsumer(real.bootstrap, [topic], group=topic, settings=QUICK) as consumer:
        assert count(gather(consumer)) == 0


def test_a_portion_is_committed_when_the_next_one_is_asked_for(real):
    topic = real.fill(lives(100))
    with EventConsumer(real.bootstrap, [topic], group=topic, settings=QUICK) as consumer:
        portions = iter(consumer)
        seen = 0
        while seen < 400:
            seen += len(next(portions))
        real.fill(lives(100, origin=Origin("web-2", "boot", 1)), topic=topic)
        later = len(next(portions))  # in the midst of its work, it dies
        assert later
    with EventConsumer(real.bootstrap, [topic], group=topic, settings=QUICK) as consumer:
        assert count(gather(consumer)) == 800 - seen


def test_a_loss_is_told_with_its_size_and_what_the_agent_knows_of_it(broker):
    whole = lives(100)  # 200 numbers of each of two CPUs
    kept = part(whole, [n for n in range(400) if n not in (10, 12, 14, 399)])
    topic = broker.fill(kept, report(200, 200, lost=2))
    with EventConsumer(broker.bootstrap, [topic], settings=QUICK, late_s=0) as consumer:
        portions = gather(consumer, lambda portions: any(p.gaps for p in portions))
    gaps = [gap for p in portions for gap in p.gaps]
    assert [(g.cpu, g.missing, g.lost, g.unexplained) for g in gaps] == [(0, 3, 2, 1), (1, 1, 2, 0)]
    assert {g.until_ns for g in gaps} == {report(1).boot_ns}


def test_a_gap_that_is_filled_in_time_is_none(broker):
    whole = lives(100)
    topic = broker.fill(part(whole, range(300)), report(200, 200))
    with EventConsumer(broker.bootstrap, [topic], settings=QUICK, late_s=2) as consumer:
        portions = gather(consumer, lambda _: len(consumer.reader.read_to_ms) == 4)
        broker.fill(part(whole, range(300, 400)), report(200, 200, second=2), topic=topic)
        # Reports are judged in their order: when the gap of this one is told, all were.
        broker.fill(report(201, 200, second=3), topic=topic)
        portions += gather(consumer, lambda portions: any(p.gaps for p in portions))
    assert count(portions) == 400
    ((last,),) = [p.gaps for p in portions if p.gaps]
    assert (last.cpu, last.missing, last.until_ns) == (0, 1, report(201, second=3).boot_ns)


def test_a_reader_that_begins_at_the_end_does_not_miss_what_was_before(broker):
    whole = lives(100)
    topic = broker.fill(part(whole, range(200)))
    with EventConsumer(
        broker.bootstrap, [topic], settings=QUICK, from_end=True, late_s=0
    ) as consumer:
        wait_until(lambda: consumer.at_end, lambda: consumer.read(0.02))
        broker.fill(part(whole, range(200, 300)), report(150, 150), topic=topic)
        broker.fill(part(whole, range(302, 400)), report(200, 200, second=2), topic=topic)
        portions = gather(consumer, lambda portions: sum(len(p.gaps) for p in portions) == 2)
    assert count(portions) == 198
    assert [g.missing for p in portions for g in p.gaps] == [1, 1]


def test_watermarks_follow_each_cpu(broker):
    topic = broker.fill(lives(1000), message="batch")  # four seconds
    with EventConsumer(broker.bootstrap, [topic], settings=QUICK) as consumer:
        gather(consumer)
        broker.fill(lives(1100), message="batch", topic=topic)
        marks = gather(consumer, lambda portions: count(portions) >= 4_00)[-1].watermarks
    assert {cpu for _, cpu in marks} == {0, 1}
    assert min(marks.values()) > ORIGIN.run_ns


def test_what_is_no_message_of_ours_is_given_with_its_place_and_the_rest_goes_on(broker):
    topic = broker.fill(lives(10))
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(topic, b"rubbish", partition=2)
    producer.flush(10)
    with EventConsumer(broker.bootstrap, [topic], settings=QUICK) as consumer:
        portions = gather(consumer)
    assert count(portions) == 40
    ((place, error),) = [r for p in portions for r in p.rejected]
    assert (place.topic, place.partition) == (topic, 2)
    assert "not MessagePack" in str(error)


def test_a_topic_that_does_not_exist_is_one_line(broker):
    with pytest.raises(BrokerError, match="topic none-such cannot be read"):
        EventConsumer(broker.bootstrap, ["none-such"], group="none")


def test_members_of_a_group_share_the_partitions_and_no_event_is_left_out(real):
    """One more comes while the first reads; then the first goes."""
    topic = real.fill(lives(100))
    with EventConsumer(real.bootstrap, [topic], group=topic, settings=QUICK) as first:
        portions = gather(first)
        first.commit()
        assert first.reader.whole
        with EventConsumer(real.bootstrap, [topic], group=topic, settings=QUICK) as second:

            def turn() -> None:
                for one in (first, second):
                    portions.append(one.read(0.02))
                    one.commit()

            def shared() -> bool:
                own = [len(one.reader.places) for one in (first, second)]
                return own == [2, 2]

            deadline = time.monotonic() + DEADLINE_S
            while not shared():
                assert time.monotonic() < deadline
                turn()
            assert not first.reader.places & second.reader.places
            real.fill(lives(100, origin=Origin("web-3", "boot", 1)), topic=topic)
            while count(portions) < 800:
                assert time.monotonic() < deadline
                turn()
            first.close()
            real.fill(lives(100, origin=Origin("web-4", "boot", 1)), topic=topic)
            while count(portions) < 1200:
                assert time.monotonic() < deadline
                portions.append(second.read(0.02))
                second.commit()
    assert len(set(events(portions))) == 1200


def test_the_examples_of_the_docs_are_what_happens(broker):
    whole = lives(100)
    given = part(whole, [n for n in range(400) if n not in (3, 5, 203, 398)])
    name = "doc.events"
    broker._create(name)
    broker.fill(given, report(200, 200), topic=name, message="batch")
    broker.fill(given, topic=name, message="batch")
    page = Path(__file__).parents[2] / "docs" / "consumer.md"
    found = doctest.testfile(
        str(page), module_relative=False, globs={"BROKER": broker.bootstrap, "whole": [whole]}
    )
    assert found.attempted > 10
    assert not found.failed
