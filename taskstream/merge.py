"""Batches that come CPU by CPU, put into the order of time, with a bounded hold.

Pure: no clock. A perf buffer gives the events of each CPU in their order, and those of another
CPU that happened between them may still be on their way; so the newest are held back for a
moment.
"""

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import in_time_order, join_records, take
from taskstream.record import RECORD

__all__ = ["TimeMerge"]


class TimeMerge:
    """Lets records out in order of boot_ns, cpu, seq.

    Args:
        hold_ns: How long a probe may take between its stamp and its record's being there.

    Attributes:
        late: Records that came behind others that happened after them and were out already.
    """

    def __init__(self, hold_ns: int) -> None:
        self._hold_ns = hold_ns
        self._held = np.empty(0, RECORD)
        self._out_ns = 0
        self.late = 0

    def merge(self, records: NDArray[np.void], read_ns: int) -> NDArray[np.void]:
        """Take new records, and return those before which none can come any more.

        Args:
            records: ``RECORD`` array of shape ``(n,)``, in any order.
            read_ns: CLOCK_BOOTTIME before they were read: all that happened ``hold_ns``
                before it are among them or came earlier.

        Returns:
            Fresh ``RECORD`` array, in order.
        """
        self.late += int((records["boot_ns"] < self._out_ns).sum())
        joined = in_time_order(join_records([self._held, records]))
        ready = int(np.searchsorted(joined["boot_ns"], max(read_ns - self._hold_ns, 0), "right"))
        return self._release(joined, ready)

    def flush(self) -> NDArray[np.void]:
        """Return what is held."""
        return self._release(self._held, len(self._held))

    def _release(self, joined: NDArray[np.void], ready: int) -> NDArray[np.void]:
        out = take(joined, np.arange(ready))
        self._held = take(joined, np.arange(ready, len(joined)))
        if ready:
            self._out_ns = max(self._out_ns, int(out["boot_ns"][-1]))
        return out
