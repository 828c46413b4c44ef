"""What a compacted topic holds: the last value of each key.

Rim: touches a broker through confluent-kafka.
"""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec as _OffsetSpec  # type: ignore[attr-defined]

from taskstream.consumer.connection import Connection
from taskstream.errors import BrokerError
from taskstream.kafka_client import make_admin, refresh

__all__ = ["StateReader"]

_LATEST = _OffsetSpec.latest()  # type: ignore[no-untyped-call]

WAIT = {"fetch.wait.max.ms": 10}
"""A partition's end is told by an empty answer, which a broker holds back for 0.5 s by default."""

MOST_MESSAGES = 10_000

ASK_S = 10

STILL_S = 60
"""For how long nothing may come, by default."""


class StateReader:
    """Reads partitions of compacted topics, of which only what was committed counts.

    Args:
        bootstrap: Broker addresses.
        still_s: For how long nothing may come: longer than a transaction that nobody ends stays
            open.
        settings: librdkafka settings of the user.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
    """

    def __init__(
        self,
        bootstrap: str,
        settings: Mapping[str, str] | None = None,
        *,
        still_s: float = STILL_S,
    ) -> None:
        self._bootstrap, self._still_s = bootstrap, still_s
        config = {"group.id": "taskstream-state", "isolation.level": "read_committed"}
        self._connection = Connection(bootstrap, config | WAIT, settings)
        self._consumer = self._connection.consumer
        self._admin = make_admin(bootstrap, settings)

    def read(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], dict[bytes, bytes]]:
        """Read partitions whole.

        Args:
            places: Topics and partitions.

        Returns:
            By topic and partition the last value of each key that was not taken out.

        Raises:
            BrokerError: one cannot be read to its end.
        """
        entries: dict[tuple[str, int], dict[bytes, bytes]] = {place: {} for place in places}
        left = {place: end for place, end in self._ends(places).items() if end}
        self._consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in left])
        try:
            since = time.monotonic()
            while left:
                for message in self._consumer.consume(MOST_MESSAGES, 0.05):
                    since = time.monotonic()
                    place = message.topic() or "", message.partition() or 0
                    error = message.error()
                    if error is None:
                        _take(entries[place], message.key() or b"", message.value())
                    elif error.code() != KafkaError._PARTITION_EOF:
                        self._connection.take(error, place[0], grouped=False)
                    elif (message.offset() or 0) >= left.get(place, 0):
                        left.pop(place, None)
                if time.monotonic() > since + self._still_s:
                    raise self._stuck(left)
        finally:
            self._consumer.unassign()
        return entries

    def _ends(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the ends of partitions, what is not committed included."""
        wanted = {TopicPartition(*place): _LATEST for place in places}
        until = time.monotonic() + self._still_s
        while wanted:
            try:
                asked = self._admin.list_offsets(wanted, request_timeout=ASK_S)
                return {(one.topic, one.partition): a.result().offset for one, a in asked.items()}
            except KafkaException as error:
                if time.monotonic() > until:
                    names = ", ".join(sorted({topic for topic, _ in places}))
                    raise BrokerError(
                        f"{names} cannot be read on {self._bootstrap}: {error.args[0].str()}"
                    ) from None
                refresh(self._admin)
                time.sleep(0.2)
        return {}

    def _stuck(self, left: Mapping[tuple[str, int], int]) -> BrokerError:
        (topic, partition), end = next(iter(left.items()))
        why = self._connection.trouble or "a transaction is open"
        return BrokerError(
            f"{topic} [{partition}] cannot be read to offset {end} on {self._bootstrap}: "
            f"nothing came for {self._still_s:g} s; {why}"
        )

    def close(self) -> None:
        """Leave the broker, with both clients here and now (see `Reached.close`)."""
        self._consumer.close()
        vars(self).pop("_admin", None)


def _take(entries: dict[bytes, bytes], key: bytes, value: bytes | None) -> None:
    if value is None:
        entries.pop(key, None)
    else:
        entries[key] = value
