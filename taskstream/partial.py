"""What one partition of the stream holds of a run: sums by second, and the agent's reports.

Pure: no I/O, no clock. A host's events lie in several partitions, of which one may be read far
ahead of another; what each of them holds is added up by ``taskstream.closing``.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Labels, Origin, take
from taskstream.charge import Charges
from taskstream.grouping.apps import AppGroups
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Choice, Counts, Tally
from taskstream.ledger import Ledger
from taskstream.record import KINDS
from taskstream.report import Report

__all__ = ["SECOND_NS", "Cells", "Partial", "PartialSums", "last_second"]

SECOND_NS = 10**9
"""Length of a cell: an agent's intervals are whole seconds long, and begin at one since boot."""

Cells = dict[int, dict[str, Counts]]
"""Counts by second since boot, dimension and group."""


@dataclass(slots=True)
class Partial:
    """What was counted of a run at a time.

    Attributes:
        origin: The run.
        read_ms: When it was read, by the reader's clock, Unix milliseconds.
        wall_offset_ns: CLOCK_REALTIME minus CLOCK_BOOTTIME of the newest event; None without one.
        cells: Events, each once, by second, dimension and group.
        charged: Events that the ring lost, as the reports charge them, likewise.
        reports: Reports of the agent, each once as far as is known.
        again: Copies of events, left out.
        late: Events left out because they are copies or came too late.
    """

    origin: Origin
    read_ms: int
    wall_offset_ns: int | None = None
    cells: Cells = field(default_factory=dict)
    charged: Cells = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    again: int = 0
    late: int = 0


@dataclass(slots=True)
class _Run:
    tally: Tally
    cgroups: CgroupNames
    partial: Partial | None = None
    touched_ms: int = 0
    charges: list[Charges] = field(default_factory=list)
    due: list[tuple[int, Charges]] = field(default_factory=list)


class PartialSums:
    """Counts what one partition holds, of any number of hosts.

    Args:
        choice: By what to count beside the outcomes.
        late_ns: How far an event may come behind others of its CPU that happened after it.
        rules: Rules that decide on app groups; None for what the agents had decided.

    Attributes:
        ledger: What of each run was read.
    """

    def __init__(self, choice: Choice, late_ns: int, *, rules: AppGroups | None = None) -> None:
        self.ledger = Ledger(late_ns)
        self._choice, self._rules = choice, rules
        self._runs: dict[Origin, _Run] = {}
        self._changed: set[Origin] = set()

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, batch: Batch, read_ms: int) -> None:
        """Count the events of a batch that were not counted yet.

        Args:
            batch: As a source yields it.
            read_ms: When it was read, Unix milliseconds.
        """
        entered = self.ledger.enter(batch)
        partial, run = self._of(batch.origin, read_ms)
        partial.again += entered.again
        partial.late += entered.late
        fresh = entered.fresh
        if not len(fresh):
            return
        partial.wall_offset_ns = fresh.wall_offset_ns
        if self._rules is not None:
            self._meet(run.tally, fresh.records)
        if self._choice.cgroups:
            _learn(run.cgroups, fresh)
        if self._rules is not None and fresh.labels is not None:
            fresh = replace(fresh, labels=None)
        run.tally.add(fresh)

    def _meet(self, tally: Tally, records: NDArray[np.void]) -> None:
        """Let the rules decide for processes that ran before; their command lines are not told."""
        running = np.flatnonzero(records["kind"] == KINDS["task"])
        if len(running):
            tally.meet(take(records, running), {})

    def report(self, report: Report, read_ms: int) -> None:
        """Take an agent's report."""
        partial, run = self._of(report.origin, read_ms)
        partial.reports.append(report)
        if report.charges is not None:
            run.charges.append(report.charges)
        if report.interval is not None and run.charges:
            charges, run.charges = Charges.join(run.charges), []
            if self._rules is not None:
                charges = replace(charges, labels=None)
            run.due.append((last_second(report), charges))

    def learn(self, origin: Origin, id_: int, path: str) -> None:
        """Take note of a cgroup's path."""
        self._of(origin, 0)[1].cgroups.learn(id_, path)

    def _of(self, origin: Origin, read_ms: int) -> tuple[Partial, _Run]:
        run = self._runs.get(origin)
        if run is None:
            cgroups = CgroupNames()
            rules = self._rules or AppGroups([])
            tally = Tally(SECOND_NS, self._choice, rules=rules, cgroups=cgroups)
            run = self._runs[origin] = _Run(tally, cgroups)
        if run.partial is None:
            run.partial = Partial(origin, read_ms)
            self._changed.add(origin)
        run.partial.read_ms = run.touched_ms = max(read_ms, run.touched_ms)
        return run.partial, run

    def take(self) -> list[Partial]:
        """Return what was counted since the last call, by run."""
        partials = []
        for origin in self._changed:
            run = self._runs[origin]
            assert run.partial is not None
            run.partial.cells = run.tally.drain()
            for second, charges in run.due:
                run.tally.charge(second, charges)
            run.partial.charged, run.due = run.tally.drain() if run.due else {}, []
            partials.append(run.partial)
            run.partial = None
        self._changed.clear()
        return partials

    def forget_before(self, read_ms: int) -> list[Origin]:
        """Forget the runs of which nothing was read since a moment; return which."""
        old = [origin for origin, run in self._runs.items() if run.touched_ms < read_ms]
        for origin in old:
            del self._runs[origin]
            self._changed.discard(origin)
            self.ledger.forget(origin)
        return old


def last_second(report: Report) -> int:
    """Return the last cell of an interval: it holds its beginning, not its end.

    The last interval of a run ends amidst a second, and holds whatever comes.
    """
    assert report.interval is not None
    return (report.interval.end_ns - (not report.final)) // SECOND_NS


def _learn(cgroups: CgroupNames, batch: Batch) -> None:
    """Learn of cgroups from whatever tells: the source, or the labels of the events."""
    for id_, path in batch.cgroups:
        if path is not None:
            cgroups.learn(id_, path)
    if batch.labels is not None:
        _learn_paths(cgroups, batch.records, batch.labels)


def _learn_paths(cgroups: CgroupNames, records: NDArray[np.void], labels: Labels) -> None:
    ids, rows = np.unique(records["cgroup_id"], return_index=True)
    for id_, row in zip(ids.tolist(), labels.rows[rows].tolist(), strict=True):
        path = labels.table[row].cgroup
        if path is not None and cgroups.get(id_) is None:
            cgroups.learn(id_, path)
