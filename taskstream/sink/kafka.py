"""A Kafka topic as a sink: batches in, acknowledged messages out, every event accounted for.

Rim: touches a broker through confluent-kafka, and never blocks its caller. What librdkafka's
bounded queue has no room for waits here, in order, for a bounded time; after that it is
dropped and counted. Shapes and keys of the messages: ``taskstream.encode``.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from taskstream.batch import Batch, Origin
from taskstream.columns import pack
from taskstream.drops import DropCounts
from taskstream.encode import EventEncoder, encode_batch
from taskstream.errors import BrokerError
from taskstream.json_message import JsonEncoder, dump
from taskstream.kafka_client import LOG, make_client
from taskstream.message import Messages
from taskstream.refusal import refusal
from taskstream.report import Report
from taskstream.sink.kafka_start import NoAnswerError, check_topic
from taskstream.stats import Account

__all__ = ["DEFAULTS", "KafkaOptions", "KafkaSink", "Receipt"]

_POLL_EVERY = 1000

DEFAULTS: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 1,
    "batch.size": 1_000_000,
    "batch.num.messages": 10_000,
    "message.max.bytes": 1_000_000,
    "queue.buffering.max.messages": 0,
    "queue.buffering.max.kbytes": 65_536,
    "delivery.timeout.ms": 120_000,
    "reconnect.backoff.max.ms": 5_000,
    "partitioner": "murmur2_random",
    "enable.metrics.push": False,
    "client.id": "taskstream",
}
"""librdkafka settings unless the user says otherwise."""

_OUT_OF_STEP = (
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    KafkaError.INVALID_PRODUCER_EPOCH,
)
_GONE = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._FATAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """Where and how to publish.

    Attributes:
        bootstrap: Broker addresses.
        topic: The topic of events and reports.
        message: ``event`` (a message per event), ``batch``, or ``json`` (likewise one per event).
        shard_count: Of ``batch`` messages: how many keys a host has.
        queue_wait_ms: How long what finds no room may wait before it is dropped.
        answer_ms: How long the broker may take to answer at the start.
        patient: Begin also while no broker answers.
        settings: librdkafka settings of the user, over `DEFAULTS`.
    """

    bootstrap: str
    topic: str = "taskstream.events"
    message: str = "event"
    shard_count: int = 1
    queue_wait_ms: int = 1000
    answer_ms: int = 5_000
    patient: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


class Receipt(Protocol):
    """Who wants to know what became of some messages, instead of the sink's own account."""

    def settle(self, events: int, *, delivered: bool) -> None:
        """Take note of the fate of some of the events."""


@dataclass(slots=True)
class _Waiting:
    """Messages that are not in librdkafka's queue yet, from ``at`` on."""

    messages: Messages
    at: int
    since_ns: int
    receipt: Receipt | None = None


_Sent = tuple[int, Receipt | None, Message]
"""A message that came back: its events, who wants to know, and itself."""


class KafkaSink:
    """Publishes batches and reports.

    Attributes:
        account: Fates of the events that it was given.
        errors: Events by the reason for which they were not delivered.
        others: Delivered messages that are no events, by what they are.
        trouble: What is wrong with the broker at present; empty while all is well.

    Raises:
        ConfigError: a librdkafka setting is unknown or has a wrong value.
        BrokerError: no broker answers, or the topic cannot be used.
    """

    def __init__(
        self,
        options: KafkaOptions,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.options = options
        self.account = Account()
        self.errors: Counter[str] = Counter()
        self.trouble = ""
        self.others: Counter[str] = Counter()
        self._now_ns = now_ns
        self._encoders: dict[Origin, EventEncoder | JsonEncoder] = {}
        self._waiting: deque[_Waiting] = deque()
        self._dropped = DropCounts()
        self._fatal: str | None = None
        self._again: list[_Sent] = []
        self._reclaimed: list[_Sent] | None = None
        self._reclaimed_reports: list[bytes] = []
        self.rebuilds = 0
        self._producer = self._make_producer()
        self._refusal = ""
        try:
            check_topic(
                self._producer, options.bootstrap, options.topic, answer_ms=options.answer_ms
            )
        except NoAnswerError:
            self._serve(0)  # tells why
            if self._refusal:
                raise BrokerError(f"broker {options.bootstrap}: {self._refusal}") from None
            if not options.patient:
                raise
            self.trouble = f"broker {options.bootstrap} does not answer"

    def _make_producer(self) -> Producer:
        self._config = {
            **DEFAULTS,
            "bootstrap.servers": self.options.bootstrap,
            **self.options.settings,
            "on_delivery": partial(self._on_delivery, 1, None),
            "error_cb": self._on_error,
        }
        return make_client(Producer, self._config)

    # --- giving ---

    def write(self, batch: Batch) -> None:
        """Publish a batch; returns at once."""
        if len(batch):
            self.publish(self.encode(batch))

    def encode(self, batch: Batch) -> Messages:
        """Return a batch as messages of the topic."""
        if self.options.message != "batch":
            return self._encoder(batch.origin).encode(batch)
        return encode_batch(batch, shard_count=self.options.shard_count, most_bytes=self.most_bytes)

    def _packed(self, message: Mapping[str, Any]) -> bytes:
        """Return a message that is no event in the format that the events have."""
        return (dump if self.options.message == "json" else pack)(message)

    @property
    def most_bytes(self) -> int:
        """Length of the longest message that the producer takes."""
        return int(self._config["message.max.bytes"]) - 1024

    def publish(self, messages: Messages) -> None:
        """Publish messages; returns at once."""
        self.account.received += messages.count
        self._waiting.append(_Waiting(messages, 0, self._now_ns()))
        self.tick()

    def publish_for(self, receipt: Receipt, messages: Messages) -> None:
        """Publish messages whose fates go to a receipt; they wait for room without a limit."""
        self._waiting.append(_Waiting(messages, 0, self._now_ns(), receipt))
        self.advance()

    @property
    def waiting_ms(self) -> int:
        """How long the first message without room has been waiting; 0 for none."""
        if not self._waiting:
            return 0
        return (self._now_ns() - self._waiting[0].since_ns) // 1_000_000

    def take_back(self) -> list[Receipt]:
        """Give up messages that wait and of whose batch none was sent; return their receipts."""
        kept = [w for w in self._waiting if w.at > 0 or w.receipt is None]
        taken = [w.receipt for w in self._waiting if w.at == 0 and w.receipt is not None]
        self._waiting = deque(kept)
        return taken

    def reclaim(self) -> tuple[list[tuple[Receipt, bytes]], list[bytes]]:
        """Take back everything that is not acknowledged; librdkafka forgets it.

        What was under way may have reached the broker all the same.

        Returns:
            Receipt and value of each message that has a receipt, in order; and the reports.
        """
        self._reclaimed = []
        self._producer.purge()
        self._serve(5, flush=True)
        sent, self._reclaimed = [*self._again, *self._reclaimed], None
        self._again = []
        values = [(r, m.value() or b"") for _, r, m in sent if r is not None]
        for waiting in self._waiting:
            if waiting.receipt is not None:
                rest = waiting.messages.values[waiting.at :]
                values += [(waiting.receipt, value) for value in rest]
        self._waiting = deque(w for w in self._waiting if w.receipt is None)
        reports, self._reclaimed_reports = self._reclaimed_reports, []
        return values, reports

    @property
    def waiting(self) -> int:
        """Messages for which librdkafka's queue had no room yet."""
        return sum(len(w.messages.values) - w.at for w in self._waiting)

    def _encoder(self, origin: Origin) -> EventEncoder | JsonEncoder:
        if origin not in self._encoders:
            make = JsonEncoder if self.options.message == "json" else EventEncoder
            self._encoders[origin] = make(origin)
        return self._encoders[origin]

    def report(self, report: Report) -> None:
        """Publish a report; on a full queue it is lost, and the next one says the same and more."""
        self._send_report(report, counted=True)

    def try_report(self, report: Report) -> bool:
        """Publish a report; return False if the queue is full."""
        return self._send_report(report, counted=False)

    def _send_report(self, report: Report, *, counted: bool) -> bool:
        stamp_ms = (report.boot_ns + report.wall_offset_ns) // 1_000_000
        key = report.origin.host.encode()
        value = self._packed(report.to_map())
        return self._send("report", self.options.topic, value, key, stamp_ms, counted=counted)

    def send(
        self, what: str, topic: str, message: Mapping[str, Any], key: bytes, stamp_ms: int
    ) -> None:
        """Publish a message that is no event; on a full queue it is lost, and counted so.

        Args:
            what: Name of such messages, for `errors` and `others`.
            topic: Where to.
            message: The map.
            key: Partitioning key.
            stamp_ms: Its time, Unix milliseconds.
        """
        self._send(what, topic, self._packed(message), key, stamp_ms, counted=True)

    def _send(
        self, what: str, topic: str, value: bytes, key: bytes, stamp_ms: int, *, counted: bool
    ) -> bool:
        """Publish a message that is no event; return False if the queue is full."""
        on_delivery = partial(self._on_other_delivery, what)
        try:
            self._producer.produce(topic, value, key, -1, on_delivery, None, stamp_ms)
        except BufferError:
            if counted:
                self.errors[f"{what} dropped: queue full"] += 1
            return False
        except KafkaException as error:
            self._on_error(error.args[0])
        return True

    def tick(self) -> None:
        """Serve delivery reports, move what waits into the queue, drop what waited too long."""
        self.advance()
        limit_ns = self._now_ns() - self.options.queue_wait_ms * 1_000_000
        while (
            self._waiting
            and self._waiting[0].receipt is None
            and self._waiting[0].since_ns <= limit_ns
        ):
            self._drop(self._waiting.popleft())

    def advance(self) -> None:
        """Serve delivery reports, and move what waits into the queue as far as there is room."""
        self._serve(0)
        if self._fatal is not None:
            self._rebuild()
        while self._waiting:
            head = self._waiting[0]
            head.at = self._produce(head.messages, head.at, head.receipt)
            if head.at < len(head.messages.values):
                break
            self._waiting.popleft()

    def settle(self, seconds: float) -> None:
        """Serve delivery reports as they come: until none is due, or for at most ``seconds``."""
        end_ns = self._now_ns() + int(seconds * 1e9)
        left_ns = end_ns - self._now_ns()
        while len(self._producer) and left_ns > 0:
            self._serve(left_ns / 1e9)
            left_ns = end_ns - self._now_ns()

    def _produce(self, messages: Messages, at: int, receipt: Receipt | None) -> int:
        """Queue messages from ``at`` on; return the first for which there was no room."""
        topic, produce = self.options.topic, self._producer.produce
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
            self._serve(0)
        return at

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
        self.errors[error.str()] += events

    def _drop(self, waiting: _Waiting) -> None:
        for records in waiting.messages.records_from(waiting.at):
            self.account.dropped += len(records)
            self._dropped.add(records)

    def dropped(self, cpu: int) -> tuple[int, ...]:
        """Return the events of one CPU that were dropped here, by `COUNTS`."""
        return self._dropped.of(cpu)

    # --- what comes back ---

    def _serve(self, seconds: float, *, flush: bool = False) -> None:
        """Serve delivery reports. A fatal error is raised here; it never comes to `_on_error`."""
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
            self._again.append(
                (events, receipt, message)
            )  # told before the fatal error, or without one
            self._fatal = self._fatal or error.str()
        elif self._fatal is not None and error.code() in _GONE:
            self._again.append((events, receipt, message))
        else:
            self._reject(events, receipt, error)

    def _on_other_delivery(self, what: str, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.others[what] += 1
        elif what == "report" and self._reclaimed is not None and error.code() in _GONE:
            self._reclaimed_reports.append(message.value() or b"")
        else:
            self.errors[f"{what}: {error.str()}"] += 1

    def _on_error(self, error: KafkaError) -> None:
        LOG.warning("%s", error.str())
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._fatal = error.str()
        elif refused := refusal(error):
            self.trouble = self._refusal = refused
        elif error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
            self.trouble = f"broker {self.options.bootstrap} does not answer"
        else:
            self.trouble = error.str()

    def _rebuild(self) -> None:
        """After a fatal error: a new producer, and again what the old one did not get through."""
        self._producer.purge()
        self._serve(5, flush=True)
        LOG.error("producer rebuilt after a fatal error: %s", self._fatal)
        again, self._again = self._again, []
        self._producer = make_client(Producer, self._config)
        self._fatal = None
        self.rebuilds += 1
        for events, receipt, message in again:
            on_delivery = partial(self._on_delivery, events, receipt)
            stamp_ms = message.timestamp()[1]
            self._producer.produce(
                self.options.topic, message.value(), message.key(), -1, on_delivery, None, stamp_ms
            )

    # --- the end ---

    def in_queue(self) -> int:
        """Return messages that are queued, sent and unacknowledged, or waiting for room."""
        return len(self._producer) + len(self._again) + self.waiting

    def drain(self, seconds: float) -> None:
        """Wait until everything is acknowledged, for at most ``seconds``; drop what has no room."""
        end_ns = self._now_ns() + int(seconds * 1e9)
        while self.in_queue() and self._now_ns() < end_ns:
            self.advance()
            self._serve(min(0.1, max(0.0, (end_ns - self._now_ns()) / 1e9)), flush=True)
        while self._waiting:
            self._drop(self._waiting.popleft())
