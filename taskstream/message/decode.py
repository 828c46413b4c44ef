"""Kafka messages as batches again: the inverse of ``encode``.

Pure: no I/O, no clock. Rows that our own encoder wrote are read a column at a time, after
their headers, keys and type markers were compared; anything else that is valid (another
encoder's minimal numbers, members in another order) is read one by one. What is no message
of ours is given back with the reason, never skipped in silence.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import compress
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import msgpack
import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.batch import Batch, ExecText, Label, Labels, Origin, put, take
from taskstream.errors import MessageError
from taskstream.message.batch_decode import decode_batches
from taskstream.message.batch_layout import BATCH_VERSION
from taskstream.message.columns import RowTemplate, members_of, pack
from taskstream.message.joined import PREFIX, Joined
from taskstream.message.json import dump
from taskstream.message.member import number, text, text_list
from taskstream.message.shape import (
    ESCAPED,
    NUMBERS,
    columns_of,
    deciding_mask,
    hidden_fields,
)
from taskstream.record import CALLS, FLAGS, KINDS, RECORD, VERSION
from taskstream.report import Report
from taskstream.tail import Tail, Tails, args_of
from taskstream.text import unescape

__all__ = ["Decoded", "MessageDecoder"]

_ARGS_LOST = FLAGS["args_lost"].mask
_NAMES = frozenset(RECORD.names or ())
_T = TypeVar("_T")
_BATCHES = tuple(
    pack("v") + pack(version) + pack("kind") + pack("batch")
    for version in range(1, BATCH_VERSION + 1)
)


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


class _Shape(NamedTuple):
    """How our encoder writes events that know the same fields."""

    kind: str
    flags: int
    call: int
    template: RowTemplate
    texts: frozenset[str]


class _Rows:
    """Records under way, with what a record does not hold.

    Attributes:
        known: The tails.
        tails: Number of each one's tail; -1 where nothing is known yet.
        texts: filename and argv of execs, by row.
        batches: Which of the messages are batches.
    """

    def __init__(self, values: Sequence[bytes], known: Tails) -> None:
        self._values, count = values, len(values)
        self.known = known
        self.records = np.zeros(count, RECORD)
        self.tails = np.full(count, -1)
        self.run_ns = np.zeros(count, np.uint64)
        self.wall_ns = np.zeros(count, np.uint64)
        self.texts: dict[int, ExecText | None] = {}
        self.batches: list[int] = []

    @cached_property
    def joined(self) -> Joined:
        """The messages; batches, which are long, are not joined for nothing."""
        return Joined(self._values)


class MessageDecoder:
    """Decodes messages; it remembers the shapes that it has met.

    Args:
        args: Read the arguments of execs, too. Without them there is a third less to do; that
            they are whole texts is seen to only where messages are read one by one.
    """

    def __init__(self, *, args: bool = True) -> None:
        self._shapes: dict[bytes, list[_Shape]] = {}
        self._args = args
        self._tails = Tails(args=args)

    def decode(self, values: Sequence[bytes]) -> Decoded:
        """Decode messages of any shape, of any hosts, mixed.

        Args:
            values: Payloads.
        """
        decoded = Decoded()
        self._tails.trim()
        rows = _Rows(values, self._tails)
        if self._shapes:
            prefixes = rows.joined.prefixes()
            for prefix, shapes in self._shapes.items():
                positions = np.flatnonzero(prefixes == np.frombuffer(prefix, PREFIX))
                for shape in shapes:
                    positions = _read_columns(positions, shape, rows)
        left = deque(np.flatnonzero(rows.tails < 0).tolist())
        while left:
            position = left.popleft()
            if values[position].startswith(_BATCHES, 1):
                rows.batches.append(position)
                continue
            try:
                learned = self._read_one(values[position], position, rows, decoded)
            except MessageError as error:
                decoded.rejected.append((position, error))
                continue
            if learned is not None:
                left = deque(_read_columns(np.array(left, np.intp), learned, rows).tolist())
        found = decode_batches([values[position] for position in rows.batches], args=self._args)
        for position, one in zip(rows.batches, found, strict=True):
            if isinstance(one, MessageError):
                decoded.rejected.append((position, one))
            else:
                decoded.batches.append(one)
        decoded.rejected.sort(key=itemgetter(0))
        decoded.batches += _batches(rows)
        return decoded

    def _read_one(
        self, value: bytes, position: int, rows: _Rows, decoded: Decoded
    ) -> _Shape | None:
        """Read a message by itself; return the shape of its like, if it was not known."""
        as_json = value[:1] == b"{"  # no map begins so in MessagePack
        event = _checked(_loaded(value) if as_json else _unpacked(value))
        kind = event["kind"]
        if kind == "report":
            decoded.reports.append(Report.from_map(event))
        elif kind == "batch" and as_json:
            raise MessageError("a batch as JSON: there is no such message")
        elif kind == "batch":
            rows.batches.append(position)
        else:
            _read_event(event, position, rows)
            return None if as_json else self._learn(value, event)
        return None

    def _learn(self, value: bytes, event: dict[str, Any]) -> _Shape | None:
        """Remember the shape of an event, if our encoder would write it so."""
        kind, call, prefix = event["kind"], event.get("call"), value[: PREFIX.itemsize]
        flags = event["flags"] & deciding_mask(kind)
        texts = frozenset(f.wire for f in record.text_fields(kind) if f.wire in event)
        columns = columns_of(kind, flags, call)
        template = RowTemplate(columns, more=len(texts))
        head = np.frombuffer(value[: template.width], np.uint8)[None, :]
        if head.shape[1] == template.width and template.matches(head).all():
            shape = _Shape(kind, flags, CALLS.get(call or "", 0), template, texts)
            known = self._shapes.setdefault(prefix, [])
            if all((one[:3], one.texts) != (shape[:3], texts) for one in known):
                known.append(shape)
                return shape
        return None


# --- one message per event -----------------------------------------------------------------------


def _matching(
    positions: NDArray[np.intp], shape: _Shape, rows: _Rows
) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Return those messages whose rows are of a shape, and the rows."""
    template, width = shape.template, shape.template.width
    long = positions[rows.joined.lengths[positions] > width]
    heads = rows.joined.heads(width, long)
    matching = template.matches(heads)
    matching &= template.view(heads)["flags"] & deciding_mask(shape.kind) == shape.flags
    return (long, heads) if matching.all() else (long[matching], heads[matching])


def _records_of(view: NDArray[np.void], shape: _Shape) -> NDArray[np.void]:
    """Return the rows of a shape as records, but for comm."""
    records = np.zeros(len(view), RECORD)
    for name in _NAMES.intersection(view.dtype.names or ()):
        records[name] = view[name]
    records["version"], records["kind"] = VERSION, KINDS[shape.kind]
    if shape.kind == "fail":
        records["call"] = shape.call
    return records


def _read_columns(positions: NDArray[np.intp], shape: _Shape, rows: _Rows) -> NDArray[np.intp]:
    """Read the messages of a shape; return the positions of the others."""
    taken, heads = _matching(positions, shape, rows)
    view = shape.template.view(heads)
    raws = rows.joined.tails(shape.template.width, taken)
    tails, args = rows.known.read(raws, shape.texts, view["flags"])
    ours = tails >= 0
    if not ours.all():
        taken, view, tails = taken[ours], view[ours], tails[ours]
        args = list(compress(args, ours.tolist()))
    if not len(taken):
        return positions
    put(rows.records, taken, _records_of(view, shape))
    rows.run_ns[taken], rows.wall_ns[taken] = view["run_ns"], view["wall_ns"]
    rows.tails[taken] = tails
    rows.texts.update(zip(taken.tolist(), args, strict=True) if args else ())
    return positions[rows.tails[positions] < 0]


def _read_event(event: dict[str, Any], position: int, rows: _Rows) -> None:
    put(rows.records, np.array([position]), _one_record(event))
    try:
        rows.wall_ns[position] = number(event, "wall_ns")
        rows.run_ns[position] = number(event, "run_ns")
        if event["kind"] == "exec" and not event["flags"] & _ARGS_LOST:
            text(event, "filename"), text_list(event, "argv")
        tail, args = Tail.of(event), args_of(event)
        rows.texts[position] = args
        rows.tails[position] = rows.known.enter(tail)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"a {event['kind']} event lacks or spoils a member: {error!r}") from None


def _unpacked(value: bytes) -> Any:
    try:
        return msgpack.unpackb(value)
    except (msgpack.UnpackException, ValueError) as error:
        raise MessageError(f"not MessagePack: {str(error) or type(error).__name__}") from None


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
    newest = BATCH_VERSION if event.get("kind") == "batch" else VERSION
    if event["v"] > newest:
        raise MessageError(
            f"a message of schema version {event['v']}; this program reads up to {newest}: "
            "install a newer one"
        )
    if event.get("kind") not in (*KINDS, "batch", "report"):
        raise MessageError(f"a message of unknown kind {event.get('kind')!r}")
    return event


def _one_record(event: dict[str, Any]) -> NDArray[np.void]:
    """Return the numbers of one event as a record."""
    one = np.zeros(1, RECORD)
    kind = event["kind"]
    try:
        flags = number(event, "flags")
        names, values_of, members = _members(kind, flags & deciding_mask(kind))
        values = values_of(event)
        if not set(map(type, values)) <= {int}:
            values = tuple(number(event, name) for name in names)
        one.view(members)[0] = values  # all in one go
        one["version"], one["kind"] = VERSION, KINDS[kind]
        if kind == "fail":
            one["call"] = CALLS[event["call"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"a {kind} event lacks or spoils a member: {error!r}") from None
    return one


@lru_cache
def _members(
    kind: str, flags: int
) -> tuple[list[str], Callable[[dict[str, Any]], tuple[Any, ...]], np.dtype[np.void]]:
    """Return the numbers that an event has: their names, what picks them, where they go."""
    hidden = hidden_fields(kind, flags)
    fields = [member for member in NUMBERS[kind] if member.name not in hidden]
    names = [member.wire for member in fields]
    return names, itemgetter(*names), members_of(RECORD, [member.name for member in fields])


# --- events as batches ---------------------------------------------------------------------------


def _batches(rows: _Rows) -> list[Batch]:
    """Split rows by origin and clock pair, in order of appearance."""
    events = np.flatnonzero(rows.tails >= 0)
    if not len(events):
        return []
    known, tails = rows.known.known, rows.tails[events]
    used = np.flatnonzero(np.bincount(tails, minlength=len(known)))
    origins, origin_of = _numbered(known, used, [known[tail].origin for tail in used.tolist()])
    labels, label_of = _numbered(known, used, [known[tail].label for tail in used.tolist()])
    unlabelled = labels == [Label()]
    _name(rows, events)
    runs = list(_runs(rows, events, origin_of[tails]))
    texts = _texts_of(rows, [members for *_, members in runs])
    return [
        Batch(
            Origin(*origins[origin], run_ns),
            take(rows.records, members),
            offset,
            its_texts,
            labels=None if unlabelled else _labels_of(labels, label_of[rows.tails[members]]),
        )
        for (origin, run_ns, offset, members), its_texts in zip(runs, texts, strict=True)
    ]


def _name(rows: _Rows, events: NDArray[np.intp]) -> None:
    """Set the comm of each event from its tail."""
    known, tails = rows.known.known, rows.tails[events]
    used = np.flatnonzero(np.bincount(tails))
    comms = np.zeros(len(known), "S16")
    comms[used] = [known[tail].comm.encode() for tail in used.tolist()]
    rows.records["comm"][events] = comms[tails]
    for row in np.flatnonzero(rows.records["flags"] & ESCAPED).tolist():
        if rows.tails[row] >= 0:
            rows.records["comm"][row] = unescape(known[rows.tails[row]].comm)
    rows.records["flags"] &= ~np.uint32(ESCAPED)


def _numbered(
    known: Sequence[Tail], used: NDArray[np.intp], values: list[_T]
) -> tuple[list[_T], NDArray[np.intp]]:
    """Number what those tails say that occur; return it by number, and each tail's number."""
    numbers: dict[_T, int] = {}
    of_tails = np.zeros(len(known), np.intp)
    of_tails[used] = [numbers.setdefault(value, len(numbers)) for value in values]
    return list(numbers), of_tails


def _runs(
    rows: _Rows, events: NDArray[np.intp], origins: NDArray[np.intp]
) -> Iterator[tuple[int, int, int, NDArray[np.intp]]]:
    """Yield number of the origin, run, clock offset and rows of each future batch."""
    few = origins.astype(np.min_scalar_type(len(origins)))  # up to 16 bits are sorted in no time
    order = np.argsort(few, kind="stable")
    events, origins = events[order], origins[order]
    run_ns = rows.run_ns[events]
    offsets = rows.wall_ns[events].view(np.int64) - rows.records["boot_ns"][events].view(np.int64)
    same = (origins[1:] == origins[:-1]) & (run_ns[1:] == run_ns[:-1])
    starts = [0, *(np.flatnonzero(~(same & (offsets[1:] == offsets[:-1]))) + 1).tolist()]
    members: dict[tuple[int, int, int], list[NDArray[np.intp]]] = {}
    for start, end in zip(starts, [*starts[1:], len(events)], strict=True):
        key = int(origins[start]), int(run_ns[start]), int(offsets[start])
        members.setdefault(key, []).append(events[start:end])
    for key, parts in sorted(members.items(), key=lambda entry: int(entry[1][0][0])):
        yield *key, np.concatenate(parts)


def _labels_of(labels: Sequence[Label], rows: NDArray[np.intp]) -> Labels | None:
    """Return the labels that occur among some; None where none says anything."""
    used = np.flatnonzero(np.bincount(rows))
    table = [labels[number] for number in used.tolist()]
    return None if table == [Label()] else Labels(table, np.searchsorted(used, rows))


def _texts_of(
    rows: _Rows, batches: list[NDArray[np.intp]]
) -> list[dict[tuple[int, int], ExecText]]:
    """Return the arguments of the execs of each batch, by cpu and seq."""
    texts = []
    for members in batches:
        execs = members[rows.records["kind"][members] == KINDS["exec"]]
        records = take(rows.records, execs)
        places = zip(records["cpu"].tolist(), records["seq"].tolist(), strict=True)
        listed = zip(places, map(rows.texts.get, execs.tolist()), strict=True)
        texts.append({place: text for place, text in listed if text is not None})
    return texts
