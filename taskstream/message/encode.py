"""Batches as Kafka messages: one map per event, or one map per batch.

Pure: no I/O, no clock. The shapes are described in ``docs/messages.md``; the columns come
from ``taskstream.record``. Nothing here loops over events in Python, except to give exec
events their arguments and to slice one ``bytes`` per event.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import cast

import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.batch import Batch, Label, Origin, take
from taskstream.message.argv import pack_argvs
from taskstream.message.columns import (
    SHORT_TEXT,
    Column,
    RowTemplate,
    array_header,
    pack,
    pack_utf8,
    pack_utf8s,
    slices,
)
from taskstream.message.message import (
    Messages,
    ascii_comms,
    comm_of,
    event_keys,
    exec_raws,
    exec_texts,
    marked,
    stamps_ms,
)
from taskstream.message.shape import (
    ESCAPED,
    Group,
    columns_of,
    derived,
    groups_of,
    hidden_fields,
    row_template,
)
from taskstream.record import FLAGS, VERSION
from taskstream.text import escape, split_argv

__all__ = [
    "EventEncoder",
    "encode_batch",
    "shards",
]

_ARGS_LOST = FLAGS["args_lost"].mask
COMM_BYTES = 16

MANY_COMMS, MANY_EXECS = 256, 64
"""From how many on arrays cost less than a look at each."""


# --- one message per event -----------------------------------------------------------------------


class EventEncoder:
    """Encodes batches of one origin, one message per event."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._known: dict[str, str | int] = {
            "host": origin.host,
            "boot_id": origin.boot_id,
            "run_ns": origin.run_ns,
        }
        self._templates: dict[tuple[str, int, str | None, bool], RowTemplate] = {}

    def _template(self, group: Group, *, labelled: bool) -> RowTemplate:
        """Return the rows of a group; what differs from row to row in length is appended."""
        key = (group.kind, group.flags, group.call, labelled)
        if key not in self._templates:
            texts = record.text_fields(group.kind)
            hidden = hidden_fields(group.kind, group.flags)
            appended = {f.name for f in texts if f.kinds and f.name not in hidden}
            appended |= set(Label._fields) if labelled else set()
            columns = columns_of(group.kind, group.flags, group.call, keyed=True)
            columns = [replace(c, constant=self._known.get(c.name, c.constant)) for c in columns]
            columns += [
                Column(f.wire, constant=self._known.get(f.name))
                for f in texts
                if not f.kinds and f.name != "comm" and f.name not in appended
            ]
            columns.append(Column("comm", SHORT_TEXT))
            self._templates[key] = RowTemplate(columns, keyed=True, more=len(appended))
        return self._templates[key]

    def encode(self, batch: Batch) -> Messages:
        """Encode a batch.

        Returns:
            One message per event, in the order of the batch. The key is the host and the
            identity of the process, so one process stays in order in one partition.
        """
        if ascii_comms(batch.records):
            with suppress(UnicodeDecodeError):
                return self._encode(batch, batch.records, escaping=False)
        return self._encode(batch, marked(batch), escaping=True)

    def _encode(self, batch: Batch, records: NDArray[np.void], *, escaping: bool) -> Messages:
        order, groups = groups_of(records)
        records = take(records, order)
        columns = derived(records, batch.wall_offset_ns)
        labels = _packed_labels(batch, order)
        listed: list[bytes] = []
        for group in groups:
            rows = records[group.rows]
            template = self._template(group, labelled=bool(labels))
            matrix = template.encode(rows, columns[group.rows])
            messages = slices(matrix)
            if escaping:
                for row in np.flatnonzero(rows["flags"] & ESCAPED).tolist():
                    head = matrix[row, : -1 - COMM_BYTES].tobytes()
                    messages[row] = head + pack(escape(comm_of(rows["comm"][row])))
            if labels:
                messages = list(map(bytes.__add__, messages, labels[group.rows]))
            if group.kind == "exec" and not group.flags & _ARGS_LOST:
                messages = list(map(bytes.__add__, messages, _packed_execs(batch, rows)))
            listed += messages
        if len(groups) > 1:
            place = np.empty(len(listed), np.intp)
            place[order] = np.arange(len(listed))
            listed = list(itemgetter(*place.tolist())(listed))
        return Messages(listed, event_keys(batch), stamps_ms(batch).tolist(), [batch.records])


def _packed_labels(batch: Batch, order: NDArray[np.intp]) -> list[bytes]:
    """Return the members of each event's label, in another order; none where nobody looked."""
    if batch.labels is None:
        return []
    packed = list(map(_packed_label, batch.labels.table))
    return list(map(packed.__getitem__, batch.labels.rows[order].tolist()))


@lru_cache(maxsize=4096)
def _packed_label(label: Label) -> bytes:
    return b"".join([pack(name) + pack(value) for name, value in label._asdict().items()])


def _packed_execs(batch: Batch, execs: NDArray[np.void]) -> Iterator[bytes]:
    filenames, argvs, places = _packed_args(batch, execs)
    for filename, (start, end) in zip(filenames, pairwise(places), strict=True):
        yield _FILENAME + filename + _ARGV + argvs[start:end]


_FILENAME, _ARGV = pack("filename"), pack("argv")


def _packed_args(batch: Batch, execs: NDArray[np.void]) -> tuple[list[bytes], bytes, Sequence[int]]:
    """Return filenames and argvs of execs, packed.

    Returns:
        Each filename; the argvs end to end; where each begins, and the end of the last.
    """
    if (execs["flags"] & ESCAPED).any():
        texts = list(exec_texts(batch, execs))
        filenames, packed = [name for name, _ in texts], [pack_utf8s(args) for _, args in texts]
    else:
        filenames, argvs = exec_raws(batch, execs)
        if len(execs) >= MANY_EXECS:
            joined, starts = pack_argvs(argvs)
            return list(map(_packed_filename, filenames)), joined, starts.tolist()
        packed = [pack_utf8s(split_argv(argv)) for argv in argvs]
    places = list(accumulate(map(len, packed), initial=0))
    return list(map(_packed_filename, filenames)), b"".join(packed), places


_packed_filename = lru_cache(maxsize=4096)(pack_utf8)


# --- one message per batch -----------------------------------------------------------------------


def shards(batch: Batch, count: int) -> Iterator[tuple[int, Batch]]:
    """Split a batch by process, so that every process stays in one shard."""
    if count == 1:
        if len(batch):
            yield 0, batch
        return
    spread = (batch.records["tgid"] * np.uint32(0x9E3779B1)) >> np.uint32(16)
    shard = spread % np.uint32(count)
    for number in np.unique(shard).tolist():
        yield number, batch.part(np.flatnonzero(shard == number))


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
            value = _batch_message(part)
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


def _batch_message(batch: Batch) -> bytes:
    if ascii_comms(batch.records):
        with suppress(UnicodeDecodeError):
            return _pack_batch(batch, batch.records)
    return _pack_batch(batch, marked(batch))


def _pack_batch(batch: Batch, records: NDArray[np.void]) -> bytes:
    order, groups = groups_of(records)
    records = take(records, order)
    columns = derived(records, batch.wall_offset_ns)
    strings: dict[str, int] = {}
    indexes = _string_indexes(records, strings)
    labels, label_rows = _batch_labels(batch, order)
    boot_ns = int(batch.records["boot_ns"][0])
    head = {
        "v": VERSION,
        "kind": "batch",
        "host": batch.origin.host,
        "boot_id": batch.origin.boot_id,
        "run_ns": batch.origin.run_ns,
        "count": len(batch),
        "clock": {"boot_ns": boot_ns, "wall_ns": boot_ns + batch.wall_offset_ns},
        "strings": list(strings),
    }
    # A map of fewer than 16 members has one byte before them.
    pieces: list[bytes | memoryview] = [bytes([0x80 | len(head) + bool(labels) + 1])]
    pieces += [pack(head)[1:], labels, pack("groups"), _array32(len(groups))]
    for group in groups:
        here = records[group.rows]
        rows = row_template(group.kind, group.flags, labelled=bool(labels)).encode(
            here,
            columns[group.rows],
            indexes[group.rows],
            *(numbers[group.rows] for numbers in label_rows),
        )
        pieces += [_group_head(group.kind, group.flags, group.call, labelled=bool(labels))]
        if group.kind == "exec" and not group.flags & _ARGS_LOST:
            pieces += _args_of(batch, here)
        pieces += [pack("rows"), _array32(len(rows)), rows.data]
    return b"".join(pieces)


def _array32(entries: int) -> bytes:
    return b"\xdd" + entries.to_bytes(4, "big")


@lru_cache
def _group_head(kind: str, flags: int, call: str | None, *, labelled: bool) -> bytes:
    """Pack what groups of a shape say first: kind, names of the fields."""
    names = [column.name for column in row_template(kind, flags, labelled=labelled).columns]
    parts = {"kind": kind, "fields": names} | ({"call": call} if call else {})
    args = 2 if kind == "exec" and not flags & _ARGS_LOST else 0
    return bytes([0x80 | len(parts) + args + 1]) + pack(parts)[1:]


def _args_of(batch: Batch, execs: NDArray[np.void]) -> list[bytes]:
    """Pack filename and argv of execs, as members of their group."""
    filenames, argvs, _ = _packed_args(batch, execs)
    header = array_header(len(filenames))
    return [_FILENAME, header, *filenames, _ARGV, header, argvs]


def _batch_labels(batch: Batch, order: NDArray[np.intp]) -> tuple[bytes, list[NDArray[np.void]]]:
    """Pack the labels that occur; return each record's index among them, in another order."""
    if batch.labels is None:
        return b"", []
    rows, table = batch.labels.rows[order], batch.labels.table
    used = np.flatnonzero(np.bincount(rows, minlength=len(table)))
    if len(used) < len(table):
        rows, table = np.searchsorted(used, rows), [table[number] for number in used.tolist()]
    maps = b"".join([_LABEL_MAP + _packed_label(label) for label in table])
    packed = pack("labels") + array_header(len(table)) + maps
    return packed, [rows.astype(np.uint32).view([("label", "<u4")])]


_LABEL_MAP = bytes([0x80 | len(Label._fields)])


def _string_indexes(records: NDArray[np.void], strings: dict[str, int]) -> NDArray[np.void]:
    """Put the comms into the message's table of strings; return each record's index there."""
    escaped = records["flags"] & np.uint32(ESCAPED)
    first, rows = _distinct(records["comm"], escaped)
    order = np.argsort(first)  # of appearance
    indexes = np.empty(len(first), np.uint32)
    for number, comm, bits in zip(
        order.tolist(),
        records["comm"][first[order]].tolist(),
        escaped[first[order]].tolist(),
        strict=True,
    ):
        text = escape(comm_of(comm)) if bits else comm_of(comm).decode()
        indexes[number] = strings.setdefault(text, len(strings))
    return indexes[rows].view([("comm", "<u4")])


def _distinct(
    comms: NDArray[np.bytes_], escaped: NDArray[np.uint32]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the comms that differ: return where each is first, and the number of each record's."""
    if len(comms) >= MANY_COMMS:
        words = np.ascontiguousarray(comms).view(np.uint64).reshape(-1, 2)
        mixed = words[:, 0] * _MIX[0] ^ words[:, 1] * _MIX[1] ^ escaped
        _, first, rows = np.unique(mixed, return_index=True, return_inverse=True)
        if (words[first][rows] == words).all() and (escaped[first][rows] == escaped).all():
            return first, rows
    keys = list(zip(comms.tolist(), escaped.tolist(), strict=True))
    firsts = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
    numbers = {key: number for number, key in enumerate(firsts)}
    return np.array(list(firsts.values())), np.array([numbers[key] for key in keys])


_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
