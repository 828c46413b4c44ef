"""The columns of `batch` messages as numbers and texts again: of one message, or joined of many.

Pure: no I/O, no clock. What is not as it must be raises what ``batch_decode`` turns into a
MessageError. ``docs/messages.md`` describes columns.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.message.batch_layout import CONSTANT, DELTA, SPLIT, WRITTEN
from taskstream.message.member import number

__all__ = ["expect", "joined_numbers", "joined_texts", "numbers", "raw"]

_CODES = {"u8": "u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "i32": "<i4"}
_DTYPES = {name: np.dtype(code) for name, code in _CODES.items()}
_SHORT = {name: np.dtype(code) for name, code in WRITTEN.items()}
_BYTE, _LENGTH = np.dtype("u1"), _DTYPES["u32"]


def numbers(said: dict[str, Any], type_: str, count: int) -> NDArray[np.integer]:
    """Return the numbers of a column, of which there must be so many."""
    if said["type"] != type_:
        expect(said["type"], type_, "type")
    dtype = written = _DTYPES[type_]
    held = count
    if is_constant := said.get("encoding") == CONSTANT:
        held = 1
    if "written" in said:
        written = _SHORT[said["written"]]
        if written.itemsize >= dtype.itemsize:
            raise ValueError(f"a column of {type_}, written as {said['written']}")
    if "layout" in said:
        expect(said["layout"], SPLIT, "layout")
        split = raw(said, _BYTE, held * written.itemsize)
        values = split.reshape(written.itemsize, held).T.copy().view(written)[:, 0]
    else:
        values = raw(said, written, held)
    if written is not dtype:
        values = values.astype(dtype)
    if is_constant:
        values = values.repeat(count)
    elif "encoding" in said:
        expect(said["encoding"], DELTA, "encoding")
        values = values.cumsum(dtype=dtype)
    if "base" in said:
        values = values + dtype.type(number(said, "base"))
    return values


_FEW = frozenset({"type", "data", "groups", "encoding"})
"""Members of a column that is not written in a way for many numbers."""


def joined_numbers(
    saids: Sequence[dict[str, Any]], type_: str, counts: Sequence[int], *, is_delta: bool
) -> NDArray[np.integer]:
    """Return the numbers of a column of many messages, end to end.

    Args:
        saids: What each says of it: nothing of `WRITTEN`, `SPLIT` and the like.
        type_: Type of its numbers.
        counts: How many there must be of each, at least one.
        is_delta: They must be differences; otherwise they must not, but may be one number.

    Raises:
        ValueError: a message has the column in another way, which `numbers` may read.
    """
    dtype = _DTYPES[type_]
    if not all(map(_FEW.issuperset, saids)):
        raise ValueError("a column that is read by itself")
    expect({said["type"] for said in saids}, {type_}, "types")
    encodings = [said.get("encoding") for said in saids]
    datas = [said["data"] for said in saids]
    if is_delta:
        expect(set(encodings), {DELTA}, "encodings")
    elif any(encodings):
        expect(set(encodings) - {None}, {CONSTANT}, "encodings")
        listed = zip(datas, counts, encodings, strict=True)
        datas = [data * count if encoding else data for data, count, encoding in listed]
    expect(list(map(len, datas)), [dtype.itemsize * count for count in counts], "lengths")
    values = np.frombuffer(b"".join(datas), dtype)
    if is_delta:
        sums, sizes = values.cumsum(dtype=dtype), np.array(counts)
        starts = sizes.cumsum() - sizes
        values = sums - (sums[starts] - values[starts]).repeat(sizes)
    return values


def joined_texts(saids: Sequence[dict[str, Any]], counts: Sequence[int]) -> list[bytes]:
    """Return the texts of a column of one message or many, end to end.

    Args:
        saids: What each says of it.
        counts: How many texts there must be of each.
    """
    lengths = [raw(one, _LENGTH, n, "lengths") for one, n in zip(saids, counts, strict=True)]
    bounds = [0, *np.concatenate(lengths).cumsum(dtype=np.int64).tolist()]
    datas = [said["data"] for said in saids]
    data = b"".join(datas)
    ends = [bounds[count] for count in accumulate(counts)]
    expect(list(accumulate(map(len, datas))), ends, "ends of texts")
    return [data[start:end] for start, end in pairwise(bounds)]


def raw(
    said: dict[str, Any], dtype: np.dtype[Any], count: int, member: str = "data"
) -> NDArray[Any]:
    """Return what a member holds, of which there must be so many."""
    values = np.frombuffer(said[member], dtype)
    if len(values) != count:
        expect(len(values), count, "length of a column")
    return values


def expect(found: object, wanted: object, what: str) -> None:
    """Check one thing.

    Raises:
        ValueError: it is another.
    """
    if found != wanted:
        raise ValueError(f"{what}: {found!r}, not {wanted!r}")
