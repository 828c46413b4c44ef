"""Who a task is: pid and start for ever, whatever happens to its number; and when it was."""

import time

from tests.kernel.conftest import Record
from tests.kernel.host import pid_namespace
from tests.kernel.programs import Programs


def test_a_pid_that_is_used_again_is_another_task(record: Record, programs: Programs) -> None:
    recorder = record()
    run = programs.run("namespace", "reuse", 5)
    pid = run.one("used")
    family = recorder.family(run.pid)
    forks = family.of("fork", pid=pid)
    assert len(forks) == 6
    assert len(set(forks.tasks())) == 6
    assert forks["start_ns"] == sorted(forks["start_ns"])
    assert family.of("exit", pid=pid)["start_ns"] == forks["start_ns"]
    # Releases of two CPUs have no common order: each is seen when its RCU callback runs there.
    assert sorted(family.of("free", pid=pid)["start_ns"]) == forks["start_ns"]


def test_a_pid_used_again_in_an_inner_namespace_is_another_task(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("namespace", "inner", 3)
    family = recorder.family(run.pid)
    inside = run.all("inside")
    assert len(inside) == 8
    for host_pid, namespace, inner_pid in inside:
        fork = family.one("fork", pid=host_pid)
        assert fork["pidns"] == namespace != pid_namespace()
        assert (fork["pidns_pid"], fork["pidns_tgid"]) == (inner_pid, inner_pid)
        end = family.one("exit", pid=host_pid)
        assert (end["pidns"], end["pidns_pid"]) == (namespace, inner_pid)
    reused = [host_pid for host_pid, _, inner_pid in inside if inner_pid == 4711]
    assert len(reused) == 6
    assert len({family.one("fork", pid=pid)["start_ns"] for pid in reused}) == 6
    assert {inner_pid for _, _, inner_pid in inside} == {1, 4711}


def test_a_thread_in_an_inner_namespace_has_its_own_and_its_process_inner_pid(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("namespace", "thread", 0)
    ((leader, namespace, inner_tgid),) = run.all("inside")
    thread = recorder.family(run.pid).of("fork", tgid=leader).with_flag("thread").one("fork")
    assert thread["pidns"] == namespace
    assert (thread["pidns_tgid"], inner_tgid) == (1, 1)
    assert thread["pidns_pid"] == run.one("thread") != thread["pid"]


def test_outside_of_any_namespace_the_inner_pid_is_the_pid(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("create", "thread", 3)
    alive = recorder.family(run.pid)
    for kind in ("fork", "exec", "exit"):
        events = alive.of(kind)
        assert events["pidns_pid"] == events["pid"]
        assert events["pidns_tgid"] == events["tgid"]
        assert set(events["pidns"]) == {pid_namespace()}


def test_a_released_task_has_left_its_namespace_and_says_so(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("namespace", "inner", 1)
    frees = recorder.family(run.pid).of("free")
    assert len(frees.with_flag("pidns_unknown")) == len(frees)
    assert set(frees["pidns"]) == set(frees["pidns_pid"]) == set(frees["pidns_tgid"]) == {0}


def test_identity_and_place_are_unique_over_a_run(record: Record, programs: Programs) -> None:
    recorder = record()
    for arguments in (["fork", 499], ["thread", 499], ["vfork", 211]):
        programs.run("create", *arguments)
    events = recorder.stop()
    created = events.of("fork").tasks()
    assert len(set(created)) == len(created) >= 499 + 499 + 211
    places = list(zip(events["cpu"], events["seq"], strict=True))
    assert len(set(places)) == len(places)


def test_a_child_knows_the_identity_of_its_parent(record: Record, programs: Programs) -> None:
    recorder = record()
    run = programs.run("create", "fork", 31)
    family = recorder.family(run.pid)
    parent = family.one("fork", pid=run.pid)
    children = family.without_task(run.pid)
    for kind in ("fork", "exec", "exit"):
        told = zip(children.of(kind)["ppid"], children.of(kind)["parent_start_ns"], strict=True)
        assert set(told) == {(run.pid, int(parent["start_ns"]))}


def test_a_thread_has_a_start_of_its_own_and_that_of_its_process(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("create", "thread", 31)
    family = recorder.family(run.pid)
    process = family.one("fork", pid=run.pid)
    before = run.one("before")
    assert process["process_start_ns"] == process["start_ns"] < before
    for tid, alive_ns in run.all("thread"):
        for kind in ("fork", "exit"):
            event = family.one(kind, pid=tid)
            assert before < event["start_ns"] < alive_ns
            assert event["process_start_ns"] == process["start_ns"]


def test_boot_ns_lies_between_the_clock_before_and_after(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("exec", "clock")
    (child,) = run.children
    family = recorder.family(run.pid)
    moments = [
        run.one("before_fork"),
        family.one("fork", pid=child.pid)["start_ns"],
        family.one("fork", pid=child.pid)["boot_ns"],
        run.one("before_exec"),
        family.one("exec", pid=child.pid)["boot_ns"],
        run.one("after_exec"),
        family.one("exit", pid=child.pid)["boot_ns"],
        run.one("after_exit"),
    ]
    assert moments == sorted(moments)


def test_wall_time_is_boot_time_moved_by_the_offset_of_the_clocks(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    before = time.time_ns()
    run = programs.run("create", "fork", 3)
    after = time.time_ns()
    offset = recorder.read().wall_offset_ns
    family = recorder.family(run.pid)
    slack = 1_000_000  # the wall clock may be slewed by 500 ppm between two looks, 1 s apart
    for event in family.without_task(run.pid).of("fork"):
        assert before - slack <= event["boot_ns"] + offset <= after + slack
