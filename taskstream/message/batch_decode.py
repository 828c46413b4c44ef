"""`batch` messages as batches again, whichever version wrote them.

Pure: no I/O, no clock. A call of numpy costs as much for a column of a few numbers as for one of
hundreds. So short messages whose groups are alike are read together, their columns joined; where
that fails, each is read by itself, and what is wrong with it is said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, ExecText, Label, Labels, Origin, take, time_order
from taskstream.errors import MessageError
from taskstream.message import batch_rows
from taskstream.message.batch_column import (
    expect,
    joined_numbers,
    joined_texts,
    numbers,
    raw,
)
from taskstream.message.batch_layout import (
    BATCH_VERSION,
    COMM_TYPE,
    TEXTS,
    Shape,
    batch_columns,
    places_of,
    with_args,
)
from taskstream.message.member import number, text
from taskstream.message.shape import deciding_mask
from taskstream.record import CALLS, KINDS, RECORD, VERSION

__all__ = ["BatchHead", "decode_batch", "decode_batches", "read_head"]

_AT_ONCE = 256
"""Messages that are unpacked at a time: the map of a short one takes many times its bytes."""

_MOST_JOINED = 255
"""Events of a message that is read together with others. Of more, numbers are written short."""

_SPOILT = (LookupError, TypeError, ValueError, AttributeError, OverflowError)
_COMM = RECORD["comm"]
_MASKS = {kind: deciding_mask(kind) for kind in KINDS}

_Layout = tuple[tuple[str, str, int], ...]
"""Of each group: kind, failed call, and the flags that decide which fields its events have."""


def decode_batch(value: bytes, *, args: bool = True) -> Batch:
    """Decode a `batch` message of any version; its events come back by boot_ns, cpu, seq.

    Args:
        value: The message.
        args: Read the arguments of execs, too; otherwise no look is taken at their columns.

    Raises:
        MessageError: it is none.
    """
    (found,) = decode_batches([value], args=args)
    if isinstance(found, MessageError):
        raise found
    return found


def decode_batches(values: Sequence[bytes], *, args: bool = True) -> Iterator[Batch | MessageError]:
    """Decode messages as `decode_batch` does; yield of each its batch, or why it is none."""
    for start in range(0, len(values), _AT_ONCE):
        yield from _decode(values[start : start + _AT_ONCE], args=args)


def _decode(values: Sequence[bytes], *, args: bool) -> list[Batch | MessageError]:
    found: dict[int, Batch | MessageError] = {}
    alike: dict[_Layout, list[tuple[int, Any]]] = {}
    for place, value in enumerate(values):
        try:
            message = _unpacked(value)
            if message["v"] == 1:
                found[place] = _of_first_version(message)
                continue
            layout, count = _layout(message), number(message, "count")
        except MessageError as error:
            found[place] = error
        except _SPOILT as error:
            found[place] = _spoilt(error)
        else:
            if count > _MOST_JOINED:
                (found[place],) = _read([message], layout, args=args)
            else:
                alike.setdefault(layout, []).append((place, message))
    for layout, entries in alike.items():
        places, messages = zip(*entries, strict=True)
        found.update(zip(places, _read(messages, layout, args=args), strict=True))
    return [found[place] for place in range(len(values))]


def _unpacked(value: bytes) -> Any:
    try:
        message = msgpack.unpackb(value)
    except (msgpack.UnpackException, ValueError) as error:
        raise MessageError(f"not MessagePack: {str(error) or type(error).__name__}") from None
    if number(message, "v") > BATCH_VERSION:
        raise MessageError(
            f"a message of schema version {message['v']}; this program reads up to "
            f"{BATCH_VERSION}: install a newer one"
        )
    return message


def _spoilt(error: Exception) -> MessageError:
    return MessageError(f"a batch message lacks or spoils a member: {error!r}")


def _of_first_version(message: dict[str, Any]) -> Batch:
    """Read a message of rows."""
    records, texts, places = batch_rows.read_events(message)
    head, shift = _clock(message)
    _same_count(head.count, len(records))
    labels = _read_labels(message, places, len(records))
    return Batch(head.origin, records, shift, texts, labels=labels).part(time_order(records))


def _same_count(said: int, held: int) -> None:
    if held != said:
        raise MessageError(f"a batch message says {said} events and holds {held}")


@dataclass(frozen=True, slots=True)
class BatchHead:
    """What a `batch` message says before its events.

    Attributes:
        origin: The run.
        count: Events.
        wall_ns: CLOCK_REALTIME of the event that it names first.
    """

    origin: Origin
    count: int
    wall_ns: int


def read_head(value: bytes) -> BatchHead:
    """Read the head of a `batch` message, and leave the events alone.

    Raises:
        MessageError: it has none.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(value)
    head: dict[str, Any] = {}
    try:
        for _ in range(unpacker.read_map_header()):
            key = unpacker.unpack()
            if key == "groups" and head.keys() >= {"host", "boot_id", "run_ns", "count", "clock"}:
                break
            head[key] = unpacker.unpack()
        return _head(head)
    except msgpack.UnpackException as error:
        raise MessageError(f"not whole MessagePack: {type(error).__name__}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise MessageError(f"a batch message lacks or spoils a member: {error!r}") from None


def _clock(message: dict[str, Any]) -> tuple[BatchHead, int]:
    """Return the head of a message, and CLOCK_REALTIME minus CLOCK_BOOTTIME of its events."""
    head = _head(message)
    np.uint64(head.origin.run_ns)
    return head, int(np.int64(head.wall_ns - number(message["clock"], "boot_ns")))


def _head(message: dict[str, Any]) -> BatchHead:
    origin = Origin(text(message, "host"), text(message, "boot_id"), number(message, "run_ns"))
    return BatchHead(origin, number(message, "count"), number(message["clock"], "wall_ns"))


def _read_labels(
    message: dict[str, Any], places: NDArray[np.integer] | None, count: int
) -> Labels | None:
    if "labels" not in message:
        return None
    table = [Label.of(members) for members in message["labels"]]
    if places is None or len(places) != count:
        raise KeyError("label")
    if len(places) and places.max() >= len(table):
        raise IndexError(f"label {places.max()} of {len(table)}")
    return Labels(table, places.astype(np.intp))


# --- messages of columns -------------------------------------------------------------------------


def _layout(message: dict[str, Any]) -> _Layout:
    """Return what the groups of a message are."""
    groups, columns = message["groups"], message["columns"]
    counts = [number(group, "count") for group in groups]
    if min(counts, default=0) < 0:
        raise ValueError(f"a group of {min(counts)} events")
    bounds = list(accumulate(counts, initial=0))
    # Before anything is allocated: there are as many as the groups say.
    expect(columns["comm"]["type"], COMM_TYPE, "type of comm")
    raw(columns["comm"], _COMM, bounds[-1])
    flags = numbers(columns["flags"], "u32", bounds[-1])
    layout = []
    for group, start, stop in zip(groups, bounds, bounds[1:], strict=False):
        kind = text(group, "kind")
        bits = int(flags[start]) & _MASKS[kind] if start < stop else 0
        layout.append((kind, text(group, "call") if kind == "fail" else "", bits))
    return tuple(layout)


def _read(
    messages: Sequence[dict[str, Any]], layout: _Layout, *, args: bool
) -> list[Batch | MessageError]:
    """Read messages of one layout, together or else one by one."""
    try:
        return [*_read_alike(messages, layout, args=args)]
    except MessageError as error:
        spoilt = error
    except _SPOILT as error:
        spoilt = _spoilt(error)
    if len(messages) == 1:
        return [spoilt]
    return [one for message in messages for one in _read([message], layout, args=args)]


class _Span(NamedTuple):
    """Where the numbers of a column belong.

    Attributes:
        counts: How many there are of each message.
        rows: Of which records they are.
    """

    counts: list[int]
    rows: NDArray[np.intp] | slice


def _span(counts: NDArray[np.intp], groups: Sequence[int]) -> _Span:
    """Return where the numbers of some groups belong; none: of all.

    Args:
        counts: Events of each message's groups; shape ``(messages, groups)``.
        groups: Those groups, ascending.
    """
    if not groups:
        return _Span(counts.sum(axis=1).tolist(), slice(None))
    if len(counts) == 1 and groups[-1] - groups[0] == len(groups) - 1:
        row = counts[0].tolist()
        start, size = sum(row[: groups[0]]), sum(row[groups[0] : groups[-1] + 1])
        return _Span([size], slice(start, start + size))
    sizes = counts[:, groups].sum(axis=1).tolist()
    having = np.zeros(counts.shape, np.bool_)
    having[:, groups] = True
    return _Span(sizes, np.flatnonzero(having.ravel().repeat(counts.ravel())))


def _read_alike(messages: Sequence[dict[str, Any]], layout: _Layout, *, args: bool) -> list[Batch]:
    """Read messages of one layout."""
    counts = np.array([[group["count"] for group in one["groups"]] for one in messages], np.intp)
    columns = [message["columns"] for message in messages]
    everyone = _span(counts, [])
    kinds = [kind for kind, _, _ in layout]
    shapes = tuple((kind, bits) for kind, _, bits in layout)

    def of_groups(values: Sequence[int]) -> NDArray[np.uint32]:
        """Return a number for each record, of one for each group."""
        return np.array([*values] * len(messages), np.uint32).repeat(counts.ravel())

    records = np.zeros(sum(everyone.counts), RECORD)
    records["version"] = VERSION
    records["kind"] = of_groups([KINDS[kind] for kind in kinds])
    if "fail" in kinds:
        records["call"] = of_groups([CALLS[call] if call else 0 for _, call, _ in layout])
    records["comm"] = np.frombuffer(b"".join([one["comm"]["data"] for one in columns]), _COMM)
    _fill(records, columns, shapes, counts)
    bits = records["flags"] & of_groups([_MASKS[kind] for kind in kinds])
    if (bits != of_groups([bits for _, bits in shapes])).any():
        raise ValueError("events of one group know different fields")
    told = with_args(shapes) if args else []
    texts = (
        _read_args(columns, records, _span(counts, told), told) if told else [{} for _ in columns]
    )
    bounds = pairwise(accumulate(everyone.counts, initial=0))
    batches = []
    for message, its_texts, (start, stop) in zip(messages, texts, bounds, strict=True):
        head, shift = _clock(message)
        its = records[start:stop]
        _same_count(head.count, len(its))
        places = None
        if "label" in message["columns"]:
            places = numbers(message["columns"]["label"], "u32", len(its))
        labels = _read_labels(message, places, len(its))
        whole = Batch(head.origin, its, shift, its_texts, labels=labels)
        batches.append(whole.part(time_order(its)))
    return batches


def _fill(
    records: NDArray[np.void],
    columns: Sequence[dict[str, Any]],
    shapes: tuple[Shape, ...],
    counts: NDArray[np.intp],
) -> None:
    """Set the numbers of records, which are message after message, in the order of its groups."""
    everywhere = list(range(len(shapes)))
    spans: dict[tuple[int, ...], _Span] = {}
    for column in batch_columns(shapes):
        saids = [one[column.wire] for one in columns]
        groups = column.groups or everywhere
        for said in saids:
            if said.get("groups", everywhere) != groups:
                raise ValueError(f"{column.wire} of groups {said['groups']!r}")
        key = tuple(column.groups)
        if key not in spans:
            spans[key] = _span(counts, column.groups)
        span = spans[key]
        if len(saids) == 1:
            values = numbers(saids[0], column.type, span.counts[0])
        else:
            values = joined_numbers(saids, column.type, span.counts, is_delta=column.is_delta)
        records[column.field][span.rows] = values


def _read_args(
    columns: Sequence[dict[str, Any]],
    records: NDArray[np.void],
    span: _Span,
    told: Sequence[int],
) -> list[dict[tuple[int, int], ExecText]]:
    """Return filename and argv of the execs of each message, by cpu and seq."""
    pieces = []
    for name in TEXTS:
        saids = [one[name] for one in columns]
        for said in saids:
            expect(said["type"], "bytes", f"type of {name}")
            expect(said["groups"], told, f"groups of {name}")
        pieces.append(joined_texts(saids, span.counts))
    places = places_of(
        records[span.rows] if isinstance(span.rows, slice) else take(records, span.rows)
    )
    entries = zip(places, zip(*pieces, strict=True), strict=True)
    return [dict(islice(entries, count)) for count in span.counts]
