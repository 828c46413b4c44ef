"""Counting by group, ns/event: no kernel and no broker, the CPU time of one thread."""

import gc
import time
from collections.abc import Iterator, Mapping

from taskstream import resource
from taskstream.chart.draw import draw
from taskstream.grouping.apps import AppGroups, parse
from taskstream.grouping.choice import Choice
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.interval import Interval, Series, Zombies
from taskstream.record import COUNTS
from taskstream.source import cgroup_tree
from tests.bench.figure import Effort, Figure, figure
from tests.bench.sample import SAMPLE_EVENTS, batches_of

__all__ = ["groups"]

_AIM_NS = 500
_BATCH_EVENTS = 256
_RUNS = 7
_ROUNDS = 6
_WINDOW_NS = 5_000_000_000
_CHOICES = {
    "outcomes": Choice(),
    "outcomes and cgroups": Choice(cgroups=True),
    "outcomes and apps": Choice(apps=True),
    "outcomes, apps and cgroups": Choice(apps=True, cgroups=True),
    "everything": Choice(apps=True, cgroups=True, commands=True, users=True),
}


def groups(effort: Effort) -> Iterator[Figure]:
    """Count the sample, close its windows and draw the charts, as the agent does."""
    path = resource.stock("apps_groups.conf")
    rules = AppGroups(parse(path.read_text().splitlines(), str(path)))
    batches = list(batches_of(_BATCH_EVENTS))
    windows = sorted(
        {window for b in batches for window in (b.records["boot_ns"] // _WINDOW_NS).tolist()}
    )

    def spent_ns(choice: Choice) -> float:
        names = CgroupNames(scan=lambda: cgroup_tree.scan(cgroup_tree.mounted()))
        names.refresh()
        tally = Tally(_WINDOW_NS, choice, rules=rules, cgroups=names)
        gc.collect()
        start = time.thread_time_ns()
        for batch in batches:
            tally.add(batch)
        for window in windows:
            closed, zombies = tally.close(window, (window + 1) * _WINDOW_NS)
            for _ in draw(_interval(window, closed, zombies)):
                pass
        return (time.thread_time_ns() - start) / sum(map(len, batches))

    for what, choice in _CHOICES.items():
        spent_ns(choice)
        best = [min(spent_ns(choice) for _ in range(_ROUNDS)) for _ in range(effort.runs(_RUNS))]
        note = f"{SAMPLE_EVENTS:,} events of processes that exec; {len(rules.rules)} patterns"
        yield figure("groups", f"count by {what}", "ns/event", best, aim=_AIM_NS, note=note)


def _interval(window: int, closed: Mapping[str, Mapping[str, Series]], dead: Zombies) -> Interval:
    none = (0,) * len(COUNTS)
    return Interval(
        start_ns=window * _WINDOW_NS,
        end_ns=(window + 1) * _WINDOW_NS,
        wall_ns=0,
        counts=none,
        received=none,
        groups=closed,
        zombies=dead,
    )
