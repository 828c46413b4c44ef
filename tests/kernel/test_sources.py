"""One suite over every way to make a live source: they differ in how, never in what comes out."""

import os
import select
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taskstream.record import COUNTS, FLAGS, KINDS, NO_CPU, VERSION
from tests.kernel.conftest import Record
from tests.kernel.events import Events, call_name
from tests.kernel.host import TICK_NS, running_tasks
from tests.kernel.programs import Programs, Run
from tests.kernel.recorder import wait_until

# Every kernel has these hooks, and a failed call keeps its name in them.
CO_RE = {"type_format": "co-re", "tracing": "tracepoint"}
LEGACY = {"type_format": "legacy", "without": ("kprobes",)}

MODES: dict[str, dict[str, Any]] = {
    "co-re, ring": {**CO_RE, "buffer": "ring"},
    "co-re, perf": {**CO_RE, "buffer": "perf"},
    "co-re, ring, numbers by claim": {**CO_RE, "buffer": "ring", "without": ("fetch-and-add",)},
    "co-re, perf, no boot clock": {
        **CO_RE,
        "buffer": "perf",
        "without": ("boot clock", "fetch-and-add"),
    },
    "legacy, ring": {**LEGACY, "buffer": "ring"},
    "legacy, perf": {**LEGACY, "buffer": "perf"},
}

TINY = 4096
WINDOW_NS = 100_000_000

# What the workload does, by the program's word for it; all that it makes exits and is released.
DONE = {"fork": 101, "vfork": 53, "clone3": 19, "thread": 103}
FAILED = 7


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(frozen=True)
class Recording:
    """A recording that is over, and what its source said at the end."""

    reads: list[NDArray[np.void]]
    events: Events
    snapshot: Events
    before: set[tuple[int, int]]
    run_ns: int
    attached_ns: int
    totals: NDArray[np.void]
    counted: dict[str, int]
    windows: dict[int, NDArray[np.uint64]]
    late: int
    runs: dict[str, Run]

    def family(self, name: str) -> Events:
        """Choose the events of a workload and what it made."""
        pid = self.runs[name].pid
        return self.events.family(self.events.one("fork", pid=pid, ppid=os.getpid()))


_kept: dict[str, Recording] = {}


@pytest.fixture
def whole(
    mode: str, record: Record, programs: Programs, hidden: Callable[[], list[str]]
) -> Recording:
    """The known workload in one mode; recorded once, and again if the kernel hid events."""
    if mode in _kept:
        return _kept[mode]
    made = _recording(record, programs, hidden, MODES[mode])
    if not hidden():
        _kept[mode] = made
    return made


def _recording(
    record: Record, programs: Programs, hidden: Callable[[], list[str]], options: dict[str, Any]
) -> Recording:
    before = {(task.pid, task.start_ticks) for task in running_tasks()}
    recorder = record(load_mode="return", window_ns=WINDOW_NS, **options)
    source, reads = recorder.source, []
    runs = {how: programs.run("create", how, n) for how, n in DONE.items()}
    reads.append(recorder.read().records)
    runs["fail"] = programs.run("fail", "nproc", FAILED)

    end = time.monotonic() + 1

    def released() -> bool:
        reads.append(recorder.read().records)
        assert time.monotonic() < end or not hidden(), "the kernel hides events from BPF"
        events = recorder.events
        if not all(len(events.of("free", pid=run.pid)) for run in runs.values()):
            return False
        made = (events.one("fork", pid=run.pid, ppid=os.getpid()) for run in runs.values())
        kin = [events.family(fork).count() for fork in made]
        return all(kinds.get("free") == kinds["exit"] for kinds in kin)

    wait_until(released, every_s=0.002)
    source.detach()
    reads.append(recorder.read().records)
    events = recorder.stop()
    return Recording(
        reads,
        events,
        recorder.snapshot,
        before,
        source.origin.run_ns,
        source.attached_ns,
        source.totals(),
        recorder.by_kind("count"),
        {window: source.window(window) for window in source.open_windows()},
        source.late,
        runs,
    )


# --- what comes out ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", DONE)
def test_each_task_is_one_event_of_each_kind(whole: Recording, how: str) -> None:
    made = whole.family(how).without_task(whole.runs[how].pid)
    kinds = ("fork", "exit", "free") if how == "thread" else ("fork", "exec", "exit", "free")
    assert made.count() == dict.fromkeys(kinds, DONE[how])
    told = whole.runs[how].all("thread") if how == "thread" else whole.runs[how].all("child")
    assert sorted(made.of("fork")["pid"]) == sorted(numbers[0] for numbers in told)


def test_each_failed_call_is_an_event_with_its_call_and_errno(whole: Recording) -> None:
    fails = whole.family("fail").of("fail")
    found = Counter(zip(map(call_name, fails["call"]), fails["errno"], strict=True))
    lines = [line.split() for line in whole.runs["fail"].output.decode().splitlines()]
    assert found == Counter((call, int(code)) for word, call, code in lines if word == "call")
    assert found.total() == 4 * FAILED


def test_each_exec_has_its_filename_and_argv(whole: Recording, programs: Programs) -> None:
    family = whole.family("fork")
    execs = family.of("exec").without_task(whole.runs["fork"].pid)
    assert [family.text(event) for event in execs] == [
        (b"/proc/self/exe", f"create\0exit\0{number}\0".encode()) for number in range(DONE["fork"])
    ]
    own = family.one("exec", pid=whole.runs["fork"].pid)
    path = os.fsencode(programs.path("create"))
    assert family.text(own) == (path, path + f"\0fork\0{DONE['fork']}\0".encode())


def test_each_exit_has_the_status_that_the_parent_got(whole: Recording) -> None:
    run = whole.runs["fork"]
    exits = whole.family("fork").without_task(run.pid).of("exit")
    assert dict(zip(exits["pid"], exits["exit_code"], strict=True)) == {
        child.pid: child.status for child in run.children
    }
    assert len(exits.with_flag("group_dead")) == len(exits)


def test_the_last_exit_of_a_process_with_threads_is_the_one_that_ends_it(whole: Recording) -> None:
    family = whole.family("thread")
    assert family.with_flag("group_dead")["pid"] == [whole.runs["thread"].pid]


def test_a_task_is_made_then_replaced_then_ends_then_is_released(whole: Recording) -> None:
    family = whole.family("fork")
    for child in whole.runs["fork"].children:
        life = [family.one(kind, pid=child.pid) for kind in ("fork", "exec", "exit", "free")]
        assert all(a["boot_ns"] < b["boot_ns"] for a, b in pairwise(life))
        assert len({(int(e["start_ns"]), int(e["process_start_ns"])) for e in life}) == 1


def test_every_record_is_of_the_version_that_this_program_reads(whole: Recording) -> None:
    assert set(whole.events["version"]) == {VERSION}
    assert set(whole.snapshot["version"]) == {VERSION}


def test_reads_from_perf_buffers_follow_each_other_in_the_order_of_time(
    whole: Recording, mode: str
) -> None:
    if "perf" not in mode:
        assert whole.late == 0
        return
    behind, last = 0, 0
    for records in whole.reads:
        assert not len(records) or (np.diff(records["boot_ns"].astype(np.int64)) >= 0).all()
        behind += int((records["boot_ns"] < last).sum())
        last = max([last, *records["boot_ns"].tolist()])
    assert behind == whole.late


@pytest.mark.parametrize("mode", ["co-re, ring", "co-re, perf", "legacy, perf"], indirect=True)
def test_after_the_detachment_one_read_leaves_nothing_behind(
    mode: str, record: Record, programs: Programs
) -> None:
    recorder = record(**MODES[mode])
    subprocess.run([programs.path("create"), "exit", "0"], check=True)
    recorder.source.detach()  # within the hold of the merge by time
    recorder.read()
    taken = recorder.taken
    assert len(recorder.stop()) == taken > 0


# --- its numbers ---------------------------------------------------------------------------------


def test_the_numbers_of_a_cpu_begin_at_run_ns_and_have_no_gap(whole: Recording) -> None:
    for cpu, total in enumerate(whole.totals):
        assert whole.events.numbers(cpu) == list(range(whole.run_ns, int(total["seq"])))


def test_the_kernel_counted_what_came(whole: Recording) -> None:
    assert whole.totals["lost"].sum() == whole.totals["args_lost"].sum() == 0
    assert {kind: n for kind, n in whole.counted.items() if n} == whole.events.count()


def test_a_window_counts_the_events_whose_boot_ns_lies_in_it(whole: Recording) -> None:
    placed = whole.events.records["boot_ns"] // np.uint64(WINDOW_NS)
    assert set(whole.windows) >= set(placed.tolist())
    assert whole.totals["unplaced"].sum() == 0
    for window, counts in whole.windows.items():
        counted: Counter[int] = Counter()
        for count, number in zip(COUNTS, counts, strict=True):
            counted[KINDS[count.kind]] += int(number)
        assert +counted == Counter(whole.events.records["kind"][placed == window].tolist())


# --- its start -----------------------------------------------------------------------------------


def test_the_snapshot_has_who_ran_before_and_no_event_makes_them_again(whole: Recording) -> None:
    snapshot = {(pid, start // TICK_NS) for pid, start in whole.snapshot.tasks()}
    steady = {(t.pid, t.start_ticks) for t in running_tasks()} & whole.before
    assert steady <= snapshot
    assert any(pid == os.getpid() for pid, _ in snapshot)
    assert set(whole.snapshot["kind"]) == {KINDS["task"]}
    assert set(whole.snapshot["cpu"]) == {NO_CPU}
    assert not set(whole.snapshot.tasks()) & set(whole.events.of("fork").tasks())


def test_who_started_the_source_is_known_as_the_agent(whole: Recording) -> None:
    agent = FLAGS["agent"].mask
    own = whole.snapshot.of("task", pid=os.getpid())
    assert len(own) == 1
    assert own["flags"][0] & agent
    assert whole.events.one("fork", pid=whole.runs["fork"].pid)["flags"] & agent
    child = whole.runs["fork"].children[0].pid
    assert not whole.events.one("fork", pid=child)["flags"] & agent


def test_boot_ns_is_the_boot_clocks(whole: Recording) -> None:
    forks = whole.family("thread").of("fork").without_task(whole.runs["thread"].pid)
    (begun,) = whole.runs["thread"].all("before")
    alive = dict(whole.runs["thread"].all("thread"))
    for fork in forks:
        assert begun[0] < fork["boot_ns"] < alive[int(fork["pid"])]
    assert whole.run_ns < whole.attached_ns < begun[0]


# --- loss ----------------------------------------------------------------------------------------


def test_a_tiny_buffer_loses_and_each_loss_is_a_gap_and_is_counted(
    mode: str, record: Record, programs: Programs
) -> None:
    recorder = record(ring_bytes=TINY, load_mode="return", **MODES[mode])
    programs.run("create", "fork", 101)
    recorder.read()  # room for some more in the middle
    programs.run("create", "thread", 103)
    programs.run("fail", "nproc", FAILED)
    events = recorder.stop()
    totals, first = recorder.source.totals(), recorder.source.origin.run_ns
    for cpu, total in enumerate(totals):
        edges = [first - 1, *events.numbers(cpu), int(total["seq"])]
        gaps = sum(after - before - 1 for before, after in pairwise(edges))
        assert gaps == total["lost"].sum()
        assert int(total["seq"]) - first == total["count"].sum()
    assert totals["lost"].sum() > 300
    received = events.count()
    counted, lost = recorder.by_kind("count"), recorder.by_kind("lost")
    assert counted == {kind: received.get(kind, 0) + lost[kind] for kind in counted}


def test_a_tiny_buffer_for_arguments_marks_the_execs_that_lost_theirs(
    mode: str, record: Record, programs: Programs
) -> None:
    recorder = record(args_ring_bytes=TINY, **MODES[mode])
    programs.run("create", "fork", 499)
    execs = recorder.stop().of("exec")
    totals = recorder.source.totals()
    lost, kept = execs.with_flag("args_lost"), execs.without_flag("args_lost")
    assert len(lost) == totals["args_lost"].sum() > 100
    assert len(kept) > 0
    assert all(execs.text(event)[1].endswith(b"\0") for event in kept)
    assert not {(e["cpu"], e["seq"]) for e in lost} & execs.texts.keys()
    assert totals["lost"].sum() == 0


@pytest.mark.parametrize("mode", [mode for mode in MODES if "perf" in mode], indirect=True)
def test_the_kernel_tells_in_the_perf_buffers_of_as_many_losses_as_the_probes_count(
    mode: str, record: Record, programs: Programs
) -> None:
    recorder = record(ring_bytes=TINY, **MODES[mode])
    programs.run("create", "fork", 211)

    def told_as_counted() -> bool:
        """A buffer tells of its losses at the next event for which it has room."""
        recorder.read()
        for cpu in os.sched_getaffinity(0):
            pinned = {"preexec_fn": lambda cpu=cpu: os.sched_setaffinity(0, {cpu})}
            programs.run("create", "exit", 0, **pinned)
        recorder.read()
        return told() == recorder.source.totals()["lost"].sum()

    def told() -> int:
        return recorder.source._probes.events.lost

    wait_until(told_as_counted, lambda: f"{told()} told, {recorder.source.totals()['lost']}")
    assert told() > 300


# --- waking the reader ---------------------------------------------------------------------------


def test_its_descriptor_becomes_readable_when_about_a_quarter_is_full(
    mode: str, record: Record, programs: Programs
) -> None:
    recorder = record(ring_bytes=1 << 18, **MODES[mode])
    recorder.read()
    events = recorder.source._probes.events
    with select.epoll() as poll:  # tells of wakes, not of a buffer that has something in it
        poll.register(recorder.source.fileno(), select.EPOLLIN | select.EPOLLET)
        poll.poll(0)
        while not poll.poll(0.001):
            assert events.waiting_bytes < 1 << 17, "nobody was woken"
            assert not recorder.source.totals()["lost"].sum()
            pinned = {"preexec_fn": lambda: os.sched_setaffinity(0, {0})}
            programs.run("create", "fork", 5, **pinned)
    # What BCC compiles cannot ask a ring how full it is: it wakes the reader early.
    assert events.waiting_bytes > 1 << 14 or mode == "legacy, ring"
