"""A ring buffer and a perf buffer made of bytes, as the kernel lays them out."""

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["BUSY", "DISCARDED", "laid_out", "record", "ring_of", "sample"]

BUSY, DISCARDED = 1 << 31, 1 << 30


def record(data: bytes, bits: int = 0) -> bytes:
    """Lay out a record of a ring: 32 bits of length, 32 of the kernel's own, 8-byte steps."""
    filling = b"\xaa" * (-len(data) % 8)
    return struct.pack("<II", len(data) | bits, 0x55AA55AA) + data + filling


def sample(data: bytes) -> bytes:
    """Lay out a sample of a perf buffer; its length has the filling in it."""
    length = (len(data) + 4 + 7 & ~7) - 4
    return struct.pack("=IHHI", 9, 0, 12 + length, length) + data.ljust(length, b"\xaa")


def laid_out(content: bytes, size: int, position: int) -> bytes:
    """Return the data pages of a ring in which ``content`` begins at ``position``."""
    at = position % size
    whole = bytearray(size)
    first = min(len(content), size - at)
    whole[at : at + first] = content[:first]
    whole[: len(content) - first] = content[first:]
    return bytes(whole)


@contextmanager
def ring_of(content: bytes, *, position: int = 0, size: int = mmap.PAGESIZE) -> Iterator[int]:
    """Make a file with the pages of a ring in which ``content`` is waiting; yield a descriptor.

    Args:
        content: What the producer wrote, at most ``size`` bytes.
        position: The consumer's position, a multiple of 8 below 2**64.
        size: Of the ring, a power of two.
    """
    page = mmap.PAGESIZE
    data = laid_out(content, size, position)
    positions = (position, position + len(content))
    pages: Sequence[bytes] = [struct.pack("<Q", number).ljust(page, b"\0") for number in positions]
    descriptor = os.memfd_create("ring")
    try:
        os.write(descriptor, b"".join([*pages, data, data]))
        yield descriptor
    finally:
        os.close(descriptor)
