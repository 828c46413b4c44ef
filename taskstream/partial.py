"""What one partition of the stream holds of a run: sums by second, and the agent's reports.

Pure: no I/O, no clock. A host's events lie in several partitions, of which one may be read far
ahead of another, or by another process; what each of them holds is added up by
``taskstream.closing``.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Labels, Origin, join, take
from taskstream.cells import SECOND_NS, Cells, cells_from_list, cells_to_list
from taskstream.charge import Charges
from taskstream.errors import MessageError
from taskstream.grouping.apps import AppGroups
from taskstream.grouping.choice import Choice
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.ledger import Ledger, Numbers
from taskstream.message.columns import pack
from taskstream.message.decode import Decoded
from taskstream.record import KINDS, VERSION
from taskstream.report import Report

__all__ = ["Partial", "PartialSums", "last_second"]

_SYSTEM = frozenset(("host", "errno", "status", "signal", "lifetime"))
"""Dimensions of the charts of the host as a whole."""

MOST_BYTES = 900_000
"""Of one message; brokers take a megabyte."""

KEEP_REPORTS = 4_096
"""By how many a report may come behind later ones and still be told from a copy."""

KEEP_CGROUPS = 16_384
"""Of how many cgroups of a run the paths are kept; events tell them again."""


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
        doubted: Events left out because they are dated far ahead of all others of the run.
    """

    origin: Origin
    read_ms: int
    wall_offset_ns: int | None = None
    cells: Cells = field(default_factory=dict)
    charged: Cells = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    again: int = 0
    late: int = 0
    doubted: int = 0

    def by_charts(self) -> "Iterator[tuple[str, Partial]]":
        """Yield the same by the charts that are drawn from it: their name, and their part.

        The system's are always there, and come last: an interval is closed by how many events
        of the host were counted, and must have all else by then.
        """
        found = {
            dimension
            for cells in (self.cells, self.charged)
            for dimensions in cells.values()
            for dimension in dimensions
        }
        for dimension in sorted(found - _SYSTEM):
            yield dimension, self._part({dimension})
        rest = self._part(_SYSTEM)
        rest.reports = self.reports
        rest.again, rest.late, rest.doubted = self.again, self.late, self.doubted
        yield "system", rest

    def _part(self, dimensions: Collection[str]) -> "Partial":
        """Return the cells of some dimensions alone."""
        part = Partial(self.origin, self.read_ms, self.wall_offset_ns)
        for mine, theirs in ((part.cells, self.cells), (part.charged, self.charged)):
            for second, cell in theirs.items():
                if kept := {name: cell[name] for name in dimensions if name in cell}:
                    mine[second] = kept
        return part

    def messages(self, more: Mapping[str, Any], most_bytes: int = MOST_BYTES) -> Iterator[bytes]:
        """Yield the same as messages that are short enough for a broker; at least one.

        Reports come last, and before them the counts of the host as a whole: whoever closes an
        interval has all else that belongs to it.

        Args:
            more: Members that every message has, too.
            most_bytes: Length of the longest message, if it can be divided so far.
        """
        value = pack({**more, **self.to_map()})
        halves = self._halves() if len(value) > most_bytes else None
        if halves is None:
            yield value
            return
        for half in halves:
            yield from half.messages(more, most_bytes)

    def _halves(self) -> "tuple[Partial, Partial] | None":
        """Divide it; None if there is nothing to be divided."""
        rest = Partial(self.origin, self.read_ms, self.wall_offset_ns)
        if self.reports and (self.cells or self.charged):
            rest.reports = self.reports
            return replace(self, reports=[]), rest
        if len(self.reports) > 1:
            middle = len(self.reports) // 2
            rest.reports = self.reports[middle:]
            return replace(self, reports=self.reports[:middle]), rest
        groups = [
            (charged, second, dimension, name, counts)
            for charged, cells in ((False, self.cells), (True, self.charged))
            for second, dimensions in cells.items()
            for dimension, named in dimensions.items()
            for name, counts in named.items()
        ]
        if len(groups) < 2:
            return None
        groups.sort(key=lambda group: group[2] == "host" and not group[0])
        first = replace(self, cells={}, charged={})
        for at, (charged, second, dimension, name, counts) in enumerate(groups):
            half = first if at < len(groups) // 2 else rest
            cells = half.charged if charged else half.cells
            cells.setdefault(second, {}).setdefault(dimension, {})[name] = counts
        return first, rest

    def to_map(self) -> dict[str, Any]:
        """Return the message's map; charges of its reports are in ``charged`` already."""
        return {
            "v": VERSION,
            "kind": "partial",
            "host": self.origin.host,
            "boot_id": self.origin.boot_id,
            "run_ns": self.origin.run_ns,
            "read_ms": self.read_ms,
            "wall_offset_ns": self.wall_offset_ns,
            "cells": cells_to_list(self.cells),
            "charged": cells_to_list(self.charged),
            "reports": [replace(report, charges=None).to_map() for report in self.reports],
            "again": self.again,
            "late": self.late,
            "doubted": self.doubted,
        }

    @classmethod
    def from_map(cls, map_: Mapping[str, Any]) -> "Partial":
        """Read a message's map.

        Raises:
            MessageError: a member is missing or of another type.
        """
        try:
            return cls(
                Origin(map_["host"], map_["boot_id"], map_["run_ns"]),
                map_["read_ms"],
                map_["wall_offset_ns"],
                cells_from_list(map_["cells"]),
                cells_from_list(map_["charged"]),
                [Report.from_map(report) for report in map_["reports"]],
                map_["again"],
                map_["late"],
                map_["doubted"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MessageError(f"a partial sum lacks or spoils a member: {error!r}") from None


@dataclass(slots=True)
class _Run:
    tally: Tally
    cgroups: CgroupNames
    partial: Partial | None = None
    touched_ms: int = 0
    charges: list[Charges] = field(default_factory=list)
    due: list[tuple[int, Charges]] = field(default_factory=list)
    reports: Numbers | None = None
    reported_ns: int = -1

    def is_new(self, report: Report) -> bool:
        """Tell a report from a copy of it; those of older agents have no number but the order."""
        if report.number is None:
            new = report.boot_ns > self.reported_ns
            self.reported_ns = max(self.reported_ns, report.boot_ns)
            return new
        if self.reports is None:
            self.reports = Numbers(max(0, report.number - KEEP_REPORTS))
        new = bool(self.reports.add(np.array([report.number], np.uint64))[0])
        self.reports.raise_to(self.reports.top - KEEP_REPORTS)
        return new


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
        self.ledger = Ledger(late_ns, doubts=True)
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
        partial.doubted += entered.doubted
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
        """Take an agent's report, if it is no copy."""
        partial, run = self._of(report.origin, read_ms)
        if not run.is_new(report):
            return
        partial.reports.append(report)
        if report.charges is not None:
            run.charges.append(report.charges)
            if report.charges.labels is not None:
                _learn_paths(run.cgroups, report.charges.events, report.charges.labels)
        if report.interval is not None and run.charges:
            charges, run.charges = Charges.join(run.charges), []
            if self._rules is not None:
                charges = replace(charges, labels=None)
            run.due.append((last_second(report), charges))

    def take_in(self, decoded: Decoded, read_ms: int) -> int:
        """Take what messages held; return how many events."""
        for batch in _together(decoded.batches):
            self.add(batch, read_ms)
        for report in decoded.reports:
            self.report(report, read_ms)
        return sum(map(len, decoded.batches))

    def learn(self, origin: Origin, id_: int, path: str) -> None:
        """Take note of a cgroup's path."""
        self._of(origin, 0)[1].cgroups.learn(id_, path)

    def _of(self, origin: Origin, read_ms: int) -> tuple[Partial, _Run]:
        run = self._runs.get(origin)
        if run is None:
            cgroups = CgroupNames()
            tally = Tally(
                SECOND_NS, self._choice, rules=self._rules, cgroups=cgroups, is_zombie=None
            )
            run = self._runs[origin] = _Run(tally, cgroups)
        if run.partial is None:
            run.partial = Partial(origin, read_ms)
            self._changed.add(origin)
        run.partial.read_ms = run.touched_ms = max(read_ms, run.touched_ms)
        return run.partial, run

    def take(self) -> list[Partial]:
        """Return what was counted since the last call, by run."""
        self.ledger.settle()
        partials = []
        for origin in self._changed:
            run = self._runs[origin]
            assert run.partial is not None
            run.partial.cells = run.tally.drain()
            for second, charges in run.due:
                run.tally.charge(second, charges)
            run.partial.charged, run.due = run.tally.drain() if run.due else {}, []
            run.cgroups.trim(KEEP_CGROUPS)
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

    # --- what another process needs to go on ---

    def to_map(self, origin: Origin) -> dict[str, Any]:
        """Return what is known of a run, after `take`, as MessagePack can take it.

        Paths of cgroups are not in it, since events tell them, nor are processes: where rules of
        the reader decide, it must read on alone.
        """
        run = self._runs[origin]
        return {
            "touched_ms": run.touched_ms,
            "ledger": self.ledger.to_map(origin) if origin in self.ledger else None,
            "charges": [charges.to_map() for charges in run.charges],
            "reports": run.reports.to_list() if run.reports is not None else None,
            "reported_ns": run.reported_ns,
        }

    def restore(self, origin: Origin, map_: Mapping[str, Any]) -> None:
        """Take back what `to_map` gave."""
        _, run = self._of(origin, map_["touched_ms"])
        run.partial = None
        self._changed.discard(origin)
        run.charges = [Charges.from_map(charges) for charges in map_["charges"]]
        if map_["reports"] is not None:
            run.reports = Numbers.from_list(map_["reports"])
        run.reported_ns = map_["reported_ns"]
        if map_["ledger"] is not None:
            self.ledger.restore(origin, map_["ledger"])


def last_second(report: Report) -> int:
    """Return the last cell of an interval: it holds its beginning, not its end.

    The last interval of a run ends amidst a second, and holds whatever comes.
    """
    assert report.interval is not None
    return (report.interval.end_ns - (not report.final)) // SECOND_NS


def _together(batches: Sequence[Batch]) -> Iterator[Batch]:
    """Yield what can be counted at once as one batch, since counting costs as much for a few."""
    alike: defaultdict[tuple[Origin, int, bool], list[Batch]] = defaultdict(list)
    for batch in batches:
        table = () if batch.labels is None else batch.labels.table
        decided = bool(table) and all(label.app_group is not None for label in table)
        alike[batch.origin, batch.wall_offset_ns, decided].append(batch)
    yield from map(join, alike.values())


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
