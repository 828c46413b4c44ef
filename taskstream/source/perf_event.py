"""Perf events: kprobes and tracepoints that a BPF program is set on, and perf buffers.

Rim: the perf_event_open system call, through the C library. Layout of ``struct
perf_event_attr``: include/uapi/linux/perf_event.h; kprobes by function name since 4.17 ("perf/core:
Implement the 'perf_kprobe' PMU").
"""

import ctypes
import fcntl
import os
import platform
import struct
from contextlib import suppress
from pathlib import Path

from taskstream.errors import KernelError
from taskstream.source.libbpf import link_perf_event

__all__ = ["open_kprobe", "open_output", "open_tracepoint", "set_program"]

_CALL = {"x86_64": 298, "aarch64": 241}  # __NR_perf_event_open
_ATTR = struct.Struct("=IIQQQQQIIQQ")  # up to config2: PERF_ATTR_SIZE_VER1
_SOFTWARE, _TRACEPOINT = 1, 2
_BPF_OUTPUT = 10  # PERF_COUNT_SW_BPF_OUTPUT
_SAMPLE_RAW = 1 << 10
_WATERMARK = 1 << 14
_CLOEXEC = 8
_ENABLE, _SET_BPF = 0x2400, 0x40042408
_KPROBES = Path("/sys/bus/event_source/devices/kprobe")


def _open(attr: bytes, cpu: int) -> int:
    """Open an event of every process on one CPU (a probe's program runs on all)."""
    number = _CALL.get(platform.machine())
    if number is None:
        raise KernelError(f"perf events are not known here for {platform.machine()}")
    library = ctypes.CDLL(None, use_errno=True)
    kept = ctypes.create_string_buffer(attr, len(attr))
    descriptor = library.syscall(number, kept, -1, cpu, -1, ctypes.c_ulong(_CLOEXEC))
    if descriptor < 0:
        raise KernelError(os.strerror(ctypes.get_errno()))
    return int(descriptor)


def open_kprobe(function: str, *, returns: bool) -> int:
    """Open a kprobe at a function's entry, or at its returns.

    Raises:
        KernelError: with the kernel's reason alone.
    """
    if not _KPROBES.is_dir():
        raise KernelError("this kernel has no kprobes")
    kind = int((_KPROBES / "type").read_text())
    bit = int((_KPROBES / "format" / "retprobe").read_text().strip().removeprefix("config:"))
    name = ctypes.create_string_buffer(function.encode())
    config = int(returns) << bit
    address = ctypes.addressof(name)
    return _open(_ATTR.pack(kind, _ATTR.size, config, 0, 0, 0, 0, 0, 0, address, 0), 0)


def open_tracepoint(number: int) -> int:
    """Open a tracepoint by the number in its ``id`` file.

    Raises:
        KernelError: with the kernel's reason alone.
    """
    return _open(_ATTR.pack(_TRACEPOINT, _ATTR.size, number, 1, 0, 0, 0, 1, 0, 0, 0), 0)


def open_output(cpu: int, wake_bytes: int) -> int:
    """Open what a BPF program on one CPU writes its samples to.

    Args:
        cpu: Number.
        wake_bytes: The descriptor becomes readable when it holds more than this.
    """
    attr = _ATTR.pack(
        _SOFTWARE, _ATTR.size, _BPF_OUTPUT, 1, _SAMPLE_RAW, 0, _WATERMARK, wake_bytes, 0, 0, 0
    )
    descriptor = _open(attr, cpu)
    fcntl.ioctl(descriptor, _ENABLE, 0)
    return descriptor


def set_program(event: int, program: int) -> int:
    """Let a BPF program run at an event.

    Returns:
        A descriptor to hold besides the event's: the link, or the event itself where the
        kernel (before 5.15) has no links for it.
    """
    with suppress(KernelError):
        return link_perf_event(program, event)
    try:
        fcntl.ioctl(event, _SET_BPF, program)
        fcntl.ioctl(event, _ENABLE, 0)
    except OSError as error:
        raise KernelError(os.strerror(error.errno or 0)) from None
    return event
