"""A consumer's connection to a broker, and what troubles it.

Rim: touches a broker through confluent-kafka.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from taskstream.errors import BrokerError
from taskstream.kafka_client import make_client, no_answer
from taskstream.refusal import refusal

__all__ = ["Connection"]

FETCH_BACKOFF_MS = 50
"""How long to ask for nothing more once enough messages of a partition wait to be read."""

_AWAY = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE)


class Connection:
    """Makes a consumer, and takes the errors that it reports.

    Args:
        bootstrap: Broker addresses.
        config: librdkafka settings, beside those of every consumer of ours.
        settings: librdkafka settings of the user; they go before.

    Attributes:
        consumer: The consumer; it is not assigned or subscribed to anything yet.
        trouble: Why nothing comes at present; empty while all is well.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
    """

    def __init__(
        self, bootstrap: str, config: Mapping[str, Any], settings: Mapping[str, str] | None
    ) -> None:
        self._bootstrap, self._group = bootstrap, config["group.id"]
        self.trouble = self._refusal = ""
        self._held: set[tuple[str, int]] = set()
        whole = {
            "bootstrap.servers": bootstrap,
            "error_cb": self._on_error,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            # Its default of a second stops whoever reads faster than that: the queue is empty, and
            # what would fill it is not asked for.
            "fetch.queue.backoff.ms": FETCH_BACKOFF_MS,
            **config,
            **(settings or {}),
        }
        self.consumer = make_client(Consumer, whole)

    def partitions(self, topic: str, answer_s: float) -> set[int]:
        """Return the partitions of a topic.

        Args:
            topic: Its name.
            answer_s: How long the broker may take to answer.

        Raises:
            BrokerError: no broker answers, or the topic does not exist or may not be read.
        """
        try:
            found = self.consumer.list_topics(topic, timeout=answer_s).topics[topic]
        except KafkaException as error:
            self.consumer.poll(0)  # tells why
            raise no_answer(self._bootstrap, error, self._refusal) from None
        if found.error is not None:
            raise BrokerError(
                f"topic {topic} cannot be read on {self._bootstrap}: {found.error.str()}"
            )
        return set(found.partitions)

    def present_ends(
        self, places: Collection[tuple[str, int]], answer_s: float
    ) -> dict[tuple[str, int], int]:
        """Return the present ends of partitions, for whoever reads no further; 0 of an empty one.

        Args:
            places: Topic and partition of each.
            answer_s: How long the broker may take to answer for each.

        Raises:
            BrokerError: it does not answer.
        """
        ends = {}
        for place in places:
            try:
                first, end = self.consumer.get_watermark_offsets(
                    TopicPartition(*place), answer_s, cached=False
                )
            except KafkaException as error:
                raise no_answer(self._bootstrap, error, self._refusal) from None
            ends[place] = end if end > first else 0
        return ends

    def hold(self, places: Collection[tuple[str, int]]) -> None:
        """Fetch nothing of some partitions, and go on with those that were held before."""
        held = set(places)
        if more := held - self._held:
            self.consumer.pause([TopicPartition(*place) for place in more])
        if less := self._held - held:
            self.consumer.resume([TopicPartition(*place) for place in less])
        self._held = held

    def release(self, places: Iterable[tuple[str, int]]) -> None:
        """Hold some partitions no longer: they are given up."""
        self.hold(self._held - set(places))

    def take(self, error: KafkaError, topic: str, *, grouped: bool) -> None:
        """Take an error that came in place of a message, other than the end of a partition.

        Raises:
            BrokerError: reading is refused, or the connection is lost for good.
        """
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED and not grouped:
            return  # librdkafka looks for a group's coordinator; no group is needed here
        if not error.retriable() and error.code() not in _AWAY:
            what = f"topic {topic}" if topic else f"group {self._group}"
            raise BrokerError(f"{what} on {self._bootstrap}: {error.str().rstrip('.')}")
        self.trouble = self._waiting(error)

    def _on_error(self, error: KafkaError) -> None:
        if refused := refusal(error):
            self.trouble = self._refusal = refused
        elif error.code() in _AWAY:
            self.trouble = self._waiting(error)

    def _waiting(self, error: KafkaError) -> str:
        return f"{error.str()}: waiting for broker {self._bootstrap}"
