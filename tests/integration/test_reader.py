"""What goes wrong while partitions change hands reaches the caller, and nothing hangs."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from confluent_kafka import Producer

from taskstream.broker import EmbeddedBroker
from taskstream.consumer.reader import Reader
from taskstream.consumer.topic import TopicSource
from taskstream.errors import BrokerError
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
