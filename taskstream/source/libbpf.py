"""The part of libbpf that a live source needs, through its shared library.

Rim: the only module that knows libbpf. It loads an object, attaches its programs and reads
its maps; it does not know what an event is. API: https://libbpf.readthedocs.io
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taskstream.errors import KernelError

__all__ = ["BpfObject", "ProgramInfo", "possible_cpus", "try_ring_buffer", "version"]

_NAME = "libbpf.so.1"
_INFO_BYTES = 256
_RING_BUFFER = 27  # BPF_MAP_TYPE_RINGBUF, include/uapi/linux/bpf.h
_INFO_RUN_TIME = 192  # offsetof(struct bpf_prog_info, run_time_ns), include/uapi/linux/bpf.h

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_TEXT = ctypes.c_char_p

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "libbpf_set_print": (_POINTER, (_PRINT,)),
    "libbpf_num_possible_cpus": (_INT, ()),
    "libbpf_version_string": (_TEXT, ()),
    "bpf_object__open_file": (_POINTER, (_TEXT, _POINTER)),
    "bpf_object__load": (_INT, (_POINTER,)),
    "bpf_object__close": (None, (_POINTER,)),
    "bpf_object__next_map": (_POINTER, (_POINTER, _POINTER)),
    "bpf_object__next_program": (_POINTER, (_POINTER, _POINTER)),
    "bpf_map__name": (_TEXT, (_POINTER,)),
    "bpf_map__fd": (_INT, (_POINTER,)),
    "bpf_map__set_max_entries": (_INT, (_POINTER, ctypes.c_uint32)),
    "bpf_map__initial_value": (_POINTER, (_POINTER, ctypes.POINTER(ctypes.c_size_t))),
    "bpf_map_create": (_INT, (_INT, _TEXT, *[ctypes.c_uint32] * 3, _POINTER)),
    "bpf_map_lookup_elem": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_map_update_elem": (_INT, (_INT, _POINTER, _POINTER, ctypes.c_uint64)),
    "bpf_program__name": (_TEXT, (_POINTER,)),
    "bpf_program__section_name": (_TEXT, (_POINTER,)),
    "bpf_program__fd": (_INT, (_POINTER,)),
    "bpf_program__set_autoload": (_INT, (_POINTER, ctypes.c_bool)),
    "bpf_program__attach": (_POINTER, (_POINTER,)),
    "bpf_link__fd": (_INT, (_POINTER,)),
    "bpf_link__destroy": (_INT, (_POINTER,)),
    "bpf_iter_create": (_INT, (_INT,)),
    "bpf_obj_get_info_by_fd": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_enable_stats": (_INT, (_INT,)),
}

_log: list[str] = []


def _keep_log(_level: int, fmt: int, arguments: int) -> int:
    """Keep what libbpf has to say, for the message of an error."""
    buffer = ctypes.create_string_buffer(1024)
    ctypes.CDLL(None).vsnprintf(buffer, ctypes.c_size_t(1024), _POINTER(fmt), _POINTER(arguments))
    _log.append(buffer.value.decode(errors="replace").rstrip())
    del _log[:-400]
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


_bpf = _Lazy()


def possible_cpus() -> int:
    """Return the number of CPUs that per-CPU maps have a value for."""
    return int(_bpf.libbpf_num_possible_cpus())


def version() -> str:
    """Return the version of the shared library, as in ``v1.1``."""
    return str(_bpf.libbpf_version_string().decode())


def try_ring_buffer(ring_bytes: int) -> None:
    """Create a ring buffer and let it go.

    `libbpf_probe_bpf_map_type` would say the same "no" to a missing map type and to missing
    rights.

    Raises:
        KernelError: with the kernel's reason alone.
    """
    descriptor = _bpf.bpf_map_create(_RING_BUFFER, b"try", 0, 0, ring_bytes, None)
    if descriptor < 0:
        raise KernelError(os.strerror(-descriptor))
    os.close(descriptor)


def enable_run_time_stats() -> int:
    """Let the kernel time every BPF program until the returned descriptor is closed."""
    return int(_bpf.bpf_enable_stats(0))


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel knows of one loaded program."""

    run_time_ns: int
    run_count: int
    recursion_misses: int


class BpfObject:
    """One compiled object: opened, then loaded, then attached; closed with everything in it.

    Raises:
        KernelError: the file is missing or is no BPF object.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise KernelError(
                f"the BPF object {path} is missing: build it with `make bpf`, or install a wheel"
            )
        self._links: dict[str, int] = {}
        self._object = _bpf.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise KernelError(f"{path} is no BPF object that libbpf can open: {self._reason()}")
        self._maps = dict(self._named(_bpf.bpf_object__next_map, _bpf.bpf_map__name))
        self._programs = dict(self._named(_bpf.bpf_object__next_program, _bpf.bpf_program__name))

    def _named(self, following: Any, name_of: Any) -> Iterator[tuple[str, int]]:
        item = following(self._object, None)
        while item:
            yield name_of(item).decode(), item
            item = following(self._object, item)

    @staticmethod
    def _reason() -> str:
        code = ctypes.get_errno()
        said = [line.removeprefix("libbpf: ") for line in _log if line.startswith("libbpf: ")]
        last = said[-1] if said else ""
        return f"{os.strerror(code)}{f' ({last})' if last else ''}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach every program and free everything."""
        for program in list(self._links):
            self.detach(program)
        if self._object:
            _bpf.bpf_object__close(self._object)
        self._object = None

    @property
    def programs(self) -> dict[str, str]:
        """Names of the programs, with the section that says where each attaches."""
        return {
            name: _bpf.bpf_program__section_name(item).decode()
            for name, item in self._programs.items()
        }

    # --- before loading ---

    def data(self, section: str) -> memoryview:
        """Return a data section of the object, to be read and set before `load`.

        Args:
            section: ``.rodata`` or ``.bss``.
        """
        name = next((n for n in self._maps if n.endswith(section)), None)
        size = ctypes.c_size_t(0)
        at = _bpf.bpf_map__initial_value(self._maps[name], ctypes.byref(size)) if name else None
        if not at:
            raise KernelError(
                f"the BPF object has no {section}: it was not built from this project's bpf/"
            )
        return memoryview((ctypes.c_char * size.value).from_address(at)).cast("B")

    def set_max_entries(self, name: str, entries: int) -> None:
        """Size a map."""
        if _bpf.bpf_map__set_max_entries(self._maps[name], entries):
            raise KernelError(f"map {name} cannot have {entries} entries: {self._reason()}")

    def leave_out(self, program: str) -> None:
        """Do not load a program."""
        _bpf.bpf_program__set_autoload(self._programs[program], False)

    def load(self) -> None:
        """Load maps and programs.

        Raises:
            KernelError: the kernel refuses; the message says what to do.
        """
        _log.clear()
        ctypes.set_errno(0)
        if not _bpf.bpf_object__load(self._object):
            return
        code = ctypes.get_errno()
        if code == errno.EPERM and not any("BEGIN PROG LOAD LOG" in line for line in _log):
            raise KernelError(
                "no permission to load BPF: run as root, or grant CAP_BPF and CAP_PERFMON"
            )
        if any("valid kernel BTF" in line for line in _log):
            raise KernelError(
                "the kernel has no BTF (/sys/kernel/btf/vmlinux): the CO-RE object cannot be "
                "relocated; run a kernel built with CONFIG_DEBUG_INFO_BTF"
            )
        shown = "\n  ".join(_log[-12:])
        raise KernelError(f"the kernel refused the BPF object: {os.strerror(code)}\n  {shown}")

    # --- after loading ---

    def attach(self, program: str) -> None:
        """Attach a program where its section says.

        Raises:
            KernelError: the kernel refuses the hook.
        """
        _log.clear()
        ctypes.set_errno(0)
        link = _bpf.bpf_program__attach(self._programs[program])
        if not link:
            section = self.programs[program]
            raise KernelError(f"{section} cannot be attached: {self._reason()}")
        self._links[program] = link

    def detach(self, program: str) -> None:
        """Detach a program; it may be detached already."""
        link = self._links.pop(program, None)
        if link is not None:
            _bpf.bpf_link__destroy(link)

    def read_iterator(self, program: str) -> bytes:
        """Run an attached iterator program and return all that it writes."""
        descriptor = _bpf.bpf_iter_create(_bpf.bpf_link__fd(self._links[program]))
        if descriptor < 0:
            raise KernelError(f"iterator {program} cannot be read: {self._reason()}")
        with open(descriptor, "rb", buffering=0) as file:
            return file.readall()

    def map_descriptor(self, name: str) -> int:
        """Return the descriptor of a loaded map; the object owns it."""
        return int(_bpf.bpf_map__fd(self._maps[name]))

    def lookup(self, name: str, key: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Read the values of all CPUs at one index of a per-CPU array.

        Args:
            name: The map.
            key: Index.
            dtype: Of one value; its size a multiple of 8.

        Returns:
            Fresh array of shape ``(possible CPUs,)``.
        """
        values = np.zeros(possible_cpus(), dtype)
        index = ctypes.c_uint32(key)
        if _bpf.bpf_map_lookup_elem(
            self.map_descriptor(name), ctypes.byref(index), values.ctypes.data
        ):
            raise KernelError(f"map {name} cannot be read: {self._reason()}")
        return values

    def update(self, name: str, key: int, values: NDArray[Any]) -> None:
        """Write the values of all CPUs at one index of a per-CPU array."""
        index = ctypes.c_uint32(key)
        if _bpf.bpf_map_update_elem(
            self.map_descriptor(name), ctypes.byref(index), values.ctypes.data, 0
        ):
            raise KernelError(f"map {name} cannot be written: {self._reason()}")

    def info(self, program: str) -> ProgramInfo:
        """Return the kernel's counters of a loaded program (times need run-time statistics)."""
        buffer = (ctypes.c_uint64 * (_INFO_BYTES // 8))()
        size = ctypes.c_uint32(_INFO_BYTES)
        descriptor = _bpf.bpf_program__fd(self._programs[program])
        if _bpf.bpf_obj_get_info_by_fd(descriptor, buffer, ctypes.byref(size)):
            raise KernelError(f"program {program} has no information: {self._reason()}")
        return ProgramInfo(*buffer[_INFO_RUN_TIME // 8 : _INFO_RUN_TIME // 8 + 3])
