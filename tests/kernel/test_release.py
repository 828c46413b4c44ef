"""Every task is released once, also the leader that its last thread's release takes along."""

import pytest

from tests.kernel.conftest import Record
from tests.kernel.programs import Programs

ZAPPED = 23


@pytest.mark.parametrize("type_format", ["co-re", "legacy"])
def test_a_leader_that_is_released_together_with_its_last_thread_is_a_free_of_its_own(
    record: Record, programs: Programs, type_format: str
) -> None:
    recorder = record(type_format=type_format)
    run = programs.run("end", "zap", ZAPPED)
    family = recorder.family(run.pid).without_task(run.pid)
    told = run.all("zapped")
    assert len(told) == ZAPPED
    assert family.count() == dict.fromkeys(("fork", "exit", "free"), 2 * ZAPPED)
    assert sorted(family.of("free")["pid"]) == sorted(pid for pair in told for pid in pair)
    for leader, thread in told:
        assert family.one("free", pid=leader)["tgid"] == leader
        assert family.one("free", pid=thread)["tgid"] == leader
        exits = [family.one("exit", pid=pid) for pid in (leader, thread)]
        assert [int(e["exit_code"]) for e in exits] == [3 << 8, 5 << 8]
        assert exits[0]["boot_ns"] < exits[1]["boot_ns"]
    assert len(family.of("exit").with_flag("group_dead")) == ZAPPED


def test_a_thread_is_released_without_its_leader_while_others_go_on(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("create", "thread", 43)
    family = recorder.family(run.pid)
    frees = family.of("free")
    assert len(frees) == len(set(frees.tasks())) == 43 + 1
    last_thread = family.without_task(run.pid).of("exit").records["boot_ns"].max()
    assert family.one("free", pid=run.pid)["boot_ns"] > last_thread
