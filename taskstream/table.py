"""Events as a table: a column per field, with what is not known marked as such.

Pure: no I/O, no clock. The columns are the members of an `event` message, in its order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.batch import Batch
from taskstream.message.message import marked
from taskstream.message.shape import ESCAPED, derived, groups_of, hidden_fields
from taskstream.record import CALLS, KIND_NAMES, KINDS, VERSION
from taskstream.text import escape, split_argv

__all__ = ["TABLE_COLUMNS", "TableColumn", "columns"]


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column: its name, and its type as the schema has it (``str`` and ``list`` for texts)."""

    name: str
    type: str


def _table_columns() -> tuple[TableColumn, ...]:
    found: dict[str, TableColumn] = {}
    for kind in KINDS:
        for field in (*record.wire_fields(kind), *record.derived_fields(kind)):
            type_ = "str" if field.name in ("kind", "call") else field.type
            found.setdefault(field.wire, TableColumn(field.wire, type_))
    for kind in KINDS:
        for field in record.text_fields(kind):
            found.setdefault(field.name, TableColumn(field.name, field.type))
    return tuple(found.values())


TABLE_COLUMNS = _table_columns()
"""The columns of every table."""

_CALL_NAMES = {value: name for name, value in CALLS.items()}
_NOT_NUMBERS = ("kind", "call", "comm")

Known = tuple[NDArray[Any] | list[Any], NDArray[np.bool_]]


def columns(batch: Batch) -> Iterator[tuple[TableColumn, Known]]:
    """Yield the columns of a batch.

    Returns:
        Column, its values (an array for numbers, a list for texts), and which of them are known,
        an array of shape ``(n,)``.
    """
    batch = replace(batch, records=marked(batch))
    known = _known(batch)
    computed = derived(batch.records, batch.wall_offset_ns)
    texts = _texts(batch)
    constants: dict[str, Any] = {
        "v": VERSION,
        "host": batch.origin.host,
        "boot_id": batch.origin.boot_id,
        "run_ns": np.uint64(batch.origin.run_ns),
    }
    for column in TABLE_COLUMNS:
        name = column.name
        if name in texts:
            values: NDArray[Any] | list[Any] = texts[name]
            yield column, (values, np.array([v is not None for v in values], np.bool_))
        elif name in constants:
            text = isinstance(constants[name], str)
            values = (
                [constants[name]] * len(batch) if text else np.full(len(batch), constants[name])
            )
            yield column, (values, np.ones(len(batch), np.bool_))
        elif name in known:
            source = batch.records if name in (batch.records.dtype.names or ()) else computed
            yield column, (source[name], known[name])
        else:
            values = [None] * len(batch) if batch.labels is None else batch.labels.column(name)
            yield column, (values, np.array([v is not None for v in values], np.bool_))


def _known(batch: Batch) -> dict[str, NDArray[np.bool_]]:
    """Tell for each number which events have it: by kind, and by the flags that hide fields."""
    numbers = {
        f.wire
        for kind in KINDS
        for f in (*record.wire_fields(kind), *record.derived_fields(kind))
        if f.name not in _NOT_NUMBERS
    }
    known = {name: np.zeros(len(batch), np.bool_) for name in numbers}
    order, groups = groups_of(batch.records)
    for group in groups:
        rows = order[group.rows]
        hidden = hidden_fields(group.kind, group.flags)
        for field in (*record.wire_fields(group.kind), *record.derived_fields(group.kind)):
            if field.name not in hidden and field.wire in known:
                known[field.wire][rows] = True
    return known


def _texts(batch: Batch) -> dict[str, list[Any]]:
    records = batch.records
    kinds = records["kind"].tolist()
    filenames: list[str | None] = []
    argvs: list[list[str] | None] = []
    flags = records["flags"].tolist()
    places = zip(records["cpu"].tolist(), records["seq"].tolist(), strict=True)
    for place, bits in zip(places, flags, strict=True):
        filename, argv = batch.texts.get(place, (None, None))
        filenames.append(None if filename is None else _text(filename, bits))
        argvs.append(None if argv is None else [_text(arg, bits) for arg in split_argv(argv)])
    comms = zip(records["comm"].tolist(), flags, strict=True)
    fail = KINDS["fail"]
    calls = zip(kinds, records["call"].tolist(), strict=True)
    return {
        "kind": [KIND_NAMES[kind] for kind in kinds],
        "call": [_CALL_NAMES.get(call) if kind == fail else None for kind, call in calls],
        "comm": [_text(comm.split(b"\0", 1)[0], bits) for comm, bits in comms],
        "filename": filenames,
        "argv": argvs,
    }


def _text(raw: bytes, flags: int) -> str:
    """Return a text as messages have it: escaped where the flags say so."""
    return escape(raw) if flags & ESCAPED else raw.decode()
