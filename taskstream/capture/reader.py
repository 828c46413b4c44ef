"""A capture file, read: from a path with its time index, or from a pipe.

Rim: touches files and standard input. It needs no privilege but the right to read.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Self

from taskstream.capture.content import (
    TRAILER_PAYLOAD_BYTES,
    Header,
    Index,
    Trailer,
    content_of,
)
from taskstream.capture.frame import HEAD_BYTES, MAGIC, Damage, Frame, FrameKind, FrameParser
from taskstream.errors import CaptureError, MessageError

__all__ = ["STANDARD_INPUT", "CaptureFile", "items_of"]

STANDARD_INPUT = "-"
_CHUNK = 1 << 20
_TRAILER_BYTES = HEAD_BYTES + TRAILER_PAYLOAD_BYTES


def _open(path: str | Path) -> FileIO:
    if str(path) == STANDARD_INPUT:
        return FileIO(os.dup(sys.stdin.fileno()))
    return FileIO(path)


def items_of(
    files: Sequence["CaptureFile"], from_ns: int | None = None
) -> Iterator[tuple["CaptureFile", Frame | Damage]]:
    """Yield what files hold, one after another, as `CaptureFile.items` does.

    A part of a rotated capture that is missing between two others is told as damage of the second.
    """
    before: Header | None = None
    for file in files:
        if (header := file.header) is not None and before is not None:
            wanted = before.part + 1
            if header.origin == before.origin and header.part > wanted:
                reason = f"part {header.part} of its run, where part {wanted} should be"
                yield file, Damage(0, 0, reason, cut=True)
        before = header
        for item in file.items(from_ns):
            yield file, item


class _Row:
    """Whether frames come one after another, from the header to the trailer.

    Attributes:
        next: Number that the next frame should have; None where that is not known.
    """

    def __init__(self) -> None:
        self.next: int | None = 0
        self._end = len(MAGIC)
        self._whole = False

    def missing_before(self, item: Frame | Damage) -> Iterator[Damage]:
        """Tell of frames that are missing before an item; behind damage, nobody knows."""
        wanted, self.next = self.next, None
        self._end = item.offset + item.size_bytes
        self._whole = isinstance(item, Damage) or item.kind == FrameKind.TRAILER
        if isinstance(item, Frame):
            self.next = item.number + 1
            if wanted not in (None, item.number):
                yield Damage(item.offset, 0, f"frame {item.number} where {wanted} should be")

    def missing_at_end(self) -> Iterator[Damage]:
        """Tell if the end is missing, and nothing has told of it."""
        if not self._whole:
            reason = "it has no trailer: it was cut, or its writer was killed or had no room"
            yield Damage(self._end, 0, reason, cut=True)


class CaptureFile:
    """A capture file open for reading.

    Args:
        path: The file; ``-`` for standard input, which is read once and without the index.

    Attributes:
        name: For messages.
        size: Length in bytes; None for a pipe.
        header: The first frame; None where it is damaged.

    Raises:
        CaptureError: it cannot be read, is no capture file, or is one of a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = "standard input" if str(path) == STANDARD_INPUT else str(path)
        try:
            self._file = _open(path)
        except OSError as error:
            raise CaptureError(f"{self.name} cannot be read: {error.strerror}") from None
        try:
            regular = self._file.seekable()
            self.size = os.fstat(self._file.fileno()).st_size if regular else None
            self._parser = FrameParser()
            self._early: list[Frame | Damage] = []
            self._ended = False
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def _read_header(self) -> Header | None:
        while not self._early and not self._ended:
            self._read_some()
        first = self._early[0] if self._early else None
        if isinstance(first, Frame) and first.kind == FrameKind.HEADER:
            with self.naming():
                header = content_of(first)
            assert isinstance(header, Header)
            return header
        return None

    def _read_some(self) -> None:
        try:
            data = self._file.read(_CHUNK)
            with self.naming():
                self._early += self._parser.feed(data) if data else self._parser.finish()
            self._ended = not data
        except OSError as error:
            raise CaptureError(f"{self.name} cannot be read: {error.strerror}") from None

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Put the name of the file before what is said to be wrong with a frame of it."""
        try:
            yield
        except (CaptureError, MessageError) as error:
            raise type(error)(f"{self.name}: {error}") from None

    def items(self, from_ns: int | None = None) -> Iterator[Frame | Damage]:
        """Yield the frames, and between them what is damaged or missing, to the trailer.

        Args:
            from_ns: CLOCK_BOOTTIME; frames in front, all of whose events are earlier, may be
                left out, but for the header. The time index says where to begin.
        """
        row = _Row()
        if from_ns is not None and (offset := self._offset_of(from_ns)) is not None:
            yield from self._early[:1]
            self._early.clear()
            self._parser = FrameParser(offset, self._parser.file_id)
            self._file.seek(offset)
            self._ended = False
            row.next = None
        while True:
            early, self._early = self._early, []
            for item in early:
                yield from row.missing_before(item)
                yield item
            if self._ended:
                yield from row.missing_at_end()
                return
            self._read_some()

    def trailer(self) -> tuple[Index, Trailer] | None:
        """Return the time index and the trailer, if the file was closed in good order.

        (Not for a pipe: there they come last.)
        """
        if self.size is None or self.size < len(MAGIC) + _TRAILER_BYTES:
            return None
        trailer = self._content_at(self.size - _TRAILER_BYTES, _TRAILER_BYTES)
        if not isinstance(trailer, Trailer) or not 0 < trailer.index_offset < self.size:
            return None
        index_bytes = self.size - _TRAILER_BYTES - trailer.index_offset
        index = self._content_at(trailer.index_offset, index_bytes)
        return (index, trailer) if isinstance(index, Index) else None

    def _content_at(self, offset: int, length: int) -> object:
        """Return what the one frame at a place says; None if there is no whole one."""
        try:
            data = os.pread(self._file.fileno(), length, offset)
            parser = FrameParser(offset, self._parser.file_id)
            found = [*parser.feed(data), *parser.finish()]
            one = found[0] if len(found) == 1 else None
            return content_of(one) if isinstance(one, Frame) else None
        except (CaptureError, OSError):
            return None

    def _offset_of(self, from_ns: int) -> int | None:
        ends = self.trailer()
        if ends is None or self.header is None:
            return None
        late = (s.offset for s in ends[0].stretches if s.last_ns >= from_ns)
        offset = next(late, None)
        return None if offset is None or offset <= len(MAGIC) else offset

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
