"""Fixed-width MessagePack maps, written and read a column at a time.

A template row holds the header, the keys and the type markers; a structured view with
big-endian members at the right offsets receives the values of all rows at once. Numbers
are not minimal, which MessagePack allows: every library reads them.
Pure: bytes from arrays and back. https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SHORT_TEXT",
    "Column",
    "RowTemplate",
    "array_header",
    "map_header",
    "members_of",
    "pack",
    "pack_utf8",
    "pack_utf8s",
    "short_text",
    "slices",
    "text_marker",
]

SHORT_TEXT = "S16"
"""Type of a column of at most 16 bytes of UTF-8, NUL-padded; only the last column may have it."""

_MARKERS = {"u8": 0xCC, "u16": 0xCD, "u32": 0xCE, "u64": 0xCF, "i32": 0xD2}
_BIG_ENDIAN = {"u8": ">u1", "u16": ">u2", "u32": ">u4", "u64": ">u8", "i32": ">i4", "bool": "u1"}
_FALSE = 0xC2
_FIXSTR = 0xA0


def pack(value: Any) -> bytes:
    """Pack one object as MessagePack."""
    packed: bytes = msgpack.packb(value)
    return packed


def pack_utf8(raw: bytes) -> bytes:
    """Pack bytes that are known to be UTF-8 as a string."""
    length = len(raw)
    if length < 256:
        return _STRING_HEADERS[length] + raw
    short = length < 1 << 16
    head = b"\xda" + length.to_bytes(2, "big") if short else b"\xdb" + length.to_bytes(4, "big")
    return head + raw


def pack_utf8s(raws: Sequence[bytes]) -> bytes:
    """Pack bytes that are known to be UTF-8 as an array of strings."""
    try:
        body = b"".join([_STRING_HEADERS[len(raw)] + raw for raw in raws])
    except IndexError:  # a long one
        body = b"".join(map(pack_utf8, raws))
    return array_header(len(raws)) + body


_STRING_HEADERS = [bytes([_FIXSTR | n]) if n < 32 else bytes([0xD9, n]) for n in range(256)]


def array_header(entries: int) -> bytes:
    """Pack the head of an array."""
    if entries < 16:
        return bytes([0x90 | entries])
    short = entries < 1 << 16
    return b"\xdc" + entries.to_bytes(2, "big") if short else b"\xdd" + entries.to_bytes(4, "big")


def map_header(entries: int) -> bytes:
    """Pack the head of a map."""
    return bytes([0x80 | entries]) if entries < 16 else b"\xde" + entries.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Column:
    """A member of a row: a value of ``type``, or without a type ``constant`` in every row.

    With both, ``constant`` is what rows hold that no source gives another value.
    """

    name: str
    type: str = ""
    constant: Any = None


class RowTemplate:
    """Rows of one shape.

    Args:
        columns: The members, in order.
        more: Members that the caller appends to every row by itself (counted in the header).
    """

    def __init__(self, columns: Sequence[Column], *, more: int = 0) -> None:
        row = bytearray(map_header(len(columns) + more))
        self.columns = tuple(columns)
        members: list[tuple[str, str, int]] = []
        for column in columns:
            row += pack(column.name)
            if not column.type:
                row += pack(column.constant)
            elif column.type == "bool":
                members.append((column.name, "u1", len(row)))
                row.append(_FALSE)
            elif column.type == SHORT_TEXT:
                members.append((text_marker(column.name), "u1", len(row)))
                members.append((column.name, SHORT_TEXT, len(row) + 1))
                row += bytes(17)
            else:
                big_endian = np.dtype(_BIG_ENDIAN[column.type])
                members.append((column.name, big_endian.str, len(row) + 1))
                row.append(_MARKERS[column.type])
                row += np.array(column.constant or 0, big_endian).tobytes()
        self._booleans = [c.name for c in columns if c.type == "bool"]
        self._row = np.frombuffer(bytes(row), np.uint8)
        self._view = _layout(members, len(row))
        fixed = np.ones(len(row), np.bool_)
        for name, dtype, offset in members:
            if name not in self._booleans:
                fixed[offset : offset + np.dtype(dtype).itemsize] = False
        self._fixed = np.flatnonzero(fixed)
        self._text = next((c.name for c in columns if c.type == SHORT_TEXT), None)
        self._plans: dict[tuple[np.dtype[np.void], ...], list[_Step]] = {}

    @property
    def width(self) -> int:
        """Bytes per row."""
        return len(self._row)

    def encode(self, *sources: NDArray[np.void]) -> NDArray[np.uint8]:
        """Encode rows.

        Args:
            sources: Structured arrays of shape ``(n,)`` whose members are named as columns;
                a later one goes before an earlier one. Each column must be in one of them.

        Returns:
            Fresh array of shape ``(n, width)``, C order: n rows end to end.
        """
        count = len(sources[0])
        rows = np.empty((count, self.width), np.uint8)
        rows[:] = self._row
        for source, (given, target) in zip(sources, self._plan(sources), strict=True):
            if given.names:  # one call for all members
                np.ndarray((count,), target, rows)[:] = source.view(given)
        if self._booleans or self._text:
            self._mark(np.ndarray((count,), self._view, rows), sources)
        return rows

    def _mark(self, view: NDArray[np.void], sources: Sequence[NDArray[np.void]]) -> None:
        """Turn truth values into markers, and give the short text its length."""
        for name in self._booleans:
            view[name] += _FALSE
        if self._text and not any(
            text_marker(self._text) in (s.dtype.names or ()) for s in sources
        ):
            text, marker = short_text(view[self._text])
            view[self._text] = text
            view[text_marker(self._text)] = marker

    def _plan(self, sources: Sequence[NDArray[np.void]]) -> list["_Step"]:
        """Return, for each source, the parts of it and of a row that have the same members."""
        dtypes = tuple(source.dtype for source in sources)
        if dtypes not in self._plans:
            wanted = {c.name for c in self.columns if c.type}
            if self._text:
                wanted.add(text_marker(self._text))
            steps: list[_Step] = []
            for dtype in reversed(dtypes):
                names = [name for name in dtype.names or () if name in wanted]
                wanted -= set(names)
                steps.insert(0, (members_of(dtype, names), members_of(self._view, names)))
            self._plans[dtypes] = steps
        return self._plans[dtypes]

    def matches(self, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell which rows an equal template encoded.

        Args:
            rows: Array of shape ``(n, width)``, C order.

        Returns:
            Array of shape ``(n,)``: headers, keys and type markers are this template's.
        """
        given, own = rows[:, self._fixed], self._row[self._fixed]
        for name in self._booleans:
            given[:, np.flatnonzero(self._fixed == _offset(self._view, name))] &= 0xFE
        same: NDArray[np.bool_] = (given == own).all(axis=1)
        return same

    def view(self, rows: NDArray[np.uint8]) -> NDArray[np.void]:
        """View rows that match.

        Args:
            rows: Array of shape ``(n, width)``, C order.

        Returns:
            Structured array of shape ``(n,)`` that shares the memory: a big-endian member per
            column that is no constant, a bool as its marker, 0xC2 or 0xC3.
        """
        members: NDArray[np.void] = rows.view(self._view)[:, 0]
        return members


def slices(rows: NDArray[np.uint8]) -> list[bytes]:
    """Return each row as bytes, without the NULs of a short text that ends it."""
    listed: list[bytes] = rows.view(f"S{rows.shape[1]}")[:, 0].tolist()
    return listed


def short_text(texts: NDArray[np.bytes_]) -> tuple[NDArray[np.bytes_], NDArray[np.uint8]]:
    """Cut each text at its first NUL (the kernel may leave old bytes behind it).

    Args:
        texts: ``S16`` array of shape ``(n,)``.

    Returns:
        The texts, NUL-padded, and their MessagePack markers, which tell their lengths.
    """
    texts = np.ascontiguousarray(texts)
    letters = texts.view(np.uint8)
    lengths = np.strings.str_len(texts)
    if np.count_nonzero(letters) != lengths.sum():
        matrix = letters.reshape(len(texts), -1)
        alive = np.logical_and.accumulate(matrix != 0, axis=1)
        texts, lengths = (matrix * alive).view(texts.dtype)[:, 0], alive.sum(axis=1)
    return texts, lengths.astype(np.uint8) | np.uint8(_FIXSTR)


def text_marker(name: str) -> str:
    """Return the member of a source that holds the markers of short text ``name``."""
    return f"{name} marker"


def _offset(dtype: np.dtype[np.void], name: str) -> int:
    assert dtype.fields is not None
    return int(dtype.fields[name][1])


_Step = tuple[np.dtype[np.void], np.dtype[np.void]]


def members_of(dtype: np.dtype[np.void], names: Sequence[str]) -> np.dtype[np.void]:
    """Return a dtype of the same size with only some members, in this order."""
    members = [(name, dtype[name].str, _offset(dtype, name)) for name in names]
    return _layout(members, dtype.itemsize)


def _layout(members: Sequence[tuple[str, str, int]], size: int) -> np.dtype[np.void]:
    names = [name for name, _, _ in members]
    formats = [dtype for _, dtype, _ in members]
    offsets = [offset for _, _, offset in members]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
