"""A process is a zombie from its leader's exit to its release, and for no longer."""

import pytest

from taskstream.grouping.zombie import CHECKED, OLD_NS, ZombieBook
from taskstream.interval import Zombies
from tests.synthetic import Event, batch, bits, event

SECOND = 10**9


def of(kind: str, tgid: int, at_ns: int = SECOND, **values: object) -> Event:
    known = {"tgid": tgid, "pid": tgid, "process_start_ns": 1000 + tgid, "boot_ns": at_ns}
    return event(kind, **{**known, **({"old_pid": tgid} if kind == "exec" else {}), **values})


def book(*events: Event) -> ZombieBook:
    filled = ZombieBook()
    filled.add(batch(*events).records)
    return filled


def test_without_dead_processes_there_are_none():
    assert book(of("fork", 7)).at(2 * SECOND) == Zombies(0, 0)


def test_a_dead_process_is_one_until_it_is_released():
    dead = book(of("exit", 7))
    assert dead.at(SECOND + 5) == Zombies(1, 5)
    dead.add(batch(of("free", 7)).records)
    assert dead.at(SECOND + 6) == Zombies(0, 0)


def test_the_age_is_that_of_the_oldest():
    dead = book(of("exit", 7, SECOND), of("exit", 8, 2 * SECOND), of("exit", 9, 3 * SECOND))
    assert dead.at(3 * SECOND) == Zombies(3, 2 * SECOND)


def test_exit_and_release_of_one_batch_leave_nothing():
    assert book(*(of(kind, tgid) for kind in ("exit", "free") for tgid in range(50))).at(
        2 * SECOND
    ) == Zombies(0, 0)


@pytest.mark.parametrize("kind", ["exit", "free"])
def test_threads_do_not_count(kind):
    thread = of(kind, 7, pid=70, flags=bits("thread"))
    assert book(thread).at(SECOND).level == 0
    assert book(of("exit", 7), thread).at(SECOND).level == 1


def test_a_reused_pid_is_another_process():
    dead = book(of("exit", 7), of("free", 7, process_start_ns=5))
    assert dead.at(SECOND).level == 1


def test_zombies_of_the_snapshot_count_from_then_on():
    dead = ZombieBook()
    tasks = [of("task", 7, flags=bits("zombie")), of("task", 8)]
    dead.meet(batch(*tasks).records)
    assert dead.at(3 * SECOND) == Zombies(1, 2 * SECOND)
    dead.add(batch(of("free", 7)).records)
    assert dead.at(3 * SECOND).level == 0


def test_a_process_whose_thread_execs_lives_on():
    dead = book(of("exit", 7), of("exec", 7, old_pid=70))
    assert dead.at(SECOND).level == 0


def test_an_old_one_that_is_none_any_more_is_forgotten():
    asked = []

    def is_zombie(tgid: int) -> bool:
        asked.append(tgid)
        return tgid == 8

    dead = ZombieBook(is_zombie)
    dead.add(batch(of("exit", 7), of("exit", 8)).records)
    assert dead.at(SECOND + OLD_NS).level == 2
    assert asked == []
    assert dead.at(SECOND + OLD_NS + 1).level == 1
    assert asked == [7, 8]


def test_only_so_many_are_checked_at_a_time():
    asked = []
    dead = ZombieBook(lambda tgid: not asked.append(tgid))
    dead.add(batch(*(of("exit", tgid, SECOND + tgid) for tgid in range(200))).records)
    assert dead.at(9 * SECOND).level == 200
    assert asked == list(range(CHECKED))
