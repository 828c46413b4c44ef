"""The identity of a process as one number, for tables of many.

Pure. The number holds the tgid and the start, (tgid, process_start_ns), as far as 64 bits go:
the upper bits of the start are shifted out. What is left tells two processes of one tgid apart
unless the one starts a multiple of 73 minutes after the other, to the nanosecond.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["identities", "identity", "lies_within", "tgid_of"]

_TGID_BITS = 22  # PID_MAX_LIMIT of Linux is 2 ** 22
_SHIFT = np.uint64(_TGID_BITS)
_TGID = (1 << _TGID_BITS) - 1
_WHOLE = (1 << 64) - 1


def identities(tgid: NDArray[np.uint32], start_ns: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the identities of processes.

    Args:
        tgid: Shape ``(n,)``.
        start_ns: CLOCK_BOOTTIME of their starts, shape ``(n,)``.
    """
    keys: NDArray[np.uint64] = start_ns << _SHIFT
    keys |= tgid
    return keys


def identity(tgid: int, start_ns: int) -> int:
    """Return the identity of one process, as `identities` does."""
    return (start_ns << _TGID_BITS | tgid) & _WHOLE


def tgid_of(key: int) -> int:
    """Return the tgid of an identity."""
    return key & _TGID


def lies_within(exact: int, coarse: int, span_ns: int) -> bool:
    """Tell whether a process started less than ``span_ns`` after another one of its tgid did."""
    return (exact - coarse & _WHOLE) >> _TGID_BITS < span_ns
