"""A run of an agent that never was: what it published, and the rates that it drew itself."""

from collections import defaultdict
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from taskstream.batch import Batch, Labels, Origin
from taskstream.charge import Charges
from taskstream.chart.chart import DOCUMENTED
from taskstream.chart.table import CHARTS
from taskstream.consumer.reader import Place
from taskstream.grouping.apps import AppGroups, parse
from taskstream.grouping.choice import Choice
from taskstream.grouping.label import labels_of
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.interval import Interval
from taskstream.message.batch_encode import encode_batch
from taskstream.message.columns import pack
from taskstream.message.encode import EventEncoder
from taskstream.record import KINDS
from taskstream.report import Report
from taskstream.sink.rates import messages
from tests.synthetic import bits, lives
from tests.synthetic_source import MemorySink
from tests.unit.test_pipeline import ATTACHED_NS, SECOND, START_NS, STEP_NS, play

__all__ = [
    "CHOICE",
    "CONTEXTS",
    "HOST",
    "PARTITIONS",
    "PATHS",
    "Keeper",
    "Nowhere",
    "Run",
    "drawn",
    "events",
    "moved",
]

HOST = Origin("build-7", "5b1d9f0c-7e0a-4c1e-9d55-0a6c2c1b7f11", 0)
CHOICE = Choice(apps=True, cgroups=True, commands=True, users=True)
RULES = "web: task-1*\nbatch: task-2*"
PARTITIONS = 4
PATHS = {7: "/system.slice/cron.service", 8: "/user.slice/x.scope"}
Item = TypeVar("Item", Batch, Report)
CONTEXTS = {chart.context for chart in CHARTS}


class Groups:
    """Counts and labels as an agent does."""

    def __init__(self, window_ns: int = SECOND) -> None:
        self.cgroups = CgroupNames(scan=lambda: PATHS.items())
        rules = AppGroups(parse(RULES.splitlines(), "FILE"))
        self.tally = Tally(window_ns, CHOICE, rules=rules, cgroups=self.cgroups)
        self.close = self.tally.close

    def begin(self, snapshot: Batch) -> Batch:
        return snapshot

    def charge(self, window: int, charges: Charges) -> Charges:
        apps = self.tally.charge(window, charges)
        return replace(charges, labels=self._labels(charges.events, apps))

    def names(self) -> tuple[tuple[int, str, str], ...]:
        return tuple((id_, one.path, one.name) for id_, one in self.cgroups.news().items())

    def add(self, batch: Batch) -> Batch:
        apps = self.tally.add(batch)
        return replace(batch, labels=self._labels(batch.records, apps))

    def _labels(self, records: np.ndarray, apps: np.ndarray) -> Labels:
        return labels_of(records, self.cgroups, (apps, self.tally.processes.names))


class LabelledSink(MemorySink):
    """Keeps batches whole."""

    def write(self, batch: Batch) -> None:
        self.account.received += len(batch)
        self.account.delivered += len(batch)
        self.batches.append(batch)


def events(count: int = 300, seed: int = 1, seconds: int = 6, commands: int = 0) -> np.ndarray:
    """Make the events of so many tasks, four each, in so much time; by so many commands."""
    records = lives(count, cpus=2).records
    if commands:
        names = np.array([b"command-%d" % n for n in range(commands)], records["comm"].dtype)
        records["comm"] = names[records["tgid"] % commands]
    records["boot_ns"] = ATTACHED_NS + np.arange(len(records)) * (seconds * SECOND // len(records))
    records["cgroup_id"] = 7 + records["tgid"] % 2
    records["uid"] = records["tgid"] % 3
    records["seq"] = START_NS + np.arange(len(records)) // 2
    records["flags"][records["kind"] == KINDS["exec"]] |= bits("args_lost")
    random = np.random.default_rng(seed)
    threads = random.random(len(records)) < 0.2
    forks = threads & (records["kind"] == KINDS["fork"])
    records["flags"][forks] |= bits("thread")
    records["caller_pid"][random.random(len(records)) < 0.1] = 1
    return records


class Run:
    """An agent's run: what it published, and the messages of its own rates.

    Args:
        origin: Whose host it is.
        seed: Of what is drawn by chance.
        lost: Share of the events that the ring had no room for.
        tasks: How many there were, four events each.
        seconds: How long.
        every_s: How long intervals are.
        commands: How many programs they were; 0 for one each.
        step_ns: How long a look at the ring takes.
    """

    def __init__(
        self,
        origin: Origin = HOST,
        seed: int = 1,
        lost: float = 0,
        *,
        tasks: int = 300,
        seconds: int = 6,
        every_s: int = 1,
        commands: int = 0,
        step_ns: int = STEP_NS,
    ) -> None:
        sink = LabelledSink()
        run = play(
            given := events(tasks, seed, seconds, commands),
            lost=np.random.default_rng(seed).random(len(given)) < lost,
            until_ns=ATTACHED_NS + (seconds + 1) * SECOND,
            window_ns=every_s * SECOND,
            step_ns=step_ns,
            sink=sink,
            groups=Groups(every_s * SECOND),
        )
        self.origin = replace(run.source.origin, host=origin.host)
        self.batches = [replace(b, origin=self.origin) for b in sink.batches]
        self.reports = [replace(r, origin=self.origin) for r in sink.reports]
        self.intervals = run.intervals
        self.drawn = [drawn(self.origin, interval) for interval in run.intervals]

    def on(self, host: str, skew_ns: int = 0) -> "Run":
        """Return the same run of another host, whose clock is so far ahead."""
        other = copy(self)
        other.origin = origin = replace(self.origin, host=host)
        other.batches = [moved(batch, origin, skew_ns) for batch in self.batches]
        other.intervals = [replace(i, wall_ns=i.wall_ns + skew_ns) for i in self.intervals]
        other.reports = [moved(report, origin, skew_ns) for report in self.reports]
        other.drawn = [drawn(origin, interval) for interval in other.intervals]
        return other

    def killed(self, intervals: int) -> "Run":
        """Return what there is of it if the agent was killed after so many intervals."""
        other = copy(self)
        closed = [at for at, r in enumerate(self.reports) if r.interval is not None]
        other.reports = self.reports[: closed[intervals - 1] + 1]
        other.intervals, other.drawn = self.intervals[:intervals], self.drawn[:intervals]
        return other

    def parts(self) -> list[Batch | Report]:
        """Return what it published, in that order."""
        parts: list[Batch | Report] = [*filter(len, self.batches), *self.reports]
        return sorted(parts, key=_newest_ns)

    def partitions(self, shape: str) -> dict[Place, list[bytes]]:
        """Return what is in a topic of events."""
        found: defaultdict[Place, list[bytes]] = defaultdict(list)
        encoder = EventEncoder(self.origin)
        for batch in self.batches:
            if not len(batch):
                continue
            made = encoder.encode(batch) if shape == "event" else encode_batch(batch, shard_count=3)
            for value, key in zip(made.values, made.keys, strict=True):
                found[Place("events", sum(key) % PARTITIONS)].append(value)
        place = Place("events", sum(self.origin.host.encode()) % PARTITIONS)
        found[place] += [pack(report.to_map()) for report in self.reports]
        return dict(found)


def _newest_ns(part: Batch | Report) -> int:
    return part.boot_ns if isinstance(part, Report) else int(part.records["boot_ns"].max())


def moved(one: Item, origin: Origin, skew_ns: int) -> Item:
    """Return a batch or a report as another host has it, whose clock is so far ahead."""
    there = replace(one, origin=origin, wall_offset_ns=one.wall_offset_ns + skew_ns)
    if isinstance(there, Report) and there.interval is not None:
        wall_ns = there.interval.wall_ns + skew_ns
        return replace(there, interval=replace(there.interval, wall_ns=wall_ns))
    return there


def drawn(origin: Origin, interval: Interval) -> list[Any]:
    """Return the documented charts, and all others of groups, as the topic of rates has them."""
    told = [m for m in messages(interval, origin, DOCUMENTED) if m["chart"] in CONTEXTS]
    for message in told:
        message["groups"].sort(key=lambda group: group["group"] or "")
    return told


class Nowhere:
    """Takes intervals and keeps none."""

    def interval(self, origin: Origin, interval: Interval) -> None:
        pass

    def forget(self, origin: Origin) -> None:
        pass


class Keeper:
    """Keeps what is drawn, by host."""

    def __init__(self) -> None:
        self.drawn: defaultdict[str, list[list[Any]]] = defaultdict(list)
        self.unseen: list[int] = []

    def interval(self, origin: Origin, interval: Interval) -> None:
        self.drawn[origin.host].append(drawn(origin, interval))
        self.unseen.append(interval.unseen)

    def forget(self, origin: Origin) -> None:
        pass
