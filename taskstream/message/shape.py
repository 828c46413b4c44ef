"""Which members a message has: by kind, and by the flags that hide or show fields.

Pure: tables from ``taskstream.record``. Encoding and decoding agree on shapes through this
module alone.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.message.columns import Column, short_text, text_marker
from taskstream.record import CALLS, FLAGS, KIND_NAMES, KINDS, VERSION

__all__ = [
    "ESCAPED",
    "NUMBERS",
    "Group",
    "columns_of",
    "deciding_mask",
    "derived",
    "groups_of",
    "hidden_fields",
]

ESCAPED = FLAGS["text_escaped"].mask
"""Set in a message whose texts are escaped; never in a batch."""


@lru_cache(maxsize=1024)
def hidden_fields(kind: str, flags: int) -> frozenset[str]:
    """Name the fields that an event of ``kind`` with ``flags`` does not know."""
    hidden: set[str] = set()
    for flag in FLAGS.values():
        hidden |= set(flag.hides if flags & flag.mask else flag.shows)
    return frozenset(hidden)


@lru_cache
def deciding_mask(kind: str) -> int:
    """Return the flags that decide which fields an event of ``kind`` has."""
    names = {
        f.name
        for group in (record.wire_fields, record.derived_fields, record.text_fields)
        for f in group(kind)
    }
    return sum(f.mask for f in FLAGS.values() if names & {*f.hides, *f.shows})


def columns_of(kind: str, flags: int, call: str | None) -> list[Column]:
    """Return the numbers of an `event` map, with what it says of version, kind and call.

    Args:
        kind: Name of the kind.
        flags: The flags that decide which fields are known.
        call: Name of the failed call, for kind ``fail``.
    """
    hidden = hidden_fields(kind, flags)
    columns = []
    for field in (*record.wire_fields(kind), *record.derived_fields(kind)):
        if field.name == "version":
            columns.append(Column("v", constant=VERSION))
        elif field.name == "kind":
            columns.append(Column("kind", constant=kind))
        elif field.name == "call":
            columns.append(Column("call", constant=call))
        elif field.name not in hidden:
            columns.append(Column(field.wire, field.type))
    return columns


@dataclass(frozen=True, slots=True)
class Group:
    """Records that know the same fields.

    Attributes:
        kind: Their kind.
        flags: The flags that decide which fields they know.
        call: The call that failed, of kind ``fail``.
        rows: Where they stand, once the records are in the order that `groups_of` gives.
    """

    kind: str
    flags: int
    call: str | None
    rows: slice


def groups_of(records: NDArray[np.void]) -> tuple[NDArray[np.intp], list[Group]]:
    """Find the groups of records that know the same fields.

    Returns:
        The order that brings each group together and keeps the order within it, and the
        groups.
    """
    kinds = records["kind"]
    code = _CODES[kinds.astype(np.uint32) << _BITS | records["flags"] >> _LOWEST & _SPAN]
    if _FAIL in kinds.tobytes():
        code |= np.where(kinds == _FAIL, records["call"] << _CALL_BITS, 0).astype(np.uint16)
    order = np.argsort(code, kind="stable")  # up to 16 bits are sorted in no time
    code = code[order]
    edges = [0, *(np.flatnonzero(code[1:] != code[:-1]) + 1).tolist(), len(code)]
    groups = []
    for start, stop in pairwise(edges):
        if start < stop:
            groups.append(Group(*_said_by(int(code[start])), slice(start, stop)))
    return order, groups


@lru_cache(maxsize=1024)
def _said_by(code: int) -> tuple[str, int, str | None]:
    """Return kind, flags and call of a group by its code."""
    kind = KIND_NAMES[code >> _KIND_BITS & (1 << _CALL_BITS - _KIND_BITS) - 1]
    flags = sum(bit for place, bit in enumerate(_DECIDING) if code >> place & 1)
    return kind, flags, _CALL_NAMES.get(code >> _CALL_BITS)


def _codes() -> NDArray[np.uint16]:
    """Return the code of a group by kind and flags: the flags that decide, and above them the kind.

    In a code, the flags that decide for any kind lie side by side.
    """
    codes = np.zeros((max(KINDS.values()) + 1, 1 << _BITS), np.uint16)
    flags = np.arange(1 << _BITS) << _LOWEST
    for name, kind in KINDS.items():
        for place, bit in enumerate(_DECIDING):
            codes[kind] |= ((flags & bit & deciding_mask(name)) != 0) << np.uint16(place)
        codes[kind] |= np.uint16(kind << _KIND_BITS)
    return codes.ravel()


_FAIL = KINDS["fail"]
_CALL_NAMES = {value: name for name, value in CALLS.items()}
_DECIDING = sorted(
    {f.mask for f in FLAGS.values() if any(deciding_mask(k) & f.mask for k in KINDS)}
)
_LOWEST = _DECIDING[0].bit_length() - 1
_BITS = _DECIDING[-1].bit_length() - _LOWEST
_SPAN = np.uint32((1 << _BITS) - 1)
_KIND_BITS = len(_DECIDING)
_CALL_BITS = _KIND_BITS + max(KINDS.values()).bit_length()
assert _CALL_BITS + max(CALLS.values()).bit_length() <= 16
_CODES = _codes()


def derived(records: NDArray[np.void], wall_offset_ns: int) -> NDArray[np.void]:
    """Compute the columns that a record does not hold.

    Args:
        records: Records of any kinds.
        wall_offset_ns: CLOCK_REALTIME minus CLOCK_BOOTTIME.

    Returns:
        Structured array of shape ``(n,)``: wall_ns; status, signal and core, which mean
        something for exits alone; comm, cut at its first NUL, and its marker.
    """
    columns = np.empty(len(records), _DERIVED)
    columns["wall_ns"] = records["boot_ns"] + np.uint64(wall_offset_ns % (1 << 64))
    columns["comm"], columns[text_marker("comm")] = short_text(records["comm"])
    code = records["exit_code"]
    columns["status"] = (code >> 8) & 0xFF
    columns["signal"] = code & 0x7F
    columns["core"] = (code & 0x80) != 0
    return columns


_DERIVED = np.dtype(
    [
        ("wall_ns", "<u8"),
        ("comm", "S16"),
        (text_marker("comm"), "u1"),
        ("status", "u1"),
        ("signal", "u1"),
        ("core", "?"),
    ]
)


NUMBERS = {
    kind: tuple(f for f in record.wire_fields(kind) if f.name not in ("version", "kind", "call"))
    for kind in KINDS
}
"""By kind, the members of a record that messages carry as numbers of their own name."""
