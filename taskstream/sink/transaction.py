"""Messages and the offsets of what they were made from, written in one transaction.

Rim: touches a broker through confluent-kafka.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaException, Message, Producer, TopicPartition

from taskstream.changelog import Outgoing
from taskstream.errors import BrokerError
from taskstream.kafka_client import make_client
from taskstream.sink.kafka_options import DEFAULTS

__all__ = ["AbortedError", "Transactions"]

ANSWER_S = 30
"""How long the brokers may take over a step of a transaction, all tries together."""


class AbortedError(Exception):
    """A transaction did not come about; nothing of it can be seen."""


class Transactions:
    """Writes transactions, one at a time.

    Args:
        bootstrap: Broker addresses.
        transactional_id: Name of the writer; whoever had it before can write no more.
        settings: librdkafka settings of the user.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        BrokerError: no broker answers, or transactions are refused.
    """

    def __init__(
        self, bootstrap: str, transactional_id: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self._bootstrap, self._id = bootstrap, transactional_id
        self._failed = ""
        self._written: dict[tuple[str, int], int] = {}
        config: dict[str, Any] = {
            **DEFAULTS,
            "linger.ms": 5,
            "transaction.timeout.ms": 10_000,
            **(settings or {}),
            "bootstrap.servers": bootstrap,
            "transactional.id": transactional_id,
            "on_delivery": self._on_delivery,
        }
        # A message may not outlive its transaction.
        config["delivery.timeout.ms"] = int(config["transaction.timeout.ms"])
        self._producer = make_client(Producer, config)
        self._step(lambda: self._producer.init_transactions(ANSWER_S))

    def _on_delivery(self, error: Any, message: Message) -> None:
        if error is not None:
            self._failed = self._failed or f"{message.topic()}: {error.str()}"
        else:
            place = message.topic() or "", message.partition() or 0
            self._written[place] = (message.offset() or 0) + 1

    def commit(
        self,
        messages: Iterable[Outgoing],
        ends: Iterable[tuple[str, int, int]],
        membership: Callable[[], Any],
    ) -> dict[tuple[str, int], int]:
        """Write messages, and commit how far was read for them: both or neither.

        Args:
            messages: Any number of messages.
            ends: Topics, partitions, and the offsets behind what was read of them.
            membership: Returns what shows that the offsets are this member's; None if they are
                not.

        Returns:
            By topic and partition, the offset behind what was written.

        Raises:
            AbortedError: neither came about; the reader must go back to what was committed.
            BrokerError: nothing can be written any more.
        """
        self._failed = ""
        self._written.clear()
        try:
            self._producer.begin_transaction()
            for message in messages:
                self._produce(message)
            left = self._producer.flush(ANSWER_S)
            if self._failed or left:
                raise AbortedError(self._failed or f"{left} messages were not acknowledged")
            shown = membership()
            if shown is None:
                raise AbortedError("this member was put out of the group")
            offsets = [TopicPartition(*end) for end in ends]
            self._step(lambda: self._producer.send_offsets_to_transaction(offsets, shown, ANSWER_S))
            self._step(lambda: self._producer.commit_transaction(ANSWER_S))
        except AbortedError:
            self._step(lambda: self._producer.abort_transaction(ANSWER_S))
            raise
        except KafkaException as error:
            raise self._lost(error) from None
        return dict(self._written)

    def _produce(self, message: Outgoing) -> None:
        where = {} if message.partition is None else {"partition": message.partition}
        while True:
            try:
                self._producer.produce(
                    message.topic,
                    message.value,
                    message.key,
                    timestamp=message.stamp_ms,
                    **where,  # type: ignore[arg-type]
                )
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise AbortedError(f"{message.topic}: {error.args[0].str()}") from None
            else:
                break
        self._producer.poll(0)

    def _step(self, step: Callable[[], object]) -> None:
        """Take a step of a transaction, again where the broker says so."""
        end = time.monotonic() + ANSWER_S
        while True:
            try:
                step()
            except KafkaException as error:
                told = error.args[0]
                if told.retriable() and time.monotonic() < end:
                    time.sleep(0.1)
                elif told.txn_requires_abort():
                    raise AbortedError(told.str()) from None
                else:
                    raise self._lost(error) from None
            else:
                return

    def _lost(self, error: KafkaException) -> BrokerError:
        told = error.args[0]
        hint = (
            "another process has its name, or was given its work because it was away too long"
            if told.fatal()
            else "check that the broker runs, and may be written to in transactions"
        )
        return BrokerError(
            f"transaction {self._id} on {self._bootstrap}: {told.str() or told.name()}: {hint}"
        )
