"""What a sink gave up, by CPU and count: for its reports.

Pure: no I/O, no clock.
"""

import numpy as np
from numpy.typing import NDArray

from taskstream.rates import count_column
from taskstream.record import COUNTS

__all__ = ["DropCounts"]


class DropCounts:
    """Cumulative events that were given up, by CPU and by `COUNTS`."""

    def __init__(self) -> None:
        self._by_cpu: dict[int, NDArray[np.int64]] = {}

    def add(self, records: NDArray[np.void]) -> None:
        """Enter records; those of kind ``task`` are in no count."""
        column = count_column(records)
        for cpu in np.unique(records["cpu"]).tolist():
            counted = column[(records["cpu"] == cpu) & (column >= 0)]
            table = self._by_cpu.setdefault(cpu, np.zeros(len(COUNTS), np.int64))
            table += np.bincount(counted, minlength=len(COUNTS))

    def of(self, cpu: int) -> tuple[int, ...]:
        """Return the events of one CPU that were given up, by `COUNTS`."""
        counts = self._by_cpu.get(cpu, np.zeros(len(COUNTS), np.int64))
        return tuple(counts.tolist())

    def cpus(self) -> list[int]:
        """Return the CPUs that lost any, in order."""
        return sorted(cpu for cpu, table in self._by_cpu.items() if table.any())
