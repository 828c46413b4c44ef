"""Events counted by group and window: by app, cgroup, service, command, user, and by outcome.

Pure: no I/O, no clock. Records are kept and counted many at a time, as ``taskstream.rates``
does: counting costs the same for a few as for thousands. What an event is counted under is
decided by the event itself and by those before it, so a process that is gone when the interval
closes is counted where it belongs.
"""

import errno
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Labels, join_records, take
from taskstream.charge import Charges
from taskstream.grouping.apps import OTHER, AppGroups
from taskstream.grouping.cgroup import SERVICE
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.process import ProcessTable
from taskstream.grouping.roll import Roll
from taskstream.grouping.zombie import ZombieBook
from taskstream.interval import COLUMNS, Series, Zombies
from taskstream.rates import count_column
from taskstream.record import COUNTS, FLAGS, KINDS
from taskstream.text import escape

__all__ = ["LIFETIMES_NS", "UNKNOWN", "Choice", "Counts", "Tally"]

KEEP_RECORDS = 8192
KEEP_LABELS = 16_384

UNKNOWN = "unknown"
"""The group of events whose cgroup could not be told, or has no name."""

LIFETIMES_NS = tuple(10**exponent * step for exponent in range(6, 13) for step in (1, 3))
"""Upper bounds of the lifetime buckets: 1 ms, 3 ms, 10 ms ... 3,000 s; the last has none."""

_WHOLE = ("app", "cgroup", "command", "user")
"""Dimensions in which every event has a group."""

_N = len(COLUMNS)
_INIT = COLUMNS.index("fork_by_init")
_FORK, _TASK = KINDS["fork"], KINDS["task"]
_EXIT_PROCESS = COLUMNS.index("exit_process")
_MIX = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_LABEL = np.dtype([("comm", "<u8", (2,)), ("cgroup_id", "<u8"), ("uid", "<u4"), ("flags", "<u4")])

_CGROUP_UNKNOWN = np.uint32(FLAGS["cgroup_unknown"].mask)

Counts = dict[str, NDArray[np.int64]]
Rows = slice | NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is counted beside the outcomes, which always are.

    Attributes:
        apps: By app group.
        cgroups: By cgroup, and by service.
        commands: By name of the task.
        users: By real user id.
        limit: How many groups of each dimension are charted.
    """

    apps: bool = False
    cgroups: bool = False
    commands: bool = False
    users: bool = False
    limit: int = 1000


class Tally:
    """Counts events by group.

    Args:
        window_ns: Length of a window.
        choice: By what to count.
        rules: The app groups; None where labels alone tell them, and no process is followed.
        cgroups: Names of the cgroups.
        table_size: How many processes are followed.
        is_zombie: Tells whether the process of a tgid is one now; None where nobody asks for the
            dead, and none is followed.
    """

    def __init__(
        self,
        window_ns: int,
        choice: Choice,
        *,
        rules: AppGroups | None,
        cgroups: CgroupNames,
        table_size: int = 32_768,
        is_zombie: Callable[[int], bool] | None = lambda _tgid: True,
    ) -> None:
        self.choice = choice
        self.processes = ProcessTable(rules or AppGroups([]), limit=table_size)
        self._follows = rules is not None
        self._window_ns = window_ns
        self._cgroups = cgroups
        self._zombies = None if is_zombie is None else ZombieBook(is_zombie)
        self._labels = _Labels(choice)
        self._kept: list[tuple[NDArray[np.void], NDArray[np.intp]]] = []
        self._kept_records = 0
        self._counts: dict[int, dict[str, Counts]] = {}
        self._rolls: defaultdict[str, Roll] = defaultdict(lambda: Roll(choice.limit))

    # --- what happens ---

    def meet(self, running: NDArray[np.void], cmdlines: Mapping[int, bytes]) -> None:
        """Take note of the processes that run already (see `ProcessTable.meet`)."""
        if self._zombies is not None:
            self._zombies.meet(running)
        if self.choice.apps and self._follows:
            self.processes.meet(running, cmdlines)

    def use(
        self, rules: AppGroups, running: NDArray[np.void], cmdlines: Mapping[int, bytes]
    ) -> None:
        """Decide by other rules from now on, for processes that run already too."""
        self._count()
        self._follows = True
        self.processes.use(rules)
        if self.choice.apps:
            self.processes.meet(running, cmdlines)

    def choose(self, choice: Choice) -> None:
        """Count by something else from the next batch on; what was counted before is kept.

        After apps were chosen, `use` tells which processes run.
        """
        self._count()
        self._name_labels()
        if not choice.apps:
            self.processes.clear()
        self.choice, self._labels = choice, _Labels(choice)

    def add(self, batch: Batch) -> NDArray[np.intp]:
        """Count a batch; events of kind ``task`` are not counted.

        Where all its labels name an app group, it was decided before: then that counts, and
        not the rules.

        Returns:
            The number of each record's app group in ``processes.names``; zeros where nobody asked.
        """
        apps = self._assign(batch)
        self._kept.append((batch.records, apps))
        self._kept_records += len(batch)
        if self._kept_records >= KEEP_RECORDS:
            self._count()
        return apps

    def _assign(self, batch: Batch) -> NDArray[np.intp]:
        records = batch.records
        if not self.choice.apps:
            return np.zeros(len(records), np.intp)
        told = self._told(batch.labels)
        if told is not None:
            return told
        if not self._follows:
            return np.zeros(len(records), np.intp)
        running = records["kind"] == _TASK
        if not running.any():
            return self.processes.assign(records, batch.texts)
        apps = np.empty(len(records), np.intp)
        apps[running] = self.processes.of(take(records, np.flatnonzero(running)))
        events = np.flatnonzero(~running)
        apps[events] = self.processes.assign(take(records, events), batch.texts)
        return apps

    def _told(self, labels: Labels | None) -> NDArray[np.intp] | None:
        """Return the app groups that labels name; None where they do not."""
        if labels is None or any(label.app_group is None for label in labels.table):
            return None
        numbers = [self.processes.number(label.app_group or "") for label in labels.table]
        return np.array(numbers, np.intp)[labels.rows]

    def charge(self, window: int, charges: Charges) -> NDArray[np.intp]:
        """Count lost events where they belong; what they were besides, nobody knows.

        Returns:
            The number of each charge's app group, as `add` does.
        """
        self._count()
        counts = np.zeros((len(charges.counts), _N), np.int64)
        counts[:, : len(COUNTS)] = charges.counts
        nobodys = np.zeros(_N, np.int64)
        nobodys[: len(COUNTS)] = charges.nobodys
        found = self._of(window)
        _add(found["host"], {"": counts.sum(axis=0) + nobodys})
        apps = np.zeros(len(counts), np.intp)
        if len(counts) and self.choice.apps:
            told = self._told(charges.labels)
            if told is not None:
                apps = told
            elif self._follows:
                apps = self.processes.assign(charges.events, {})
            _add(found["app"], _named(_summed(apps, counts), self.processes.names))
        if len(counts) and self._labels.wanted:
            self._labels.add(window, _summed(self._labels.of(charges.events), counts))
        if nobodys.any():
            for dimension in found.keys() & set(_WHOLE):
                _add(found[dimension], {OTHER: nobodys})
        return apps

    def close(self, window: int, end_ns: int) -> tuple[dict[str, dict[str, Series]], Zombies]:
        """Return what was counted in windows up to one and not returned yet.

        Args:
            window: Number of the window; its beginning is ``window * window_ns``.
            end_ns: Its end in CLOCK_BOOTTIME.
        """
        self._count()
        self._name_labels()
        counts: dict[str, Counts] = {dimension: {} for dimension in self._dimensions()}
        for number in [number for number in self._counts if number <= window]:
            for dimension, groups in self._counts.pop(number).items():
                # What was chosen in a part of the interval is told with that part.
                _add(counts.setdefault(dimension, {}), groups)
        closed = {
            dimension: self._rolls[dimension].close(groups) for dimension, groups in counts.items()
        }
        return closed, Zombies(0, 0) if self._zombies is None else self._zombies.at(end_ns)

    def drain(self) -> dict[int, dict[str, Counts]]:
        """Return what was counted since the last call, by window, dimension and group.

        Whoever sums it up charts it by `Roll`; `close` has nothing of it any more.
        """
        self._count()
        self._name_labels()
        counts, self._counts = self._counts, {}
        return counts

    @property
    def overflow(self) -> dict[str, int]:
        """Groups that were counted in ``other`` for want of room, by dimension."""
        return {dimension: roll.overflow for dimension, roll in self._rolls.items()}

    def _dimensions(self) -> Iterator[str]:
        chosen = self.choice
        yield from ("host", "errno", "status", "signal", "lifetime")
        for dimension, wanted in (
            ("app", chosen.apps),
            ("cgroup", chosen.cgroups),
            ("service", chosen.cgroups),
            ("command", chosen.commands),
            ("user", chosen.users),
        ):
            if wanted:
                yield dimension

    # --- counting ---

    def _count(self) -> None:
        """Count the records that were kept."""
        kept, self._kept, self._kept_records = self._kept, [], 0
        records = join_records([records for records, _ in kept])
        column = count_column(records)
        counted = np.flatnonzero(column >= 0)
        if not len(counted):
            return
        apps = np.concatenate([apps for _, apps in kept])
        if len(counted) < len(records):
            records, column, apps = take(records, counted), column[counted], apps[counted]
        if self._zombies is not None:
            self._zombies.add(records)
        by_init = (records["kind"] == _FORK) & (records["caller_pid"] == 1)
        labels = self._labels.of(records) if self._labels.wanted else None
        for number, here in self._windows(records["boot_ns"]):
            cells = _Cells(column[here], by_init[here])
            found = self._of(number)
            _add(found["host"], {"": cells.sum()})
            if self.choice.apps:
                _add(found["app"], _named(cells.table(apps[here]), self.processes.names))
            if labels is not None:
                self._labels.add(number, cells.table(labels[here]))
            part = records if isinstance(here, slice) else take(records, here)
            _add_outcomes(found, part, column[here])
        if len(self._labels) > KEEP_LABELS:
            self._name_labels()

    def _of(self, window: int) -> dict[str, Counts]:
        """Return the counts of a window, with every dimension that is chosen now."""
        found = self._counts.setdefault(window, {})
        for dimension in self._dimensions():
            found.setdefault(dimension, {})
        return found

    def _windows(self, boot_ns: NDArray[np.uint64]) -> Iterator[tuple[int, Rows]]:
        """Yield each window with the rows of its events."""
        first, last = int(boot_ns.min()) // self._window_ns, int(boot_ns.max()) // self._window_ns
        if first == last:  # nearly always
            yield first, slice(None)
            return
        window = boot_ns // np.uint64(self._window_ns)
        for number in np.unique(window).tolist():
            yield number, np.flatnonzero(window == number)

    def _name_labels(self) -> None:
        """Count the labels' events under the names that the labels have by now."""
        for number, dimension, groups in self._labels.drain(self._cgroups):
            _add(self._counts[number][dimension], groups)


class _Cells:
    """Counts events by a number of theirs and by `COLUMNS`.

    Args:
        column: Index in `COUNTS` of each event.
        by_init: Which of them count under ``fork_by_init`` as well.
    """

    def __init__(self, column: NDArray[np.intp], by_init: NDArray[np.bool_]) -> None:
        self._column = column
        self._by_init = np.flatnonzero(by_init)

    def table(self, numbers: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return counts of shape ``(highest number + 1, len(COLUMNS))``."""
        size = (int(numbers.max()) + 1) * _N
        table = np.bincount(numbers * _N + self._column, minlength=size).reshape(-1, _N)
        if len(self._by_init):
            np.add.at(table[:, _INIT], numbers[self._by_init], 1)
        return table

    def sum(self) -> NDArray[np.int64]:
        """Return the counts of all."""
        sums = np.bincount(self._column, minlength=_N)
        sums[_INIT] = len(self._by_init)
        return sums


class _Labels:
    """What is counted by cgroup, command and user: each event has one of a few combinations.

    A combination is looked up by a mixture of its members, once per event; the names are
    looked up once per combination.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self.wanted = choice.cgroups or choice.commands or choice.users
        self._clear()

    def _clear(self) -> None:
        self._numbers: dict[int, int] = {}
        self._members: list[NDArray[np.void]] = []
        self._tables: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, records: NDArray[np.void]) -> NDArray[np.intp]:
        """Return the number of each record's label."""
        mixed = np.zeros(len(records), np.uint64)
        if self._choice.commands:
            comm = np.ascontiguousarray(records["comm"]).view(np.uint64).reshape(-1, 2)
            mixed ^= comm[:, 0] * _MIX[0] ^ _turn(comm[:, 1] * _MIX[1])
        if self._choice.cgroups:
            unknown = records["flags"] & _CGROUP_UNKNOWN
            mixed ^= _turn((records["cgroup_id"] ^ unknown) * _MIX[2])
        if self._choice.users:
            mixed += records["uid"] * _MIX[1]
        known = map(self._numbers.get, mixed.tolist(), repeat(-1))
        found = np.fromiter(known, np.intp, len(records))
        rows = np.flatnonzero(found < 0)
        if len(rows):
            new, first, places = np.unique(mixed[rows], return_index=True, return_inverse=True)
            order = np.argsort(first)  # of appearance
            numbers = np.empty(len(new), np.intp)
            numbers[order] = np.arange(len(new)) + len(self._numbers)
            self._numbers |= zip(new[order].tolist(), numbers[order].tolist(), strict=True)
            self._members.append(self._members_of(take(records, rows[first[order]])))
            found[rows] = numbers[places]
        return found

    def _members_of(self, records: NDArray[np.void]) -> NDArray[np.void]:
        """Return what makes the label of each record."""
        members = np.zeros(len(records), _LABEL)
        if self._choice.commands:
            members["comm"] = np.ascontiguousarray(records["comm"]).view(np.uint64).reshape(-1, 2)
        if self._choice.cgroups:
            members["cgroup_id"] = records["cgroup_id"]
            members["flags"] = records["flags"] & _CGROUP_UNKNOWN
        if self._choice.users:
            members["uid"] = records["uid"]
        return members

    def add(self, window: int, table: NDArray[np.int64]) -> None:
        """Add counts by label."""
        before = self._tables.get(window)
        if before is not None:
            if len(before) > len(table):
                table, before = before, table
            table[: len(before)] += before
        self._tables[window] = table

    def drain(self, cgroups: CgroupNames) -> Iterator[tuple[int, str, Counts]]:
        """Yield window, dimension and counts by name; forget all labels."""
        members = np.concatenate([np.empty(0, _LABEL), *self._members])
        for window, table in self._tables.items():
            rows = np.flatnonzero(table.any(axis=1))
            for dimension, names in self._names(members[rows], cgroups):
                counts: Counts = {}
                for name, events in zip(names, table[rows], strict=True):
                    if name is not None:
                        counts[name] = counts[name] + events if name in counts else events
                yield window, dimension, counts
        self._clear()

    def _names(
        self, members: NDArray[np.void], cgroups: CgroupNames
    ) -> Iterator[tuple[str, list[str | None]]]:
        """Yield each dimension with the name of each label in it; None where it has none."""
        if self._choice.cgroups:
            places = [
                _cgroup_names(cgroups, id_, bool(unknown))
                for id_, unknown in zip(
                    members["cgroup_id"].tolist(), members["flags"].tolist(), strict=True
                )
            ]
            yield "cgroup", [cgroup for cgroup, _ in places]
            yield "service", [service for _, service in places]
        if self._choice.commands:
            raw = np.ascontiguousarray(members["comm"]).view("S16").reshape(-1).tolist()
            yield "command", [escape(comm.split(b"\0", 1)[0]) for comm in raw]
        if self._choice.users:
            yield "user", [str(uid) for uid in members["uid"].tolist()]


def _cgroup_names(cgroups: CgroupNames, id_: int, unknown: bool) -> tuple[str | None, str | None]:
    """Return the names of the charted cgroup and of the service; a cgroup is one or the other."""
    cgroup = None if unknown else cgroups.charted(id_)
    if cgroup is None:
        return UNKNOWN, None
    if cgroup.kind == SERVICE:
        return None, cgroup.name
    return (cgroup.name if cgroup.enabled else None), None


def _turn(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    turned: NDArray[np.uint64] = numbers ^ (numbers >> np.uint64(29))
    return turned


def _summed(numbers: NDArray[np.intp], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum rows of counts by a number of theirs."""
    table = np.zeros((int(numbers.max()) + 1, _N), np.int64)
    np.add.at(table, numbers, counts)
    return table


def _named(table: NDArray[np.int64], names: list[str]) -> Counts:
    return {names[row]: table[row] for row in np.flatnonzero(table.any(axis=1)).tolist()}


def _add(into: Counts, counts: Counts) -> None:
    for name, events in counts.items():
        into[name] = into[name] + events if name in into else events


# --- outcomes ------------------------------------------------------------------------------------


def _add_outcomes(
    found: dict[str, Counts], records: NDArray[np.void], column: NDArray[np.intp]
) -> None:
    """Count failures by errno, dead processes by exit status or signal, and by lifetime."""
    failed = np.flatnonzero(records["kind"] == KINDS["fail"])
    if len(failed):
        _add_by(found["errno"], records["errno"][failed], column[failed], _errno_name)
    dead = np.flatnonzero(column == _EXIT_PROCESS)
    if not len(dead):
        return
    codes = records["exit_code"][dead]
    signals, columns = codes & 127, column[dead]
    killed = signals != 0
    if killed.any():
        _add_by(found["signal"], signals[killed], columns[killed], _signal_name)
    _add_by(found["status"], codes[~killed] >> 8 & 255, columns[~killed], str)
    start_ns = records["process_start_ns"][dead].astype(np.int64)
    lived_ns = np.maximum(records["boot_ns"][dead].astype(np.int64) - start_ns, 0)
    bucket = np.searchsorted(LIFETIMES_NS, lived_ns)
    _add_by(found["lifetime"], bucket, columns, _bucket_name)


def _add_by(
    into: Counts, keys: NDArray[np.integer], column: NDArray[np.intp], name: Callable[[int], str]
) -> None:
    for key in np.unique(keys).tolist():
        _add(into, {name(key): np.bincount(column[keys == key], minlength=_N)})


def _errno_name(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)


def _bucket_name(bucket: int) -> str:
    return f"{LIFETIMES_NS[bucket] / 1e9:g}" if bucket < len(LIFETIMES_NS) else "+Inf"
