"""What messages of every shape share: their keys and times, and the texts in them.

Pure: no I/O, no clock. The keys are described in ``docs/messages.md``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, ExecText, take
from taskstream.message.columns import slices
from taskstream.message.shape import ESCAPED
from taskstream.record import KINDS
from taskstream.text import escape, is_utf8, split_argv

__all__ = [
    "Messages",
    "ascii_comms",
    "comm_of",
    "event_keys",
    "exec_raws",
    "exec_texts",
    "marked",
    "stamps_ms",
]

_NO_TEXT: ExecText = (b"", b"")


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages ready to be produced, in order; the lists are equally long.

    Attributes:
        values: MessagePack, or JSON.
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

    @property
    def count(self) -> int:
        """Events in all messages."""
        return len(self.values) if self.events is None else sum(self.events)

    def records_from(self, at: int) -> list[NDArray[np.void]]:
        """Return the records of the messages from ``at`` on."""
        if self.events is None:
            return [records[at:] for records in self.records]
        return self.records[at:]


def event_keys(batch: Batch) -> list[bytes]:
    """Return ``HOST/TGID-START`` per event, both numbers in fixed-width hexadecimal."""
    identity = np.empty(len(batch), _IDENTITY)
    identity["tgid"] = batch.records["tgid"]
    identity["start_ns"] = batch.records["process_start_ns"]
    digits = _HEX[identity.view(np.uint8)].view(np.uint8).reshape(len(batch), 24)
    head = np.frombuffer(batch.origin.host.encode() + b"/", np.uint8)
    at = len(head)
    keys = np.empty((len(batch), at + 25), np.uint8)
    keys[:, :at] = head
    keys[:, at : at + 8] = digits[:, :8]
    keys[:, at + 8] = ord("-")
    keys[:, at + 9 :] = digits[:, 8:]
    return slices(keys)


_IDENTITY = np.dtype([("tgid", ">u4"), ("start_ns", ">u8")])
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)


def stamps_ms(batch: Batch) -> NDArray[np.int64]:
    """Return the time of each event, in Unix milliseconds."""
    stamps: NDArray[np.int64] = (
        batch.records["boot_ns"].astype(np.int64) + batch.wall_offset_ns
    ) // 1_000_000
    return stamps


# --- texts that are not UTF-8 -------------------------------------------------------------------


def marked(batch: Batch) -> NDArray[np.void]:
    """Return the records, with ``text_escaped`` set where a text is not UTF-8."""
    records = batch.records
    bad = [row for row, comm in enumerate(records["comm"].tolist()) if not is_utf8(comm_of(comm))]
    execs = np.flatnonzero(records["kind"] == KINDS["exec"])
    for row, place in zip(execs.tolist(), _places(records[execs]), strict=True):
        filename, argv = batch.texts.get(place, _NO_TEXT)
        if not all(map(is_utf8, (filename, *split_argv(argv)))):
            bad.append(row)
    if bad:
        records = take(records, np.arange(len(records)))
        records["flags"][bad] |= ESCAPED
    return records


def ascii_comms(records: NDArray[np.void]) -> bool:
    """Tell whether every comm is ASCII, as nearly always."""
    letters = np.ascontiguousarray(records["comm"]).view(np.uint64)
    return not (letters & np.uint64(0x8080808080808080)).any()


def _places(records: NDArray[np.void]) -> Iterator[tuple[int, int]]:
    return zip(records["cpu"].tolist(), records["seq"].tolist(), strict=True)


def comm_of(raw: bytes) -> bytes:
    """Cut a record's comm at its first NUL."""
    return raw.split(b"\0", 1)[0]


def exec_raws(batch: Batch, execs: NDArray[np.void]) -> tuple[list[bytes], list[bytes]]:
    """Return filenames and argvs of execs, all of them UTF-8.

    Raises:
        UnicodeDecodeError: one is not.
    """
    texts = list(map(batch.texts.__getitem__, _places(execs)))
    filenames, argvs = [filename for filename, _ in texts], [argv for _, argv in texts]
    for raws in (filenames, argvs):
        joined = b"\0".join(raws)
        if not joined.isascii():
            joined.decode()  # a NUL ends every character, so all are valid if this is
    return filenames, argvs


def exec_texts(batch: Batch, execs: NDArray[np.void]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield filename and arguments of execs as UTF-8, escaped where their flags say so.

    Raises:
        UnicodeDecodeError: one is no UTF-8, and no flag says so.
    """
    for place, bits in zip(_places(execs), execs["flags"].tolist(), strict=True):
        filename, argv = batch.texts[place]
        args = split_argv(argv)
        if bits & ESCAPED:
            filename, args = _escaped(filename), [_escaped(arg) for arg in args]
        elif not (filename.isascii() and argv.isascii()):
            filename.decode()
            argv.decode()  # a NUL ends every character, so all are valid if this is
        yield filename, args


def _escaped(raw: bytes) -> bytes:
    return escape(raw).encode()
