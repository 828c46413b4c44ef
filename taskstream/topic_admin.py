"""A cluster asked about a topic, or told to make one.

Rim: touches a broker through confluent-kafka's admin client.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource as _Resource  # type: ignore[attr-defined]
from confluent_kafka.admin import NewTopic as _NewTopic  # type: ignore[attr-defined]

from taskstream.errors import BrokerError
from taskstream.kafka_client import make_admin, no_answer
from taskstream.refusal import refusal
from taskstream.topic import TopicPlan, TopicState

__all__ = ["TopicAdmin"]

_ABSENT = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
_NOT_TOLD = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._UNSUPPORTED_FEATURE,
)


class TopicAdmin:
    """Asks about topics and makes them.

    Args:
        bootstrap: Broker addresses.
        settings: librdkafka settings of the user; those of a producer alone are left out.
        answer_s: How long the brokers may take to answer.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
    """

    def __init__(
        self, bootstrap: str, settings: Mapping[str, str] | None = None, *, answer_s: float = 10
    ) -> None:
        self._bootstrap, self._answer_s = bootstrap, answer_s
        self._refusals: list[str] = []
        # Not a method: the client would live, with its threads, until the collector finds both.
        self._client = make_admin(bootstrap, settings, error_cb=partial(_note, self._refusals))

    def describe(self, topic: str) -> TopicState | None:
        """Return a topic as it is; None if there is none.

        Raises:
            BrokerError: no broker answers, or the topic may not be looked at.
        """
        resource = _Resource(_Resource.Type.TOPIC, topic)
        settings = self._client.describe_configs([resource], request_timeout=self._answer_s)
        # Not list_topics: asking for metadata makes the topic, where brokers make topics.
        topics = self._client.describe_topics(
            TopicCollection([topic]),
            include_authorized_operations=True,
            request_timeout=self._answer_s,
        )
        cluster = self._client.describe_cluster(request_timeout=self._answer_s)
        try:
            found = topics[topic].result()
            brokers = len(cluster.result().nodes)
        except KafkaException as error:
            told = error.args[0]
            if told.code() in _ABSENT:
                return None
            if told.code() in _NOT_TOLD:
                raise BrokerError(
                    f"topic {topic} cannot be looked at on {self._bootstrap}: {told.str()}"
                ) from None
            raise self._away(error) from None
        return TopicState(
            name=topic,
            brokers=brokers,
            copies=tuple(len(p.replicas) for p in found.partitions),
            in_sync=tuple(len(p.isr) for p in found.partitions),
            config=self._config(settings[resource]),
            allowed=_names(found.authorized_operations),
        )

    def _config(self, asked: "Future[Any]") -> dict[str, str]:
        try:
            entries = asked.result(self._answer_s)
        except KafkaException as error:
            if error.args[0].code() in (*_NOT_TOLD, *_ABSENT):
                return {}
            raise self._away(error) from None
        return {name: entry.value for name, entry in entries.items() if entry.value is not None}

    def create(self, topic: str, plan: TopicPlan) -> bool:
        """Make a topic.

        Returns:
            False if it is there already.

        Raises:
            BrokerError: no broker answers, or the cluster will not make it.
        """
        try:
            brokers = len(self._client.list_topics(timeout=self._answer_s).brokers)
        except KafkaException as error:
            raise self._away(error) from None
        copies = plan.copies_on(brokers)
        config = plan.config(copies)
        try:
            try:
                self._create(topic, plan.partitions, copies, {**config, **plan.newer_config()})
            except KafkaException as error:
                if error.args[0].code() != KafkaError.INVALID_CONFIG:
                    raise
                self._create(topic, plan.partitions, copies, config)
        except KafkaException as error:
            told = error.args[0]
            if told.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            if told.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT):
                raise self._away(error) from None
            raise BrokerError(f"topic {topic} cannot be made: {told.str()}") from None
        return True

    def _create(self, topic: str, partitions: int, copies: int, config: dict[str, str]) -> None:
        new = _NewTopic(topic, partitions, copies, config=config)
        self._client.create_topics([new], operation_timeout=self._answer_s)[topic].result()

    def _away(self, error: KafkaException) -> BrokerError:
        self._client.poll(0)  # tells why
        if not self._refusals:
            with suppress(KafkaException):
                self._client.list_topics(timeout=1)
                return BrokerError(
                    f"broker {self._bootstrap} cannot be asked to make or describe topics "
                    f"({error.args[0].str()}): the broker inside `taskstream run` cannot; "
                    "take a real Kafka, as `make kafka` starts one"
                )
        return no_answer(self._bootstrap, error, self._refusals[-1] if self._refusals else "")


def _note(refusals: list[str], error: KafkaError) -> None:
    if found := refusal(error):
        refusals.append(found)


def _names(operations: Sequence[Any] | None) -> tuple[str, ...] | None:
    return None if operations is None else tuple(sorted(one.name for one in operations))
