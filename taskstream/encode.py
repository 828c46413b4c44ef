"""Batches as Kafka messages: one map per event, or one map per batch.

Pure: no I/O, no clock. The shapes are described in ``docs/messages.md``; the columns come
from ``taskstream.record``. Nothing here loops over events in Python, except to give exec
events their arguments and to slice one ``bytes`` per event.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.batch import Batch, ExecText, Origin
from taskstream.columns import RowTemplate, pack
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
_CACHED_SUFFIXES = 65536


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


def _mark_escaped(batch: Batch) -> NDArray[np.uint32]:
    """Return the flags column with ``text_escaped`` set where a text is not UTF-8."""
    flags: NDArray[np.uint32] = batch.records["flags"]
    bad: list[int] = []
    letters = np.ascontiguousarray(batch.records["comm"]).view(np.uint8)
    if (letters & 0x80).any():
        high = (letters.reshape(len(batch), -1) & 0x80).any(axis=1)
        comms = batch.records["comm"]
        bad += [row for row in np.flatnonzero(high).tolist() if not is_utf8(_comm(comms[row]))]
    execs = np.flatnonzero(batch.records["kind"] == KINDS["exec"])
    for row, place in zip(execs.tolist(), _places(batch.records[execs]), strict=True):
        filename, argv = batch.texts.get(place, _NO_TEXT)
        if filename.isascii() and argv.isascii():
            continue
        if not all(map(is_utf8, (filename, *split_argv(argv)))):
            bad.append(row)
    if bad:
        flags = flags.copy()
        flags[bad] |= ESCAPED
    return flags


def _places(records: NDArray[np.void]) -> Iterator[tuple[int, int]]:
    return zip(records["cpu"].tolist(), records["seq"].tolist(), strict=True)


def _comm(raw: bytes) -> bytes:
    return raw.split(b"\0", 1)[0]


# --- one message per event -----------------------------------------------------------------------


class _Tails(dict[bytes, bytes]):
    """The packed texts that end an event, by comm."""

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        known = {"host": origin.host, "boot_id": origin.boot_id}
        self._common = b"".join(
            pack(field.wire) + pack(known.get(field.name))
            for field in record.text_fields("task")
            if field.name != "comm"
        )

    def build(self, comm: bytes, *, escaped: bool = False) -> bytes:
        text = escape(_comm(comm)) if escaped else _comm(comm).decode()
        return pack("comm") + pack(text) + self._common

    def __missing__(self, comm: bytes) -> bytes:
        if len(self) >= _CACHED_SUFFIXES:
            self.clear()
        tail = self[comm] = self.build(comm)
        return tail


class EventEncoder:
    """Encodes batches of one origin, one message per event."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._tails = _Tails(origin)
        self._templates: dict[tuple[str, int, str | None], RowTemplate] = {}

    def _template(self, kind: str, flags: int, call: str | None) -> RowTemplate:
        key = (kind, flags, call)
        if key not in self._templates:
            hidden = hidden_fields(kind, flags)
            texts = [f for f in record.text_fields(kind) if f.name not in hidden]
            self._templates[key] = RowTemplate(
                columns_of(kind, flags, call, keyed=True), keyed=True, more=len(texts)
            )
        return self._templates[key]

    def encode(self, batch: Batch) -> Messages:
        """Encode a batch.

        Returns:
            One message per event, in the order of the batch. The key is the host and the
            identity of the process, so one process stays in order in one partition.
        """
        values: list[bytes] = [b""] * len(batch)
        flags = _mark_escaped(batch)
        for kind, shape, call, rows in groups_of(batch.records):
            group = batch.records if len(rows) == len(batch) else batch.records[rows]
            columns = {name: group[name] for name in record.RECORD.names or ()}
            columns |= derived(kind, group, batch) | {"flags": flags[rows]}
            matrix = self._template(kind, shape, call).encode(columns)
            heads = matrix.view(f"V{matrix.shape[1]}")[:, 0].tolist()
            tails = self._text_tails(group["comm"].tolist(), flags[rows])
            if kind == "exec":
                texts = self._exec_texts(batch, group, flags[rows])
                tails = [text + tail for text, tail in zip(texts, tails, strict=True)]
            if len(rows) == len(batch):
                values = [head + tail for head, tail in zip(heads, tails, strict=True)]
            else:
                for row, head, tail in zip(rows.tolist(), heads, tails, strict=True):
                    values[row] = head + tail
        stamps_ms = _stamps_ms(batch).tolist()
        return Messages(values, self._keys(batch), stamps_ms, [batch.records])

    def _text_tails(self, comms: list[bytes], flags: NDArray[np.uint32]) -> list[bytes]:
        if not (flags & ESCAPED).any():
            return list(map(self._tails.__getitem__, comms))
        return [
            self._tails.build(comm, escaped=True) if bits & ESCAPED else self._tails[comm]
            for comm, bits in zip(comms, flags.tolist(), strict=True)
        ]

    def _exec_texts(
        self, batch: Batch, group: NDArray[np.void], flags: NDArray[np.uint32]
    ) -> list[bytes]:
        places = _places(group)
        return [
            b"" if bits & _ARGS_LOST else _packed_exec(*batch.texts[place], bool(bits & ESCAPED))
            for place, bits in zip(places, flags.tolist(), strict=True)
        ]

    def _keys(self, batch: Batch) -> list[bytes]:
        """Return ``HOST/TGID-START`` per event, both numbers in fixed-width hexadecimal."""
        host = self._origin.host.encode() + b"/"
        keys = np.empty((len(batch), len(host) + 25), np.uint8)
        keys[:, : len(host)] = np.frombuffer(host, np.uint8)
        keys[:, len(host) : len(host) + 8] = _hexadecimal(batch.records["tgid"], ">u4")
        keys[:, len(host) + 8] = ord("-")
        keys[:, len(host) + 9 :] = _hexadecimal(batch.records["process_start_ns"], ">u8")
        listed: list[bytes] = keys.view(f"S{keys.shape[1]}")[:, 0].tolist()
        return listed


@lru_cache(maxsize=4096)
def _packed_exec(filename: bytes, argv: bytes, escaped: bool) -> bytes:
    name, args = exec_text((filename, argv), escaped=escaped)
    return pack("filename") + pack(name) + pack("argv") + pack(args)


def exec_text(text: ExecText, *, escaped: bool) -> tuple[str, list[str]]:
    """Return filename and argv of one exec as text."""
    filename, argv = text
    if escaped:
        return escape(filename), [escape(arg) for arg in split_argv(argv)]
    return filename.decode(), [arg.decode() for arg in split_argv(argv)]


_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)


def _hexadecimal(values: NDArray[Any], dtype: str) -> NDArray[np.uint8]:
    octets = values.astype(dtype).view(np.uint8).reshape(len(values), -1)
    return _HEX[octets].view(np.uint8)


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
    flags = _mark_escaped(batch)
    strings: dict[str, int] = {}
    groups = list(groups_of(batch.records))
    body = bytearray()
    for kind, shape, call, rows in groups:
        body += _group(batch, kind, shape, call, rows, flags[rows], strings)
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
    packed += pack("groups") + b"\xdd" + len(groups).to_bytes(4, "big") + body
    return bytes(packed)


def _group(
    batch: Batch,
    kind: str,
    shape: int,
    call: str | None,
    rows: NDArray[np.intp],
    flags: NDArray[np.uint32],
    strings: dict[str, int],
) -> bytes:
    """Pack one group: kind, names of the fields, rows, and what exec has besides."""
    records = batch.records[rows]
    template = row_template(kind, shape)
    columns = {name: records[name] for name in record.RECORD.names or ()}
    columns |= derived(kind, records, batch) | {"flags": flags}
    columns["comm"] = _string_indexes(records, flags, strings)
    parts: dict[str, Any] = {"kind": kind, "fields": [c.name for c in template.columns]}
    if call:
        parts["call"] = call
    if kind == "exec" and not shape & _ARGS_LOST:
        texts = [
            exec_text(batch.texts[place], escaped=bool(bits & ESCAPED))
            for place, bits in zip(_places(records), flags.tolist(), strict=True)
        ]
        parts["filename"] = [filename for filename, _ in texts]
        parts["argv"] = [argv for _, argv in texts]
    packed = bytearray([0x80 | len(parts) + 1])
    for name, value in parts.items():
        packed += pack(name) + pack(value)
    packed += pack("rows") + b"\xdd" + len(rows).to_bytes(4, "big")
    packed += template.encode(columns).tobytes()
    return bytes(packed)


def _string_indexes(
    records: NDArray[np.void], flags: NDArray[np.uint32], strings: dict[str, int]
) -> NDArray[np.uint32]:
    """Put the comms into the message's table of strings; return each record's index."""
    escaped = (flags & ESCAPED).astype(np.bool_)
    indexes = np.empty(len(records), np.uint32)
    for bad in (False, True):
        rows = np.flatnonzero(escaped == bad)
        known: dict[bytes, int] = {}
        listed = []
        for comm in records["comm"][rows].tolist():
            index = known.get(comm)
            if index is None:
                text = escape(_comm(comm)) if bad else _comm(comm).decode()
                index = known[comm] = strings.setdefault(text, len(strings))
            listed.append(index)
        indexes[rows] = listed
    return indexes
