"""What a `batch` message is made of: groups of events that have the same fields, and columns.

Pure: tables from ``taskstream.record``. Writing and reading agree on the layout through this
module alone; ``docs/messages.md`` describes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.message.columns import pack
from taskstream.message.shape import NUMBERS, hidden_fields
from taskstream.record import FLAGS, RECORD

__all__ = [
    "BATCH_VERSION",
    "COMM_TYPE",
    "CONSTANT",
    "DELTA",
    "SPLIT",
    "TEXTS",
    "WRITTEN",
    "BatchColumn",
    "Shape",
    "batch_columns",
    "head_of",
    "places_of",
    "with_args",
]

BATCH_VERSION = 2
"""Schema version of `batch` messages; the first had rows."""

TEXTS = ("filename", "argv")
"""Columns of texts of any length."""

COMM_TYPE = f"char[{RECORD['comm'].itemsize}]"

DELTA = "delta"
"""Encoding of a column whose numbers are differences."""

CONSTANT = "constant"
"""Encoding of a column that has one number, which is that of all its events."""

SPLIT = "byte_stream_split"
"""Layout of a column that has the first byte of each number, then the second of each, and so on.

Named as in Parquet. High bytes are mostly alike, and zstd passes over them: it takes half as long.
"""

WRITTEN = {f"{sign}{8 * size}": f"<{sign}{size}" for sign in "iu" for size in (1, 2, 4)}
"""Shorter types in which numbers may be written, and their codes in numpy. Steps are signed."""

_ARGS_LOST = FLAGS["args_lost"].mask
_DELTA = frozenset(
    {
        *("seq", "boot_ns", "start_ns", "process_start_ns", "parent_start_ns"),
        *("pid", "tgid", "pidns_pid", "pidns_tgid", "old_pid"),
    }
)

Shape = tuple[str, int]
"""Kind of a group's events, and the flags that decide which fields they have."""


@dataclass(frozen=True, slots=True)
class BatchColumn:
    """A field of some events.

    Attributes:
        field: Its name in a record.
        wire: Its name in messages.
        type: Type of its numbers, as the schema has it.
        groups: Those whose events have it; none: all of them do.
        runs: The same as ranges: the first of them, and the one behind the last.
        is_delta: Its numbers are written as differences.
        head: What a message says of it before its data.
        constant_head: The same where all of its numbers are one.
        long_heads: The same where there are many numbers of 8 bytes, by the bytes that each of
            them is written in; for a column of shorter ones, nothing. With differences, ``base``
            follows.
    """

    field: str
    wire: str
    type: str
    groups: list[int]
    runs: tuple[tuple[int, int], ...]
    is_delta: bool
    head: bytes
    constant_head: bytes
    long_heads: Mapping[int, bytes]


@lru_cache(maxsize=256)
def batch_columns(shapes: tuple[Shape, ...]) -> tuple[BatchColumn, ...]:
    """Return the columns of numbers of a message with groups of these shapes."""
    having: dict[str, list[int]] = {}
    fields = {}
    for place, (kind, flags) in enumerate(shapes):
        hidden = hidden_fields(kind, flags)
        for field in NUMBERS[kind]:
            if field.name not in hidden:
                fields[field.name] = field
                having.setdefault(field.name, []).append(place)
    columns = []
    for name, field in fields.items():
        groups = having[name] if len(having[name]) < len(shapes) else []
        is_delta = name in _DELTA
        said = {"encoding": DELTA} if is_delta else {}
        head = partial(head_of, field.wire, field.type, groups)
        sign, sizes = "i" if is_delta else "u", _SIZES if field.type == "u64" else ()
        columns.append(
            BatchColumn(
                field=name,
                wire=field.wire,
                type=field.type,
                groups=groups,
                runs=_runs(having[name]),
                is_delta=is_delta,
                head=head(said),
                constant_head=head({"encoding": CONSTANT}),
                long_heads={n: head(said | _long_way(n, sign), more=1 + is_delta) for n in sizes},
            )
        )
    return tuple(columns)


_SIZES = (1, 2, 4, 8)


def _long_way(size: int, sign: str) -> dict[str, str]:
    """Return how many long numbers are written in so many bytes each."""
    written = {"written": f"{sign}{8 * size}"} if size < 8 else {}
    return written | ({"layout": SPLIT} if size > 2 else {})


def _runs(places: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return ascending numbers as ranges."""
    edges = [at for at in range(1, len(places)) if places[at] != places[at - 1] + 1]
    bounds = pairwise([0, *edges, len(places)])
    return tuple((places[start], places[stop - 1] + 1) for start, stop in bounds)


def head_of(
    wire: str,
    type_: str,
    groups: Sequence[int] = (),
    written: Mapping[str, str] = {},
    *,
    more: int = 1,
) -> bytes:
    """Pack name and map of a column, but for its last members: ``more``, data among them.

    Args:
        wire: Its name.
        type_: Type of its values.
        groups: Those whose events have it; none: all of them do.
        written: Encoding and layout.
        more: How many members follow.
    """
    said: dict[str, Any] = {"type": type_}
    said |= {"groups": list(groups)} if groups else {}
    said |= written
    return pack(wire) + bytes([0x80 | len(said) + more]) + pack(said)[1:]


def with_args(shapes: Sequence[Shape]) -> list[int]:
    """Return the groups whose events have filename and argv."""
    return [
        place
        for place, (kind, flags) in enumerate(shapes)
        if kind == "exec" and not flags & _ARGS_LOST
    ]


def places_of(records: NDArray[np.void]) -> Iterator[tuple[int, int]]:
    """Return cpu and seq of each."""
    return zip(records["cpu"].tolist(), records["seq"].tolist(), strict=True)
