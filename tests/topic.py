"""A topic read with confluent-kafka alone, and waiting for what a broker will do."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

__all__ = ["Fetched", "fetch", "murmur2", "wait_until"]

_DEADLINE_S = 20.0
"""More than any back-off of a client; only a failing test waits this long."""


@dataclass(frozen=True)
class Fetched:
    """One message of a topic."""

    value: bytes
    key: bytes
    stamp_ms: int
    partition: int
    offset: int


def fetch(bootstrap: str, topic: str) -> list[Fetched]:
    """Return all that is in a topic, in order of partition and offset."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "plain",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "fetch.error.backoff.ms": 10,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    found, ended = [], set()
    deadline = time.monotonic() + _DEADLINE_S
    while ended != set(partitions):
        assert time.monotonic() < deadline, f"{topic} has no end: {ended} of {set(partitions)}"
        for message in consumer.consume(10_000, 0.02):
            error = message.error()
            if error is None:
                found.append(
                    Fetched(
                        message.value() or b"",
                        message.key() or b"",
                        message.timestamp()[1],
                        message.partition() or 0,
                        message.offset() or 0,
                    )
                )
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
    consumer.close()
    return sorted(found, key=lambda m: (m.partition, m.offset))


def murmur2(key: bytes) -> int:
    """Hash as Java's default partitioner does (org.apache.kafka.common.utils.Utils): 32 bits."""
    word, mask = 0x5BD1E995, 0xFFFFFFFF
    value = (0x9747B28C ^ len(key)) & mask
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * word & mask
        k = (k ^ k >> 24) * word & mask
        value = (value * word & mask) ^ k
    if rest := key[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * word & mask
    value = (value ^ value >> 13) * word & mask
    return value ^ value >> 15


def wait_until(holds: Callable[[], object], go_on: Callable[[], object] | None = None) -> None:
    """Wait until a condition holds; past the deadline, fail.

    Args:
        holds: The condition.
        go_on: Called between two looks.
    """
    deadline = time.monotonic() + _DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {_DEADLINE_S} s"
        if go_on is not None:
            go_on()
        time.sleep(0.005)
