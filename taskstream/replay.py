"""A recorded stream through the pipeline again: events and reports to a target.

Joint. A live run and a replay differ in the source alone: a target takes the same batches and
the same reports, and charts are drawn from the same intervals, which the reports carry. So they
are exact where the ring overflowed, too. No kernel is touched and no right is needed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from taskstream.batch import Batch, Origin
from taskstream.capture.content import Loss, Names, content_of
from taskstream.capture.frame import Damage, Frame, FrameKind
from taskstream.capture.reader import CaptureFile, items_of
from taskstream.errors import CaptureError
from taskstream.report import Report
from taskstream.selection import SelectedCounts, Selection

__all__ = ["Replay", "ReplayTotals", "Target"]

SLICE_NS = 50_000_000
"""At a given speed, events are handed on in portions of so much time."""

_SLEEP_S = 0.2
"""The longest sleep: after it, somebody may want to stop."""

_EVENTS = (FrameKind.BATCH, FrameKind.SNAPSHOT)


class Target(Protocol):
    """What takes a replayed stream. It may make its caller wait; it drops nothing."""

    def frame(self, frame: Frame) -> bool:
        """Take the events of a frame as they are; return False to have them decoded."""

    def write(self, batch: Batch) -> None:
        """Take events."""

    def report(self, report: Report) -> None:
        """Take a report."""

    def names(self, names: Names) -> None:
        """Take names that appeared."""

    def loss(self, loss: Loss) -> None:
        """Take what the capture says of events that it could not hold; no choice divides it."""

    def wait(self, stop: Callable[[], bool]) -> None:
        """Wait until there is room for more, or until it is time to stop."""


@dataclass(slots=True)
class ReplayTotals:
    """What a replay amounts to.

    Attributes:
        read: Events that were read.
        replayed: Of those, events that were handed on.
        reports: Reports that were read.
        lost: Events that the writer of the capture had to drop, as it says.
        unreported: Events that were read after the last report: no interval counts them.
        damages: What is damaged, cut or missing in the files, each with the file's name.
    """

    read: int = 0
    replayed: int = 0
    reports: int = 0
    lost: int = 0
    unreported: int = 0
    damages: list[tuple[str, Damage]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Tell whether everything that was ever given for the capture was read."""
        return not self.damages and not self.lost

    def line(self) -> str:
        """Return the closing line; its numbers add up."""
        left_out = self.read - self.replayed
        text = f"read {self.read:,} = replayed {self.replayed:,} + left out {left_out:,}"
        if self.lost:
            text += f"; dropped when it was captured: {self.lost:,}"
        if self.damages:
            stretches = len(self.damages)
            lost_bytes = sum(damage.size_bytes for _, damage in self.damages)
            places = f"{stretches:,} place{'s' if stretches > 1 else ''}"
            text += f"; damaged, cut or missing: {places}, {lost_bytes:,} bytes"
        return text


class Replay:
    """Hands on what captures hold, in their order.

    Args:
        files: Captures, one after another.
        target: Takes the stream.
        selection: What is wanted.
        speed: How many times as fast as it happened; 0 for as fast as it goes.
        skip_damaged: Go on behind damage.
        on_progress: Called now and then with the bytes that are done: read, or passed over.
        now_ns: A clock that never goes back.
        sleep: Sleeps for some seconds.
    """

    def __init__(
        self,
        files: Sequence[CaptureFile],
        target: Target,
        *,
        selection: Selection,
        speed: float = 0,
        skip_damaged: bool = False,
        on_progress: Callable[[int], None] = lambda _bytes: None,
        now_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.totals = ReplayTotals()
        self._files, self._target, self._selection = files, target, selection
        self._skip_damaged, self._on_progress = skip_damaged, on_progress
        self._pace = _Pace(speed, now_ns, sleep) if speed else None
        self._counts = SelectedCounts()
        self._paths: dict[int, str] = {}

    def run(self, stop: Callable[[], bool]) -> ReplayTotals:
        """Replay until the end, or until ``stop`` says so.

        Raises:
            CaptureError: a file is damaged, and damage is not to be skipped; or a frame is not
                what it says it is. What came before was replayed.
            MessageError: so is a message, or it is of a newer version.
        """
        # Of names, none may be passed over.
        from_ns = self._selection.from_ns if not self._selection.needs_names else None
        place: tuple[CaptureFile | None, int] = None, 0
        for file, item in items_of(self._files, from_ns):
            if stop():
                break
            begin = place[1] if file is place[0] else 0
            if isinstance(item, Damage):
                self._damaged(file, item)
            else:
                with file.naming():
                    self._take(item, stop)
            place = file, item.offset + item.size_bytes
            self._on_progress(place[1] - begin)
            self._target.wait(stop)
        return self.totals

    def _damaged(self, file: CaptureFile, damage: Damage) -> None:
        self.totals.damages.append((file.name, damage))
        if not damage.cut and not self._skip_damaged:
            raise CaptureError(
                f"{file.name} is damaged: {damage}; frames before it were replayed "
                "(--skip-damaged goes on)"
            )

    def _take(self, frame: Frame, stop: Callable[[], bool]) -> None:
        if frame.kind in _EVENTS:
            self._take_events(frame, stop)
            return
        content = content_of(frame)
        if isinstance(content, Report):
            self.totals.reports += 1
            self.totals.unreported = 0
            if self._pace:
                self._pace.wait_for(content.boot_ns, content.origin, stop)
            self._take_report(content)
        elif isinstance(content, Names):
            self._paths.update(content.cgroups)
            self._target.names(content)
        elif isinstance(content, Loss):
            self.totals.lost += content.events
            self._target.loss(content)

    def _take_report(self, report: Report) -> None:
        whole = self._selection.whole
        for told in [report] if whole else self._counts.reports(report, self._selection):
            self._target.report(told)

    def _take_events(self, frame: Frame, stop: Callable[[], bool]) -> None:
        totals = self.totals
        totals.read += frame.events
        totals.unreported += frame.events if frame.kind == FrameKind.BATCH else 0
        if self._outside(frame):
            return
        if self._selection.whole and not self._pace and self._target.frame(frame):
            totals.replayed += frame.events
            return
        batch = content_of(frame)
        assert isinstance(batch, Batch)
        chosen = self._selection.of(batch, self._paths.get)
        if self._selection.filters:
            self._counts.add(chosen.records)
        for part in self._pace.parts(chosen, stop) if self._pace else [chosen]:
            totals.replayed += len(part)
            self._target.write(part)

    def _outside(self, frame: Frame) -> bool:
        """Tell whether no event of a frame is of the time that is wanted."""
        from_ns, until_ns = self._selection.from_ns, self._selection.until_ns
        early = from_ns is not None and frame.last_ns < from_ns
        return early or (until_ns is not None and frame.first_ns >= until_ns)


class _Pace:
    """Keeps the distances in time that events had, divided by the speed."""

    def __init__(
        self, speed: float, now_ns: Callable[[], int], sleep: Callable[[float], None]
    ) -> None:
        self._speed, self._now_ns, self._sleep = speed, now_ns, sleep
        self._origin: Origin | None = None
        self._begin_ns = self._first_ns = 0

    def wait_for(self, boot_ns: int, origin: Origin, stop: Callable[[], bool]) -> None:
        """Sleep until it is time for what happened at ``boot_ns``."""
        if origin != self._origin:  # another run: the gap between the two is not waited for
            self._origin, self._begin_ns, self._first_ns = origin, self._now_ns(), boot_ns
        due_ns = self._begin_ns + int((boot_ns - self._first_ns) / self._speed)
        while (left_ns := due_ns - self._now_ns()) > 0 and not stop():
            self._sleep(min(left_ns / 1e9, _SLEEP_S))

    def parts(self, batch: Batch, stop: Callable[[], bool]) -> Iterator[Batch]:
        """Cut a batch by time, and yield each part when it is time for it."""
        if not len(batch):
            return
        slot = (batch.records["boot_ns"] // np.uint64(max(1, int(SLICE_NS * self._speed)))).astype(
            np.int64
        )
        for number in np.unique(slot).tolist():
            part = batch.part(np.flatnonzero(slot == number))
            self.wait_for(int(part.records["boot_ns"].min()), batch.origin, stop)
            if stop():
                return
            yield part
