"""A transaction is ended in its time, and whoever asked for it knows why."""

import time
from collections.abc import Iterator

import pytest

from taskstream.changelog import Outgoing
from taskstream.sink.transaction import AbortedError, Transactions
from tests.kafka.cluster import KafkaCluster
from tests.topic import fetch

TIMEOUT_S = 1


def slowly(topic: str) -> Iterator[Outgoing]:
    """Yield messages for longer than a transaction may be open."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        yield Outgoing(topic, 0, b"key", b"value")
        time.sleep(0.01)


def test_a_transaction_that_takes_too_long_is_told_from_brokers_that_are_away(kafka: KafkaCluster):
    kafka.create_topic("slow", 1)
    writer = Transactions(
        kafka.bootstrap, "slow/1", {"transaction.timeout.ms": str(TIMEOUT_S * 1000)}
    )
    with pytest.raises(AbortedError) as raised:
        writer.commit(slowly("slow"), [], lambda: None)
    assert (raised.value.slow, raised.value.away, raised.value.unsure) == (True, False, False)
    writer.abort()
    writer.write([Outgoing("slow", 0, b"key", b"after")])
    assert [message.value for message in fetch(kafka.bootstrap, "slow")] == [b"after"]
