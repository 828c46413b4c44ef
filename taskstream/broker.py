"""The embedded broker: librdkafka's mock cluster, for trying out and for tests.

Rim. It lives in this process, listens on loopback, keeps the last 5 MiB of a partition in
memory and forgets everything when it is closed. It is no Kafka: see ``docs/kafka.md``.
"""

from typing import Self

from confluent_kafka import KafkaException, Producer

from taskstream.errors import BrokerError

__all__ = ["EmbeddedBroker"]


class EmbeddedBroker:
    """A broker on loopback, up from the moment it is made."""

    def __init__(self, *, brokers: int = 1) -> None:
        self._host: Producer | None = Producer(
            {"bootstrap.servers": "embedded", "test.mock.num.brokers": brokers, "log_level": 0}
        )
        try:
            found = self._host.list_topics(timeout=10).brokers.values()
        except KafkaException as error:
            raise BrokerError(f"the embedded broker does not start: {error}") from None
        self.address = ",".join(f"{broker.host}:{broker.port}" for broker in found)

    def close(self) -> None:
        """Stop it, with all that it holds."""
        self._host = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
