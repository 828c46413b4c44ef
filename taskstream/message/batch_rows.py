"""`batch` messages of schema version 1, which had rows: read, no longer written.

Pure: no I/O, no clock.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import ExecText, join_records
from taskstream.message.member import exec_texts, text_list
from taskstream.message.shape import ESCAPED, NUMBERS, deciding_mask, hidden_fields
from taskstream.record import CALLS, FLAGS, KINDS, RECORD, VERSION
from taskstream.text import unescape

__all__ = ["read_events"]

_ARGS_LOST = FLAGS["args_lost"].mask


def read_events(
    message: dict[str, Any],
) -> tuple[NDArray[np.void], dict[tuple[int, int], ExecText], NDArray[np.integer] | None]:
    """Read the groups of a message.

    Returns:
        Records; filename and argv of execs by cpu and seq; the place of each record's label,
        None where there are none.

    Raises:
        KeyError, TypeError, ValueError, IndexError, OverflowError: a member is missing or spoilt.
    """
    strings = text_list(message, "strings")
    comms = np.array([string.encode() for string in strings], "S16")
    texts: dict[tuple[int, int], ExecText] = {}
    groups = [(group, _columns(group["fields"], group["rows"])) for group in message["groups"]]
    records = join_records([_records(*group, strings, comms, texts) for group in groups])
    places = [np.array(columns["label"], np.uint32) for _, columns in groups if "label" in columns]
    return records, texts, np.concatenate(places) if places else None


def _records(
    group: dict[str, Any],
    columns: dict[str, tuple[int, ...]],
    strings: list[str],
    comms: NDArray[np.bytes_],
    texts: dict[tuple[int, int], ExecText],
) -> NDArray[np.void]:
    kind = group["kind"]
    records = np.zeros(len(group["rows"]), RECORD)
    records["version"] = VERSION
    records["kind"] = KINDS[kind]
    if not len(records):
        return records
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


def _columns(names: list[str], rows: list[list[Any]]) -> dict[str, tuple[int, ...]]:
    """Return rows as columns of whole numbers."""
    if not rows:
        return {}
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    for name, values in columns.items():
        if not set(map(type, values)) <= {int, bool}:
            raise TypeError(f"{name} holds what is no whole number")
    return columns
