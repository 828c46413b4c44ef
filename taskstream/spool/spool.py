"""A queue of batches and reports in a folder: bounded, in order, kept over the death of its owner.

Rim: touches a folder of mode 0700. It is written at its end and read at its beginning; a segment
is deleted when all its events have their fate. When it is too long or too old, the oldest segment
goes, and whoever owns the spool is told which events that costs.
"""

import fcntl
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE, S_ISDIR

from taskstream.batch import Batch, Origin
from taskstream.capture.content import About, Events, Header
from taskstream.capture.frame import FrameKind
from taskstream.capture.writer import CaptureWriter
from taskstream.clock import ClockPair
from taskstream.errors import ConfigError
from taskstream.message.batch_encode import encode_batch
from taskstream.message.columns import pack
from taskstream.report import Report
from taskstream.spool.segment import SUFFIX, Segment, read_segment, segments_in, survey_segment

__all__ = ["Place", "Spool", "SpoolBounds"]

FIRST_NUMBER = 10**9
"""Number of the first segment ever: there is room before it, for what comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolBounds:
    """How much the spool may hold.

    Attributes:
        total_bytes: Of all segments.
        age_s: Of the youngest event of a segment; 0 for no bound.
    """

    total_bytes: int = 2 << 30
    age_s: int = 0

    @property
    def segment_bytes(self) -> int:
        """Length at which a segment is closed: what is dropped at once is a small part."""
        return min(max(self.total_bytes // 64, 1 << 16), 4 << 20)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch or a report lies: its segment, and the number of its first frame there."""

    segment: Segment
    frame: int


class Spool:
    """The folder and its queue.

    Args:
        folder: Made with mode 0700 if it is not there; else it must have it.
        origin: The present run.
        about: For the headers of segments.
        bounds: How much it may hold.
        clocks: Reads both clocks.
        on_drop: Called with each batch that is given up, and whether it is of the present run.
        on_damage: Called with a number of events that cannot be read any more, and the same.
        wall_ns: CLOCK_REALTIME.

    Attributes:
        segments: From the oldest to the youngest.
        trouble: Why nothing can be written at present; empty while all is well.

    Raises:
        ConfigError: the folder cannot be used or is for others, too, or another agent uses it.
    """

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        about: About,
        bounds: SpoolBounds,
        *,
        clocks: Callable[[], ClockPair],
        on_drop: Callable[[Batch, bool], None],
        on_damage: Callable[[int, bool], None],
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._folder, self._origin, self._about = folder, origin, about
        self._bounds, self._clocks = bounds, clocks
        self._on_drop, self._on_damage, self._wall_ns = on_drop, on_damage, wall_ns
        self.trouble = ""
        self._lock = _lock(folder)
        self.segments: deque[Segment] = deque()
        self._writer: CaptureWriter | None = None
        try:
            self.segments += map(survey_segment, segments_in(folder))
        except BaseException:
            os.close(self._lock)
            raise
        self._next = _number(self.segments[-1].path) + 1 if self.segments else FIRST_NUMBER
        self.collect()

    # --- what it holds ---

    @property
    def unread(self) -> int:
        """Events that are to be published yet."""
        return sum(segment.unread for segment in self.segments)

    @property
    def pending(self) -> bool:
        """Tell whether there are events or reports to be published."""
        return any(segment.unread or segment.reports for segment in self.segments)

    @property
    def size_bytes(self) -> int:
        """Length of all segments."""
        return sum(segment.size_bytes for segment in self.segments)

    @property
    def fill(self) -> float:
        """How much of the room that it may take is taken, from 0 to 1."""
        return min(1.0, self.size_bytes / self._bounds.total_bytes)

    # --- writing ---

    def append(self, batch: Batch, *, read: bool = False) -> tuple[Place | None, list[Batch]]:
        """Write a batch at the end.

        Args:
            batch: Events, at least one.
            read: They are published from memory already, not from here.

        Returns:
            Where it lies, None for nowhere; and the parts for which there was no room.
        """
        messages = encode_batch(batch)
        left = [
            Batch(batch.origin, records, batch.wall_offset_ns, batch.texts)
            for records in messages.records
        ]
        place = None
        try:
            writer, segment = self._open()  # one for the whole batch
            here = Place(segment, writer.frames)
            for value in messages.values:
                events = self._append(writer, value, left[0])
                place = here
                left.pop(0)
                segment.unacked += events if read else 0
                segment.unread += 0 if read else events
                segment.size_bytes, segment.written_ns = writer.size_bytes, self._wall_ns()
        except OSError as error:
            self._fail(error)
        else:
            self.trouble = ""
        self.bound()
        return place, left

    def _fail(self, error: OSError) -> None:
        self.trouble = f"spool {self._folder} cannot be written: {error.strerror}"

    def _append(self, writer: CaptureWriter, value: bytes, part: Batch) -> int:
        said = Events.of(part.records)
        writer.append(
            said.kind,
            value,
            first_ns=said.first_ns,
            last_ns=said.last_ns,
            events=said.by_kind,
        )
        return len(part)

    def append_report(self, report: Report, *, read: bool = False) -> Place | None:
        """Write a report at the end.

        Args:
            report: The report.
            read: It is published from memory already, not from here.

        Returns:
            Where it lies; None if there was no room.
        """
        moment, payload = report.boot_ns, pack(report.to_map())
        try:
            writer, segment = self._open()
            place = Place(segment, writer.frames)
            writer.append(FrameKind.REPORT, payload, first_ns=moment, last_ns=moment)
        except OSError as error:
            self._fail(error)
            return None
        self.trouble = ""
        segment.unacked_reports += read
        segment.reports += not read
        segment.size_bytes, segment.written_ns = writer.size_bytes, self._wall_ns()
        return place

    def prepend(self, contents: Sequence[Batch | Report]) -> list[Batch | Report]:
        """Write batches and reports before everything else: they came back, and are older.

        Returns:
            What there was no room for.
        """
        self._close_tail()
        first = _number(self.segments[0].path) if self.segments else self._next
        kept, self.segments = self.segments, deque()
        # Each may end a segment, and one more may be left open.
        next_, self._next = max(self._next, first), first - len(contents) - 1
        left: list[Batch | Report] = []
        for content in contents:
            if isinstance(content, Batch):
                left += self.append(content)[1]
            elif self.append_report(content) is None:
                left.append(content)
        self._close_tail()
        self.segments.extend(kept)
        self._next = next_
        self.bound()
        return left

    def _open(self) -> tuple[CaptureWriter, Segment]:
        """Return what is written to now; a segment that is long enough is closed before."""
        if self._writer is not None and self._writer.size_bytes >= self._bounds.segment_bytes:
            self._close_tail()
        if self._writer is None:
            header = Header(origin=self._origin, about=self._about, clock=self._clocks())
            path = self._folder / f"{self._next:012}{SUFFIX}"
            self._writer = CaptureWriter(path, header)
            self._next += 1
            self.segments.append(Segment(path))
        return self._writer, self.segments[-1]

    def _close_tail(self) -> None:
        if self._writer is None:
            return
        segment, writer = self.segments[-1], self._writer
        self._writer = None
        segment.closed = True
        try:
            writer.close()
        except OSError:  # without its end, but whole
            writer.abandon()
        segment.size_bytes = writer.size_bytes

    # --- reading ---

    def read(self) -> tuple[Batch | Report, Segment] | None:
        """Take the oldest thing that is to be published; None if there is none.

        It counts as published without a fate from now on.
        """
        for segment in self.segments:
            if not (segment.unread or segment.reports):
                continue
            if not segment.closed:
                self._close_tail()
            if segment.reader is None:
                segment.reader = read_segment(segment)
            content = next(segment.reader, None)
            if content is None:  # what is missing was damaged
                self._on_damage(segment.unread, segment.own)
                segment.unread = segment.reports = 0
                continue
            if isinstance(content, Batch):
                segment.unread -= len(content)
                segment.unacked += len(content)
            else:
                segment.reports -= 1
                segment.unacked_reports += 1
            return content, segment
        return None

    def rewind(
        self, place: Place, events: Mapping[Segment, int], reports: Mapping[Segment, int]
    ) -> None:
        """Have what was published from memory, and was not sent, read from here instead.

        Args:
            place: The first of it.
            events: How many events of each segment that are.
            reports: Likewise.
        """
        for segment, count in events.items():
            segment.unacked -= count
            segment.unread += count
        for segment, count in reports.items():
            segment.unacked_reports -= count
            segment.reports += count
        place.segment.first_frame = place.frame

    def cut(self) -> None:
        """Let what comes next begin a new segment."""
        self._close_tail()

    def collect(self) -> None:
        """Delete the segments of which nothing is open."""
        for segment in [s for s in self.segments if s.done]:
            self.segments.remove(segment)
            segment.path.unlink(missing_ok=True)

    def settled(self, segment: Segment, events: int, *, reports: int = 0) -> None:
        """Take note of the fate of events of a segment, or of reports."""
        segment.unacked -= events
        segment.unacked_reports -= reports

    def turn(self) -> None:
        """Close a segment of which all that is in it has its fate, so that it can go."""
        tail = self.segments[-1] if self._writer is not None else None
        if tail is not None and tail.size_bytes >= 1 << 16 and not (tail.unread or tail.unacked):
            self._close_tail()
        self.collect()

    def bound(self) -> None:
        """Give up the oldest segments while there is too much."""
        self.collect()
        oldest_ns = self._wall_ns() - self._bounds.age_s * 10**9
        while self.segments:
            first = self.segments[0]
            old = self._bounds.age_s and first.written_ns < oldest_ns
            if not old and self.size_bytes <= self._bounds.total_bytes:
                return
            if not first.closed:
                if not old or not first.unread:
                    return
                self._close_tail()
                continue
            self._give_up(first)

    def _give_up(self, segment: Segment) -> None:
        """Drop what of a segment is to be published yet; what was published has its own fate."""
        self.segments.remove(segment)
        if segment.unread:
            for content in segment.reader or read_segment(segment):
                if isinstance(content, Batch):
                    segment.unread -= len(content)
                    self._on_drop(content, segment.own)
            self._on_damage(segment.unread, segment.own)
        segment.unread = segment.reports = 0
        segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the segment under way, delete what is done, and let go of the folder."""
        self._close_tail()
        self.collect()
        os.close(self._lock)


def _number(path: Path) -> int:
    return int(path.name.removesuffix(SUFFIX))


def _lock(folder: Path) -> int:
    """Make the folder, and hold it; what is in it is for its owner alone."""
    try:
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            _check_private(folder)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"spool {folder} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigError(f"spool {folder} is in use by another agent") from None
    return descriptor


def _check_private(folder: Path) -> None:
    """Refuse a folder that others may enter: it may be for something else, and is left as it is."""
    stat = folder.stat()
    if not S_ISDIR(stat.st_mode):
        return  # it cannot be used, as will be told
    other = "name a directory that is not there yet in [spool] of the configuration"
    if stat.st_uid != os.geteuid():
        raise ConfigError(
            f"spool {folder} belongs to user {stat.st_uid}, not to the agent's, {os.geteuid()}: "
            f"{other}"
        )
    if stat.st_mode & 0o077:
        raise ConfigError(
            f"spool {folder} has mode {S_IMODE(stat.st_mode):04o}, so others than its owner may "
            f"enter it: if it is for the spool alone, chmod 700 {folder}, else {other}"
        )
