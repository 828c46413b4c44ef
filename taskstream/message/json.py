"""Batches as JSON messages: one map per event, with the members of the `event` shape.

Pure: no I/O, no clock. Numbers are written by columns: each has a place of fixed width and is at
its right end, after spaces, which JSON allows before a value. Texts have their true length.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Label, Origin, take
from taskstream.message.columns import Column, slices
from taskstream.message.digits import decimal
from taskstream.message.message import Messages, event_keys, exec_texts, marked, stamps_ms
from taskstream.message.shape import ESCAPED, Group, columns_of, derived, groups_of
from taskstream.record import FLAGS, RECORD
from taskstream.text import escape

__all__ = ["JsonEncoder", "dump"]

_ARGS_LOST = FLAGS["args_lost"].mask
_WIDTHS = {"u8": 3, "u16": 5, "u32": 10, "u64": 20, "i32": 11, "bool": 5}
_BOOLEANS = np.array([b"false", b" true"])
_DERIVED = frozenset(derived(np.empty(0, RECORD), 0).dtype.names or ())
"""Columns that a record does not hold; the truth values are all among them."""

_written: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dump(value: Any) -> bytes:
    """Write a value as JSON in UTF-8, without spaces."""
    return _written(value).encode()


class JsonEncoder:
    """Encodes batches of one origin, one JSON message per event."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._rows: dict[tuple[str, int, str | None], _Rows] = {}

    def encode(self, batch: Batch) -> Messages:
        """Encode a batch; keys, times and order are those of `EventEncoder`."""
        try:
            return self._encode(batch, batch.records)
        except UnicodeDecodeError:
            return self._encode(batch, marked(batch))

    def _encode(self, batch: Batch, records: NDArray[np.void]) -> Messages:
        order, groups = groups_of(records)
        records = take(records, order)
        columns = derived(records, batch.wall_offset_ns)
        labels = _labels(batch, order)
        listed: list[bytes] = []
        for group in groups:
            rows = records[group.rows]
            heads = slices(self._rows_of(group).encode(rows, columns[group.rows]))
            tails = _comms(rows["flags"], columns["comm"][group.rows])
            if group.kind == "exec" and not group.flags & _ARGS_LOST:
                tails = list(map(bytes.__add__, tails, _execs(batch, rows)))
            listed += map(b"%b%b%b}".__mod__, zip(heads, labels[group.rows], tails, strict=True))
        if len(groups) > 1:
            place = np.empty(len(listed), np.intp)
            place[order] = np.arange(len(listed))
            listed = list(itemgetter(*place.tolist())(listed))
        stamps = stamps_ms(batch).tolist()
        return Messages(listed, event_keys(batch), stamps, [batch.records])

    def _rows_of(self, group: Group) -> "_Rows":
        key = (group.kind, group.flags, group.call)
        if key not in self._rows:
            columns = columns_of(*key)
            run_ns = self._origin.run_ns
            columns = [replace(c, constant=run_ns) if c.name == "run_ns" else c for c in columns]
            columns.append(Column("host", constant=self._origin.host))
            columns.append(Column("boot_id", constant=self._origin.boot_id))
            self._rows[key] = _Rows(columns)
        return self._rows[key]


# --- texts ---------------------------------------------------------------------------------------


def _labels(batch: Batch, order: NDArray[np.intp]) -> list[bytes]:
    """Return the members of each event's label, in another order."""
    if batch.labels is None:
        return [_label(Label())] * len(batch)
    written = list(map(_label, batch.labels.table))
    return list(map(written.__getitem__, batch.labels.rows[order].tolist()))


@lru_cache(maxsize=4096)
def _label(label: Label) -> bytes:
    return b"," + dump(label._asdict())[1:-1]


@lru_cache(maxsize=4096)
def _comm(comm: bytes) -> bytes:
    return b',"comm":' + dump(comm.decode())


def _comms(flags: NDArray[np.uint32], comms: NDArray[np.bytes_]) -> list[bytes]:
    """Return the member comm of each event.

    Raises:
        UnicodeDecodeError: one is no UTF-8, and no flag says so.
    """
    texts = comms.tolist()
    for row in np.flatnonzero(flags & ESCAPED).tolist():
        texts[row] = escape(texts[row]).encode()
    return list(map(_comm, texts))


def _execs(batch: Batch, execs: NDArray[np.void]) -> list[bytes]:
    """Return the members filename and argv of each exec.

    Raises:
        UnicodeDecodeError: one is no UTF-8, and no flag says so.
    """
    members = []
    places = zip(execs["cpu"].tolist(), execs["seq"].tolist(), execs["flags"].tolist(), strict=True)
    for row, (cpu, seq, flags) in enumerate(places):
        filename, argv = batch.texts[cpu, seq]
        if argv and b"\0" not in filename and not (flags & ESCAPED or _odd(filename + argv)):
            args = argv.removesuffix(b"\0").replace(b"\0", b'","')
            members.append(b',"filename":"%b","argv":["%b"]' % (filename, args))
            continue
        ((filename, split),) = exec_texts(batch, execs[row : row + 1])
        texts = dump(filename.decode()), dump([arg.decode() for arg in split])
        members.append(b',"filename":%b,"argv":%b' % texts)
    return members


_odd = re.compile(rb'["\\\x01-\x1f\x80-\xff]').search
"""Find a byte that JSON wants escaped, or that is not ASCII; NULs end arguments."""


# --- numbers -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Columns whose digits are made at once."""

    names: tuple[str, ...]
    type: type[np.uint32] | type[np.uint64]
    given: np.dtype[np.void]
    target: np.dtype[np.void]

    def write(
        self, records: NDArray[np.void], derived: NDArray[np.void], rows: NDArray[np.uint8]
    ) -> None:
        """Write the columns into rows."""
        numbers = np.empty((len(rows), len(self.names)), self.type)
        for position, name in enumerate(self.names):
            column = (derived if name in _DERIVED else records)[name]
            signed = column.dtype.kind == "i"
            numbers[:, position] = np.abs(column.astype(np.int64)) if signed else column
        digits = decimal(numbers).reshape(len(rows), -1)
        np.ndarray((len(rows),), self.target, rows)[:] = digits.view(self.given)[:, 0]


class _Rows:
    """The head of messages of one shape, up to the texts.

    Args:
        columns: The members, in order; one without a constant is a number or a truth value.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        row = bytearray()
        places: dict[str, tuple[str, int]] = {}
        for column in columns:
            row += (b"," if row else b"{") + dump(column.name) + b":"
            if column.constant is not None:
                row += dump(column.constant)
            else:
                places[column.name] = column.type, len(row)
                row += b" " * _WIDTHS[column.type]
        self._row = np.frombuffer(bytes(row), np.uint8)
        self._booleans = {name: at for name, (type_, at) in places.items() if type_ == "bool"}
        self._signed = {name: at for name, (type_, at) in places.items() if type_ == "i32"}
        wide = {name: place for name, place in places.items() if place[0] == "u64"}
        narrow = {n: p for n, p in places.items() if n not in wide and n not in self._booleans}
        self._numbers = [
            _numbers(wide, np.uint64, 20, len(row)),
            _numbers(narrow, np.uint32, 12, len(row)),
        ]

    def encode(self, records: NDArray[np.void], derived: NDArray[np.void]) -> NDArray[np.uint8]:
        """Encode rows.

        Returns:
            Fresh array of shape ``(n, width)``, C order, without a NUL.
        """
        rows = np.empty((len(records), len(self._row)), np.uint8)
        rows[:] = self._row
        for numbers in self._numbers:
            numbers.write(records, derived, rows)
        for name, at in self._booleans.items():
            words = _BOOLEANS[derived[name].astype(np.intp)]
            rows[:, at : at + 5] = words.view(np.uint8).reshape(len(rows), 5)
        for name, at in self._signed.items():
            column = records[name]
            for row in np.flatnonzero(column < 0).tolist():
                rows[row, at : at + 11] = np.frombuffer(b"%11d" % column[row], np.uint8)
        return rows


def _numbers(
    places: dict[str, tuple[str, int]],
    type_: type[np.uint32] | type[np.uint64],
    width: int,
    row_bytes: int,
) -> _Numbers:
    """Say where digits of a fixed width are to be found, and where in a row they go."""
    widths = [_WIDTHS[type_name] for type_name, _ in places.values()]
    formats = [f"S{own}" for own in widths]
    ends = range(width, width * (len(places) + 1), width)
    given = [end - own for end, own in zip(ends, widths, strict=True)]
    target = [at for _, at in places.values()]
    names = tuple(places)

    def layout(offsets: list[int], size: int) -> np.dtype[np.void]:
        members: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
        return cast("np.dtype[np.void]", np.dtype(members))

    return _Numbers(names, type_, layout(given, width * len(places)), layout(target, row_bytes))
