"""Intervals of a run, closed when all of their events were counted: sums of partial sums.

Pure: the time is passed in. An agent's report says how many events of an interval it handed on.
When as many were counted, wherever they were read, the interval is closed: no watermark could be
surer. Where some never come, it is closed once all that was published up to a while after the
report has been read; what comes later still is counted in the next interval, as agents do.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Origin
from taskstream.grouping.cgroup import classify
from taskstream.grouping.roll import Roll
from taskstream.grouping.tally import Choice, Counts
from taskstream.interval import COLUMNS, Interval, Series
from taskstream.partial import SECOND_NS, Cells, Partial, last_second
from taskstream.record import COUNTS
from taskstream.report import Report

__all__ = ["Closing"]

_EVENTS = len(COUNTS)
_NOTHING = np.zeros(len(COLUMNS), np.int64)

Sums = defaultdict[str, Counts]


@dataclass(slots=True)
class Closing:
    """One run of an agent, as it comes in.

    Args:
        origin: The run.
        choice: By what is counted beside the outcomes.

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
    late: int = 0
    again: int = 0
    refused: int = 0
    missing: int = 0
    touched_ms: int = 0
    ended: bool = False
    _cells: Cells = field(default_factory=dict)
    _charged: Cells = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _carry: Sums = field(default_factory=lambda: defaultdict(dict))
    _open: dict[int, tuple[int, Report]] = field(default_factory=dict)
    _closed: int = -1
    _end_ns: int = 0
    _dropped: NDArray[np.int64] | None = None
    _wall_offset_ns: int = 0
    _rolls: dict[str, Roll] = field(default_factory=dict)

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
                self.late += int(_host(dimensions).sum())
                _add(self._carry, dimensions)
            else:
                _add(self._cells.setdefault(second, {}), dimensions)
        for second, dimensions in partial.charged.items():
            _add(self._charged.setdefault(second, {}), dimensions)
        for report in partial.reports:
            interval = report.interval
            for _, path, name in interval.cgroups if interval is not None else ():
                self._names[classify(path).name] = name
            if interval is not None and interval.end_ns > self._end_ns:
                self._open.setdefault(interval.end_ns, (partial.read_ms, report))

    # --- what goes out ---

    def close(self, read_to_ms: int) -> Iterator[Interval]:
        """Yield the intervals that are over, in their order.

        Args:
            read_to_ms: All that was published up to this moment, less the time that events may
                be late, has been read.
        """
        while self._open:
            end_ns = min(self._open)
            read_ms, report = self._open[end_ns]
            assert report.interval is not None
            need = np.array(report.interval.received, np.int64) - self._dropped_since(report)
            last = last_second(report)
            have = np.zeros(_EVENTS, np.int64)
            for second, dimensions in self._cells.items():
                if second <= last:
                    have += _host(dimensions)
            missing = int(np.maximum(need - have, 0).sum())
            if missing and read_ms > read_to_ms:
                return
            del self._open[end_ns]
            self.missing += missing
            self.ended |= report.final
            self._dropped = _dropped(report)
            yield replace(report.interval, groups=self._groups(last), unseen=missing)
            self._closed, self._end_ns = last, end_ns

    def leave(self, silent_ms: int, *, over: bool = False) -> Iterator[Interval]:
        """Yield what no report tells of, as one interval, if nothing came for so long.

        An agent that was killed tells of its last interval no more. Its events are all that is
        known, so the interval is not exact.

        Args:
            silent_ms: Nothing was read since this moment.
            over: Nothing more will be read; nothing happened since that moment.
        """
        if self._open or not self._cells:
            return
        last_ns = (max(self._cells) + 1) * SECOND_NS + self._wall_offset_ns
        if (last_ns // 1_000_000 if over else self.touched_ms) > silent_ms:
            return
        first, last = min(self._cells), max(self._cells)
        counts = np.zeros(_EVENTS, np.int64)
        for dimensions in self._cells.values():
            counts += _host(dimensions)
        listed = tuple(counts.tolist())
        if not any(listed):
            self._cells.clear()
            return
        start_ns = max(first * SECOND_NS, self._end_ns)
        end_ns = (last + 1) * SECOND_NS
        yield Interval(
            start_ns=start_ns,
            end_ns=end_ns,
            wall_ns=end_ns + self._wall_offset_ns,
            counts=listed,
            received=listed,
            missed={"unreported": 1},
            groups=self._groups(last),
        )
        self._closed, self._end_ns = last, end_ns

    def _dropped_since(self, report: Report) -> NDArray[np.int64]:
        """Return the events that the agent gave up since the last interval that was closed."""
        now = _dropped(report)
        return now if self._dropped is None else np.maximum(now - self._dropped, 0)

    def _groups(self, last: int) -> dict[str, dict[str, Series]]:
        """Take the cells up to a second out, and add them to the charted groups."""
        sums, self._carry = self._carry, defaultdict(dict)
        for cells in (self._cells, self._charged):
            for second in [second for second in cells if second <= last]:
                _add(sums, cells.pop(second))
        if "cgroup" in sums:  # the engine's names, which the agent asked for
            named: Counts = {}
            for name, counts in sums["cgroup"].items():
                _add({"": named}, {"": {self._names.get(name, name): counts}})
            sums["cgroup"] = named
        for dimension in _dimensions(self.choice):
            self._roll(dimension)
        return {
            dimension: roll.close(sums.get(dimension, {}))
            for dimension, roll in self._rolls.items()
        }

    def _roll(self, dimension: str) -> Roll:
        return self._rolls.setdefault(dimension, Roll(self.choice.limit))


def _host(dimensions: Mapping[str, Counts]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = dimensions.get("host", {}).get("", _NOTHING)[:_EVENTS]
    return counts


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


def _add(into: dict[str, Counts], dimensions: Mapping[str, Counts]) -> None:
    for dimension, groups in dimensions.items():
        found = into.setdefault(dimension, {})
        for name, counts in groups.items():
            found[name] = found[name] + counts if name in found else counts
