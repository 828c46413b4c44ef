"""What /proc/stat says beside what the charts say: does one drift away from the other?

Pure, but for `Forks`, which reads /proc/stat.
"""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.kernel.host import forks_since_boot

__all__ = ["Drift", "Forks", "drift"]


@dataclass
class Forks:
    """`processes` of /proc/stat by CLOCK_BOOTTIME: each value was true between two moments."""

    before_ns: list[int] = field(default_factory=list)
    after_ns: list[int] = field(default_factory=list)
    values: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Read it once more."""
        self.before_ns.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        self.values.append(forks_since_boot())
        self.after_ns.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def bounds(self, moment_ns: int) -> tuple[int, int]:
        """Return the least and the most that it can have been at a moment."""
        last = bisect_right(self.after_ns, moment_ns) - 1
        first = bisect_left(self.before_ns, moment_ns)
        if last < 0 or first == len(self.values):
            raise ValueError(f"no look on both sides of {moment_ns}")
        return self.values[last], self.values[first]


@dataclass(frozen=True)
class Drift:
    """How far the charts' sum of created tasks was from /proc/stat's.

    Attributes:
        boundaries: Ends of intervals at which the two were compared.
        outside: By how many tasks the sum was ever outside of what /proc/stat allows.
        widest: The largest uncertainty of /proc/stat at a boundary, in tasks.
        created: Tasks in the charts between the first boundary and the last.
    """

    boundaries: int
    outside: int
    widest: int
    created: int


def drift(ends_ns: Sequence[int], created: Sequence[int], forks: Forks) -> Drift:
    """Compare at every boundary, from the first on: an error would add up.

    Args:
        ends_ns: Ends of intervals, CLOCK_BOOTTIME, ascending.
        created: Tasks created in each interval, by the charts.
        forks: Looks at /proc/stat before the first end and after the last.
    """
    low_0, high_0 = forks.bounds(ends_ns[0])
    total = outside = widest = 0
    for end_ns, number in zip(ends_ns[1:], created[1:], strict=True):
        total += number
        low, high = forks.bounds(end_ns)
        outside = max(outside, low - high_0 - total, total - (high - low_0))
        widest = max(widest, high - low)
    return Drift(len(ends_ns), outside, widest, total)
