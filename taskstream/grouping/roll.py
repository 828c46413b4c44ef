"""The groups of one dimension that are charted: a bounded number, the rest in ``other``.

Pure. Counters never fall while a group is charted. When there is no room for a new one, that
which has been quiet for longest goes, if it was so for a while; else the new one is counted in
``other``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.grouping.apps import OTHER
from taskstream.interval import COLUMNS, Series

__all__ = ["Roll"]

QUIET_INTERVALS = 60
"""For how many intervals a group must have been quiet before it makes room."""


class Roll:
    """Keeps the counters of the groups of one dimension.

    Args:
        limit: How many groups are charted beside ``other``.

    Attributes:
        overflow: Groups of the last interval that were counted in ``other`` for want of room.
    """

    def __init__(self, limit: int) -> None:
        self.overflow = 0
        self._limit = limit
        self._totals: dict[str, NDArray[np.int64]] = {}
        self._counted: dict[str, int] = {}
        self._interval = self._full = 0

    def close(self, counts: Mapping[str, NDArray[np.int64]]) -> dict[str, Series]:
        """Add the counts of an interval; return every group that is charted.

        Args:
            counts: By group, arrays of shape ``(len(COLUMNS),)``; the busiest of the new ones
                get what room there is, and come first in what is returned.
        """
        self._interval += 1
        self.overflow = 0
        window: dict[str, NDArray[np.int64]] = {}
        for name in sorted(counts, key=lambda name: (-int(counts[name].sum()), name)):
            group = name if self._has_room_for(name) else OTHER
            self.overflow += group != name
            window[group] = window.get(group, _NOTHING) + counts[name]
        for group, events in window.items():
            self._totals[group] = self._totals.get(group, _NOTHING) + events
            self._counted[group] = self._interval
        return {
            group: Series(
                tuple(window.get(group, _NOTHING).tolist()), tuple(self._totals[group].tolist())
            )
            for group in self._totals
        }

    def _has_room_for(self, name: str) -> bool:
        """Tell whether a group is charted, or can be; makes room for it."""
        if name in self._totals or name == OTHER:
            return True
        if len(self._totals) - (OTHER in self._totals) >= self._limit:
            if self._full == self._interval:  # looked already: nobody has been quiet for so long
                return False
            quietest = min(
                (known for known in self._counted if known != OTHER),
                key=self._counted.__getitem__,
                default=None,
            )
            if quietest is None or self._interval - self._counted[quietest] <= QUIET_INTERVALS:
                self._full = self._interval
                return False
            del self._totals[quietest], self._counted[quietest]
        self._totals[name] = _NOTHING
        self._counted[name] = self._interval
        return True

    def to_map(self) -> dict[str, Any]:
        """Return all of it as MessagePack can take it."""
        groups = {
            name: [self._counted[name], *np.trim_zeros(total, "b").tolist()]
            for name, total in self._totals.items()
        }
        return {"interval": self._interval, "groups": groups}

    def restore(self, map_: Mapping[str, Any]) -> None:
        """Take back what `to_map` gave."""
        self._interval = map_["interval"]
        for name, (counted, *total) in map_["groups"].items():
            self._counted[name] = counted
            self._totals[name] = np.zeros(len(COLUMNS), np.int64)
            self._totals[name][: len(total)] = total


_NOTHING = np.zeros(len(COLUMNS), np.int64)
