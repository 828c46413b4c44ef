"""A reader of capture files as anybody would write it from ``schemas/capture.md``.

The second opinion of the tests: it imports nothing of the package.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import msgpack
import zstandard

__all__ = ["KINDS", "PlainFrame", "frames_of"]

KINDS = ("header", "snapshot", "batch", "report", "names", "loss", "index", "trailer")


@dataclass(frozen=True)
class PlainFrame:
    """A frame: where it is, and what it says."""

    offset: int
    length: int
    file_id: int
    version: int
    kind: str
    events: int
    number: int
    first_ns: int
    last_ns: int
    payload: bytes

    @property
    def map(self) -> dict[str, Any]:
        """The payload, unpacked."""
        return msgpack.unpackb(self.payload, strict_map_key=False)


def frames_of(data: bytes) -> list[PlainFrame]:
    """Return all frames of a file without damage."""
    assert data[:8] == b"\x89TSCAP\r\n"
    at, found = 8, []
    while at < len(data):
        head = data[at : at + 56]
        (sync, file_id, version, kind, encoding, stored_bytes, payload_bytes, events, number,
         first_ns, last_ns, crc, head_crc) = struct.unpack("<4sIHBBIIIQQQII", head)  # fmt: skip
        assert sync == b"\xf7TSf"
        assert head_crc == zlib.crc32(head[:52])
        stored = data[at + 56 : at + 56 + stored_bytes]
        assert crc == zlib.crc32(stored)
        payload = zstandard.decompress(stored) if encoding else stored
        assert len(payload) == payload_bytes
        length = 56 + stored_bytes
        found.append(
            PlainFrame(
                at,
                length,
                file_id,
                version,
                KINDS[kind - 1],
                events,
                number,
                first_ns,
                last_ns,
                payload,
            )
        )
        at += length
    return found
