"""Events counted by how they ended: failures by errno, deaths by status, signal and lifetime.

Pure: no I/O, no clock.
"""

import errno
import signal
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from taskstream.grouping.counts import Counts, add
from taskstream.interval import COLUMNS
from taskstream.record import KINDS

__all__ = ["LIFETIMES_NS", "count_outcomes"]

LIFETIMES_NS = tuple(10**exponent * step for exponent in range(6, 13) for step in (1, 3))
"""Upper bounds of the lifetime buckets: 1 ms, 3 ms, 10 ms ... 3,000 s; the last has none."""

_N = len(COLUMNS)
_EXIT_PROCESS = COLUMNS.index("exit_process")


def count_outcomes(
    found: dict[str, Counts], records: NDArray[np.void], column: NDArray[np.intp]
) -> None:
    """Count failures by errno, dead processes by exit status or signal, and by lifetime."""
    failed = np.flatnonzero(records["kind"] == KINDS["fail"])
    if len(failed):
        _add_by(found["errno"], records["errno"][failed], column[failed], _errno_name)
    dead = np.flatnonzero(column == _EXIT_PROCESS)
    if not len(dead):
        return
    codes = records["exit_code"][dead]
    signals, columns = codes & 127, column[dead]
    killed = signals != 0
    if killed.any():
        _add_by(found["signal"], signals[killed], columns[killed], _signal_name)
    _add_by(found["status"], codes[~killed] >> 8 & 255, columns[~killed], str)
    start_ns = records["process_start_ns"][dead].astype(np.int64)
    lived_ns = np.maximum(records["boot_ns"][dead].astype(np.int64) - start_ns, 0)
    bucket = np.searchsorted(LIFETIMES_NS, lived_ns)
    _add_by(found["lifetime"], bucket, columns, _bucket_name)


def _add_by(
    into: Counts, keys: NDArray[np.integer], column: NDArray[np.intp], name: Callable[[int], str]
) -> None:
    for key in np.unique(keys).tolist():
        add(into, {name(key): np.bincount(column[keys == key], minlength=_N)})


def _errno_name(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)


def _bucket_name(bucket: int) -> str:
    return f"{LIFETIMES_NS[bucket] / 1e9:g}" if bucket < len(LIFETIMES_NS) else "+Inf"
