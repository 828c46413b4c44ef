"""Counts of events in windows of time, and the charts drawn from them.

Pure: no I/O, no clock. A window is a multiple of ``window_ns`` in CLOCK_BOOTTIME, so whoever
has the same events makes the same windows. The formulas are in ``taskstream.chart``.
"""

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import join_records
from taskstream.chart.chart import DOCUMENTED, Chart
from taskstream.chart.draw import draw
from taskstream.chart.table import CHARTS as EVERY_CHART
from taskstream.interval import Interval
from taskstream.record import CALLS, COUNTS, FLAGS, KINDS

__all__ = ["CHARTS", "Chart", "WindowCounts", "charts", "count_column"]

KEEP_RECORDS = 8192

_N = len(COUNTS)
_AT = {count.name: i for i, count in enumerate(COUNTS)}
_EXEC_CALLS = (CALLS["execve"], CALLS["execveat"])


CHARTS = tuple(chart for chart in EVERY_CHART if chart.scope == "system")
"""The charts of the host as a whole."""


def charts(interval: Interval, semantics: str = DOCUMENTED) -> dict[str, dict[str, float]]:
    """Compute the system charts of an interval.

    Returns:
        Chart by context, dimension by name: true per-second rates, except
        ``system.process_status``, which is the change during the interval. A chart of calls
        that were not watched is absent.
    """
    return {
        drawing.chart.context: dict(drawing.values)
        for drawing in draw(interval, semantics)
        if drawing.chart.scope == "system"
    }


def count_column(records: NDArray[np.void]) -> NDArray[np.intp]:
    """Return, for each record, the index in `COUNTS` under which it counts; -1 for none."""
    kind = records["kind"].astype(np.intp)
    column = _BY_KIND.take(kind)
    column += (records["flags"] & _NEXT_IF.take(kind)) != 0
    failed = np.flatnonzero(kind == KINDS["fail"])
    if len(failed):
        column[failed] += np.isin(records["call"][failed], _EXEC_CALLS)
    return column


def _first_columns() -> NDArray[np.intp]:
    first = np.full(256, -1, np.intp)
    for kind, name in {
        "fork": "fork_process",
        "exec": "exec",
        "exit": "exit_thread",
        "free": "free",
        "fail": "fail_create",
    }.items():
        first[KINDS[kind]] = _AT[name]
    return first


def _next_if() -> NDArray[np.uint32]:
    """Return, by kind, the flag with which a record counts one column further."""
    flags = np.zeros(256, np.uint32)
    flags[KINDS["fork"]] = FLAGS["thread"].mask
    flags[KINDS["exit"]] = FLAGS["group_dead"].mask
    return flags


_BY_KIND, _NEXT_IF = _first_columns(), _next_if()


class WindowCounts:
    """Counts records by window.

    Records are kept and counted many at a time: counting costs the same for a few as for
    thousands.

    Args:
        window_ns: Length of a window.
    """

    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        self._kept: list[NDArray[np.void]] = []
        self._kept_records = 0
        self._counts: dict[int, NDArray[np.int64]] = {}
        self._total = np.zeros(_N, np.int64)
        self._by_cpu = np.zeros(0, np.int64)
        self._after = np.zeros(0, np.uint64)

    def add(self, records: NDArray[np.void]) -> None:
        """Count records; those of kind ``task`` are not counted."""
        self._kept.append(records)
        self._kept_records += len(records)
        if self._kept_records >= KEEP_RECORDS:
            self._count()

    def _count(self) -> None:
        records = join_records(self._kept)
        self._kept, self._kept_records = [], 0
        column = count_column(records)
        counted = column >= 0
        column, window = column[counted], records["boot_ns"][counted] // np.uint64(self.window_ns)
        windows, row = np.unique(window, return_inverse=True)
        table = np.bincount(row * _N + column, minlength=len(windows) * _N).reshape(-1, _N)
        for number, counts in zip(windows.tolist(), table, strict=True):
            self._counts[number] = self._counts.get(number, 0) + counts
        self._total += table.sum(axis=0)
        if len(records):
            self._note_numbers(records)

    def _note_numbers(self, records: NDArray[np.void]) -> None:
        more = int(records["cpu"].max()) + 1 - len(self._after)
        if more > 0:
            self._by_cpu = np.concatenate([self._by_cpu, np.zeros(more, np.int64)])
            self._after = np.concatenate([self._after, np.zeros(more, np.uint64)])
        self._by_cpu += np.bincount(records["cpu"], minlength=len(self._after))
        np.maximum.at(self._after, records["cpu"], records["seq"] + np.uint64(1))

    def read(self, cpu: int) -> tuple[int, int] | None:
        """Return how many records of a CPU were counted, and the number after their greatest.

        Returns:
            None for a CPU of which none were.
        """
        self._count()
        if cpu >= len(self._by_cpu) or not self._by_cpu[cpu]:
            return None
        return int(self._by_cpu[cpu]), int(self._after[cpu])

    @property
    def total(self) -> NDArray[np.int64]:
        """All records counted since the start, by `COUNTS`."""
        self._count()
        return self._total

    def take(self, window: int) -> NDArray[np.int64]:
        """Return the counts of one window and forget it; events that come later count anew."""
        self._count()
        return self._counts.pop(window, np.zeros(_N, np.int64))

    def windows(self) -> list[int]:
        """Return the windows that hold counts, in order."""
        self._count()
        return sorted(self._counts)
