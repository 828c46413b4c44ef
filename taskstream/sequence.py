"""What a reader of the stream has seen of each CPU's numbers: gaps and duplicates.

Pure. Events of one CPU may arrive in any order, since a topic has several partitions; so the
numbers seen are kept as runs of consecutive ones, merged as they meet.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Origin
from taskstream.record import COUNTS
from taskstream.report import Report

__all__ = ["CpuSummary", "NumbersSeen", "StreamBooks"]

_N = len(COUNTS)


class NumbersSeen:
    """A set of numbers, kept as runs.

    Attributes:
        starts: First number of each run, ascending.
        ends: One past the last number of each run.
    """

    def __init__(self) -> None:
        self.starts: NDArray[np.uint64] = np.empty(0, np.uint64)
        self.ends: NDArray[np.uint64] = np.empty(0, np.uint64)

    def add(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Add numbers.

        Args:
            numbers: Any order, possibly with repetitions.

        Returns:
            Array of the same shape: False where the number had been seen before.
        """
        fresh = np.zeros(len(numbers), np.bool_)
        fresh[np.unique(numbers, return_index=True)[1]] = True
        if len(self.starts):
            run = np.searchsorted(self.starts, numbers, side="right") - 1
            fresh &= (run < 0) | (numbers >= self.ends[run])
        self._merge(np.sort(numbers[fresh]))
        return fresh

    def _merge(self, fresh: NDArray[np.uint64]) -> None:
        if not len(fresh):
            return
        one = np.uint64(1)
        broken = np.flatnonzero(fresh[1:] != fresh[:-1] + one) + 1
        starts = np.concatenate([self.starts, fresh[np.r_[0, broken]]])
        ends = np.concatenate([self.ends, fresh[np.r_[broken - 1, -1]] + one])
        order = np.argsort(starts)
        starts, ends = starts[order], ends[order]
        apart = np.flatnonzero(starts[1:] != ends[:-1]) + 1
        self.starts = starts[np.r_[0, apart]]
        self.ends = ends[np.r_[apart - 1, len(ends) - 1]]

    @property
    def first(self) -> int | None:
        """The smallest number seen."""
        return int(self.starts[0]) if len(self.starts) else None

    @property
    def after_last(self) -> int | None:
        """One more than the greatest number seen."""
        return int(self.ends[-1]) if len(self.ends) else None

    def missing_between(self) -> int:
        """Return how many numbers between the first and the last were not seen."""
        return int((self.starts[1:] - self.ends[:-1]).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuSummary:
    """What is known of one CPU of one run.

    Attributes:
        origin: The run.
        cpu: The CPU; 65535 for the snapshot.
        events: Events seen, each once.
        duplicates: Further copies of events.
        missing: Numbers that were not seen, where they should have been.
        lost: Of the agent's reports: events lost in the ring, by name of the count.
        dropped: Of the agent's reports: events that the agent dropped, by name of the count.
        reported: Whether a report was seen at all.
    """

    origin: Origin
    cpu: int
    events: int
    duplicates: int
    missing: int
    lost: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    reported: bool = False

    @property
    def unexplained(self) -> int:
        """Missing events that no report accounts for.

        Reports count from the start of the run: to a reader that came later, losses from
        before explain more than is missing.
        """
        explained = sum(self.lost.values()) + sum(self.dropped.values())
        return max(0, self.missing - explained)


@dataclass(slots=True)
class _Cpu:
    seen: NumbersSeen = field(default_factory=NumbersSeen)
    events: int = 0
    duplicates: int = 0


class StreamBooks:
    """Keeps the books of a stream.

    Args:
        from_start: The stream is read from the start of its runs, so that numbers before the
            first event seen are missing too.
    """

    def __init__(self, *, from_start: bool) -> None:
        self._from_start = from_start
        self._cpus: dict[tuple[Origin, int], _Cpu] = {}
        self._reports: dict[Origin, Report] = {}

    def add(self, batch: Batch) -> NDArray[np.bool_]:
        """Enter a batch; return False for each record that was a duplicate."""
        fresh = np.ones(len(batch), np.bool_)
        for cpu in np.unique(batch.records["cpu"]).tolist():
            rows = np.flatnonzero(batch.records["cpu"] == cpu)
            books = self._cpus.setdefault((batch.origin, cpu), _Cpu())
            fresh[rows] = books.seen.add(batch.records["seq"][rows])
            new = int(fresh[rows].sum())
            books.events += new
            books.duplicates += len(rows) - new
        return fresh

    @property
    def duplicates(self) -> int:
        """Further copies of events seen."""
        return sum(books.duplicates for books in self._cpus.values())

    def report(self, report: Report) -> None:
        """Enter an agent's report; the latest of a run counts."""
        known = self._reports.get(report.origin)
        if known is None or known.boot_ns <= report.boot_ns:
            self._reports[report.origin] = report

    def summaries(self) -> list[CpuSummary]:
        """Return what is known, by run and CPU."""
        places = set(self._cpus)
        for origin, report in self._reports.items():
            places |= {(origin, c.cpu) for c in report.cpus if c.next_seq > origin.run_ns}
        return [
            self._summary(*place)
            for place in sorted(places, key=lambda p: (p[0].host, p[0].run_ns, p[1]))
        ]

    def _summary(self, origin: Origin, cpu: int) -> CpuSummary:
        books = self._cpus.get((origin, cpu), _Cpu())
        report = self._reports.get(origin)
        told = next((c for c in report.cpus if c.cpu == cpu), None) if report else None
        missing = books.seen.missing_between()
        first, after_last = books.seen.first, books.seen.after_last
        if self._from_start:
            missing += (first if first is not None else origin.run_ns) - origin.run_ns
            after_last = after_last if after_last is not None else origin.run_ns
        if told and after_last is not None:
            missing += max(0, told.next_seq - after_last)
        return CpuSummary(
            origin=origin,
            cpu=cpu,
            events=books.events,
            duplicates=books.duplicates,
            missing=missing,
            lost=_named(told.lost) if told else {},
            dropped=_named(told.dropped) if told else {},
            reported=told is not None,
        )


def _named(counts: tuple[int, ...]) -> dict[str, int]:
    return {c.name: n for c, n in zip(COUNTS, counts, strict=True) if n}
