"""All that can be said about a capture, gathered item by item.

Pure: no I/O, no clock. Counts come from the heads of the frames, so a survey costs no unpacking;
`verify` unpacks and decodes, and compares everything that says the same twice.
"""

from collections import Counter
from typing import Any

from taskstream.batch import Batch
from taskstream.capture.content import Header, Index, Loss, Names, Trailer, content_of
from taskstream.capture.frame import Damage, Frame, FrameKind, kind_name
from taskstream.errors import CaptureError, MessageError
from taskstream.record import KIND_NAMES, KINDS
from taskstream.report import Report
from taskstream.sequence import StreamBooks

__all__ = ["Survey"]

_EVENTS = (FrameKind.BATCH, FrameKind.SNAPSHOT)


class Survey:
    """What was met in one capture.

    Args:
        verify: Unpack and decode every frame, and compare.

    Attributes:
        frames: Frames by name of the kind.
        events: Events, by the heads of their frames.
        event_bytes: Length of the frames that hold them.
        payload_bytes: Length of all payloads, unpacked.
        by_kind: Events by kind: when verifying, of the events; else of the trailer, if it counts
            as many events as there are; nothing if nobody knows.
        first_ns: CLOCK_BOOTTIME of the earliest event; None for none.
        last_ns: CLOCK_BOOTTIME of the latest.
        damages: What is damaged, cut or missing.
        cgroups: Path by cgroup id.
        groups: Application group by cgroup id.
        faults: What is not as it should be, one line each.
    """

    def __init__(self, *, verify: bool = False) -> None:
        self._verify = verify
        self._books = StreamBooks(from_start=False)
        self.frames: Counter[str] = Counter()
        self.events = 0
        self.event_bytes = 0
        self.payload_bytes = 0
        self.by_kind: Counter[str] = Counter()
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.damages: list[Damage] = []
        self.faults: list[str] = []
        self.header: Header | None = None
        self.trailer: Trailer | None = None
        self.last_report: Report | None = None
        self.losses: list[Loss] = []
        self.cgroups: dict[int, str] = {}
        self.groups: dict[int, str] = {}
        self.index: Index | None = None
        self._before_index = (0, 0)

    def add(self, item: Frame | Damage) -> None:
        """Enter an item."""
        if isinstance(item, Damage):
            self.damages.append(item)
            self.faults.append(str(item))
            return
        if item.kind == FrameKind.INDEX:
            self._before_index = (self.frames.total(), self.events)
        self.frames[kind_name(item.kind)] += 1
        self.payload_bytes += item.payload_bytes
        if item.kind in _EVENTS:
            self._add_events(item)
        else:
            self._add_other(item)

    def _add_events(self, frame: Frame) -> None:
        self.events += frame.events
        self.event_bytes += frame.size_bytes
        if frame.kind == FrameKind.BATCH:
            self.first_ns = min(self.first_ns or frame.first_ns, frame.first_ns)
            self.last_ns = max(self.last_ns or frame.last_ns, frame.last_ns)
        if self._verify and (batch := self._content(frame)) is not None:
            assert isinstance(batch, Batch)
            self._compare(frame, batch)

    def _compare(self, frame: Frame, batch: Batch) -> None:
        times = batch.records["boot_ns"]
        found = (len(batch), int(times.min()), int(times.max())) if len(batch) else (0, 0, 0)
        if found != (frame.events, frame.first_ns, frame.last_ns):
            self.faults.append(f"byte {frame.offset}: the head says other events than the payload")
        kinds = Counter(batch.records["kind"].tolist())
        self.by_kind.update({KIND_NAMES[kind]: count for kind, count in kinds.items()})
        self._books.add(batch)

    def _add_other(self, frame: Frame) -> None:
        content = self._content(frame)
        if isinstance(content, Header):
            self.header = content
        elif isinstance(content, Trailer):
            self.trailer = content
        elif isinstance(content, Report):
            self.last_report = content
            self._books.report(content)
        elif isinstance(content, Loss):
            self.losses.append(content)
        elif isinstance(content, Names):
            self.cgroups |= content.cgroups
            self.groups |= content.groups
        elif isinstance(content, Index):
            self.index = content

    def _content(self, frame: Frame) -> object:
        try:
            return content_of(frame)
        except (CaptureError, MessageError) as error:
            self.faults.append(str(error))
            return None

    def finish(self) -> None:
        """Compare the sums, when all was entered."""
        if self.header is None:
            self.faults.append("there is no header")
        trailer = self.trailer
        if trailer is None:  # told as damage
            return
        if not self._verify and sum(trailer.written.values()) == self.events:
            self.by_kind.update(trailer.written)
        told = sum(loss.events for loss in self.losses)
        pairs = [
            ("events", sum(trailer.written.values()), self.events),
            ("dropped events", trailer.dropped, told),
            ("received events", trailer.received, self.events + told),
            ("frames", trailer.frames, self.frames.total() - 1),
            ("reports", trailer.reports, self.frames["report"]),
        ]
        if self._verify:
            pairs += [
                (f"{kind} events", trailer.written.get(kind, 0), self.by_kind[kind])
                for kind in KINDS
            ]
        if self.index is not None:
            stretches = self.index.stretches
            pairs += [
                ("frames by the index", sum(s.frames for s in stretches), self._before_index[0]),
                ("events by the index", sum(s.events for s in stretches), self._before_index[1]),
            ]
        self.faults += [
            f"{what}: the end of the file says {says:,}, found are {found:,}"
            for what, says, found in pairs
            if says != found
        ]

    def to_map(self) -> dict[str, Any]:
        """Return it as JSON can take it."""
        header, report, trailer = self.header, self.last_report, self.trailer
        return {
            "header": None if header is None else _header_map(header),
            "closed": trailer is not None,
            "frames": dict(self.frames),
            "events": self.events,
            "by_kind": dict(self.by_kind) or None,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "payload_bytes": self.payload_bytes,
            "bytes_per_event": round(self.event_bytes / self.events, 1) if self.events else None,
            "cgroups": self.cgroups,
            "groups": self.groups,
            "stretches": None if self.index is None else len(self.index.stretches),
            "dropped": sum(loss.events for loss in self.losses),
            "losses": [
                {name: getattr(loss, name) for name in ("boot_ns", "reason", "events", "cpus")}
                for loss in self.losses
            ],
            "ring": None if report is None else _ring_map(report),
            "missing": sum(s.missing for s in self._books.summaries()) if self._verify else None,
            "damages": [
                {"offset": d.offset, "bytes": d.size_bytes, "reason": d.reason, "cut": d.cut}
                for d in self.damages
            ],
            "faults": self.faults,
        }


def _header_map(header: Header) -> dict[str, Any]:
    return {
        "program": header.program,
        "version": header.version,
        "host": header.origin.host,
        "boot_id": header.origin.boot_id,
        "run_ns": header.origin.run_ns,
        "kernel": header.about.kernel,
        "machine": header.about.machine,
        "clock": {"boot_ns": header.clock.boot_ns, "wall_ns": header.clock.wall_ns},
        "window_ns": header.about.window_ns,
        "failures_watched": header.about.failures_watched,
        "part": header.part,
        **header.tables,
    }


def _ring_map(report: Report) -> dict[str, Any]:
    return {
        "counted": sum(sum(cpu.counted) for cpu in report.cpus),
        "lost": sum(sum(cpu.lost) for cpu in report.cpus),
        "args_lost": sum(cpu.args_lost for cpu in report.cpus),
        "missed": dict(report.missed),
        "final": report.final,
    }
