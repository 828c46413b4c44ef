"""The running kernel's BTF: which functions it has, and where structs have their members.

Rim: reads /sys/kernel/btf/vmlinux, through libbpf. Layout: include/uapi/linux/btf.h and
https://docs.kernel.org/bpf/btf.html
"""

import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from taskstream.errors import KernelError
from taskstream.source.libbpf import bpf

__all__ = ["PATH", "KernelBtf"]

PATH = Path("/sys/kernel/btf/vmlinux")

_STRUCT, _UNION, _ENUM, _FUNCTION = 4, 5, 6, 12
_TYPE = struct.Struct("=III")  # name_off, info, size or type
_VALUE = struct.Struct("=Ii")  # name_off, val
_MODIFIERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag


class KernelBtf:
    """Parsed from the moment it is made until it is closed.

    Raises:
        KernelError: the kernel has none, or libbpf cannot read it.
    """

    def __init__(self) -> None:
        self._btf = bpf.btf__load_vmlinux_btf()
        if not self._btf:
            raise KernelError(f"{PATH} cannot be read as BTF")

    def close(self) -> None:
        """Free it."""
        bpf.btf__free(self._btf)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def has_function(self, name: str) -> bool:
        """Tell whether a function of this name is described."""
        return int(bpf.btf__find_by_name_kind(self._btf, name.encode(), _FUNCTION)) > 0

    def size_of(self, name: str) -> int | None:
        """Return the size of a struct in bytes; None if there is none of this name."""
        number = bpf.btf__find_by_name_kind(self._btf, name.encode(), _STRUCT)
        return self._type(number)[2] if number > 0 else None

    def offset_of(self, name: str, member: str) -> int | None:
        """Return where a struct has a member, in bytes; None if it has none, or is none.

        Members of unnamed structs and unions count as the struct's own.
        """
        number = bpf.btf__find_by_name_kind(self._btf, name.encode(), _STRUCT)
        if number <= 0:
            return None
        return next((at // 8 for found, at in self._members(number, 0) if found == member), None)

    def value_of(self, enum: str, name: str) -> int | None:
        """Return a value of an enumeration; None if it has none of this name."""
        number = bpf.btf__find_by_name_kind(self._btf, enum.encode(), _ENUM)
        if number <= 0:
            return None
        address = bpf.btf__type_by_id(self._btf, number) + _TYPE.size
        raw = ctypes.string_at(address, (self._type(number)[1] & 0xFFFF) * _VALUE.size)
        return next((v for at, v in _VALUE.iter_unpack(raw) if self._name(at) == name), None)

    def _name(self, at: int) -> str:
        name: bytes = bpf.btf__name_by_offset(self._btf, at)
        return name.decode()

    def _type(self, number: int) -> tuple[int, int, int]:
        address = bpf.btf__type_by_id(self._btf, number)
        fields: tuple[int, int, int] = _TYPE.unpack(ctypes.string_at(address, _TYPE.size))
        return fields

    def _members(self, number: int, start: int) -> Iterator[tuple[str, int]]:
        """Yield name and offset in bits of every member."""
        while (self._type(number)[1] >> 24 & 31) in _MODIFIERS:
            number = self._type(number)[2]
        _, info, _ = self._type(number)
        if info >> 24 & 31 not in (_STRUCT, _UNION):
            return
        address = bpf.btf__type_by_id(self._btf, number) + _TYPE.size
        raw = ctypes.string_at(address, (info & 0xFFFF) * _TYPE.size)
        for name_at, kind, offset in _TYPE.iter_unpack(raw):
            at = start + (offset & 0xFFFFFF if info >> 31 else offset)
            if name := self._name(name_at):
                yield name, at
            else:
                yield from self._members(kind, at)
