"""How a task ended, and with which exit its process was dead."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from taskstream.record import FLAGS
from tests.kernel.conftest import Record
from tests.kernel.events import Events
from tests.kernel.programs import Programs

GROUP_DEAD = FLAGS["group_dead"].mask
PARENT_UNKNOWN = FLAGS["parent_unknown"].mask
PROCESS_UNKNOWN = FLAGS["process_unknown"].mask
CORE = 0x80

ROOMY = 64 << 20  # for workloads that are read only when they have ended


@pytest.fixture(params=[False, True], ids=["by the tracepoint", "by the map"])
def last_thread_by_map(request: pytest.FixtureRequest) -> bool:
    """How the probes know the last exit: as the kernel tells, or as before Linux 6.16."""
    return bool(request.param)


def last_exits(events: Events) -> dict[int, int]:
    """Count the exits with flag group_dead by process."""
    return dict(Counter(events.of("exit").with_flag("group_dead")["tgid"]))


def test_an_exit_keeps_each_of_the_256_statuses(record: Record, programs: Programs) -> None:
    recorder = record()
    run = programs.run("end", "statuses", 256)
    exits = recorder.family(run.pid).without_task(run.pid).of("exit")
    assert exits["exit_code"] == [status << 8 for status in range(256)]
    assert exits["exit_code"] == [child.status for child in run.children]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP])
def test_an_exit_by_a_signal_has_its_number_and_no_core(
    record: Record, programs: Programs, number: signal.Signals
) -> None:
    recorder = record()
    run = programs.run("end", "signal", int(number), 0)
    (child,) = run.children
    code = int(recorder.family(run.pid).one("exit", pid=child.pid)["exit_code"])
    assert code == child.status == number


def test_an_exit_that_wrote_a_core_says_so(
    record: Record, programs: Programs, core_pattern: Path, tmp_path: Path
) -> None:
    recorder = record()
    core_pattern.write_text(f"{tmp_path}/core.%P")
    run = programs.run("end", "signal", int(signal.SIGSEGV), 1 << 30)
    (child,) = run.children
    assert (tmp_path / f"core.{child.pid}").exists()
    code = int(recorder.family(run.pid).one("exit", pid=child.pid)["exit_code"])
    assert code == child.status == signal.SIGSEGV | CORE


def test_an_exit_group_of_one_thread_ends_all_with_its_status(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("end", "exit_group", 37)
    (child,) = run.children
    family = recorder.family(run.pid)
    exits = family.of("exit", tgid=child.pid)
    assert exits["exit_code"] == [37 << 8, 37 << 8]
    assert child.status == 37 << 8
    assert last_exits(exits) == {child.pid: 1}


def test_a_leader_that_exits_first_leaves_its_process_alive(
    record: Record, programs: Programs, last_thread_by_map: bool
) -> None:
    recorder = record(last_thread_by_map=last_thread_by_map)
    run = programs.run("end", "leader_first", 7, 9)
    (child,) = run.children
    exits = recorder.family(run.pid).of("exit", tgid=child.pid)
    leader, thread = exits
    assert (leader["pid"], leader["threads_left"]) == (child.pid, 1)
    assert not leader["flags"] & GROUP_DEAD
    assert (thread["threads_left"], thread["flags"] & GROUP_DEAD) == (0, GROUP_DEAD)
    assert thread["flags"] & FLAGS["thread"].mask
    assert (leader["exit_code"], thread["exit_code"]) == (7 << 8, 9 << 8)
    assert child.status == thread["exit_code"]


def test_two_threads_that_exit_at_the_same_instant_end_their_process_once(
    record: Record, programs: Programs, last_thread_by_map: bool
) -> None:
    """Both may see signal->live == 0: without the map, every fifth process died twice here."""
    recorder = record(last_thread_by_map=last_thread_by_map)
    run = programs.run("end", "at_once", 211)
    exits = recorder.family(run.pid, released=0.5).of("exit")
    assert last_exits(exits) == dict.fromkeys([run.pid, *(c.pid for c in run.children)], 1)
    assert len(exits) == 2 * 211 + 1


def test_50_threads_that_exit_together_end_their_process_once(
    record: Record, programs: Programs, last_thread_by_map: bool
) -> None:
    recorder = record(last_thread_by_map=last_thread_by_map, ring_bytes=ROOMY)
    run = programs.run("end", "together", 50, 199)
    family = recorder.family(run.pid)
    processes = {child.pid for child in run.children}
    assert len(processes) == 199
    assert last_exits(family) == dict.fromkeys([*processes, run.pid], 1)
    assert family.without_task(run.pid).count() == {
        "fork": 199 * 50,
        "exit": 199 * 50,
        "free": 199 * 50,
    }


def test_the_last_exit_leaves_no_thread(record: Record, programs: Programs) -> None:
    recorder = record()
    run = programs.run("end", "together", 7, 101)
    exits = recorder.family(run.pid).of("exit")
    assert set(exits.with_flag("group_dead")["threads_left"]) == {0}
    assert set(exits["threads_left"]) <= set(range(7))


def test_only_the_last_exit_of_a_process_knows_the_peak_of_its_memory(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("end", "together", 7, 11)
    exits = recorder.family(run.pid).without_task(run.pid).of("exit")
    peaks = dict(
        zip(
            exits.with_flag("group_dead")["tgid"],
            exits.with_flag("group_dead")["max_rss_bytes"],
            strict=True,
        )
    )
    assert peaks == {child.pid: child.max_rss_kib * 1024 for child in run.children}
    assert set(exits.without_flag("group_dead")["max_rss_bytes"]) == {0}


def test_a_release_comes_after_the_exit_and_has_the_same_identity(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("end", "together", 11, 101)
    family = recorder.family(run.pid)
    exits, frees = family.of("exit"), family.of("free")
    assert sorted(exits.tasks()) == sorted(frees.tasks()) == sorted(family.of("fork").tasks())
    ended = dict(zip(exits.tasks(), exits["boot_ns"], strict=True))
    released = dict(zip(frees.tasks(), frees["boot_ns"], strict=True))
    assert all(released[task] > ended[task] for task in ended)


def test_a_release_names_process_and_parent_rightly_or_says_that_it_does_not_know(
    record: Record, programs: Programs
) -> None:
    """When the release is told, the memory of leader and parent may be another task's by now:
    likely when many threads end on one CPU while processes are made on the other."""
    recorder = record(ring_bytes=ROOMY)
    with (
        programs.start("end", "together", 30, 499) as one,
        programs.start("end", "together", 30, 499) as other,
        programs.start("create", "fork", 997) as maker,
        programs.start("create", "fork", 997) as another_maker,
    ):
        for running in (one, other, maker, another_maker):
            running.end()
    for running in (one, other):
        family = recorder.family(running.pid, released=0.9).without_task(running.pid)
        forks = family.of("fork")
        parents = zip(forks["ppid"], forks["parent_start_ns"], strict=True)
        truth = dict(zip(forks.tasks(), zip(forks.processes(), parents, strict=True), strict=True))
        frees = family.of("free")
        assert 0.9 * len(forks) <= len(frees) <= len(forks) == 30 * 499
        unknown = frees.with_flag("process_unknown")
        assert set(unknown["process_start_ns"]) <= {0}
        assert len(unknown.with_flag("thread")) == len(unknown) < len(frees) // 10
        wrong: Counter[str] = Counter()
        for task, process, parent, flags in zip(
            frees.tasks(),
            frees.processes(),
            zip(frees["ppid"], frees["parent_start_ns"], strict=True),
            frees["flags"],
            strict=True,
        ):
            if process != truth[task][0] and not flags & PROCESS_UNKNOWN:
                wrong["process"] += 1
            if parent != truth[task][1] and not flags & PARENT_UNKNOWN:
                wrong["parent"] += 1
        assert wrong == {}
        assert not len(forks.with_flag("parent_unknown"))
