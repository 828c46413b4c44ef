"""A capture file, read: from a path with its time index, or from a pipe.

Rim: touches files and standard input. It needs no privilege but the right to read.
"""

import os
import sys
from collections.abc import Iterator
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
from taskstream.errors import CaptureError

__all__ = ["STANDARD_INPUT", "CaptureFile"]

STANDARD_INPUT = "-"
_CHUNK = 1 << 20
_TRAILER_BYTES = HEAD_BYTES + TRAILER_PAYLOAD_BYTES


def _open(path: str | Path) -> FileIO:
    if str(path) == STANDARD_INPUT:
        return FileIO(os.dup(sys.stdin.fileno()))
    return FileIO(path)


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
            header = content_of(first)
            assert isinstance(header, Header)
            return header
        return None

    def _read_some(self) -> None:
        try:
            data = self._file.read(_CHUNK)
            found = self._parser.feed(data) if data else self._parser.finish()
            self._early += found
            self._ended = not data
        except OSError as error:
            raise CaptureError(f"{self.name} cannot be read: {error.strerror}") from None
        except CaptureError as error:
            raise CaptureError(f"{self.name}: {error}") from None

    def items(self, from_ns: int | None = None) -> Iterator[Frame | Damage]:
        """Yield the frames, and between them the stretches that belong to none.

        Args:
            from_ns: CLOCK_BOOTTIME; frames in front, all of whose events are earlier, may be
                left out, but for the header. The time index says where to begin.
        """
        if from_ns is not None and (offset := self._offset_of(from_ns)) is not None:
            yield from self._early[:1]
            self._early.clear()
            self._parser = FrameParser(offset, self._parser.file_id)
            self._file.seek(offset)
            self._ended = False
        while True:
            early, self._early = self._early, []
            yield from early
            if self._ended:
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
