"""A `batch` message as a batch again: the inverse of ``encode.encode_batch``.

Pure: no I/O, no clock. Rows that our own encoder wrote are viewed as columns; others are read
one by one.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, ExecText, Label, Labels, Origin, join_records, time_order
from taskstream.errors import MessageError
from taskstream.message.columns import RowTemplate
from taskstream.message.member import exec_texts, number, text, text_list
from taskstream.message.shape import ESCAPED, NUMBERS, deciding_mask, hidden_fields, row_template
from taskstream.record import CALLS, FLAGS, KINDS, RECORD, VERSION
from taskstream.text import unescape

__all__ = ["BatchHead", "decode_batch", "read_head"]

_ARGS_LOST = FLAGS["args_lost"].mask


def decode_batch(value: bytes) -> Batch:
    """Decode a `batch` message; its events come back in order of boot_ns, cpu, seq."""
    try:
        head, groups = _read_envelope(value)
        strings = text_list(head, "strings")
        texts: dict[tuple[int, int], ExecText] = {}
        comms = np.array([string.encode() for string in strings], "S16")
        parts = [_read_group(group, rows, strings, comms, texts) for group, rows in groups]
        labels = _read_labels(head, groups)
        run_ns = int(np.uint64(number(head, "run_ns")))
        origin = Origin(text(head, "host"), text(head, "boot_id"), run_ns)
        wall_ns, boot_ns = (number(head["clock"], name) for name in ("wall_ns", "boot_ns"))
        offset = int(np.int64(wall_ns - boot_ns))
        count = head["count"]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise MessageError(f"a batch message lacks or spoils a member: {error!r}") from None
    records = join_records(parts)
    if len(records) != count:
        raise MessageError(f"a batch message says {count} events and holds {len(records)}")
    return Batch(origin, records, offset, texts, labels=labels).part(time_order(records))


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
    unpacker = _Reader(value)
    head: dict[str, Any] = {}
    try:
        for _ in range(unpacker.read_map_header()):
            key = unpacker.unpack()
            if key == "groups" and head.keys() >= {"host", "boot_id", "run_ns", "count", "clock"}:
                break
            head[key] = unpacker.unpack()
        origin = Origin(text(head, "host"), text(head, "boot_id"), number(head, "run_ns"))
        return BatchHead(origin, number(head, "count"), number(head["clock"], "wall_ns"))
    except (KeyError, TypeError, ValueError) as error:
        raise MessageError(f"a batch message lacks or spoils a member: {error!r}") from None


_Group = tuple[dict[str, Any], "NDArray[np.void] | list[list[Any]]"]


def _read_envelope(value: bytes) -> tuple[dict[str, Any], list[_Group]]:
    """Unpack a batch message, but for the rows that a template can view."""
    unpacker = _Reader(value)
    head: dict[str, Any] = {}
    groups: list[_Group] = []
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        if key != "groups":
            head[key] = unpacker.unpack()
            continue
        for _ in range(unpacker.read_array_header()):
            group: dict[str, Any] = {}
            rows: NDArray[np.void] | list[list[Any]] = []
            for _ in range(unpacker.read_map_header()):
                key = unpacker.unpack()
                if key == "rows":
                    rows = unpacker.read_rows(group)
                else:
                    group[key] = unpacker.unpack()
            groups.append((group, rows))
    if not unpacker.at_end:
        raise MessageError("a batch message with bytes behind it")
    return head, groups


class _Reader:
    """A MessagePack reader that can hand out rows as a matrix and go on behind them."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._skipped = 0
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)
        self._unpacker.feed(value)
        self.unpack = self._guarded(self._unpacker.unpack)
        self.read_map_header = self._guarded(self._unpacker.read_map_header)
        self.read_array_header = self._guarded(self._unpacker.read_array_header)

    @staticmethod
    def _guarded(read: Any) -> Any:
        def guarded() -> Any:
            try:
                return read()
            except msgpack.UnpackException as error:
                raise MessageError(f"not whole MessagePack: {type(error).__name__}") from None

        return guarded

    @property
    def at_end(self) -> bool:
        """Tell whether nothing is left."""
        return self._at() == len(self._value)

    def _at(self) -> int:
        read: int = self._unpacker.tell()
        return self._skipped + read

    def _skip_to(self, end: int) -> None:
        begin = self._at()
        self._unpacker.read_bytes(end - begin)
        self._skipped += end - self._at()  # its C version does not tell of bytes

    def read_rows(self, group: dict[str, Any]) -> "NDArray[np.void] | list[list[Any]]":
        """Read the rows of a group: as columns where our encoder wrote them."""
        count = self.read_array_header()
        at = self._at()
        template = _template(group.get("kind"), tuple(group.get("fields", ())))
        end = at + count * (template.width if template else 0)
        if template and end <= len(self._value):
            matrix = np.frombuffer(self._value, np.uint8, end - at, at)
            matrix = matrix.reshape(count, template.width)
            if template.matches(matrix).all():
                self._skip_to(end)
                return template.view(matrix)
        return [self.unpack() for _ in range(count)]


@lru_cache
def _template(kind: str | None, names: tuple[str, ...]) -> RowTemplate | None:
    """Return our encoder's template of rows with these columns."""
    if kind not in KINDS:
        return None
    masks = {0}
    for flag in FLAGS.values():
        if flag.hides or flag.shows:
            masks |= {mask | flag.mask for mask in masks}
    templates = (row_template(kind, mask, labelled="label" in names) for mask in sorted(masks))
    return next((t for t in templates if tuple(c.name for c in t.columns) == names), None)


def _read_labels(head: dict[str, Any], groups: list[_Group]) -> Labels | None:
    """Read the table of labels, and the index of each row, group by group."""
    if "labels" not in head:
        return None
    table = [Label.of(members) for members in head["labels"]]
    numbers = np.concatenate(
        [np.empty(0, np.uint32)]
        + [
            np.array(_columns(group["fields"], rows)["label"], np.uint32)
            for group, rows in groups
            if len(rows)
        ]
    )
    if len(numbers) and numbers.max() >= len(table):
        raise IndexError(f"label {numbers.max()} of {len(table)}")
    return Labels(table, numbers.astype(np.intp))


def _read_group(
    group: dict[str, Any],
    rows: "NDArray[np.void] | list[list[Any]]",
    strings: list[str],
    comms: NDArray[np.bytes_],
    texts: dict[tuple[int, int], ExecText],
) -> NDArray[np.void]:
    kind = group["kind"]
    records = np.zeros(len(rows), RECORD)
    records["version"] = VERSION
    records["kind"] = KINDS[kind]
    if not len(rows):
        return records
    columns = _columns(group["fields"], rows)
    records["flags"] = columns["flags"]
    deciding = records["flags"] & deciding_mask(kind)
    if (deciding != deciding[0]).any():
        raise ValueError(f"rows of one {kind} group know different fields")
    hidden = hidden_fields(kind, int(deciding[0]))
    for member in NUMBERS[kind]:
        if member.name not in hidden:
            records[member.name] = columns[member.wire]
    if kind == "fail":
        records["call"] = CALLS[group["call"]]
    indexes = np.array(columns["comm"], np.uint32)
    records["comm"] = comms[indexes]
    for row in np.flatnonzero(records["flags"] & ESCAPED).tolist():
        records["comm"][row] = unescape(strings[indexes[row]])
    if kind == "exec" and not records["flags"][0] & _ARGS_LOST:
        places = zip(records["cpu"].tolist(), records["seq"].tolist(), strict=True)
        given = exec_texts(text_list(group, "filename"), group["argv"], records["flags"].tolist())
        texts |= zip(places, given, strict=True)
    records["flags"] &= ~np.uint32(ESCAPED)
    return records


def _columns(names: list[str], rows: "NDArray[np.void] | list[list[Any]]") -> dict[str, Any]:
    """Return the rows as columns: arrays, or tuples of whole numbers."""
    if isinstance(rows, np.ndarray):
        return {name: rows[name] for name in rows.dtype.names or ()}
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    for name, values in columns.items():
        if not set(map(type, values)) <= {int, bool}:
            raise TypeError(f"{name} holds what is no whole number")
    return columns
