"""A producer that is made anew after a fatal error, and says of every message what became of it.

Rim: touches a broker through confluent-kafka, and never blocks its caller.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from taskstream.errors import BrokerError
from taskstream.kafka_client import LOG, make_client
from taskstream.message.message import Messages
from taskstream.refusal import refusal
from taskstream.sink.kafka_options import DEFAULTS, KafkaOptions
from taskstream.sink.kafka_start import NoAnswerError, check_topic
from taskstream.stats import Account

__all__ = ["KafkaProducer", "Receipt"]

_POLL_EVERY = 1000

_OUT_OF_STEP = (
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    KafkaError.INVALID_PRODUCER_EPOCH,
)
_GONE = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._FATAL)


class Receipt(Protocol):
    """Who wants to know what became of some messages, instead of the producer's own account."""

    def settle(self, events: int, *, delivered: bool) -> None:
        """Take note of the fate of some of the events."""


_Sent = tuple[int, Receipt | None, Message]
"""A message that came back: its events, who wants to know, and itself."""


class KafkaProducer:
    """Publishes messages.

    Attributes:
        account: Its ``delivered`` and ``rejected`` are of events without a receipt.
        errors: Events by the reason for which they were not delivered.
        others: Delivered messages that are no events, by what they are.
        other_errors: Those that were not delivered, by topic, what they are and the reason.
        rebuilds: How often it was made anew.
        trouble: What is wrong with the broker at present; empty while all is well.

    Raises:
        ConfigError: a librdkafka setting is unknown or has a wrong value.
        BrokerError: no broker answers, or the topic cannot be used.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self.account = Account()
        self.errors: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.other_errors: Counter[str] = Counter()
        self.rebuilds = 0
        self.trouble = self._refusal = ""
        self._fatal: str | None = None
        self._again: list[_Sent] = []
        self._reclaimed: list[_Sent] | None = None
        self._config: Mapping[str, Any] = {
            **DEFAULTS,
            "bootstrap.servers": options.bootstrap,
            **options.settings,
            "on_delivery": partial(self._on_delivery, 1, None),
            "error_cb": self._on_error,
        }
        self._producer = make_client(Producer, self._config)
        self._check_topic()

    def _check_topic(self) -> None:
        options = self._options
        try:
            check_topic(
                self._producer, options.bootstrap, options.topic, answer_ms=options.answer_ms
            )
        except NoAnswerError:
            self.serve(0)  # tells why
            if self._refusal:
                raise BrokerError(f"broker {options.bootstrap}: {self._refusal}") from None
            if not options.patient:
                raise
            self.trouble = f"broker {options.bootstrap} does not answer"

    @property
    def most_bytes(self) -> int:
        """Length of the longest message that it takes."""
        return int(self._config["message.max.bytes"]) - 1024

    # --- giving ---

    def produce(self, messages: Messages, at: int, receipt: Receipt | None) -> int:
        """Queue messages of events.

        Args:
            messages: Of the topic.
            at: The first to queue.
            receipt: Who wants to know what becomes of them; None for the account.

        Returns:
            The first for which there was no room.
        """
        topic, produce = self._options.topic, self._producer.produce
        values, keys, stamps_ms = messages.values, messages.keys, messages.stamps_ms
        events = messages.events
        while at < len(values) and self._fatal is None:
            stop = min(at + _POLL_EVERY, len(values))
            try:
                for index in range(at, stop):
                    on_delivery = None
                    if events is not None or receipt is not None:
                        count = events[index] if events else 1
                        on_delivery = partial(self._on_delivery, count, receipt)
                    stamp_ms = stamps_ms[index]
                    produce(topic, values[index], keys[index], -1, on_delivery, None, stamp_ms)
                    at += 1
            except BufferError:
                break
            except KafkaException as error:
                self._refused(error.args[0], events[at] if events else 1, receipt)
                at += self._fatal is None
            self.serve(0)
        return at

    def send(self, what: str, topic: str, value: bytes, key: bytes, stamp_ms: int) -> bool:
        """Queue a message that is no event; return False if there is no room.

        Args:
            what: Name of such messages, for `others` and `other_errors`.
            topic: Where to.
            value: The message.
            key: Partitioning key.
            stamp_ms: Its time, Unix milliseconds.
        """
        on_delivery = partial(self._on_other_delivery, what)
        try:
            self._producer.produce(topic, value, key, -1, on_delivery, None, stamp_ms)
        except BufferError:
            return False
        except KafkaException as error:
            self._on_error(error.args[0])
        return True

    def _refused(self, error: KafkaError, events: int, receipt: Receipt | None) -> None:
        """Take note that librdkafka would not queue a message."""
        self._on_error(error)
        if self._fatal is None:
            self._reject(events, receipt, error)

    def _reject(self, events: int, receipt: Receipt | None, error: KafkaError) -> None:
        """Enter a message that will not be delivered where it belongs."""
        if receipt is None:
            self.account.rejected += events
        else:
            receipt.settle(events, delivered=False)
        if events:
            self.errors[error.str()] += events
        else:
            self.lose("report", self._options.topic, error.str())

    # --- what comes back ---

    @property
    def unacknowledged(self) -> int:
        """Messages that are queued, or sent and unacknowledged."""
        return len(self._producer) + len(self._again)

    @property
    def due(self) -> int:
        """Messages of which librdkafka will say something."""
        return len(self._producer)

    def serve(self, seconds: float, *, flush: bool = False) -> None:
        """Serve delivery reports: wait for one, or, to ``flush``, for all.

        A fatal error is raised here; it never comes to `_on_error`.
        """
        try:
            (self._producer.flush if flush else self._producer.poll)(seconds)
        except KafkaException as error:
            self._on_error(error.args[0])

    def _on_delivery(
        self, events: int, receipt: Receipt | None, error: KafkaError | None, message: Message
    ) -> None:
        if error is None:  # written out: this is done for every message
            if receipt is None:
                self.account.delivered += events
            else:
                receipt.settle(events, delivered=True)
            self.trouble = ""
        elif self._reclaimed is not None and error.code() in _GONE:
            self._reclaimed.append((events, receipt, message))
        elif self._config["enable.idempotence"] is True and error.code() in _OUT_OF_STEP:
            # Told before the fatal error, or without one.
            self._again.append((events, receipt, message))
            self._fatal = self._fatal or error.str()
        elif self._fatal is not None and error.code() in _GONE:
            self._again.append((events, receipt, message))
        else:
            self._reject(events, receipt, error)

    def _on_other_delivery(self, what: str, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.others[what] += 1
        else:
            self.lose(what, message.topic() or "", error.str())

    def lose(self, what: str, topic: str, reason: str) -> None:
        """Count a message that is no event and will not be delivered."""
        self.other_errors[f"topic {topic} ({what}): {reason}"] += 1

    def _on_error(self, error: KafkaError) -> None:
        LOG.warning("%s", error.str())
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._fatal = error.str()
        elif refused := refusal(error):
            self.trouble = self._refusal = refused
        elif error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
            self.trouble = f"broker {self._options.bootstrap} does not answer"
        else:
            self.trouble = error.str()

    # --- what does not come back ---

    def mend(self) -> None:
        """After a fatal error: a new producer, and again what the old one did not get through."""
        if self._fatal is None:
            return
        self._producer.purge()
        self.serve(5, flush=True)
        LOG.error("producer rebuilt after a fatal error: %s", self._fatal)
        again, self._again = self._again, []
        self._producer = make_client(Producer, self._config)
        self._fatal = None
        self.rebuilds += 1
        for events, receipt, message in again:
            on_delivery = partial(self._on_delivery, events, receipt)
            stamp_ms = message.timestamp()[1]
            self._producer.produce(
                self._options.topic, message.value(), message.key(), -1, on_delivery, None, stamp_ms
            )

    def reclaim(self) -> list[tuple[Receipt, bytes]]:
        """Take back everything that is not acknowledged; librdkafka forgets it.

        What was under way may have reached the broker all the same.

        Returns:
            Receipt and value of each message that has a receipt, in order within a partition.
        """
        self._reclaimed = []
        self._producer.purge()
        self.serve(5, flush=True)
        sent, self._reclaimed = [*self._again, *self._reclaimed], None
        self._again = []
        return [(r, m.value() or b"") for _, r, m in sent if r is not None]
