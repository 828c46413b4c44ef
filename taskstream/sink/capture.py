"""A capture file as a sink: batches in, whole frames on the disk, every event accounted for.

Rim: touches files, through ``taskstream.capture``. Small batches are gathered, so that a frame
holds the events of a second, or as many as fit. A full or failing disk costs the events that it
has no room for, counted; never the run. Names and reports wait for room, so that a replay has
every interval.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from taskstream import clock
from taskstream.batch import Batch, join
from taskstream.capture.content import Events, Loss, Names
from taskstream.capture.frame import FrameKind
from taskstream.capture.rotation import CaptureFiles
from taskstream.drops import DropCounts
from taskstream.message.batch_encode import encode_batch
from taskstream.message.columns import pack
from taskstream.record import COUNTS, KINDS
from taskstream.report import Report
from taskstream.stats import Account

__all__ = ["FLUSH_MS", "CaptureSink"]

FLUSH_MS = 1000
"""How long an event may wait for others before it is written."""

MOST_EVENTS, MOST_BYTES = 8192, 8 << 20
"""Of a frame. Its columns may be longer than a broker takes; a replay divides them then."""

RETRY_MS = 1000
"""How long to leave a disk alone that had no room."""

MOST_REPORT_BYTES = 16 << 20
"""Of reports that wait for room. One has 400 bytes per CPU: at the default interval these are a
quarter of an hour's on a host with 256 CPUs, most of an hour's with 64."""


class CaptureSink:
    """Writes batches and reports to a capture.

    Args:
        files: Where to.
        flush_ms: How long events are gathered.
        now_ns: A clock that never goes back.
        boot_ns: CLOCK_BOOTTIME.

    Attributes:
        account: Fates of the events that it was given; what is written is delivered.
        trouble: What is wrong with the disk at present; empty while all is well.
        errors: Events by the reason for which they were not written.
        lost_reports: Reports that waited for room, and were given up.
    """

    def __init__(
        self,
        files: CaptureFiles,
        *,
        flush_ms: int = FLUSH_MS,
        now_ns: Callable[[], int] = time.monotonic_ns,
        boot_ns: Callable[[], int] = clock.boot_ns,
    ) -> None:
        self.account = Account()
        self.trouble = ""
        self.errors: Counter[str] = Counter()
        self.lost_reports = 0
        self.files = files
        self._flush_ns = flush_ms * 1_000_000
        self._now_ns, self._boot_ns = now_ns, boot_ns
        self._gathered: list[Batch] = []
        self._gathered_events = 0
        self._since_ns = 0
        self._retry_ns = 0
        self._dropped = DropCounts()
        self._untold = DropCounts()
        self._untold_events = 0
        self._reports: deque[tuple[int, bytes]] = deque()
        self._report_bytes = 0

    @property
    def complete(self) -> bool:
        """Tell whether nothing that it was given is missing in the file."""
        return not (self.account.dropped or self.lost_reports)

    def write(self, batch: Batch) -> None:
        """Gather a batch, and write what is due; the names that it tells go before its events."""
        appeared = {id_: path for id_, path in batch.cgroups if path is not None}
        if appeared:
            self.names(Names(boot_ns=self._boot_ns(), cgroups=appeared))
        if len(batch):
            self.account.received += len(batch)
            if self._gathered and _company(self._gathered[0]) != _company(batch):
                self.flush()
            if not self._gathered:
                self._since_ns = self._now_ns()
            self._gathered.append(batch)
            self._gathered_events += len(batch)
        self.tick()

    def tick(self) -> None:
        """Write what was gathered, if it is enough or has waited long enough."""
        old = self._gathered and self._now_ns() - self._since_ns >= self._flush_ns
        if old or self._gathered_events >= MOST_EVENTS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        gathered, self._gathered, self._gathered_events = self._gathered, [], 0
        if not gathered:
            return
        messages = encode_batch(join(gathered), most_events=MOST_EVENTS, most_bytes=MOST_BYTES)
        for value, records in zip(messages.values, messages.records, strict=True):
            self._append(value, records)

    def _append(self, value: bytes, records: NDArray[np.void]) -> None:
        said = Events.of(records)
        if self._catch_up():
            try:
                self.files.append(
                    said.kind,
                    value,
                    first_ns=said.first_ns,
                    last_ns=said.last_ns,
                    events=said.by_kind,
                )
            except OSError as error:
                self._fail(error)
            else:
                self.account.delivered += len(records)
                return
        self._drop(records)

    def _catch_up(self) -> bool:
        """Write what waits for room; return False if there is none, and more need not be tried."""
        if self.trouble and self._now_ns() < self._retry_ns:
            return False
        try:
            self._write_waiting()
        except OSError as error:
            self._fail(error)
            return False
        self.trouble = ""
        return True

    def _write_waiting(self) -> None:
        self._tell_losses()
        while self._reports:
            boot_ns, payload = self._reports[0]
            self.files.append(FrameKind.REPORT, payload, first_ns=boot_ns, last_ns=boot_ns)
            self._report_bytes -= len(payload)
            self._reports.popleft()

    def _fail(self, error: OSError) -> None:
        self.trouble = f"{self.files.writer.path} cannot be written: {error.strerror}"
        self._retry_ns = self._now_ns() + RETRY_MS * 1_000_000

    def _drop(self, records: NDArray[np.void]) -> None:
        self.account.dropped += len(records)
        self.errors[self.trouble] += len(records)
        self._dropped.add(records)
        self._untold.add(records)
        self._untold_events += len(records)

    def _tell_losses(self) -> None:
        """Write what was dropped since it was last told, by CPU and count."""
        if not self._untold_events:
            return
        untold, names = self._untold, [count.name for count in COUNTS]
        cpus = {
            cpu: {n: v for n, v in zip(names, untold.of(cpu), strict=True) if v}
            for cpu in untold.cpus()
        }
        moment = self._boot_ns()
        loss = Loss(boot_ns=moment, reason=self.trouble, events=self._untold_events, cpus=cpus)
        self.files.append(FrameKind.LOSS, loss.payload(), first_ns=moment, last_ns=moment)
        self.files.writer.dropped += self._untold_events
        self._untold, self._untold_events = DropCounts(), 0

    def report(self, report: Report) -> None:
        """Write what was gathered, then a report, with what was dropped here."""
        cpus = tuple(replace(cpu, dropped=self.dropped(cpu.cpu)) for cpu in report.cpus)
        self.copy_report(replace(report, cpus=cpus))

    def copy_report(self, report: Report) -> None:
        """Write what was gathered, then a report as it is; without room it waits, in order."""
        self.flush()
        payload = pack(report.to_map())
        self._reports.append((report.boot_ns, payload))
        self._report_bytes += len(payload)
        self._catch_up()
        while self._report_bytes > MOST_REPORT_BYTES:
            self._report_bytes -= len(self._reports.popleft()[1])
            self.lost_reports += 1

    def names(self, names: Names) -> None:
        """Take names that appeared; they are written before the events that come after."""
        self.flush()
        self.files.names(names)

    def copy_loss(self, loss: Loss) -> None:
        """Write what was gathered, then what another capture says that it could not hold."""
        self.flush()
        if self._catch_up():
            moment = loss.boot_ns
            try:
                self.files.append(FrameKind.LOSS, loss.payload(), first_ns=moment, last_ns=moment)
                self.files.writer.dropped += loss.events
            except OSError as error:
                self._fail(error)
            else:
                return
        self._untold_events += loss.events

    def settle(self, seconds: float) -> None:
        """Nothing is under way: a write is done when it returns."""

    def dropped(self, cpu: int) -> tuple[int, ...]:
        """Return the events of one CPU that were dropped here, by `COUNTS`."""
        return self._dropped.of(cpu)

    def drain(self, seconds: float) -> None:
        """Write what was gathered."""
        self.flush()

    def close(self) -> None:
        """End the file in good order; without room for that, leave it without a trailer."""
        self._retry_ns = 0  # no later chance
        self.flush()
        try:
            self._write_waiting()
            self.files.close()
        except OSError as error:
            self._fail(error)
        self.lost_reports += len(self._reports)
        self._reports.clear()


def _company(batch: Batch) -> tuple[object, ...]:
    """Return what batches of one frame have in common; running tasks are kept apart."""
    running = bool(batch.records["kind"][0] == KINDS["task"])
    return batch.origin, batch.wall_offset_ns, running
