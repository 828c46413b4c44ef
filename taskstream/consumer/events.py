"""Events of one host or many, as one of a group of consumers: each once, with what is missing.

Rim: touches a broker through `taskstream.consumer.reader`, and this host's clock.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from taskstream.batch import Batch, Origin
from taskstream.consumer.reader import Place, Reader
from taskstream.errors import MessageError
from taskstream.ledger import Ledger
from taskstream.message.decode import MessageDecoder
from taskstream.report import CpuReport, Report
from taskstream.turn import most_messages

__all__ = ["EventConsumer", "Gap", "Portion"]

LATE_S = 10.0
"""How far an event may come behind others of its CPU, and behind the report that counts it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events of one CPU of one run that did not come.

    Attributes:
        origin: The run.
        cpu: The CPU.
        missing: How many numbers never came.
        lost: Of those, events for which the agent's ring had no room.
        dropped: Of those, events that the agent gave up before they were published.
        until_ns: CLOCK_BOOTTIME of the agent's report that told of them.
    """

    origin: Origin
    cpu: int
    missing: int
    lost: int
    dropped: int
    until_ns: int

    @property
    def unexplained(self) -> int:
        """Missing events that the agent knows nothing of."""
        return max(0, self.missing - self.lost - self.dropped)


@dataclass(slots=True)
class Portion:
    """What was read at a time.

    Attributes:
        batches: Events, each once, by origin and clock pair.
        reports: Reports of agents.
        gaps: Losses that are certain by now; none where other members have partitions too.
        rejected: Where a message came from that is not ours, and why.
        again: Copies of events, left out.
        late: Events left out because they are copies or came too late: which, is not known.
        watermarks: By run and CPU, CLOCK_BOOTTIME up to which every event has been read or is
            given up; a CPU of which it is not known is absent.
    """

    batches: list[Batch] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    rejected: list[tuple[Place, MessageError]] = field(default_factory=list)
    again: int = 0
    late: int = 0
    watermarks: Mapping[tuple[Origin, int], int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many events there are."""
        return sum(map(len, self.batches))


class EventConsumer:
    """Yields the events of a topic of every shape and of all schema versions, each once.

    Members of a group share the partitions; one that comes or goes moves only those that must
    move. What was yielded is committed when the next portion is asked for, so a portion whose
    results are not out is read again after a crash:

    >>> with EventConsumer(BROKER, group="forks") as consumer:  # doctest: +SKIP
    ...     for portion in consumer:
    ...         for batch in portion.batches:
    ...             print(batch.origin.host, len(batch.of_kind("fork")))

    Copies of events are left out: exactly, where this member has all partitions and had them
    from its start; else as far as ``late_s`` goes back, within each partition. After a restart
    nothing is known of what was read before.

    Args:
        bootstrap: Broker addresses.
        topics: Topics of events.
        group: Name of the group; None to read every partition alone, from the beginning, and to
            commit nothing.
        from_end: Where nothing was committed, begin with what comes from now on.
        late_s: How far, in seconds, an event may come behind others of its CPU that happened
            after it, or behind the report that counts it.
        settings: librdkafka settings, such as those of TLS and SASL.
        now_ms: This host's clock, in milliseconds.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        BrokerError: no broker answers, or a topic does not exist or may not be read.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str] = ("taskstream.events",),
        *,
        group: str | None = None,
        from_end: bool = False,
        late_s: float = LATE_S,
        settings: Mapping[str, str] | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._decoder = MessageDecoder()
        self._most = most_messages(0, 0)
        self._late_ms = int(late_s * 1000)
        self._now_ms = now_ms
        self._books = _Books(int(late_s * 1e9))
        self._ends: dict[Place, int] = {}
        self._group = group
        self._from_end = from_end
        self.reader = Reader(
            bootstrap,
            topics,
            group=group,
            from_end=from_end,
            on_gained=self._gained,
            on_losing=self._losing,
            on_lost=self._lost,
            settings=settings,
        )

    # --- partitions come and go ---

    def _gained(self, _places: Sequence[Place]) -> None:
        """Nothing is known of them: the first message tells."""

    def _losing(self, places: Sequence[Place]) -> None:
        # Not committed here: what was handed out last may not be done with yet. Whoever gets the
        # partition hands it out again.
        self._lost(places)

    def _lost(self, places: Sequence[Place]) -> None:
        self._books.share(places, self.reader.places)
        for place in places:
            self._ends.pop(place, None)

    # --- reading ---

    def read(self, timeout_s: float = 0.5) -> Portion:
        """Wait for events, for at most so many seconds; what came before is not committed.

        Raises:
            BrokerError: reading is refused, or the connection is lost for good.
        """
        portion = Portion()
        stretches = self.reader.read(timeout_s, self._most)
        events = 0
        if self.reader.places and not self.reader.whole:
            self._books.share((), self.reader.places)
        for stretch in stretches:
            decoded = self._decoder.decode(stretch.values)
            portion.rejected += [(stretch.place, error) for _, error in decoded.rejected]
            events += sum(map(len, decoded.batches))
            for batch in decoded.batches:
                self._books.enter(stretch.place, batch, portion)
            for report in decoded.reports:
                portion.reports.append(report)
                self._books.report(report, self._now_ms() + self._late_ms)
            self._ends[stretch.place] = stretch.end
        self._books.settle()
        self._most = most_messages(sum(len(one.values) for one in stretches), events)
        read_to = self.reader.read_to_ms
        read_to_ms = min((read_to.get(place, 0) for place in self.reader.places), default=0)
        portion.gaps = self._books.gaps(read_to_ms, from_start=self.reader.from_start)
        portion.watermarks = self._books.watermarks()
        return portion

    def commit(self) -> None:
        """Commit all portions so far: their results are out. Without a group, do nothing.

        Raises:
            BrokerError: the broker does not take it, for instance because this member was away
                for so long that its partitions are another's.
        """
        if self._group is not None:
            self.reader.commit(self._ends)
        self._ends = {}

    def __iter__(self) -> Iterator[Portion]:
        """Yield portions that are not empty, without end; commit each when it is done with."""
        while True:
            portion = self.read()
            if portion.batches or portion.reports or portion.gaps or portion.rejected:
                yield portion
            self.commit()

    @property
    def at_end(self) -> bool:
        """Tell whether every partition that it has was read to its present end."""
        return self.reader.at_end

    @property
    def trouble(self) -> str:
        """Why nothing comes at present; empty while all is well."""
        return self.reader.trouble

    def close(self) -> None:
        """Leave the group and the broker; commits nothing."""
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class _Books:
    """The ledgers, and what the reports say beside them.

    One ledger knows all partitions for as long as no other member has any; from then on each
    partition has its own, since numbers that are missing may be another member's.
    """

    def __init__(self, late_ns: int) -> None:
        self._late_ns = late_ns
        self._whole: Ledger | None = Ledger()
        self._parts: dict[Place, Ledger] = {}
        self._told: dict[tuple[Origin, int], CpuReport] = {}
        self._open: deque[tuple[int, Report]] = deque()

    def share(self, gone: Sequence[Place], places: set[Place]) -> None:
        """Take note that other members have partitions, too."""
        if self._whole is not None:
            whole, self._whole = self._whole, None
            for place in places:
                self._parts[place] = Ledger(self._late_ns)
                for origin in whole.touched:
                    self._parts[place].restore(origin, whole.to_map(origin))
            self._open.clear()
        for place in gone:
            self._parts.pop(place, None)

    def enter(self, place: Place, batch: Batch, portion: Portion) -> None:
        ledger = self._whole
        if ledger is None:
            ledger = self._parts.setdefault(place, Ledger(self._late_ns))
        entered = ledger.enter(batch)
        portion.again += entered.again
        portion.late += entered.late
        if len(entered.fresh):
            portion.batches.append(entered.fresh)

    def settle(self) -> None:
        for ledger in (self._whole, *self._parts.values()):
            if ledger is not None:
                ledger.settle()

    def report(self, report: Report, due_ms: int) -> None:
        if self._whole is not None:
            self._open.append((due_ms, report))

    def gaps(self, read_to_ms: int, *, from_start: bool) -> list[Gap]:
        """Return what is certain, now that all was read that was published up to a moment.

        Args:
            read_to_ms: That moment.
            from_start: Events before the first report can be missing, too.
        """
        gaps = []
        while self._open and self._open[0][0] <= read_to_ms:
            report = self._open.popleft()[1]
            for cpu in report.cpus:
                first = (report.origin, cpu.cpu) not in self._told
                gap = self._gap(report, cpu)
                if gap is not None and (from_start or not first):
                    gaps.append(gap)
        return gaps

    def _gap(self, report: Report, told: CpuReport) -> Gap | None:
        assert self._whole is not None
        key = report.origin, told.cpu
        before = self._told.get(key)
        if before is not None and before.next_seq > told.next_seq:
            return None  # a copy, or an older one
        self._told[key] = told
        missing = self._whole.raise_to(*key, told.next_seq)
        if not missing:
            return None
        lost = sum(told.lost) - (sum(before.lost) if before else 0)
        dropped = sum(told.dropped) - (sum(before.dropped) if before else 0)
        return Gap(*key, missing, lost, dropped, report.boot_ns)

    def watermarks(self) -> Mapping[tuple[Origin, int], int]:
        return self._whole.watermarks() if self._whole is not None else {}
