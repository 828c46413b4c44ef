"""A live source in this process, read until a condition holds."""

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, ExecText, in_time_order, join_records
from taskstream.record import COUNTS
from taskstream.source.live import LiveOptions, LiveSource
from tests.kernel.events import Events

__all__ = ["DEADLINE_S", "Recorder", "wait_until"]

DEADLINE_S = 20.0
"""More than any grace period or scheduling delay; only a failing test waits this long."""


def wait_until(
    holds: Callable[[], bool], what: Callable[[], object] = str, *, every_s: float = 0.01
) -> None:
    """Wait until a condition holds; past the deadline, fail and say ``what`` was there."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {DEADLINE_S} s: {what()}"
        time.sleep(every_s)


class Recorder:
    """Records from the moment it is made until it is closed.

    Args:
        options: Of the source.
        hidden: Tells which events the kernel hid from BPF (``guarded.py``).
    """

    def __init__(self, options: LiveOptions, hidden: Callable[[], list[str]] = list) -> None:
        self.source = LiveSource(options, host="test-host")
        self._hidden = hidden
        self._batches: list[NDArray[np.void]] = []
        self._texts: dict[tuple[int, int], ExecText] = {}

    def close(self) -> None:
        """Detach."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def snapshot(self) -> Events:
        """The tasks that were running at the start."""
        return Events(self.source.snapshot().records)

    def read(self) -> Batch:
        """Take what is in the rings into the recording."""
        batch = self.source.read()
        if len(batch):
            self._batches.append(batch.records)
            self._texts.update(batch.texts)
        return batch

    @property
    def taken(self) -> int:
        """Number of records in the recording."""
        return sum(map(len, self._batches))

    @property
    def events(self) -> Events:
        """All that was taken so far, in the order of time."""
        self._batches = [join_records(self._batches)]
        return Events(in_time_order(self._batches[0]), self._texts)

    def until(self, holds: Callable[[Events], bool]) -> Events:
        """Read until the recording is as wanted."""

        def met() -> bool:
            self.read()
            return holds(self.events)

        wait_until(met, lambda: self.events.count())
        return self.events

    def family(self, pid: int, *, released: float = 1) -> Events:
        """Read until the tasks of a child of this process are released, and return its family.

        Args:
            pid: Of the child.
            released: The share of its family for whose release to wait.
        """
        found: Events | None = None
        changed = time.monotonic()

        def complete() -> bool:
            nonlocal found, changed
            if not len(self.read()) and found is not None:
                self._give_up_if_hidden(changed)
                return False
            events = self.events
            roots = events.of("fork", pid=pid, tgid=pid, ppid=os.getpid())
            now = events.family(roots.records[-1]) if len(roots) else events.of("fork", pid=0)
            if found is None or len(now) > len(found):
                found, changed = now, time.monotonic()
            self._give_up_if_hidden(changed)
            count = found.count()
            return 0 < count.get("fork", 0) * released <= count.get("free", 0)

        wait_until(complete, lambda: found and found.count())
        assert found is not None
        return found

    def _give_up_if_hidden(self, changed: float) -> None:
        if time.monotonic() - changed > 1:
            hidden = self._hidden()
            assert not hidden, f"the kernel hid {len(hidden)} events from BPF: {hidden[:3]} ..."

    # --- the kernel's own numbers ---

    def counted(self) -> dict[str, int]:
        """Return the kernel's loss-free totals over all CPUs, by name."""
        sums = self.source.totals()["count"].sum(axis=0)
        return {count.name: int(n) for count, n in zip(COUNTS, sums, strict=True)}

    def by_kind(self, column: str) -> dict[str, int]:
        """Sum a column of the kernel's totals (``count``, ``lost``) by kind of event."""
        sums: Counter[str] = Counter()
        for count, number in zip(COUNTS, self.source.totals()[column].sum(axis=0), strict=True):
            sums[count.kind] += int(number)
        return dict(sums)

    def forks_counted(self) -> int:
        """Return the kernel's total of created tasks, threads included."""
        counted = self.counted()
        return counted["fork_process"] + counted["fork_thread"]

    def stop(self) -> Events:
        """Detach, and take all that is left: as many records as the kernel counted and kept."""
        self.source.detach()

        def all_taken() -> bool:
            self.read()
            totals = self.source.totals()
            return self.taken == int(totals["count"].sum() - totals["lost"].sum())

        wait_until(all_taken, lambda: f"{self.taken} taken, {self.source.totals()}")
        return self.events
