"""The kernel's table of counts by process: exact, and what has no room in it is counted apart."""

import errno
import os
from typing import Any

import numpy as np
import pytest

from taskstream.record import COUNTS
from tests.kernel.conftest import Record
from tests.kernel.events import Events, Identity
from tests.kernel.programs import Programs
from tests.kernel.recorder import Recorder

NAMES = [count.name for count in COUNTS]

TABLES: dict[str, dict[str, Any]] = {
    "co-re, per core": {"type_format": "co-re", "maps_per_core": True},
    "co-re, one map": {"type_format": "co-re", "maps_per_core": False},
    "co-re, per core, perf": {"type_format": "co-re", "maps_per_core": True, "buffer": "perf"},
    "legacy, per core": {"type_format": "legacy", "maps_per_core": True},
    "legacy, one map": {"type_format": "legacy", "maps_per_core": False, "buffer": "perf"},
}
SMALL = 16


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options of a source that counts by process."""
    return {"count_processes": True, "load_mode": "return", **TABLES[request.param]}


def counted(recorder: Recorder) -> dict[Identity, dict[str, int]]:
    """Return what was counted, by process; what is 0 is left out."""
    keys, values = recorder.source.processes()
    found = {
        (int(key["tgid"]), int(key["start_ns"])): {
            name: int(number) for name, number in zip(NAMES, row, strict=True) if number
        }
        for key, row in zip(keys, values["count"], strict=True)
    }
    assert len(found) == len(keys)
    return found


def told_by(events: Events) -> dict[Identity, dict[str, int]]:
    """Count the same from events."""
    found: dict[Identity, dict[str, int]] = {}
    for number, name in enumerate(NAMES):
        kind = COUNTS[number].kind
        for event, process in zip(events.of(kind), events.of(kind).processes(), strict=True):
            if name == count_name(event, kind):
                counts = found.setdefault(process, {})
                counts[name] = counts.get(name, 0) + 1
    return found


def count_name(event: np.void, kind: str) -> str:
    """Return which count an event is of."""
    one = Events(np.array([event], event.dtype))
    if kind == "fork":
        return "fork_thread" if len(one.with_flag("thread")) else "fork_process"
    if kind == "exit":
        return "exit_process" if len(one.with_flag("group_dead")) else "exit_thread"
    if kind == "fail":
        return "fail_exec" if event["call"] in (5, 6) else "fail_create"
    return kind


def test_each_process_has_the_counts_of_its_own_events(
    record: Record, programs: Programs, table: dict[str, Any]
) -> None:
    recorder = record(**table)
    forked = programs.run("create", "fork", 101)
    threads = programs.run("create", "thread", 103)
    failed = programs.run("fail", "seccomp", 31, errno.EPERM)
    families = [recorder.family(run.pid) for run in (forked, threads, failed)]
    events = recorder.stop()
    found, told = counted(recorder), told_by(events.without_flag("process_unknown"))
    assert found == told
    (parent,) = {p for p in families[0].processes() if p[0] == forked.pid}
    assert found[parent] == {"fork_process": 1, "exec": 1, "exit_process": 1, "free": 1}
    children = [p for p in set(families[0].processes()) if p != parent]
    assert len(children) == 101
    assert all(found[child] == found[parent] for child in children)
    (process,) = set(families[1].processes())
    assert found[process] == {
        "fork_process": 1, "fork_thread": 103, "exec": 1,
        "exit_thread": 103, "exit_process": 1, "free": 104,
    }  # fmt: skip
    (process,) = set(families[2].processes())
    assert found[process]["fail_create"] == 4 * 31
    assert recorder.source.totals()["uncharged"].sum() == len(events.with_flag("process_unknown"))


def test_what_a_small_table_has_no_room_for_is_counted_as_uncharged(
    record: Record, programs: Programs, table: dict[str, Any]
) -> None:
    recorder = record(pid_table_size=SMALL, **table)
    recorder.family(programs.run("create", "fork", 101).pid)
    programs.run("fail", "seccomp", 31, errno.EPERM)
    recorder.stop()
    _, values = recorder.source.processes()
    assert 0 < len(values) <= SMALL
    totals = recorder.source.totals()
    charged, uncharged = values["count"].sum(axis=0), totals["uncharged"].sum(axis=0)
    assert (charged + uncharged).tolist() == totals["count"].sum(axis=0).tolist()
    at_least = {"fork_process": 80, "exec": 80, "exit_process": 80, "free": 80}
    for name, number in at_least.items():
        assert uncharged[NAMES.index(name)] > number
    assert totals["lost"].sum() == 0


def test_an_entry_that_is_forgotten_makes_room_for_another(
    record: Record, programs: Programs, table: dict[str, Any]
) -> None:
    recorder = record(pid_table_size=SMALL, **table)
    programs.run("create", "fork", 101)  # fills it
    keys, _ = recorder.source.processes()
    assert len(keys) > SMALL // 2
    for key in keys:
        recorder.source.forget_process(np.array([key], keys.dtype))
        recorder.source.forget_process(np.array([key], keys.dtype))  # it may be gone already
    run = programs.run("create", "fork", 1)
    (child,) = run.children
    recorder.family(run.pid)
    events = recorder.stop()
    found = counted(recorder)
    for pid in (run.pid, child.pid):
        process = (pid, int(events.one("fork", pid=pid)["start_ns"]))
        assert found[process] == {"fork_process": 1, "exec": 1, "exit_process": 1, "free": 1}


def test_a_process_has_the_name_that_it_has_since_its_exec_and_what_it_was_made_with(
    record: Record, programs: Programs, table: dict[str, Any]
) -> None:
    recorder = record(**table)
    run = programs.run("create", "fork", 11)
    recorder.family(run.pid)
    events = recorder.stop()
    keys, values = recorder.source.processes()
    rows = {int(key["tgid"]): row for key, row in zip(keys, values, strict=True)}
    parent = events.one("fork", pid=run.pid)
    assert parent["comm"] != b"create"  # it has the parent's name still
    assert rows[run.pid]["comm"] == b"create"
    assert rows[run.pid]["ppid"] == os.getpid()
    for child in run.children:
        row, exit_ = rows[child.pid], events.one("exit", pid=child.pid)
        assert events.one("fork", pid=child.pid)["comm"] == b"create"
        assert row["comm"] == exit_["comm"] == b"exe"  # of /proc/self/exe
        assert (row["ppid"], row["parent_start_ns"]) == (run.pid, parent["start_ns"])
        assert (row["uid"], row["cgroup_id"]) == (exit_["uid"], exit_["cgroup_id"])
        assert row["named_ns"] >= events.one("exec", pid=child.pid)["boot_ns"]


def test_a_source_that_does_not_count_by_process_charges_nobody_and_says_of_none(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    programs.run("create", "fork", 11)
    recorder.stop()
    assert recorder.source.totals()["uncharged"].sum() == 0
