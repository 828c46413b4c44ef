"""The kernel's table of losses: every event that found no room is charged to its process.

What came and what is charged make up what happened, process by process; what has no room in the
table either is counted apart.
"""

import errno
import os
from collections import Counter
from typing import Any

import numpy as np
import pytest

from taskstream.record import COUNTS
from tests.kernel.conftest import Record
from tests.kernel.events import Events, Identity
from tests.kernel.programs import Programs
from tests.kernel.recorder import Recorder, wait_until

NAMES = [count.name for count in COUNTS]
TINY = 4096

TABLES: dict[str, dict[str, Any]] = {
    "co-re, per core": {"type_format": "co-re", "maps_per_core": True},
    "co-re, one map": {"type_format": "co-re", "maps_per_core": False},
    "co-re, per core, perf": {"type_format": "co-re", "maps_per_core": True, "buffer": "perf"},
    "legacy, per core": {"type_format": "legacy", "maps_per_core": True},
    "legacy, one map": {"type_format": "legacy", "maps_per_core": False, "buffer": "perf"},
}
SMALL = 16
ONCE = {"fork_process": 1, "exec": 1, "exit_process": 1, "free": 1}

Counts = dict[Identity, Counter[str]]


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options of a source that loses nearly everything, and charges it."""
    return {
        "charge_losses": True,
        "load_mode": "return",
        "ring_bytes": TINY,
        **TABLES[request.param],
    }


def charged(recorder: Recorder) -> Counts:
    """Return what was lost, by process."""
    keys, losses = recorder.source.losses()
    found = {
        (int(key["tgid"]), int(key["start_ns"])): +Counter(
            dict(zip(NAMES, row.tolist(), strict=True))
        )
        for key, row in zip(keys, losses["count"], strict=True)
    }
    assert len(found) == len(keys)
    return found


def told_by(events: Events) -> Counts:
    """Count what came, by process."""
    found: Counts = {}
    for kind in ("fork", "exec", "exit", "free", "fail"):
        for event, process in zip(events.of(kind), events.of(kind).processes(), strict=True):
            found.setdefault(process, Counter())[count_name(event, kind)] += 1
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


def happened(recorder: Recorder) -> dict[int, Counter[str]]:
    """Return what came and what was charged, by tgid of processes that began since the start."""
    recorder.read()
    both: dict[int, Counter[str]] = {}
    for counts in (told_by(recorder.events), charged(recorder)):
        for (tgid, start_ns), numbers in counts.items():
            if start_ns >= recorder.source.origin.run_ns:
                both.setdefault(tgid, Counter()).update(numbers)
    return both


def test_what_came_and_what_is_charged_make_up_what_each_process_did(
    record: Record, programs: Programs, table: dict[str, Any]
) -> None:
    recorder = record(**table)
    forked = programs.run("create", "fork", 101)
    threads = programs.run("create", "thread", 103)
    failed = programs.run("fail", "seccomp", 31, errno.EPERM)
    children = [child.pid for child in forked.children]

    def complete() -> bool:
        found = happened(recorder)
        return all(found.get(pid) == ONCE for pid in [forked.pid, *children])

    wait_until(complete, lambda: happened(recorder))
    recorder.stop()
    found = happened(recorder)
    assert len(children) == 101
    thread = found[threads.pid]
    del thread["free"]  # of some, the process cannot be told any more
    assert thread == {"fork_process": 1, "fork_thread": 103, "exec": 1,
                      "exit_thread": 103, "exit_process": 1}  # fmt: skip
    assert found[failed.pid]["fail_create"] == 4 * 31
    assert recorder.source.totals()["lost"].sum() > 300


def test_what_a_small_table_has_no_room_for_is_counted_as_uncharged(
    record: Record, programs: Programs, table: dict[str, Any]
) -> None:
    recorder = record(pid_table_size=SMALL, **table)
    programs.run("create", "fork", 101)
    programs.run("fail", "seccomp", 31, errno.EPERM)
    recorder.stop()
    _, losses = recorder.source.losses()
    assert 0 < len(losses) <= SMALL
    totals = recorder.source.totals()
    uncharged = totals["uncharged"].sum(axis=0)
    assert (losses["count"].sum(axis=0) + uncharged).tolist() == totals["lost"].sum(axis=0).tolist()
    for name in ("fork_process", "exec", "exit_process"):
        assert uncharged[NAMES.index(name)] > 50


def test_an_entry_that_is_forgotten_makes_room_for_another(
    record: Record, programs: Programs, table: dict[str, Any]
) -> None:
    recorder = record(pid_table_size=SMALL, **table)
    programs.run("create", "fork", 101)  # fills it

    def freed() -> bool:
        """Tell whether the last of them is free: until then, they would come into the table."""
        return int(recorder.source.totals()["count"][:, NAMES.index("free")].sum()) > 101

    wait_until(freed, lambda: recorder.source.totals()["count"])
    keys, _ = recorder.source.losses()
    assert len(keys) > SMALL // 2
    for key in keys:
        recorder.source.forget_losses(np.array([key], keys.dtype))
        recorder.source.forget_losses(np.array([key], keys.dtype))  # it may be gone already
    run = programs.run("fail", "seccomp", 31, errno.EPERM)
    assert (run.pid, 4 * 31) in {
        (tgid, counts["fail_create"]) for tgid, counts in happened(recorder).items()
    }


def test_a_process_has_the_name_that_it_has_since_its_exec_and_what_it_was_made_with(
    record: Record, programs: Programs, table: dict[str, Any]
) -> None:
    recorder = record(**table)
    run = programs.run("create", "fork", 101)
    recorder.stop()
    keys, losses = recorder.source.losses()
    rows = {int(key["tgid"]): row for key, row in zip(keys, losses, strict=True)}
    named = [rows[child.pid] for child in run.children
             if child.pid in rows and rows[child.pid]["count"][NAMES.index("exec")]]  # fmt: skip
    assert len(named) > 50
    for row in named:
        assert row["comm"] == b"exe"  # of /proc/self/exe
        assert (row["ppid"], row["uid"]) == (run.pid, os.getuid())
        assert row["named_ns"] > recorder.source.origin.run_ns


def test_nobody_is_charged_where_nobody_asked(record: Record, programs: Programs) -> None:
    recorder = record(ring_bytes=TINY)
    programs.run("create", "fork", 101)
    recorder.stop()
    assert recorder.source.totals()["lost"].sum()
    assert recorder.source.totals()["uncharged"].sum() == 0
    assert not len(recorder.source.losses()[0])
