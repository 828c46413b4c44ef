"""Messages end to end: the same part of many is taken in one call, not one by one.

Pure.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["PREFIX", "Joined"]

PREFIX = np.dtype("V16")
"""What a message begins with, as one value."""


class Joined:
    """Messages end to end.

    Args:
        values: Payloads.

    Attributes:
        lengths: Bytes of each, of shape ``(n,)``.
    """

    def __init__(self, values: Sequence[bytes]) -> None:
        self.lengths = np.fromiter(map(len, values), np.intp, len(values))
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._bytes = b"".join((*values, bytes(PREFIX.itemsize)))

    def prefixes(self) -> NDArray[np.void]:
        """Return what each begins with; a shorter one goes on with what stands behind it."""
        prefixes: NDArray[np.void] = self._windows(PREFIX)[self._starts]
        return prefixes

    def heads(self, width: int, positions: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Return the first bytes of some messages that have as many; shape ``(n, width)``."""
        if not len(positions):
            return np.empty((0, width), np.uint8)
        heads = self._windows(np.dtype(f"V{width}"))[self._starts[positions]]
        matrix: NDArray[np.uint8] = heads.view(np.uint8).reshape(-1, width)
        return matrix

    def tails(self, width: int, positions: NDArray[np.intp]) -> list[bytes]:
        """Return what stands behind the first bytes of some messages."""
        starts = self._starts[positions]
        ends = starts + self.lengths[positions]
        listed = zip((starts + width).tolist(), ends.tolist(), strict=True)
        return [self._bytes[start:end] for start, end in listed]

    def _windows(self, dtype: np.dtype[np.void]) -> NDArray[np.void]:
        """View so many bytes from each byte on."""
        count = len(self._bytes) - dtype.itemsize + 1
        return np.ndarray((count,), dtype, self._bytes, strides=(1,))
