"""Which numbers of each CPU were read: copies, what comes too late, and what never came.

Pure: no clock. ``(host, boot id, run, cpu, seq)`` is the key of an event. Numbers count up without
a gap per CPU, so those that were read are a floor, below which nothing is expected any more, and
one truth value for each number above it.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Origin

__all__ = ["Entered", "Ledger", "Numbers"]

MARK_NS = 500_000_000
"""How fine the floor follows the time."""

FOR_EVER_NS = 1 << 62

JUMP_NS = 86_400 * 10**9
"""By how much one event alone may be ahead of all others of its run."""

MOST = 1 << 23
"""Numbers above a floor; a number farther off begins anew."""


class Numbers:
    """The numbers of one CPU of one run that were read.

    Attributes:
        floor: No number below it is taken any more.
        blind: Below it, a number that comes is a copy or too late; which of the two is not known.
    """

    def __init__(self, floor: int) -> None:
        self.floor = self.blind = floor
        self._bits = np.zeros(0, np.bool_)
        self._marks: deque[tuple[int, int]] = deque()
        self._whole_ns = 0

    @property
    def top(self) -> int:
        """One more than the greatest number that was read."""
        return self.floor + len(self._bits)

    def add(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Add numbers.

        Args:
            numbers: In any order, possibly with repetitions.

        Returns:
            Array of the same shape: True where the number was not read before and is not below
            the floor.
        """
        at = (numbers - np.uint64(self.floor)).view(np.int64)
        least, most = int(at.min()), int(at.max())
        if most >= MOST:
            self._begin_anew(int(numbers.max()))
            return self.add(numbers)
        rising = len(at) == 1 or bool((at[1:] > at[:-1]).all())
        if least == len(self._bits) == 0 and rising and most == len(at) - 1:
            self.floor += len(at)  # nearly always: the next ones, none missing
            return np.ones(len(at), np.bool_)
        if most >= len(self._bits):
            longer = np.zeros(most + 1, np.bool_)
            longer[: len(self._bits)] = self._bits
            self._bits = longer
        fresh = at >= 0
        fresh[fresh] = ~self._bits[at[fresh]]
        if not rising:
            first = np.zeros(len(at), np.bool_)
            first[np.unique(at, return_index=True)[1]] = True
            fresh &= first
        self._bits[at[fresh]] = True
        if len(self._bits) and self._bits[0]:
            whole = len(self._bits) if self._bits.all() else int(self._bits.argmin())
            self._drop(whole)
        return fresh

    def _begin_anew(self, number: int) -> None:
        self.raise_to(max(self.floor, number - MOST // 2))

    def _drop(self, count: int) -> None:
        self.floor += count
        self._bits = self._bits[count:].copy()

    def raise_to(self, floor: int) -> int:
        """Expect nothing below a number any more.

        Returns:
            How many numbers below it were not read.
        """
        count = floor - self.floor
        if count <= 0:
            return 0
        missing = count - int(self._bits[:count].sum())
        self._drop(count)
        self.blind = max(self.blind, floor)
        return missing

    def age(self, newest_ns: int, late_ns: int) -> int:
        """Raise the floor to where the numbers were ``late_ns`` ago.

        Args:
            newest_ns: CLOCK_BOOTTIME of the newest event of this CPU.
            late_ns: How far an event may come behind others that happened after it.

        Returns:
            How many numbers were given up.
        """
        marks = self._marks
        if not marks or newest_ns >= marks[-1][0] + MARK_NS:
            marks.append((newest_ns, self.top))
        floor = 0
        while marks and marks[0][0] <= newest_ns - late_ns:
            floor = marks.popleft()[1]
        missing = self.raise_to(floor)
        while marks and marks[0][1] <= self.floor:
            self._whole_ns = max(self._whole_ns, marks.popleft()[0])
        return missing

    @property
    def whole_ns(self) -> int:
        """CLOCK_BOOTTIME up to which every event was read or given up; 0 if it is not known."""
        return self._whole_ns

    def to_list(self) -> list[Any]:
        """Return all of it as MessagePack can take it."""
        packed = np.packbits(self._bits).tobytes()
        marks = [list(mark) for mark in self._marks]
        return [self.floor, self.blind, len(self._bits), packed, marks]

    @classmethod
    def from_list(cls, listed: list[Any]) -> "Numbers":
        """Return what `to_list` gave."""
        floor, blind, length, packed, marks = listed
        numbers = cls(floor)
        numbers.blind = blind
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=length)
        numbers._bits = bits.astype(np.bool_)
        numbers._marks = deque((ns, top) for ns, top in marks)
        return numbers


@dataclass(slots=True)
class Entered:
    """What became of a batch.

    Attributes:
        fresh: The events that were not read before, in their order.
        again: Copies of events.
        late: Events that are copies, or came too late; which of the two is not known.
        doubted: Events dated so far ahead that one alone is not believed; left out.
    """

    fresh: Batch
    again: int = 0
    late: int = 0
    doubted: int = 0


@dataclass(slots=True)
class _Run:
    cpus: dict[int, Numbers] = field(default_factory=dict)
    newest_ns: int = 0
    doubted_ns: int = 0

    def believe(self, boot_ns: NDArray[np.uint64]) -> NDArray[np.bool_] | None:
        """Tell which events may have happened when they say.

        One event that is far ahead of all others is taken for spoilt; a clock that did jump, as
        over a long suspend, shows in a second one.

        Args:
            boot_ns: CLOCK_BOOTTIME of the events, in any order.

        Returns:
            Array of the same shape; None if all of them may.
        """
        bound = _as_u64((self.newest_ns or int(np.median(boot_ns))) + JUMP_NS)
        if (newest := boot_ns.max()) <= bound:
            self.newest_ns, self.doubted_ns = max(self.newest_ns, int(newest)), 0
            return None
        ahead = boot_ns > bound
        times = np.sort(boot_ns[ahead])
        middle = int(times[len(times) // 2])
        near = (
            ahead & (boot_ns >= _as_u64(middle - JUMP_NS)) & (boot_ns <= _as_u64(middle + JUMP_NS))
        )
        again = ahead.all() and self.doubted_ns > 0 and abs(self.doubted_ns - middle) <= JUMP_NS
        told = int(near.sum()) + bool(again) > 1
        believed = ~ahead | near if told else ~ahead
        self.doubted_ns = middle if ahead.all() and not told else 0
        self.newest_ns = max(self.newest_ns, int(boot_ns[believed].max(initial=0)))
        return believed


class Ledger:
    """Keeps the numbers of everyone who writes to one partition.

    Args:
        late_ns: How far an event may come behind others of its CPU that happened after it; None
            for as far as it likes, and `raise_to` is called by whoever knows better.
        doubts: Leave out an event that is dated a day ahead of all others of its run.

    Attributes:
        touched: Runs that were entered since somebody emptied it.
    """

    def __init__(self, late_ns: int | None = None, *, doubts: bool = False) -> None:
        self.touched: set[Origin] = set()
        self._late_ns = FOR_EVER_NS if late_ns is None else late_ns
        self._doubts = doubts
        self._runs: dict[Origin, _Run] = {}
        self._aging: dict[tuple[Origin, int], int] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, origin: Origin) -> bool:
        return origin in self._runs

    def enter(self, batch: Batch) -> Entered:
        """Enter a batch, and tell the new events from the copies.

        Batches of one reading may come in any order; `settle` is called behind them.
        """
        if not len(batch):
            return Entered(batch)
        self.touched.add(batch.origin)
        run = self._runs.setdefault(batch.origin, _Run())
        doubted = 0
        if self._doubts and (believed := run.believe(batch.records["boot_ns"])) is not None:
            doubted = len(batch)
            batch = batch.part(np.flatnonzero(believed))
            doubted -= len(batch)
            if not len(batch):
                return Entered(batch, doubted=doubted)
        records = batch.records
        fresh = np.ones(len(records), np.bool_)
        late = 0
        for cpu, rows in _by_cpu(records["cpu"]):
            seq = records["seq"][rows]
            numbers = run.cpus.get(cpu)
            if numbers is None:
                numbers = run.cpus[cpu] = Numbers(_first_floor(batch.origin.run_ns, int(seq.min())))
            late += int((seq < np.uint64(numbers.blind)).sum())
            fresh[rows] = numbers.add(seq)
            newest_ns = int(records["boot_ns"][rows].max())
            self._aging[batch.origin, cpu] = max(newest_ns, self._aging.get((batch.origin, cpu), 0))
        if fresh.all():
            return Entered(batch, doubted=doubted)
        kept = batch.part(np.flatnonzero(fresh))
        return Entered(kept, len(records) - len(kept) - late, late, doubted)

    def settle(self) -> None:
        """Give up what is late, now that all was entered that was read at once."""
        for (origin, cpu), newest_ns in self._aging.items():
            run = self._runs.get(origin)
            if run is not None and cpu in run.cpus:  # nobody forgot it meanwhile
                run.cpus[cpu].age(newest_ns, self._late_ns)
        self._aging.clear()

    def raise_to(self, origin: Origin, cpu: int, floor: int) -> int:
        """Expect nothing of a CPU below a number any more; return how many never came."""
        run = self._runs.setdefault(origin, _Run())
        if cpu not in run.cpus:
            run.cpus[cpu] = Numbers(_first_floor(origin.run_ns, floor))
        return run.cpus[cpu].raise_to(floor)

    def watermarks(self) -> Mapping[tuple[Origin, int], int]:
        """Return by run and CPU the moment up to which every event was read or given up.

        Returns:
            CLOCK_BOOTTIME; a CPU of which it is not known is absent.
        """
        return {
            (origin, cpu): numbers.whole_ns
            for origin, run in self._runs.items()
            for cpu, numbers in run.cpus.items()
            if numbers.whole_ns
        }

    def forget(self, origin: Origin) -> None:
        """Forget a run."""
        self._runs.pop(origin, None)
        self.touched.discard(origin)

    def to_map(self, origin: Origin) -> dict[str, Any]:
        """Return what is known of a run, as MessagePack can take it."""
        run = self._runs[origin]
        return {
            "newest_ns": run.newest_ns,
            "doubted_ns": run.doubted_ns,
            "cpus": [[cpu, numbers.to_list()] for cpu, numbers in run.cpus.items()],
        }

    def restore(self, origin: Origin, map_: Mapping[str, Any]) -> None:
        """Take back what `to_map` gave."""
        cpus = {cpu: Numbers.from_list(listed) for cpu, listed in map_["cpus"]}
        self._runs[origin] = _Run(cpus, map_["newest_ns"], map_["doubted_ns"])


def _as_u64(ns: int) -> np.uint64:
    return np.uint64(min(max(ns, 0), (1 << 64) - 1))


def _first_floor(run_ns: int, first: int) -> int:
    """Return where the numbers of a CPU begin: with the run, unless most were read by others."""
    return run_ns if 0 <= first - run_ns < MOST else max(0, first - MOST // 256)


def _by_cpu(cpus: NDArray[np.uint16]) -> Iterator[tuple[int, slice | NDArray[np.intp]]]:
    """Yield each CPU with the rows of its events, in their order."""
    if (cpus == cpus[0]).all():
        yield int(cpus[0]), slice(None)
        return
    order = np.argsort(cpus, kind="stable")
    ends = np.flatnonzero(np.diff(cpus[order])) + 1
    for rows in np.split(order, ends):
        yield int(cpus[rows[0]]), rows
