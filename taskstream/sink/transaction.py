"""Messages and the offsets of what they were made from, written in one transaction.

Rim: touches a broker through confluent-kafka.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from taskstream.changelog import Outgoing
from taskstream.errors import BrokerError
from taskstream.kafka_client import make_client
from taskstream.sink.kafka_options import DEFAULTS

__all__ = ["AbortedError", "Transactions"]

START_S = 15
"""How long the brokers may take to know a writer, all tries together."""

TIMEOUT_S = 10
"""How long a transaction may be open, unless the user says otherwise."""

OURS_SHARE = 0.8
"""Of that time, what we take for it: it must be ended by us before the brokers do."""

_AWAY = (
    KafkaError._MSG_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
)
"""What passes: brokers that do not answer, partitions that go to another member."""


_DENIED = (
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


class AbortedError(Exception):
    """A transaction did not come about; nothing of it can be seen.

    Args:
        reason: Why not.
        away: Brokers are away, so it may come about later.
        slow: Brokers answered, and it took too long: less of it may come about.
        unsure: It may have come about, since nobody answered its end.
    """

    def __init__(
        self, reason: str, *, away: bool = False, slow: bool = False, unsure: bool = False
    ) -> None:
        super().__init__(reason)
        self.away, self.slow, self.unsure = away and not slow, slow, unsure


class Transactions:
    """Writes transactions, one at a time.

    Args:
        bootstrap: Broker addresses.
        transactional_id: Name of the writer; whoever had it before can write no more.
        settings: librdkafka settings of the user.

    Attributes:
        timeout_s: How long a transaction may be open; brokers end one that is open for longer.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        BrokerError: no broker answers, or transactions are refused.
    """

    def __init__(
        self, bootstrap: str, transactional_id: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self._bootstrap, self._id = bootstrap, transactional_id
        self._failed: KafkaError | None = None
        self._open = False
        self._written: dict[tuple[str, int], int] = {}
        config: dict[str, Any] = {
            **DEFAULTS,
            "linger.ms": 5,
            "transaction.timeout.ms": TIMEOUT_S * 1000,
            **(settings or {}),
            "bootstrap.servers": bootstrap,
            "transactional.id": transactional_id,
            "on_delivery": self._on_delivery,
        }
        # A message may not outlive its transaction.
        config["delivery.timeout.ms"] = config["transaction.timeout.ms"]
        self._config = config
        self._producer = make_client(Producer, config)
        self.timeout_s = int(config["transaction.timeout.ms"]) / 1000
        self._end = 0.0
        try:
            self._introduce()
        except AbortedError as error:
            raise BrokerError(f"transaction {self._id} on {bootstrap}: {error}") from None

    def _introduce(self) -> None:
        """Make the writer known, which ends whatever its forerunner left behind."""
        self._end = time.monotonic() + START_S
        self._step(self._producer.init_transactions)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed = self._failed or error
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
        with self._transaction(messages):
            shown = membership()
            if shown is None:
                raise AbortedError("this member was put out of the group", away=True)
            offsets = [TopicPartition(*end) for end in ends]
            self._step(lambda s: self._producer.send_offsets_to_transaction(offsets, shown, s))
        return dict(self._written)

    def write(self, messages: Iterable[Outgoing]) -> None:
        """Write messages that follow from nothing that was read.

        Raises:
            BrokerError: they cannot be written.
        """
        try:
            with self._transaction(messages):
                pass
        except AbortedError as error:
            raise BrokerError(f"transaction {self._id} on {self._bootstrap}: {error}") from None

    @contextmanager
    def _transaction(self, messages: Iterable[Outgoing]) -> Iterator[None]:
        """Begin one, write messages, and commit it after what is done meanwhile."""
        self._failed = None
        self._written.clear()
        self._end = time.monotonic() + OURS_SHARE * self.timeout_s
        ending = False
        try:
            self._producer.begin_transaction()
            self._open = True
            for message in messages:
                self._produce(message)
            left = self._producer.flush(self._left_s)
            if self._failed is not None:
                if self._failed.code() in _PURGED:  # for a reason that its end will tell
                    self._step(self._producer.commit_transaction)
                away = self._failed.code() in _AWAY or self._failed.retriable()
                raise AbortedError(self._failed.str(), away=away)
            if left:
                raise AbortedError(f"{left} messages were not acknowledged", away=True)
            yield
            ending = True
            self._step(self._producer.commit_transaction)
        except KafkaException as error:
            raise self._lost(error) from None
        except AbortedError as error:
            # Whoever acknowledged a part of it is there, and needs longer than there is.
            slow = bool(self._written) and error.away and not self._left_s
            raise AbortedError(str(error), away=error.away, slow=slow, unsure=ending) from None
        self._open = False

    @property
    def _left_s(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def abort(self) -> None:
        """End a transaction that did not come about, if there is one.

        Its producer goes with it: one that has been cut off from its brokers may wait for ever for
        the group's coordinator. Making its successor known ends whatever it left behind.

        Raises:
            AbortedError: the brokers do not answer; to be tried again.
            BrokerError: nothing can be written any more.
        """
        if self._open:
            self._producer.purge()
            self._producer = make_client(Producer, self._config)
            self._introduce()
            self._open = False

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
                if not self._left_s:
                    raise AbortedError("messages were not acknowledged", away=True) from None
                self._producer.poll(0.05)
            except KafkaException as error:
                raise AbortedError(f"{message.topic}: {error.args[0].str()}") from None
            else:
                break
        self._producer.poll(0)

    def _step(self, step: Callable[[float], object]) -> None:
        """Take a step within the time that is left, again where brokers are away."""
        while True:
            try:
                step(max(0.1, self._left_s))
            except KafkaException as error:
                told = error.args[0]
                if told.fatal() or told.code() in _DENIED:
                    raise self._lost(error) from None
                if told.txn_requires_abort():
                    raise AbortedError(told.str(), away=told.code() in _AWAY) from None
                if not told.retriable():
                    raise self._lost(error) from None
                if not self._left_s:
                    raise AbortedError(told.str(), away=True) from None
                time.sleep(0.1)
            else:
                return

    def _lost(self, error: KafkaException) -> BrokerError:
        told = error.args[0]
        if told.code() in _DENIED:
            hint = "ask for that right; docs/fleet.md lists what a group needs"
        elif told.fatal():
            hint = (
                "another process has its name, or was given its work because it was away too long"
            )
        else:
            hint = "check that the broker runs, and may be written to in transactions"
        why = (told.str() or told.name()).rstrip(".")
        return BrokerError(f"transaction {self._id} on {self._bootstrap}: {why}: {hint}")
