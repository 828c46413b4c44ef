"""Every event is counted once in each dimension that was asked for, under the right name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from taskstream.batch import Label, Labels
from taskstream.grouping.apps import AppGroups, parse
from taskstream.grouping.choice import Choice
from taskstream.grouping.combination import UNKNOWN
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import KEEP_COMBINATIONS, Tally
from taskstream.interval import Series, Zombies
from taskstream.rates import count_column
from taskstream.record import CALLS, COUNTS
from tests.synthetic import Event, batch, bits, event, lives

SECOND = 10**9
EVERYTHING = Choice(apps=True, cgroups=True, commands=True, users=True)
RULES = AppGroups(parse(["web: nginx", "db: postgres"], "FILE"))


def tally(choice: Choice = EVERYTHING, names: CgroupNames | None = None) -> Tally:
    return Tally(SECOND, choice, rules=RULES, cgroups=CgroupNames() if names is None else names)


def of(kind: str, at_ns: int = 0, **values: Any) -> Event:
    known = {"tgid": 7, "pid": 7, "process_start_ns": 5, "boot_ns": at_ns, "caller_pid": None}
    known |= {"comm": b"nginx", "cgroup_id": 9, "uid": 0, "old_pid": None}
    if kind == "fork":
        known["caller_pid"] = 2
    if kind == "exec":
        known["old_pid"] = values.get("pid", 7)
    return event(kind, **{n: v for n, v in {**known, **values}.items() if v is not None})


def dead(at_ns: int = 0, code: int = 0, **values: Any) -> Event:
    return of("exit", at_ns, flags=bits("group_dead"), exit_code=code, **values)


def closed(filled: Tally, *events: Event, window: int = 0) -> dict[str, dict[str, Series]]:
    filled.add(batch(*events))
    return filled.close(window, (window + 1) * SECOND)[0]


def names(groups: dict[str, dict[str, Series]], dimension: str) -> dict[str, int]:
    """Return how many events of the interval each group had."""
    return {name: sum(s.window[: len(COUNTS)]) for name, s in groups[dimension].items()}


# --- dimensions ----------------------------------------------------------------------------------


def test_an_event_is_counted_by_app_cgroup_command_and_user():
    known = CgroupNames()
    known.learn(9, "/jobs/nightly")
    groups = closed(tally(names=known), of("exec", comm=b"nginx", uid=33))
    for dimension, name in {
        "app": "web",
        "cgroup": "jobs_nightly",
        "command": "nginx",
        "user": "33",
        "host": "",
    }.items():
        assert names(groups, dimension) == {name: 1}
        assert groups[dimension][name].count("exec") == 1


@pytest.mark.parametrize(
    ("choice", "dimensions"),
    [
        (Choice(), set()),
        (Choice(apps=True), {"app"}),
        (Choice(cgroups=True), {"cgroup", "service"}),
        (Choice(commands=True), {"command"}),
        (Choice(users=True), {"user"}),
    ],
)
def test_a_dimension_that_nobody_asked_for_is_absent(choice, dimensions):
    outcomes = {"host", "errno", "status", "signal", "lifetime"}
    assert closed(tally(choice), of("exec")).keys() == outcomes | dimensions


def test_a_service_is_no_cgroup_and_a_cgroup_no_service():
    known = CgroupNames()
    known.learn_all([(1, "/system.slice/sshd.service"), (2, "/jobs"), (3, "/system.slice")])
    groups = closed(tally(names=known), *(of("exec", cgroup_id=n) for n in (1, 1, 2, 3)))
    assert names(groups, "service") == {"sshd": 2}
    assert names(groups, "cgroup") == {"jobs": 1}


def test_a_cgroup_without_a_name_is_unknown_and_not_left_out():
    groups = closed(
        tally(), of("exec", cgroup_id=5), of("exec", cgroup_id=None, flags=bits("cgroup_unknown"))
    )
    assert names(groups, "cgroup") == {UNKNOWN: 2}


def test_a_cgroup_that_is_learned_before_the_interval_ends_has_its_name():
    known = CgroupNames()
    filled = tally(names=known)
    filled.add(batch(of("exec")))
    known.learn(9, "/jobs")
    known.remove(9)
    assert names(closed(filled), "cgroup") == {"jobs": 1}


def test_cgroups_of_one_name_are_one_group():
    known = CgroupNames()
    known.learn_all([(1, "/system.slice/sshd.service"), (2, "/system.slice/sshd.service")])
    groups = closed(tally(names=known), of("exec", cgroup_id=1), of("exec", cgroup_id=2))
    assert names(groups, "service") == {"sshd": 2}


def test_a_command_that_is_no_text_is_escaped():
    groups = closed(tally(), of("exec", comm=b"a\xffb\0junk"))
    assert names(groups, "command") == {"a\\xffb": 1}


def test_tasks_of_the_snapshot_are_not_counted():
    groups = closed(tally(), of("task"), of("exec"))
    assert names(groups, "host") == {"": 1}
    assert names(closed(tally(), of("task")), "app") == {}


def test_events_of_processes_that_ran_before_are_in_their_group():
    filled = tally()
    filled.meet(batch(of("task", comm=b"postgres", ppid=1)).records, {})
    assert names(closed(filled, of("exit", comm=b"worker")), "app") == {"db": 1}


def test_forks_of_task_one_are_counted_beside():
    groups = closed(tally(), of("fork", caller_pid=1), of("fork", caller_pid=2), of("exit"))
    assert groups["host"][""].count("fork_by_init") == 1
    assert sum(s.count("fork_by_init") for s in groups["app"].values()) == 1
    assert groups["host"][""].count("fork_process") == 2


# --- sums ----------------------------------------------------------------------------------------


def mixed(rows: int, seed: int = 3) -> Any:
    """Make lives of many commands, cgroups and users, over three seconds."""
    random = np.random.default_rng(seed)
    whole = lives(rows)
    records = whole.records
    records["boot_ns"] = np.sort(random.integers(0, 3 * SECOND, len(records)))
    records["cgroup_id"] = random.integers(1, 30, len(records))
    records["uid"] = random.integers(0, 5, len(records))
    records["comm"] = [f"c{n}".encode() for n in random.integers(0, 9, len(records))]
    return whole


def test_every_dimension_has_every_event_in_its_window():
    whole = mixed(500)
    known = CgroupNames()
    known.learn_all((n, f"/c{n}" if n % 2 else f"/system.slice/s{n}.service") for n in range(30))
    filled = tally(names=known)
    filled.add(whole)
    for window in range(3):
        groups = filled.close(window, (window + 1) * SECOND)[0]
        here = whole.records[whole.records["boot_ns"] // SECOND == window]
        expected = np.bincount(count_column(here), minlength=len(COUNTS)).tolist()
        for dimension in ("host", "app", "command", "user"):
            sums = np.sum([s.window for s in groups[dimension].values()], axis=0)
            assert sums[: len(COUNTS)].tolist() == expected, dimension
        together = [*groups["cgroup"].values(), *groups["service"].values()]
        sums = np.sum([s.window for s in together], axis=0)
        assert sums[: len(COUNTS)].tolist() == expected


@pytest.mark.parametrize("dimension", ["command", "user", "cgroup"])
def test_each_group_has_its_own_events(dimension):
    whole = mixed(300)
    known = CgroupNames()
    known.learn_all((n, f"/{n}") for n in range(30))
    filled = tally(names=known)
    filled.add(whole)
    groups = filled.close(2, 3 * SECOND)[0]
    field, name = {
        "command": ("comm", lambda raw: raw.decode()),
        "user": ("uid", str),
        "cgroup": ("cgroup_id", str),
    }[dimension]
    values, counts = np.unique(whole.records[field], return_counts=True)
    assert names(groups, dimension) == {
        name(value): n for value, n in zip(values.tolist(), counts.tolist(), strict=True)
    }


def test_many_batches_are_one():
    whole = mixed(3000)
    at_once, in_parts = tally(), tally()
    at_once.add(whole)
    for at in range(0, len(whole), 37):
        part = type(whole)(whole.origin, whole.records[at : at + 37], 0, whole.texts)
        in_parts.add(part)
    for window in range(3):
        end_ns = (window + 1) * SECOND
        assert in_parts.close(window, end_ns)[0] == at_once.close(window, end_ns)[0]


def test_what_comes_late_is_in_the_next_interval():
    filled = tally()
    assert names(closed(filled, of("exec", 5)), "host") == {"": 1}
    groups = closed(filled, of("exec", 6), of("exec", SECOND + 1), window=1)
    assert names(groups, "host") == {"": 2}
    assert sum(groups["host"][""].total[: len(COUNTS)]) == 3


def test_what_comes_early_waits_for_its_window():
    filled = tally()
    groups = closed(filled, of("exec", 5), of("exec", SECOND + 1, comm=b"late", uid=4))
    assert names(groups, "command") == {"nginx": 1}
    assert names(closed(filled, window=1), "user") == {"0": 0, "4": 1}


def test_more_combinations_than_are_kept_lose_nothing():
    records = lives(KEEP_COMBINATIONS // 3).records
    records["boot_ns"] = 5
    filled = tally(Choice(users=True, limit=10))
    records["uid"] = np.arange(len(records))
    filled.add(type(batch())(batch().origin, records, 0))
    groups = filled.close(0, SECOND)[0]
    assert sum(names(groups, "user").values()) == len(records)
    assert len(groups["user"]) == 11
    assert filled.overflow["user"] == len(records) - 10


def test_other_rules_hold_from_then_on_and_no_count_is_lost():
    filled = tally()
    filled.add(batch(of("exec", comm=b"nginx")))
    filled.use(AppGroups(parse(["front: nginx"], "FILE")), batch().records, {})
    groups = closed(filled, of("exec", comm=b"nginx"))
    assert names(groups, "app") == {"web": 1, "front": 1}


# --- outcomes ------------------------------------------------------------------------------------


def test_failures_are_counted_by_errno_and_by_what_failed():
    def fail(call: str, number: int) -> Event:
        return of("fail", call=CALLS[call], errno=number)

    failures = [fail("clone", 11), fail("fork", 11), fail("execve", 2), fail("execve", 4095)]
    found = closed(tally(), *failures)["errno"]
    assert {n: (s.count("fail_create"), s.count("fail_exec")) for n, s in found.items()} == {
        "EAGAIN": (2, 0),
        "ENOENT": (0, 1),
        "4095": (0, 1),
    }


def test_dead_processes_are_counted_by_status_or_signal():
    groups = closed(
        tally(), dead(code=0), dead(code=3 << 8), dead(code=9), dead(code=139), dead(code=34)
    )
    assert names(groups, "status") == {"0": 1, "3": 1}
    assert names(groups, "signal") == {"SIGKILL": 1, "SIGSEGV": 1, "SIGRTMIN": 1}


def test_an_exit_that_leaves_its_process_alive_has_no_outcome():
    groups = closed(tally(), of("exit", exit_code=9))
    assert names(groups, "signal") == names(groups, "status") == names(groups, "lifetime") == {}


@pytest.mark.parametrize(
    ("lived_ns", "bucket"),
    [
        (0, "0.001"),
        (1_000_000, "0.001"),
        (1_000_001, "0.003"),
        (999_000_000, "1"),
        (3_000_000_000_000, "3000"),
        (3_000_000_000_001, "+Inf"),
    ],
)
def test_dead_processes_are_counted_by_lifetime(lived_ns, bucket):
    start = 50 * SECOND
    groups = closed(tally(), dead(start + lived_ns, process_start_ns=start), window=1 << 40)
    assert names(groups, "lifetime") == {bucket: 1}


def test_zombies_are_told_with_the_interval():
    filled = tally(Choice())
    filled.meet(batch(of("task", 100, flags=bits("zombie"))).records, {})
    filled.add(batch(dead(900, tgid=8, pid=8)))
    assert filled.close(0, 1000)[1] == Zombies(2, 900)
    filled.add(batch(of("free", 950)))
    assert filled.close(0, 1000)[1] == Zombies(1, 100)


# --- readers, who ask for less -------------------------------------------------------------------


def reading(choice: Choice = EVERYTHING) -> Tally:
    return Tally(SECOND, choice, rules=None, cgroups=CgroupNames(), is_zombie=None)


def test_without_rules_an_event_is_in_the_group_that_it_names_or_in_other():
    told = Labels([Label(app_group="web"), Label(app_group="db")], np.array([0, 1, 0]))
    filled = reading()
    filled.add(replace(batch(of("fork"), of("exec"), dead()), labels=told))
    assert names(closed(filled, of("fork"), of("exec")), "app") == {"web": 2, "db": 1, "other": 2}


def test_without_rules_every_other_dimension_is_as_with_them():
    events = [of("fork"), of("exec"), dead(code=9), of("free")]
    ours, theirs = closed(reading(), *events), closed(tally(), *events)
    assert ours.keys() == theirs.keys()
    assert {n: s for n, s in ours.items() if n != "app"} == {
        n: s for n, s in theirs.items() if n != "app"
    }


def test_who_asks_for_neither_rules_nor_the_dead_follows_no_process():
    filled = reading()
    groups = closed(filled, of("fork"), of("exec"), dead())
    assert filled.close(1, 2 * SECOND)[1] == Zombies(0, 0)
    assert (len(filled.processes), names(groups, "app")) == (0, {"other": 3})


def test_rules_that_come_later_decide_from_then_on():
    filled = reading()
    filled.add(batch(of("exec")))
    filled.use(RULES, batch(of("task")).records, {})
    assert names(closed(filled, of("exec")), "app") == {"other": 1, "web": 1}


# --- memory --------------------------------------------------------------------------------------


def churning(number: int, processes: int) -> Any:
    """Make the lives of a second, with commands, cgroups and users that never come again."""
    whole = lives(processes, first_pid=1000 + number * processes % 30_000)
    records = whole.records
    records["boot_ns"] = number * SECOND + np.arange(len(records)) * (SECOND // len(records))
    records["process_start_ns"] += number * SECOND
    records["comm"] = [f"c{number}-{n % 40}".encode() for n in range(len(records))]
    records["cgroup_id"] = number * 40 + np.arange(len(records)) % 40
    records["uid"] = number * 40 + np.arange(len(records)) % 40
    return whole


@pytest.mark.slow
def test_ten_minutes_of_churning_groups_hold_no_more_than_the_bounds():
    known = CgroupNames(keep_gone=100)
    choice = Choice(apps=True, cgroups=True, commands=True, users=True, limit=50)
    filled = Tally(SECOND, choice, rules=RULES, cgroups=known, table_size=5000)
    held, events = [], 0
    for number in range(600):
        whole = churning(number, 100)
        ids = set(whole.records["cgroup_id"].tolist())
        known.learn_all((id_, f"/c{id_}") for id_ in ids)
        filled.add(whole)
        groups, zombies = filled.close(number, (number + 1) * SECOND)
        for id_ in ids:
            known.remove(id_)
        events += len(whole)
        for dimension in ("command", "user", "cgroup"):
            assert len(groups[dimension]) <= 51
            assert sum(sum(s.window[: len(COUNTS)]) for s in groups[dimension].values()) == 400
        held.append((len(filled.processes), len(known), zombies.level))
    processes, cgroups, dead = np.array(held).T
    assert processes.max() <= 100 * 4
    assert cgroups.max() <= 100 + 40
    assert dead.max() == 0
    assert filled.processes.forgotten == 0
    assert sum(groups["host"][""].total[: len(COUNTS)]) == events


# --- what is chosen on the way -------------------------------------------------------------------


def test_a_dimension_that_is_chosen_on_the_way_counts_from_then_on():
    filled = tally(Choice())
    filled.add(batch(of("exec")))
    filled.choose(Choice(apps=True, commands=True))
    groups = closed(filled, of("exec"), of("exec"))
    assert names(groups, "app") == {"web": 2}
    assert names(groups, "command") == {"nginx": 2}
    assert names(groups, "host") == {"": 3}


def test_a_dimension_that_is_given_up_is_told_with_its_part_and_then_absent():
    filled = tally()
    filled.add(batch(of("exec")))
    filled.choose(Choice())
    part = closed(filled, of("exec"))
    assert {d: names(part, d) for d in ("app", "command", "user", "cgroup")} == {
        "app": {"web": 1},
        "command": {"nginx": 1},
        "user": {"0": 1},
        "cgroup": {"unknown": 1},
    }
    assert not {"app", "command", "user", "cgroup"} & closed(filled, of("exec"), window=1).keys()


def test_a_dimension_that_is_chosen_again_goes_on_from_its_counters():
    filled = tally()
    assert closed(filled, of("exec"))["app"]["web"].sum("exec") == 1
    filled.choose(Choice())
    closed(filled, of("exec"), window=1)
    filled.choose(EVERYTHING)
    groups = closed(filled, of("exec"), window=2)
    assert groups["app"]["web"].sum("exec") == groups["command"]["nginx"].sum("exec") == 2
    assert groups["app"]["web"].count("exec") == 1


def test_what_a_process_was_before_nobody_looked_is_not_remembered():
    filled = tally()
    closed(filled, of("exec", comm=b"nginx", tgid=7))
    filled.choose(Choice())
    filled.choose(EVERYTHING)
    fork = of("fork", comm=b"sh", tgid=8, pid=8, ppid=7, parent_start_ns=5, process_start_ns=6)
    assert closed(filled, fork, window=1)["app"]["other"].count("fork_process") == 1
