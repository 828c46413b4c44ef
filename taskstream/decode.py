"""Kafka messages as batches again: the inverse of ``encode``.

Pure: no I/O, no clock. Rows that our own encoder wrote are read a column at a time, after
their headers, keys and type markers were compared; anything else that is valid (another
encoder's minimal numbers, members in another order) is read one by one. What is no message
of ours is given back with the reason, never skipped in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.batch import Batch, ExecText, Origin, in_time_order, join_records, take
from taskstream.columns import RowTemplate
from taskstream.errors import MessageError
from taskstream.record import CALLS, FLAGS, KINDS, RECORD, VERSION
from taskstream.report import Report
from taskstream.shape import (
    ESCAPED,
    columns_of,
    deciding_mask,
    hidden_fields,
    row_template,
)
from taskstream.text import unescape

__all__ = ["Decoded", "MessageDecoder"]

_ARGS_LOST = FLAGS["args_lost"].mask
_PREFIX_BYTES = 16
_BATCH = b"\xa1v" + bytes([VERSION]) + b"\xa4kind\xa5batch"
_NUMBERS = {
    kind: tuple(f for f in record.wire_fields(kind) if f.name not in ("version", "kind", "call"))
    for kind in KINDS
}


@dataclass(slots=True)
class Decoded:
    """What a run of messages held.

    Attributes:
        batches: Events, by origin and clock pair, in order of appearance.
        reports: Reports of agents.
        rejected: Position and reason of each message that is not ours.
    """

    batches: list[Batch] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    rejected: list[tuple[int, MessageError]] = field(default_factory=list)


class _Tail(NamedTuple):
    """The texts that end an event."""

    origin: tuple[str, str]
    comm: str
    filename: str | None
    argv: list[str] | None


class _Shape(NamedTuple):
    """How our encoder writes events that know the same fields."""

    kind: str
    flags: int
    call: int
    template: RowTemplate
    texts: frozenset[str]


@dataclass(slots=True)
class _Rows:
    """Records under way, with what a record does not hold."""

    records: NDArray[np.void]
    tails: list[_Tail | None]
    run_ns: NDArray[np.uint64]
    wall_ns: NDArray[np.uint64]


class MessageDecoder:
    """Decodes messages; it remembers the shapes that it has met."""

    def __init__(self) -> None:
        self._shapes: dict[bytes, list[_Shape]] = {}

    def decode(self, values: Sequence[bytes]) -> Decoded:
        """Decode messages of either shape, of any hosts, mixed.

        Args:
            values: Payloads.
        """
        decoded = Decoded()
        by_prefix: dict[bytes, list[int]] = {}
        for position, value in enumerate(values):
            by_prefix.setdefault(value[:_PREFIX_BYTES], []).append(position)
        rows = _Rows(
            np.zeros(len(values), RECORD),
            [None] * len(values),
            np.zeros(len(values), np.uint64),
            np.zeros(len(values), np.uint64),
        )
        for prefix, positions in by_prefix.items():
            rest = positions
            for shape in self._shapes.get(prefix, ()):
                rest = _read_columns(values, rest, shape, rows)
            for position in rest:
                try:
                    self._read_one(values[position], position, rows, decoded)
                except MessageError as error:
                    decoded.rejected.append((position, error))
        decoded.batches += _batches(rows)
        return decoded

    def _read_one(self, value: bytes, position: int, rows: _Rows, decoded: Decoded) -> None:
        if value[1 : 1 + len(_BATCH)] == _BATCH:
            decoded.batches.append(_decode_batch(value))
            return
        event = _unpack_map(value)
        kind = event["kind"]
        if kind == "report":
            decoded.reports.append(Report.from_map(event))
        elif kind == "batch":
            decoded.batches.append(_decode_batch(value))
        else:
            _read_event(event, position, rows)
            self._learn(value, event)

    def _learn(self, value: bytes, event: dict[str, Any]) -> None:
        """Remember the shape of an event, if our encoder would write it so."""
        kind, call, prefix = event["kind"], event.get("call"), value[:_PREFIX_BYTES]
        flags = event["flags"] & deciding_mask(kind)
        texts = frozenset(f.wire for f in record.text_fields(kind) if f.wire in event)
        columns = columns_of(kind, flags, call, keyed=True)
        template = RowTemplate(columns, keyed=True, more=len(texts))
        head = np.frombuffer(value[: template.width], np.uint8)[None, :]
        if head.shape[1] == template.width and template.matches(head).all():
            shape = _Shape(kind, flags, CALLS.get(call or "", 0), template, texts)
            self._shapes.setdefault(prefix, []).append(shape)


# --- one message per event -----------------------------------------------------------------------


def _read_columns(
    values: Sequence[bytes], positions: list[int], shape: _Shape, rows: _Rows
) -> list[int]:
    """Read the messages of a shape; return the positions of the others."""
    kind, template = shape.kind, shape.template
    width = template.width
    candidates = [p for p in positions if len(values[p]) > width]
    if not candidates:
        return positions
    heads = np.frombuffer(b"".join([values[p][:width] for p in candidates]), np.uint8)
    matrix = heads.reshape(-1, width)
    matching = template.matches(matrix)
    matching &= template.view(matrix)["flags"] & deciding_mask(kind) == shape.flags
    for index, position in enumerate(candidates):
        if matching[index]:
            rows.tails[position] = _tail(values[position][width:], shape.texts)
            matching[index] = rows.tails[position] is not None
    taken = np.array(candidates)[matching]
    view = template.view(matrix if matching.all() else matrix[matching])
    for name in view.dtype.names or ():
        if name == "wall_ns":
            rows.wall_ns[taken] = view[name]
        elif name == "run_ns":
            rows.run_ns[taken] = view[name]
        elif name in (RECORD.names or ()):
            rows.records[name][taken] = view[name]
    rows.records["version"][taken] = VERSION
    rows.records["kind"][taken] = KINDS[kind]
    if kind == "fail":
        rows.records["call"][taken] = shape.call
    return [p for p in positions if rows.tails[p] is None]


@lru_cache(maxsize=8192)
def _tail(raw: bytes, names: frozenset[str]) -> _Tail | None:
    """Unpack the members that end an event; None when they are not just these, and whole."""
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(raw)
    members = {}
    try:
        while unpacker.tell() < len(raw):
            key = unpacker.unpack()
            members[key] = unpacker.unpack()
        return _texts_of(members) if members.keys() == names else None
    except (msgpack.UnpackException, ValueError, TypeError, KeyError):
        return None


def _texts_of(event: dict[str, Any]) -> _Tail:
    """Return the texts of an event; KeyError or TypeError where one is missing or no text."""
    return _Tail(
        (_text(event, "host"), _text(event, "boot_id")),
        _text(event, "comm"),
        None if event.get("filename") is None else _text(event, "filename"),
        None if event.get("argv") is None else _texts(event, "argv"),
    )


def _number(members: dict[str, Any], name: str) -> int:
    value = members[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}")
    return value


def _text(members: dict[str, Any], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}")
    return value


def _texts(members: dict[str, Any], name: str) -> list[str]:
    value = members[name]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{name} is {value!r}")
    return value


def _exec_text(filename: str, argv: Sequence[str], flags: int) -> ExecText:
    """Rebuild the bytes of argv: a NUL ends each argument, but for a last one that was cut.

    (An empty last one keeps its NUL, or it would be none.)
    """
    back = unescape if flags & ESCAPED else str.encode
    raw = b"".join([back(arg) + b"\0" for arg in argv])
    if flags & FLAGS["args_truncated"].mask and argv and argv[-1]:
        raw = raw[:-1]
    return back(filename), raw


def _unpack_map(value: bytes) -> dict[str, Any]:
    try:
        event = msgpack.unpackb(value)
    except (msgpack.UnpackException, ValueError) as error:
        raise MessageError(f"not MessagePack: {error or type(error).__name__}") from None
    if not isinstance(event, dict) or not isinstance(event.get("v"), int):
        raise MessageError("not a taskstream message: no map with a version `v`")
    if event["v"] > VERSION:
        raise MessageError(
            f"a message of schema version {event['v']}; this program reads up to {VERSION}: "
            "install a newer one"
        )
    if event.get("kind") not in (*KINDS, "batch", "report"):
        raise MessageError(f"a message of unknown kind {event.get('kind')!r}")
    return event


def _one_record(event: dict[str, Any]) -> NDArray[np.void]:
    """Return the numbers of one event as a record."""
    one = np.zeros(1, RECORD)
    try:
        one["version"] = VERSION
        one["kind"] = KINDS[event["kind"]]
        one["flags"] = _number(event, "flags")
        hidden = hidden_fields(event["kind"], event["flags"])
        for member in _NUMBERS[event["kind"]]:
            if member.name not in hidden:
                one[member.name] = _number(event, member.wire)
        if event["kind"] == "fail":
            one["call"] = CALLS[event["call"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"a {event['kind']} event lacks or spoils a member: {error!r}") from None
    return one


def _read_event(event: dict[str, Any], position: int, rows: _Rows) -> None:
    rows.records[position : position + 1] = _one_record(event)
    try:
        rows.wall_ns[position] = _number(event, "wall_ns")
        rows.run_ns[position] = _number(event, "run_ns")
        if event["kind"] == "exec" and not event["flags"] & _ARGS_LOST:
            _text(event, "filename"), _texts(event, "argv")
        rows.tails[position] = _texts_of(event)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"a {event['kind']} event lacks or spoils a member: {error!r}") from None


def _batches(rows: _Rows) -> list[Batch]:
    """Split rows by origin and clock pair, in order of appearance."""
    offsets = rows.wall_ns.astype(np.int64) - rows.records["boot_ns"].astype(np.int64)
    members: dict[tuple[tuple[str, str], int, int], list[int]] = {}
    sources = zip(rows.tails, rows.run_ns.tolist(), offsets.tolist(), strict=True)
    for position, (tail, run_ns, offset) in enumerate(sources):
        if tail is not None:
            members.setdefault((tail.origin, run_ns, offset), []).append(position)
    batches = []
    for (origin, run_ns, offset), positions in members.items():
        tails = [tail for tail in (rows.tails[p] for p in positions) if tail is not None]
        records = take(rows.records, np.array(positions))
        texts = _set_texts(records, tails)
        batches.append(Batch(Origin(*origin, run_ns), records, offset, texts))
    return batches


def _set_texts(records: NDArray[np.void], tails: list[_Tail]) -> dict[tuple[int, int], ExecText]:
    """Set comm from the tails, and return the arguments of execs."""
    flags = records["flags"].tolist()
    records["comm"] = [
        unescape(tail.comm) if bits & ESCAPED else tail.comm.encode()
        for tail, bits in zip(tails, flags, strict=True)
    ]
    texts = {}
    for row in np.flatnonzero(records["kind"] == KINDS["exec"]).tolist():
        tail = tails[row]
        if tail.filename is not None and tail.argv is not None:
            place = int(records["cpu"][row]), int(records["seq"][row])
            texts[place] = _exec_text(tail.filename, tail.argv, flags[row])
    records["flags"] &= ~np.uint32(ESCAPED)
    return texts


# --- one message per batch -----------------------------------------------------------------------


def _decode_batch(value: bytes) -> Batch:
    """Decode a `batch` message; its events come back in order of boot_ns, cpu, seq."""
    try:
        head, groups = _read_envelope(value)
        texts: dict[tuple[int, int], ExecText] = {}
        parts = [_read_group(group, rows, _texts(head, "strings"), texts) for group, rows in groups]
        run_ns = int(np.uint64(_number(head, "run_ns")))
        origin = Origin(_text(head, "host"), _text(head, "boot_id"), run_ns)
        wall_ns, boot_ns = (_number(head["clock"], name) for name in ("wall_ns", "boot_ns"))
        offset = int(np.int64(wall_ns - boot_ns))
        count = head["count"]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise MessageError(f"a batch message lacks or spoils a member: {error!r}") from None
    records = join_records(parts)
    if len(records) != count:
        raise MessageError(f"a batch message says {count} events and holds {len(records)}")
    return Batch(origin, in_time_order(records), offset, texts)


_Group = tuple[dict[str, Any], "NDArray[np.void] | list[list[Any]]"]


def _read_envelope(value: bytes) -> tuple[dict[str, Any], list[_Group]]:
    """Unpack a batch message, but for the rows that a template can view."""
    unpacker = _Reader(value)
    head: dict[str, Any] = {}
    groups: list[_Group] = []
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        if key != "groups":
            head[key] = unpacker.unpack()
            continue
        for _ in range(unpacker.read_array_header()):
            group: dict[str, Any] = {}
            rows: NDArray[np.void] | list[list[Any]] = []
            for _ in range(unpacker.read_map_header()):
                key = unpacker.unpack()
                if key == "rows":
                    rows = unpacker.read_rows(group)
                else:
                    group[key] = unpacker.unpack()
            groups.append((group, rows))
    if not unpacker.at_end:
        raise MessageError("a batch message with bytes behind it")
    return head, groups


class _Reader:
    """A MessagePack reader that can hand out rows as a matrix and go on behind them."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._restart(0)

    def _restart(self, offset: int) -> None:
        self._offset = offset
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)
        self._unpacker.feed(memoryview(self._value)[offset:])
        self.unpack = self._guarded(self._unpacker.unpack)
        self.read_map_header = self._guarded(self._unpacker.read_map_header)
        self.read_array_header = self._guarded(self._unpacker.read_array_header)

    @staticmethod
    def _guarded(read: Any) -> Any:
        def guarded() -> Any:
            try:
                return read()
            except msgpack.UnpackException as error:
                raise MessageError(f"not whole MessagePack: {type(error).__name__}") from None

        return guarded

    @property
    def at_end(self) -> bool:
        """Tell whether nothing is left."""
        read: int = self._unpacker.tell()
        return self._offset + read == len(self._value)

    def read_rows(self, group: dict[str, Any]) -> "NDArray[np.void] | list[list[Any]]":
        """Read the rows of a group: as columns where our encoder wrote them."""
        count = self.read_array_header()
        at = self._offset + self._unpacker.tell()
        template = _template(group.get("kind"), tuple(group.get("fields", ())))
        end = at + count * (template.width if template else 0)
        if template and end <= len(self._value):
            matrix = np.frombuffer(self._value, np.uint8, end - at, at)
            matrix = matrix.reshape(count, template.width)
            if template.matches(matrix).all():
                self._restart(end)
                return template.view(matrix)
        return [self.unpack() for _ in range(count)]


@lru_cache
def _template(kind: str | None, names: tuple[str, ...]) -> RowTemplate | None:
    """Return our encoder's template of rows with these columns."""
    if kind not in KINDS:
        return None
    masks = {0}
    for flag in FLAGS.values():
        if flag.hides or flag.shows:
            masks |= {mask | flag.mask for mask in masks}
    templates = (row_template(kind, mask) for mask in sorted(masks))
    return next((t for t in templates if tuple(c.name for c in t.columns) == names), None)


def _read_group(
    group: dict[str, Any],
    rows: "NDArray[np.void] | list[list[Any]]",
    strings: list[str],
    texts: dict[tuple[int, int], ExecText],
) -> NDArray[np.void]:
    kind = group["kind"]
    records = np.zeros(len(rows), RECORD)
    records["version"] = VERSION
    records["kind"] = KINDS[kind]
    if not len(rows):
        return records
    columns = _columns(group["fields"], rows)
    records["flags"] = columns["flags"]
    deciding = records["flags"] & deciding_mask(kind)
    if (deciding != deciding[0]).any():
        raise ValueError(f"rows of one {kind} group know different fields")
    hidden = hidden_fields(kind, int(deciding[0]))
    for member in _NUMBERS[kind]:
        if member.name not in hidden:
            records[member.name] = columns[member.wire]
    if kind == "fail":
        records["call"] = CALLS[group["call"]]
    flags = records["flags"].tolist()
    comms = [strings[index] for index in np.array(columns["comm"], np.uint32).tolist()]
    records["comm"] = [
        unescape(comm) if bits & ESCAPED else comm.encode()
        for comm, bits in zip(comms, flags, strict=True)
    ]
    if kind == "exec" and not flags[0] & _ARGS_LOST:
        places = zip(records["cpu"].tolist(), records["seq"].tolist(), strict=True)
        argvs = [_texts({"argv": argv}, "argv") for argv in group["argv"]]
        given = zip(places, _texts(group, "filename"), argvs, flags, strict=True)
        for place, filename, argv, bits in given:
            texts[place] = _exec_text(filename, argv, bits)
    records["flags"] &= ~np.uint32(ESCAPED)
    return records


def _columns(names: list[str], rows: "NDArray[np.void] | list[list[Any]]") -> dict[str, Any]:
    """Return the rows as columns: arrays, or tuples of whole numbers."""
    if isinstance(rows, np.ndarray):
        return {name: rows[name] for name in rows.dtype.names or ()}
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    for name, values in columns.items():
        if not set(map(type, values)) <= {int, bool}:
            raise TypeError(f"{name} holds what is no whole number")
    return columns
