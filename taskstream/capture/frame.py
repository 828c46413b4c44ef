"""The frames of a capture file: bytes from payloads, and payloads from bytes.

Pure: no I/O, no clock. The format is written in ``schemas/capture.md``.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import zstandard

from taskstream.errors import CaptureError

__all__ = [
    "FORMAT",
    "HEAD_BYTES",
    "MAGIC",
    "MOST_PAYLOAD_BYTES",
    "Damage",
    "Frame",
    "FrameKind",
    "FrameParser",
    "encode_frame",
    "kind_name",
]

FORMAT = 1
"""Version of the format that this package writes, and the newest that it reads."""

MAGIC = b"\x89TSCAP\r\n"
"""First bytes of a file. (The CR LF shows a transfer as text.)"""

SYNC = b"\xf7TSf"
HEAD_BYTES = 56
MOST_PAYLOAD_BYTES = 1 << 26
"""A payload is never longer, stored or unpacked: no damage can ask for more memory."""

_HEAD = struct.Struct("<4sIHBBIIIQQQI")
_CRC = struct.Struct("<I")
_STORED, _ZSTD = 0, 1
_LEAST_COMPRESSED_BYTES = 128
_DECOMPRESSOR = zstandard.ZstdDecompressor()

assert _HEAD.size + _CRC.size == HEAD_BYTES


class FrameKind(IntEnum):
    """What a frame's payload is."""

    HEADER = 1
    SNAPSHOT = 2
    BATCH = 3
    REPORT = 4
    NAMES = 5
    LOSS = 6
    INDEX = 7
    TRAILER = 8


def kind_name(kind: int) -> str:
    """Name a kind of frame, also one that is not known here."""
    known = {member.value: member.name.lower() for member in FrameKind}
    return known.get(kind, f"kind {kind}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One whole frame, its checksums compared.

    Attributes:
        offset: Where it begins in the file.
        size_bytes: Its length in the file, head included.
        kind: A `FrameKind`, or a number that a later version of this format uses.
        number: Its number in the file, from 0.
        events: Events in the payload.
        first_ns: CLOCK_BOOTTIME of its first event, or of what it says; 0 for none.
        last_ns: CLOCK_BOOTTIME of its last event.
        encoding: 0 if the payload is stored as it is, 1 if by zstd.
        stored: The payload as the file has it.
        payload_bytes: Length of the payload, unpacked.
    """

    offset: int
    size_bytes: int
    kind: int
    number: int
    events: int
    first_ns: int
    last_ns: int
    encoding: int
    stored: bytes = field(repr=False)
    payload_bytes: int

    def payload(self) -> bytes:
        """Unpack the payload.

        Raises:
            CaptureError: the checksums are right and the payload is not: a faulty writer.
        """
        if self.encoding == _STORED:
            return self.stored
        try:
            # zstd would believe its own frame and allocate what that says.
            says = zstandard.frame_content_size(self.stored)
            if says != self.payload_bytes:
                raise CaptureError(
                    f"frame at byte {self.offset} says {self.payload_bytes} bytes, its payload "
                    f"{says}"
                )
            return _DECOMPRESSOR.decompress(self.stored)
        except zstandard.ZstdError as error:
            raise CaptureError(f"frame at byte {self.offset}: not zstd: {error}") from None


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that belong to no whole frame, or a place at which a frame is missing.

    Attributes:
        offset: Where they begin in the file.
        size_bytes: How many they are.
        reason: What is wrong with them.
        cut: It is the end that is missing, of a frame or of the file: its writer was killed, or
            the file was cut.
    """

    offset: int
    size_bytes: int
    reason: str
    cut: bool = False

    def __str__(self) -> str:
        """Say what is wrong, and where."""
        size = f"{self.size_bytes:,} bytes at " if self.size_bytes else ""
        return f"{size}byte {self.offset}: {self.reason}"


def encode_frame(
    kind: int,
    payload: bytes,
    *,
    file_id: int,
    number: int,
    events: int = 0,
    first_ns: int = 0,
    last_ns: int = 0,
    compressor: zstandard.ZstdCompressor | None = None,
) -> bytes:
    """Return one frame.

    Args:
        kind: A `FrameKind`.
        payload: At most `MOST_PAYLOAD_BYTES`.
        file_id: The file's own number, 32 bits.
        number: Of the frame in its file.
        events: Events in the payload.
        first_ns: CLOCK_BOOTTIME of the first event, or of what the payload says.
        last_ns: CLOCK_BOOTTIME of the last event.
        compressor: Compresses the payload, if that makes it shorter; else it is stored.

    Raises:
        ValueError: the payload is too long.
    """
    if len(payload) > MOST_PAYLOAD_BYTES:
        raise ValueError(f"a payload of {len(payload)} bytes: at most {MOST_PAYLOAD_BYTES}")
    encoding, stored = _STORED, payload
    if compressor is not None and len(payload) >= _LEAST_COMPRESSED_BYTES:
        packed = compressor.compress(payload)
        if len(packed) < len(payload):
            encoding, stored = _ZSTD, packed
    head = _HEAD.pack(
        SYNC,
        file_id,
        FORMAT,
        kind,
        encoding,
        len(stored),
        len(payload),
        events,
        number,
        first_ns,
        last_ns,
        zlib.crc32(stored),
    )
    return head + _CRC.pack(zlib.crc32(head)) + stored


class FrameParser:
    """Finds every whole frame in the bytes of a file, whatever else they hold.

    Bytes come in any portions; frames come out in the order of the file, and between them a
    `Damage` for each stretch that belongs to none.

    Args:
        offset: Where the first byte stands in the file: 0, or where a frame begins.
        file_id: The file's own number; None to take it from the first frame.

    Raises:
        CaptureError: the bytes are no capture file, or one of a newer format.
    """

    def __init__(self, offset: int = 0, file_id: int | None = None) -> None:
        self.file_id = file_id
        self._data = b""
        self._at = 0  # within the data
        self._base = offset  # of the data within the file
        self._bad_since: int | None = None  # within the file
        self._reason = ""
        self._started = offset > 0

    def feed(self, data: bytes) -> Iterator[Frame | Damage]:
        """Take further bytes, and yield what they complete."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._base += self._at
        self._at = 0
        yield from self._parse(final=False)

    def finish(self) -> Iterator[Frame | Damage]:
        """Yield what is left when there are no further bytes."""
        yield from self._parse(final=True)
        rest = len(self._data) - self._at
        if not self._started:
            if not rest:
                raise CaptureError("not a capture file: it is empty")
            yield Damage(0, rest, "the file ends within its first bytes", cut=True)
        elif self._bad_since is not None:
            yield Damage(self._bad_since, self._base + len(self._data) - self._bad_since,
                         self._reason)  # fmt: skip
        elif rest:
            reason = f"the file ends within a frame, {rest} bytes after its beginning"
            yield Damage(self._base + self._at, rest, reason, cut=True)
        self._at = len(self._data)

    def _parse(self, *, final: bool) -> Iterator[Frame | Damage]:
        if not self._started and not self._start(final=final):
            return
        while True:
            frame = self._frame(self._at)
            if isinstance(frame, Frame):
                if self._bad_since is not None:
                    begin, self._bad_since = self._bad_since, None
                    yield Damage(begin, frame.offset - begin, self._reason)
                self._at += frame.size_bytes
                yield frame
            elif frame is None:  # not all there yet
                if not final or not self._cut_goes_on():
                    return
            elif not self._resync(frame):
                return

    def _start(self, *, final: bool) -> bool:
        """Compare the magic; return False if more bytes are needed."""
        if len(self._data) < len(MAGIC) + HEAD_BYTES and not final:
            return False
        here = self._data[: len(MAGIC)]
        if here == MAGIC:
            self._at = len(MAGIC)
        elif isinstance(self._head(len(MAGIC)), tuple) and len(self._data) >= HEAD_BYTES:
            self._bad_since, self._reason = self._base, "the magic is another"
            self._at = len(MAGIC)
        elif here == MAGIC[: len(here)]:
            return False  # `finish` tells
        else:
            raise CaptureError(f"not a capture file: it begins with {here!r}, not {MAGIC!r}")
        self._started = True
        return True

    def _head(self, at: int) -> tuple[int, ...] | str | None:
        """Return the numbers of the head at a place; what is wrong with it; None if cut off."""
        data = self._data
        if len(data) - at < HEAD_BYTES:
            return None if data.startswith(SYNC[: len(data) - at], at) else "no frame begins here"
        if not data.startswith(SYNC, at):
            return "no frame begins here"
        (crc,) = _CRC.unpack_from(data, at + _HEAD.size)
        if crc != zlib.crc32(data[at : at + _HEAD.size]):
            return "checksum of the head does not match"
        numbers: tuple[int, ...] = _HEAD.unpack_from(data, at)[1:]
        return numbers

    def _frame(self, at: int) -> Frame | str | None:
        """Return the frame at a place; what is wrong with it; None if it is not all there."""
        head = self._head(at)
        if not isinstance(head, tuple):
            return head
        file_id, version, kind, encoding, stored_bytes, payload_bytes, *rest, crc = head
        if self.file_id is not None and file_id != self.file_id:
            return "a frame of another file"
        if version > FORMAT:
            raise CaptureError(
                f"a capture of format {version}; this program reads up to {FORMAT}: "
                "install a newer one"
            )
        if max(stored_bytes, payload_bytes) > MOST_PAYLOAD_BYTES or encoding > _ZSTD:
            return "its head says what cannot be"
        begin, end = at + HEAD_BYTES, at + HEAD_BYTES + stored_bytes
        if end > len(self._data):
            return None
        stored = self._data[begin:end]
        if crc != zlib.crc32(stored):
            return "checksum mismatch"
        self.file_id = file_id
        events, number, first_ns, last_ns = rest
        return Frame(
            offset=self._base + at,
            size_bytes=end - at,
            kind=kind,
            number=number,
            events=events,
            first_ns=first_ns,
            last_ns=last_ns,
            encoding=encoding,
            stored=stored,
            payload_bytes=payload_bytes,
        )

    def _resync(self, reason: str) -> bool:
        """Go on to where the next frame may begin; return False if more bytes are needed."""
        if self._bad_since is None:
            self._bad_since, self._reason = self._base + self._at, reason
        found = self._data.find(SYNC, self._at + 1)
        if found < 0:
            self._at = max(self._at + 1, len(self._data) - len(SYNC) + 1)
            self._at = min(self._at, len(self._data))
            return False
        self._at = found
        return True

    def _cut_goes_on(self) -> bool:
        """At the end, within a frame that is not all there: look for whole ones behind it.

        (There are some if what is missing was taken out of the middle of the file.)
        """
        begin = self._at
        found = self._data.find(SYNC, begin + 1)
        while found >= 0:
            if isinstance(self._frame(found), Frame):
                if self._bad_since is None:
                    self._bad_since = self._base + begin
                    self._reason = "the frame is not whole"
                self._at = found
                return True
            found = self._data.find(SYNC, found + 1)
        return False
