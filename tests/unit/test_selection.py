"""Choosing events: every condition alone and all together; and what is told of a part."""

from dataclasses import replace

import numpy as np
import pytest

from taskstream.charge import Charges
from taskstream.record import COUNTS, RECORD
from taskstream.selection import SelectedCounts, Selection
from tests.capturing import report
from tests.synthetic import ORIGIN, batch, event

GIVEN = batch(
    event("fork", comm=b"sh", uid=0, cgroup_id=1, boot_ns=100),
    event("exec", comm=b"ls\0old", uid=1000, cgroup_id=2, boot_ns=200),
    event("exit", comm=b"ls", uid=1000, cgroup_id=2, boot_ns=300),
    event("free", comm=b"l\xff", uid=0, cgroup_id=3, boot_ns=400),
)
PATHS = {1: "/", 2: "/user.slice/a.scope"}


def chosen(**members: object) -> list[int]:
    found = Selection(**members).of(GIVEN, PATHS.get)
    return [int(time) // 100 for time in found.records["boot_ns"]]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"kinds": ("exec", "free")}, [2, 4]),
        ({"comms": ("ls",)}, [2, 3]),
        ({"comms": ("s*", r"l\xff")}, [1, 4]),
        ({"comms": ("l?*",)}, [2, 3, 4]),
        ({"uids": (1000,)}, [2, 3]),
        ({"cgroups": ("2", "3")}, [2, 3, 4]),
        ({"cgroups": ("/user.slice/*",)}, [2, 3]),
        ({"cgroups": ("/",)}, [1]),
        ({"from_ns": 200}, [2, 3, 4]),
        ({"until_ns": 300}, [1, 2]),
        ({"from_ns": -5, "until_ns": 100}, []),
        ({"kinds": ("exit",), "uids": (1000,), "comms": ("ls",), "from_ns": 300}, [3]),
        ({"kinds": ("exit",), "uids": (0,)}, []),
    ],
)
def test_an_event_is_chosen_if_every_condition_allows_it(members, expected):
    assert chosen(**members) == expected


def test_what_is_chosen_keeps_its_texts():
    found = Selection(kinds=("exec",)).of(GIVEN, PATHS.get)
    assert found.texts[0, ORIGIN.run_ns + 1][0] == b"/usr/bin/env"


def test_only_patterns_of_paths_need_names():
    assert not Selection(cgroups=("17",)).needs_names
    assert Selection(cgroups=("17", "/a*")).needs_names
    assert Selection().whole
    assert not Selection(from_ns=1).whole
    assert not Selection(from_ns=1).filters


# --- intervals -----------------------------------------------------------------------------------


def at(*seconds: float) -> np.ndarray:
    forks = (event("fork", boot_ns=ORIGIN.run_ns + int(s * 1e9)) for s in seconds)
    return batch(*forks).records


def forks_of(told: object) -> int:
    return dict(zip([c.name for c in COUNTS], told.interval.counts, strict=True))["fork_process"]


def test_with_a_filter_an_interval_counts_what_was_chosen_before_its_end():
    counts = SelectedCounts()
    only = Selection(kinds=("fork",))
    counts.add(at(0.1, 0.9, 1.1))
    (first,) = counts.reports(report(0), only)
    assert forks_of(first) == 2
    counts.add(at(1.2))
    assert forks_of(*counts.reports(report(1), only)) == 2
    assert first.interval.counts == first.interval.received


def test_an_event_that_comes_late_counts_in_the_next_interval():
    counts, only = SelectedCounts(), Selection(kinds=("fork",))
    counts.reports(report(0), only)
    counts.add(at(0.5))
    assert forks_of(*counts.reports(report(1), only)) == 1


def test_the_last_interval_has_all_that_is_left():
    counts, only = SelectedCounts(), Selection(kinds=("fork",))
    counts.add(at(7.0))
    assert forks_of(*counts.reports(report(1, final=True), only)) == 1


def test_with_times_alone_an_interval_is_as_it_was_or_not_told():
    begin = ORIGIN.run_ns + 10**9
    times = Selection(from_ns=begin, until_ns=begin + 2 * 10**9)
    told = [SelectedCounts().reports(report(n), times) for n in range(4)]
    assert [len(t) for t in told] == [0, 1, 1, 0]
    assert told[1][0].interval == report(1).interval


def test_charges_are_told_with_the_interval_that_they_are_of():
    begin = ORIGIN.run_ns + 10**9
    counts, times = SelectedCounts(), Selection(from_ns=begin)
    none = np.zeros((0, len(COUNTS)), np.int64)
    charges = Charges(np.empty(0, RECORD), none, np.arange(len(COUNTS)))
    told = []
    for n in range(2):
        only = replace(report(n), interval=None, charges=charges)
        told.append([*counts.reports(only, times), *counts.reports(report(n), times)])
    assert [len(t) for t in told] == [0, 2]
    assert (told[1][0].charges, told[1][1].interval) == (charges, report(1).interval)


def test_what_was_lost_is_not_chosen():
    none = np.zeros((0, len(COUNTS)), np.int64)
    charges = Charges(np.empty(0, RECORD), none, np.arange(len(COUNTS)))
    given = replace(report(0), charges=charges)
    (told,) = SelectedCounts().reports(given, Selection(kinds=("fork",)))
    assert told.charges is None


def test_a_part_says_nothing_of_whole_cpus():
    (told,) = SelectedCounts().reports(report(0), Selection(kinds=("fork",)))
    assert told.cpus == ()
