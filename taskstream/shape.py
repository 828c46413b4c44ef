"""Which members a message has: by kind, and by the flags that hide or show fields.

Pure: tables from ``taskstream.record``. Encoding and decoding agree on shapes through this
module alone.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.batch import Batch
from taskstream.columns import Column, RowTemplate
from taskstream.record import CALLS, FLAGS, KINDS, VERSION

__all__ = [
    "ESCAPED",
    "columns_of",
    "deciding_mask",
    "derived",
    "groups_of",
    "hidden_fields",
    "row_template",
]

ESCAPED = FLAGS["text_escaped"].mask
"""Set in a message whose texts are escaped; never in a batch."""

_ENVELOPE = ("run_ns", "wall_ns")


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


def columns_of(kind: str, flags: int, call: str | None, *, keyed: bool) -> list[Column]:
    """Return the columns of a row: all of an `event` map's, or those of a `batch` row.

    Args:
        kind: Name of the kind.
        flags: The flags that decide which fields are known.
        call: Name of the failed call, for kind ``fail``.
        keyed: For the `event` map; else without what a `batch` message says once.
    """
    hidden = hidden_fields(kind, flags)
    columns = []
    for field in (*record.wire_fields(kind), *record.derived_fields(kind)):
        if field.name in hidden:
            continue
        if field.name == "version":
            if keyed:
                columns.append(Column("v", constant=VERSION))
        elif field.name == "kind":
            if keyed:
                columns.append(Column("kind", constant=kind))
        elif field.name == "call":
            if keyed:
                columns.append(Column("call", constant=call))
        elif keyed or field.name not in _ENVELOPE:
            columns.append(Column(field.wire, field.type))
    if not keyed:
        columns.append(Column("comm", "u32"))
    return columns


def groups_of(records: NDArray[np.void]) -> Iterator[tuple[str, int, str | None, NDArray[np.intp]]]:
    """Split records into groups that share one row shape: kind, deciding flags, call, rows."""
    kinds = np.ascontiguousarray(records["kind"])
    present = set(kinds.tobytes())
    for kind, value in KINDS.items():
        if value not in present:
            continue
        rows = np.flatnonzero(kinds == value)
        if kind == "fail":
            calls = records["call"][rows]
            for call, number in CALLS.items():
                for flags, some in _by_flags(kind, records, rows[calls == number]):
                    yield kind, flags, call, some
        else:
            for flags, some in _by_flags(kind, records, rows):
                yield kind, flags, None, some


def _by_flags(
    kind: str, records: NDArray[np.void], rows: NDArray[np.intp]
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    mask = np.uint32(deciding_mask(kind))
    while len(rows):
        deciding = records["flags"][rows] & mask
        alike = deciding == deciding[0]
        if alike.all():
            yield int(deciding[0]), rows
            return
        yield int(deciding[0]), rows[alike]
        rows = rows[~alike]


def derived(kind: str, records: NDArray[np.void], batch: Batch) -> dict[str, NDArray[Any] | int]:
    """Compute the derived columns of records of one kind; a number stands for a whole column."""
    columns: dict[str, NDArray[Any] | int] = {
        "wall_ns": records["boot_ns"] + np.uint64(batch.wall_offset_ns % (1 << 64)),
        "run_ns": batch.origin.run_ns,
    }
    if kind == "exit":
        code = records["exit_code"]
        columns["status"] = (code >> 8) & 0xFF
        columns["signal"] = code & 0x7F
        columns["core"] = (code & 0x80) != 0
    return columns


@lru_cache
def row_template(kind: str, flags: int) -> RowTemplate:
    """Return the shape of a `batch` message's rows of ``kind`` with these deciding flags."""
    return RowTemplate(columns_of(kind, flags, None, keyed=False), keyed=False)
