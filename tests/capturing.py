"""Captures made up for tests: written by the sink, in a moment, with a clock turned by hand."""

from collections.abc import Iterable
from pathlib import Path

from taskstream.batch import Batch, Origin
from taskstream.capture.content import About, Names
from taskstream.capture.rotation import CaptureFiles, Rotation
from taskstream.clock import ClockPair
from taskstream.interval import Interval
from taskstream.record import COUNTS
from taskstream.report import CpuReport, Report
from taskstream.sink.capture import CaptureSink
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, event, lives

__all__ = ["ABOUT", "Ticks", "a_capture", "capture_sink", "report", "sample"]

ABOUT = About(kernel="6.18.44", machine="x86_64", window_ns=10**9, failures_watched=False)

Item = Batch | Report | Names


class Ticks:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.ns = ORIGIN.run_ns

    def __call__(self) -> int:
        return self.ns

    def pair(self) -> ClockPair:
        """Return both clocks."""
        return ClockPair(self.ns, self.ns + WALL_OFFSET_NS)


def capture_sink(
    path: Path,
    *,
    origin: Origin = ORIGIN,
    rotation: Rotation | None = None,
    ticks: Ticks | None = None,
    flush_ms: int = 1000,
) -> CaptureSink:
    """Open a sink to a new capture."""
    ticks = ticks or Ticks()
    files = CaptureFiles(path, origin, ABOUT, rotation or Rotation(), clocks=ticks.pair)
    return CaptureSink(files, flush_ms=flush_ms, now_ns=ticks, boot_ns=ticks)


def report(number: int, *, final: bool = False, origin: Origin = ORIGIN) -> Report:
    """Make the report of interval ``number``; every count differs."""
    start_ns = origin.run_ns + number * 10**9
    counts = tuple(100 * number + i for i in range(len(COUNTS)))
    none = (0,) * len(COUNTS)
    interval = Interval(
        start_ns=start_ns,
        end_ns=start_ns + 10**9,
        wall_ns=start_ns + 10**9 + WALL_OFFSET_NS,
        counts=counts,
        received=tuple(max(0, count - 1) for count in counts),
        missed={"on_exit": number} if number else {},
        failures_watched=False,
    )
    cpus = tuple(CpuReport(cpu, origin.run_ns + 50, counts, none, none, 0) for cpu in (0, 1))
    end_ns = start_ns + 10**9 + 5
    return Report(origin, end_ns, WALL_OFFSET_NS, cpus, {}, interval, 0, final)


def sample() -> list[Item]:
    """Return a short stream with everything in it."""
    whole = lives(25)
    half = len(whole) // 2
    parts = [
        Batch(ORIGIN, whole.records[rows], WALL_OFFSET_NS, whole.texts)
        for rows in (slice(None, half), slice(half, None))
    ]
    running = batch(*(event("task", cpu=0xFFFF, pid=pid) for pid in (1, 2, 17)))
    names = Names(boot_ns=ORIGIN.run_ns, cgroups={1: "/", 77: "/größe.slice"}, groups={77: "web"})
    odd = batch(event("exec", comm=b"\xff", argv=b"\xfe\0", cpu=9), event("exit", cpu=9))
    return [running, names, parts[0], report(0), parts[1], odd, report(1, final=True)]


def a_capture(
    path: Path,
    items: Iterable[Item],
    *,
    origin: Origin = ORIGIN,
    flush_ms: int = 0,
    close: bool = True,
) -> Path:
    """Write a capture of a stream.

    Args:
        path: Where.
        items: The stream.
        origin: The run that the header names.
        flush_ms: 0 to write a frame per batch.
        close: End it in good order.
    """
    sink = capture_sink(path, origin=origin, flush_ms=flush_ms)
    for item in items:
        if isinstance(item, Batch):
            sink.write(item)
        elif isinstance(item, Report):
            sink.report(item)
        else:
            sink.files.names(item)
    if close:
        sink.close()
        assert not sink.account.in_flight
    else:
        sink.flush()
        sink.files.abandon()
    return path
