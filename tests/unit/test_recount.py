"""Rates from the raw events are those that the agent drew, however the events come."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from taskstream.batch import Batch, Label, Labels, Origin
from taskstream.charge import Charges
from taskstream.chart.chart import DOCUMENTED
from taskstream.chart.table import CHARTS
from taskstream.columns import pack
from taskstream.consumer.reader import Place, most_messages
from taskstream.encode import EventEncoder, encode_batch
from taskstream.grouping.apps import AppGroups, parse
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Choice, Tally
from taskstream.interval import Interval
from taskstream.record import KINDS
from taskstream.recount import Recounter
from taskstream.reducer import SILENT_MS
from taskstream.sink.rates import messages
from tests.synthetic import WALL_OFFSET_NS, bits, lives
from tests.synthetic_source import MemorySink
from tests.unit.test_pipeline import ATTACHED_NS, SECOND, START_NS, play

HOST = Origin("build-7", "5b1d9f0c-7e0a-4c1e-9d55-0a6c2c1b7f11", 0)
CHOICE = Choice(apps=True, cgroups=True, commands=True, users=True)
RULES = "web: task-1*\nbatch: task-2*"
PARTITIONS = 4
PATHS = {7: "/system.slice/cron.service", 8: "/user.slice/x.scope"}
CONTEXTS = {chart.context for chart in CHARTS}


class Groups:
    """Counts and labels as an agent does."""

    def __init__(self) -> None:
        self.cgroups = CgroupNames(scan=lambda: PATHS.items())
        rules = AppGroups(parse(RULES.splitlines(), "FILE"))
        self.tally = Tally(SECOND, CHOICE, rules=rules, cgroups=self.cgroups)
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
        ids = records["cgroup_id"].tolist()
        names = self.tally.processes.names
        table = [
            Label(PATHS.get(id_), None, None, names[app])
            for id_, app in zip(ids, apps.tolist(), strict=True)
        ]
        return Labels(table, np.arange(len(table)))


class LabelledSink(MemorySink):
    """Keeps batches whole."""

    def write(self, batch: Batch) -> None:
        self.account.received += len(batch)
        self.account.delivered += len(batch)
        self.batches.append(batch)


def events(count: int = 300, seed: int = 1) -> np.ndarray:
    records = lives(count, cpus=2).records
    records["boot_ns"] = ATTACHED_NS + np.arange(len(records)) * (6 * SECOND // len(records))
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
    """An agent's run: what it published, and the messages of its own rates."""

    def __init__(self, origin: Origin = HOST, seed: int = 1, lost: float = 0) -> None:
        sink = LabelledSink()
        run = play(
            given := events(seed=seed),
            lost=np.random.default_rng(seed).random(len(given)) < lost,
            until_ns=ATTACHED_NS + 7 * SECOND,
            sink=sink,
            groups=Groups(),
        )
        self.origin = replace(run.source.origin, host=origin.host)
        self.batches = [replace(b, origin=self.origin) for b in sink.batches]
        self.reports = [replace(r, origin=self.origin) for r in sink.reports]
        self.drawn = [drawn(self.origin, interval) for interval in run.intervals]

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


def drawn(origin: Origin, interval: Interval) -> list[Any]:
    """Return the documented charts, and all others of groups, as the topic of rates has them."""
    told = [m for m in messages(interval, origin, DOCUMENTED) if m["chart"] in CONTEXTS]
    for message in told:
        message["groups"].sort(key=lambda group: group["group"] or "")
    return told


class Keeper:
    """Keeps what is drawn, by host."""

    def __init__(self) -> None:
        self.drawn: defaultdict[str, list[list[Any]]] = defaultdict(list)
        self.unseen: list[int] = []

    def interval(self, origin: Origin, interval: Interval) -> None:
        self.drawn[origin.host].append(drawn(origin, interval))
        self.unseen.append(interval.unseen)


def recount(
    chunks: Iterable[tuple[Place, list[bytes]]], choice: Choice = CHOICE, **options: Any
) -> tuple[Keeper, Recounter]:
    keeper = Keeper()
    options.setdefault("now_ms", lambda: 5)
    recounter = Recounter(choice, keeper, late_s=10, **options)
    for place, values in chunks:
        recounter.messages(place, values)
        recounter._turn(0, -1)  # nothing is known of how far the rest was read
    recounter.end()
    return keeper, recounter


def chunked(partitions: dict[Place, list[bytes]], seed: int) -> list[tuple[Place, list[bytes]]]:
    """Cut the partitions into chunks, and mix these; each partition keeps its order."""
    random = np.random.default_rng(seed)
    chunks = {
        place: [part.tolist() for part in np.array_split(np.arange(len(v)), random.integers(1, 9))]
        for place, v in partitions.items()
    }
    mixed = []
    while any(chunks.values()):
        place = list(chunks)[random.integers(len(chunks))]
        if chunks[place]:
            mixed.append((place, [partitions[place][row] for row in chunks[place].pop(0)]))
    return mixed


@pytest.mark.parametrize("shape", ["event", "batch"])
@pytest.mark.parametrize("seed", range(6))
def test_charts_are_the_agents_own_whatever_partition_is_read_ahead_of_the_others(shape, seed):
    run = Run()
    keeper, recounter = recount(chunked(run.partitions(shape), seed))
    assert len(run.drawn) == 8
    assert keeper.drawn[HOST.host] == run.drawn
    assert recounter.totals.complete
    assert recounter.totals.events == 1200
    charts = {m["chart"] for told in run.drawn for m in told}
    assert {"app.process_create", "services.task_exit", "cgroup.task_close"} <= charts


def test_charts_are_the_agents_own_where_the_ring_lost_events():
    run = Run(lost=0.2)
    keeper, recounter = recount(chunked(run.partitions("event"), 5))
    assert keeper.drawn[HOST.host] == run.drawn
    assert recounter.totals.complete
    assert recounter.totals.events < 1100
    whole = totals(run.drawn, "system.process_thread")
    assert totals(run.drawn, "app.process_create") + totals(run.drawn, "app.thread_create") == whole


@pytest.mark.parametrize("shape", ["event", "batch"])
def test_a_topic_that_was_written_twice_counts_once(shape):
    run = Run()
    chunks = chunked(run.partitions(shape), 3)
    keeper, recounter = recount([*chunks, *chunks])
    assert keeper.drawn[HOST.host] == run.drawn
    assert recounter.totals.events == 1200
    assert recounter.totals.again + recounter.totals.refused == 1200


def test_every_host_has_its_own_charts():
    runs = [Run(replace(HOST, host=f"web-{n}"), seed=n) for n in range(5)]
    chunks = [c for n, run in enumerate(runs) for c in chunked(run.partitions("event"), n)]
    np.random.default_rng(7).shuffle(order := list(range(len(chunks))))
    keeper, recounter = recount(chunks[row] for row in _in_order(chunks, order))
    for run in runs:
        assert keeper.drawn[run.origin.host] == run.drawn
    assert recounter.totals.hosts == {run.origin.host for run in runs}


def _in_order(chunks: list[tuple[Place, list[bytes]]], order: list[int]) -> list[int]:
    """Mix the chunks, and keep the order of those of a partition."""
    rows = defaultdict(list)
    for row, (place, _) in enumerate(chunks):
        rows[place].append(row)
    return [rows[chunks[row][0]].pop(0) for row in order]


def test_an_interval_waits_for_its_last_event_and_no_longer():
    run = Run()
    (place, values), *rest = encode_whole(run)
    assert not rest
    keeper = Keeper()
    recounter = Recounter(CHOICE, keeper, late_s=10, now_ms=lambda: 5)
    reports = [pack(report.to_map()) for report in run.reports]
    recounter.messages(place, [*values[:-1], reports[-1]])
    recounter.messages(place, reports[:-1])
    recounter._turn(0, -1)
    assert len(keeper.drawn[HOST.host]) < len(run.drawn)
    recounter.messages(place, values[-1:])
    recounter._turn(0, -1)
    assert keeper.drawn[HOST.host] == run.drawn


def encode_whole(run: Run) -> list[tuple[Place, list[bytes]]]:
    encoder = EventEncoder(run.origin)
    whole = [value for b in run.batches if len(b) for value in encoder.encode(b).values]
    return [(Place("events", 0), whole)]


def test_events_that_never_come_are_missing_from_the_groups_and_from_nothing_else():
    run = Run()
    partitions = run.partitions("event")
    gone = partitions[Place("events", 1)]
    lost, partitions[Place("events", 1)] = gone[:9], gone[9:]
    keeper, recounter = recount(chunked(partitions, 1))
    assert recounter.totals.missing == sum(keeper.unseen) == len(lost)
    assert not recounter.totals.complete
    found, wanted = keeper.drawn[HOST.host], run.drawn
    for told, own in zip(found, wanted, strict=True):
        system = [m for m in told if m["chart"].startswith("system.")]
        assert system == [m for m in own if m["chart"].startswith("system.")]
    assert totals(wanted, "command.task_exit") - totals(found, "command.task_exit") == sum(
        1 for value in lost if b"\xa4kind\xa4exit" in value
    )


def totals(told: list[list[Any]], chart: str) -> int:
    return sum(
        sum(group["counts"].values())
        for messages in told
        for m in messages
        if m["chart"] == chart
        for group in m["groups"]
    )


def test_what_comes_behind_its_interval_is_counted_in_the_next_one_and_told():
    run = Run()
    keeper = Keeper()
    recounter = Recounter(CHOICE, keeper, late_s=10, now_ms=lambda: 5)
    ((place, values),) = encode_whole(run)
    reports = [pack(report.to_map()) for report in run.reports]
    recounter.messages(place, [*values[:5], *values[8:600], reports[0]])
    recounter._turn(1 << 62, -1)  # all has been read, and more than ten seconds more
    recounter.messages(Place("events", 1), values[5:8])
    recounter.messages(place, [*values[600:], *reports[1:]])
    recounter.end()
    assert recounter.totals.late == 3
    assert recounter.totals.events == 1200
    found = keeper.drawn[HOST.host]
    assert totals(found, "command.process_create") == totals(run.drawn, "command.process_create")
    assert keeper.unseen[0] == 3


def test_a_killed_agents_last_events_are_an_interval_that_is_not_exact():
    run = Run()
    ((place, values),) = encode_whole(run)
    reports = [pack(report.to_map()) for report in run.reports[:4]]
    end_ms = (WALL_OFFSET_NS + ATTACHED_NS) // 1_000_000 + 7_000
    keeper, _ = recount([(place, [*values, *reports])], now_ms=lambda: end_ms)
    assert keeper.drawn[HOST.host] == run.drawn[:4]  # it may be alive
    keeper, _ = recount([(place, [*values, *reports])], now_ms=lambda: end_ms + SILENT_MS)
    told = keeper.drawn[HOST.host]
    assert told[:4] == run.drawn[:4]
    assert len(told) == 5
    assert [m["exact"] for m in told[4]] == [False] * len(told[4])
    assert totals(told, "system.exit") == totals(run.drawn, "system.exit")


def test_other_rules_recount_history_under_them():
    run = Run()
    rules = AppGroups(parse(["sevens: *7", "elevens: task-11*"], "NEW"))
    keeper, _ = recount(encode_whole_with_reports(run), rules=rules)
    names = {
        group["group"]
        for told in keeper.drawn[HOST.host]
        for m in told
        if m["chart"] == "app.process_create"
        for group in m["groups"]
    }
    assert names == {"sevens", "elevens", "other"}
    for what in ("process_create", "task_exit", "task_close"):
        assert totals(keeper.drawn[HOST.host], f"app.{what}") == totals(run.drawn, f"app.{what}")


def encode_whole_with_reports(run: Run) -> list[tuple[Place, list[bytes]]]:
    ((place, values),) = encode_whole(run)
    return [(place, [*values, *(pack(report.to_map()) for report in run.reports)])]


def test_a_run_of_which_nothing_comes_any_more_is_forgotten():
    run, clock = Run(), [0]
    recounter = Recounter(CHOICE, Keeper(), late_s=10, now_ms=lambda: clock[0])
    for place, values in encode_whole_with_reports(run):
        recounter.messages(place, values)
    recounter._turn(0, -1)
    part = recounter._parts[Place("events", 0)]
    assert (len(part), len(part.ledger)) == (1, 1)
    assert part.forget_before(1) == [run.origin]
    assert (len(part), len(part.ledger)) == (0, 0)
    assert recounter._reducer.forget_before(1) == [run.origin]


@pytest.mark.parametrize(
    ("messages", "events", "most"),
    [(0, 0, 500), (500, 500, 50_000), (500, 500 * 512, 195), (1, 10**9, 1), (10, 0, 50_000)],
)
def test_what_is_read_at_a_time_is_bounded_by_its_events(messages, events, most):
    assert most_messages(messages, events) == most
