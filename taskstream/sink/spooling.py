"""A topic with a spool before it: what the broker does not take in time waits on the disk.

Rim: touches a broker and a folder, through ``sink.kafka`` and ``spool``. While anything is in the
spool, new events go to its end, so that the order within a key is kept. In mode ``always`` every
batch is in the spool before it is published, and leaves it when it is acknowledged. Reports go the
way of the events, behind those of which they tell.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from taskstream.batch import Batch
from taskstream.drops import DropCounts
from taskstream.message.decode import MessageDecoder
from taskstream.report import Report
from taskstream.sink.kafka import KafkaSink
from taskstream.spool.segment import Segment
from taskstream.spool.spool import Place, Spool
from taskstream.stats import Account

__all__ = ["SpoolingSink"]

_MOST_AHEAD = 50_000
"""Events of the spool that may be with librdkafka at once: more would only fill its queue."""

_LONGEST_S = 0.1
"""Of the time since the last look, how much counts for the rate."""


@dataclass(slots=True, eq=False)
class _Receipt:
    """Enters the fates of a batch's events: in an account, and with the segment that has them.

    A report has no events, and is open with its segment only. Numbers are in the order of giving.
    """

    number: int
    content: Batch | Report
    account: Account
    spool: Spool
    segment: Segment | None
    place: Place | None = None
    ahead: Counter[str] | None = None

    def settle(self, events: int, *, delivered: bool) -> None:
        """Take note of the fate of some of the events."""
        if delivered:
            self.account.delivered += events
        else:
            self.account.rejected += events
        if self.segment is not None:
            self.spool.settled(self.segment, events, reports=isinstance(self.content, Report))
        if self.ahead is not None:
            self.ahead["events"] -= events


class SpoolingSink:
    """Publishes batches and reports, by way of the disk where it must.

    Args:
        topic: The topic.
        make_spool: Makes the spool, of the callbacks that it takes.
        always: Mode ``always``; else ``overflow``.
        rate: Events per second that leave the spool, beside as many as come in.
        now_ns: A clock that never goes back.

    Attributes:
        account: Fates of the events that it was given.
        earlier: Fates of the events that earlier runs left.
        spool: The spool.
        spooling: New events go to the spool.
        given_up: Events of this run that the spool gave up: it was full or too old, or the disk
            took no more; they are among those that were dropped.
        damaged: Likewise, that could not be read from the disk any more.
    """

    def __init__(
        self,
        topic: KafkaSink,
        make_spool: Callable[[Callable[[Batch, bool], None], Callable[[int, bool], None]], Spool],
        *,
        always: bool,
        rate: int,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.account, self.earlier = Account(), Account()
        self.topic, self._always, self._rate = topic, always, rate
        self._now_ns = now_ns
        self.given_up = self.damaged = 0
        self._drops = DropCounts()
        self._ahead: Counter[str] = Counter()
        self._given = 0
        self._tokens = 0.0
        self._came = 0
        self._refilled_ns = now_ns()
        self._moved_ns = now_ns()
        self._settled = 0
        self._stalled = False
        self.spool = make_spool(self._dropped_batch, self._damaged)
        self.earlier.received = self.spool.unread
        self.spooling = self.spool.pending

    # --- giving ---

    def write(self, batch: Batch) -> None:
        """Publish a batch, or keep it; returns at once."""
        if len(batch):
            self.account.received += len(batch)
            if self.spooling:
                self._keep(batch)
            else:
                self._publish(batch)
        self.tick()

    def _publish(self, batch: Batch) -> None:
        place = None
        if self._always:
            place, left = self.spool.append(batch, read=True)
            if left and place is not None:  # a part of it is in the spool: as good as nothing
                for part in left:
                    place.segment.unacked += len(part)
        self._give(batch, place=place)

    def _give(
        self,
        content: Batch | Report,
        *,
        place: Place | None = None,
        source: Segment | None = None,
    ) -> None:
        """Hand something to the topic.

        Args:
            content: Events or a report.
            place: Where the journal has it.
            source: Where it was read.
        """
        self._given += 1
        receipt = _Receipt(
            self._given,
            content,
            self.account if source is None or source.own else self.earlier,
            self.spool,
            place.segment if place is not None else source,
            place,
            None if source is None else self._ahead,
        )
        if isinstance(content, Report):
            self.topic.publish_for(receipt, self.topic.encode_report(content))
        else:
            self.topic.publish_for(receipt, self.topic.encode(content))

    def _keep(self, content: Batch | Report) -> None:
        """Put something at the end of the spool; events that find no room are dropped."""
        if isinstance(content, Report):
            if self.spool.append_report(content) is None:
                self.topic.report(content)
            return
        self._came += len(content)
        for part in self.spool.append(content)[1]:
            self._dropped_batch(part, True)

    def _dropped_batch(self, batch: Batch, own: bool) -> None:
        if own:
            self.given_up += len(batch)
            self.account.dropped += len(batch)
            self._drops.add(batch.records)
        else:
            self.earlier.dropped += len(batch)

    def _damaged(self, events: int, own: bool) -> None:
        self.damaged += events if own else 0
        (self.account if own else self.earlier).dropped += events

    def report(self, report: Report) -> None:
        """Publish a report, behind the events that it speaks of."""
        if self.spooling:
            self._keep(report)
            return
        place = self.spool.append_report(report, read=True) if self._always else None
        self._give(report, place=place)

    # --- going on ---

    def tick(self) -> None:
        """Serve delivery reports; go over to the spool, or empty it, as the broker is."""
        self.topic.advance()
        self._look()
        if not self.spooling and self._must_spool():
            self._take_back()
            self.spooling = True
        if self.spooling:
            self._empty()
            # While the broker is in trouble what comes goes to the disk, not into its queue.
            away = self.topic.trouble or self._stalled
            self.spooling = bool(self.spool.pending or self.topic.waiting or away)
        self.spool.turn()
        if self.spooling:
            self.spool.bound()

    def _must_spool(self) -> bool:
        """Tell whether the broker has kept us waiting for longer than the queue wait."""
        return self._stalled or self.topic.waiting_ms > self.topic.options.queue_wait_ms

    def _look(self) -> None:
        """See whether the broker has let more time pass than the queue wait.

        It has if nothing was acknowledged for so long although something was due, or if
        something has been wrong with it for so long.
        """
        now_ns = self._now_ns()
        settled = sum(a.delivered + a.rejected for a in (self.account, self.earlier))
        moved = settled != self._settled or not self.topic.in_queue()
        self._settled = settled
        if moved and not self.topic.trouble:
            self._moved_ns = now_ns
        limit_ns = self.topic.options.queue_wait_ms * 1_000_000
        self._stalled = now_ns - self._moved_ns > limit_ns

    def _take_back(self) -> None:
        """Move what waits for room to the spool, but for a batch that is sent in part."""
        receipts = [r for r in self.topic.take_back() if isinstance(r, _Receipt)]
        events: Counter[Segment] = Counter()
        reports: Counter[Segment] = Counter()
        first: Place | None = None
        for receipt in receipts:
            if receipt.place is None:
                self._keep(receipt.content)
                continue
            first = first or receipt.place
            if isinstance(receipt.content, Report):
                reports[receipt.place.segment] += 1
            else:
                events[receipt.place.segment] += len(receipt.content)
        if first is not None:
            self.spool.rewind(first, events, reports)
        else:
            self.spool.cut()

    def _empty(self) -> None:
        """Publish from the spool: while there is room, and no faster than the rate."""
        now_ns = self._now_ns()
        since_s = min((now_ns - self._refilled_ns) / 1e9, _LONGEST_S)
        # What was not used is not kept: an outage earns no burst.
        self._tokens = min(self._tokens, 0) + self._rate * since_s + self._came
        self._refilled_ns, self._came = now_ns, 0
        while self._tokens > 0 and not self.topic.waiting and self._may_send():
            found = self.spool.read()
            if found is None:
                return
            content, segment = found
            events = len(content) if isinstance(content, Batch) else 0
            self._tokens -= events
            self._ahead["events"] += events
            self._give(content, source=segment)

    def _may_send(self) -> bool:
        """Tell whether to send more: to a broker in trouble only a batch, to see if it is back."""
        if self.topic.trouble or self._stalled:
            return self.topic.in_queue() == 0
        return self._ahead["events"] < _MOST_AHEAD

    def settle(self, seconds: float) -> None:
        """Serve delivery reports as they come: until none is due, or for at most ``seconds``."""
        self.topic.settle(seconds)

    def dropped(self, cpu: int) -> tuple[int, ...]:
        """Return the events of one CPU that were dropped here, by `COUNTS`."""
        return self._drops.of(cpu)

    # --- the end ---

    def drain(self, seconds: float) -> None:
        """Wait until all is acknowledged, for at most ``seconds``; keep what is not."""
        end_ns = self._now_ns() + int(seconds * 1e9)
        self.tick()
        while (self.topic.in_queue() or self.spool.pending) and self._now_ns() < end_ns:
            self.topic.settle(0.05)
            if not self.topic.in_queue():
                time.sleep(0.001)
            self.tick()
        self._reclaim()
        self.spool.turn()
        open_ = self.account.in_flight
        self.account.spooled += open_

    def _reclaim(self) -> None:
        """Put what is not acknowledged back into the spool, before all that is younger."""
        mine: dict[int, tuple[_Receipt, list[bytes]]] = {}
        for receipt, value in self.topic.reclaim():
            if isinstance(receipt, _Receipt):
                mine.setdefault(receipt.number, (receipt, []))[1].append(value)
        loose: list[Batch | Report] = []
        for _, (receipt, raws) in sorted(mine.items()):
            if receipt.segment in self.spool.segments:  # it lies there still
                continue
            is_report = isinstance(receipt.content, Report)
            parts = [receipt.content] if is_report else MessageDecoder().decode(raws).batches
            if receipt.segment is None:
                loose += parts
            else:  # given up since, for want of room
                self._lose(parts, own=receipt.segment.own)
        self._lose(self.spool.prepend(loose) if loose else [], own=True)

    def _lose(self, contents: Iterable[Batch | Report], *, own: bool) -> None:
        for content in contents:
            if isinstance(content, Report):
                self.topic.lose_report(self.spool.trouble or "spool full")
            else:
                self._dropped_batch(content, own)

    def close(self) -> None:
        """Let go of the spool."""
        self.spool.close()
