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
    BatchColumn,
    batch_columns,
    places_of,
    with_args,
)
from taskstream.message.member import number, text
from taskstream.message.shape import deciding_mask
from taskstream.record import CALLS, KINDS, RECORD, VERSION

__all__ = ["BatchHead", "decode_batch", "read_head"]


def decode_batch(value: bytes) -> Batch:
    """Decode a `batch` message of any version; its events come back by boot_ns, cpu, seq.

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
        read = batch_rows.read_events if message["v"] == 1 else _read_events
        records, texts, places = read(message)
        labels = _read_labels(message, places, len(records))
        head = _head(message)
        shift = int(np.int64(head.wall_ns - number(message["clock"], "boot_ns")))
        np.uint64(head.origin.run_ns)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
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
    message: dict[str, Any],
) -> tuple[NDArray[np.void], dict[tuple[int, int], ExecText], NDArray[np.integer] | None]:
    """Return records, the arguments of execs, and the place of each record's label."""
    groups, columns = message["groups"], message["columns"]
    counts = [number(group, "count") for group in groups]
    if min(counts, default=0) < 0:
        raise ValueError(f"a group of {min(counts)} events")
    bounds = list(accumulate(counts, initial=0))
    # Before anything is allocated: there are as many as the groups say.
    comm = _column(columns, "comm")
    _expect(comm["type"], COMM_TYPE, "type of comm")
    comms = _raw(comm, RECORD["comm"], bounds[-1])
    flags = _numbers(_column(columns, "flags"), "u32", bounds[-1])
    records = np.zeros(bounds[-1], RECORD)
    shapes = []
    for group, (start, stop) in zip(groups, pairwise(bounds), strict=True):
        kind = text(group, "kind")
        mine, deciding = records[start:stop], flags[start:stop] & deciding_mask(kind)
        if (deciding != deciding[:1]).any():
            raise ValueError(f"events of one {kind} group know different fields")
        mine["kind"] = KINDS[kind]
        if kind == "fail":
            mine["call"] = CALLS[group["call"]]
        shapes.append((kind, int(deciding[0]) if len(deciding) else 0))
    records["version"] = VERSION
    records["comm"] = comms
    _fill(records, columns, batch_columns(tuple(shapes)), bounds)
    told = with_args(shapes)
    texts = _read_args(columns, records, bounds, told) if told else {}
    places = _numbers(_column(columns, "label"), "u32", bounds[-1]) if "label" in columns else None
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
        said, into = _column(columns, column.wire), records[column.field]
        if said.get("groups", everywhere) != (column.groups or everywhere):
            raise ValueError(f"{column.wire} of groups {said['groups']!r}")
        slices = [slice(bounds[start], bounds[stop]) for start, stop in column.runs]
        values = _numbers(said, column.type, sum([part.stop - part.start for part in slices]))
        for part in slices:
            count = part.stop - part.start
            into[part], values = values[:count], values[count:]


_CODES = {"u8": "u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "i32": "<i4"}
_DTYPES = {name: np.dtype(code) for name, code in _CODES.items()}
_LENGTH = _DTYPES["u32"]


def _column(columns: Mapping[str, Any], name: str) -> dict[str, Any]:
    column = columns[name]
    if not isinstance(column, dict):
        raise TypeError(f"{name} is {column!r}")
    return column


def _numbers(said: dict[str, Any], type_: str, count: int) -> NDArray[np.integer]:
    """Return the numbers of a column, of which there must be so many."""
    _expect(said["type"], type_, "type")
    dtype, encoded = _DTYPES[type_], "encoding" in said
    is_constant = encoded and said["encoding"] == CONSTANT
    written = 1 if is_constant else count
    if "layout" in said:
        _expect(said["layout"], SPLIT, "layout")
        split = _raw(said, np.dtype("u1"), written * dtype.itemsize)
        values = np.ascontiguousarray(split.reshape(dtype.itemsize, written).T).view(dtype)[:, 0]
    else:
        values = _raw(said, dtype, written)
    if is_constant:
        return values.repeat(count)
    if encoded:
        _expect(said["encoding"], DELTA, "encoding")
        return values.cumsum(dtype=dtype)
    return values


def _raw(
    said: dict[str, Any], dtype: np.dtype[Any], count: int, member: str = "data"
) -> NDArray[Any]:
    values = np.frombuffer(said[member], dtype)
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
        said = _column(columns, name)
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
