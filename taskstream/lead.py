"""Which partitions were read ahead of others, in the time of the hosts.

Pure: the time is passed in. Whoever reads a topic from far back may be hours further in one
partition than in another, of a host that does little within a single portion. What the others hold
of a run is not missing then, and nothing of it is old: those that are ahead wait for them. Times of
different hosts are compared only where a partition holds nothing of a run, since clocks differ.

A partition that was at its end at a moment is as far as anything had been read by then: who is
ahead of that has read what was published since, and there may be more of it in the other.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from taskstream.batch import Origin
from taskstream.cells import SECOND_NS
from taskstream.partial import Partial

__all__ = ["BOUND_S", "PATIENCE_MS", "GroupLead", "Lead", "passed_ms"]

BOUND_S = 3_600
"""How far a partition may be ahead: half of what `taskstream.closing` keeps open."""

PATIENCE_MS = 60_000
"""For how long a partition is waited for that gives nothing and is not at its end."""

_NEVER = -1
_Place = TypeVar("_Place", bound=Hashable)


class _Front:
    """How far anything was read, by moment."""

    def __init__(self) -> None:
        self._moments_ms: list[int] = []
        self._values: list[int] = []

    def reach(self, value: int, now_ms: int) -> None:
        """Take note of how far something was read."""
        if not self._values or value > self._values[-1]:
            self._moments_ms.append(now_ms)
            self._values.append(value)

    def at(self, moment_ms: int) -> int:
        """Return how far it had been read by a moment; next to nothing if that is not known."""
        found = bisect_right(self._moments_ms, moment_ms)
        return self._values[found - 1] if found else -(1 << 63)

    def forget_before(self, moment_ms: int) -> None:
        """Forget what it was before a moment."""
        first = max(0, bisect_right(self._moments_ms, moment_ms) - 1)
        del self._moments_ms[:first], self._values[:first]


class Lead(Generic[_Place]):
    """Compares how far partitions were read.

    Attributes:
        held: Partitions of which nothing is to be read for now. There is always another to read.
        behind: A partition that is waited for is behind others; what it may hold is not old.
    """

    def __init__(self) -> None:
        self.held: set[_Place] = set()
        self.behind = False
        self._seconds: dict[Origin, dict[_Place, int]] = {}
        self._fronts: defaultdict[Origin, _Front] = defaultdict(_Front)
        self._offsets_s: dict[Origin, int] = {}
        self._wall_s: dict[_Place, int] = {}
        self._given_ms: dict[_Place, int] = {}

    def note(self, place: _Place, partials: Sequence[Partial], now_ms: int) -> None:
        """Take note of what was read of a partition, and when."""
        if partials:
            self._given_ms[place] = now_ms
        walls_s = []
        for partial in partials:
            second, offset_ns = _newest(partial)
            if second is None:
                continue
            self._seconds.setdefault(partial.origin, {})[place] = second
            self._fronts[partial.origin].reach(second, now_ms)
            if offset_ns is not None:
                self._offsets_s[partial.origin] = offset_ns // SECOND_NS
            walls_s.append(second + self._offsets_s.get(partial.origin, 0))
        if walls_s:
            self._wall_s[place] = min(walls_s)

    def look(
        self,
        waiting: Collection[_Place],
        now_ms: int,
        at_end_ms: Mapping[_Place, int] = {},
    ) -> None:
        """Decide who waits for whom.

        Args:
            waiting: The partitions that were not read to their end.
            now_ms: The moment, Unix milliseconds.
            at_end_ms: Up to when all that was published of partitions was read; of those alone
                that are read on when they were.
        """
        awaited = []
        for place in {*waiting, *at_end_ms}:
            if place in self.held or place not in self._given_ms:
                self._given_ms[place] = now_ms  # it could give nothing yet
            if now_ms - max(self._given_ms[place], at_end_ms.get(place, _NEVER)) < PATIENCE_MS:
                awaited.append(place)
        ahead: set[_Place] = set()
        for origin, seconds in self._seconds.items():
            reached = [
                self._second(origin, place, at_end_ms.get(place, _NEVER)) for place in awaited
            ]
            bound = min(reached, default=1 << 63) + BOUND_S
            ahead.update(place for place, second in seconds.items() if second > bound)
            self._fronts[origin].forget_before(now_ms - PATIENCE_MS)
        self.behind = bool(ahead)
        # Those that wait for one another, each because of another run, would wait for ever.
        self.held = ahead & set(waiting) if set(awaited) - ahead else set()

    def _second(self, origin: Origin, place: _Place, at_end_ms: int) -> int:
        """Return how far a partition was read, in the time of a run."""
        passed = self._wall_s.get(place, 0) - self._offsets_s.get(origin, 0)
        own = self._seconds[origin].get(place, passed)
        return max(own, passed, self._fronts[origin].at(at_end_ms))

    def forget(self, origins: Iterable[Origin]) -> None:
        """Forget runs."""
        for origin in origins:
            self._seconds.pop(origin, None)
            self._fronts.pop(origin, None)
            self._offsets_s.pop(origin, None)


class GroupLead:
    """Compares how far the members of a group have read, as they say.

    They know each other's partitions by the time of the hosts alone: hosts whose clocks differ by
    hours have members wait that need not.

    Args:
        partitions: How many there are.

    Attributes:
        ahead: Partitions that wait for others.
    """

    def __init__(self, partitions: int) -> None:
        self.ahead: set[int] = set()
        self._partitions = range(partitions)
        self._passed_ms: dict[int, int] = {}
        self._given_ms: dict[int, int] = {}
        self._at_end_ms: dict[int, int] = {}
        self._front = _Front()

    def passed(self, partition: int, moment_ms: int, now_ms: int) -> None:
        """Take note of how far a partition was read: `passed_ms` of what it gave last."""
        if self._passed_ms.get(partition) != moment_ms:
            self._passed_ms[partition], self._given_ms[partition] = moment_ms, now_ms
            self._front.reach(moment_ms, now_ms)

    def at_end(self, partition: int, moment_ms: int) -> None:
        """Take note that all was read of a partition that had been published up to a moment."""
        self._at_end_ms[partition] = max(moment_ms, self._at_end_ms.get(partition, 0))

    def look(self, now_ms: int) -> None:
        """Decide who waits."""
        awaited = []
        for partition in self._partitions:
            if partition in self.ahead:
                self._given_ms[partition] = now_ms  # it could give nothing
            at_end_ms = self._at_end_ms.get(partition, _NEVER)
            given_ms = max(self._given_ms.setdefault(partition, now_ms), at_end_ms)
            if now_ms - given_ms < PATIENCE_MS:
                awaited.append(max(self._passed_ms.get(partition, 0), self._front.at(at_end_ms)))
        bound_ms = min(awaited, default=now_ms) + BOUND_S * 1000
        passed = self._passed_ms.items() if awaited else ()
        self.ahead = {partition for partition, moment_ms in passed if moment_ms > bound_ms}
        self._front.forget_before(now_ms - PATIENCE_MS)


def passed_ms(partials: Iterable[Partial]) -> int | None:
    """Return how far a partition was read, in the time of the hosts, Unix milliseconds.

    Returns:
        The newest that is known of the run of which the least is known; None of nothing.
    """
    moments = []
    for partial in partials:
        second, offset_ns = _newest(partial)
        if second is not None and offset_ns is not None:
            moments.append((second * SECOND_NS + offset_ns) // 1_000_000)
    return min(moments, default=None)


def _newest(partial: Partial) -> tuple[int | None, int | None]:
    """Return the newest second that a partial sum tells of, and what to add for the wall clock."""
    seconds = list(partial.cells)
    seconds += [report.boot_ns // SECOND_NS for report in partial.reports]
    offset_ns = partial.wall_offset_ns
    if offset_ns is None and partial.reports:
        offset_ns = partial.reports[-1].wall_offset_ns
    return max(seconds, default=None), offset_ns
