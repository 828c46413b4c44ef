"""A Kafka topic as a sink: batches in, acknowledged messages out, every event accounted for.

Rim by its producer, and never blocks its caller. What librdkafka's bounded queue has no room for
waits here, in order, for a bounded time; after that it is dropped and counted. Shapes and keys of
the messages: ``taskstream.message.encode``.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskstream.batch import Batch, Origin
from taskstream.drops import DropCounts
from taskstream.message.batch_encode import encode_batch
from taskstream.message.columns import pack
from taskstream.message.encode import EventEncoder
from taskstream.message.message import Messages
from taskstream.report import Report
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.sink.kafka_producer import KafkaProducer, Receipt

if TYPE_CHECKING:
    from taskstream.message.json import JsonEncoder

__all__ = ["KafkaSink"]


@dataclass(slots=True)
class _Waiting:
    """Messages that are not in librdkafka's queue yet, from ``at`` on."""

    messages: Messages
    at: int
    since_ns: int
    receipt: Receipt | None = None


class KafkaSink:
    """Publishes batches and reports.

    Attributes:
        options: Where and how.
        account: Fates of the events that it was given.
        errors: Events by the reason for which they were not delivered.
        others: Delivered messages that are no events, by what they are.
        other_errors: Those that were not delivered, by topic, what they are and the reason.

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
        self._producer = KafkaProducer(options)
        self.account = self._producer.account
        self.errors, self.others = self._producer.errors, self._producer.others
        self.other_errors = self._producer.other_errors
        self._now_ns = now_ns
        self._encoders: dict[Origin, EventEncoder | JsonEncoder] = {}
        self._waiting: deque[_Waiting] = deque()
        self._dropped = DropCounts()

    @property
    def trouble(self) -> str:
        """What is wrong with the broker at present; empty while all is well."""
        return self._producer.trouble

    @property
    def rebuilds(self) -> int:
        """How often the producer was made anew, after a fatal error."""
        return self._producer.rebuilds

    # --- giving ---

    def write(self, batch: Batch) -> None:
        """Publish a batch; returns at once."""
        if len(batch):
            self.publish(self.encode(batch))

    def encode(self, batch: Batch) -> Messages:
        """Return a batch as messages of the topic."""
        if self.options.message != "batch":
            return self._encoder(batch.origin).encode(batch)
        return encode_batch(
            batch, shard_count=self.options.shard_count, most_bytes=self._producer.most_bytes
        )

    def _packed(self, message: Mapping[str, Any]) -> bytes:
        """Return a message that is no event in the format that the events have."""
        if self.options.message != "json":
            return pack(message)
        from taskstream.message.json import dump  # takes its time

        return dump(message)

    @property
    def most_bytes(self) -> int:
        """Length of the longest message that the producer takes."""
        return self._producer.most_bytes

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

    def reclaim(self) -> list[tuple[Receipt, bytes]]:
        """Take back everything that is not acknowledged; librdkafka forgets it.

        What was under way may have reached the broker all the same.

        Returns:
            Receipt and value of each message that has a receipt, in order within a partition.
        """
        values = self._producer.reclaim()
        for waiting in self._waiting:
            if waiting.receipt is not None:
                rest = waiting.messages.values[waiting.at :]
                values += [(waiting.receipt, value) for value in rest]
        self._waiting = deque(w for w in self._waiting if w.receipt is None)
        return values

    @property
    def waiting(self) -> int:
        """Messages for which librdkafka's queue had no room yet."""
        return sum(len(w.messages.values) - w.at for w in self._waiting)

    def _encoder(self, origin: Origin) -> "EventEncoder | JsonEncoder":
        if origin not in self._encoders:
            self._encoders[origin] = self._make_encoder(origin)
        return self._encoders[origin]

    def _make_encoder(self, origin: Origin) -> "EventEncoder | JsonEncoder":
        if self.options.message != "json":
            return EventEncoder(origin)
        from taskstream.message.json import JsonEncoder  # takes its time

        return JsonEncoder(origin)

    def report(self, report: Report) -> None:
        """Publish a report; on a full queue it is lost, and the next one says the same and more."""
        if not self.try_report(report):
            self.lose_report("queue full")

    def lose_report(self, reason: str) -> None:
        """Count a report that will not be delivered."""
        self._producer.lose("report", self.options.topic, reason)

    def try_report(self, report: Report) -> bool:
        """Publish a report; return False if the queue is full."""
        message = self.encode_report(report)
        (value,), (key,), (stamp_ms,) = message.values, message.keys, message.stamps_ms
        return self._producer.send("report", self.options.topic, value, key, stamp_ms)

    def encode_report(self, report: Report) -> Messages:
        """Return a report as a message of the topic, for `publish_for`: one with no events."""
        stamp_ms = (report.boot_ns + report.wall_offset_ns) // 1_000_000
        value, key = self._packed(report.to_map()), report.origin.host.encode()
        return Messages([value], [key], [stamp_ms], [], [0])

    def send(
        self, what: str, topic: str, message: Mapping[str, Any], key: bytes, stamp_ms: int
    ) -> None:
        """Publish a message that is no event; on a full queue it is lost, and counted so.

        Args:
            what: Name of such messages, for `others` and `other_errors`.
            topic: Where to.
            message: The map.
            key: Partitioning key.
            stamp_ms: Its time, Unix milliseconds.
        """
        if not self._producer.send(what, topic, self._packed(message), key, stamp_ms):
            self._producer.lose(what, topic, "queue full")

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
        self._producer.serve(0)
        self._producer.mend()
        while self._waiting:
            head = self._waiting[0]
            head.at = self._producer.produce(head.messages, head.at, head.receipt)
            if head.at < len(head.messages.values):
                break
            self._waiting.popleft()

    def settle(self, seconds: float) -> None:
        """Serve delivery reports as they come: until none is due, or for at most ``seconds``."""
        end_ns = self._now_ns() + int(seconds * 1e9)
        left_ns = end_ns - self._now_ns()
        while self._producer.due and left_ns > 0:
            self._producer.serve(left_ns / 1e9)
            left_ns = end_ns - self._now_ns()

    def _drop(self, waiting: _Waiting) -> None:
        for records in waiting.messages.records_from(waiting.at):
            self.account.dropped += len(records)
            self._dropped.add(records)

    def dropped(self, cpu: int) -> tuple[int, ...]:
        """Return the events of one CPU that were dropped here, by `COUNTS`."""
        return self._dropped.of(cpu)

    # --- the end ---

    def in_queue(self) -> int:
        """Return messages that are queued, sent and unacknowledged, or waiting for room."""
        return self._producer.unacknowledged + self.waiting

    def drain(self, seconds: float) -> None:
        """Wait until everything is acknowledged, for at most ``seconds``; drop what has no room."""
        end_ns = self._now_ns() + int(seconds * 1e9)
        while self.in_queue() and self._now_ns() < end_ns:
            self.advance()
            self._producer.serve(min(0.1, max(0.0, (end_ns - self._now_ns()) / 1e9)), flush=True)
        while self._waiting:
            self._drop(self._waiting.popleft())
