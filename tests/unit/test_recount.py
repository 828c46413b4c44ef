"""Rates from the raw events are those that the agent drew, however the events come."""

import tracemalloc
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from taskstream.cells import cells_to_list
from taskstream.consumer.reader import Place
from taskstream.grouping.apps import AppGroups, parse
from taskstream.grouping.choice import Choice
from taskstream.message.batch_encode import encode_batch
from taskstream.message.columns import pack
from taskstream.message.decode import Decoded
from taskstream.message.encode import EventEncoder
from taskstream.partial import PartialSums
from taskstream.recount import Recounter
from taskstream.reducer import SILENT_MS
from taskstream.report import Report
from taskstream.turn import most_messages
from tests.agent_run import CHOICE, HOST, Keeper, Nowhere, Run
from tests.synthetic import WALL_OFFSET_NS
from tests.unit.test_pipeline import ATTACHED_NS


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


def test_lost_events_are_in_their_cgroups_also_where_reports_alone_are_in_a_partition():
    run = Run(lost=0.2)
    reports = [pack(report.to_map()) for report in run.reports]
    (first,) = encode_whole(run)
    keeper, _ = recount([first, (Place("events", 1), reports)])
    assert keeper.drawn[HOST.host] == run.drawn


@pytest.mark.parametrize("shape", ["event", "batch"])
def test_a_topic_that_was_written_twice_counts_once(shape):
    run = Run()
    chunks = chunked(run.partitions(shape), 3)
    keeper, recounter = recount([*chunks, *chunks])
    assert keeper.drawn[HOST.host] == run.drawn
    assert recounter.totals.events == 1200
    assert recounter.totals.again + recounter.totals.refused == 1200


def test_what_is_published_twice_in_a_row_counts_once_lost_events_included():
    run = Run(lost=0.2)
    doubled = {
        place: [value for one in values for value in (one, one)]
        for place, values in run.partitions("event").items()
    }
    keeper, recounter = recount(chunked(doubled, 4))
    assert keeper.drawn[HOST.host] == run.drawn
    assert recounter.totals.complete


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


def test_an_event_dated_far_ahead_is_left_out_and_told_and_the_others_are_as_ever():
    run = Run()
    spoilt = replace(run.batches[1], records=run.batches[1].records[:1].copy())
    spoilt.records["boot_ns"] += 400 * 86_400 * 10**9
    spoilt.records["seq"] += 5000
    ((place, values),) = encode_whole(run)
    (extra,) = EventEncoder(run.origin).encode(replace(spoilt, labels=None)).values
    reports = [pack(report.to_map()) for report in run.reports]
    keeper, recounter = recount(
        [(place, values[:50]), (place, [extra]), (place, [*values[50:], *reports])]
    )
    assert keeper.drawn[HOST.host] == run.drawn
    assert recounter.totals.doubted == 1
    assert not recounter.totals.complete
    assert "1 are dated a day ahead of all others of their run" in recounter.totals.line()


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


def test_events_with_an_app_group_keep_it_beside_events_without_one():
    run = Run()
    plain = [replace(batch, labels=None) for batch in run.batches[::2]]
    found = {}
    for mixed in (True, False):
        sums = PartialSums(CHOICE, 10**10)
        batches = [batch for pair in zip(run.batches[1::2], plain, strict=False) for batch in pair]
        for part in [batches] if mixed else [[batch] for batch in batches]:
            sums.take_in(Decoded(batches=part), 5)
        (partial,) = sums.take()
        found[mixed] = cells_to_list(partial.cells)
        assert "web" in {app for _, one in found[mixed] for app in one["app"]}
    assert found[True] == found[False]


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


@pytest.mark.parametrize(("window_s", "ends_s"), [(2, [102, 104, 106, 107.3]), (5, [105, 107.3])])
def test_windows_end_at_multiples_of_their_length_and_add_the_intervals_up(window_s, ends_s):
    run = Run()
    keeper, recounter = recount(chunked(run.partitions("event"), 2), window_s=window_s)
    told = keeper.drawn[HOST.host]
    assert [messages[0]["end_ns"] for messages in told] == [int(at * 1e9) for at in ends_s]
    starts = [run.drawn[0][0]["start_ns"], *(int(at * 1e9) for at in ends_s[:-1])]
    assert [messages[0]["start_ns"] for messages in told] == starts
    for chart in ("system.process_thread", "app.process_create", "command.task_exit"):
        for window, end_s in enumerate(ends_s):
            within = [m for m in run.drawn if starts[window] < m[0]["end_ns"] <= int(end_s * 1e9)]
            assert totals(told[window : window + 1], chart) == totals(within, chart)
    assert recounter.totals.complete


def test_a_window_that_is_not_over_waits_for_its_end_or_for_the_end_of_the_run():
    run = Run().killed(3)  # at second 103
    keeper, recounter = recount(chunked(run.partitions("event"), 2), window_s=60)
    assert [m[0]["end_ns"] for m in keeper.drawn[HOST.host]] == [103 * 10**9]
    keeper = Keeper()
    recounter = Recounter(CHOICE, keeper, late_s=10, window_s=60, now_ms=lambda: 5)
    for place, values in run.partitions("event").items():
        recounter.messages(place, values)
    recounter._turn(1 << 62, -1)
    assert not keeper.drawn


@pytest.mark.slow
def test_the_memory_of_a_recount_is_that_of_its_hosts_not_of_how_long_they_live():
    hosts, seconds, told_bytes = 10, 60, 300
    run = Run(tasks=8 * seconds, seconds=seconds, commands=20, step_ns=500_000_000)
    recounter = Recounter(CHOICE, Nowhere(), late_s=10, now_ms=lambda: 5)
    tracemalloc.start()
    try:
        taken = {}
        for part in run.parts():
            values = (
                [pack(part.to_map())] if isinstance(part, Report) else encode_batch(part).values
            )
            of_all = [v.replace(b"build-7", b"build-%x" % n) for n in range(hosts) for v in values]
            recounter.messages(Place("events", 0), of_all)
            recounter._turn(0, -1)
            taken[recounter.totals.intervals] = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert recounter.totals.events == hosts * sum(map(len, run.batches))
    assert recounter.totals.complete
    half, whole = hosts * seconds // 2, hosts * seconds
    assert taken[whole] - taken[half] < told_bytes * (whole - half)


@pytest.mark.parametrize(
    ("messages", "events", "most"),
    [(0, 0, 500), (500, 500, 30_000), (500, 500 * 512, 195), (1, 10**9, 1), (10, 0, 30_000)],
)
def test_what_is_read_at_a_time_is_bounded_by_its_events(messages, events, most):
    assert most_messages(messages, events) == most
