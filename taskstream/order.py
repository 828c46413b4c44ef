"""The stream of one run as a topic gives it, put back into the order in which the agent gave it.

Pure: no I/O, no clock. Partitions come one before another; but each report says how far the agent
had read the numbers of each CPU, and so which events came before it.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, join, time_order
from taskstream.record import NO_CPU
from taskstream.report import Report

__all__ = ["StreamOrder"]

_Choose = Callable[[Batch], NDArray[np.bool_]]


class StreamOrder:
    """Gives events of one run, and each report behind the events of which it tells.

    Attributes:
        late: Events that came behind the report that tells of them.
    """

    def __init__(self) -> None:
        self.late = 0
        self._kept: list[Batch] = []
        self._reports: list[tuple[Report, int]] = []
        self._given: Counter[int] = Counter()
        self._missing: Counter[int] = Counter()
        self._marks = np.zeros(NO_CPU + 1, np.uint64)
        self._marks[NO_CPU] = np.iinfo(np.uint64).max  # the snapshot comes before all reports
        self._last = -1

    def add(self, batch: Batch) -> None:
        """Take events, none of them for a second time."""
        if not len(batch):
            return
        snapshot = batch.records["cpu"] == NO_CPU
        late = self._below_marks(batch) & ~snapshot
        self.late += int(late.sum())
        self._kept.append(batch)

    def report(self, report: Report, now_ns: int) -> None:
        """Take a report, or another copy of one.

        Args:
            report: Reports come in their order, or nearly.
            now_ns: When it came, by any clock.
        """
        place = _place(report)
        if place > self._last and place not in (_place(known) for known, _ in self._reports):
            self._reports.append((report, now_ns))
            self._reports.sort(key=lambda entry: _place(entry[0]))

    def take(self, before_ns: int | None) -> Iterator[Batch | Report]:
        """Yield what is in order by now.

        Args:
            before_ns: A report that came before is not waited for any more, though events are
                missing; None where nothing will come any more.
        """
        while self._reports:
            report, came_ns = self._reports[0]
            due = before_ns is None or came_ns < before_ns
            if not due and not self._is_complete(report):
                return
            del self._reports[0]
            yield from self._events_before(report)
            self._last = _place(report)
            yield report
        if before_ns is None:
            yield from self._cut(lambda batch: np.ones(len(batch), np.bool_))

    def _is_complete(self, report: Report) -> bool:
        """Tell whether all events are here that the agent read before, and did not drop."""
        if any(cpu.read is None for cpu in report.cpus):
            return False  # an older agent did not tell
        seen = self._seen_below(report)
        return all(
            seen[cpu.cpu] + self._missing[cpu.cpu] >= (cpu.read or 0) - sum(cpu.dropped)
            for cpu in report.cpus
        )

    def _seen_below(self, report: Report) -> Counter[int]:
        """Count the events of each CPU that came before a report, those that were given too."""
        seen = Counter(self._given)
        marks = self._marks_of(report)
        for batch in self._kept:
            cpus = batch.records["cpu"]
            here = np.bincount(cpus[batch.records["seq"] < marks[cpus]])
            for cpu in np.flatnonzero(here).tolist():
                seen[cpu] += int(here[cpu])
        return seen

    def _marks_of(self, report: Report) -> NDArray[np.uint64]:
        marks = self._marks.copy()
        for cpu in report.cpus:
            marks[cpu.cpu] = max(int(marks[cpu.cpu]), cpu.read_to or 0)
        return marks

    def _below_marks(self, batch: Batch) -> NDArray[np.bool_]:
        below: NDArray[np.bool_] = batch.records["seq"] < self._marks[batch.records["cpu"]]
        return below

    def _events_before(self, report: Report) -> Iterator[Batch]:
        if report.cpus and all(cpu.read is not None for cpu in report.cpus):
            seen = self._seen_below(report)
            for cpu in report.cpus:  # what was not here now is not waited for again
                lacks = (cpu.read or 0) - sum(cpu.dropped) - seen[cpu.cpu]
                self._missing[cpu.cpu] = max(lacks, 0)
            self._given, self._marks = seen, self._marks_of(report)
            yield from self._cut(self._below_marks)
        elif report.interval is not None:
            end_ns = np.uint64(report.interval.end_ns)
            yield from self._cut(lambda b: (b.records["boot_ns"] < end_ns) | report.final)

    def _cut(self, chosen: _Choose) -> Iterator[Batch]:
        """Give the chosen ones of the events that were kept, in the order of time."""
        by_clock: dict[int, list[Batch]] = {}
        left = []
        for batch in self._kept:
            rows = chosen(batch)
            if rows.any():
                part = batch if rows.all() else batch.part(np.flatnonzero(rows))
                by_clock.setdefault(batch.wall_offset_ns, []).append(part)
            if not rows.all():
                left.append(batch.part(np.flatnonzero(~rows)))
        self._kept = left
        joined = [join(batches) for batches in by_clock.values()]
        for batch in sorted(joined, key=lambda b: int(b.records["boot_ns"].min())):
            yield batch.part(time_order(batch.records))


def _place(report: Report) -> int:
    """Return what grows from report to report."""
    return report.boot_ns if report.number is None else report.number
