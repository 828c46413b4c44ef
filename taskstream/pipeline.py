"""The loop: a source's batches to the sink and the counts, intervals to whoever shows them.

Joint. One thread: it sleeps on the source's descriptor, reads, hands on, and never waits for
a broker. An interval is closed a moment after its window of time is over; its counts are the
kernel's, so they are right even when the ring overflowed.
"""

import select
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from taskstream import clock
from taskstream.batch import Batch, Origin
from taskstream.charge import Charges
from taskstream.grouping.loss import LossBook
from taskstream.interval import Agent, Interval, Series, Zombies
from taskstream.pacing import Pacing
from taskstream.rates import WindowCounts
from taskstream.record import COUNTS
from taskstream.report import CpuReport, Report
from taskstream.sink import Sink
from taskstream.stats import RunTotals

__all__ = ["Grouping", "Pipeline", "Rhythm", "Source"]

SETTLE_NS = 100_000_000
"""How long after its end a window is read: a probe may have been interrupted in between."""

REREAD_WINDOWS = 3
"""How many windows are read again, for what was counted later still."""

LAST_NS = 1_000_000_000
"""How long the end waits for a probe that was running when it was detached."""

LONG_GAP_WINDOWS = 64
"""After a longer sleep of the whole host, windows in which nothing happened are left out."""


class Source(Protocol):
    """What the pipeline needs of a live source."""

    origin: Origin
    attached_ns: int
    clock_step_ns: int

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when reading is urgent."""

    def snapshot(self) -> Batch:
        """Return the tasks that were running before the first event."""

    def read(self) -> Batch:
        """Return the events since the last call, without waiting."""

    def totals(self) -> NDArray[np.void]:
        """Return the cumulative totals of each CPU, as ``CPU_TOTALS``."""

    def window(self, window: int) -> NDArray[np.uint64]:
        """Return the counts of one window, by ``COUNTS``."""

    def open_windows(self) -> list[int]:
        """Return the windows that hold counts."""

    def empty_window(self, window: int) -> None:
        """Forget the counts of one window."""

    def losses(self) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Return lost events by process, cumulative: ``PROCESS_KEY`` and ``PROCESS_LOSSES``."""

    def forget_losses(self, key: NDArray[np.void]) -> None:
        """Free the entry of a process."""

    def missed(self) -> dict[str, int]:
        """Return the cumulative runs that the kernel skipped, by program."""

    def detach(self) -> None:
        """Stop new events."""


class Grouping(Protocol):
    """What the pipeline needs of whoever counts events by group."""

    def begin(self, snapshot: Batch) -> Batch:
        """Take note of the tasks that ran before the first event; return them with labels."""

    def add(self, batch: Batch) -> Batch:
        """Count a batch; return it with labels."""

    def charge(self, window: int, charges: Charges) -> Charges:
        """Count lost events where they belong; return them with labels."""

    def close(
        self, window: int, end_ns: int
    ) -> tuple[Mapping[str, Mapping[str, Series]], Zombies | None]:
        """Return what was counted in windows up to one and not returned yet."""

    def names(self) -> tuple[tuple[int, str, str], ...]:
        """Return id, path and name of the cgroups that are new in what was returned."""


class _NoGroups:
    """Counts nothing by group."""

    def begin(self, snapshot: Batch) -> Batch:
        return snapshot

    def add(self, batch: Batch) -> Batch:
        return batch

    def charge(self, window: int, charges: Charges) -> Charges:
        return charges

    def close(self, window: int, end_ns: int) -> tuple[dict[str, dict[str, Series]], None]:
        return {}, None

    def names(self) -> tuple[tuple[int, str, str], ...]:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """When things happen.

    Attributes:
        window_ns: Length of an interval.
        flush_ms: Longest sleep while events come.
        idle_ms: Longest sleep while none come.
        drain_timeout_s: How long the end may wait for acknowledgements.
    """

    window_ns: int
    flush_ms: int = 25
    idle_ms: int = 100
    drain_timeout_s: float = 10


class Pipeline:
    """One run, from the first event to the closing line.

    Args:
        source: Yields batches and counters.
        sink: Publishes them.
        rhythm: When to do what.
        failures_watched: Whether the source sees failed calls.
        release_late: Whether it sees releases an RCU grace period late.
        on_interval: Called with each closed interval.
        groups: Counts the events by group; None for nobody.
        agent: Tells what the agent itself costs; None for nobody.
        now_ns: CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        rhythm: Rhythm,
        *,
        failures_watched: bool,
        release_late: bool = False,
        on_interval: Callable[[Interval], None],
        groups: Grouping | None = None,
        agent: Callable[[], Agent] | None = None,
        now_ns: Callable[[], int] = clock.boot_ns,
    ) -> None:
        self._source = source
        self._sink = sink
        self._rhythm = rhythm
        self._failures_watched = failures_watched
        self._release_late = release_late
        self._on_interval = on_interval
        self._groups = groups or _NoGroups()
        self._agent = agent
        self._now_ns = now_ns
        self._received = WindowCounts(rhythm.window_ns)
        self._begin_ns = source.attached_ns
        self._window = source.origin.run_ns // rhythm.window_ns
        self._settling: dict[int, NDArray[np.int64]] = {}
        self._before_begin: list[int] = []
        self._unplaced = np.zeros(len(COUNTS), np.int64)
        self._missed: dict[str, int] = {}
        self._running = 0
        self._loses = False
        self._losses = LossBook()
        self._charges: list[tuple[int, Charges]] = []
        self._reports = 0
        self._wall_offset_ns = 0
        self._last_window: int | None = None

    def run(self, stop: Callable[[], bool], watch: Callable[[], None] | None = None) -> RunTotals:
        """Run until ``stop`` says so, then drain.

        Args:
            stop: Asked after every look.
            watch: Called after every look, to show progress.
        """
        snapshot = self._source.snapshot()
        self._running = len(snapshot)
        self._sink.write(self._groups.begin(snapshot))
        pacing = Pacing(self._rhythm.flush_ms, self._rhythm.idle_ms)
        poll = select.epoll()
        # Edge-triggered: any event makes the ring readable, but only a full one wakes us.
        poll.register(self._source.fileno(), select.EPOLLIN | select.EPOLLET)
        sleep_ms = 0  # the first look is at once: events came while this began
        with poll:
            while not stop():
                poll.poll(sleep_ms / 1000)
                sleep_ms = pacing.next_ms(self._turn())
                if watch is not None:
                    watch()
                awake_ns = self._now_ns()
                self._sink.settle(self._rhythm.flush_ms / 2000)
                sleep_ms = max(0, sleep_ms - (self._now_ns() - awake_ns) // 1_000_000)
        return self._finish()

    def _turn(self) -> int:
        """Read once, hand on, close what is over; return the events read."""
        read_ns = self._now_ns()
        batch = self._source.read()
        if len(batch) or batch.cgroups:
            self._received.add(batch.records)
            self._sink.write(self._groups.add(batch))
        else:
            self._sink.tick()
        self._wall_offset_ns = batch.wall_offset_ns
        # Not by the time now: what came into the ring since, while a long batch was handed on, is
        # unread, and would look lost in an interval that ended meanwhile.
        settled = (read_ns - SETTLE_NS) // self._rhythm.window_ns
        if self._last_window is not None:
            settled = min(settled, self._last_window)  # which `_finish` closes, at its own end
        if self._window < settled:
            self._close_until(settled)
        return len(batch)

    # --- intervals ---

    def _close_until(self, end: int) -> None:
        """Close the windows before ``end``, and publish what is known now."""
        windows: Iterable[int] = range(self._window, end)
        if end - self._window > LONG_GAP_WINDOWS:
            filled = {*self._source.open_windows(), *self._received.windows(), end - 1}
            windows = sorted(w for w in filled if self._window <= w < end)
        for window in windows:
            until_ns = (window + 1) * self._rhythm.window_ns
            if until_ns > self._begin_ns:
                self._close(window, until_ns, final=False)
            else:
                self._before_begin.append(window)
            self._window = window + 1

    def _close(self, window: int, end_ns: int, *, final: bool) -> None:
        self._charge(window)
        interval = self._interval([*self._before_begin, window], end_ns)
        self._before_begin = []
        self._on_interval(interval)
        charges = self._charged(window)
        *first, last = charges.parts() if charges is not None else [None]
        for part in first:  # what does not fit into one message
            self._sink.report(self._report(None, part, final=False))
        self._sink.report(self._report(interval, last, final=final))

    def _interval(self, windows: Sequence[int], end_ns: int) -> Interval:
        counts = self._late()
        for window in windows:
            self._settling[window] = self._source.window(window).astype(np.int64)
            counts += self._settling[window]
        received = np.zeros(len(COUNTS), np.int64)
        for window in self._received.windows():
            if window <= windows[-1]:
                received += self._received.take(window)
        missed = self._source.missed()
        groups, zombies = self._groups.close(windows[-1], end_ns)
        interval = Interval(
            start_ns=min(self._begin_ns, end_ns),
            end_ns=end_ns,
            wall_ns=end_ns + self._wall_offset_ns,
            counts=tuple(counts.tolist()),
            received=tuple(received.tolist()),
            missed={k: v - self._missed.get(k, 0) for k, v in missed.items() if v},
            failures_watched=self._failures_watched,
            release_late=self._release_late,
            groups=groups,
            zombies=zombies,
            agent=self._agent() if self._agent is not None else None,
            cgroups=self._groups.names(),
        )
        self._begin_ns, self._missed = end_ns, missed
        return interval

    def settle_losses(self) -> None:
        """Count in the groups what was lost so far; for whoever changes what they count next."""
        self._charge(self._now_ns() // self._rhythm.window_ns)

    def _charge(self, window: int) -> None:
        """Count in the groups what found no room, if anything was lost since the start."""
        if not self._loses and not self._source.totals()["lost"].any():
            return
        self._loses = True
        keys, losses = self._source.losses()
        lost = self._source.totals()["lost"].sum(axis=0).astype(np.int64)
        charges, quiet = self._losses.settle(keys, losses, lost)
        charges = self._groups.charge(window, charges)
        for key in quiet:
            self._source.forget_losses(key.reshape(1))
        if charges:
            self._charges.append((window, charges))

    def _charged(self, window: int) -> Charges | None:
        """Return what was charged to windows up to one and not told yet."""
        told = [charges for charged, charges in self._charges if charged <= window]
        self._charges = [entry for entry in self._charges if entry[0] > window]
        return Charges.join(told) if told else None

    def _late(self) -> NDArray[np.int64]:
        """Return what was counted since in windows that are closed, and let go of the oldest."""
        unplaced: NDArray[np.int64] = self._source.totals()["unplaced"].sum(axis=0).astype(np.int64)
        late = unplaced - self._unplaced
        self._unplaced = unplaced
        for window, before in list(self._settling.items()):
            again = self._source.window(window).astype(np.int64)
            late += again - before
            self._settling[window] = again
            if window < self._window - REREAD_WINDOWS:
                del self._settling[window]
                self._source.empty_window(window)
        return late

    def _report(
        self, interval: Interval | None, charges: Charges | None = None, *, final: bool
    ) -> Report:
        totals = self._source.totals()
        step_ns, self._source.clock_step_ns = self._source.clock_step_ns, 0
        cpus = tuple(
            CpuReport(
                cpu,
                int(row["seq"]),
                tuple(row["count"].tolist()),
                tuple(row["lost"].tolist()),
                self._sink.dropped(cpu),
                int(row["args_lost"]),
                *(self._received.read(cpu) or (0, self._source.origin.run_ns)),
            )
            for cpu, row in enumerate(totals)
        )
        self._reports += 1
        return Report(
            self._source.origin,
            self._now_ns(),
            self._wall_offset_ns,
            cpus,
            {name: runs for name, runs in self._missed.items() if runs},
            interval,
            step_ns,
            final,
            self._reports - 1,
            charges,
        )

    # --- the end ---

    def _finish(self) -> RunTotals:
        """Stop new events, read the last ones, close the last interval, wait for the broker.

        What is dropped while waiting is reported too.
        """
        self._source.detach()
        end_ns = self._now_ns()
        self._last_window = last = end_ns // self._rhythm.window_ns
        while self._turn() or (self._unread() and self._now_ns() < end_ns + LAST_NS):
            continue
        self._close_until(last)
        self._close(last, end_ns, final=True)
        dropped = self._sink.account.dropped
        self._sink.drain(self._rhythm.drain_timeout_s)
        if self._sink.account.dropped > dropped:
            self._sink.report(self._report(None, final=True))
            self._sink.drain(LAST_NS / 1e9)
        return self.totals()

    def _unread(self) -> bool:
        """Tell whether a probe is still writing an event that it counted."""
        return self.totals().unread > 0

    def totals(self) -> RunTotals:
        """Return the books as they stand."""
        kernel = self._source.totals()
        return RunTotals(
            counted=int(kernel["count"].sum()),
            read=int(self._received.total.sum()),
            lost=int(kernel["lost"].sum()),
            running=self._running,
            missed=sum(self._source.missed().values()),
            account=self._sink.account,
        )
