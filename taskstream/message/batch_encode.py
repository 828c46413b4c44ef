"""Many events as one message, field by field.

Pure: no I/O, no clock. ``docs/messages.md`` describes the message. A column is the numbers of all
events that have a field, side by side as numpy has them in memory. So nothing here loops over
events in Python, but to fetch the arguments of execs.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Label, Labels, take
from taskstream.message.batch_layout import (
    BATCH_VERSION,
    COMM_TYPE,
    TEXTS,
    BatchColumn,
    batch_columns,
    head_of,
    places_of,
    with_args,
)
from taskstream.message.columns import array_header, map_header, pack
from taskstream.message.message import Messages, stamps_ms
from taskstream.message.shape import Group, groups_of

__all__ = ["encode_batch", "shards"]

_COMM_HEAD, _LABEL_HEAD = head_of("comm", COMM_TYPE), head_of("label", "u32")
_CONSTANT_FROM = 64
"""Bytes of numbers for which it is worth saying that they are all one."""
_LONG_FROM = 2048
"""Bytes of long numbers for which it is worth looking how short they can be."""
_DATA, _LENGTHS, _BASE = pack("data"), pack("lengths"), pack("base")


def shards(batch: Batch, count: int) -> Iterator[tuple[int, Batch]]:
    """Split a batch by process, so that every process stays in one shard."""
    if count == 1:
        if len(batch):
            yield 0, batch
        return
    spread = (batch.records["tgid"] * np.uint32(0x9E3779B1)) >> np.uint32(16)
    shard = spread % np.uint32(count)
    for at in np.unique(shard).tolist():
        yield at, batch.part(np.flatnonzero(shard == at))


def encode_batch(
    batch: Batch, *, shard_count: int = 1, most_events: int = 4096, most_bytes: int = 900_000
) -> Messages:
    """Encode a batch as messages of up to ``most_events`` events of one shard.

    A message that would be longer than ``most_bytes`` is halved, down to a single event.

    Returns:
        Messages whose key is ``HOST/SHARD``; per shard in the order of the batch.
    """
    messages = Messages([], [], [], [], [])
    for shard, whole in shards(batch, shard_count):
        key = f"{batch.origin.host}/{shard}".encode()
        parts = [
            whole.part(slice(start, start + most_events))
            for start in range(0, len(whole), most_events)
        ]
        while parts:
            part = parts.pop(0)
            value = _message(part)
            if len(value) > most_bytes and len(part) > 1:
                half = len(part) // 2
                parts[:0] = [part.part(slice(half)), part.part(slice(half, None))]
                continue
            messages.values.append(value)
            messages.keys.append(key)
            messages.stamps_ms.append(int(stamps_ms(part.part(slice(1)))[0]))
            messages.records.append(part.records)
            cast("list[int]", messages.events).append(len(part))
    return messages


def _message(batch: Batch) -> bytes:
    order, groups = groups_of(batch.records)
    records = take(batch.records, order)
    shapes = tuple((group.kind, group.flags) for group in groups)
    bounds = [*(group.rows.start for group in groups), len(records)]
    wanted, told = batch_columns(shapes), with_args(shapes)
    labels = batch.labels
    columns = len(wanted) + 1 + (labels is not None) + (len(TEXTS) if told else 0)
    boot_ns = int(batch.records["boot_ns"][0])
    said = {
        "v": BATCH_VERSION,
        "kind": "batch",
        "host": batch.origin.host,
        "boot_id": batch.origin.boot_id,
        "run_ns": batch.origin.run_ns,
        "count": len(batch),
        "clock": {"boot_ns": boot_ns, "wall_ns": boot_ns + batch.wall_offset_ns},
    }
    # A map of fewer than 16 members has one byte before them.
    pieces = [bytes([0x80 | len(said) + (labels is not None) + 2]), pack(said)[1:]]
    if labels is not None:
        table, places = _used_labels(labels, order)
        pieces += [pack("labels"), array_header(len(table)), *map(_packed_label, table)]
    pieces += [pack("groups"), array_header(len(groups)), *map(_packed_group, groups)]
    pieces += [pack("columns"), map_header(columns)]
    for column in wanted:
        head, data = _numbers_of(records[column.field], column, bounds)
        pieces += [head, *_bin(_DATA, data)]
    pieces += [_COMM_HEAD, *_bin(_DATA, records["comm"].tobytes())]
    if labels is not None:
        pieces += [_LABEL_HEAD, *_bin(_DATA, places.astype("<u4").tobytes())]
    if told:
        pieces += _args(batch, records, bounds, told)
    return b"".join(pieces)


def _bin(key: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a member that is bytes."""
    return key, b"\xc6" + len(data).to_bytes(4, "big"), data


def _packed_group(group: Group) -> bytes:
    call = {"call": group.call} if group.call else {}
    return pack({"kind": group.kind, "count": group.rows.stop - group.rows.start} | call)


def _numbers_of(
    values: NDArray[np.integer], column: BatchColumn, bounds: Sequence[int]
) -> tuple[bytes, bytes]:
    """Return head and data of a column, of a field of all events in the order of their groups."""
    if column.groups:
        parts = [values[bounds[start] : bounds[stop]] for start, stop in column.runs]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    is_long = bool(column.long_heads) and values.nbytes >= _LONG_FROM
    if column.is_delta:
        values = np.ascontiguousarray(values)
        steps = np.empty_like(values)
        np.subtract(values[1:], values[:-1], out=steps[1:])
        if is_long:
            steps[0] = 0
            head, data = _long_numbers(steps.view("i8"), column)
            return head + _BASE + pack(int(values[0])), data
        steps[:1] = values[:1]
        data = steps.tobytes()
    else:
        data = values.tobytes()
        first = data[: values.itemsize]
        if len(data) >= _CONSTANT_FROM and data.endswith(first) and data == first * len(values):
            return column.constant_head, first
        if is_long:
            return _long_numbers(np.frombuffer(data, "u8"), column)
    return column.head, data


def _long_numbers(numbers: NDArray[np.integer], column: BatchColumn) -> tuple[bytes, bytes]:
    """Return the same of many numbers of 8 bytes, each in as few bytes as the longest needs."""
    most = int(np.maximum.reduce(numbers))
    if column.is_delta:
        most = 2 * max(most, -1 - int(np.minimum.reduce(numbers)))
    size = next(size for size in column.long_heads if most < 1 << 8 * size)
    short = numbers.astype(f"<{numbers.dtype.kind}{size}")
    planes = short.view("u1").reshape(-1, size).T if size > 2 else short
    return column.long_heads[size], planes.tobytes()


def _used_labels(
    labels: Labels, order: NDArray[np.intp]
) -> tuple[Sequence[Label], NDArray[np.intp]]:
    """Return the labels that occur, and the place among them of each record's, in an order."""
    places, table = labels.rows[order], labels.table
    used = np.flatnonzero(np.bincount(places, minlength=len(table)))
    if len(used) < len(table):
        places, table = np.searchsorted(used, places), [table[at] for at in used.tolist()]
    return table, places


@lru_cache(maxsize=4096)
def _packed_label(label: Label) -> bytes:
    return pack(label._asdict())


def _args(
    batch: Batch, records: NDArray[np.void], bounds: Sequence[int], told: Sequence[int]
) -> list[bytes]:
    """Return the columns of filename and argv, of the groups that have them."""
    places = chain.from_iterable(places_of(records[bounds[at] : bounds[at + 1]]) for at in told)
    texts = list(map(batch.texts.__getitem__, places))
    pieces: list[bytes] = []
    # (Not zip(*texts): an iterator for each exec is work for the garbage collector.)
    for at, name in enumerate(TEXTS):
        raws = [text[at] for text in texts]
        lengths = np.fromiter(map(len, raws), "<u4", len(raws)).tobytes()
        pieces += [head_of(name, "bytes", told, more=2)]
        pieces += [*_bin(_LENGTHS, lengths), *_bin(_DATA, b"".join(raws))]
    return pieces
