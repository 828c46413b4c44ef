"""Lost events are charged to the groups of their processes, and to nobody twice."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import take
from taskstream.grouping.apps import AppGroups, parse
from taskstream.grouping.choice import Choice
from taskstream.grouping.loss import LossBook
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.record import COUNTS, KINDS, PROCESS_KEY, PROCESS_LOSSES
from tests.synthetic import batch, event

NAMES = [count.name for count in COUNTS]
RULES = AppGroups(parse(["web: httpd", "batch: cruncher"], "test"))

Lost = Mapping[str, int]


def table(*rows: tuple[int, bytes, int, Lost]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Make the kernel's table: tgid, comm, ppid and counts of each process."""
    keys, losses = np.zeros(len(rows), PROCESS_KEY), np.zeros(len(rows), PROCESS_LOSSES)
    for row, (tgid, comm, ppid, lost) in enumerate(rows):
        keys[row]["tgid"], keys[row]["start_ns"] = tgid, 1000 + tgid
        losses[row]["comm"], losses[row]["ppid"] = comm, ppid
        losses[row]["parent_start_ns"] = 1000 + ppid
        losses[row]["count"] = [lost.get(name, 0) for name in NAMES]
    return keys, losses


def total(**lost: int) -> NDArray[np.int64]:
    return np.array([lost.get(name, 0) for name in NAMES], np.int64)


def tally() -> Tally:
    return Tally(100, Choice(apps=True, commands=True), rules=RULES, cgroups=CgroupNames())


def by_app(tally: Tally, window: int) -> dict[str, dict[str, int]]:
    groups, _ = tally.close(window, 100 * window + 100)
    return {
        name: {n: series.count(n) for n in NAMES if series.count(n)}
        for name, series in groups["app"].items()
    }


def test_a_lost_exec_decides_the_group_of_what_was_lost_with_it() -> None:
    counts, book = tally(), LossBook()
    keys, losses = table((7, b"httpd", 3, {"exec": 1, "exit_process": 1, "free": 1}))
    counts.charge(5, book.settle(keys, losses, total(exec=1, exit_process=1, free=1))[0])
    assert by_app(counts, 5) == {"web": {"exec": 1, "exit_process": 1, "free": 1}}


def test_a_lost_fork_belongs_to_the_group_of_the_parent_and_the_rest_to_its_own() -> None:
    counts, book = tally(), LossBook()
    parent = event(
        "exec", tgid=3, pid=3, start_ns=1003, process_start_ns=1003, comm=b"cruncher", boot_ns=510
    )
    counts.add(batch(parent))
    keys, losses = table((7, b"httpd", 3, {"fork_process": 1, "exec": 1, "exit_process": 1}))
    counts.charge(5, book.settle(keys, losses, total(fork_process=1, exec=1, exit_process=1))[0])
    assert by_app(counts, 5) == {
        "batch": {"exec": 1, "fork_process": 1},
        "web": {"exec": 1, "exit_process": 1},
    }


def test_a_lost_fork_belongs_to_what_a_lost_exec_made_of_its_parent() -> None:
    counts, book = tally(), LossBook()
    child = (7, b"worker", 3, {"fork_process": 1, "exit_process": 1})
    keys, losses = table(child, (3, b"cruncher", 1, {"exec": 1}))
    counts.charge(5, book.settle(keys, losses, total(fork_process=1, exec=1, exit_process=1))[0])
    assert by_app(counts, 5) == {"batch": {"exec": 1, "fork_process": 1, "exit_process": 1}}


def test_only_what_rose_since_the_last_look_is_charged() -> None:
    book = LossBook()
    first, _ = book.settle(*table((7, b"httpd", 3, {"exit_thread": 4})), total(exit_thread=4))
    again, _ = book.settle(*table((7, b"httpd", 3, {"exit_thread": 9})), total(exit_thread=9))
    assert [int(c.counts.sum()) for c in (first, again)] == [4, 5]


def test_what_no_entry_has_is_counted_in_other_so_that_the_sums_are_right() -> None:
    counts, book = tally(), LossBook()
    keys, losses = table((7, b"httpd", 3, {"free": 2}))
    counts.charge(5, book.settle(keys, losses, total(free=13))[0])
    assert by_app(counts, 5) == {"web": {"free": 2}, "other": {"free": 11}}
    keys, losses = table((7, b"cruncher", 3, {"free": 2, "exec": 1}))
    counts.charge(6, book.settle(keys, losses, total(free=13, exec=1))[0])
    assert by_app(counts, 6)["batch"] == {"exec": 1}


def test_a_quiet_entry_is_let_go_and_charged_from_nothing_when_it_comes_again() -> None:
    book = LossBook()
    keys, losses = table((7, b"httpd", 3, {"free": 2}))
    assert not len(book.settle(keys, losses, total(free=2))[1])
    charges, quiet = book.settle(keys, losses, total(free=2))
    assert quiet.tolist() == keys.tolist()
    assert not charges
    keys, losses = table((7, b"httpd", 3, {"free": 1}))
    assert book.settle(keys, losses, total(free=3))[0].counts.sum() == 1


def test_an_empty_table_charges_nobody() -> None:
    charges, _ = LossBook().settle(*table(), total())
    assert not len(charges.events)
    assert not charges.nobodys.any()
    assert KINDS["fork"] not in take(charges.events, np.arange(0))["kind"]
