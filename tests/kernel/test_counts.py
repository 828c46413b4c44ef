"""Every task that is created, replaced, ended and released is one event of each kind."""

import os

import pytest

from tests.kernel.conftest import Record
from tests.kernel.host import at_rest, forks_since_boot
from tests.kernel.programs import Programs
from tests.kernel.recorder import wait_until

CLONE_VM = 0x100
CLONE_VFORK = 0x4000
CLONE_PARENT = 0x8000
CLONE_THREAD = 0x10000


def test_997_children_that_exec_are_997_forks_execs_exits_and_frees(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("create", "fork", 997)
    children = recorder.family(run.pid).without_task(run.pid)
    assert children.count() == {"fork": 997, "exec": 997, "exit": 997, "free": 997}
    assert set(children["pid"]) == {child.pid for child in run.children}
    assert children["pid"] == children["tgid"]
    assert set(children["ppid"]) == {run.pid}


def test_each_exit_has_the_wait_status_that_the_parent_got(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("create", "fork", 257)
    exits = recorder.family(run.pid).without_task(run.pid).of("exit")
    assert len(exits.with_flag("group_dead")) == 257
    assert list(zip(exits["pid"], exits["exit_code"], strict=True)) == [
        (child.pid, child.status) for child in run.children
    ]


def test_499_threads_are_499_thread_forks_and_one_dead_process(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("create", "thread", 499)
    family = recorder.family(run.pid)
    threads = family.without_task(run.pid)
    assert threads.count() == {"fork": 499, "exit": 499, "free": 499}
    assert set(threads["pid"]) == {tid for tid, _ in run.all("thread")}
    assert set(threads["tgid"]) == {run.pid}
    assert len(threads.with_flag("thread")) == len(threads)
    assert all(flags & CLONE_THREAD for flags in threads.of("fork")["clone_flags"])
    assert family.with_flag("group_dead")["pid"] == [run.pid]
    assert not len(family.of("fork", pid=run.pid).with_flag("thread"))


def test_the_kernel_counts_processes_and_threads_apart(record: Record, programs: Programs) -> None:
    recorder = record()
    programs.run("create", "fork", 101)
    programs.run("create", "thread", 103)
    recorder.stop()
    counted, events = recorder.counted(), recorder.events
    threads = len(events.of("fork").with_flag("thread"))
    assert threads >= 103
    assert counted["fork_thread"] == threads
    assert counted["fork_process"] == len(events.of("fork")) - threads >= 101
    dead = len(events.of("exit").with_flag("group_dead"))
    assert counted["exit_process"] == dead
    assert counted["exit_thread"] == len(events.of("exit")) - dead >= 103


@pytest.mark.parametrize(
    ("how", "flags"),
    [("vfork", CLONE_VFORK | CLONE_VM), ("spawn", CLONE_VFORK | CLONE_VM), ("clone3", 0)],
)
def test_a_child_made_in_another_way_is_a_fork_with_the_flags_of_its_call(
    record: Record, programs: Programs, how: str, flags: int
) -> None:
    recorder = record()
    run = programs.run("create", how, 211)
    children = recorder.family(run.pid).without_task(run.pid)
    assert children.count() == {"fork": 211, "exec": 211, "exit": 211, "free": 211}
    forks = children.of("fork")
    assert set(forks["clone_flags"]) == {flags}
    assert set(forks["caller_pid"]) == set(forks["caller_tgid"]) == {run.pid}
    assert not len(forks.with_flag("thread"))


def test_a_vfork_comes_before_the_exec_of_the_child_that_the_parent_waits_for(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("create", "vfork", 53)
    family = recorder.family(run.pid)
    for child in run.children:
        kinds = {kind: family.one(kind, pid=child.pid) for kind in ("fork", "exec", "exit")}
        assert kinds["fork"]["boot_ns"] < kinds["exec"]["boot_ns"] < kinds["exit"]["boot_ns"]
        assert {kinds[k]["start_ns"] for k in kinds} == {kinds["fork"]["start_ns"]}


def test_a_sibling_made_with_clone_parent_has_a_parent_that_is_not_the_caller(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("create", "clone_parent", 23)
    middle = run.one("middle")
    family = recorder.family(run.pid)
    siblings = family.of("fork", caller_pid=middle)
    assert len(siblings) == 23
    assert set(siblings["ppid"]) == {run.pid}
    assert set(siblings["caller_tgid"]) == {middle}
    assert all(flags & CLONE_PARENT for flags in siblings["clone_flags"])
    assert {pid for (pid,) in run.all("reaped")} == {middle, *siblings["pid"]}
    assert family.count() == {"fork": 25, "exec": 24, "exit": 25, "free": 25}


def test_the_totals_of_the_whole_host_rise_with_proc_stat(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    stat_before, ours_before = at_rest(forks_since_boot, recorder.forks_counted)
    for how in ("fork", "vfork", "clone3", "thread"):
        programs.run("create", how, 101)
    stat_after, ours_after = at_rest(forks_since_boot, recorder.forks_counted)
    assert ours_after - ours_before == stat_after - stat_before >= 4 * 102


def test_our_number_of_forks_lies_between_two_reads_of_proc_stat_while_tasks_are_made(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    at_start, ours = at_rest(forks_since_boot, recorder.forks_counted)
    cpus = os.cpu_count() or 1
    with programs.start("create", "fork", 499) as running:

        def between() -> bool:
            before = forks_since_boot() - at_start
            made = recorder.forks_counted() - ours
            after = forks_since_boot() - at_start
            # /proc/stat counts a task a few instructions before the probe runs on that CPU.
            assert before - cpus <= made <= after
            return running.finished()

        wait_until(between)
        running.end()


def test_a_child_that_is_not_waited_for_has_no_free_until_it_is_reaped(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    with programs.start("end", "zombie", 5) as running:
        _, (zombie,) = running.fact()
        recorder.until(lambda events: len(events.of("exit", pid=zombie)) == 1)
        # Grace periods do not make it free: another task's release is seen, this one's is not.
        other = programs.run("create", "fork", 1)
        recorder.family(other.pid)
        assert not len(recorder.events.of("free", pid=zombie))
        before_reaping = recorder.events.records["boot_ns"].max()
        running.go_on()
        running.end()
    family = recorder.family(running.pid)
    assert family.one("free", pid=zombie)["boot_ns"] > before_reaping
    assert family.one("exit", pid=zombie)["boot_ns"] < before_reaping
