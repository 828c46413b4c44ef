"""What happens when a ring is too small: events are lost, and every loss is known."""

from collections import Counter
from itertools import pairwise

import numpy as np

from taskstream.record import COUNTS, KINDS
from taskstream.source.live import WINDOW_SLOTS
from tests.kernel.conftest import Record
from tests.kernel.events import Events
from tests.kernel.host import at_rest, forks_since_boot
from tests.kernel.proc_connector import Exec, Exit, ProcConnector
from tests.kernel.programs import Programs
from tests.kernel.recorder import Recorder

TINY = 4096


def test_a_tiny_ring_loses_events_and_the_totals_stay_the_truth(
    record: Record, programs: Programs
) -> None:
    def others() -> int:
        """The connector's number of execs and exits so far."""
        seen.update(type(event) for event in connector.read())
        return seen[Exec] + seen[Exit]

    def ours() -> dict[str, int]:
        return recorder.counted()

    seen: Counter[type] = Counter()
    recorder = record(ring_bytes=TINY)
    with ProcConnector() as connector:
        forks_before, made = at_rest(forks_since_boot, recorder.forks_counted)
        _, before = at_rest(others, ours)
        seen.clear()
        programs.run("create", "fork", 997)
        programs.run("end", "together", 11, 97)
        _, after = at_rest(others, ours)
        told = Counter(seen)
        forks_after, made_after = at_rest(forks_since_boot, recorder.forks_counted)

    assert made_after - made == forks_after - forks_before >= 997 + 11 * 97
    assert after["exec"] - before["exec"] == told[Exec] >= 997
    exits = sum(after[name] - before[name] for name in ("exit_process", "exit_thread"))
    assert exits == told[Exit] >= 997 + 11 * 97
    assert recorder.source.totals()["lost"].sum() > 3000


def test_the_gaps_in_the_numbers_of_a_cpu_are_what_it_lost(
    record: Record, programs: Programs
) -> None:
    recorder = record(ring_bytes=TINY)
    programs.run("create", "fork", 211)
    recorder.read()  # room for some more in the middle
    programs.run("create", "fork", 211)
    events = recorder.stop()
    totals = recorder.source.totals()
    first = recorder.source.origin.run_ns
    assert len(events) > TINY // 200
    for cpu, total in enumerate(totals):
        numbers = events.numbers(cpu)
        edges = [first - 1, *numbers, int(total["seq"])]
        gaps = sum(after - before - 1 for before, after in pairwise(edges))
        assert gaps == total["lost"].sum()
        assert int(total["seq"]) - first == total["count"].sum()
    assert totals["lost"].sum() > 1000


def test_what_was_counted_was_received_or_lost_kind_by_kind(
    record: Record, programs: Programs
) -> None:
    recorder = record(ring_bytes=TINY, load_mode="return")
    programs.run("fail", "seccomp", 101, 1)
    programs.run("create", "fork", 211)
    programs.run("create", "thread", 211)
    received = recorder.stop().count()
    counted, lost = recorder.by_kind("count"), recorder.by_kind("lost")
    assert {kind: n for kind, n in counted.items() if n} == {
        kind: received.get(kind, 0) + lost[kind] for kind in counted if counted[kind]
    }
    assert set(counted) == set(KINDS) - {"task"}
    assert sum(lost.values()) > 1000


def test_a_ring_that_is_read_in_time_loses_nothing_and_leaves_no_gap(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    programs.run("create", "fork", 499)
    events = recorder.stop()
    totals = recorder.source.totals()
    assert totals["lost"].sum() == totals["args_lost"].sum() == 0
    for cpu, total in enumerate(totals):
        first = recorder.source.origin.run_ns
        assert events.numbers(cpu) == list(range(first, int(total["seq"])))


def test_a_tiny_ring_for_arguments_marks_the_execs_that_lost_theirs(
    record: Record, programs: Programs
) -> None:
    recorder = record(args_ring_bytes=TINY)
    programs.run("create", "fork", 499)
    execs = recorder.stop().of("exec")
    totals = recorder.source.totals()
    lost = execs.with_flag("args_lost")
    assert len(lost) == totals["args_lost"].sum() > 300
    kept = execs.without_flag("args_lost")
    assert len(kept) > 0
    assert all(execs.text(event)[1].endswith(b"\0") for event in kept)
    assert not {(e["cpu"], e["seq"]) for e in lost} & execs.texts.keys()
    assert all(event["args_bytes"] > 0 for event in lost)
    assert totals["lost"].sum() == 0


def windows(recorder: Recorder) -> range:
    """Return the windows from the start of a run to its last event."""
    width = recorder.source.options.window_ns
    last = int(recorder.events.records["boot_ns"].max())
    return range(recorder.source.origin.run_ns // width, last // width + 1)


def test_the_windows_add_up_to_the_totals(record: Record, programs: Programs) -> None:
    recorder = record(window_ns=100_000_000)
    for how in ("fork", "thread", "vfork"):
        programs.run("create", how, 211)
    recorder.stop()
    sums = sum(recorder.source.window(window) for window in windows(recorder))
    totals = recorder.source.totals()
    assert totals["unplaced"].sum() == 0
    assert sums.tolist() == totals["count"].sum(axis=0).tolist()


def test_a_window_has_the_events_whose_boot_ns_lies_in_it(
    record: Record, programs: Programs
) -> None:
    recorder = record(window_ns=50_000_000)
    programs.run("create", "fork", 499)
    events = recorder.stop()
    kinds = [KINDS[count.kind] for count in COUNTS]
    placed = events.records["boot_ns"] // np.uint64(50_000_000)
    assert len(windows(recorder)) > 3
    for window in windows(recorder):
        counted: Counter[int] = Counter()
        for kind, number in zip(kinds, recorder.source.window(window), strict=True):
            counted[kind] += int(number)
        assert +counted == Counter(events.records["kind"][placed == window].tolist())


def test_what_finds_no_window_is_counted_as_unplaced(record: Record, programs: Programs) -> None:
    recorder = record(window_ns=1_000_000)  # 64 windows are gone in 64 ms, and nobody empties them
    programs.run("create", "fork", 499)
    recorder.stop()
    totals = recorder.source.totals()
    placed = sum(recorder.source.window(window) for window in windows(recorder))
    unplaced = totals["unplaced"].sum(axis=0)
    assert unplaced.sum() > 0
    assert (placed + unplaced).tolist() == totals["count"].sum(axis=0).tolist()


def test_an_emptied_window_makes_room_for_a_later_one(record: Record, programs: Programs) -> None:
    width = 7_000_000
    recorder = record(window_ns=width)
    emptied = recorder.source.origin.run_ns // width
    placed = np.zeros(len(COUNTS), np.uint64)
    with programs.start("create", "fork", 1499) as running:

        def empty(events: Events) -> bool:
            nonlocal emptied, placed
            settled = int(events.records["boot_ns"].max(initial=0)) // width - 3
            for window in range(emptied, settled):
                placed = placed + recorder.source.window(window)
                recorder.source.empty_window(window)
            emptied = max(emptied, settled)
            return running.finished()

        recorder.until(empty)
        running.end()
    recorder.stop()
    assert len(windows(recorder)) > WINDOW_SLOTS
    placed = placed + sum(recorder.source.window(w) for w in windows(recorder) if w >= emptied)
    totals = recorder.source.totals()
    assert totals["unplaced"].sum() == 0
    assert placed.tolist() == totals["count"].sum(axis=0).tolist()
