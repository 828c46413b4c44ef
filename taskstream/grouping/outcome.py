"""Events counted by how they ended: failures by errno, deaths by status, signal and lifetime.

Pure: no I/O, no clock.
"""

import errno
import signal
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from taskstream.grouping.counts import Counts, Rows, add
from taskstream.interval import COLUMNS

__all__ = ["LIFETIMES_NS", "count_outcomes"]

LIFETIMES_NS = tuple(10**exponent * step for exponent in range(6, 13) for step in (1, 3))
"""Upper bounds of the lifetime buckets: 1 ms, 3 ms, 10 ms ... 3,000 s; the last has none."""

_N = len(COLUMNS)
_EXIT_PROCESS = COLUMNS.index("exit_process")
_FAILED = COLUMNS.index("fail_create")  # and fail_exec, which comes next
_BOUNDS_NS = np.array(LIFETIMES_NS)


def count_outcomes(
    found: dict[str, Counts], records: NDArray[np.void], rows: Rows, column: NDArray[np.intp]
) -> None:
    """Count failures by errno, dead processes by exit status or signal, and by lifetime.

    Args:
        found: Counts by dimension, which this adds to.
        records: ``RECORD`` array.
        rows: Which of them count.
        column: Index in `COUNTS` of each of those.
    """
    failed = np.flatnonzero(column >= _FAILED)
    if len(failed):
        _add_failed(found["errno"], records["errno"][_of(rows, failed)], column[failed])
    dead = _of(rows, np.flatnonzero(column == _EXIT_PROCESS))
    if not len(dead):
        return
    codes = records["exit_code"][dead]
    signals = codes & 127
    killed = signals != 0
    if killed.any():
        _add_dead(found["signal"], signals[killed], _signal_name)
        codes = codes[~killed]
    _add_dead(found["status"], codes >> 8 & 255, str)
    start_ns = records["process_start_ns"][dead].astype(np.int64)
    lived_ns = np.maximum(records["boot_ns"][dead].astype(np.int64) - start_ns, 0)
    _add_dead(found["lifetime"], np.searchsorted(_BOUNDS_NS, lived_ns), _bucket_name)


def _of(rows: Rows, places: NDArray[np.intp]) -> NDArray[np.intp]:
    return places if isinstance(rows, slice) else rows[places]


def _add_failed(into: Counts, numbers: NDArray[np.uint32], column: NDArray[np.intp]) -> None:
    for number in np.unique(numbers).tolist():
        counts = np.bincount(column[numbers == number], minlength=_N)
        add(into, {_errno_name(number): counts})


def _add_dead(into: Counts, keys: NDArray[np.integer], name: Callable[[int], str]) -> None:
    """Count dead processes by a small number of theirs."""
    for key, dead in enumerate(np.bincount(keys).tolist()):
        if dead:
            counts = np.zeros(_N, np.int64)
            counts[_EXIT_PROCESS] = dead
            add(into, {name(key): counts})


def _errno_name(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)


def _bucket_name(bucket: int) -> str:
    return f"{LIFETIMES_NS[bucket] / 1e9:g}" if bucket < len(LIFETIMES_NS) else "+Inf"
