"""What a compacted topic holds: the last value of each key.

Rim: touches a broker through confluent-kafka.
"""

import time
from collections.abc import Mapping

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec as _OffsetSpec  # type: ignore[attr-defined]

from taskstream.consumer.connection import Connection
from taskstream.errors import BrokerError
from taskstream.kafka_client import make_admin

__all__ = ["StateReader"]

_LATEST = _OffsetSpec.latest()  # type: ignore[no-untyped-call]

MOST_MESSAGES = 10_000

STILL_S = 60
"""For how long nothing may come: longer than a transaction that nobody ends stays open."""


class StateReader:
    """Reads partitions of compacted topics, of which only what was committed counts.

    Args:
        bootstrap: Broker addresses.
        settings: librdkafka settings of the user.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
    """

    def __init__(self, bootstrap: str, settings: Mapping[str, str] | None = None) -> None:
        self._bootstrap = bootstrap
        config = {"group.id": "taskstream-state", "isolation.level": "read_committed"}
        self._connection = Connection(bootstrap, config, settings)
        self._consumer = self._connection.consumer
        self._admin = make_admin(bootstrap, settings)

    def read(self, topic: str, partition: int) -> dict[bytes, bytes]:
        """Return the last value of each key of a partition that was not taken out.

        Raises:
            BrokerError: it cannot be read to its end.
        """
        end = self._end(TopicPartition(topic, partition))
        entries: dict[bytes, bytes] = {}
        if not end:
            return entries
        self._consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        try:
            since = time.monotonic()
            while time.monotonic() < since + STILL_S:
                for message in self._consumer.consume(MOST_MESSAGES, 1):
                    since = time.monotonic()
                    error = message.error()
                    if error is None:
                        _take(entries, message.key() or b"", message.value())
                    elif error.code() != KafkaError._PARTITION_EOF:
                        self._connection.take(error, topic, grouped=False)
                    elif (message.offset() or 0) >= end:
                        return entries
        finally:
            self._consumer.unassign()
        raise BrokerError(
            f"{topic} [{partition}] cannot be read to offset {end} on {self._bootstrap}: "
            f"nothing came for {STILL_S} s; {self._connection.trouble or 'a transaction is open'}"
        )

    def _end(self, place: TopicPartition) -> int:
        """Return the end of a partition, what is not committed included."""
        try:
            asked = self._admin.list_offsets({place: _LATEST}, request_timeout=STILL_S)
            return int(asked[place].result().offset)
        except KafkaException as error:
            raise BrokerError(
                f"{place.topic} [{place.partition}] cannot be read on {self._bootstrap}: "
                f"{error.args[0].str()}"
            ) from None

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()


def _take(entries: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        entries.pop(key, None)
    else:
        entries[key] = value
