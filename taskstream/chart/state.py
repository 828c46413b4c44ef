"""Every chart that is drawn from something else than counts of events: how things stand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from taskstream.chart.chart import Chart
from taskstream.interval import Interval

__all__ = ["STATES", "State"]


@dataclass(frozen=True, slots=True)
class State:
    """A chart of what is not a sum of counts.

    Attributes:
        chart: Its description; without dimensions.
        values: What is drawn, by dimension; None where there is none.
        needs: The member of `Interval` without which there is nothing to draw.
    """

    chart: Chart
    values: Mapping[str, Callable[[Interval], float | None]]
    needs: str = "counts"


def _state(
    context: str,
    title: str,
    unit: str,
    priority: int,
    needs: str,
    **values: Callable[[Interval], float | None],
) -> State:
    chart = Chart(
        context=f"taskstream.{context}",
        scope="state",
        title=title,
        unit=unit,
        family="taskstream",
        priority=priority,
        kind="line",
        dimensions=(),
        documented=False,
    )
    return State(chart, values, needs)


def _dropped(interval: Interval) -> int:
    """Return the events that were dropped for want of room in the queue."""
    if interval.agent is None:
        return 0
    of_spool = interval.agent.since("spool_dropped") + interval.agent.since("spool_damaged")
    return interval.agent.since("dropped") - of_spool


def _of_spool(interval: Interval, name: str) -> int | None:
    """Return what a spool lost in the interval; None without one."""
    if interval.agent is None or interval.agent.spool_fill is None:
        return None
    return interval.agent.since(name)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _share(interval: Interval) -> float:
    """Return the agent's CPU time as a share of the interval, in percent."""
    if interval.agent is None or interval.agent.before is None or not interval.seconds:
        return 0.0
    return interval.agent.since("cpu_ns") / 1e7 / interval.seconds


STATES: tuple[State, ...] = (
    _state(
        "zombies",
        "Processes that exited and are not released",
        "processes",
        90006,
        "zombies",
        zombies=lambda interval: interval.zombies.level if interval.zombies else 0,
    ),
    _state(
        "zombie_age",
        "Age of the oldest of them",
        "seconds",
        90007,
        "zombies",
        oldest=lambda interval: interval.zombies.oldest_ns / 1e9 if interval.zombies else 0,
    ),
    _state(
        "lost",
        "Events lost by cause",
        "events",
        90008,
        "agent",
        ring=lambda interval: interval.lost(),
        skipped=lambda interval: sum(interval.missed.values()),
        dropped=_dropped,
        spool_dropped=lambda interval: _of_spool(interval, "spool_dropped"),
        spool_damaged=lambda interval: _of_spool(interval, "spool_damaged"),
    ),
    _state(
        "uncharged",
        "Lost events without a process, counted in other",
        "events",
        90012,
        "agent",
        uncharged=lambda interval: interval.agent.since("uncharged") if interval.agent else 0,
    ),
    _state(
        "agent_cpu",
        "CPU of the agent, of one core",
        "percentage",
        90009,
        "agent",
        cpu=_share,
    ),
    _state(
        "agent_memory",
        "Resident memory of the agent",
        "MiB",
        90010,
        "agent",
        resident=lambda interval: interval.agent.resident_bytes / 2**20 if interval.agent else 0,
    ),
    _state(
        "agent_queue",
        "Messages that are not acknowledged",
        "messages",
        90011,
        "agent",
        queued=lambda interval: interval.agent.queued if interval.agent else 0,
    ),
    _state(
        "agent_ring",
        "Ring at its fullest, of its size",
        "percentage",
        90013,
        "agent",
        ring_fill=lambda interval: 100 * interval.agent.ring_fill if interval.agent else 0,
    ),
    _state(
        "agent_spool",
        "Spool, of the size that it may have",
        "percentage",
        90014,
        "agent",
        spool_fill=lambda interval: _percent(interval.agent.spool_fill if interval.agent else None),
    ),
)
"""Every chart that is drawn from something else."""
