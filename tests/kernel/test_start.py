"""The start: whoever runs already is in the snapshot, whoever comes later is an event."""

import os
import time

import pytest

from taskstream.record import FLAGS, KINDS, NO_CPU
from tests.kernel.conftest import Record
from tests.kernel.events import Events, Identity
from tests.kernel.host import TICK_NS, Task, pid_namespace, running_tasks
from tests.kernel.programs import Programs, Run

ROUNDS = 16  # each has a few tasks that are made while the probes are being attached


def boot_ns() -> int:
    """Read the clock that events carry."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_who_lives_at_the_start_is_in_the_snapshot_or_in_the_events_and_never_in_both(
    record: Record, programs: Programs, round_: int
) -> None:
    with programs.start("churn") as one, programs.start("churn") as other:
        assert one.fact() == other.fact() == ("started", [])
        before = boot_ns()
        recorder = record()
        after = boot_ns()
        for running in (one, other):
            recorder.until(lambda e, r=running: born_after(after, e.of("fork", ppid=r.pid)) >= 31)
        runs = [one.end(), other.end()]
    events = recorder.stop()
    snapshot, forked = set(recorder.snapshot.tasks()), set(events.of("fork").tasks())
    assert not forked & snapshot
    seen: dict[int, list[int]] = {}
    for pid, start_ns in snapshot | set(events.tasks()):
        seen.setdefault(pid, []).append(start_ns)
    for run in runs:
        check(run, (before, after), snapshot, forked, seen)
        (root,) = [task for task in snapshot if task[0] == run.pid]
        assert events.one("exit", pid=run.pid, ppid=os.getpid())["start_ns"] == root[1]


def born_after(moment_ns: int, forks: Events) -> int:
    """Count the tasks that were made after a moment."""
    return sum(start_ns > moment_ns for start_ns in forks["start_ns"])


def check(
    run: Run,
    started: tuple[int, int],
    snapshot: set[Identity],
    forked: set[Identity],
    seen: dict[int, list[int]],
) -> None:
    """Compare the lives that a workload saw with what was recorded, child by child."""
    before, after = started
    for pid, before_fork, alive_from, alive_to, reaped in run.all("lived"):
        # The kernel stamps start_ns between the parent's look at the clock and the child's.
        mine = {(pid, s) for s in seen.get(pid, []) if before_fork < s < alive_from}
        assert len(mine) <= 1
        if alive_to > after:
            assert mine, f"{pid} lived from {alive_from} to {alive_to}, probes were on at {after}"
        if alive_from < before and after < alive_to:
            assert mine <= snapshot
        if before_fork > after:
            assert mine <= forked
        if reaped < before:
            assert not mine & (snapshot | forked)


def test_the_snapshot_is_what_proc_says(record: Record, programs: Programs) -> None:
    with programs.start("namespace", "hold", 0) as running:
        inside, (inner_init, inner_namespace, _) = running.fact()
        assert inside == "inside"
        first_look = boot_ns()
        before = running_tasks()
        recorder = record()
        after = running_tasks()
        running.end()
    steady = {task.pid: task for task in before & after}
    found = {int(task["pid"]): task for task in recorder.snapshot}
    assert steady.keys() <= found.keys()
    invented = found.keys() - {task.pid for task in before | after}
    assert all(found[pid]["start_ns"] > first_look for pid in invented)  # short, on a busy host
    assert {running.pid, inner_init, os.getpid()} <= steady.keys()
    for pid, truth in steady.items():
        task = found[pid]
        assert truth == Task(
            pid=int(task["pid"]),
            tgid=int(task["tgid"]),
            ppid=int(task["ppid"]),
            uid=int(task["uid"]),
            gid=int(task["gid"]),
            start_ticks=int(task["start_ns"]) // TICK_NS,
            kernel_thread=bool(task["flags"] & FLAGS["kernel_thread"].mask),
            # /proc shows a worker of the kernel with what it works on appended.
            comm=truth.comm if truth.comm.startswith(task["comm"]) else task["comm"],
            namespace=int(task["pidns"]),
            inner_pid=int(task["pidns_pid"]),
            inner_tgid=int(task["pidns_tgid"]),
        )
    assert found[inner_init]["pidns"] == inner_namespace != pid_namespace()


def test_a_snapshot_from_proc_has_the_same_tasks_with_starts_good_to_a_tick(
    record: Record, programs: Programs
) -> None:
    with programs.start("end", "zombie", 0) as running:
        running.fact()
        before = record().snapshot
        coarse = record(snapshot_from_proc=True).snapshot
        after = record().snapshot
        running.end()
    assert len(coarse.with_flag("start_coarse")) == len(coarse)
    steady = set(before.tasks()) & set(after.tasks())
    assert {(pid, start // TICK_NS) for pid, start in steady} <= {
        (pid, start // TICK_NS) for pid, start in coarse.tasks()
    }
    assert set(coarse.with_flag("zombie")["ppid"]) == {running.pid}


def test_the_snapshot_is_marked_and_counted_nowhere(record: Record, programs: Programs) -> None:
    with programs.start("end", "zombie", 0) as running:
        _, (zombie,) = running.fact()
        recorder = record()
        running.go_on()
        running.end()
    snapshot = recorder.snapshot
    assert set(snapshot["kind"]) == {KINDS["task"]}
    assert set(snapshot["cpu"]) == {NO_CPU}
    assert len(set(snapshot.tasks())) == len(snapshot)
    assert snapshot.with_flag("zombie").of("task", pid=zombie)["ppid"] == [running.pid]
    agent = snapshot.with_flag("agent")
    assert agent["pid"].count(os.getpid()) == 1
    assert running.pid in agent["pid"]
    assert set(agent["tgid"]) <= {os.getpid(), running.pid}
    events = recorder.stop()
    assert not len(events.of("task"))
    assert sum(recorder.counted().values()) == len(events)


def test_the_events_of_a_task_of_the_snapshot_have_its_identity(
    record: Record, programs: Programs
) -> None:
    with programs.start("end", "zombie", 0) as running:
        _, (zombie,) = running.fact()
        recorder = record()
        running.go_on()
        running.end()
    identities = dict(recorder.snapshot.tasks())
    for kind, pid in (("free", zombie), ("exit", running.pid), ("free", running.pid)):
        events = recorder.until(lambda events, k=kind, p=pid: len(events.of(k, pid=p)) > 0)
        assert events.one(kind, pid=pid)["start_ns"] == identities[pid]


def test_the_probes_are_on_between_the_call_and_its_return(record: Record) -> None:
    before = boot_ns()
    recorder = record()
    assert before < recorder.source.origin.run_ns < recorder.source.attached_ns < boot_ns()


def test_the_numbers_of_a_run_begin_where_no_earlier_run_has_been(
    record: Record, programs: Programs
) -> None:
    first, second = record(), record()
    programs.run("create", "fork", 101)
    later = second.stop()
    earlier = first.stop()
    assert not {(e["cpu"], e["seq"]) for e in earlier} & {(e["cpu"], e["seq"]) for e in later}
    assert int(earlier.records["seq"].max()) < second.source.origin.run_ns
