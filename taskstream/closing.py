"""Intervals of a run, closed when all of their events were counted: sums of partial sums.

Pure: the time is passed in. An agent's report says how many events of an interval it handed on.
When as many were counted, wherever they were read, the interval is closed: no watermark could be
surer. Where some never come, it is closed once all that was published up to a while after the
report has been read; what comes later still is counted in the next interval, as agents do.
Intervals may be joined into longer windows, which begin at multiples of their length since boot.

Nothing is waited for without end: what happened two hours before the newest that is known of the
run is told as it is, also where no report tells of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Origin
from taskstream.cells import SECOND_NS, Cells, add, cells_from_list, cells_to_list, host_of
from taskstream.grouping.cgroup import classify
from taskstream.grouping.choice import Choice
from taskstream.grouping.counts import Counts
from taskstream.grouping.roll import Roll
from taskstream.interval import Interval, Series
from taskstream.partial import Partial, last_second
from taskstream.record import COUNTS
from taskstream.report import Report

__all__ = ["Closing"]

_EVENTS = len(COUNTS)

KEEP_NAMES = 4_096
"""Of how many cgroups the engine's names are kept; those that were told first are forgotten."""

OPEN_S = 7_200
"""How far what is open may lie behind the newest, in the run's own time: twice the longest interval
that an agent may have."""

PART_S = 60
"""Length of the intervals in which that is told of which no report tells; and of the pieces in
which old cells are kept, so that what is long open is not written again with every change."""

_PART = "part-"


@dataclass(slots=True)
class Closing:
    """One run of an agent, as it comes in.

    Args:
        origin: The run.
        choice: By what is counted beside the outcomes.
        window_ns: How long windows are; 0 for the agent's own intervals. One that is longer stays
            whole, and belongs to the window in which it ends.

    Attributes:
        late: Events that came when their interval was closed; counted in the next one.
        again: Copies of events.
        refused: Events left out because they are copies or came too late for the reader.
        missing: Events that reports tell of and that never came.
        touched_ms: When anything of it was read last.
        ended: The agent's last report was closed.
    """

    origin: Origin
    choice: Choice
    window_ns: int = 0
    late: int = 0
    again: int = 0
    refused: int = 0
    missing: int = 0
    touched_ms: int = 0
    ended: bool = False
    _cells: Cells = field(default_factory=dict)
    _charged: Cells = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _carry: dict[str, Counts] = field(default_factory=dict)
    _open: dict[int, tuple[int, Report]] = field(default_factory=dict)
    _closed: int = -1
    _end_ns: int = 0
    _dropped: NDArray[np.int64] | None = None
    _reported: bool = True
    _behind: bool = False
    _wall_offset_ns: int = 0
    _rolls: dict[str, Roll] = field(default_factory=dict)
    _changed: set[int] = field(default_factory=set)
    _kept: set[int] = field(default_factory=set)

    # --- what comes in ---

    def add(self, partial: Partial) -> None:
        """Take what a reader counted."""
        self.again += partial.again
        self.refused += partial.late
        self.touched_ms = max(self.touched_ms, partial.read_ms)
        if partial.wall_offset_ns is not None:
            self._wall_offset_ns = partial.wall_offset_ns
        for second, dimensions in partial.cells.items():
            if second <= self._closed:
                self.late += int(host_of(dimensions).sum())
                add(self._carry, dimensions)
            else:
                add(self._cells.setdefault(second, {}), dimensions)
                self._changed.add(second // PART_S)
        for second, dimensions in partial.charged.items():
            add(self._charged.setdefault(second, {}), dimensions)
            self._changed.add(second // PART_S)
        for report in partial.reports:
            interval = report.interval
            for _, path, name in interval.cgroups if interval is not None else ():
                self._name(classify(path).name, name)
            if interval is not None and interval.end_ns > self._end_ns:
                self._open.setdefault(interval.end_ns, (partial.read_ms, report))

    def _name(self, derived: str, name: str) -> None:
        """Take note of an engine's name for what the path alone names otherwise."""
        self._names.pop(derived, None)
        if name != derived:
            self._names[derived] = name
        if len(self._names) > KEEP_NAMES:
            del self._names[next(iter(self._names))]

    # --- what goes out ---

    def close(
        self, read_to_ms: int, *, short: bool = False, behind: bool = False
    ) -> Iterator[Interval]:
        """Yield the windows that are over and complete, in their order.

        Args:
            read_to_ms: All that was published up to this moment, less the time that events may
                be late, has been read.
            short: No report will come any more, so what there is of a window is all of it.
            behind: What is old may be read yet, so nothing is given up.
        """
        self._behind = behind
        while span := self._span(short=short):
            read_ms, report = span[-1]
            intervals = [told.interval for _, told in span if told.interval is not None]
            need = np.sum([one.received for one in intervals], axis=0) - self._dropped_since(report)
            last = last_second(report)
            have = np.zeros(_EVENTS, np.int64)
            for second, dimensions in self._cells.items():
                if second <= last:
                    have += host_of(dimensions)
            missing = int(np.maximum(need - have, 0).sum())
            if missing and read_ms > read_to_ms and not self._is_old(last):
                return
            for interval in intervals:
                del self._open[interval.end_ns]
            self.missing += missing
            self.ended |= report.final
            self._dropped = _dropped(report)
            groups = self._groups(sorted(s for s in self._cells | self._charged if s <= last))
            yield replace(Interval.join(intervals), groups=groups, unseen=missing)
            self._closed, self._end_ns, self._reported = last, intervals[-1].end_ns, True
        if self._cells and not self._open and not behind:
            yield from self._give_up()

    def _give_up(self) -> Iterator[Interval]:
        """Yield by parts what lies so far back that no report will tell of it."""
        part_s = self.window_ns // SECOND_NS or PART_S
        ordered = sorted(self._cells)
        for number, seconds in groupby(ordered, lambda second: second // part_s):
            last = (number + 1) * part_s - 1
            if ordered[-1] - last <= OPEN_S:
                return
            yield from self._unreported(last, list(seconds))

    def _is_old(self, second: int) -> bool:
        """Tell whether a second lies so far back that nothing of it is waited for."""
        if self._behind:
            return False
        newest = max(self._open, default=0) // SECOND_NS
        return max(newest, max(self._cells, default=0)) - second > OPEN_S

    def _span(self, *, short: bool) -> list[tuple[int, Report]]:
        """Return the reports of the first window, if it is over."""
        ends = sorted(self._open)
        if not ends or not self.window_ns:
            return [self._open[end_ns] for end_ns in ends[:1]]
        windows = [(end_ns - 1) // self.window_ns for end_ns in ends]
        count = windows.count(windows[0])
        span = [self._open[end_ns] for end_ns in ends[:count]]
        whole = ends[count - 1] % self.window_ns == 0 or span[-1][1].final
        short |= self._is_old(last_second(span[-1][1]))
        return span if whole or short or len(ends) > count else []

    def leave(self, silent_ms: int, *, over: bool = False) -> Iterator[Interval]:
        """Yield what no report tells of, as one interval, if nothing came for so long.

        An agent that was killed tells of its last interval no more. Its events are all that is
        known, so the interval is not exact. Events that came late, and after which no interval
        came, are told in one of their own.

        Args:
            silent_ms: Nothing was read since this moment.
            over: Nothing more will be read; nothing happened since that moment.
        """
        if self._open or not (self._cells or self._carry):
            return
        last = max(self._cells, default=self._closed + 1)
        last_ms = ((last + 1) * SECOND_NS + self._wall_offset_ns) // 1_000_000
        gone = over and (self.ended or last_ms <= silent_ms)
        if gone or (not over and self.touched_ms <= silent_ms):
            yield from self._unreported(last, sorted(self._cells))

    def _unreported(self, last: int, seconds: Sequence[int]) -> Iterator[Interval]:
        """Yield what there is of some seconds, if anything, as an interval without a report."""
        # What is carried is in the counts of its interval already, if a report told those.
        counts = np.zeros(_EVENTS, np.int64) if self._reported else host_of(self._carry).copy()
        for second in seconds:
            counts += host_of(self._cells[second])
        listed, told = tuple(counts.tolist()), bool(self._carry)
        groups = self._groups(seconds)
        if not any(listed) and not told:
            return
        start_ns = max(min(seconds, default=0) * SECOND_NS, self._end_ns)
        end_ns = (last + 1) * SECOND_NS
        yield Interval(
            start_ns=start_ns,
            end_ns=end_ns,
            wall_ns=end_ns + self._wall_offset_ns,
            counts=listed,
            received=listed,
            missed={"unreported": 1},
            groups=groups,
        )
        self._closed, self._end_ns, self._reported = last, end_ns, False

    def _dropped_since(self, report: Report) -> NDArray[np.int64]:
        """Return the events that the agent gave up since the last interval that was closed."""
        now = _dropped(report)
        return now if self._dropped is None else np.maximum(now - self._dropped, 0)

    def _groups(self, seconds: Iterable[int]) -> dict[str, dict[str, Series]]:
        """Take the cells of some seconds out, and add them to the charted groups."""
        sums, self._carry = self._carry, {}
        for second in seconds:
            self._changed.add(second // PART_S)
            for cells in (self._cells, self._charged):
                add(sums, cells.pop(second, {}))
        if "cgroup" in sums:  # the engine's names, which the agent asked for
            named: Counts = {}
            for name, counts in sums["cgroup"].items():
                add({"": named}, {"": {self._names.get(name, name): counts}})
            sums["cgroup"] = named
        for dimension in _dimensions(self.choice):
            self._roll(dimension)
        return {
            dimension: roll.close(sums.get(dimension, {}))
            for dimension, roll in self._rolls.items()
        }

    def _roll(self, dimension: str) -> Roll:
        return self._rolls.setdefault(dimension, Roll(self.choice.limit))

    # --- what another process needs to go on ---

    def to_maps(self) -> dict[str, dict[str, Any] | None]:
        """Return what changed since the last call as MessagePack can take it, by part.

        Part ``open`` is always there. Cells that are older than a minute or two have parts of their
        own; None is for one that is no more.
        """
        parts: dict[str, dict[str, Any] | None] = {}
        newest = max((*self._cells, *self._charged), default=0) // PART_S
        old = {second // PART_S for cells in (self._cells, self._charged) for second in cells}
        old -= {newest, newest - 1}
        for number in self._kept - old:
            parts[f"{_PART}{number}"] = None
        for number in old - (self._kept - self._changed):
            parts[f"{_PART}{number}"] = self._listed({number})
        self._kept, self._changed = old, set()
        parts["open"] = {
            "late": self.late,
            "again": self.again,
            "refused": self.refused,
            "missing": self.missing,
            "touched_ms": self.touched_ms,
            "wall_offset_ns": self._wall_offset_ns,
            **self._listed({newest, newest - 1}),
            "carry": cells_to_list({0: self._carry}),
            "names": self._names,
            "reports": [[read_ms, report.to_map()] for read_ms, report in self._open.values()],
        }
        return parts

    def _listed(self, numbers: set[int]) -> dict[str, Any]:
        """Return the cells of some parts."""
        return {
            name: cells_to_list({s: one for s, one in cells.items() if s // PART_S in numbers})
            for name, cells in (("cells", self._cells), ("charged", self._charged))
        }

    def closed_to_map(self) -> dict[str, Any]:
        """Return what changes only where an interval was yielded: part ``closed``."""
        return {
            "ended": self.ended,
            "closed": self._closed,
            "end_ns": self._end_ns,
            "reported": self._reported,
            "dropped": None if self._dropped is None else self._dropped.tolist(),
            "rolls": {dimension: roll.to_map() for dimension, roll in self._rolls.items()},
        }

    def restore(self, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take back the last of every part; part ``closed`` may be absent."""
        open_, closed = parts["open"], parts.get("closed")
        self.late, self.again = open_["late"], open_["again"]
        self.refused, self.missing = open_["refused"], open_["missing"]
        self.touched_ms, self._wall_offset_ns = open_["touched_ms"], open_["wall_offset_ns"]
        self._kept = {int(name[len(_PART) :]) for name in parts if name.startswith(_PART)}
        for part in (open_, *(parts[f"{_PART}{number}"] for number in sorted(self._kept))):
            self._cells |= cells_from_list(part["cells"])
            self._charged |= cells_from_list(part["charged"])
        self._carry = cells_from_list(open_["carry"])[0]
        self._names = dict(open_["names"])
        for read_ms, map_ in open_["reports"]:
            report = Report.from_map(map_)
            assert report.interval is not None
            self._open[report.interval.end_ns] = read_ms, report
        if closed is None:
            return
        self.ended, self._closed, self._end_ns = closed["ended"], closed["closed"], closed["end_ns"]
        self._reported = closed["reported"]
        self._dropped = None if closed["dropped"] is None else np.array(closed["dropped"], np.int64)
        for dimension, map_ in closed["rolls"].items():
            self._roll(dimension).restore(map_)


def _dropped(report: Report) -> NDArray[np.int64]:
    dropped = np.zeros(_EVENTS, np.int64)
    for cpu in report.cpus:
        dropped += cpu.dropped
    return dropped


def _dimensions(choice: Choice) -> Iterator[str]:
    yield from ("host", "errno", "status", "signal", "lifetime")
    yield from ("app",) if choice.apps else ()
    yield from ("cgroup", "service") if choice.cgroups else ()
    yield from ("command",) if choice.commands else ()
    yield from ("user",) if choice.users else ()
