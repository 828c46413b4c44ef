"""The part of libbpf that a live source needs, through its shared library: calls on descriptors.

Rim: with ``bpf_object``, the only module that knows libbpf. It does not know what an event is.
API: https://libbpf.readthedocs.io, struct layouts: include/uapi/linux/bpf.h
"""

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.errors import KernelError

__all__ = [
    "ProgramInfo",
    "bpf",
    "delete",
    "enable_run_time_stats",
    "function_id",
    "info",
    "link_perf_event",
    "log",
    "lookup",
    "missed_by_link",
    "open_iterator",
    "open_raw_tracepoint",
    "possible_cpus",
    "read_iterator",
    "read_table",
    "reason",
    "try_program",
    "try_ring_buffer",
    "update",
    "version",
]

FENTRY = 24  # BPF_TRACE_FENTRY
TRACING = 26  # BPF_PROG_TYPE_TRACING
SOCKET_FILTER = 1  # BPF_PROG_TYPE_SOCKET_FILTER

_NAME = "libbpf.so.1"
_RING_BUFFER = 27  # BPF_MAP_TYPE_RINGBUF
_TRACE_ITER = 28  # BPF_TRACE_ITER
_PERF_EVENT = 41  # BPF_PERF_EVENT, a link to a perf event (5.15)
_BATCH = 4096
_DEBUG = 2  # LIBBPF_DEBUG

_INFO_BYTES = 256
_INFO_RUN_TIME = 192  # offsetof(struct bpf_prog_info, run_time_ns)
_LINK_TYPE_PERF_EVENT = 7  # BPF_LINK_TYPE_PERF_EVENT
_LINK_KINDS = (3, 4)  # BPF_PERF_EVENT_KPROBE, BPF_PERF_EVENT_KRETPROBE (6.6)
_LINK_KIND = 16  # offsetof(struct bpf_link_info, perf_event.type)
_LINK_MISSED = 48  # offsetof(struct bpf_link_info, perf_event.kprobe.missed) (6.7)

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_U32 = ctypes.c_uint32
_TEXT = ctypes.c_char_p

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "libbpf_set_print": (_POINTER, (_PRINT,)),
    "libbpf_num_possible_cpus": (_INT, ()),
    "libbpf_version_string": (_TEXT, ()),
    "libbpf_find_vmlinux_btf_id": (_INT, (_TEXT, _INT)),
    "bpf_object__open_file": (_POINTER, (_TEXT, _POINTER)),
    "bpf_object__load": (_INT, (_POINTER,)),
    "bpf_object__close": (None, (_POINTER,)),
    "bpf_object__next_map": (_POINTER, (_POINTER, _POINTER)),
    "bpf_object__next_program": (_POINTER, (_POINTER, _POINTER)),
    "bpf_map__name": (_TEXT, (_POINTER,)),
    "bpf_map__fd": (_INT, (_POINTER,)),
    "bpf_map__set_max_entries": (_INT, (_POINTER, _U32)),
    "bpf_map__set_type": (_INT, (_POINTER, _INT)),
    "bpf_map__set_autocreate": (_INT, (_POINTER, ctypes.c_bool)),
    "bpf_map__initial_value": (_POINTER, (_POINTER, ctypes.POINTER(ctypes.c_size_t))),
    "bpf_map_create": (_INT, (_INT, _TEXT, *[_U32] * 3, _POINTER)),
    "bpf_map_lookup_elem": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_map_lookup_batch": (_INT, (_INT, *[_POINTER] * 6)),
    "bpf_map_update_elem": (_INT, (_INT, _POINTER, _POINTER, ctypes.c_uint64)),
    "bpf_map_delete_elem": (_INT, (_INT, _POINTER)),
    "bpf_program__name": (_TEXT, (_POINTER,)),
    "bpf_program__section_name": (_TEXT, (_POINTER,)),
    "bpf_program__fd": (_INT, (_POINTER,)),
    "bpf_program__set_autoload": (_INT, (_POINTER, ctypes.c_bool)),
    "bpf_program__set_attach_target": (_INT, (_POINTER, _INT, _TEXT)),
    "bpf_prog_load": (_INT, (_INT, _TEXT, _TEXT, _POINTER, ctypes.c_size_t, _POINTER)),
    "bpf_link_create": (_INT, (_INT, _INT, _INT, _POINTER)),
    "bpf_raw_tracepoint_open": (_INT, (_TEXT, _INT)),
    "bpf_iter_create": (_INT, (_INT,)),
    "bpf_obj_get_info_by_fd": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_enable_stats": (_INT, (_INT,)),
    "btf__load_vmlinux_btf": (_POINTER, ()),
    "btf__free": (None, (_POINTER,)),
    "btf__find_by_name_kind": (_INT, (_POINTER, _TEXT, _U32)),
    "btf__type_by_id": (_POINTER, (_POINTER, _U32)),
    "btf__name_by_offset": (_TEXT, (_POINTER, _U32)),
}

log: list[str] = []
"""What libbpf said last, oldest first."""


_said = ctypes.create_string_buffer(1 << 20)  # a verifier has much to say


def _keep_log(level: int, fmt: int, arguments: int) -> int:
    """Keep what libbpf has to say, for the message of an error.

    Not what it does step by step: some 3000 lines for an object, a third of the time to load it.
    """
    if level == _DEBUG:
        return 0
    size = ctypes.c_size_t(len(_said))
    ctypes.CDLL(None).vsnprintf(_said, size, _POINTER(fmt), _POINTER(arguments))
    log.extend(_said.value.decode(errors="replace").rstrip().splitlines())
    del log[:-400]
    return 0


_printer = _PRINT(_keep_log)  # kept here, since libbpf calls it for as long as the process lives


def _load_library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_NAME, use_errno=True)
    except OSError as error:
        raise KernelError(
            f"{_NAME} cannot be loaded ({error}): install libbpf 1.0 or newer "
            "(Debian: apt-get install libbpf1)"
        ) from None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(_printer)
    return library


class _Lazy:
    """The library, loaded at first use: replay and consumers run without it."""

    _library: ctypes.CDLL | None = None

    def __getattr__(self, name: str) -> Any:
        if _Lazy._library is None:
            _Lazy._library = _load_library()
        return getattr(_Lazy._library, name)


bpf = _Lazy()
"""The library's functions, by name."""


def reason() -> str:
    """Say why the last call failed: the error, and what libbpf said last."""
    code = ctypes.get_errno()
    said = [line.removeprefix("libbpf: ") for line in log if line.startswith("libbpf: ")]
    last = said[-1] if said else ""
    return f"{os.strerror(code)}{f' ({last})' if last else ''}"


def possible_cpus() -> int:
    """Return the number of CPUs that per-CPU maps have a value for."""
    return int(bpf.libbpf_num_possible_cpus())


def version() -> str:
    """Return the version of the shared library, as in ``v1.1``."""
    return str(bpf.libbpf_version_string().decode())


def enable_run_time_stats() -> int:
    """Let the kernel time every BPF program until the returned descriptor is closed."""
    return int(bpf.bpf_enable_stats(0))


# --- maps ----------------------------------------------------------------------------------------


def lookup(descriptor: int, key: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read the values of all CPUs at one index of a per-CPU array.

    Args:
        descriptor: The map.
        key: Index.
        dtype: Of one value; its size a multiple of 8.

    Returns:
        Fresh array of shape ``(possible CPUs,)``.
    """
    values = np.zeros(possible_cpus(), dtype)
    index = _U32(key)
    if bpf.bpf_map_lookup_elem(descriptor, ctypes.byref(index), values.ctypes.data):
        raise KernelError(f"a BPF map cannot be read: {reason()}")
    return values


def update(descriptor: int, key: int, values: NDArray[Any]) -> None:
    """Write one index of an array, or the values of all CPUs at one index of a per-CPU array."""
    index = _U32(key)
    if bpf.bpf_map_update_elem(descriptor, ctypes.byref(index), values.ctypes.data, 0):
        raise KernelError(f"a BPF map cannot be written: {reason()}")


def read_table(
    descriptor: int, key: np.dtype[Any], value: np.dtype[Any], *, cpus: int
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Read a whole hash table (5.6), many entries a call.

    Entries that come or go meanwhile may be missed, or come twice.

    Args:
        descriptor: The map.
        key: Of one key.
        value: Of one value; its size a multiple of 8.
        cpus: Values per key: 1, or the possible CPUs for a per-CPU table.

    Returns:
        Fresh arrays: keys of shape ``(n,)``, values of shape ``(n, cpus)``.
    """
    keys, values = [], []
    at: Any = None
    following = ctypes.create_string_buffer(max(key.itemsize, 8))
    room = _BATCH
    while True:
        count = _U32(room)
        some_keys, some_values = np.empty(room, key), np.empty((room, cpus), value)
        failed = bpf.bpf_map_lookup_batch(
            descriptor,
            at,
            following,
            some_keys.ctypes.data,
            some_values.ctypes.data,
            ctypes.byref(count),
            None,
        )
        code = ctypes.get_errno() if failed else 0
        if code == errno.ENOSPC:  # a bucket with more entries than there is room
            room *= 2
            continue
        if code not in (0, errno.ENOENT):
            raise KernelError(f"a BPF map cannot be read: {os.strerror(code)}")
        keys.append(some_keys[: count.value])
        values.append(some_values[: count.value])
        if code:
            return np.concatenate(keys), np.concatenate(values)
        at = ctypes.create_string_buffer(following.raw)


def delete(descriptor: int, key: NDArray[np.void]) -> None:
    """Delete an entry of a hash table; it may be gone already.

    Args:
        descriptor: The map.
        key: Array of shape ``(1,)``.
    """
    if bpf.bpf_map_delete_elem(descriptor, key.ctypes.data) and ctypes.get_errno() != errno.ENOENT:
        raise KernelError(f"a BPF map cannot be written: {reason()}")


# --- programs and links --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel knows of one loaded program."""

    run_time_ns: int
    run_count: int
    recursion_misses: int


def info(program: int) -> ProgramInfo:
    """Return the kernel's counters of a loaded program (times need run-time statistics)."""
    buffer = (ctypes.c_uint64 * (_INFO_BYTES // 8))()
    size = _U32(_INFO_BYTES)
    if bpf.bpf_obj_get_info_by_fd(program, buffer, ctypes.byref(size)):
        raise KernelError(f"a BPF program has no information: {reason()}")
    return ProgramInfo(*buffer[_INFO_RUN_TIME // 8 : _INFO_RUN_TIME // 8 + 3])


def missed_by_link(link: int) -> int:
    """Return how often a kprobe was skipped before its program; 0 where nothing tells (< 6.7)."""
    buffer = (_U32 * (_INFO_BYTES // 4))()
    size = _U32(_INFO_BYTES)
    if bpf.bpf_obj_get_info_by_fd(link, buffer, ctypes.byref(size)):
        return 0  # a bare perf event, before 5.15
    told = buffer[0] == _LINK_TYPE_PERF_EVENT and buffer[_LINK_KIND // 4] in _LINK_KINDS
    return buffer[_LINK_MISSED // 4] if told else 0


def open_raw_tracepoint(name: str | None, program: int) -> int:
    """Attach a program and return the link.

    Args:
        name: A raw tracepoint; None for a tp_btf, fentry or fexit program, loaded for its place.
        program: Descriptor.
    """
    return _checked(bpf.bpf_raw_tracepoint_open(name.encode() if name else None, program))


def open_iterator(program: int) -> int:
    """Attach an iterator program and return the link."""
    return _checked(bpf.bpf_link_create(program, 0, _TRACE_ITER, None))


def read_iterator(link: int) -> bytes:
    """Run an attached iterator and return all that it writes."""
    with open(_checked(bpf.bpf_iter_create(link)), "rb", buffering=0) as file:
        return file.readall()


def link_perf_event(program: int, event: int) -> int:
    """Attach a program to a perf event and return the link (5.15).

    Raises:
        KernelError: the kernel has no such links, or refuses.
    """
    return _checked(bpf.bpf_link_create(program, event, _PERF_EVENT, None))


def _checked(descriptor: int) -> int:
    if descriptor < 0:
        raise KernelError(os.strerror(-descriptor))
    return descriptor


# --- trials --------------------------------------------------------------------------------------


def try_ring_buffer(ring_bytes: int) -> None:
    """Create a ring buffer and let it go.

    `libbpf_probe_bpf_map_type` would say the same "no" to a missing map type and to missing
    rights.

    Raises:
        KernelError: with the kernel's reason alone.
    """
    os.close(_checked(bpf.bpf_map_create(_RING_BUFFER, b"try", 0, 0, ring_bytes, None)))


def function_id(name: str) -> int:
    """Return the BTF id of a kernel function; 0 if there is none of this name."""
    return max(0, int(bpf.libbpf_find_vmlinux_btf_id(name.encode(), FENTRY)))


def try_program(kind: int, instructions: bytes, *, attach_type: int = 0, function: int = 0) -> int:
    """Load a program and return its descriptor.

    Args:
        kind: Program type.
        instructions: 8 bytes each.
        attach_type: Of a tracing program.
        function: BTF id of what a tracing program attaches to.

    Raises:
        KernelError: with the kernel's reason alone.
    """
    # struct bpf_prog_load_opts of <bpf/bpf.h>, up to attach_btf_id
    options = struct.pack("=Q iI IIII I4x", 40, 0, attach_type, 0, 0, 0, 0, function)
    kept = ctypes.create_string_buffer(options, len(options))
    count = len(instructions) // 8
    return _checked(bpf.bpf_prog_load(kind, b"try", b"GPL", instructions, count, kept))
