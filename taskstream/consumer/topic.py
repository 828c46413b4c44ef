"""A topic as a source: what agents published, from one host or from many.

Rim: touches a broker through confluent-kafka.
"""

import logging
from collections.abc import Mapping
from typing import Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from taskstream.decode import Decoded, MessageDecoder
from taskstream.errors import BrokerError, ConfigError
from taskstream.refusal import refusal

__all__ = ["TopicSource"]

_LOG = logging.getLogger("taskstream.kafka")
_MOST_MESSAGES = 10_000
_AWAY = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE)


class TopicSource:
    """Reads every partition of a topic, without a consumer group.

    Args:
        bootstrap: Broker addresses.
        topic: The topic.
        from_end: Start with what comes from now on; else with the oldest message.
        since_ms: Start with the messages from this time on, in milliseconds since 1970.
        answer_ms: How long the broker may take to answer at the start.
        settings: librdkafka settings of the user.

    Attributes:
        trouble: Why nothing comes at present; empty while all is well.

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
        since_ms: int | None = None,
        answer_ms: int = 5_000,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self._decoder = MessageDecoder()
        self._at_end: set[int] = set()
        self.trouble = self._refusal = ""
        config = {
            "bootstrap.servers": bootstrap,
            "group.id": "taskstream-consume",
            "error_cb": self._on_error,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "logger": _LOG,
            **(settings or {}),
        }
        try:
            self._consumer = Consumer(config)
        except KafkaException as error:
            raise ConfigError(f"Kafka settings: {error.args[0].str()}") from None
        try:
            self._partitions = self._find_partitions(answer_ms)
            start = OFFSET_END if from_end else OFFSET_BEGINNING
            places = [TopicPartition(topic, partition, start) for partition in self._partitions]
            if since_ms is not None:
                places = self._places_at(since_ms, answer_ms)
        except BaseException:
            self._consumer.close()
            raise
        self._consumer.assign(places)

    def _find_partitions(self, answer_ms: int) -> set[int]:
        try:
            found = self._consumer.list_topics(self._topic, timeout=answer_ms / 1000)
        except KafkaException as error:
            self._consumer.poll(0)  # tells why
            if self._refusal:
                raise BrokerError(f"broker {self._bootstrap}: {self._refusal}") from None
            raise BrokerError(
                f"broker {self._bootstrap} does not answer ({error.args[0].str()}): "
                "check the address and that the broker runs"
            ) from None
        topic = found.topics[self._topic]
        if topic.error is not None:
            raise BrokerError(
                f"topic {self._topic} cannot be read on {self._bootstrap}: {topic.error.str()}"
            )
        return set(topic.partitions)

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
            error = message.error()
            if error is None:
                self._at_end.discard(message.partition() or 0)
                self.trouble = ""
                values.append(message.value() or b"")
            else:
                self._take_error(error, message)
        return values

    def _on_error(self, error: KafkaError) -> None:
        if refused := refusal(error):
            self.trouble = self._refusal = refused
        elif error.code() in _AWAY:
            self.trouble = f"{error.str()}: waiting for broker {self._bootstrap}"

    def _take_error(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._at_end.add(message.partition() or 0)
        elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return  # librdkafka looks for a group's coordinator; no group is needed here
        elif error.retriable() or error.code() in _AWAY:
            self.trouble = f"{error.str()}: waiting for broker {self._bootstrap}"
        else:
            raise BrokerError(f"topic {self._topic} on {self._bootstrap}: {error.str()}")

    @property
    def at_end(self) -> bool:
        """Tell whether every partition was read to its present end."""
        return self._at_end >= self._partitions

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
