"""The task event record: what ``schemas/task_event.toml`` says, as numpy dtypes and tables.

A noun: no I/O beyond reading the schema once, no clock. The C side of the same
definition is ``bpf/task_event.h``; ``taskstream.schema`` generates it.
"""

import tomllib
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskstream import resource

__all__ = [
    "ARGS_HEADER",
    "CALLS",
    "COUNTS",
    "CPU_TOTALS",
    "FIELDS",
    "FLAGS",
    "KINDS",
    "KIND_NAMES",
    "NO_CPU",
    "PROCESS_KEY",
    "PROCESS_LOSSES",
    "RECORD",
    "SETTINGS",
    "VERSION",
    "WINDOW_TOTALS",
    "Count",
    "Field",
    "Flag",
    "derived_fields",
    "flag_names",
    "kind_docs",
    "text_fields",
    "wire_fields",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of the record, or one that user space adds to a message."""

    name: str
    doc: str
    type: str = "str"
    wire: str = ""
    unit: str = ""
    since: int = 1
    kinds: tuple[str, ...] = ()

    def belongs_to(self, kind: str) -> bool:
        """Tell whether events of ``kind`` have this field."""
        return not self.kinds or kind in self.kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One bit of ``flags``, with the fields that it hides or shows."""

    name: str
    bit: int
    doc: str
    hides: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()

    @property
    def mask(self) -> int:
        """Value of the bit in ``flags``."""
        return 1 << self.bit


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One loss-free counter of the kernel side, and the kind of event it counts."""

    name: str
    kind: str
    doc: str


_NUMPY = {
    "u8": "u1",
    "u16": "<u2",
    "u32": "<u4",
    "u64": "<u8",
    "i32": "<i4",
    "char[16]": "S16",
}


def _field(row: dict[str, Any]) -> Field:
    wire = row.pop("wire", row["name"])
    return Field(**{**row, "wire": wire, "kinds": tuple(row.get("kinds", ()))})


def _flag(row: dict[str, Any]) -> Flag:
    lists = {name: tuple(row.get(name, ())) for name in ("hides", "shows")}
    return Flag(**{**row, **lists})


def _load() -> dict[str, Any]:
    with resource.schema("task_event.toml").open("rb") as file:
        return tomllib.load(file)


def _layout(fields: tuple[Field, ...]) -> np.dtype[np.void]:
    """Lay out the common fields in order, then the fields of each kind over one another."""
    offset, names, formats, offsets, ends = 0, [], [], [], []
    common_end = None
    at: dict[tuple[str, ...], int] = {}
    for field in fields:
        dtype = np.dtype(_NUMPY[field.type])
        if field.kinds:
            common_end = offset if common_end is None else common_end
            here = at.get(field.kinds, common_end)
        else:
            here = offset
        alignment = 1 if dtype.kind == "S" else dtype.itemsize
        if here % alignment:
            raise AssertionError(f"schema: {field.name} at {here} would need padding before it")
        names.append(field.name)
        formats.append(dtype.str)
        offsets.append(here)
        ends.append(here + dtype.itemsize)
        if field.kinds:
            at[field.kinds] = here + dtype.itemsize
        else:
            offset = here + dtype.itemsize
    size = -(-max(ends) // 8) * 8
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


_SCHEMA = _load()

VERSION: int = _SCHEMA["version"]
"""Schema version that this package writes, and the newest that it reads."""

KINDS: dict[str, int] = {row["name"]: row["value"] for row in _SCHEMA["kind"]}
KIND_NAMES = {value: name for name, value in KINDS.items()}
CALLS: dict[str, int] = {row["name"]: row["value"] for row in _SCHEMA["call"]}
FLAGS: dict[str, Flag] = {row["name"]: _flag(row) for row in _SCHEMA["flag"]}
COUNTS: tuple[Count, ...] = tuple(Count(**row) for row in _SCHEMA["count"])
FIELDS: tuple[Field, ...] = tuple(_field(row) for row in _SCHEMA["field"])

RECORD = _layout(FIELDS)
"""One event as the ring holds it: little-endian, 192 bytes, no hole within a kind."""

NO_CPU = 0xFFFF
"""``cpu`` of events that no probe on a CPU made (the snapshot)."""

ARGS_HEADER = np.dtype([(row["name"], _NUMPY[row["type"]]) for row in _SCHEMA["args"]])
"""Header of a record in exec's second ring."""

SETTINGS = np.dtype([(row["name"], _NUMPY[row["type"]]) for row in _SCHEMA["setting"]], align=True)
"""The object's read-only settings."""

_N = len(COUNTS)

CPU_TOTALS = np.dtype(
    [
        ("seq", "<u8"),
        ("count", "<u8", (_N,)),
        ("lost", "<u8", (_N,)),
        ("unplaced", "<u8", (_N,)),
        ("uncharged", "<u8", (_N,)),
        ("args_lost", "<u8"),
    ]
)
"""Cumulative totals of one CPU since the start of the run, by `COUNTS`.

``lost`` found no room in the ring; of those, ``uncharged`` no entry in the table of losses either.
``unplaced`` found no window's slot.
"""

PROCESS_KEY = np.dtype([("start_ns", "<u8"), ("tgid", "<u4"), ("zero", "<u4")])
"""Identity of a process in the kernel side's tables."""

PROCESS_LOSSES = np.dtype(
    [
        ("named_ns", "<u8"),
        ("parent_start_ns", "<u8"),
        ("cgroup_id", "<u8"),
        ("ppid", "<u4"),
        ("uid", "<u4"),
        ("comm", "S16"),
        ("count", "<u8", (_N,)),
    ]
)
"""Lost events of one process, cumulative, by `COUNTS`, with what it was at ``named_ns``."""

WINDOW_TOTALS = np.dtype([("window", "<u8"), ("count", "<u8", (_N,))])
"""Totals of one CPU in one window of time (boot_ns // window_ns)."""


def wire_fields(kind: str) -> tuple[Field, ...]:
    """Return the record's fields that messages of ``kind`` may carry as numbers, in order."""
    return tuple(f for f in FIELDS if f.belongs_to(kind) and f.wire and f.type != "char[16]")


def derived_fields(kind: str) -> tuple[Field, ...]:
    """Return the numbers that user space derives for messages of ``kind``, in order."""
    return tuple(f for f in _DERIVED if f.belongs_to(kind))


def text_fields(kind: str) -> tuple[Field, ...]:
    """Return the texts of messages of ``kind``, in order; they come last."""
    return tuple(f for f in _TEXTS if f.belongs_to(kind))


def kind_docs() -> list[dict[str, str]]:
    """Return name and meaning of every kind, in order."""
    return [{"name": row["name"], "doc": row["doc"]} for row in _SCHEMA["kind"]]


def flag_names(flags: int) -> list[str]:
    """Name the bits that are set in ``flags``."""
    return [flag.name for flag in FLAGS.values() if flags & flag.mask]


_DERIVED = tuple(_field(row) for row in _SCHEMA["derived"])
_TEXTS = tuple(_field(row) for row in _SCHEMA["text"])
