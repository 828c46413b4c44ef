"""Intervals of any number of runs, closed and told; and the books of that.

Pure: the time is passed in.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Protocol

from taskstream.batch import Origin
from taskstream.cells import host_of
from taskstream.closing import Closing
from taskstream.errors import MessageError
from taskstream.grouping.choice import Choice
from taskstream.interval import Interval
from taskstream.partial import Partial

__all__ = ["FORGET_MS", "SILENT_MS", "Outlet", "RecountTotals", "Reducer"]

FORGET_MS = 3_600_000
"""For how long nothing of a run may have come before it is forgotten."""

SILENT_MS = 60_000
"""For how long nothing of a run may have come before its agent is taken to have been killed."""


class Outlet(Protocol):
    """Where intervals go."""

    def interval(self, origin: Origin, interval: Interval) -> None:
        """Take an interval of a run."""

    def forget(self, origin: Origin) -> None:
        """Take note that no interval of a run will come here any more."""


@dataclass(slots=True)
class RecountTotals:
    """What a recount amounts to.

    Attributes:
        events: Events that were counted.
        again: Copies that were left out.
        refused: Events that were left out because they are copies or came too late.
        doubted: Events that were left out because they are dated a day ahead of all others of
            their run.
        late: Events that came when their interval was closed; counted in the next one.
        missing: Events that reports tell of and that never came.
        intervals: Intervals that were told.
        unreported: Of those, the ones of which no report tells, so that they are not exact.
        hosts: Hosts of which there were any.
        damaged: Places of captures that are damaged, cut or missing, and were passed over.
        rejected: Messages that are not ours.
        reason: Why the first of them is not.
    """

    events: int = 0
    again: int = 0
    refused: int = 0
    doubted: int = 0
    late: int = 0
    missing: int = 0
    intervals: int = 0
    unreported: int = 0
    hosts: set[str] = field(default_factory=set)
    damaged: int = 0
    rejected: int = 0
    reason: str = ""

    def add(self, other: "RecountTotals") -> None:
        """Add those of another part of the work."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.hosts |= other.hosts
        self.reason = self.reason or other.reason

    def take(self) -> "RecountTotals":
        """Return all of it, and begin anew."""
        taken = replace(self)
        for name in _NUMBERS:
            setattr(self, name, 0)
        self.hosts, self.reason = set(), ""
        return taken

    @property
    def complete(self) -> bool:
        """Tell whether every event came that reports tell of, and nothing was not understood."""
        return not (self.missing or self.refused or self.doubted or self.damaged or self.rejected)

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
            (self.unreported, "intervals have no report of their agent, and are not exact"),
            (self.late, "came late and were counted in the next interval"),
            (self.refused, "were copies or too late, and left out"),
            (self.doubted, "are dated a day ahead of all others of their run, and left out"),
            (self.missing, "are missing from the groups"),
            (self.damaged, "damaged, cut or missing in captures"),
        ):
            if count:
                text += f"; {count:,} {what}"
        if self.rejected:
            text += f"; {self.rejected:,} messages were not understood: {self.reason}"
        return text


_NUMBERS = [one.name for one in fields(RecountTotals) if one.name not in ("hosts", "reason")]


class Reducer:
    """Closes the intervals of any number of runs.

    Args:
        choice: By what to count beside the outcomes.
        outlet: Where they go.
        totals: Keeps the books.
        window_ns: How long windows are; 0 for the agents' own intervals.
    """

    def __init__(
        self, choice: Choice, outlet: Outlet, totals: RecountTotals, *, window_ns: int = 0
    ) -> None:
        self._choice, self._outlet, self._totals = choice, outlet, totals
        self._window_ns = window_ns
        self.runs: dict[Origin, Closing] = {}
        self._changed: dict[Origin, bool] = {}

    def add(self, partials: Iterable[Partial]) -> None:
        """Take what was counted."""
        for partial in partials:
            run = self._run(partial.origin)
            self._changed.setdefault(partial.origin, False)
            before = run.late
            run.add(partial)
            totals = self._totals
            totals.again += partial.again
            totals.refused += partial.late
            totals.doubted += partial.doubted
            totals.late += run.late - before
            totals.hosts.add(partial.origin.host)
            for dimensions in partial.cells.values():
                totals.events += int(host_of(dimensions).sum())

    def _run(self, origin: Origin) -> Closing:
        if origin not in self.runs:
            self.runs[origin] = Closing(origin, self._choice, self._window_ns)
        return self.runs[origin]

    def close(
        self, read_to_ms: int, silent_ms: int, *, over: bool = False, behind: bool = False
    ) -> None:
        """Tell the intervals that are over.

        Args:
            read_to_ms: All that was published up to this moment, less the time that events may
                be late, has been read.
            silent_ms: Runs of which nothing came since this moment are over.
            over: Nothing more will be read.
            behind: What is old may be read yet.
        """
        for origin, run in self.runs.items():
            before = run.missing
            short = over or run.touched_ms <= silent_ms
            for interval in run.close(read_to_ms, short=short, behind=behind):
                self._tell(origin, interval)
            for interval in run.leave(silent_ms, over=over):
                self._tell(origin, interval)
            self._totals.missing += run.missing - before

    def _tell(self, origin: Origin, interval: Interval) -> None:
        self._changed[origin] = True
        self._totals.intervals += 1
        self._totals.unreported += "unreported" in interval.missed
        self._outlet.interval(origin, interval)

    def forget_before(self, read_ms: int) -> list[Origin]:
        """Forget the runs of which nothing came since a moment; return which."""
        old = [origin for origin, run in self.runs.items() if run.touched_ms < read_ms]
        for origin in old:
            del self.runs[origin]
            self._changed.pop(origin, None)
            self._outlet.forget(origin)
        return old

    def leave(self) -> None:
        """Take note that all runs are another's from now on."""
        for origin in self.runs:
            self._outlet.forget(origin)

    def changes(self) -> list[tuple[Origin, bool]]:
        """Return the runs that are not as they were, and whether any interval was closed."""
        changed, self._changed = self._changed, {}
        return list(changed.items())
