"""What the frames of a capture file say, as objects and as MessagePack maps.

Pure: no I/O, no clock. The maps are written in ``schemas/capture.md``. Batches and reports are
messages, as in a topic: ``taskstream.message.encode`` and ``taskstream.report`` make them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from taskstream import __version__
from taskstream.batch import Batch, Origin
from taskstream.capture.frame import FORMAT, Frame, FrameKind, kind_name
from taskstream.clock import ClockPair
from taskstream.errors import CaptureError, MessageError
from taskstream.message.batch_decode import decode_batch
from taskstream.message.batch_layout import BATCH_VERSION
from taskstream.message.columns import pack
from taskstream.message.member import number, text
from taskstream.record import COUNTS, FIELDS, FLAGS, KIND_NAMES, KINDS, VERSION
from taskstream.report import Report

__all__ = [
    "About",
    "Content",
    "Events",
    "Header",
    "Index",
    "Loss",
    "Names",
    "Stretch",
    "Trailer",
    "content_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a capture says of the machine and of the agent that made it.

    Attributes:
        kernel: Release of the kernel, as `uname -r` has it.
        machine: Its architecture, as `uname -m` has it.
        window_ns: Length of the intervals.
        failures_watched: Whether failed calls were counted (load mode ``return``).
    """

    kernel: str
    machine: str
    window_ns: int
    failures_watched: bool


TABLES: Mapping[str, Any] = {
    "kinds": KINDS,
    "fields": [
        {"name": f.wire, "type": f.type, "unit": f.unit, "kinds": list(f.kinds)}
        for f in FIELDS
        if f.wire
    ],
    "flags": {flag.name: flag.bit for flag in FLAGS.values()},
    "counts": [count.name for count in COUNTS],
}
"""What a header says of the schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first frame of a file, which also tells what records look like.

    Attributes:
        origin: The run whose events the file holds.
        about: Where it was made, and how.
        clock: Both clocks at the time at which the file was begun.
        part: Number of the file in a row of rotated ones, from 1.
        version: The newest schema version of what the file may hold.
        program: Name and version of the writer.
        tables: Kinds, fields, flags and counts of the writer's schema, as the file has them.
    """

    origin: Origin
    about: About
    clock: ClockPair
    part: int = 1
    version: int = BATCH_VERSION
    program: str = f"taskstream {__version__}"
    tables: Mapping[str, Any] = field(default_factory=lambda: TABLES)

    def payload(self) -> bytes:
        """Return the frame's payload."""
        return pack(
            {
                "v": self.version,
                "kind": "header",
                "format": FORMAT,
                "program": self.program,
                **_origin_map(self.origin),
                "kernel": self.about.kernel,
                "machine": self.about.machine,
                "clock": {"boot_ns": self.clock.boot_ns, "wall_ns": self.clock.wall_ns},
                "window_ns": self.about.window_ns,
                "failures_watched": self.about.failures_watched,
                "part": self.part,
                **self.tables,
            }
        )

    @classmethod
    def from_map(cls, map_: dict[str, Any]) -> "Header":
        """Read the payload's map; KeyError or TypeError where it lacks or spoils a member."""
        about = About(
            kernel=text(map_, "kernel"),
            machine=text(map_, "machine"),
            window_ns=number(map_, "window_ns"),
            failures_watched=bool(map_["failures_watched"]),
        )
        clock = ClockPair(number(map_["clock"], "boot_ns"), number(map_["clock"], "wall_ns"))
        return cls(
            origin=_origin(map_),
            about=about,
            clock=clock,
            part=number(map_, "part"),
            version=number(map_, "v"),
            program=text(map_, "program"),
            tables={name: _table(map_, name) for name in TABLES},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that appeared: of cgroups, by the id that events carry.

    Attributes:
        boot_ns: CLOCK_BOOTTIME at which they were known.
        cgroups: Path by cgroup id.
        groups: Application group by cgroup id, where there is one.
    """

    boot_ns: int
    cgroups: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)

    def payload(self) -> bytes:
        """Return the frame's payload."""
        return pack(
            {
                "v": VERSION,
                "kind": "names",
                "boot_ns": self.boot_ns,
                "cgroups": [list(pair) for pair in self.cgroups.items()],
                "groups": [list(pair) for pair in self.groups.items()],
            }
        )

    @classmethod
    def from_map(cls, map_: dict[str, Any]) -> "Names":
        """Read the payload's map; KeyError or TypeError where it lacks or spoils a member."""
        return cls(
            boot_ns=number(map_, "boot_ns"),
            cgroups=_named(map_, "cgroups"),
            groups=_named(map_, "groups"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Events that the writer had and could not write, since the last frame of this kind.

    Attributes:
        boot_ns: CLOCK_BOOTTIME of the frame.
        reason: Why they could not be written.
        events: How many, running tasks included.
        cpus: Of those, by CPU and name of the count, the events that are in a count.
    """

    boot_ns: int
    reason: str
    events: int
    cpus: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    def payload(self) -> bytes:
        """Return the frame's payload."""
        cpus = [{"cpu": cpu, "dropped": dict(counts)} for cpu, counts in self.cpus.items()]
        return pack(
            {
                "v": VERSION,
                "kind": "loss",
                "boot_ns": self.boot_ns,
                "reason": self.reason,
                "events": self.events,
                "cpus": cpus,
            }
        )

    @classmethod
    def from_map(cls, map_: dict[str, Any]) -> "Loss":
        """Read the payload's map; KeyError or TypeError where it lacks or spoils a member."""
        return cls(
            boot_ns=number(map_, "boot_ns"),
            reason=text(map_, "reason"),
            events=number(map_, "events"),
            cpus={number(cpu, "cpu"): _counts(cpu, "dropped") for cpu in map_["cpus"]},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Frames one after another: an entry of the time index.

    Attributes:
        offset: Where the first of them begins.
        frames: How many they are.
        events: Events in them.
        first_ns: CLOCK_BOOTTIME of the earliest thing in them.
        last_ns: CLOCK_BOOTTIME of the latest.
    """

    offset: int
    frames: int
    events: int
    first_ns: int
    last_ns: int

    def joined(self, after: "Stretch") -> "Stretch":
        """Return the stretch of this one and of the next."""
        return Stretch(
            offset=self.offset,
            frames=self.frames + after.frames,
            events=self.events + after.events,
            first_ns=min(self.first_ns, after.first_ns),
            last_ns=max(self.last_ns, after.last_ns),
        )


@dataclass(frozen=True, slots=True)
class Index:
    """The time index: all frames before it, as stretches in the order of the file."""

    stretches: tuple[Stretch, ...]

    def payload(self) -> bytes:
        """Return the frame's payload."""
        entries = [[s.offset, s.frames, s.events, s.first_ns, s.last_ns] for s in self.stretches]
        return pack({"v": VERSION, "kind": "index", "entries": entries})

    @classmethod
    def from_map(cls, map_: dict[str, Any]) -> "Index":
        """Read the payload's map; KeyError or TypeError where it lacks or spoils a member."""
        names = ("offset", "frames", "events", "first_ns", "last_ns")
        rows = [dict(zip(names, entry, strict=True)) for entry in map_["entries"]]
        return cls(tuple(Stretch(**{name: number(row, name) for name in names}) for row in rows))


TRAILER_PAYLOAD_BYTES = 968
"""The trailer is always of this length, so that a reader finds it from the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """The last frame of a file that was closed in good order.

    Attributes:
        frames: Frames before it.
        index_offset: Where the frame of the time index begins.
        received: Events that the writer was given for this file; written plus dropped.
        written: Of those, events in the file, by kind.
        dropped: Of those, events that could not be written.
        reports: Reports in the file.
    """

    frames: int
    index_offset: int
    received: int
    written: Mapping[str, int]
    dropped: int
    reports: int

    def payload(self) -> bytes:
        """Return the frame's payload, of `TRAILER_PAYLOAD_BYTES`."""
        map_ = {
            "v": VERSION,
            "kind": "trailer",
            "frames": self.frames,
            "index_offset": self.index_offset,
            "received": self.received,
            "written": dict(self.written),
            "dropped": self.dropped,
            "reports": self.reports,
        }
        head = bytearray(pack(map_))
        head[0] += 1  # a map of fewer than 16 members: one more
        head += pack("pad")
        room = TRAILER_PAYLOAD_BYTES - len(head) - 3
        return bytes(head) + b"\xc5" + room.to_bytes(2, "big") + bytes(room)

    @classmethod
    def from_map(cls, map_: dict[str, Any]) -> "Trailer":
        """Read the payload's map; KeyError or TypeError where it lacks or spoils a member."""
        return cls(
            frames=number(map_, "frames"),
            index_offset=number(map_, "index_offset"),
            received=number(map_, "received"),
            written=_counts(map_, "written"),
            dropped=number(map_, "dropped"),
            reports=number(map_, "reports"),
        )


@dataclass(frozen=True, slots=True)
class Events:
    """What is said of the events of a frame before they are read.

    Attributes:
        kind: The frame's kind.
        by_kind: How many there are, by kind.
        first_ns: CLOCK_BOOTTIME of the earliest.
        last_ns: CLOCK_BOOTTIME of the latest.
    """

    kind: FrameKind
    by_kind: dict[str, int]
    first_ns: int
    last_ns: int

    @classmethod
    def of(cls, records: NDArray[np.void]) -> "Events":
        """Look at records, at least one."""
        boot_ns = records["boot_ns"].copy()  # one way through the records, not two
        numbers = np.bincount(records["kind"]).tolist()
        by_kind = {KIND_NAMES[kind]: count for kind, count in enumerate(numbers) if count}
        kind = FrameKind.SNAPSHOT if by_kind.keys() == {"task"} else FrameKind.BATCH
        return cls(kind, by_kind, int(boot_ns.min()), int(boot_ns.max()))


Content = Header | Batch | Report | Names | Loss | Index | Trailer

_READERS: dict[int, Callable[[dict[str, Any]], Content]] = {
    FrameKind.HEADER: Header.from_map,
    FrameKind.REPORT: Report.from_map,
    FrameKind.NAMES: Names.from_map,
    FrameKind.LOSS: Loss.from_map,
    FrameKind.INDEX: Index.from_map,
    FrameKind.TRAILER: Trailer.from_map,
}


def content_of(frame: Frame, *, args: bool = True) -> Content | None:
    """Decode a frame.

    Args:
        frame: One that is whole.
        args: Of events, read the arguments of execs, too.

    Returns:
        None for a kind that is not known here: a later version's, to be passed over.

    Raises:
        CaptureError: the payload is not what the frame's kind says.
        MessageError: so is a message in it, or it is of a newer schema version.
    """
    is_batch = frame.kind in (FrameKind.BATCH, FrameKind.SNAPSHOT)
    if not is_batch and frame.kind not in _READERS:
        return None
    try:
        if is_batch:
            return decode_batch(frame.payload(), args=args)
        map_ = msgpack.unpackb(frame.payload(), strict_map_key=False)
        _check_version(map_)
        return _READERS[frame.kind](map_)
    except MessageError as error:
        raise MessageError(f"frame at byte {frame.offset}: {error}") from None
    except msgpack.UnpackException as error:
        wrong = f"not MessagePack ({str(error) or type(error).__name__})"
    except KeyError as error:
        wrong = f"it lacks {error}"
    except (TypeError, ValueError) as error:
        wrong = str(error)
    raise CaptureError(f"frame at byte {frame.offset} is no {kind_name(frame.kind)}: {wrong}")


def _check_version(map_: dict[str, Any]) -> None:
    version = number(map_, "v")
    newest = BATCH_VERSION if map_.get("kind") == "header" else VERSION
    if version > newest:
        raise MessageError(
            f"of schema version {version}; this program reads up to {newest}: install a newer one"
        )


def _origin_map(origin: Origin) -> dict[str, Any]:
    return {"host": origin.host, "boot_id": origin.boot_id, "run_ns": origin.run_ns}


def _origin(map_: dict[str, Any]) -> Origin:
    return Origin(text(map_, "host"), text(map_, "boot_id"), number(map_, "run_ns"))


def _named(map_: dict[str, Any], name: str) -> dict[int, str]:
    named = {}
    for id_, label in map_[name]:
        if not isinstance(id_, int) or not isinstance(label, str):
            raise TypeError(f"{name} is {map_[name]!r}")
        named[id_] = label
    return named


def _table(map_: dict[str, Any], name: str) -> list[Any] | dict[Any, Any]:
    table = map_.get(name, [])
    if not isinstance(table, (list, dict)):
        raise TypeError(f"{name} is {table!r}")
    return table


def _counts(map_: Any, name: str) -> dict[str, int]:
    return {str(key): number(map_[name], key) for key in map_[name]}
