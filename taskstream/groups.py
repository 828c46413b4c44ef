"""A run's events by group, with all that must be read from the host for it.

Joint: puts ``taskstream.grouping``, which is pure, together with the files that it needs:
apps_groups.conf, which may change while the agent runs, /proc, the cgroup tree.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taskstream import place
from taskstream.batch import Batch, Labels
from taskstream.charge import Charges
from taskstream.config.config import Config
from taskstream.config.file import read_app_groups
from taskstream.errors import ConfigError
from taskstream.grouping.apps import AppGroups
from taskstream.grouping.choice import Choice
from taskstream.grouping.label import labels_of
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.interval import Series, Zombies
from taskstream.source import cgroup_tree, proc
from taskstream.source.engine import EngineNames

__all__ = ["Groups"]

_State = tuple[Path, int, int]


class Groups:
    """Counts events by group.

    Args:
        config: What to count, and how many groups.
        say: Told of new rules, and of what is wrong with them.
        running: Returns the tasks that run now, as ``task`` records.

    Attributes:
        cgroups: Names of the cgroups, for whoever learns of new ones.

    Raises:
        ConfigError: apps_groups.conf is asked for, and cannot be read, or is wrong.
    """

    def __init__(
        self,
        config: Config,
        say: Callable[[str], None] = lambda _text: None,
        running: Callable[[], NDArray[np.void]] = proc.running_tasks,
    ) -> None:
        self.cgroups = CgroupNames(
            EngineNames(), scan=lambda: cgroup_tree.scan(cgroup_tree.mounted())
        )
        self._say = say
        self._running = running
        self._wanted = config.apps
        self._reload = False
        path = place.find(place.APP_GROUPS)
        self._state = _state(path)
        self._tally = Tally(
            config.update_every_s * 10**9,
            Choice(
                apps=config.apps,
                cgroups=config.cgroups,
                commands=config.chart_commands,
                users=config.chart_users,
                limit=config.chart_names,
            ),
            rules=read_app_groups(path) if config.apps else AppGroups([]),
            cgroups=self.cgroups,
            table_size=config.pid_table_size,
            is_zombie=proc.is_zombie,
        )
        self._labels = config.publishes
        if config.cgroups or self._labels:
            self.cgroups.refresh()

    def begin(self, snapshot: Batch) -> Batch:
        """Take note of the tasks that ran before the first event; return them with labels."""
        self._tally.meet(snapshot.records, self._cmdlines(snapshot.records))
        return self.add(snapshot)

    def _cmdlines(self, running: NDArray[np.void]) -> dict[int, bytes]:
        return proc.cmdlines(set(running["tgid"].tolist())) if self._wanted else {}

    def add(self, batch: Batch) -> Batch:
        """Count a batch; return it with labels, if anybody gets to see them."""
        for id_, path in batch.cgroups:
            if path is None:
                self.cgroups.remove(id_)
            else:
                self.cgroups.learn(id_, path)
        apps = self._tally.add(batch)
        if not self._labels or not len(batch):
            return batch
        return replace(batch, labels=self._labels_of(batch.records, apps))

    def _labels_of(self, records: NDArray[np.void], apps: NDArray[np.intp]) -> Labels:
        groups = (apps, self._tally.processes.names) if self._wanted else None
        return labels_of(records, self.cgroups, groups)

    def charge(self, window: int, charges: Charges) -> Charges:
        """Count lost events where they belong; return them with labels, as `add` does."""
        apps = self._tally.charge(window, charges)
        if not self._labels or not len(charges.events):
            return charges
        return replace(charges, labels=self._labels_of(charges.events, apps))

    def close(self, window: int, end_ns: int) -> tuple[dict[str, dict[str, Series]], Zombies]:
        """Return what was counted up to the end of a window, then look for new rules.

        Args:
            window: Its number.
            end_ns: Its end in CLOCK_BOOTTIME.
        """
        closed = self._tally.close(window, end_ns)
        self.cgroups.expire()
        if self._wanted:
            self._look()
        return closed

    def names(self) -> tuple[tuple[int, str, str], ...]:
        """Return id, path and name of the cgroups that are new in what was returned."""
        return tuple((id_, one.path, one.name) for id_, one in self.cgroups.news().items())

    @property
    def forgotten(self) -> int:
        """Processes that were forgotten before they were released."""
        return self._tally.processes.forgotten

    @property
    def choice(self) -> Choice:
        """By what is counted now."""
        return self._tally.choice

    def choose(self, *, apps: bool, cgroups: bool) -> None:
        """Count by app group, and by cgroup, from the next batch on, or no more.

        Counters that were kept before go on from where they were.

        Raises:
            ConfigError: apps_groups.conf cannot be read, or is wrong; nothing has changed.
        """
        before = self._tally.choice
        choice = replace(before, apps=apps, cgroups=cgroups)
        if apps and not before.apps:
            path = place.find(place.APP_GROUPS)
            rules = read_app_groups(path)
            self._state, self._wanted = _state(path), True
            self._tally.choose(choice)
            running = self._running()
            self._tally.use(rules, running, self._cmdlines(running))
        else:
            self._wanted = apps
            self._tally.choose(choice)
        if cgroups and not before.cgroups:
            self.cgroups.refresh()

    # --- other rules ---

    def reload(self) -> None:
        """Read apps_groups.conf again at the end of this interval, whether it changed or not."""
        self._reload = True

    def _look(self) -> None:
        path = place.find(place.APP_GROUPS)
        state = _state(path)
        if state == self._state and not self._reload:
            return
        self._state, self._reload = state, False
        try:
            rules = read_app_groups(path)
        except ConfigError as error:
            self._say(f"{error}; the app groups stay as they are")
            return
        running = self._running()
        self._tally.use(rules, running, self._cmdlines(running))
        self._say(f"app groups read from {path}: {len(rules.groups)} groups")


def _state(path: Path) -> _State:
    """Return what changes when a file is written or replaced."""
    try:
        found = path.stat()
    except OSError:
        return path, 0, 0
    return path, found.st_ino, found.st_mtime_ns
