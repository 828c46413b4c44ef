"""A BPF ring buffer, read by mapping it.

Rim: touches one map descriptor. Layout and protocol: kernel/bpf/ringbuf.c and
https://docs.kernel.org/bpf/ringbuf.html: a page with the consumer's position, a page with the
producer's, then the data, twice. Once is mapped here, though a record may then be split at the end:
every page of a ring that is mapped counts as resident memory, the second time too. A record is a
32-bit length whose top bits say busy and discarded, 32 bits of the kernel's own, then the data
padded to 8 bytes: its header is never split.
"""

import ctypes
import mmap
import platform
import struct
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fence", "FixedRing", "VariableRing"]

HEADER_BYTES = 8
_HEAD = struct.Struct("<I")
_BUSY = 0x80000000
_DISCARDED = 0x40000000
_LENGTH = 0x3FFFFFFF
_STRONGLY_ORDERED = platform.machine() in ("x86_64", "i386", "i686")


class Fence:
    """Orders loads before and stores after it: nothing to do on x86.

    Elsewhere a lock is let go and taken again: the release keeps what came before from
    moving after it, the acquire what comes after from moving before it, and the two do not
    pass each other (Arm ARM B2.3, LDAR after STLR).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self) -> None:
        """Stand between a load and a store."""
        if not _STRONGLY_ORDERED:
            self._lock.release()
            self._lock.acquire()


class _Ring:
    """What both rings share: the mapping and the two positions.

    Attributes:
        size: Bytes of the ring.
        descriptor: The map's.
        invalid: Records that were skipped, since they are not as the kernel writes them.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = size
        self.descriptor = descriptor
        self._consumer_map = mmap.mmap(descriptor, page, mmap.MAP_SHARED)
        self._producer_map = mmap.mmap(
            descriptor, page + size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )
        self._consumer = np.frombuffer(self._consumer_map, np.uint64, 1)
        self._producer = np.frombuffer(self._producer_map, np.uint64, 1)
        self._words = np.frombuffer(self._producer_map, np.uint32, size // 4, page)
        self._position = int(self._consumer[0])
        self._fence = Fence()
        self.invalid = 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are reserved or submitted and not yet consumed."""
        return int(self._producer[0]) - self._position

    def _consume(self, position: int) -> None:
        self._fence()
        self._position = position
        self._consumer[0] = position

    def _copy(self, length: int) -> bytes:
        """Copy what is next, joined where the ring ends."""
        at, start = mmap.PAGESIZE, self._position % self.size
        first = min(length, self.size - start)
        data = self._producer_map
        return data[at + start : at + start + first] + data[at : at + length - first]

    def _take(self) -> Iterator[bytes]:
        """Take every record up to the first one that is still being written, by their lengths.

        What lies behind a length that leads past the producer cannot be told apart: all of it
        is skipped, as one record that is not valid.
        """
        waiting = self.waiting_bytes
        if not waiting:
            return
        self._fence()
        places = []
        ready = 0
        while ready < waiting:
            at = mmap.PAGESIZE + (self._position + ready) % self.size
            (head,) = _HEAD.unpack_from(self._producer_map, at)
            if head & _BUSY:
                break
            length = head & _LENGTH
            following = ready + HEADER_BYTES + (length + 7 & ~7)
            if following > waiting:
                self.invalid += 1
                ready = waiting
                break
            if not head & _DISCARDED:
                places.append((ready + HEADER_BYTES, length))
            ready = following
        self._fence()
        region = self._copy(ready)
        self._consume(self._position + ready)
        for at, length in places:
            yield region[at : at + length]

    def close(self) -> None:
        """Unmap."""
        del self._consumer, self._producer, self._words
        self._consumer_map.close()
        self._producer_map.close()


class FixedRing(_Ring):
    """A ring whose records all have one size.

    Args:
        descriptor: The map; the caller keeps it open.
        size: Bytes of the ring (``max_entries``).
        record_bytes: Size of a record, a multiple of 8.
    """

    def __init__(self, descriptor: int, size: int, record_bytes: int) -> None:
        super().__init__(descriptor, size)
        self._record_bytes = record_bytes
        self._stride = HEADER_BYTES + record_bytes

    def read(self) -> NDArray[np.uint8]:
        """Take every record up to the first one that is still being written.

        Returns:
            Fresh array of shape ``(n, record_bytes)``, C order, n >= 0.
        """
        waiting, odd_bytes = divmod(self.waiting_bytes, self._stride)
        if odd_bytes:
            return self._take_fitting()
        self._fence()
        start, stride = self._position % self.size, self._stride
        split = start + waiting * stride > self.size
        if split:
            headers = self._words[(start + stride * np.arange(waiting)) % self.size // 4]
        else:
            headers = np.ndarray((waiting,), np.uint32, self._words, start, (stride,))
        ready, discarded = waiting, None
        if not (headers == self._record_bytes).all():
            headers = headers.copy()
            busy = headers & _BUSY
            ready = int(busy.argmax()) if busy.any() else waiting
            discarded = headers[:ready] & _DISCARDED
            if ((headers[:ready] & _LENGTH) != self._record_bytes).any():
                return self._take_fitting()
        self._fence()
        data, at = (self._copy(ready * stride), 0) if split else (self._words, start)
        records = np.ndarray((ready, stride), np.uint8, data, at)[:, HEADER_BYTES:].copy()
        self._consume(self._position + ready * stride)
        return records if discarded is None else records[discarded == 0]

    def _take_fitting(self) -> NDArray[np.uint8]:
        """Take the records of the right size, where there are others: none is read askew."""
        taken = list(self._take())
        fitting = [record for record in taken if len(record) == self._record_bytes]
        self.invalid += len(taken) - len(fitting)
        return np.frombuffer(b"".join(fitting), np.uint8).reshape(-1, self._record_bytes).copy()


class VariableRing(_Ring):
    """A ring whose records differ in size."""

    def read(self) -> Iterator[bytes]:
        """Take every record up to the first one that is still being written."""
        return self._take()


def _check_atomic_width() -> None:
    assert ctypes.sizeof(ctypes.c_size_t) == 8, "positions are 64 bits and must be read at once"


_check_atomic_width()
