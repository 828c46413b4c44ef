"""Perf buffers, read by mapping them: one per CPU, for kernels without a ring buffer.

Rim: touches perf events and one map descriptor. Layout: include/uapi/linux/perf_event.h, struct
perf_event_mmap_page: a page with the two positions, then the data, in which a record may be
split at the end. A record is a header of 8 bytes, 4 bytes of length, the sample, and what fills
it up to 8 bytes.
"""

import mmap
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taskstream.source.libbpf import update
from taskstream.source.perf_event import open_output
from taskstream.source.ring import Fence

__all__ = ["FixedPerfBuffers", "VariablePerfBuffers", "fixed_records", "online_cpus", "samples"]

_HEAD_AT, _TAIL_AT = 1024, 1032  # data_head and data_tail in struct perf_event_mmap_page
_HEAD = struct.Struct("=IHH")  # type, misc, size
_LENGTH = struct.Struct("=I")  # of the sample, behind the header
_SAMPLE_AT = _HEAD.size + _LENGTH.size
_SAMPLE, _LOST = 9, 2  # PERF_RECORD_SAMPLE, PERF_RECORD_LOST
_LOST_COUNT = struct.Struct("=16xQ")  # of a whole record


def online_cpus() -> list[int]:
    """Return the numbers of the CPUs that are online."""
    cpus: list[int] = []
    for span in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = span.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def samples(region: bytes) -> tuple[list[tuple[int, int]], int, int]:
    """Return place and length of each sample; how many more the kernel says it lost.

    Args:
        region: Whole records end to end. A length may be up to 7 bytes more than was written.

    Returns:
        Places, the number of lost samples, and that of records that are not as the kernel
        writes them. What lies behind a size that leads past the end, or nowhere, cannot be told
        apart: all of it is one such record.
    """
    places, lost, invalid, at = [], 0, 0, 0
    while at < len(region):
        kind, size = 0, 0
        if at + _HEAD.size <= len(region):
            kind, _, size = _HEAD.unpack_from(region, at)
        if size < _HEAD.size or at + size > len(region):
            invalid += 1
            break
        if kind == _SAMPLE:
            length = _LENGTH.unpack_from(region, at + _HEAD.size)[0] if size >= _SAMPLE_AT else size
            if _SAMPLE_AT + length <= size:
                places.append((at + _SAMPLE_AT, length))
            else:
                invalid += 1
        elif kind == _LOST:
            if size >= _LOST_COUNT.size:
                lost += _LOST_COUNT.unpack_from(region, at)[0]
            else:
                invalid += 1
        at += size
    return places, lost, invalid


def fixed_records(region: bytes, record_bytes: int) -> tuple[NDArray[np.uint8], int, int]:
    """Return samples that all have one size; how many more the kernel says it lost.

    Args:
        region: Whole records end to end.
        record_bytes: Size of a sample, a multiple of 8.

    Returns:
        Array of shape ``(n, record_bytes)``, n >= 0, perhaps a view of ``region``; the numbers
        that `samples` returns, a sample of another size among those that are not valid.
    """
    # 4 bytes of length behind the header, and 4 that fill it up behind the sample
    stride = _SAMPLE_AT + record_bytes + 4
    if len(region) % stride == 0:
        rows = np.frombuffer(region, np.uint8).reshape(-1, stride)
        kinds = rows[:, :4].copy().view(np.uint32)
        sizes = rows[:, 6:8].copy().view(np.uint16)
        lengths = rows[:, 8:12].copy().view(np.uint32)
        fits = (kinds == _SAMPLE).all() and (sizes == stride).all()
        if fits and (lengths == record_bytes + 4).all():
            return rows[:, _SAMPLE_AT : _SAMPLE_AT + record_bytes], 0, 0
    places, lost, invalid = samples(region)
    fitting = [at for at, length in places if record_bytes <= length < record_bytes + 8]
    found = b"".join(region[at : at + record_bytes] for at in fitting)
    records = np.frombuffer(found, np.uint8).reshape(-1, record_bytes)
    return records, lost, invalid + len(places) - len(fitting)


class _CpuBuffer:
    """The mapping of one CPU's buffer."""

    def __init__(self, cpu: int, size: int) -> None:
        self.size = size
        self.descriptor = open_output(cpu, size // 4)
        try:
            self._map = mmap.mmap(self.descriptor, mmap.PAGESIZE + size)
        except OSError:
            os.close(self.descriptor)
            raise
        self._head = np.frombuffer(self._map, np.uint64, 1, _HEAD_AT)
        self._tail = np.frombuffer(self._map, np.uint64, 1, _TAIL_AT)
        self._fence = Fence()

    @property
    def waiting_bytes(self) -> int:
        return int(self._head[0]) - int(self._tail[0])

    def take(self) -> bytes:
        """Copy all that is there, whole records end to end, and give the room back."""
        head = int(self._head[0])
        self._fence()
        tail = int(self._tail[0])
        start, length = tail % self.size, head - tail
        first = min(length, self.size - start)
        at = mmap.PAGESIZE
        region = self._map[at + start : at + start + first] + self._map[at : at + length - first]
        self._fence()
        self._tail[0] = head
        return region

    def close(self) -> None:
        del self._head, self._tail
        self._map.close()
        os.close(self.descriptor)


class _PerfBuffers:
    """What both kinds share: a buffer for every CPU that is online.

    Events on a CPU that comes online later find no buffer, and are counted as lost.

    Args:
        descriptor: The perf event array; the caller keeps it open.
        size: Bytes of all buffers together; each has a power of two of them.

    Attributes:
        descriptor: Becomes readable when a buffer fills.
        size: Bytes of one buffer.
        lost: Samples for which the kernel had no room, as it tells in the buffers.
        invalid: Records that were skipped, since they are not as the kernel writes them.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        cpus = online_cpus()
        each = max(size // len(cpus), mmap.PAGESIZE)
        self.size = 1 << (each.bit_length() - 1)
        self.lost = self.invalid = 0
        self._poll = select.epoll()
        self.descriptor = self._poll.fileno()
        self._buffers: list[_CpuBuffer] = []
        try:
            for cpu in cpus:
                buffer = _CpuBuffer(cpu, self.size)
                self._buffers.append(buffer)
                self._poll.register(buffer.descriptor, select.EPOLLIN | select.EPOLLET)
                update(descriptor, cpu, np.array([buffer.descriptor], np.uint32))
        except BaseException:
            self.close()
            raise

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are written and not yet taken."""
        return sum(buffer.waiting_bytes for buffer in self._buffers)

    def close(self) -> None:
        """Unmap and close."""
        for buffer in self._buffers:
            buffer.close()
        self._poll.close()


class FixedPerfBuffers(_PerfBuffers):
    """Buffers whose samples all have one size.

    Args:
        descriptor: The perf event array; the caller keeps it open.
        size: Bytes of all buffers together.
        record_bytes: Size of a sample, a multiple of 8.
    """

    def __init__(self, descriptor: int, size: int, record_bytes: int) -> None:
        super().__init__(descriptor, size)
        self._record_bytes = record_bytes

    def read(self) -> NDArray[np.uint8]:
        """Take every record.

        Returns:
            Fresh array of shape ``(n, record_bytes)``, C order, n >= 0: CPU by CPU, in order
            of seq on each.
        """
        parts = [np.empty((0, self._record_bytes), np.uint8)]
        for buffer in self._buffers:
            if buffer.waiting_bytes:
                records, lost, invalid = fixed_records(buffer.take(), self._record_bytes)
                parts.append(records)
                self.lost += lost
                self.invalid += invalid
        return np.concatenate(parts)


class VariablePerfBuffers(_PerfBuffers):
    """Buffers whose samples differ in size; up to 7 bytes may follow what was written."""

    def read(self) -> Iterator[bytes]:
        """Take every sample."""
        for buffer in self._buffers:
            region = buffer.take() if buffer.waiting_bytes else b""
            places, lost, invalid = samples(region)
            self.lost += lost
            self.invalid += invalid
            for at, length in places:
                yield region[at : at + length]
