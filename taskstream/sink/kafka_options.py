"""Where and how to publish to Kafka.

No I/O; librdkafka reads the settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DEFAULTS", "KafkaOptions"]

DEFAULTS: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 1,
    "batch.size": 1_000_000,
    "batch.num.messages": 10_000,
    "message.max.bytes": 1_000_000,
    "queue.buffering.max.messages": 0,
    "queue.buffering.max.kbytes": 65_536,
    "delivery.timeout.ms": 120_000,
    "reconnect.backoff.max.ms": 5_000,
    "partitioner": "murmur2_random",
    "enable.metrics.push": False,
    "client.id": "taskstream",
}
"""librdkafka settings unless the user says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """Where and how to publish.

    Attributes:
        bootstrap: Broker addresses.
        topic: The topic of events and reports.
        message: ``event`` (a message per event), ``batch``, or ``json`` (likewise one per event).
        shard_count: Of ``batch`` messages: how many keys a host has.
        queue_wait_ms: How long what finds no room may wait before it is dropped.
        answer_ms: How long the broker may take to answer at the start.
        patient: Begin also while no broker answers.
        settings: librdkafka settings of the user, over `DEFAULTS`.
    """

    bootstrap: str
    topic: str = "taskstream.events"
    message: str = "event"
    shard_count: int = 1
    queue_wait_ms: int = 1000
    answer_ms: int = 5_000
    patient: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
