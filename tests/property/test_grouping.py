"""Counting by group many events at a time is what one event at a time, told simply, comes to."""

import errno
import signal
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from taskstream.batch import Batch
from taskstream.grouping.apps import OTHER, AppGroups, parse
from taskstream.grouping.choice import Choice
from taskstream.grouping.combination import UNKNOWN
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.outcome import LIFETIMES_NS
from taskstream.grouping.process import TICK_NS, ProcessTable
from taskstream.grouping.tally import Tally
from taskstream.grouping.zombie import ZombieBook
from taskstream.interval import COLUMNS
from taskstream.record import CALLS, KINDS
from tests.property.strategy import chunks
from tests.synthetic import Event, batch, bits, event

RULES = AppGroups(
    parse(["web: nginx", "db: postgres *--data*", "deep: '*-m app*'", "build: make cc*"], "FILE")
)
WINDOW_NS = 10**9
EVERYTHING = Choice(apps=True, cgroups=True, commands=True, users=True)
CGROUPS = {1: "/jobs", 2: "/system.slice/sshd.service", 3: "/system.slice/sshd.service/worker"}

Process = tuple[int, int]
Counts = Counter[tuple[int, str, str, str]]
"""By window, dimension, group and column."""

_tgids = st.integers(1, 3)
_UNSURE, _LATER = 0, 10 + TICK_NS
_starts = st.sampled_from([10, 10, 10, _LATER - 1, _LATER, _UNSURE])
_comms = st.sampled_from([b"nginx", b"postgres", b"make", b"cc1", b"sh", b"ls\0junk", b"\xff"])
_argvs = st.sampled_from([b"", b"sh\0", b"x\0--data\0", b"python3\0-m\0app\0", b"-m appx --data"])
_codes = st.sampled_from([0, 3 << 8, 9, 139, 34, 255 << 8])


@st.composite
def _events(draw: st.DrawFn, *kinds: str, starts: st.SearchStrategy[int] = _starts) -> Event:
    kind = draw(st.sampled_from(kinds))
    tgid = draw(_tgids)
    values: dict[str, Any] = {
        "tgid": tgid,
        "pid": tgid + draw(st.sampled_from([0, 0, 100])),
        "process_start_ns": draw(starts),
        "ppid": draw(_tgids),
        "parent_start_ns": draw(_starts),
        "boot_ns": draw(st.integers(0, 2 * WINDOW_NS - 1)),  # nobody is forgotten meanwhile
        "comm": draw(_comms),
        "cgroup_id": draw(st.integers(1, 4)),
        "uid": draw(st.integers(0, 1)),
    }
    if kind == "fork":
        values["caller_pid"] = draw(st.integers(1, 2))
        values["flags"] = draw(st.sampled_from([0, bits("thread")]))
    elif kind == "exec":
        values["old_pid"] = values["pid"] + draw(st.sampled_from([0, 0, 7]))
        values["flags"] = draw(st.sampled_from([0, 0, bits("args_lost")]))
        values["argv"] = draw(_argvs)
    elif kind == "exit":
        values["exit_code"] = draw(_codes)
        values["flags"] = draw(st.sampled_from([0, bits("group_dead"), bits("cgroup_unknown")]))
    elif kind == "fail":
        values["call"] = CALLS[draw(st.sampled_from(["fork", "clone", "execve", "execveat"]))]
        values["errno"] = draw(st.sampled_from([2, 11, 4095]))
    return event(kind, **values)


def _parts(drawn: tuple[list[Event], list[list[Event]]]) -> tuple[Batch, list[Batch]]:
    """Make one batch, and the batches that it is made of: of its texts, or with their own."""
    whole = batch(*drawn[0])
    parts, at = [], 0
    for number, events in enumerate(drawn[1]):
        part = whole.part(slice(at, at + len(events)))
        at += len(events)
        if number % 2:
            columns = part.records["cpu"].tolist(), part.records["seq"].tolist()
            places = set(zip(*columns, strict=True))
            texts = {place: text for place, text in whole.texts.items() if place in places}
            part = Batch(part.origin, part.records, part.wall_offset_ns, texts)
        parts.append(part)
    return whole, parts


batches = chunks(st.lists(_events("fork", "exec", "exit", "free", "fail"), max_size=60)).map(_parts)
ends = chunks(st.lists(_events("exit", "free", "exec", starts=st.just(10)), max_size=30)).map(
    _parts
)


# --- one event at a time -------------------------------------------------------------------------


def _matched(comm: bytes, argv: bytes | None) -> str | None:
    """Ask every rule in turn."""
    name, cmdline = comm.split(b"\0")[0], (argv or b"").replace(b"\0", b" ")
    for rule in RULES.rules:
        if rule.text in cmdline if rule.of_cmdline else rule.matches_name(name):
            return rule.group
    return None


class SimpleTable:
    """Groups of processes, in the words of the rules: one dictionary, one event at a time."""

    def __init__(self) -> None:
        self.groups: dict[Process, str] = {}
        self.coarse: dict[int, tuple[int, str]] = {}

    def of(self, record: np.void, argv: bytes | None) -> str:
        """Return the group of an event's process, and learn from it."""
        process = int(record["tgid"]), int(record["process_start_ns"])
        parent = int(record["ppid"]), int(record["parent_start_ns"])
        comm, kind = bytes(record["comm"]), int(record["kind"])
        leader = record["pid"] == record["tgid"]
        if kind == KINDS["exec"] or (kind == KINDS["fork"] and leader):
            group = _matched(comm, argv) if kind == KINDS["exec"] else None
            self.groups[process] = group or self._known(parent, comm, OTHER)
        elif process not in self.groups:
            return self._known(process, comm, self.groups.get(parent, OTHER))
        return self.groups[process]

    def _known(self, process: Process, comm: bytes, otherwise: str) -> str:
        tgid, start_ns = process
        if process in self.groups:
            return self.groups[process]
        if not start_ns:
            return OTHER
        coarse_ns, group = self.coarse.get(tgid, (0, ""))
        if coarse_ns and 0 <= start_ns - coarse_ns < TICK_NS:
            del self.coarse[tgid]
        else:
            group = _matched(comm, None) or otherwise
        self.groups[process] = group
        return group


def _argv(whole: Batch, record: np.void) -> bytes | None:
    place = int(record["cpu"]), int(record["seq"])
    return whole.texts[place][1] if place in whole.texts else None


def _column(record: np.void) -> str:
    """Return under which of `COLUMNS` an event counts first."""
    kind = next(name for name, value in KINDS.items() if value == record["kind"])
    flags = int(record["flags"])
    if kind == "fork":
        return "fork_thread" if flags & bits("thread") else "fork_process"
    if kind == "exit":
        return "exit_process" if flags & bits("group_dead") else "exit_thread"
    if kind == "fail":
        calls = CALLS["execve"], CALLS["execveat"]
        return "fail_exec" if record["call"] in calls else "fail_create"
    return kind


def _groups(record: np.void, app: str) -> dict[str, str]:
    """Return the group of an event in each dimension in which it has one."""
    groups = {"host": "", "app": app, "user": str(record["uid"])}
    groups["command"] = "\\xff" if record["comm"] == b"\xff" else _text(record["comm"])
    path = CGROUPS.get(int(record["cgroup_id"]))
    if path is None or record["flags"] & bits("cgroup_unknown"):
        groups["cgroup"] = UNKNOWN
    elif "sshd" in path:
        groups["service"] = "sshd"
    else:
        groups["cgroup"] = "jobs"
    return groups | _outcomes(record)


def _text(comm: bytes) -> str:
    return comm.split(b"\0")[0].decode()


def _outcomes(record: np.void) -> dict[str, str]:
    """Return what became of a failed call or a dead process."""
    column = _column(record)
    if column.startswith("fail"):
        return {"errno": errno.errorcode.get(int(record["errno"]), str(record["errno"]))}
    if column != "exit_process":
        return {}
    code = int(record["exit_code"])
    lived_ns = int(record["boot_ns"]) - int(record["process_start_ns"])
    bound_ns = next(bound for bound in LIFETIMES_NS if lived_ns <= bound)
    groups = {"lifetime": f"{bound_ns / 1e9:g}"}
    if code & 127:
        names = {s.value: s.name for s in signal.Signals}
        return groups | {"signal": names.get(code & 127, str(code & 127))}
    return groups | {"status": str(code >> 8)}


def _counted(whole: Batch) -> Counts:
    counts: Counts = Counter()
    table = SimpleTable()
    for record in whole.records:
        window = int(record["boot_ns"]) // WINDOW_NS
        columns = [_column(record)]
        if columns[0].startswith("fork") and record["caller_pid"] == 1:
            columns.append("fork_by_init")
        for dimension, name in _groups(record, table.of(record, _argv(whole, record))).items():
            counts.update((window, dimension, name, column) for column in columns)
    return counts


# --- many at a time ------------------------------------------------------------------------------


def _running() -> NDArray[np.void]:
    """Return processes that run already: 1 is known exactly, 2 by the tick."""
    exact = event("task", tgid=1, pid=1, ppid=0, process_start_ns=10, comm=b"postgres")
    coarse = {"tgid": 2, "pid": 2, "ppid": 0, "process_start_ns": 10, "comm": b"nginx"}
    return batch(exact, event("task", flags=bits("start_coarse"), **coarse)).records


@given(batches)
def test_every_event_has_the_group_that_the_rules_tell_one_at_a_time(drawn):
    whole, parts = drawn
    simple, table = SimpleTable(), ProcessTable(RULES)
    table.meet(_running(), {})
    simple.groups, simple.coarse = {(1, 10): "db"}, {2: (10, "web")}
    found = [table.names[n] for p in parts for n in table.assign(p.records, p.texts).tolist()]
    assert found == [simple.of(record, _argv(whole, record)) for record in whole.records]
    assert len(table) == len(simple.groups) + len(simple.coarse)


@given(batches)
def test_every_event_is_counted_in_each_dimension_as_one_at_a_time(drawn):
    whole, parts = drawn
    names = CgroupNames()
    names.learn_all(CGROUPS.items())
    tally = Tally(WINDOW_NS, EVERYTHING, rules=RULES, cgroups=names)
    for part in parts:
        tally.add(part)
    found: Counts = Counter()
    for window, dimensions in tally.drain().items():
        for dimension, groups in dimensions.items():
            for name, counts in groups.items():
                assert counts.any()
                for column, number in zip(COLUMNS, counts.tolist(), strict=True):
                    found[window, dimension, name, column] += number
    assert +found == _counted(whole)


@given(ends)
def test_the_dead_are_those_whose_leader_exited_and_that_no_event_ended(drawn):
    _, parts = drawn
    book, dead = ZombieBook(), dict[Process, int]()
    for part in parts:
        book.add(part.records)
        ended = []
        for record in part.records:
            process = int(record["tgid"]), int(record["process_start_ns"])
            kind, leader = record["kind"], record["pid"] == record["tgid"]
            moved = kind == KINDS["exec"] and record["old_pid"] != record["pid"]
            if kind == KINDS["exit"] and leader:
                dead[process] = int(record["boot_ns"])
            elif moved or (kind == KINDS["free"] and leader):
                ended.append(process)
        for process in ended:
            dead.pop(process, None)
        at = book.at(2 * WINDOW_NS)
        oldest_ns = max((2 * WINDOW_NS - since_ns for since_ns in dead.values()), default=0)
        assert (at.level, at.oldest_ns) == (len(dead), oldest_ns)
