"""Every process has its group from its first event on: its parent's, or the one that rules say."""

import numpy as np
import pytest
from numpy.typing import NDArray

from taskstream.batch import Batch
from taskstream.grouping.apps import AppGroups, parse
from taskstream.grouping.process import GRACE_NS, TICK_NS, ProcessTable
from tests.synthetic import Event, batch, bits, event

RULES = """\
web: nginx
db: postgres *--database*
build: make cc*
"""
SECOND = 10**9


def rules(text: str = RULES) -> AppGroups:
    return AppGroups(parse(text.splitlines(), "FILE"))


def start(tgid: int) -> int:
    """Return when a process began; all begin at different times."""
    return SECOND + tgid * 1000


def of(kind: str, tgid: int, parent: int = 1, **values: object) -> Event:
    """Make an event of a process."""
    known = {
        "tgid": tgid,
        "pid": tgid,
        "process_start_ns": start(tgid),
        "start_ns": start(tgid),
        "ppid": parent,
        "parent_start_ns": start(parent),
        "old_pid": values.get("pid", tgid) if kind == "exec" else None,
        "comm": b"sh",
        "boot_ns": 10 * SECOND,
    }
    return event(kind, **{n: v for n, v in {**known, **values}.items() if v is not None})


def running(*events: Event) -> NDArray[np.void]:
    return batch(*events).records


def table(text: str = RULES, **cmdlines: bytes) -> ProcessTable:
    """Return a table that has met: 1 init, 2 nginx, 3 postgres, 4 sh below nginx."""
    met = ProcessTable(rules(text))
    met.meet(
        running(
            of("task", 1, 0, comm=b"init"),
            of("task", 2, comm=b"nginx"),
            of("task", 3, comm=b"postgres"),
            of("task", 4, 2),
        ),
        {},
    )
    return met


def assigned(processes: ProcessTable, *events: Event) -> list[str]:
    """Return the group of each event."""
    whole = batch(*events)
    return [processes.names[n] for n in processes.assign(whole.records, whole.texts).tolist()]


# --- who was there before ------------------------------------------------------------------------


def test_processes_that_run_already_are_known():
    assert assigned(table(), *(of("exit", tgid) for tgid in (1, 2, 3, 4))) == [
        "other",
        "web",
        "db",
        "web",
    ]


def test_a_running_process_is_known_by_its_command_line_too():
    met = ProcessTable(rules())
    met.meet(running(of("task", 5, comm=b"java")), {5: b"java\0--database\0"})
    assert assigned(met, of("exit", 5)) == ["db"]


def test_a_running_process_inherits_from_its_nearest_ancestor_with_a_rule():
    met = ProcessTable(rules())
    tasks = [of("task", 9, 8), of("task", 8, 7), of("task", 7, 1, comm=b"make")]
    met.meet(running(*tasks, of("task", 1, 0)), {})
    assert assigned(met, of("exit", 9), of("exit", 1)) == ["build", "other"]


def test_parents_that_go_round_in_a_ring_are_no_ring_for_us():
    met = ProcessTable(rules())
    met.meet(running(of("task", 7, 8), of("task", 8, 7)), {})
    assert assigned(met, of("exit", 7)) == ["other"]


def test_threads_of_the_snapshot_change_nothing():
    met = ProcessTable(rules())
    thread = of("task", 2, pid=20, comm=b"postgres", flags=bits("thread"))
    met.meet(running(of("task", 2, comm=b"nginx"), thread), {})
    assert assigned(met, of("exit", 2)) == ["web"]


@pytest.mark.parametrize("offset_ns", [0, 1, TICK_NS - 1])
def test_a_process_whose_start_is_known_by_the_tick_is_found_by_the_nanosecond(offset_ns):
    met = ProcessTable(rules())
    met.meet(running(of("task", 2, comm=b"nginx", flags=bits("start_coarse"))), {})
    exact = {"process_start_ns": start(2) + offset_ns}
    assert assigned(met, of("exit", 2, **exact), of("free", 2, **exact)) == ["web", "web"]
    assert len(met) == 1


def test_a_process_of_a_later_tick_is_another_one():
    met = ProcessTable(rules())
    met.meet(running(of("task", 2, comm=b"nginx", flags=bits("start_coarse"))), {})
    assert assigned(met, of("exit", 2, process_start_ns=start(2) + TICK_NS)) == ["other"]


def test_a_child_of_a_process_known_by_the_tick_inherits():
    met = ProcessTable(rules())
    met.meet(running(of("task", 2, comm=b"nginx", flags=bits("start_coarse"))), {})
    assert assigned(met, of("fork", 50, 2, parent_start_ns=start(2) + 5)) == ["web"]


# --- fork and exec -------------------------------------------------------------------------------


def test_a_child_inherits_its_parents_group():
    assert assigned(table(), of("fork", 50, 2), of("fork", 51, 3), of("fork", 52, 1)) == [
        "web",
        "db",
        "other",
    ]


def test_grandchildren_of_one_batch_inherit_in_turn():
    events = [of("fork", 50, 2), of("fork", 51, 50), of("fork", 52, 51), of("exit", 52)]
    assert assigned(table(), *events) == ["web"] * 4


def test_an_exec_decides_anew_by_name():
    events = [of("fork", 50, 1), of("exec", 50, comm=b"make"), of("exit", 50), of("free", 50)]
    assert assigned(table(), *events) == ["other", "build", "build", "build"]


def test_an_exec_decides_anew_by_command_line():
    java = of("exec", 50, comm=b"java", argv=b"java\0--database\0")
    assert assigned(table(), java) == ["db"]


def test_without_its_arguments_an_exec_is_decided_by_name():
    lost = of("exec", 50, comm=b"make", flags=bits("args_lost"))
    assert assigned(table(), lost) == ["build"]


def test_an_exec_that_no_rule_matches_is_in_its_parents_group():
    events = [of("exec", 50, 2, comm=b"make"), of("exec", 50, 2, comm=b"ls"), of("exit", 50)]
    assert assigned(table(), *events) == ["build", "web", "web"]


def test_a_child_has_the_group_that_its_parent_had_at_the_fork():
    events = [
        of("fork", 50, 2),
        of("fork", 51, 50),
        of("exec", 50, 2, comm=b"make"),
        of("fork", 52, 50),
        of("exit", 51),
    ]
    assert assigned(table(), *events) == ["web", "web", "build", "build", "web"]


def test_what_a_process_did_before_its_exec_counts_under_its_group_of_then():
    events = [
        of("fork", 50, 2),
        of("exit", 50, pid=60),
        of("exec", 50, 2, comm=b"make"),
        of("exit", 50, pid=61),
        of("exec", 50, 2, comm=b"postgres"),
        of("exit", 50),
    ]
    assert assigned(table(), *events) == ["web", "web", "build", "build", "db", "db"]


def test_one_batch_or_one_event_at_a_time_is_the_same():
    events = [
        of("fork", 50, 2),
        of("fork", 50, 2, pid=60, flags=bits("thread")),
        of("fork", 51, 50),
        of("exit", 50, pid=60),
        of("exec", 50, 2, comm=b"cc1"),
        of("exec", 51, 50, comm=b"ls"),
        of("fail", 51),
        of("exit", 51),
        of("free", 51),
        of("exit", 50),
    ]
    whole, singly = table(), table()
    expected = assigned(whole, *events)
    assert [group for one in events for group in assigned(singly, one)] == expected
    assert expected == ["web"] * 4 + ["build"] * 6


def test_a_thread_is_in_the_group_of_its_process():
    thread = {"pid": 70, "flags": bits("thread")}
    kinds = ("fork", "exit", "free", "fail")
    assert assigned(table(), *(of(kind, 2, **thread) for kind in kinds)) == ["web"] * 4


def test_a_reused_pid_is_another_process():
    events = [of("exit", 2), of("free", 2), of("fork", 2, 3, process_start_ns=99 * SECOND)]
    processes = table()
    assert assigned(processes, *events) == ["web", "web", "db"]
    assert assigned(processes, of("exit", 2), of("exit", 2, process_start_ns=99 * SECOND)) == [
        "web",
        "db",
    ]


# --- who was never told of -----------------------------------------------------------------------


def test_a_process_whose_fork_was_lost_is_decided_by_its_name():
    assert assigned(table(), of("exit", 50, comm=b"nginx")) == ["web"]


def test_a_process_whose_fork_was_lost_and_whose_name_says_nothing_inherits():
    assert assigned(table(), of("exit", 50, 3), of("exit", 51, 77)) == ["db", "other"]


def test_a_child_of_an_unknown_parent_tells_its_parents_name():
    processes = table()
    assert assigned(processes, of("fork", 50, 77, comm=b"nginx"), of("exit", 77)) == ["web"] * 2


def test_what_is_not_told_for_certain_is_nobodys_group():
    unknown = {"process_start_ns": 0, "flags": bits("process_unknown", "thread"), "pid": 70}
    processes = table()
    before = len(processes)
    assert assigned(processes, of("free", 2, **unknown)) == ["other"]
    orphan = of("fork", 50, 0, parent_start_ns=0, flags=bits("parent_unknown"))
    assert assigned(processes, orphan) == ["other"]
    assert len(processes) == before + 1


# --- other rules ---------------------------------------------------------------------------------


def test_numbers_of_groups_stay_when_the_rules_change():
    processes = table()
    before = list(processes.names)
    processes.use(rules("mail: exim\nweb: nginx apache2\n"))
    assert processes.names == [*before, "mail"]


def test_under_other_rules_a_process_keeps_its_group_until_it_is_met_again():
    processes = table()
    processes.use(rules("front: nginx\n"))
    assert assigned(processes, of("fork", 50, 2)) == ["web"]
    processes.meet(running(of("task", 2, comm=b"nginx"), of("task", 50, 2)), {})
    assert assigned(processes, of("fork", 51, 50), of("exit", 2)) == ["front", "front"]


def test_processes_met_again_by_the_tick_are_the_same_ones():
    processes = table()
    processes.use(rules("front: nginx\n"))
    coarse = {"process_start_ns": start(2) - 7, "flags": bits("start_coarse")}
    processes.meet(running(of("task", 2, comm=b"nginx", **coarse)), {})
    assert assigned(processes, of("exit", 2)) == ["front"]


def test_there_may_be_more_groups_than_a_byte_can_tell_apart():
    many = ProcessTable(rules("\n".join(f"group{n}: p{n}" for n in range(400))))
    execs = [of("exec", 1000 + n, comm=b"p%d" % n) for n in range(400)]
    assert assigned(many, *execs) == [f"group{n}" for n in range(400)]
    assert assigned(many, of("exit", 1000), of("exit", 1399)) == ["group0", "group399"]


# --- memory --------------------------------------------------------------------------------------


def churn(processes: ProcessTable, count: int, *, free: bool = True, first: int = 1000) -> None:
    """Let processes live one after another, for 10 ms each."""
    for tgid in range(first, first + count):
        kinds = ("fork", "exit", "free") if free else ("fork", "exit")
        boot_ns = 10 * SECOND + tgid * SECOND // 100
        whole: Batch = batch(*(of(kind, tgid, 2, boot_ns=boot_ns) for kind in kinds))
        processes.assign(whole.records, whole.texts)


def test_released_processes_are_forgotten():
    processes = table()
    churn(processes, 1000)
    assert len(processes) <= 4 + GRACE_NS // (SECOND // 100) + 2
    assert processes.forgotten == 0


def test_a_process_is_remembered_for_a_moment_after_its_release():
    processes = table()
    late = of("free", 2, pid=70, flags=bits("thread"), boot_ns=11 * SECOND)
    assert assigned(processes, of("exit", 2), of("free", 2)) == ["web", "web"]
    assert assigned(processes, late) == ["web"]


def test_the_release_of_a_thread_forgets_nobody():
    processes = table()
    assigned(processes, of("free", 2, pid=70, flags=bits("thread")))
    churn(processes, 1000)
    assert assigned(processes, of("exit", 2)) == ["web"]


def test_a_table_that_is_full_lets_go_of_released_processes_first():
    processes = ProcessTable(rules(), limit=10)
    churn(processes, 5, free=False)
    churn(processes, 100, first=5000)
    assert processes.forgotten == 0
    assert len(processes) == 10


def test_a_process_that_is_forgotten_early_is_counted_and_decided_again():
    processes = ProcessTable(rules(), limit=10)
    nginx = of("exec", 2, comm=b"nginx")
    assigned(processes, nginx)
    churn(processes, 20, free=False)
    assert len(processes) == 10
    assert processes.forgotten == 12
    assert assigned(processes, of("exit", 2, comm=b"nginx")) == ["web"]
