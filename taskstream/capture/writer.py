"""One capture file under way: frames are only ever appended, each in one write.

Rim: touches a file. What was appended survives the death of this process; a frame for which
there was no room leaves the file as it was.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import zstandard

from taskstream.capture.content import Header, Index, Names, Stretch, Trailer
from taskstream.capture.frame import MAGIC, FrameKind, encode_frame

__all__ = ["CaptureWriter"]

MOST_STRETCHES = 4096
"""Entries of the time index; when there are more, each two become one."""

LEVEL = 1
"""zstd's level: the higher ones save little here, and cost much."""


class CaptureWriter:
    """A capture file, from its header to its trailer.

    Args:
        path: Where; it is made with mode 0600.
        header: Its first frame.
        replace: Write over a file that is there.

    Attributes:
        path: Where it is.
        size_bytes: Its length.
        written: Events in it, by kind.
        dropped: Events that its loss frames tell of; counted by the caller.
        reports: Reports in it.

    Raises:
        OSError: the file is there already, or cannot be made; then none is left behind.
    """

    def __init__(self, path: Path, header: Header, *, replace: bool = False) -> None:
        self.path = path
        self.size_bytes = 0
        self.frames = 0
        self.written: dict[str, int] = {}
        self.dropped = 0
        self.reports = 0
        self._file_id = secrets.randbits(32)
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._stretches: list[Stretch] = []
        self._per_stretch = 1
        self._descriptor = _create(path, replace=replace)
        try:
            self._write(MAGIC)
            moment = header.clock.boot_ns
            self.append(FrameKind.HEADER, header.payload(), first_ns=moment, last_ns=moment)
        except BaseException:
            self.abandon()
            path.unlink(missing_ok=True)
            raise

    def append(
        self,
        kind: FrameKind,
        payload: bytes,
        *,
        first_ns: int,
        last_ns: int,
        events: Mapping[str, int] | None = None,
    ) -> None:
        """Append a frame.

        Args:
            kind: Its kind.
            payload: What it says, as the format has it for that kind.
            first_ns: CLOCK_BOOTTIME of the earliest event, or of what it says.
            last_ns: CLOCK_BOOTTIME of the latest.
            events: Its events, by kind.

        Raises:
            OSError: it could not be written; the file is as it was.
        """
        count = sum(events.values()) if events else 0
        frame = encode_frame(
            kind,
            payload,
            file_id=self._file_id,
            number=self.frames,
            events=count,
            first_ns=first_ns,
            last_ns=last_ns,
            compressor=None if kind == FrameKind.TRAILER else self._compressor,
        )
        offset = self.size_bytes
        self._write(frame)
        self.frames += 1
        self.reports += kind == FrameKind.REPORT
        for name, number in (events or {}).items():
            self.written[name] = self.written.get(name, 0) + number
        self._enter(
            Stretch(offset=offset, frames=1, events=count, first_ns=first_ns, last_ns=last_ns)
        )

    def names(self, names: Names) -> None:
        """Append names that appeared.

        Raises:
            OSError: they could not be written.
        """
        self.append(FrameKind.NAMES, names.payload(), first_ns=names.boot_ns, last_ns=names.boot_ns)

    def _write(self, data: bytes) -> None:
        """Write all of it, or nothing."""
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, memoryview(data)[done:])
        except OSError:
            if done:
                os.ftruncate(self._descriptor, self.size_bytes)
            raise
        self.size_bytes += done

    def _enter(self, stretch: Stretch) -> None:
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last.frames < self._per_stretch:
            self._stretches[-1] = last.joined(stretch)
        else:
            self._stretches.append(stretch)
        if len(self._stretches) > MOST_STRETCHES:
            self._stretches = _halved(self._stretches)
            self._per_stretch *= 2

    def close(self) -> None:
        """Append the time index and the trailer, and put all on the disk.

        Raises:
            OSError: there is no room; the frames are there all the same.
        """
        if self._descriptor < 0:
            return
        try:
            moment = max((s.last_ns for s in self._stretches), default=0)
            index_offset = self.size_bytes
            index = Index(tuple(self._stretches))
            self.append(FrameKind.INDEX, index.payload(), first_ns=moment, last_ns=moment)
            total = sum(self.written.values())
            trailer = Trailer(
                frames=self.frames,
                index_offset=index_offset,
                received=total + self.dropped,
                written=self.written,
                dropped=self.dropped,
                reports=self.reports,
            )
            self.append(FrameKind.TRAILER, trailer.payload(), first_ns=moment, last_ns=moment)
            os.fsync(self._descriptor)
        finally:
            self.abandon()

    def sync(self) -> None:
        """Put on the disk what was appended."""
        os.fdatasync(self._descriptor)

    def abandon(self) -> None:
        """Close the file as it is, without a trailer."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.abandon()


def _halved(stretches: Sequence[Stretch]) -> list[Stretch]:
    pairs = [a.joined(b) for a, b in zip(stretches[::2], stretches[1::2], strict=False)]
    return pairs + list(stretches[len(stretches) & ~1 :])


def _create(path: Path, *, replace: bool) -> int:
    """Make a file that nobody else may read; never write over one unasked."""
    if replace and path.is_file():
        path.unlink()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)
