"""Counts by group and by `COLUMNS`: a row of numbers for each group.

Pure: no I/O, no clock.
"""

import numpy as np
from numpy.typing import NDArray

from taskstream.interval import COLUMNS

__all__ = ["Counter", "Counts", "Rows", "add", "named", "summed"]

Counts = dict[str, NDArray[np.int64]]
"""By group, an array of shape ``(len(COLUMNS),)``."""

Rows = slice | NDArray[np.intp]
"""Which of some records: all of them, or those of these rows."""

_N = len(COLUMNS)
_INIT = COLUMNS.index("fork_by_init")


class Counter:
    """Counts events by a number of theirs and by `COLUMNS`.

    Args:
        column: Index in `COUNTS` of each event.
        by_init: Which of them count under ``fork_by_init`` as well.
    """

    def __init__(self, column: NDArray[np.intp], by_init: NDArray[np.bool_]) -> None:
        self._column = column
        self._by_init = np.flatnonzero(by_init)

    def table(self, numbers: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return counts of shape ``(highest number + 1, len(COLUMNS))``."""
        size = (int(numbers.max()) + 1) * _N
        table = np.bincount(numbers * _N + self._column, minlength=size).reshape(-1, _N)
        if len(self._by_init):
            np.add.at(table[:, _INIT], numbers[self._by_init], 1)
        return table

    def sum(self) -> NDArray[np.int64]:
        """Return the counts of all."""
        sums = np.bincount(self._column, minlength=_N)
        sums[_INIT] = len(self._by_init)
        return sums


def summed(numbers: NDArray[np.intp], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum rows of counts by a number of theirs."""
    table = np.zeros((int(numbers.max()) + 1, _N), np.int64)
    np.add.at(table, numbers, counts)
    return table


def named(table: NDArray[np.int64], names: list[str]) -> Counts:
    """Return the rows that are not all zeros, by name."""
    return {names[row]: table[row] for row in np.flatnonzero(table.any(axis=1)).tolist()}


def add(into: Counts, counts: Counts) -> None:
    """Add counts to others of the same groups."""
    for name, events in counts.items():
        into[name] = into[name] + events if name in into else events
