"""Fixed-width MessagePack rows, written and read a column at a time.

A template row holds the header, the keys and the type markers; a structured view with
big-endian members at the right offsets receives the values of all rows at once. Numbers
are not minimal, which MessagePack allows: every library reads them.
Pure: bytes from arrays and back. https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

__all__ = ["Column", "RowTemplate", "pack"]

_MARKERS = {"u8": 0xCC, "u16": 0xCD, "u32": 0xCE, "u64": 0xCF, "i32": 0xD2}
_BIG_ENDIAN = {"u8": ">u1", "u16": ">u2", "u32": ">u4", "u64": ">u8", "i32": ">i4", "bool": "?"}
_FALSE = 0xC2


def pack(value: Any) -> bytes:
    """Pack one object as MessagePack."""
    packed: bytes = msgpack.packb(value)
    return packed


def _map_header(entries: int) -> bytes:
    return bytes([0x80 | entries]) if entries < 16 else b"\xde" + entries.to_bytes(2, "big")


def _array_header(entries: int) -> bytes:
    return bytes([0x90 | entries]) if entries < 16 else b"\xdc" + entries.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Column:
    """A member of a row: a number of ``type``, or the same ``constant`` in every row."""

    name: str
    type: str = ""
    constant: Any = None


class RowTemplate:
    """Rows of one shape.

    Args:
        columns: The members, in order.
        keyed: Rows are maps with the columns' names as keys; else arrays.
        more: Members that the caller appends to every row by itself (counted in the header).
    """

    def __init__(self, columns: Sequence[Column], *, keyed: bool, more: int = 0) -> None:
        row = bytearray((_map_header if keyed else _array_header)(len(columns) + more))
        offsets = []
        self.columns = tuple(columns)
        for column in columns:
            row += pack(column.name) if keyed else b""
            if not column.type:
                row += pack(column.constant)
            elif column.type == "bool":
                offsets.append(len(row))
                row.append(_FALSE)
            else:
                row.append(_MARKERS[column.type])
                offsets.append(len(row))
                row += bytes(np.dtype(_BIG_ENDIAN[column.type]).itemsize)
        self._values = tuple(c for c in columns if c.type)
        self._row = np.frombuffer(bytes(row), np.uint8)
        self._view = np.dtype(
            {
                "names": [c.name for c in self._values],
                "formats": [
                    "u1" if c.type == "bool" else _BIG_ENDIAN[c.type] for c in self._values
                ],
                "offsets": offsets,
                "itemsize": len(row),
            }
        )
        fixed = np.ones(len(row), np.bool_)
        for column, offset in zip(self._values, offsets, strict=True):
            fixed[offset : offset + self._view[column.name].itemsize] = False
        self._fixed = np.flatnonzero(fixed)

    @property
    def width(self) -> int:
        """Bytes per row."""
        return len(self._row)

    def encode(self, values: Mapping[str, NDArray[Any]] | NDArray[np.void]) -> NDArray[np.uint8]:
        """Encode rows.

        Args:
            values: An array per column that is no constant, each of shape ``(n,)``.

        Returns:
            Fresh array of shape ``(n, width)``, C order: n rows end to end.
        """
        count = len(values[self._values[0].name])
        rows = np.empty((count, self.width), np.uint8)
        rows[:] = self._row
        view = rows.view(self._view)[:, 0]
        for column in self._values:
            source = values[column.name]
            if column.type == "bool":
                view[column.name] = source.astype(np.uint8) + _FALSE
            else:
                view[column.name] = source
        return rows

    def matches(self, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell which rows an equal template encoded.

        Args:
            rows: Array of shape ``(n, width)``, C order.

        Returns:
            Array of shape ``(n,)``: headers, keys and type markers are this template's.
        """
        same: NDArray[np.bool_] = (rows[:, self._fixed] == self._row[self._fixed]).all(axis=1)
        for column in self._values:
            if column.type == "bool":
                same &= np.isin(rows.view(self._view)[:, 0][column.name], (_FALSE, _FALSE + 1))
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
