"""What the agent itself costs.

Rim: reads the process clock and /proc/self/statm.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from taskstream.interval import Agent

__all__ = ["Meter"]


class Meter:
    """Reads the cost once per interval."""

    def __init__(
        self,
        cpu_ns: Callable[[], int] = time.process_time_ns,
        resident_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._cpu_ns = cpu_ns
        self._resident_bytes = resident_bytes or _resident_bytes
        self._before: Agent | None = None

    def read(
        self,
        *,
        queued: int,
        dropped: int,
        forgotten: int,
        uncharged: int = 0,
        ring_fill: float = 0.0,
        spool_fill: float | None = None,
        spool_dropped: int = 0,
        spool_damaged: int = 0,
    ) -> Agent:
        """Return the cost at this moment, with that of the last call.

        Args:
            queued: Messages that are not acknowledged yet.
            dropped: Events that were given up since the start.
            forgotten: Processes that were forgotten early since the start.
            uncharged: Lost events that no process was charged with since the start.
            ring_fill: How full the ring was at most, from 0 to 1.
            spool_fill: How full the spool is; None without one.
            spool_dropped: Events that the spool gave up since the start.
            spool_damaged: Events that it could not read any more since the start.
        """
        now = Agent(
            cpu_ns=self._cpu_ns(),
            resident_bytes=self._resident_bytes(),
            queued=queued,
            dropped=dropped,
            forgotten=forgotten,
            uncharged=uncharged,
            ring_fill=ring_fill,
            spool_fill=spool_fill,
            spool_dropped=spool_dropped,
            spool_damaged=spool_damaged,
        )
        told, self._before = replace(now, before=self._before), now
        return told


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
