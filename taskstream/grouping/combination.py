"""Events counted by cgroup, service, command and user: each has one of a few combinations.

Pure: no I/O, no clock. A combination is looked up by a mixture of its members, once per event;
the names are looked up once per combination.
"""

from collections.abc import Iterator
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import take
from taskstream.grouping.cgroup import SERVICE
from taskstream.grouping.choice import Choice
from taskstream.grouping.counts import Counts
from taskstream.grouping.names import CgroupNames
from taskstream.record import FLAGS
from taskstream.text import escape

__all__ = ["UNKNOWN", "Combinations"]

UNKNOWN = "unknown"
"""The group of events whose cgroup could not be told, or has no name."""

_CGROUP_UNKNOWN = np.uint32(FLAGS["cgroup_unknown"].mask)
_MIX = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_FEW, _MANY = 64, 1024
_MEMBERS = np.dtype([("comm", "<u8", (2,)), ("cgroup_id", "<u8"), ("uid", "<u4"), ("flags", "<u4")])


class Combinations:
    """Counts events by what was chosen of cgroup, command and user.

    Attributes:
        wanted: Whether anything of them was chosen.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self.wanted = choice.cgroups or choice.commands or choice.users
        self._clear()

    def _clear(self) -> None:
        self._numbers = _Numbers()
        self._members: list[NDArray[np.void]] = []
        self._tables: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, records: NDArray[np.void]) -> NDArray[np.intp]:
        """Return the number of each record's combination."""
        mixed = np.zeros(len(records), np.uint64)
        if self._choice.commands:
            comm = np.ascontiguousarray(records["comm"]).view(np.uint64)
            mixed = _turned(comm[1::2] * _MIX[1])
            mixed ^= comm[::2] * _MIX[0]
        if self._choice.cgroups:
            unknown = records["flags"] & _CGROUP_UNKNOWN
            mixed ^= _turned((records["cgroup_id"] ^ unknown) * _MIX[2])
        if self._choice.users:
            mixed += records["uid"] * _MIX[1]
        numbers, new = self._numbers.of(mixed)
        if len(new):
            self._members.append(self._members_of(take(records, new)))
        return numbers

    def _members_of(self, records: NDArray[np.void]) -> NDArray[np.void]:
        """Return what makes the combination of each record."""
        members = np.zeros(len(records), _MEMBERS)
        if self._choice.commands:
            members["comm"] = np.ascontiguousarray(records["comm"]).view(np.uint64).reshape(-1, 2)
        if self._choice.cgroups:
            members["cgroup_id"] = records["cgroup_id"]
            members["flags"] = records["flags"] & _CGROUP_UNKNOWN
        if self._choice.users:
            members["uid"] = records["uid"]
        return members

    def add(self, window: int, table: NDArray[np.int64]) -> None:
        """Add counts by combination."""
        before = self._tables.get(window)
        if before is not None:
            if len(before) > len(table):
                table, before = before, table
            table[: len(before)] += before
        self._tables[window] = table

    def drain(self, cgroups: CgroupNames) -> Iterator[tuple[int, str, Counts]]:
        """Yield window, dimension and counts by name; forget all combinations."""
        members = np.concatenate([np.empty(0, _MEMBERS), *self._members])
        for window, table in self._tables.items():
            rows = np.flatnonzero(table.any(axis=1))
            for dimension, names in self._names(members[rows], cgroups):
                counts: Counts = {}
                for name, events in zip(names, table[rows], strict=True):
                    if name is not None:
                        counts[name] = counts[name] + events if name in counts else events
                yield window, dimension, counts
        self._clear()

    def _names(
        self, members: NDArray[np.void], cgroups: CgroupNames
    ) -> Iterator[tuple[str, list[str | None]]]:
        """Yield each dimension with the name of each combination in it; None where it has none."""
        if self._choice.cgroups:
            places = [
                _cgroup_names(cgroups, id_, bool(unknown))
                for id_, unknown in zip(
                    members["cgroup_id"].tolist(), members["flags"].tolist(), strict=True
                )
            ]
            yield "cgroup", [cgroup for cgroup, _ in places]
            yield "service", [service for _, service in places]
        if self._choice.commands:
            raw = np.ascontiguousarray(members["comm"]).view("S16").reshape(-1).tolist()
            yield "command", [escape(comm.split(b"\0", 1)[0]) for comm in raw]
        if self._choice.users:
            yield "user", [str(uid) for uid in members["uid"].tolist()]


def _cgroup_names(cgroups: CgroupNames, id_: int, unknown: bool) -> tuple[str | None, str | None]:
    """Return the names of the charted cgroup and of the service; a cgroup is one or the other."""
    cgroup = None if unknown else cgroups.charted(id_)
    if cgroup is None:
        return UNKNOWN, None
    if cgroup.kind == SERVICE:
        return None, cgroup.name
    return (cgroup.name if cgroup.enabled else None), None


def _turned(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Let the upper bits of numbers have a say in the lower ones, in place."""
    numbers ^= numbers >> np.uint64(29)
    return numbers


class _Numbers:
    """Numbers keys in the order in which they appear.

    A slot, chosen by a key's upper bits, holds the key that came last: nearly always the same
    one again, and then arrays find the number of many at a time. Otherwise a dictionary does.
    """

    _BITS = 11

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        # None until they are needed: of a thousand hosts' numbers most are few, and soon forgotten.
        self._slot_keys = np.empty(0, np.uint64)
        self._slot_numbers = np.empty(0, np.intp)

    def __len__(self) -> int:
        return len(self._known)

    def of(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the number of each key, and the row of each that is new, in order of number."""
        if not len(self._slot_keys):
            # What an empty slot holds is no key of its own.
            self._slot_keys = np.zeros(1 << self._BITS, np.uint64)
            self._slot_keys[0] = ~np.uint64(0)
            self._slot_numbers = np.zeros(1 << self._BITS, np.intp)
        numbers, missed = self._found(keys)
        if len(missed) < _MANY:
            return numbers, self._learn(keys, missed, numbers)
        few, others = np.split(missed, [_FEW])  # nearly all of the others are those of the few
        new = self._learn(keys, few, numbers)
        numbers[others], missed = self._found(keys[others])
        return numbers, np.concatenate([new, self._learn(keys, others[missed], numbers)])

    def _found(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return what the slots say, and the rows of which they say nothing true."""
        slots = self._slots(keys)
        return self._slot_numbers[slots], np.flatnonzero(self._slot_keys[slots] != keys)

    def _learn(
        self, keys: NDArray[np.uint64], rows: NDArray[np.intp], numbers: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Set the numbers of rows that the slots do not know; return the row of each new key."""
        if not len(rows):
            return rows
        missed, first, places = np.unique(keys[rows], return_index=True, return_inverse=True)
        found = np.fromiter(map(self._known.get, missed.tolist(), repeat(-1)), np.intp, len(missed))
        new = np.flatnonzero(found < 0)
        new = new[np.argsort(first[new])]
        found[new] = np.arange(len(new)) + len(self._known)
        self._known |= zip(missed[new].tolist(), found[new].tolist(), strict=True)
        numbers[rows] = found[places]
        slots = self._slots(missed)
        self._slot_keys[slots], self._slot_numbers[slots] = missed, found
        return rows[first[new]]

    def _slots(self, keys: NDArray[np.uint64]) -> NDArray[np.intp]:
        return (keys >> np.uint64(64 - self._BITS)).view(np.intp)
