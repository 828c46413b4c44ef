"""Batches as Kafka messages: one map per event, or one map per batch.

Pure: no I/O, no clock. The shapes are described in ``docs/messages.md``; the columns come
from ``taskstream.record``. Nothing here loops over events in Python, except to give exec
events their arguments and to slice one ``bytes`` per event.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.batch import Batch, ExecText, Origin, take
from taskstream.columns import SHORT_TEXT, Column, RowTemplate, pack, slices
from taskstream.record import FLAGS, KINDS, VERSION
from taskstream.shape import ESCAPED, columns_of, derived, groups_of, hidden_fields, row_template
from taskstream.text import escape, is_utf8, split_argv

__all__ = [
    "EventEncoder",
    "Messages",
    "encode_batch",
    "shards",
]

_ARGS_LOST = FLAGS["args_lost"].mask
_NO_TEXT: ExecText = (b"", b"")
COMM_BYTES = 16


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages ready to be produced, in order; the lists are equally long.

    Attributes:
        values: MessagePack.
        keys: Partitioning keys.
        stamps_ms: Event time, Unix milliseconds.
        records: The records of each message; or of all, where every message is one event.
        events: Events in each message; None where every message is one event.
    """

    values: list[bytes]
    keys: list[bytes]
    stamps_ms: list[int]
    records: list[NDArray[np.void]]
    events: list[int] | None = None

    def records_from(self, at: int) -> list[NDArray[np.void]]:
        """Return the records of the messages from ``at`` on."""
        if self.events is None:
            return [records[at:] for records in self.records]
        return self.records[at:]


# --- texts that are not UTF-8 -------------------------------------------------------------------


def _marked(batch: Batch) -> NDArray[np.void]:
    """Return the records, with ``text_escaped`` set where a text is not UTF-8."""
    records = batch.records
    bad = [row for row, comm in enumerate(records["comm"].tolist()) if not is_utf8(_comm(comm))]
    execs = np.flatnonzero(records["kind"] == KINDS["exec"])
    for row, place in zip(execs.tolist(), _places(records[execs]), strict=True):
        filename, argv = batch.texts.get(place, _NO_TEXT)
        if not all(map(is_utf8, (filename, *split_argv(argv)))):
            bad.append(row)
    if bad:
        records = take(records, np.arange(len(records)))
        records["flags"][bad] |= ESCAPED
    return records


def _ascii_comms(records: NDArray[np.void]) -> bool:
    """Tell whether every comm is ASCII, as nearly always."""
    letters = np.ascontiguousarray(records["comm"]).view(np.uint64)
    return not (letters & np.uint64(0x8080808080808080)).any()


def _places(records: NDArray[np.void]) -> Iterator[tuple[int, int]]:
    return zip(records["cpu"].tolist(), records["seq"].tolist(), strict=True)


def _comm(raw: bytes) -> bytes:
    return raw.split(b"\0", 1)[0]


# --- one message per event -----------------------------------------------------------------------


class EventEncoder:
    """Encodes batches of one origin, one message per event."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._known = {"host": origin.host, "boot_id": origin.boot_id}
        self._key_head = np.frombuffer(origin.host.encode() + b"/", np.uint8)
        self._templates: dict[tuple[str, int, str | None], RowTemplate] = {}

    def _template(self, kind: str, flags: int, call: str | None) -> RowTemplate:
        key = (kind, flags, call)
        if key not in self._templates:
            texts = record.text_fields(kind)
            own = [f for f in texts if f.kinds and f.name not in hidden_fields(kind, flags)]
            columns = columns_of(kind, flags, call, keyed=True)
            columns += [
                Column(f.wire, constant=self._known.get(f.name))
                for f in texts
                if not f.kinds and f.name != "comm"
            ]
            columns.append(Column("comm", SHORT_TEXT))
            self._templates[key] = RowTemplate(columns, keyed=True, more=len(own))
        return self._templates[key]

    def encode(self, batch: Batch) -> Messages:
        """Encode a batch.

        Returns:
            One message per event, in the order of the batch. The key is the host and the
            identity of the process, so one process stays in order in one partition.
        """
        if _ascii_comms(batch.records):
            with suppress(UnicodeDecodeError):
                return self._encode(batch, batch.records)
        return self._encode(batch, _marked(batch))

    def _encode(self, batch: Batch, records: NDArray[np.void]) -> Messages:
        listed: list[bytes] = []
        order: list[NDArray[np.intp]] = []
        for kind, shape, call, rows in groups_of(records):
            group = records if len(rows) == len(records) else take(records, rows)
            matrix = self._template(kind, shape, call).encode(group, derived(kind, group, batch))
            listed += self._messages(batch, kind, group, matrix)
            order.append(rows)
        stamps_ms = _stamps_ms(batch).tolist()
        return Messages(_in_order(listed, order), self._keys(batch), stamps_ms, [batch.records])

    def _messages(
        self, batch: Batch, kind: str, group: NDArray[np.void], matrix: NDArray[np.uint8]
    ) -> list[bytes]:
        """Slice rows into messages, and append what a row cannot hold."""
        messages = slices(matrix)
        flags = group["flags"]
        for row in np.flatnonzero(flags & ESCAPED).tolist():
            head = matrix[row, : -1 - COMM_BYTES].tobytes()
            messages[row] = head + pack(escape(_comm(group["comm"][row])))
        if kind == "exec" and not flags[0] & _ARGS_LOST:
            texts = [
                _packed_exec(*batch.texts[place], bool(bits & ESCAPED))
                for place, bits in zip(_places(group), flags.tolist(), strict=True)
            ]
            messages = list(map(bytes.__add__, messages, texts))
        return messages

    def _keys(self, batch: Batch) -> list[bytes]:
        """Return ``HOST/TGID-START`` per event, both numbers in fixed-width hexadecimal."""
        identity = np.empty(len(batch), _IDENTITY)
        identity["tgid"] = batch.records["tgid"]
        identity["start_ns"] = batch.records["process_start_ns"]
        digits = _HEX[identity.view(np.uint8)].view(np.uint8).reshape(len(batch), 24)
        at = len(self._key_head)
        keys = np.empty((len(batch), at + 25), np.uint8)
        keys[:, :at] = self._key_head
        keys[:, at : at + 8] = digits[:, :8]
        keys[:, at + 8] = ord("-")
        keys[:, at + 9 :] = digits[:, 8:]
        return slices(keys)


def _in_order(messages: list[bytes], order: list[NDArray[np.intp]]) -> list[bytes]:
    """Put messages that were made group by group back into the order of their batch."""
    if len(order) < 2:
        return messages
    place = np.empty(len(messages), np.intp)
    place[np.concatenate(order)] = np.arange(len(messages))
    return list(itemgetter(*place.tolist())(messages))


_IDENTITY = np.dtype([("tgid", ">u4"), ("start_ns", ">u8")])
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)


@lru_cache(maxsize=1024)
def _packed_exec(filename: bytes, argv: bytes, escaped: bool) -> bytes:
    name, args = exec_text((filename, argv), escaped=escaped)
    return pack("filename") + pack(name) + pack("argv") + pack(args)


def exec_text(text: ExecText, *, escaped: bool) -> tuple[str, list[str]]:
    """Return filename and argv of one exec as text."""
    filename, argv = text
    if escaped:
        return escape(filename), [escape(arg) for arg in split_argv(argv)]
    return filename.decode(), [arg.decode() for arg in split_argv(argv)]


def _stamps_ms(batch: Batch) -> NDArray[np.int64]:
    stamps: NDArray[np.int64] = (
        batch.records["boot_ns"].astype(np.int64) + batch.wall_offset_ns
    ) // 1_000_000
    return stamps


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
        yield (
            number,
            Batch(batch.origin, batch.records[shard == number], batch.wall_offset_ns, batch.texts),
        )


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
            whole.records[start : start + most_events]
            for start in range(0, len(whole), most_events)
        ]
        while parts:
            records = parts.pop(0)
            part = Batch(batch.origin, records, batch.wall_offset_ns, batch.texts)
            value = _batch_message(part)
            if len(value) > most_bytes and len(part) > 1:
                parts[:0] = [records[: len(part) // 2], records[len(part) // 2 :]]
                continue
            messages.values.append(value)
            messages.keys.append(key)
            messages.stamps_ms.append(int(_stamps_ms(part)[0]))
            messages.records.append(records)
            cast("list[int]", messages.events).append(len(part))
    return messages


def _batch_message(batch: Batch) -> bytes:
    if _ascii_comms(batch.records):
        with suppress(UnicodeDecodeError):
            return _pack_batch(batch, batch.records)
    return _pack_batch(batch, _marked(batch))


def _pack_batch(batch: Batch, records: NDArray[np.void]) -> bytes:
    strings: dict[str, int] = {}
    groups = [
        _group(batch, kind, call, shape, take(records, rows), strings)
        for kind, shape, call, rows in groups_of(records)
    ]
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
    packed = bytearray([0x80 | len(head) + 1])
    for name, value in head.items():
        packed += pack(name) + pack(value)
    packed += pack("groups") + _array32(len(groups)) + b"".join(groups)
    return bytes(packed)


def _array32(entries: int) -> bytes:
    return b"\xdd" + entries.to_bytes(4, "big")


def _group(
    batch: Batch,
    kind: str,
    call: str | None,
    shape: int,
    records: NDArray[np.void],
    strings: dict[str, int],
) -> bytes:
    """Pack one group: kind, names of the fields, what exec has besides, and the rows."""
    template = row_template(kind, shape)
    flags = records["flags"].tolist()
    others = derived(kind, records, batch) | {"comm": _string_indexes(records, flags, strings)}
    parts: dict[str, Any] = {"kind": kind, "fields": [c.name for c in template.columns]}
    if call:
        parts["call"] = call
    if kind == "exec" and not shape & _ARGS_LOST:
        texts = [
            exec_text(batch.texts[place], escaped=bool(bits & ESCAPED))
            for place, bits in zip(_places(records), flags, strict=True)
        ]
        parts["filename"] = [filename for filename, _ in texts]
        parts["argv"] = [argv for _, argv in texts]
    packed = bytearray([0x80 | len(parts) + 1])
    for name, value in parts.items():
        packed += pack(name) + pack(value)
    packed += pack("rows") + _array32(len(records))
    packed += template.encode(records, others).tobytes()
    return bytes(packed)


def _string_indexes(
    records: NDArray[np.void], flags: list[int], strings: dict[str, int]
) -> NDArray[np.uint32]:
    """Put the comms into the message's table of strings; return each record's index."""
    known: dict[tuple[bytes, int], int] = {}
    indexes = []
    for comm, bits in zip(records["comm"].tolist(), flags, strict=True):
        key = comm, bits & ESCAPED
        index = known.get(key)
        if index is None:
            text = escape(_comm(comm)) if bits & ESCAPED else _comm(comm).decode()
            index = known[key] = strings.setdefault(text, len(strings))
        indexes.append(index)
    return np.array(indexes, np.uint32)
