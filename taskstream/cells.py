"""Counts by second since boot, by dimension and group: what partial sums are made of.

Pure: no I/O, no clock.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.grouping.counts import Counts
from taskstream.interval import COLUMNS
from taskstream.record import COUNTS

__all__ = ["SECOND_NS", "Cells", "add", "cells_from_list", "cells_to_list", "host_of"]

SECOND_NS = 10**9
"""Length of a cell: an agent's intervals are whole seconds long, and begin at one since boot."""

Cells = dict[int, dict[str, Counts]]
"""Counts by second since boot, dimension and group."""

_NOTHING = np.zeros(len(COLUMNS), np.int64)


def add(into: dict[str, Counts], dimensions: Mapping[str, Counts]) -> None:
    """Add the counts of a cell to those of another, or to a sum of cells."""
    for dimension, groups in dimensions.items():
        found = into.setdefault(dimension, {})
        for name, counts in groups.items():
            found[name] = found[name] + counts if name in found else counts


def host_of(dimensions: Mapping[str, Counts]) -> NDArray[np.int64]:
    """Return a cell's counts of the host as a whole, by `COUNTS`."""
    counts: NDArray[np.int64] = dimensions.get("host", {}).get("", _NOTHING)[: len(COUNTS)]
    return counts


def cells_to_list(cells: Cells) -> list[Any]:
    """Return cells as MessagePack can take them; zeros at the end of counts are cut."""
    return [
        [
            second,
            {
                dimension: {name: np.trim_zeros(counts, "b").tolist() for name, counts in groups}
                for dimension, groups in ((name, one.items()) for name, one in dimensions.items())
                if groups
            },
        ]
        for second, dimensions in cells.items()
    ]


def cells_from_list(listed: list[Any]) -> Cells:
    """Return what `cells_to_list` gave.

    Raises:
        TypeError, ValueError: it is something else.
    """
    return {
        int(second): {
            dimension: {name: _whole(counts) for name, counts in groups.items()}
            for dimension, groups in dimensions.items()
        }
        for second, dimensions in listed
    }


def _whole(counts: list[int]) -> NDArray[np.int64]:
    whole = np.zeros(len(COLUMNS), np.int64)
    whole[: len(counts)] = counts
    return whole
