"""Rates from the raw events again: of captures, or of a topic that one process reads alone.

Joint. A source is read in portions; each partition is counted by itself (``taskstream.partial``),
and what was counted of a run is closed into intervals (``taskstream.closing``).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from taskstream.batch import Batch, Origin
from taskstream.capture.content import Names, content_of
from taskstream.capture.frame import Damage
from taskstream.capture.reader import CaptureFile
from taskstream.closing import Closing
from taskstream.consumer.reader import Place, Reader, most_messages
from taskstream.decode import MessageDecoder
from taskstream.errors import CaptureError, MessageError
from taskstream.grouping.apps import AppGroups
from taskstream.grouping.tally import Choice
from taskstream.interval import Interval
from taskstream.partial import Partial, PartialSums
from taskstream.report import Report

__all__ = ["FORGET_MS", "SILENT_MS", "Intervals", "Outlet", "RecountTotals", "Recounter"]

FORGET_MS = 3_600_000
"""For how long nothing of a run may have come before it is forgotten."""

SILENT_MS = 60_000
"""For how long nothing of a run may have come before its agent is taken to have been killed."""

FOR_EVER_MS = 1 << 62


class Outlet(Protocol):
    """Where intervals go."""

    def interval(self, origin: Origin, interval: Interval) -> None:
        """Take an interval of a run."""


class RecountTotals:
    """What a recount amounts to.

    Attributes:
        events: Events that were counted.
        again: Copies that were left out.
        refused: Events that were left out because they are copies or came too late.
        late: Events that came when their interval was closed; counted in the next one.
        missing: Events that reports tell of and that never came.
        intervals: Intervals that were told.
        hosts: Hosts of which there were any.
        rejected: Messages that are not ours.
    """

    def __init__(self) -> None:
        self.events = self.again = self.refused = self.late = self.missing = 0
        self.intervals = self.rejected = 0
        self.hosts: set[str] = set()
        self.reason = ""

    @property
    def complete(self) -> bool:
        """Tell whether every event came that reports tell of, and nothing was not understood."""
        return not (self.missing or self.refused or self.rejected)

    def reject(self, error: MessageError) -> None:
        """Take note of a message that is not ours."""
        self.rejected += 1
        self.reason = self.reason or str(error)

    def line(self) -> str:
        """Return the closing line."""
        text = (
            f"{self.intervals:,} intervals of {len(self.hosts):,} hosts; "
            f"counted {self.events:,} events once, {self.again:,} copies left out"
        )
        for count, what in (
            (self.late, "came late and were counted in the next interval"),
            (self.refused, "were copies or too late, and left out"),
            (self.missing, "are missing from the groups"),
        ):
            if count:
                text += f"; {count:,} {what}"
        if self.rejected:
            text += f"; {self.rejected:,} messages were not understood: {self.reason}"
        return text


class Intervals:
    """Closes the intervals of any number of runs.

    Args:
        choice: By what to count beside the outcomes.
        outlet: Where they go.
        totals: Keeps the books.
    """

    def __init__(self, choice: Choice, outlet: Outlet, totals: RecountTotals) -> None:
        self._choice, self._outlet, self._totals = choice, outlet, totals
        self.runs: dict[Origin, Closing] = {}

    def add(self, partials: Iterable[Partial]) -> None:
        """Take what was counted."""
        for partial in partials:
            run = self.runs.get(partial.origin)
            if run is None:
                run = self.runs[partial.origin] = Closing(partial.origin, self._choice)
            before = run.late
            run.add(partial)
            totals = self._totals
            totals.again += partial.again
            totals.refused += partial.late
            totals.late += run.late - before
            totals.hosts.add(partial.origin.host)
            for dimensions in partial.cells.values():
                if "host" in dimensions and "" in dimensions["host"]:
                    totals.events += int(dimensions["host"][""][:-1].sum())

    def close(self, read_to_ms: int, silent_ms: int, *, over: bool = False) -> None:
        """Tell the intervals that are over.

        Args:
            read_to_ms: All that was published up to this moment, less the time that events may
                be late, has been read.
            silent_ms: Runs of which nothing came since this moment are over.
            over: Nothing more will be read.
        """
        for origin, run in self.runs.items():
            before = run.missing
            for interval in run.close(read_to_ms):
                self._tell(origin, interval)
            for interval in run.leave(silent_ms, over=over):
                self._tell(origin, interval)
            self._totals.missing += run.missing - before

    def _tell(self, origin: Origin, interval: Interval) -> None:
        self._totals.intervals += 1
        self._outlet.interval(origin, interval)

    def forget_before(self, read_ms: int) -> list[Origin]:
        """Forget the runs of which nothing came since a moment; return which."""
        old = [origin for origin, run in self.runs.items() if run.touched_ms < read_ms]
        for origin in old:
            del self.runs[origin]
        return old


class Recounter:
    """Recounts one source alone.

    Args:
        choice: By what to count beside the outcomes.
        outlet: Where the intervals go.
        rules: Rules that decide on app groups; None for what the agents had decided.
        late_s: How far, in seconds, an event may come behind others, or behind its report.
        now_ms: Unix milliseconds.
    """

    def __init__(
        self,
        choice: Choice,
        outlet: Outlet,
        *,
        rules: AppGroups | None = None,
        late_s: float,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.totals = RecountTotals()
        self._choice, self._rules, self._now_ms = choice, rules, now_ms
        self._late_ms = int(late_s * 1000)
        self._decoder = MessageDecoder()
        self._parts: dict[Place, PartialSums] = {}
        self._intervals = Intervals(choice, outlet, self.totals)

    def _part(self, place: Place) -> PartialSums:
        if place not in self._parts:
            late_ns = self._late_ms * 1_000_000
            self._parts[place] = PartialSums(self._choice, late_ns, rules=self._rules)
        return self._parts[place]

    def _turn(self, read_to_ms: int, silent_ms: int, *, over: bool = False) -> None:
        for part in self._parts.values():
            self._intervals.add(part.take())
        self._intervals.close(read_to_ms - self._late_ms, silent_ms, over=over)

    # --- a topic ---

    def topic(self, reader: Reader, stop: Callable[[], bool], *, exit_at_end: bool) -> None:
        """Read a topic until told to stop, or to its present end.

        Raises:
            BrokerError: reading is refused, or the connection is lost for good.
        """
        most = most_messages(0, 0)
        while not stop():
            stretches = reader.read(0.5, most)
            events = sum(self.messages(one.place, one.values) for one in stretches)
            most = most_messages(sum(len(one.values) for one in stretches), events)
            now_ms = self._now_ms()
            reached = reader.read_to_ms
            read_to_ms = min((reached.get(place, 0) for place in reader.places), default=0)
            self._turn(read_to_ms, now_ms - SILENT_MS)
            for part in self._parts.values():
                part.forget_before(now_ms - FORGET_MS)
            self._intervals.forget_before(now_ms - FORGET_MS)
            if exit_at_end and reader.at_end:
                self.end()
                return

    def messages(self, place: Place, values: Sequence[bytes]) -> int:
        """Count the messages of a partition; return how many events they held."""
        part, now_ms = self._part(place), self._now_ms()
        decoded = self._decoder.decode(values)
        for batch in decoded.batches:
            part.add(batch, now_ms)
        for report in decoded.reports:
            part.report(report, now_ms)
        for _, error in decoded.rejected:
            self.totals.reject(error)
        return sum(map(len, decoded.batches))

    def end(self) -> None:
        """Close what there is: nothing more comes."""
        self._turn(FOR_EVER_MS, self._now_ms() - SILENT_MS, over=True)

    # --- captures ---

    def captures(
        self, files: Sequence[CaptureFile], stop: Callable[[], bool], *, skip_damaged: bool = False
    ) -> None:
        """Read captures, one after another.

        Raises:
            CaptureError: a file is damaged, and damage is not to be skipped. What came before
                was counted.
        """
        part = self._part(Place("", 0))
        for file in files:
            for item in file.items(None):
                if stop():
                    return
                if isinstance(item, Damage):
                    if not item.cut and not skip_damaged:
                        raise CaptureError(
                            f"{file.name}: frame at byte {item.offset} is damaged: {item.reason}; "
                            "frames before it were counted (--skip-damaged goes on)"
                        )
                    continue
                content = content_of(item)
                if isinstance(content, Batch):
                    part.add(content, 0)
                elif isinstance(content, Report):
                    part.report(content, 0)
                    self._turn(0, -1)
                elif isinstance(content, Names) and file.header is not None:
                    for id_, path in content.cgroups.items():
                        part.learn(file.header.origin, id_, path)
        self._turn(FOR_EVER_MS, FOR_EVER_MS, over=True)
