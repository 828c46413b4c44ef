"""One segment of the spool: a capture file that is written once, read once and deleted.

Rim: touches a file.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from taskstream.batch import Batch
from taskstream.capture.content import content_of
from taskstream.capture.frame import Frame, FrameKind
from taskstream.capture.reader import CaptureFile
from taskstream.errors import CaptureError, ConfigError, MessageError
from taskstream.report import Report

__all__ = ["SUFFIX", "Segment", "read_segment", "segments_in", "survey_segment", "waiting_in"]

SUFFIX = ".tsc"
_NAME = re.compile(rf"\d{{12}}{re.escape(SUFFIX)}")

_EVENTS = (FrameKind.BATCH, FrameKind.SNAPSHOT)


@dataclass(slots=True, eq=False)
class Segment:
    """A segment and what is known of it.

    Attributes:
        path: Where it is.
        own: Its events are of the present run.
        size_bytes: Its length.
        written_ns: CLOCK_REALTIME of the last thing written to it.
        unread: Events in it that are to be published yet.
        reports: Reports in it that are to be published yet.
        unacked: Events of it that were published and have no fate yet.
        unacked_reports: Reports likewise.
        first_frame: Number of the first frame that is to be published; those before it were.
        closed: Nothing is written to it any more.
    """

    path: Path
    own: bool = True
    size_bytes: int = 0
    written_ns: int = 0
    unread: int = 0
    reports: int = 0
    unacked: int = 0
    unacked_reports: int = 0
    first_frame: int = 0
    closed: bool = False
    reader: Iterator[Batch | Report] | None = field(default=None, repr=False)

    @property
    def done(self) -> bool:
        """Tell whether nothing of it is open, so that it can go."""
        waits = self.unread or self.reports or self.unacked or self.unacked_reports
        return self.closed and not waits


def segments_in(folder: Path) -> list[Path]:
    """Find the segments of a spool, from the oldest to the youngest.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def waiting_in(folder: Path) -> int:
    """Count the events that lie in a spool that nobody opens; 0 where that cannot be told."""
    with suppress(OSError, ConfigError):
        return sum(survey_segment(path).unread for path in segments_in(folder))
    return 0


def survey_segment(path: Path) -> Segment:
    """Look at a segment that an earlier run left: its heads are enough.

    Raises:
        ConfigError: it is none, or of a newer version: it is not ours to delete.
    """
    segment = Segment(path, own=False, closed=True)
    stat = path.stat()
    segment.size_bytes, segment.written_ns = stat.st_size, stat.st_mtime_ns
    try:
        with CaptureFile(path) as file:
            for item in file.items():
                if isinstance(item, Frame):
                    segment.unread += item.events
                    segment.reports += item.kind == FrameKind.REPORT
    except (CaptureError, MessageError) as error:
        if segment.size_bytes:  # else its writer was killed before the first byte
            raise ConfigError(f"spool segment {path} cannot be read: {error}") from None
    return segment


def read_segment(segment: Segment) -> Iterator[Batch | Report]:
    """Yield what is to be published of a segment; damaged frames are passed over."""
    try:
        with CaptureFile(segment.path) as file:
            for item in file.items():
                if not isinstance(item, Frame) or item.number < segment.first_frame:
                    continue
                if item.kind in _EVENTS or item.kind == FrameKind.REPORT:
                    try:
                        content = content_of(item)
                    except (CaptureError, MessageError):
                        continue
                    if isinstance(content, (Batch, Report)):
                        yield content
    except CaptureError:
        return
