"""Events counted by group and window: by app, cgroup, service, command, user, and by outcome.

Pure: no I/O, no clock. Records are kept and counted many at a time, as ``taskstream.rates``
does: counting costs the same for a few as for thousands. What an event is counted under is
decided by the event itself and by those before it, so a process that is gone when the interval
closes is counted where it belongs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Labels, join_records, take
from taskstream.charge import Charges
from taskstream.grouping.apps import OTHER, AppGroups
from taskstream.grouping.choice import Choice
from taskstream.grouping.combination import Combinations
from taskstream.grouping.counts import Counter, Counts, Rows, add, named, summed
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.outcome import count_outcomes
from taskstream.grouping.process import ProcessTable
from taskstream.grouping.roll import Roll
from taskstream.grouping.zombie import ZombieBook
from taskstream.interval import COLUMNS, Series, Zombies
from taskstream.rates import count_column
from taskstream.record import COUNTS, KINDS

__all__ = ["Tally"]

KEEP_RECORDS = 8192
KEEP_COMBINATIONS = 16_384

_WHOLE = ("app", "cgroup", "command", "user")
"""Dimensions in which every event has a group."""

_TASK = KINDS["task"]
_LAST_FORK = COLUMNS.index("fork_thread")  # before it comes fork_process


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
        self._combinations = Combinations(choice)
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
        self._name_combinations()
        if not choice.apps:
            self.processes.clear()
        self.choice, self._combinations = choice, Combinations(choice)

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
        if _TASK not in records["kind"].tobytes():
            return self.processes.assign(records, batch.texts)
        running = records["kind"] == _TASK
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
        counts = np.zeros((len(charges.counts), len(COLUMNS)), np.int64)
        counts[:, : len(COUNTS)] = charges.counts
        nobodys = np.zeros(len(COLUMNS), np.int64)
        nobodys[: len(COUNTS)] = charges.nobodys
        found = self._of(window)
        add(found["host"], {"": counts.sum(axis=0) + nobodys})
        apps = np.zeros(len(counts), np.intp)
        if len(counts) and self.choice.apps:
            told = self._told(charges.labels)
            if told is not None:
                apps = told
            elif self._follows:
                apps = self.processes.assign(charges.events, {})
            add(found["app"], named(summed(apps, counts), self.processes.names))
        if len(counts) and self._combinations.wanted:
            self._combinations.add(window, summed(self._combinations.of(charges.events), counts))
        if nobodys.any():
            for dimension in found.keys() & set(_WHOLE):
                add(found[dimension], {OTHER: nobodys})
        return apps

    def close(self, window: int, end_ns: int) -> tuple[dict[str, dict[str, Series]], Zombies]:
        """Return what was counted in windows up to one and not returned yet.

        Args:
            window: Number of the window; its beginning is ``window * window_ns``.
            end_ns: Its end in CLOCK_BOOTTIME.
        """
        self._count()
        self._name_combinations()
        counts: dict[str, Counts] = {dimension: {} for dimension in self._dimensions()}
        for number in [number for number in self._counts if number <= window]:
            for dimension, groups in self._counts.pop(number).items():
                # What was chosen in a part of the interval is told with that part.
                add(counts.setdefault(dimension, {}), groups)
        closed = {
            dimension: self._rolls[dimension].close(groups) for dimension, groups in counts.items()
        }
        return closed, Zombies(0, 0) if self._zombies is None else self._zombies.at(end_ns)

    def drain(self) -> dict[int, dict[str, Counts]]:
        """Return what was counted since the last call, by window, dimension and group.

        Whoever sums it up charts it by `Roll`; `close` has nothing of it any more.
        """
        self._count()
        self._name_combinations()
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
        if not len(records):
            return
        apps = np.concatenate([apps for _, apps in kept])
        if column.min() < 0:
            counted = np.flatnonzero(column >= 0)
            records, column, apps = take(records, counted), column[counted], apps[counted]
            if not len(counted):
                return
        if self._zombies is not None:
            self._zombies.add(records)
        by_init = (column <= _LAST_FORK) & (records["caller_pid"] == 1)
        combinations = self._combinations.of(records) if self._combinations.wanted else None
        for number, here in self._windows(records["boot_ns"]):
            counter = Counter(column[here], by_init[here])
            found = self._of(number)
            add(found["host"], {"": counter.sum()})
            if self.choice.apps:
                add(found["app"], named(counter.table(apps[here]), self.processes.names))
            if combinations is not None:
                self._combinations.add(number, counter.table(combinations[here]))
            count_outcomes(found, records, here, column[here])
        if len(self._combinations) > KEEP_COMBINATIONS:
            self._name_combinations()

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

    def _name_combinations(self) -> None:
        """Count by combination under the names that cgroups have by now."""
        for number, dimension, groups in self._combinations.drain(self._cgroups):
            add(self._counts[number][dimension], groups)
