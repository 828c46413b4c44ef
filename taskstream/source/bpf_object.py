"""The compiled CO-RE object, opened and loaded by libbpf.

Rim: touches one file and the kernel. It does not know what an event is.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from taskstream.errors import KernelError
from taskstream.source.libbpf import bpf, log, reason

__all__ = ["HASH", "PERCPU_HASH", "BpfObject"]

HASH = 1  # BPF_MAP_TYPE_HASH, include/uapi/linux/bpf.h
PERCPU_HASH = 5  # BPF_MAP_TYPE_PERCPU_HASH


class BpfObject:
    """One compiled object: opened, then loaded; closed with everything in it.

    Raises:
        KernelError: the file is missing or is no BPF object.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise KernelError(
                f"the BPF object {path} is missing: build it with `make bpf`, or install a wheel"
            )
        self._object = bpf.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise KernelError(f"{path} is no BPF object that libbpf can open: {reason()}")
        self._maps = dict(self._named(bpf.bpf_object__next_map, bpf.bpf_map__name))
        self._programs = dict(self._named(bpf.bpf_object__next_program, bpf.bpf_program__name))

    def _named(self, following: Any, name_of: Any) -> Iterator[tuple[str, int]]:
        item = following(self._object, None)
        while item:
            yield name_of(item).decode(), item
            item = following(self._object, item)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free everything; what is attached must be detached before."""
        if self._object:
            bpf.bpf_object__close(self._object)
        self._object = None

    @property
    def programs(self) -> dict[str, str]:
        """Names of the programs, with the section that says what kind each is."""
        return {
            name: bpf.bpf_program__section_name(item).decode()
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
        at = bpf.bpf_map__initial_value(self._maps[name], ctypes.byref(size)) if name else None
        if not at:
            raise KernelError(
                f"the BPF object has no {section}: it was not built from this project's bpf/"
            )
        return memoryview((ctypes.c_char * size.value).from_address(at)).cast("B")

    def set_max_entries(self, name: str, entries: int) -> None:
        """Size a map."""
        if bpf.bpf_map__set_max_entries(self._maps[name], entries):
            raise KernelError(f"map {name} cannot have {entries} entries: {reason()}")

    def set_type(self, name: str, kind: int) -> None:
        """Choose the type of a map."""
        if bpf.bpf_map__set_type(self._maps[name], kind):
            raise KernelError(f"map {name} cannot be of type {kind}: {reason()}")

    def leave_out_map(self, name: str) -> None:
        """Do not create a map; no program that is loaded may reach it."""
        bpf.bpf_map__set_autocreate(self._maps[name], False)

    def keep_programs(self, names: set[str]) -> None:
        """Load these programs only."""
        for name, program in self._programs.items():
            bpf.bpf_program__set_autoload(program, name in names)

    def set_target(self, program: str, function: str) -> None:
        """Choose the kernel function of an fentry or fexit program."""
        if bpf.bpf_program__set_attach_target(self._programs[program], 0, function.encode()):
            raise KernelError(f"{program} cannot be for {function}: {reason()}")

    def load(self) -> None:
        """Load maps and programs.

        Raises:
            KernelError: the kernel refuses; the message says what to do.
        """
        log.clear()
        ctypes.set_errno(0)
        if not bpf.bpf_object__load(self._object):
            return
        code = ctypes.get_errno()
        if code == errno.EPERM and not any("BEGIN PROG LOAD LOG" in line for line in log):
            raise KernelError(
                "no permission to load BPF: run as root, or grant CAP_BPF and CAP_PERFMON"
            )
        if any("valid kernel BTF" in line for line in log):
            raise KernelError(
                "the kernel has no BTF (/sys/kernel/btf/vmlinux): the CO-RE object cannot be "
                "relocated; run a kernel built with CONFIG_DEBUG_INFO_BTF"
            )
        shown = "\n  ".join(log[-12:])
        raise KernelError(f"the kernel refused the BPF object: {os.strerror(code)}\n  {shown}")

    # --- after loading ---

    def map_descriptor(self, name: str) -> int:
        """Return the descriptor of a loaded map; the object owns it."""
        return int(bpf.bpf_map__fd(self._maps[name]))

    def program_descriptor(self, name: str) -> int:
        """Return the descriptor of a loaded program; the object owns it."""
        return int(bpf.bpf_program__fd(self._programs[name]))
