"""A topic as a source: what agents published, from one host or from many.

Rim: touches a broker through confluent-kafka.
"""

from collections.abc import Mapping
from typing import Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from taskstream.consumer.connection import Connection
from taskstream.errors import BrokerError
from taskstream.message.decode import Decoded, MessageDecoder

__all__ = ["TopicSource"]

_MOST_MESSAGES = 10_000
_FOR_EVER = 1 << 63


class TopicSource:
    """Reads every partition of a topic, without a consumer group.

    Args:
        bootstrap: Broker addresses.
        topic: The topic.
        from_end: Start with what comes from now on; else with the oldest message.
        to_end: Read no further than the topic's end at this moment.
        since_ms: Start with the messages from this time on, in milliseconds since 1970.
        answer_ms: How long the broker may take to answer at the start.
        settings: librdkafka settings of the user.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        BrokerError: no broker answers, or the topic does not exist or may not be read.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        from_end: bool = False,
        to_end: bool = False,
        since_ms: int | None = None,
        answer_ms: int = 5_000,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self._decoder = MessageDecoder()
        self._at_end: set[int] = set()
        config = {"group.id": "taskstream-consume", "auto.offset.reset": "earliest"}
        self._connection = Connection(bootstrap, config, settings)
        self._consumer = self._connection.consumer
        try:
            self._partitions = self._connection.partitions(topic, answer_ms / 1000)
            self._end_of: dict[int, int] = {}
            if to_end:
                wanted = [(topic, partition) for partition in self._partitions]
                ends = self._connection.present_ends(wanted, answer_ms / 1000)
                self._end_of = {partition: end for (_, partition), end in ends.items()}
                self._at_end = {partition for partition, end in self._end_of.items() if not end}
            start = OFFSET_END if from_end else OFFSET_BEGINNING
            places = [TopicPartition(topic, partition, start) for partition in self._partitions]
            if since_ms is not None:
                places = self._places_at(since_ms, answer_ms)
        except BaseException:
            self._consumer.close()
            raise
        self._consumer.assign(places)

    @property
    def trouble(self) -> str:
        """Why nothing comes at present; empty while all is well."""
        return self._connection.trouble

    def _places_at(self, since_ms: int, answer_ms: int) -> list[TopicPartition]:
        """Return the first message of each partition that is not older; else its end."""
        asked = [TopicPartition(self._topic, p, since_ms) for p in self._partitions]
        try:
            return self._consumer.offsets_for_times(asked, timeout=answer_ms / 1000)
        except KafkaException as error:
            raise BrokerError(
                f"broker {self._bootstrap} does not say where in {self._topic} the last minutes "
                f"begin: {error.args[0].str()}"
            ) from None

    def read(self, timeout_s: float) -> Decoded:
        """Wait for messages of the topic of events and decode them.

        Args:
            timeout_s: The longest wait, in seconds.

        Raises:
            BrokerError: reading is refused, or the connection is lost for good.
        """
        return self._decoder.decode(self.values(timeout_s))

    def values(self, timeout_s: float) -> list[bytes]:
        """Wait for messages and return their payloads.

        Args:
            timeout_s: The longest wait, in seconds; 0 for none.

        Raises:
            BrokerError: reading is refused, or the connection is lost for good.
        """
        values = []
        for message in self._consumer.consume(_MOST_MESSAGES, timeout_s):
            error, partition = message.error(), message.partition() or 0
            if error is None:
                self._connection.trouble = ""
                left = self._end_of.get(partition, _FOR_EVER) - (message.offset() or 0)
                if left > 0:
                    values.append(message.value() or b"")
                (self._at_end.discard if left > 1 else self._at_end.add)(partition)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._at_end.add(partition)
            else:
                self._connection.take(error, self._topic, grouped=False)
        return values

    @property
    def at_end(self) -> bool:
        """Tell whether every partition was read to its present end, or to that of the start."""
        return self._at_end >= self._partitions

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
