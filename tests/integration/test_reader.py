"""What goes wrong while partitions change hands reaches the caller, and nothing hangs."""

import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count

import pytest
from confluent_kafka import Producer

from taskstream.batch import Origin
from taskstream.broker import EmbeddedBroker
from taskstream.consumer.reader import Place, Reader
from taskstream.consumer.topic import TopicSource
from taskstream.errors import BrokerError
from taskstream.interval import Interval
from taskstream.recount import Recounter
from tests.agent_run import CHOICE, PARTITIONS, Run
from tests.command import ROOT
from tests.plain import boot_ns_of
from tests.topic import wait_until

TOPIC = "taskstream.events"


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        producer = Producer({"bootstrap.servers": broker.address})
        producer.produce(TOPIC, b"makes the topic")
        producer.flush(10)
        yield broker


def refuse(_places: object) -> None:
    raise BrokerError("refused")


def test_an_error_at_gaining_partitions_is_raised_by_read_and_the_reader_closes(broker):
    reader = Reader(broker.address, [TOPIC], group="g", on_gained=refuse)
    with pytest.raises(BrokerError, match="refused"):
        wait_until(lambda: reader.read(0.1))
    reader.close()


def test_an_error_at_giving_partitions_up_at_the_end_is_raised_by_close(broker):
    reader = Reader(broker.address, [TOPIC], group="g", on_losing=refuse)
    wait_until(lambda: reader.read(0.1) or reader.places)
    with pytest.raises(BrokerError, match="refused"):
        reader.close()


def test_how_far_was_read_is_known_also_when_the_wall_clock_is_set_back(broker):
    hours = iter(range(1000, 0, -1))
    with Reader(broker.address, [TOPIC], now_ms=lambda: next(hours) * 3_600_000) as reader:
        told: set[int] = set()

        def read() -> int:
            reader.read(0.05)
            told.update(reader.read_to_ms.values())
            return len(told)

        wait_until(lambda: read() >= 3)


def test_what_is_held_is_read_when_it_is_let_go_from_where_it_was_and_once(kafka):
    topic = f"held-{uuid.uuid4().hex}"
    kafka.create_topic(topic, 2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(4000):
        producer.produce(topic, b"%d" % number, partition=number % 2)
    producer.flush(10)
    held, found = Place(topic, 0), defaultdict(list)
    with Reader(kafka.bootstrap, [topic], to_end=True) as reader:

        def read() -> None:
            for stretch in reader.read(0.05, 100):
                found[stretch.place] += stretch.values

        wait_until(lambda: found[held], read)
        reader.hold([held])
        before = len(found[held])
        wait_until(lambda: reader.waiting == {held}, read)
        assert len(found[held]) == before < 2000
        reader.hold([])
        wait_until(lambda: reader.at_end, read)
    for place, values in found.items():
        assert list(map(int, values)) == list(range(place.partition, 4000, 2))


@pytest.mark.parametrize("live", [False, True], ids=["there already", "replayed meanwhile"])
@pytest.mark.parametrize("shape", ["event", "batch"])
def test_a_quiet_host_whose_partitions_are_hours_apart_has_no_late_events(kafka, shape, live):
    """A single portion of a partition holds hours of it."""
    run = Run(tasks=900, seconds=12 * 3600, every_s=60, commands=3, step_ns=20 * 10**9)
    topic = f"quiet-{uuid.uuid4().hex}"
    kafka.create_topic(topic, PARTITIONS)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})

    def publish() -> None:
        for place, values in run.partitions(shape).items():
            # Reports between the events, as an agent sends them.
            for value in sorted(values, key=boot_ns_of):
                producer.produce(topic, value, partition=place.partition)
            producer.flush(10)

    told: list[Interval] = []
    recounter = Recounter(CHOICE, Told(told), late_s=10)
    if live:
        with Reader(kafka.bootstrap, [topic]) as reader:
            turns = count()

            def stop() -> bool:
                if (turn := next(turns)) == 5:
                    publish()
                return turn > 16 and reader.at_end

            recounter.topic(reader, stop, exit_at_end=False)
            recounter.end()
    else:
        publish()
        with Reader(kafka.bootstrap, [topic], to_end=True) as reader:
            recounter.topic(reader, lambda: False, exit_at_end=True)
    totals = recounter.totals
    assert (totals.events, totals.late, totals.unreported, totals.missing) == (3600, 0, 0, 0)
    assert [i.end_ns for i in told] == [i.end_ns for i in run.intervals]
    assert [i.counts for i in told] == [i.counts for i in run.intervals]


class Told:
    """Keeps intervals."""

    def __init__(self, intervals: list[Interval]) -> None:
        self._intervals = intervals

    def interval(self, _origin: Origin, interval: Interval) -> None:
        self._intervals.append(interval)

    def forget(self, origin: Origin) -> None:
        """Nothing is kept of it."""


DROPPED = """
import gc, sys, time
from concurrent.futures import Future
from taskstream.consumer.reader import Reader

def set_result(future, result, whole=Future.set_result):
    gc.collect()  # in the thread of the client that asked
    whole(future, result)

Future.set_result = set_result
for _ in range(5):
    reader = Reader(sys.argv[1], ["taskstream.events"])
    reader.read(0.01)
    reader.close()
    reader.close()
    reader.itself = reader  # for the garbage collector alone to find
    del reader
    time.sleep(0.3)
"""


def test_readers_that_are_closed_while_they_ask_leave_nothing_that_ends_the_process(cluster):
    """librdkafka aborts a process that lets go of a client in one of the client's threads."""
    cluster.set_rtt(50)
    words = [sys.executable, "-c", DROPPED, cluster.bootstrap]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["source", "reader"])
def test_a_topic_that_is_written_to_all_the_time_ends_where_it_ended_at_the_start(broker, kind):
    def publish(count: int) -> None:
        producer = Producer({"bootstrap.servers": broker.address})
        for number in range(count):
            producer.produce(TOPIC, b"%d" % number, key=b"%d" % number)
        producer.flush(10)

    publish(20)
    with ExitStack() as stack:
        if kind == "source":
            source = stack.enter_context(TopicSource(broker.address, TOPIC, to_end=True))
            read = partial(source.values, 0.2)
        else:
            source = stack.enter_context(Reader(broker.address, [TOPIC], to_end=True))
            read = lambda: [value for one in source.read(0.2) for value in one.values]  # noqa: E731
        publish(20)
        values = []
        while not source.at_end:
            values += read()
        assert len(values) == 21
