"""A source whose every event is known beforehand, and a sink that keeps what it is given.

They stand where the kernel and the broker stand: the counters of the source are right by
definition, and time is what the source says it is.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Origin, join_records, take
from taskstream.rates import count_column
from taskstream.record import COUNTS, CPU_TOTALS, PROCESS_KEY, PROCESS_LOSSES, RECORD
from taskstream.report import Report
from taskstream.stats import Account
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch

__all__ = ["MemorySink", "SyntheticSource"]


def _keys(records: NDArray[np.void]) -> NDArray[np.void]:
    keys = np.zeros(len(records), PROCESS_KEY)
    keys["tgid"], keys["start_ns"] = records["tgid"], records["process_start_ns"]
    return keys


class SyntheticSource:
    """Plays events when their time has come. Each look at it takes ``step_ns``.

    Args:
        events: What happens, in any order.
        lost: Which of it the ring has no room for.
        counted_ns: When the kernel counts each event; None for when it happens.
        readable_ns: When each event is in the ring; None for when it happens.
    """

    def __init__(
        self,
        events: NDArray[np.void],
        *,
        window_ns: int,
        start_ns: int,
        attached_ns: int,
        step_ns: int,
        lost: NDArray[np.bool_] | None = None,
        counted_ns: NDArray[np.int64] | None = None,
        readable_ns: NDArray[np.int64] | None = None,
        snapshot: Batch | None = None,
        cpus: int = 2,
    ) -> None:
        self.origin = Origin(ORIGIN.host, ORIGIN.boot_id, start_ns)
        self.attached_ns = attached_ns
        self.clock_step_ns = 0
        self.wall_offset_ns = WALL_OFFSET_NS
        self.now = attached_ns
        self.skipped: Counter[str] = Counter()
        self.detached_ns: int | None = None
        self.emptied: list[int] = []
        self.forgotten: list[NDArray[np.void]] = []
        self._freed: dict[bytes, NDArray[np.uint64]] = {}
        self._happens_ns = events["boot_ns"].astype(np.int64)
        self._events = events
        self._lost = np.zeros(len(events), np.bool_) if lost is None else lost
        self._counted_ns = self._happens_ns if counted_ns is None else counted_ns
        self._readable_ns = self._happens_ns if readable_ns is None else readable_ns
        self._window_ns, self._step_ns, self._cpus = window_ns, step_ns, cpus
        self._read = self._lost.copy()
        self._snapshot = batch(origin=self.origin) if snapshot is None else snapshot
        self._descriptor = os.eventfd(0)

    def now_ns(self) -> int:
        return self.now

    def fileno(self) -> int:
        return self._descriptor

    def snapshot(self) -> Batch:
        return self._snapshot

    @property
    def happened(self) -> NDArray[np.bool_]:
        """Tell which events happened before the probes were detached."""
        end = self.now if self.detached_ns is None else self.detached_ns
        return self._happens_ns <= end

    def read(self) -> Batch:
        self.now += self._step_ns
        os.eventfd_write(self._descriptor, 1)  # nobody need sleep until the next look
        ready = self.happened & (self._readable_ns <= self.now) & ~self._read
        self._read |= ready
        records = take(self._events, np.flatnonzero(ready))
        return Batch(self.origin, records, self.wall_offset_ns)

    def _counts(self, chosen: NDArray[np.bool_]) -> NDArray[np.uint64]:
        column = count_column(self._events[chosen])
        return np.bincount(column[column >= 0], minlength=len(COUNTS)).astype(np.uint64)

    @property
    def _counted(self) -> NDArray[np.bool_]:
        return self.happened & (self._counted_ns <= self.now)

    def totals(self) -> NDArray[np.void]:
        totals = np.zeros(self._cpus, CPU_TOTALS)
        for cpu in range(self._cpus):
            here = self._counted & (self._events["cpu"] == cpu)
            totals["count"][cpu] = self._counts(here)
            totals["lost"][cpu] = self._counts(here & self._lost)
            totals["seq"][cpu] = self.origin.run_ns + int(here.sum())
        return totals

    def window(self, window: int) -> NDArray[np.uint64]:
        return self._counts(self._counted & (self._happens_ns // self._window_ns == window))

    def open_windows(self) -> list[int]:
        return sorted(set((self._happens_ns[self._counted] // self._window_ns).tolist()))

    def empty_window(self, window: int) -> None:
        self.emptied.append(window)

    def losses(self) -> tuple[NDArray[np.void], NDArray[np.void]]:
        keys, losses = self._all_losses()
        for key, row in zip(keys, losses, strict=True):
            row["count"] -= self._freed.get(key.tobytes(), 0)
        left = losses["count"].any(axis=1)
        return keys[left], losses[left]

    def _all_losses(self) -> tuple[NDArray[np.void], NDArray[np.void]]:
        gone = self._events[self._counted & self._lost]
        column = count_column(gone)
        keys, rows = np.unique(_keys(gone), return_inverse=True)
        losses = np.zeros(len(keys), PROCESS_LOSSES)
        np.add.at(losses["count"], (rows, column), 1)
        for name in ("ppid", "parent_start_ns", "cgroup_id", "uid", "comm"):
            losses[name][rows] = gone[name]
        losses["named_ns"][rows] = gone["boot_ns"]
        return keys, losses

    def forget_losses(self, key: NDArray[np.void]) -> None:
        keys, losses = self._all_losses()
        (freed,) = losses["count"][keys == key]
        self._freed[key.tobytes()] = freed
        self.forgotten.append(key)

    def missed(self) -> dict[str, int]:
        return {"on_fork": 0, **self.skipped}

    def detach(self) -> None:
        self.detached_ns = self.now

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


@dataclass
class MemorySink:
    """Keeps batches and reports; drops those beyond ``room``."""

    room: int = 1 << 60
    account: Account = field(default_factory=Account)
    batches: list[Batch] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    gone: list[NDArray[np.void]] = field(default_factory=list)
    drained_s: float | None = None

    def write(self, batch: Batch) -> None:
        self.account.received += len(batch)
        taken = min(len(batch), self.room - self.account.delivered)
        self.account.delivered += taken
        self.account.dropped += len(batch) - taken
        self.gone.append(batch.records[taken:])
        rows = np.arange(taken)
        self.batches.append(Batch(batch.origin, take(batch.records, rows), batch.wall_offset_ns))

    def report(self, report: Report) -> None:
        self.reports.append(report)

    def tick(self) -> None:
        """Nothing waits here."""

    def settle(self, seconds: float) -> None:
        """Everything is acknowledged at once."""

    def dropped(self, cpu: int) -> tuple[int, ...]:
        records = join_records(self.gone) if self.gone else np.empty(0, RECORD)
        column = count_column(records[records["cpu"] == cpu])
        return tuple(np.bincount(column[column >= 0], minlength=len(COUNTS)).tolist())

    def drain(self, seconds: float) -> None:
        self.drained_s = seconds
