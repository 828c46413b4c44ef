"""Which events of a stream are wanted: by kind, comm, cgroup, uid and time.

Pure: no I/O, no clock. Reports are of the whole stream; of a part of it only their intervals can
be told, counted anew from the events that were chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, join_records, take
from taskstream.interval import Interval
from taskstream.rates import count_column
from taskstream.record import COUNTS, KINDS, RECORD
from taskstream.report import Report

__all__ = ["SelectedCounts", "Selection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Events that are wanted: those that every member that is not empty allows.

    Attributes:
        kinds: Names of kinds.
        comms: Patterns of comm, as a shell has them.
        cgroups: Ids of cgroups, or patterns of their paths.
        uids: Real user ids.
        from_ns: CLOCK_BOOTTIME of the first moment that is wanted; None for the beginning.
        until_ns: CLOCK_BOOTTIME of the first moment that is not; None for the end.
    """

    kinds: tuple[str, ...] = ()
    comms: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()
    from_ns: int | None = None
    until_ns: int | None = None

    @property
    def filters(self) -> bool:
        """Tell whether events within the time may be left out."""
        return bool(self.kinds or self.comms or self.cgroups or self.uids)

    @property
    def whole(self) -> bool:
        """Tell whether all is wanted."""
        return not self.filters and self.from_ns is None and self.until_ns is None

    @property
    def needs_names(self) -> bool:
        """Tell whether the paths of cgroups matter."""
        return any(not pattern.isdigit() for pattern in self.cgroups)

    def of(self, batch: Batch, path_of: Callable[[int], str | None]) -> Batch:
        """Return the part of a batch that is wanted.

        Args:
            batch: Events.
            path_of: Path of a cgroup by id; None where it is not known.
        """
        rows = self._rows(batch.records, path_of)
        if rows.all():
            return batch
        return batch.part(np.flatnonzero(rows))

    def _rows(
        self, records: NDArray[np.void], path_of: Callable[[int], str | None]
    ) -> NDArray[np.bool_]:
        rows = np.ones(len(records), np.bool_)
        if self.kinds:
            rows &= np.isin(records["kind"], [KINDS[kind] for kind in self.kinds])
        if self.uids:
            rows &= np.isin(records["uid"], self.uids)
        if self.comms:
            rows &= _each(records["comm"], self._comm_matches)
        if self.cgroups:
            rows &= _each(records["cgroup_id"], lambda id_: self._cgroup_matches(id_, path_of))
        if self.from_ns is not None:
            rows &= records["boot_ns"] >= np.uint64(max(0, self.from_ns))
        if self.until_ns is not None:
            rows &= records["boot_ns"] < np.uint64(max(0, self.until_ns))
        return rows

    def _comm_matches(self, raw: bytes) -> bool:
        comm = raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        return any(fnmatchcase(comm, pattern) for pattern in self.comms)

    def _cgroup_matches(self, id_: int, path_of: Callable[[int], str | None]) -> bool:
        path = path_of(id_)
        return any(
            str(id_) == pattern or (path is not None and fnmatchcase(path, pattern))
            for pattern in self.cgroups
        )

    def holds(self, interval: Interval) -> bool:
        """Tell whether an interval lies wholly within the time that is wanted."""
        begins = self.from_ns is None or self.from_ns <= interval.start_ns
        return begins and (self.until_ns is None or interval.end_ns <= self.until_ns)


def _each(values: NDArray[np.generic], wanted: Callable[..., bool]) -> NDArray[np.bool_]:
    """Ask once per distinct value."""
    distinct, row = np.unique(values, return_inverse=True)
    answers = np.array([wanted(value) for value in distinct.tolist()], np.bool_)
    return answers[row]


class SelectedCounts:
    """Counts the events that were chosen, by the intervals that reports tell of."""

    def __init__(self) -> None:
        self._kept = np.empty(0, RECORD)
        self._charging: list[Report] = []

    def add(self, records: NDArray[np.void]) -> None:
        """Enter events."""
        self._kept = join_records([self._kept, records])

    def reports(self, report: Report, selection: Selection) -> list[Report]:
        """Return what a report tells of the events that were chosen.

        Counts of each CPU are of the whole stream, so the result has none. Without a filter an
        interval is as it was, from the kernel's counters; with one, its counts are those of the
        events that came and were chosen: what the ring lost is not chosen, and zombies and
        the agent's cost are of the host as a whole.

        Returns:
            Nothing if no interval is closed by it, or one that is not wholly wanted; else it, and
            before it those that only charge lost events to the same interval.
        """
        interval = report.interval
        if interval is None:
            if report.charges is not None:
                self._charging.append(replace(report, cpus=()))
            return []
        charging, self._charging = self._charging, []
        if selection.filters:
            interval = self._counted(interval, final=report.final)
            interval = replace(interval, zombies=None, agent=None)
            charging, report = [], replace(report, charges=None)
        if not selection.holds(interval):
            return []
        return [*charging, replace(report, cpus=(), interval=interval)]

    def _counted(self, interval: Interval, *, final: bool) -> Interval:
        """Return an interval with the counts of what was entered before its end."""
        past = self._kept["boot_ns"] < np.uint64(interval.end_ns)
        if final:
            past[:] = True
        column = count_column(take(self._kept, np.flatnonzero(past)))
        counts = tuple(np.bincount(column[column >= 0], minlength=len(COUNTS)).tolist())
        self._kept = take(self._kept, np.flatnonzero(~past))
        return replace(interval, counts=counts, received=counts)
