"""One closed window of time and what happened in it.

A noun: no I/O, no clock. ``taskstream.rates`` draws the charts from it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from taskstream.record import COUNTS

__all__ = ["COLUMNS", "Agent", "Interval", "Series", "Zombies"]

COLUMNS = (*(count.name for count in COUNTS), "fork_by_init")
"""What is counted of each group: `COUNTS`, and the forks that task 1 made."""

_AT = {count.name: i for i, count in enumerate(COUNTS)}


@dataclass(frozen=True, slots=True)
class Series:
    """Events of one group, by `COLUMNS`.

    Attributes:
        window: Those of the interval.
        total: Those since the group was first seen in this run; never less than before.
    """

    window: tuple[int, ...]
    total: tuple[int, ...]

    def count(self, name: str) -> int:
        """Return one count of the interval."""
        return self.window[_COLUMN[name]]

    def sum(self, name: str) -> int:
        """Return one count since the start."""
        return self.total[_COLUMN[name]]


_COLUMN = {name: i for i, name in enumerate(COLUMNS)}


@dataclass(frozen=True, slots=True)
class Zombies:
    """Processes that have exited and are not released yet, at the end of an interval.

    Attributes:
        level: How many there are.
        oldest_ns: For how long the oldest has been one; 0 without any.
    """

    level: int
    oldest_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What the agent itself costs and holds, at the end of an interval.

    Attributes:
        cpu_ns: CPU time of all of its threads since it started.
        resident_bytes: Its memory.
        queued: Messages that are not acknowledged yet.
        dropped: Events that it gave up for want of room, since it started.
        forgotten: Processes that it forgot before they were released, since it started.
        uncharged: Lost events that no process was charged with, since it started: the kernel's
            table of losses had no room.
        ring_fill: How much of the ring was taken when it was fullest in the interval, as the agent
            saw it, from 0 to 1.
        spool_fill: How much of the spool's bound is taken, from 0 to 1; None without a spool.
        spool_dropped: Of the events dropped, those that the spool gave up: it was full, they were
            too old, or the disk took no more.
        spool_damaged: Of the events dropped, those that could not be read from the disk.
        before: The same at the end of the interval before; None for the first.
    """

    cpu_ns: int
    resident_bytes: int
    queued: int
    dropped: int
    forgotten: int
    uncharged: int = 0
    ring_fill: float = 0.0
    spool_fill: float | None = None
    spool_dropped: int = 0
    spool_damaged: int = 0
    before: "Agent | None" = None

    def since(self, name: str) -> int:
        """Return by how much a member rose during the interval; in the first, since the start."""
        now: int = getattr(self, name)
        return now - (getattr(self.before, name) if self.before else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What happened in one window of time.

    Attributes:
        start_ns: CLOCK_BOOTTIME at which counting began: of the window, or of the run.
        end_ns: CLOCK_BOOTTIME of its end, or of the end of the run.
        wall_ns: CLOCK_REALTIME of ``end_ns``.
        counts: Events by `COUNTS`, from the kernel's loss-free counters where there are any.
        received: Events of the window that came through the ring, by `COUNTS`.
        missed: Program runs that the kernel skipped meanwhile, by program; not in ``counts``.
        failures_watched: Whether failed calls were counted at all (load mode ``return``).
        release_late: Whether releases were seen at sched_process_free, which stands in for
            release_task and runs an RCU grace period later.
        groups: Series by dimension (``app``, ``cgroup``, ``service``, ``errno`` ...) and name,
            lost events included, where the source tells whose they were; a dimension that nobody
            asked for is absent, a group that was quiet is there with zeros.
        zombies: None where nobody asked.
        agent: None where nobody asked.
        cgroups: Those that ``groups`` has for the first time in this run, or by another name:
            id, path, and name in the charts.
        unseen: Events that came through the ring and did not come to whoever counted ``groups``.
    """

    start_ns: int
    end_ns: int
    wall_ns: int
    counts: tuple[int, ...]
    received: tuple[int, ...]
    missed: Mapping[str, int] = field(default_factory=dict)
    failures_watched: bool = True
    release_late: bool = False
    groups: Mapping[str, Mapping[str, Series]] = field(default_factory=dict)
    zombies: Zombies | None = None
    agent: Agent | None = None
    cgroups: tuple[tuple[int, str, str], ...] = ()
    unseen: int = 0

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def exact(self) -> bool:
        """Tell whether the kernel skipped no program, so that ``counts`` is all that happened."""
        return not any(self.missed.values())

    def count(self, name: str) -> int:
        """Return one count."""
        return self.counts[_AT[name]]

    @classmethod
    def join(cls, parts: "Sequence[Interval]") -> "Interval":
        """Return intervals that follow one another as one; ``groups`` are those of the last."""
        first, last = parts[0], parts[-1]
        if len(parts) == 1:
            return first
        missed: Counter[str] = Counter()
        for part in parts:
            missed.update(part.missed)
        agent = last.agent
        if agent is not None and first.agent is not None:
            agent = replace(agent, before=first.agent.before)
        return replace(
            last,
            start_ns=first.start_ns,
            counts=_sums([part.counts for part in parts]),
            received=_sums([part.received for part in parts]),
            missed=dict(missed),
            failures_watched=all(part.failures_watched for part in parts),
            release_late=any(part.release_late for part in parts),
            agent=agent,
            cgroups=tuple(one for part in parts for one in part.cgroups),
            unseen=sum(part.unseen for part in parts),
        )

    def lost(self) -> int:
        """Return how many events of the window did not come through the ring."""
        return sum(self.counts) - sum(self.received)


def _sums(counts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*counts, strict=True)))
