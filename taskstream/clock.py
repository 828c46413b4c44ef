"""The clocks: CLOCK_BOOTTIME orders events, CLOCK_REALTIME dates them.

A noun that may touch the clock, and the only module that converts between the two.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ClockPair", "WallClock", "boot_ns", "read_pair"]

STEP_NS = 10_000_000
"""A change of the offset by more than this between two looks is a step of the wall clock."""


@dataclass(frozen=True, slots=True)
class ClockPair:
    """The two clocks at one moment, in ns."""

    boot_ns: int
    wall_ns: int

    @property
    def offset_ns(self) -> int:
        """CLOCK_REALTIME minus CLOCK_BOOTTIME."""
        return self.wall_ns - self.boot_ns


def boot_ns() -> int:
    """Read CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def read_pair(tries: int = 3) -> ClockPair:
    """Read both clocks, the wall between two reads of the other; keep the tightest of ``tries``."""
    best: tuple[int, ClockPair] | None = None
    for _ in range(tries):
        before = boot_ns()
        wall = time.time_ns()
        after = boot_ns()
        if best is None or after - before < best[0]:
            best = after - before, ClockPair((before + after) // 2, wall)
    assert best is not None
    return best[1]


class WallClock:
    """Follows the offset between the clocks and notices steps.

    Args:
        read: Reads a pair (a test passes its own).
        every_ns: How often to look.
    """

    def __init__(
        self, read: Callable[[], ClockPair] = read_pair, *, every_ns: int = 1_000_000_000
    ) -> None:
        self._read = read
        self._every_ns = every_ns
        self.pair = read()

    def refresh(self, now_ns: int) -> int:
        """Look again when it is time.

        Args:
            now_ns: CLOCK_BOOTTIME.

        Returns:
            By how many ns the wall clock has stepped since the last look; 0 for no step.
        """
        if now_ns - self.pair.boot_ns < self._every_ns:
            return 0
        before, self.pair = self.pair, self._read()
        moved = self.pair.offset_ns - before.offset_ns
        return moved if abs(moved) > STEP_NS else 0
