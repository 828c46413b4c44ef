"""The processes that are dead and not released: how many, and since when.

Pure. A process becomes one when its leader exits, and is none any more when the leader is
released. An event that was lost would leave one behind for ever, so those that are old are
checked against whoever knows (/proc).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from taskstream.grouping.identity import identities, tgid_of
from taskstream.interval import Zombies
from taskstream.record import FLAGS, KINDS

__all__ = ["ZombieBook"]

OLD_NS = 2_000_000_000
"""From what age on one is checked."""

CHECKED = 64
"""How many are checked at a time, the oldest first."""


class ZombieBook:
    """Follows the dead.

    Args:
        is_zombie: Tells whether the process of a tgid is one at this moment.
    """

    def __init__(self, is_zombie: Callable[[int], bool] = lambda _tgid: True) -> None:
        self._is_zombie = is_zombie
        self._since: dict[int, int] = {}

    def meet(self, running: NDArray[np.void]) -> None:
        """Take note of those that there are at the start; their age counts from then on."""
        dead = (running["flags"] & FLAGS["zombie"].mask != 0) & (running["pid"] == running["tgid"])
        self._since |= _stamped(running, dead)

    def add(self, records: NDArray[np.void]) -> None:
        """Take events, in the order in which they came."""
        kind = records["kind"]
        leader = records["pid"] == records["tgid"]
        self._since |= _stamped(records, leader & (kind == _EXIT))
        pop = self._since.pop
        # The leader of a process whose other thread execs is released under another pid.
        moved = (kind == _EXEC) & (records["old_pid"] != records["pid"])
        for identity in _stamped(records, moved | leader & (kind == _FREE)):
            pop(identity, None)

    def at(self, end_ns: int) -> Zombies:
        """Return how many there are, and the age of the oldest.

        Args:
            end_ns: CLOCK_BOOTTIME.
        """
        oldest = sorted(self._since.items(), key=lambda entry: entry[1])
        for identity, since_ns in oldest[:CHECKED]:
            if end_ns - since_ns > OLD_NS and not self._is_zombie(tgid_of(identity)):
                del self._since[identity]
        ages_ns = [end_ns - since_ns for since_ns in self._since.values()]
        return Zombies(len(ages_ns), max(0, max(ages_ns, default=0)))


def _stamped(records: NDArray[np.void], chosen: NDArray[np.bool_]) -> dict[int, int]:
    """Return boot_ns of the chosen records by identity."""
    rows = np.flatnonzero(chosen)
    keys = identities(records["tgid"][rows], records["process_start_ns"][rows])
    return dict(zip(keys.tolist(), records["boot_ns"][rows].tolist(), strict=True))


_EXIT, _FREE, _EXEC = KINDS["exit"], KINDS["free"], KINDS["exec"]
