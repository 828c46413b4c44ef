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
        dead = np.flatnonzero(running["flags"] & FLAGS["zombie"].mask)
        self._since |= _stamped(running, _leaders(running, dead))

    def add(self, records: NDArray[np.void]) -> None:
        """Take events, in the order in which they came."""
        kind = np.ascontiguousarray(records["kind"])
        exits = _leaders(records, np.flatnonzero(kind == _EXIT))
        frees = _leaders(records, np.flatnonzero(kind == _FREE))
        execs = np.flatnonzero(kind == _EXEC)
        # The leader of a process whose other thread execs is released under another pid.
        moved = execs[records["old_pid"][execs] != records["pid"][execs]]
        ended = np.sort(_identities(records, np.concatenate([frees, moved])))
        before = np.fromiter(self._since, np.uint64, len(self._since))
        for key in before[_among(before, ended)].tolist():
            del self._since[key]
        # Nearly all that die are released among the same events: those never get in.
        self._since |= _stamped(records, exits[~_among(_identities(records, exits), ended)])

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


def _leaders(records: NDArray[np.void], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return which of some rows are of a leader."""
    leaders: NDArray[np.intp] = rows[records["pid"][rows] == records["tgid"][rows]]
    return leaders


def _identities(records: NDArray[np.void], rows: NDArray[np.intp]) -> NDArray[np.uint64]:
    return identities(records["tgid"][rows], records["process_start_ns"][rows])


def _stamped(records: NDArray[np.void], rows: NDArray[np.intp]) -> dict[int, int]:
    """Return boot_ns of some records by identity."""
    keys = _identities(records, rows).tolist()
    return dict(zip(keys, records["boot_ns"][rows].tolist(), strict=True))


def _among(keys: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell which keys are among others, that are in order."""
    if not len(ordered):
        return np.zeros(len(keys), np.bool_)
    places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    among: NDArray[np.bool_] = ordered[places] == keys
    return among


_EXIT, _FREE, _EXEC = KINDS["exit"], KINDS["free"], KINDS["exec"]
