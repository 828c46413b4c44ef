"""The report: what an agent knows of its own completeness, part of the stream.

A noun: no I/O, no clock. One report per interval travels with the events, so that whoever
reads the stream knows the same counts and the same losses as the agent: a message of kind
``report``, a MessagePack map. Members that the first agents did not write are absent where there
is nothing to tell.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from taskstream.batch import Origin
from taskstream.charge import Charges
from taskstream.errors import MessageError
from taskstream.interval import Agent, Interval, Zombies
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
        read: Events that the agent had read and handed on; None where an older agent wrote it.
        read_to: The number after that of the latest of them; all that were read later have
            this number or a greater one.
    """

    cpu: int
    next_seq: int
    counted: tuple[int, ...]
    lost: tuple[int, ...]
    dropped: tuple[int, ...]
    args_lost: int
    read: int | None = None
    read_to: int | None = None


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
        number: Of the report within its run, from 0; None where an older agent wrote it.
        charges: Lost events to be counted in the interval that this report closes, or else in
            that which the next one closes.
    """

    origin: Origin
    boot_ns: int
    wall_offset_ns: int
    cpus: tuple[CpuReport, ...]
    missed: dict[str, int] = field(default_factory=dict)
    interval: Interval | None = None
    clock_step_ns: int = 0
    final: bool = False
    number: int | None = None
    charges: Charges | None = None

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
            **({} if self.number is None else {"number": self.number}),
            **({} if self.charges is None else {"charges": self.charges.to_map()}),
        }

    @classmethod
    def from_map(cls, map_: dict[str, Any]) -> "Report":
        """Read a message's map.

        Raises:
            MessageError: a member is missing or of another type.
        """
        try:
            interval = map_["interval"]
            boot_ns = _number(map_, "boot_ns")
            return cls(
                Origin(_of(str, map_, "host"), _of(str, map_, "boot_id"), _number(map_, "run_ns")),
                boot_ns,
                _number(map_, "wall_ns") - boot_ns,
                tuple(_cpu_from_map(cpu) for cpu in _of(list, map_, "cpus")),
                _missed(map_),
                None if interval is None else _interval_from_map(interval),
                _number(map_, "clock_step_ns"),
                _of(bool, map_, "final"),
                _number(map_, "number") if "number" in map_ else None,
                Charges.from_map(_of(dict, map_, "charges")) if "charges" in map_ else None,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise MessageError(f"a report lacks or spoils a member: {error!r}") from None


_Value = TypeVar("_Value")


def _of(kind: type[_Value], map_: Any, name: str) -> _Value:
    """Return a member, which must be of a type."""
    value = map_[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} is {value!r}")
    return value


def _number(map_: Any, name: str) -> int:
    return _of(int, map_, name)


def _missed(map_: Any) -> dict[str, int]:
    missed = _of(dict, map_, "missed")
    return {str(program): _number(missed, program) for program in missed}


def _named(values: tuple[int, ...]) -> dict[str, int]:
    return dict(zip(_NAMES, values, strict=True))


def _listed(map_: Any, name: str) -> tuple[int, ...]:
    values = _of(dict, map_, name)
    counts = tuple(_number(values, count) if count in values else 0 for count in _NAMES)
    if min(counts) < 0:
        raise TypeError(f"{name} is {values!r}")
    return counts


def _cpu_to_map(cpu: CpuReport) -> dict[str, Any]:
    return {
        "cpu": cpu.cpu,
        "next_seq": cpu.next_seq,
        "counted": _named(cpu.counted),
        "lost": _named(cpu.lost),
        "dropped": _named(cpu.dropped),
        "args_lost": cpu.args_lost,
        **({} if cpu.read is None else {"read": cpu.read, "read_to": cpu.read_to}),
    }


def _cpu_from_map(map_: Any) -> CpuReport:
    return CpuReport(
        _number(map_, "cpu"),
        _number(map_, "next_seq"),
        _listed(map_, "counted"),
        _listed(map_, "lost"),
        _listed(map_, "dropped"),
        _number(map_, "args_lost"),
        _number(map_, "read") if "read" in map_ else None,
        _number(map_, "read_to") if "read" in map_ else None,
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
        "release_late": interval.release_late,
        **({} if interval.zombies is None else {"zombies": asdict(interval.zombies)}),
        **({} if interval.agent is None else {"agent": _agent_to_map(interval.agent)}),
        **({"cgroups": [list(one) for one in interval.cgroups]} if interval.cgroups else {}),
    }


def _interval_from_map(map_: Any) -> Interval:
    return Interval(
        start_ns=_number(map_, "start_ns"),
        end_ns=_number(map_, "end_ns"),
        wall_ns=_number(map_, "wall_ns"),
        counts=_listed(map_, "counts"),
        received=_listed(map_, "received"),
        missed=_missed(map_),
        failures_watched=_of(bool, map_, "failures_watched"),
        # The first agents knew no other way, and did not say it.
        release_late=_of(bool, {"release_late": True, **map_}, "release_late"),
        zombies=_zombies(_of(dict, map_, "zombies")) if "zombies" in map_ else None,
        agent=_agent(_of(dict, map_, "agent")) if "agent" in map_ else None,
        cgroups=tuple(_cgroup(one) for one in _of(list, {"cgroups": [], **map_}, "cgroups")),
    )


def _cgroup(values: Any) -> tuple[int, str, str]:
    named = dict(zip(("id", "path", "name"), values, strict=True))
    return _number(named, "id"), _of(str, named, "path"), _of(str, named, "name")


def _zombies(map_: Any) -> Zombies:
    return Zombies(_number(map_, "level"), _number(map_, "oldest_ns"))


_AGENT = tuple(member.name for member in fields(Agent) if member.name != "before")


def _agent_to_map(agent: Agent) -> dict[str, Any]:
    own = {name: getattr(agent, name) for name in _AGENT}
    return own if agent.before is None else {**own, "before": _agent_to_map(agent.before)}


def _agent(map_: Any) -> Agent:
    before = _agent(_of(dict, map_, "before")) if "before" in map_ else None
    return Agent(
        **{name: _number(map_, name) for name in _AGENT if name not in ("ring_fill", "spool_fill")},
        ring_fill=_of(float, map_, "ring_fill"),
        spool_fill=None if map_["spool_fill"] is None else _of(float, map_, "spool_fill"),
        before=before,
    )
