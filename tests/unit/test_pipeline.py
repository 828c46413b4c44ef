"""The loop: every event to the sink and into one interval, whenever it is read or counted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taskstream.batch import Batch
from taskstream.charge import Charges
from taskstream.config.config import Config
from taskstream.grouping.apps import AppGroups, parse
from taskstream.grouping.choice import Choice
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.groups import Groups
from taskstream.interval import Interval, Zombies
from taskstream.pipeline import LONG_GAP_WINDOWS, Pipeline, Rhythm
from taskstream.rates import charts
from taskstream.record import COUNTS, KINDS, RECORD, VERSION
from taskstream.stats import RunTotals
from tests.synthetic import WALL_OFFSET_NS, batch, event
from tests.synthetic_source import MemorySink, SyntheticSource

SECOND = 10**9
START_NS = 100 * SECOND + 250_000_000
ATTACHED_NS = START_NS + 50_000_000
STEP_NS = 20_000_000


def forks(*times_ns: int, cpus: int = 2) -> NDArray[np.void]:
    """Make forks at these times; the CPUs take turns."""
    records = np.zeros(len(times_ns), RECORD)
    records["version"], records["kind"] = VERSION, KINDS["fork"]
    records["boot_ns"] = times_ns
    records["cpu"] = np.arange(len(times_ns)) % cpus
    records["seq"] = START_NS + np.arange(len(times_ns)) // cpus
    return records


def steady(seconds: float, *, per_second: int = 100) -> NDArray[np.void]:
    """Make forks at an even pace, from the attachment on."""
    count = int(seconds * per_second)
    return forks(*(ATTACHED_NS + n * SECOND // per_second for n in range(count)))


@dataclass
class Run:
    """What became of a run."""

    source: SyntheticSource
    sink: MemorySink
    intervals: list[Interval]
    totals: RunTotals

    def summed(self) -> dict[str, int]:
        """Return the counts of all intervals together, those that are not zero."""
        sums = np.sum([i.counts for i in self.intervals], axis=0).tolist()
        return {c.name: n for c, n in zip(COUNTS, sums, strict=True) if n}


def play(
    events: NDArray[np.void],
    *,
    until_ns: int,
    window_ns: int = SECOND,
    sink: MemorySink | None = None,
    at: Callable[[SyntheticSource], None] = lambda _source: None,
    step_ns: int = STEP_NS,
    groups: "Grouping | None" = None,
    **options: Any,
) -> Run:
    """Run a pipeline over events until a moment; ``at`` is called after every look."""
    intervals: list[Interval] = []
    sink = MemorySink() if sink is None else sink
    with SyntheticSource(
        events,
        window_ns=window_ns,
        start_ns=START_NS,
        attached_ns=ATTACHED_NS,
        step_ns=step_ns,
        **options,
    ) as source:
        pipeline = Pipeline(
            source,
            sink,
            Rhythm(window_ns=window_ns, flush_ms=1, idle_ms=1, drain_timeout_s=7),
            failures_watched=False,
            on_interval=intervals.append,
            groups=groups,
            now_ns=source.now_ns,
        )
        totals = pipeline.run(lambda: source.now >= until_ns, lambda: at(source))
    return Run(source, sink, intervals, totals)


# --- events --------------------------------------------------------------------------------------


def test_every_event_goes_to_the_sink_in_order():
    run = play(steady(3), until_ns=ATTACHED_NS + 4 * SECOND)
    numbers = [n for b in run.sink.batches for n in b.records["boot_ns"].tolist()]
    assert numbers == steady(3)["boot_ns"].tolist()
    assert run.totals.complete


def test_the_snapshot_goes_first_and_is_in_no_count():
    running = batch(event("task"), event("task"))
    run = play(steady(1), until_ns=ATTACHED_NS + 2 * SECOND, snapshot=running)
    assert len(run.sink.batches[0]) == 2
    assert (run.totals.running, run.totals.counted, run.totals.read) == (2, 100, 100)
    assert run.summed() == {"fork_process": 100}
    assert run.totals.complete


def test_what_is_in_the_ring_at_the_end_is_read():
    late = steady(1)["boot_ns"].astype(np.int64) + 600_000_000
    run = play(steady(1), until_ns=ATTACHED_NS + SECOND, readable_ns=late)
    assert (run.totals.read, run.totals.unread) == (100, 0)


def test_an_event_that_never_comes_does_not_hold_up_the_end_for_ever():
    never = steady(1)["boot_ns"].astype(np.int64)
    never[-1] = 1 << 62
    run = play(steady(1), until_ns=ATTACHED_NS + SECOND, readable_ns=never)
    assert (run.totals.read, run.totals.unread) == (99, 1)
    assert not run.totals.complete
    assert run.source.now < ATTACHED_NS + 4 * SECOND


def test_after_the_end_the_sink_is_drained():
    run = play(steady(1), until_ns=ATTACHED_NS + SECOND)
    assert run.sink.drained_s == 7


# --- intervals -----------------------------------------------------------------------------------


def test_intervals_follow_one_another_from_the_attachment_to_the_end():
    run = play(steady(5), until_ns=ATTACHED_NS + 5 * SECOND)
    bounds = [(i.start_ns, i.end_ns) for i in run.intervals]
    assert bounds[0][0] == ATTACHED_NS
    assert bounds[-1][1] == run.source.detached_ns
    assert [end for _, end in bounds[:-1]] == [start for start, _ in bounds[1:]]


def test_all_but_the_last_interval_end_at_a_multiple_of_their_length():
    run = play(steady(5), until_ns=ATTACHED_NS + 5 * SECOND)
    assert len(run.intervals) == 6
    assert all(i.end_ns % SECOND == 0 for i in run.intervals[:-1])


def test_rates_of_the_partial_first_and_last_interval_are_those_of_the_whole_ones():
    run = play(steady(5), until_ns=ATTACHED_NS + 5 * SECOND - STEP_NS)
    assert run.intervals[0].seconds == pytest.approx(0.7)
    assert run.intervals[-1].seconds < 0.5
    for interval in run.intervals:
        assert charts(interval)["system.process_thread"]["process"] == pytest.approx(100, abs=8)


def test_the_wall_time_of_an_interval_is_that_of_its_end():
    run = play(steady(3), until_ns=ATTACHED_NS + 3 * SECOND)
    for interval in run.intervals:
        assert interval.wall_ns == interval.end_ns + run.source.wall_offset_ns


def test_a_quiet_interval_is_an_interval():
    run = play(forks(), until_ns=ATTACHED_NS + 3 * SECOND)
    assert len(run.intervals) == 4
    assert run.summed() == {}


def test_a_run_that_ends_in_its_first_window_has_one_interval():
    run = play(steady(0.2), until_ns=ATTACHED_NS + 200_000_000)
    assert [(i.start_ns, i.end_ns) for i in run.intervals] == [
        (ATTACHED_NS, run.source.detached_ns)
    ]
    assert run.summed() == {"fork_process": 20}


def test_the_counts_of_all_intervals_are_what_the_kernel_counted():
    run = play(steady(5), until_ns=ATTACHED_NS + 6 * SECOND)
    assert run.summed() == {"fork_process": 500}
    assert sum(sum(i.received) for i in run.intervals) == 500


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_counts_are_exact_and_losses_told_when_the_ring_overflows(share):
    lost = np.random.default_rng(3).random(500) < share
    run = play(steady(5), until_ns=ATTACHED_NS + 6 * SECOND, lost=lost)
    assert run.summed() == {"fork_process": 500}
    assert sum(i.lost() for i in run.intervals) == lost.sum() == run.totals.lost
    assert run.totals.counted == run.totals.read + run.totals.lost


def test_what_is_counted_late_is_in_a_later_interval_and_in_no_two():
    counted = steady(5)["boot_ns"].astype(np.int64)
    counted[::7] += 900_000_000
    run = play(steady(5), until_ns=ATTACHED_NS + 8 * SECOND, counted_ns=counted)
    assert run.summed() == {"fork_process": 500}


@pytest.mark.parametrize("slow_ms", [50, 300, 2_500])
def test_a_sink_that_takes_its_time_makes_no_event_look_lost(slow_ms):
    class SlowSink(MemorySink):
        def write(self, batch: Batch) -> None:
            super().write(batch)
            if running and len(batch):
                running[0].now += slow_ms * 1_000_000

    running: list[SyntheticSource] = []
    run = play(
        steady(6),
        until_ns=ATTACHED_NS + 9 * SECOND,
        sink=SlowSink(),
        at=lambda source: running.append(source) if not running else None,
    )
    assert [interval.lost() for interval in run.intervals] == [0] * len(run.intervals)
    assert run.summed() == {"fork_process": 600}


def test_what_is_read_late_is_received_once():
    readable = steady(5)["boot_ns"].astype(np.int64)
    readable[::7] += 900_000_000
    run = play(steady(5), until_ns=ATTACHED_NS + 8 * SECOND, readable_ns=readable)
    assert sum(sum(i.received) for i in run.intervals) == 500
    assert sum(i.lost() for i in run.intervals) == 0


@pytest.mark.parametrize(
    ("end_ms", "late_ms"),
    [
        (0, 0),
        (0, 950),
        (200, 300),
        (600, 40),
        (690, 300),
        (700, 700),
        (710, 950),
        (900, 700),
        (900, 950),
    ],
)
def test_nothing_is_counted_twice_however_long_the_last_reading_takes(end_ms, late_ms):
    events = steady(3)
    readable = events["boot_ns"].astype(np.int64)
    readable[-30:] += late_ms * 1_000_000
    until_ns = ATTACHED_NS + 2 * SECOND + end_ms * 1_000_000
    run = play(events, until_ns=until_ns, readable_ns=readable, step_ns=5_000_000)
    assert run.source.detached_ns is not None
    assert run.summed() == {"fork_process": run.totals.counted}
    assert sum(sum(i.received) for i in run.intervals) == run.totals.read
    assert run.intervals[-1].end_ns == run.source.detached_ns


def test_after_a_long_sleep_of_the_host_quiet_windows_are_left_out():
    sleep_ns = 10 * LONG_GAP_WINDOWS * SECOND
    events = forks(ATTACHED_NS + SECOND // 4, ATTACHED_NS + sleep_ns + 3 * SECOND)
    slept = []

    def fall_asleep(source: SyntheticSource) -> None:
        if not slept and source.now > ATTACHED_NS + SECOND // 2:
            slept.append(source.now)
            source.now += sleep_ns

    run = play(events, until_ns=ATTACHED_NS + sleep_ns + 4 * SECOND, at=fall_asleep)
    assert len(run.intervals) < 10
    assert run.summed() == {"fork_process": 2}
    bounds = [(i.start_ns, i.end_ns) for i in run.intervals]
    assert [end for _, end in bounds[:-1]] == [start for start, _ in bounds[1:]]


def test_what_the_kernel_skipped_is_told_in_the_interval_in_which_it_was():
    def skip(source: SyntheticSource) -> None:
        if source.now > ATTACHED_NS + 2 * SECOND and not source.skipped:
            source.skipped["on_exit"] = 3

    run = play(steady(5), until_ns=ATTACHED_NS + 5 * SECOND, at=skip)
    skips = [i.missed.get("on_exit", 0) for i in run.intervals]
    assert sum(skips) == 3
    assert [i.exact for i in run.intervals] == [skip == 0 for skip in skips]
    assert run.totals.missed == 3
    assert not run.totals.complete


def test_windows_that_are_settled_are_emptied_once_and_in_order():
    run = play(steady(9), until_ns=ATTACHED_NS + 9 * SECOND)
    assert run.source.emptied
    assert run.source.emptied == sorted(set(run.source.emptied))


# --- groups --------------------------------------------------------------------------------------


def tally(window_ns: int = SECOND) -> Tally:
    rules = AppGroups(parse(["web: nginx"], "FILE"))
    return Tally(window_ns, Choice(apps=True), rules=rules, cgroups=CgroupNames())


class Grouping:
    """A tally that keeps the snapshot that it was given."""

    def __init__(self) -> None:
        self.tally = tally()
        self.close = self.tally.close
        self.begun_with: Batch | None = None

    def begin(self, snapshot: Batch) -> Batch:
        self.begun_with = snapshot
        self.tally.meet(snapshot.records, {})
        return snapshot

    def add(self, batch: Batch) -> Batch:
        self.tally.add(batch)
        return batch

    def charge(self, window: int, charges: Charges) -> Charges:
        self.tally.charge(window, charges)
        return charges

    def names(self) -> tuple[tuple[int, str, str], ...]:
        return ()


@pytest.mark.parametrize("late_ms", [0, 300, 950])
def test_the_groups_of_all_intervals_together_have_every_event_that_was_received(late_ms):
    readable = steady(5)["boot_ns"].astype(np.int64)
    readable[::7] += late_ms * 1_000_000
    run = play(
        steady(5), until_ns=ATTACHED_NS + 6 * SECOND, readable_ns=readable, groups=Grouping()
    )
    assert len(run.intervals) > 5
    for interval in run.intervals:
        window = interval.groups["app"].get("other")
        assert sum(interval.received) == (window.count("fork_process") if window else 0)
    last = run.intervals[-1].groups["app"]["other"]
    assert last.sum("fork_process") == 500


def test_groups_begin_with_the_tasks_that_were_running():
    running = batch(event("task"), event("task"))
    grouping = Grouping()
    run = play(steady(1), until_ns=ATTACHED_NS + SECOND, snapshot=running, groups=grouping)
    assert grouping.begun_with is running
    assert run.intervals[0].zombies == Zombies(0, 0)


def test_what_was_lost_before_a_switch_is_not_counted_in_what_is_switched_on():
    groups = Groups(Config(update_every_s=1), running=lambda: batch().records)
    intervals: list[Interval] = []
    switched_ns: list[int] = []
    events = steady(5)
    options = {"window_ns": SECOND, "start_ns": START_NS, "attached_ns": ATTACHED_NS}
    every = np.ones(len(events), np.bool_)
    with SyntheticSource(events, step_ns=STEP_NS, lost=every, **options) as source:

        def watch() -> None:
            if not switched_ns and source.now > ATTACHED_NS + 2.5 * SECOND:
                pipeline.settle_losses()
                groups.choose(apps=True, cgroups=False)
                switched_ns.append(source.now)

        pipeline = Pipeline(
            source,
            MemorySink(),
            Rhythm(window_ns=SECOND, flush_ms=1, idle_ms=1),
            failures_watched=False,
            on_interval=intervals.append,
            groups=groups,
            now_ns=source.now_ns,
        )
        pipeline.run(lambda: source.now >= ATTACHED_NS + 6 * SECOND, watch)
    later = int((events["boot_ns"] > switched_ns[0]).sum())
    assert 100 < later < 400
    total = intervals[-1].groups["app"]["other"].sum("fork_process")
    assert abs(total - later) <= 1  # one happened while the switch was thrown
    assert sum(i.count("fork_process") for i in intervals) == 500


def test_without_groups_an_interval_has_none():
    run = play(steady(1), until_ns=ATTACHED_NS + SECOND)
    assert [(i.groups, i.zombies) for i in run.intervals] == [({}, None)] * len(run.intervals)


# --- reports -------------------------------------------------------------------------------------


def test_a_report_follows_every_interval_and_the_last_is_final():
    run = play(steady(4), until_ns=ATTACHED_NS + 4 * SECOND)
    assert [r.interval for r in run.sink.reports] == run.intervals
    assert [r.final for r in run.sink.reports] == [False] * 4 + [True]


def test_the_last_report_has_the_totals_of_the_run():
    lost = np.arange(400) % 5 == 0
    run = play(steady(4), until_ns=ATTACHED_NS + 5 * SECOND, lost=lost)
    final = run.sink.reports[-1]
    assert [cpu.cpu for cpu in final.cpus] == [0, 1]
    assert sum(sum(cpu.counted) for cpu in final.cpus) == 400
    assert sum(sum(cpu.lost) for cpu in final.cpus) == 80
    assert [cpu.next_seq - START_NS for cpu in final.cpus] == [200, 200]


def test_reports_tell_what_was_charged_in_their_interval():
    """Whoever counts what a sink was given comes to the groups of every interval."""
    lost = np.arange(400) % 5 < 2
    run = play(steady(4), until_ns=ATTACHED_NS + 5 * SECOND, lost=lost, groups=Grouping())
    again = tally()
    batches = iter(run.sink.batches)
    for report in run.sink.reports:
        assert report.interval is not None
        if report.charges is not None:
            again.charge((report.interval.end_ns - 1) // SECOND, report.charges)
        for one in batches:
            again.add(one)
            if (one.records["boot_ns"] >= report.interval.end_ns).any():
                break
        window = (report.interval.end_ns - 1) // SECOND
        assert again.close(window, report.interval.end_ns)[0] == report.interval.groups
    charged = sum(int(r.charges.counts.sum()) for r in run.sink.reports if r.charges is not None)
    assert charged == lost.sum() == run.totals.lost


def test_charges_that_do_not_fit_into_one_report_come_in_several(monkeypatch):
    monkeypatch.setattr(Charges.parts, "__defaults__", (7,))
    events = steady(4)
    events["tgid"] = events["pid"] = np.arange(400)  # a process each
    run = play(events, until_ns=ATTACHED_NS + 5 * SECOND, lost=np.arange(400) % 5 < 2)
    assert [r.number for r in run.sink.reports] == list(range(len(run.sink.reports)))
    assert len(run.sink.reports) > 3 * len(run.intervals)
    assert [r.interval for r in run.sink.reports if r.interval] == run.intervals
    charges = [r.charges for r in run.sink.reports if r.charges is not None]
    assert all(len(c.events) <= 7 for c in charges)
    assert sum(int(c.counts.sum()) for c in charges) == 160


def test_a_run_that_lost_nothing_charges_nothing():
    run = play(steady(2), until_ns=ATTACHED_NS + 2 * SECOND)
    assert {r.charges for r in run.sink.reports} == {None}


def test_a_report_tells_what_the_sink_dropped_by_cpu():
    run = play(steady(4), until_ns=ATTACHED_NS + 5 * SECOND, sink=MemorySink(room=300))
    final = run.sink.reports[-1]
    assert [sum(cpu.dropped) for cpu in final.cpus] == [50, 50]
    assert run.totals.account.dropped == 100


def test_a_step_of_the_wall_clock_is_in_one_report():
    def step(source: SyntheticSource) -> None:
        if source.wall_offset_ns == WALL_OFFSET_NS and source.now > ATTACHED_NS + 2 * SECOND:
            source.wall_offset_ns += 3600 * SECOND
            source.clock_step_ns = 3600 * SECOND

    run = play(steady(5), until_ns=ATTACHED_NS + 5 * SECOND, at=step)
    steps = [report.clock_step_ns for report in run.sink.reports]
    assert sorted(steps) == [0] * (len(steps) - 1) + [3600 * SECOND]
    offsets = [report.wall_offset_ns - WALL_OFFSET_NS for report in run.sink.reports]
    assert offsets == sorted(offsets)
    assert set(offsets) == {0, 3600 * SECOND}
