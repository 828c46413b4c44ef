"""Many numbers as decimal digits at once, four digits at a time out of a table.

Pure: arrays from arrays.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["decimal"]

_BASE = 10_000
_NUMBERS = [b"%d" % number for number in range(_BASE)]


def _table(*, zero: bytes) -> NDArray[np.uint32]:
    """Return four characters for each number below 10,000: with spaces first, then with zeros."""
    spaced = [zero, *(number.rjust(4) for number in _NUMBERS[1:])]
    zeros = [number.rjust(4, b"0") for number in _NUMBERS]
    return np.frombuffer(b"".join(spaced + zeros), np.uint32)


_INNER, _LAST = _table(zero=b"    "), _table(zero=b"   0")


def decimal(numbers: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    """Write numbers in decimal.

    Args:
        numbers: Array of shape ``(n, c)``.

    Returns:
        Fresh array of shape ``(n, c, w)``, C order: ASCII digits, spaces before them; w is 12
        for 32 bits and 20 for 64.
    """
    places = 5 if numbers.dtype.itemsize == 8 else 3
    written = np.empty((*numbers.shape, places), np.uint32)
    base = numbers.dtype.type(_BASE)
    rest, table = numbers, _LAST
    for place in range(places - 1, 0, -1):
        higher = rest // base
        four = (rest - higher * base).astype(np.intp)
        four += (higher != 0) * _BASE  # something stands before: zeros, not spaces
        written[..., place] = table[four]
        rest, table = higher, _INNER
    written[..., 0] = table[rest]
    return written.view(np.uint8)
