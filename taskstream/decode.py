"""Kafka messages as batches again: the inverse of ``encode``.

Pure: no I/O, no clock. Rows that our own encoder wrote are read a column at a time, after
their headers, keys and type markers were compared; anything else that is valid (another
encoder's minimal numbers, members in another order) is read one by one. What is no message
of ours is given back with the reason, never skipped in silence.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.batch import Batch, ExecText, Label, Labels, Origin, take
from taskstream.batch_message import decode_batch
from taskstream.columns import RowTemplate
from taskstream.errors import MessageError
from taskstream.json_message import dump
from taskstream.member import exec_text, number, text, text_list
from taskstream.record import CALLS, FLAGS, KINDS, RECORD, VERSION
from taskstream.report import Report
from taskstream.shape import (
    ESCAPED,
    NUMBERS,
    columns_of,
    deciding_mask,
    hidden_fields,
)
from taskstream.text import unescape

__all__ = ["Decoded", "MessageDecoder"]

_ARGS_LOST = FLAGS["args_lost"].mask
_PREFIX_BYTES = 16
_BATCH = b"\xa1v" + bytes([VERSION]) + b"\xa4kind\xa5batch"


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
    label: Label
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
        """Decode messages of any shape, of any hosts, mixed.

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
            left = deque(rest)
            while left:
                position = left.popleft()
                try:
                    learned = self._read_one(values[position], position, rows, decoded)
                except MessageError as error:
                    decoded.rejected.append((position, error))
                    continue
                if learned is not None:
                    left = deque(_read_columns(values, list(left), learned, rows))
        decoded.batches += _batches(rows)
        return decoded

    def _read_one(
        self, value: bytes, position: int, rows: _Rows, decoded: Decoded
    ) -> _Shape | None:
        """Read a message by itself; return the shape of its like, if it was not known."""
        if value[1 : 1 + len(_BATCH)] == _BATCH:
            decoded.batches.append(decode_batch(value))
            return None
        as_json = value[:1] == b"{"  # no map begins so in MessagePack
        event = _checked(_loaded(value) if as_json else _unpacked(value))
        kind = event["kind"]
        if kind == "report":
            decoded.reports.append(Report.from_map(event))
        elif kind == "batch" and as_json:
            raise MessageError("a batch as JSON: there is no such message")
        elif kind == "batch":
            decoded.batches.append(decode_batch(value))
        else:
            _read_event(event, position, rows)
            return None if as_json else self._learn(value, event)
        return None

    def _learn(self, value: bytes, event: dict[str, Any]) -> _Shape | None:
        """Remember the shape of an event, if our encoder would write it so."""
        kind, call, prefix = event["kind"], event.get("call"), value[:_PREFIX_BYTES]
        flags = event["flags"] & deciding_mask(kind)
        texts = frozenset(f.wire for f in record.text_fields(kind) if f.wire in event)
        columns = columns_of(kind, flags, call, keyed=True)
        template = RowTemplate(columns, keyed=True, more=len(texts))
        head = np.frombuffer(value[: template.width], np.uint8)[None, :]
        if head.shape[1] == template.width and template.matches(head).all():
            shape = _Shape(kind, flags, CALLS.get(call or "", 0), template, texts)
            known = self._shapes.setdefault(prefix, [])
            if all((one[:3], one.texts) != (shape[:3], texts) for one in known):
                known.append(shape)
                return shape
        return None


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
        (text(event, "host"), text(event, "boot_id")),
        Label.of(event),
        text(event, "comm"),
        None if event.get("filename") is None else text(event, "filename"),
        None if event.get("argv") is None else text_list(event, "argv"),
    )


def _unpacked(value: bytes) -> Any:
    try:
        return msgpack.unpackb(value)
    except (msgpack.UnpackException, ValueError) as error:
        raise MessageError(f"not MessagePack: {error or type(error).__name__}") from None


def _loaded(value: bytes) -> Any:
    """Read JSON; texts that UTF-8 cannot hold (a lone half of a surrogate pair) are refused."""
    try:
        text = value.decode()
        event = json.loads(text)
        if "\\u" in text:
            dump(event)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not JSON: {error}") from None
    return event


def _checked(event: Any) -> dict[str, Any]:
    """Return what was read, if it is a message of a kind and version that is known."""
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
        one["flags"] = number(event, "flags")
        hidden = hidden_fields(event["kind"], event["flags"])
        for member in NUMBERS[event["kind"]]:
            if member.name not in hidden:
                one[member.name] = number(event, member.wire)
        if event["kind"] == "fail":
            one["call"] = CALLS[event["call"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"a {event['kind']} event lacks or spoils a member: {error!r}") from None
    return one


def _read_event(event: dict[str, Any], position: int, rows: _Rows) -> None:
    rows.records[position : position + 1] = _one_record(event)
    try:
        rows.wall_ns[position] = number(event, "wall_ns")
        rows.run_ns[position] = number(event, "run_ns")
        if event["kind"] == "exec" and not event["flags"] & _ARGS_LOST:
            text(event, "filename"), text_list(event, "argv")
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
        batch = Batch(Origin(*origin, run_ns), records, offset, texts, labels=_labels(tails))
        batches.append(batch)
    return batches


def _labels(tails: list[_Tail]) -> Labels | None:
    numbers: dict[Label, int] = {}
    rows = [numbers.setdefault(tail.label, len(numbers)) for tail in tails]
    if numbers.keys() <= {Label()}:
        return None
    return Labels(list(numbers), np.array(rows, np.intp))


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
            texts[place] = exec_text(tail.filename, tail.argv, flags[row])
    records["flags"] &= ~np.uint32(ESCAPED)
    return texts
