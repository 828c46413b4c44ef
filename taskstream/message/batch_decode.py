"""A `batch` message as a batch again, whichever version wrote it.

Pure: no I/O, no clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, ExecText, Label, Labels, Origin, time_order
from taskstream.errors import MessageError
from taskstream.message import batch_rows
from taskstream.message.batch_layout import (
    BATCH_VERSION,
    COMM_TYPE,
    CONSTANT,
    DELTA,
    SPLIT,
    TEXTS,
    WRITTEN,
    BatchColumn,
    batch_columns,
    places_of,
    with_args,
)
from taskstream.message.member import number, text
from taskstream.message.shape import deciding_mask
from taskstream.record import CALLS, KINDS, RECORD, VERSION

__all__ = ["BatchHead", "decode_batch", "read_head"]


def decode_batch(value: bytes, *, args: bool = True) -> Batch:
    """Decode a `batch` message of any version; its events come back by boot_ns, cpu, seq.

    Args:
        value: The message.
        args: Read the arguments of execs, too; otherwise no look is taken at their columns.

    Raises:
        MessageError: it is none.
    """
    try:
        message = msgpack.unpackb(value)
    except (msgpack.UnpackException, ValueError) as error:
        raise MessageError(f"not MessagePack: {error or type(error).__name__}") from None
    try:
        if number(message, "v") > BATCH_VERSION:
            raise MessageError(
                f"a message of schema version {message['v']}; this program reads up to "
                f"{BATCH_VERSION}: install a newer one"
            )
        if message["v"] == 1:
            records, texts, places = batch_rows.read_events(message)
        else:
            records, texts, places = _read_events(message, args=args)
        labels = _read_labels(message, places, len(records))
        head = _head(message)
        shift = int(np.int64(head.wall_ns - number(message["clock"], "boot_ns")))
        np.uint64(head.origin.run_ns)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MessageError(f"a batch message lacks or spoils a member: {error!r}") from None
    if len(records) != head.count:
        raise MessageError(f"a batch message says {head.count} events and holds {len(records)}")
    return Batch(head.origin, records, shift, texts, labels=labels).part(time_order(records))


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


def _read_events(
    message: dict[str, Any], *, args: bool
) -> tuple[NDArray[np.void], dict[tuple[int, int], ExecText], NDArray[np.integer] | None]:
    """Return records, the arguments of execs, and the place of each record's label."""
    groups, columns = message["groups"], message["columns"]
    counts = [number(group, "count") for group in groups]
    if min(counts, default=0) < 0:
        raise ValueError(f"a group of {min(counts)} events")
    bounds = list(accumulate(counts, initial=0))
    # Before anything is allocated: there are as many as the groups say.
    _expect(columns["comm"]["type"], COMM_TYPE, "type of comm")
    comms = _raw(columns["comm"], RECORD["comm"], bounds[-1])
    flags = _numbers(columns["flags"], "u32", bounds[-1])
    records = np.zeros(bounds[-1], RECORD)
    kinds = [text(group, "kind") for group in groups]
    deciding = flags & np.repeat(np.array([deciding_mask(kind) for kind in kinds], "u4"), counts)
    shapes = []
    for group, kind, (start, stop) in zip(groups, kinds, pairwise(bounds), strict=True):
        records["kind"][start:stop] = KINDS[kind]
        if kind == "fail":
            records["call"][start:stop] = CALLS[group["call"]]
        shapes.append((kind, int(deciding[start]) if start < stop else 0))
    if (deciding != np.repeat(np.array([bits for _, bits in shapes], "u4"), counts)).any():
        raise ValueError("events of one group know different fields")
    records["version"] = VERSION
    records["comm"] = comms
    _fill(records, columns, batch_columns(tuple(shapes)), bounds)
    told = with_args(shapes) if args else ()
    texts = _read_args(columns, records, bounds, told) if told else {}
    places = _numbers(columns["label"], "u32", bounds[-1]) if "label" in columns else None
    return records, texts, places


def _fill(
    records: NDArray[np.void],
    columns: Mapping[str, Any],
    wanted: Sequence[BatchColumn],
    bounds: Sequence[int],
) -> None:
    """Set the numbers of records, which are in the order of their groups."""
    everywhere = list(range(len(bounds) - 1))
    for column in wanted:
        said, into = columns[column.wire], records[column.field]
        if said.get("groups", everywhere) != (column.groups or everywhere):
            raise ValueError(f"{column.wire} of groups {said['groups']!r}")
        runs = [slice(bounds[start], bounds[stop]) for start, stop in column.runs]
        count = sum([run.stop - run.start for run in runs])
        values = _numbers(said, column.type, count)
        for run in runs[:-1]:
            size = run.stop - run.start
            into[run], values = values[:size], values[size:]
        into[runs[-1]] = values


_CODES = {"u8": "u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "i32": "<i4"}
_DTYPES = {name: np.dtype(code) for name, code in _CODES.items()}
_SHORT = {name: np.dtype(code) for name, code in WRITTEN.items()}
_BYTE, _LENGTH = np.dtype("u1"), _DTYPES["u32"]


def _numbers(said: dict[str, Any], type_: str, count: int) -> NDArray[np.integer]:
    """Return the numbers of a column, of which there must be so many."""
    if said["type"] != type_:
        _expect(said["type"], type_, "type")
    dtype = written = _DTYPES[type_]
    held = count
    if is_constant := said.get("encoding") == CONSTANT:
        held = 1
    if "written" in said:
        written = _SHORT[said["written"]]
        if written.itemsize >= dtype.itemsize:
            raise ValueError(f"a column of {type_}, written as {said['written']}")
    if "layout" in said:
        _expect(said["layout"], SPLIT, "layout")
        split = _raw(said, _BYTE, held * written.itemsize)
        values = split.reshape(written.itemsize, held).T.copy().view(written)[:, 0]
    else:
        values = _raw(said, written, held)
    if written is not dtype:
        values = values.astype(dtype)
    if is_constant:
        values = values.repeat(count)
    elif "encoding" in said:
        _expect(said["encoding"], DELTA, "encoding")
        values = values.cumsum(dtype=dtype)
    if "base" in said:
        values = values + dtype.type(number(said, "base"))
    return values


def _raw(
    said: dict[str, Any], dtype: np.dtype[Any], count: int, member: str = "data"
) -> NDArray[Any]:
    values = np.frombuffer(said[member], dtype)
    if len(values) != count:
        _expect(len(values), count, "length of a column")
    return values


def _expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise ValueError(f"{what}: {found!r}, not {wanted!r}")


def _read_args(
    columns: Mapping[str, Any],
    records: NDArray[np.void],
    bounds: Sequence[int],
    told: Sequence[int],
) -> dict[tuple[int, int], ExecText]:
    """Return filename and argv, of the groups that have them, by cpu and seq."""
    parts = [records[bounds[at] : bounds[at + 1]] for at in told]
    count = sum(map(len, parts))
    pieces = []
    for name in TEXTS:
        said = columns[name]
        _expect(said["type"], "bytes", f"type of {name}")
        _expect(said["groups"], told, f"groups of {name}")
        data, ends = said["data"], np.cumsum(_raw(said, _LENGTH, count, "lengths"), dtype=np.int64)
        if not isinstance(data, bytes):
            raise TypeError(f"{name} is {data!r}")
        bounds = [0, *ends.tolist()]
        _expect(len(data), bounds[-1], f"bytes of {name}")
        pieces.append([data[start:end] for start, end in pairwise(bounds)])
    places = chain.from_iterable(map(places_of, parts))
    return dict(zip(places, zip(*pieces, strict=True), strict=True))
