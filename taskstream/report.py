"""The report: what an agent knows of its own completeness, part of the stream.

A noun: no I/O, no clock. One report per interval travels with the events, so that whoever
reads the stream knows the same counts and the same losses as the agent: a message of kind
``report``, a MessagePack map.
"""

from dataclasses import dataclass, field
from typing import Any

from taskstream.batch import Origin
from taskstream.errors import MessageError
from taskstream.interval import Interval
from taskstream.record import COUNTS, VERSION

__all__ = ["CpuReport", "Report"]

_NAMES = tuple(count.name for count in COUNTS)


@dataclass(frozen=True, slots=True)
class CpuReport:
    """Cumulative numbers of one CPU since the start of the run, by `COUNTS`.

    Attributes:
        cpu: Number of the CPU.
        next_seq: The number that its next event will have.
        counted: Events that happened.
        lost: Of those, events for which the ring had no room.
        dropped: Of those, events that the agent read but gave up.
        args_lost: Execs without filename and argv for want of room.
    """

    cpu: int
    next_seq: int
    counted: tuple[int, ...]
    lost: tuple[int, ...]
    dropped: tuple[int, ...]
    args_lost: int


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a run at one moment.

    Attributes:
        origin: The run.
        boot_ns: CLOCK_BOOTTIME of the report.
        wall_offset_ns: CLOCK_REALTIME minus CLOCK_BOOTTIME.
        cpus: One entry per CPU.
        missed: Program runs that the kernel skipped since the start, by program.
        interval: The interval that was just closed, if one was.
        clock_step_ns: By how much the wall clock was stepped since the last report.
        final: The run is over.
    """

    origin: Origin
    boot_ns: int
    wall_offset_ns: int
    cpus: tuple[CpuReport, ...]
    missed: dict[str, int] = field(default_factory=dict)
    interval: Interval | None = None
    clock_step_ns: int = 0
    final: bool = False

    def to_map(self) -> dict[str, Any]:
        """Return the message's map."""
        return {
            "v": VERSION,
            "kind": "report",
            "host": self.origin.host,
            "boot_id": self.origin.boot_id,
            "run_ns": self.origin.run_ns,
            "boot_ns": self.boot_ns,
            "wall_ns": self.boot_ns + self.wall_offset_ns,
            "clock_step_ns": self.clock_step_ns,
            "final": self.final,
            "missed": self.missed,
            "cpus": [_cpu_to_map(cpu) for cpu in self.cpus],
            "interval": None if self.interval is None else _interval_to_map(self.interval),
        }

    @classmethod
    def from_map(cls, map_: dict[str, Any]) -> "Report":
        """Read a message's map.

        Raises:
            MessageError: a member is missing or of another type.
        """
        try:
            return cls(
                Origin(map_["host"], map_["boot_id"], map_["run_ns"]),
                map_["boot_ns"],
                map_["wall_ns"] - map_["boot_ns"],
                tuple(_cpu_from_map(cpu) for cpu in map_["cpus"]),
                dict(map_["missed"]),
                None if map_["interval"] is None else _interval_from_map(map_["interval"]),
                map_["clock_step_ns"],
                map_["final"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise MessageError(f"a report lacks a member or has a wrong one: {error!r}") from None


def _named(values: tuple[int, ...]) -> dict[str, int]:
    return dict(zip(_NAMES, values, strict=True))


def _listed(values: dict[str, int]) -> tuple[int, ...]:
    return tuple(values.get(name, 0) for name in _NAMES)


def _cpu_to_map(cpu: CpuReport) -> dict[str, Any]:
    return {
        "cpu": cpu.cpu,
        "next_seq": cpu.next_seq,
        "counted": _named(cpu.counted),
        "lost": _named(cpu.lost),
        "dropped": _named(cpu.dropped),
        "args_lost": cpu.args_lost,
    }


def _cpu_from_map(map_: dict[str, Any]) -> CpuReport:
    return CpuReport(
        map_["cpu"],
        map_["next_seq"],
        _listed(map_["counted"]),
        _listed(map_["lost"]),
        _listed(map_["dropped"]),
        map_["args_lost"],
    )


def _interval_to_map(interval: Interval) -> dict[str, Any]:
    return {
        "start_ns": interval.start_ns,
        "end_ns": interval.end_ns,
        "wall_ns": interval.wall_ns,
        "counts": _named(interval.counts),
        "received": _named(interval.received),
        "missed": dict(interval.missed),
        "failures_watched": interval.failures_watched,
    }


def _interval_from_map(map_: dict[str, Any]) -> Interval:
    return Interval(
        **{**map_, "counts": _listed(map_["counts"]), "received": _listed(map_["received"])}
    )
