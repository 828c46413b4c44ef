"""A report is the same after its way through a topic, or an error that says why not."""

import json
from dataclasses import MISSING, fields, replace
from typing import Any

import msgpack
import numpy as np
import pytest

from taskstream.batch import Label, Labels
from taskstream.charge import Charges, stand_ins
from taskstream.errors import MessageError
from taskstream.interval import Agent, Interval, Zombies
from taskstream.record import COUNTS, KINDS, VERSION
from taskstream.report import CpuReport, Report
from tests.synthetic import ORIGIN, WALL_OFFSET_NS

N = len(COUNTS)


def cpu(number: int = 0) -> CpuReport:
    first = 100 * number
    return CpuReport(
        number,
        ORIGIN.run_ns + 7,
        tuple(range(first, first + N)),
        tuple(range(first + 20, first + 20 + N)),
        tuple(range(first + 40, first + 40 + N)),
        first + 60,
    )


INTERVAL = Interval(
    start_ns=5,
    end_ns=9,
    wall_ns=WALL_OFFSET_NS,
    counts=tuple(range(N)),
    received=tuple(range(N, 2 * N)),
    missed={"on_fork": 3},
    failures_watched=False,
)

AGENT = Agent(
    cpu_ns=1,
    resident_bytes=2,
    queued=3,
    dropped=4,
    forgotten=5,
    uncharged=6,
    ring_fill=0.5,
    spool_fill=0.25,
    spool_dropped=7,
    spool_damaged=8,
)

REPORTS = {
    "everything": Report(
        ORIGIN,
        17,
        WALL_OFFSET_NS,
        (cpu(0), cpu(1)),
        {"on_exit": 2},
        INTERVAL,
        clock_step_ns=-3_600_000_000_000,
        final=True,
    ),
    "next to nothing": Report(ORIGIN, 17, WALL_OFFSET_NS, ()),
    "what newer agents tell": Report(
        ORIGIN,
        17,
        WALL_OFFSET_NS,
        (replace(cpu(0), read=8, read_to=ORIGIN.run_ns + 9),),
        interval=replace(
            INTERVAL,
            zombies=Zombies(3, 5),
            agent=replace(AGENT, before=AGENT),
            cgroups=((7, "/größe", "größe"), (2**64 - 1, "/docker/0a", "web")),
        ),
        number=12,
        charges=Charges(
            stand_ins(
                tgid=np.array([7, 9]),
                start_ns=np.array([5, 2**64 - 1], np.uint64),
                kind=np.array([KINDS["fork"], KINDS["exec"]]),
                comm=np.array([b"caf\xe9", b"\\x41"]),
                cgroup_id=np.array([0, 2**64 - 1], np.uint64),
            ),
            np.arange(2 * N).reshape(2, N),
            np.arange(N)[::-1].copy(),
            Labels([Label("/a", None, "b", "c"), Label()], np.array([1, 0])),
        ),
    ),
}


def sent(report: Report) -> dict[str, Any]:
    """Return a report's map as it comes out of a topic."""
    map_: dict[str, Any] = msgpack.unpackb(msgpack.packb(report.to_map()))
    return map_


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_report_comes_back_from_a_topic_as_it_was(report):
    assert Report.from_map(sent(report)) == report


def test_a_report_is_marked_as_one_and_says_its_version():
    found = sent(REPORTS["everything"])
    assert (found["v"], found["kind"]) == (VERSION, "report")


def test_a_report_says_when_it_was_by_both_clocks():
    found = sent(REPORTS["everything"])
    assert found["wall_ns"] - found["boot_ns"] == WALL_OFFSET_NS


def test_counts_travel_by_name():
    found = sent(REPORTS["everything"])
    assert list(found["cpus"][0]["lost"]) == [count.name for count in COUNTS]
    assert list(found["interval"]["counts"]) == [count.name for count in COUNTS]


def test_a_report_can_be_shown_as_json():
    assert json.loads(json.dumps(sent(REPORTS["everything"]))) == sent(REPORTS["everything"])


def test_a_count_that_an_older_agent_did_not_have_is_none():
    found = sent(REPORTS["everything"])
    del found["cpus"][0]["lost"]["fail_exec"]
    assert Report.from_map(found).cpus[0].lost[-1] == 0


BY_NAME = ("counted", "lost", "dropped", "counts", "received", "nobodys")


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every member of a nested map, but for counts by name."""
    found = [at] if at else []
    if isinstance(value, dict):
        for name, member in value.items():
            if at and at[-1] in (*BY_NAME, "missed"):
                continue
            found += paths(member, (*at, name))
    if isinstance(value, list) and value:
        found += paths(value[0], (*at, 0))
    return found


def place(map_: Any, path: tuple[Any, ...]) -> Any:
    for name in path[:-1]:
        map_ = map_[name]
    return map_


NOT_FROM_THE_FIRST = ("interval", "release_late")


def test_an_old_report_that_does_not_say_it_had_late_releases():
    map_ = sent(REPORTS["everything"])
    del place(map_, NOT_FROM_THE_FIRST)[NOT_FROM_THE_FIRST[-1]]
    assert Report.from_map(map_).interval.release_late


@pytest.mark.parametrize(
    "path", [p for p in paths(sent(REPORTS["everything"])) if p != NOT_FROM_THE_FIRST], ids=str
)
def test_a_report_without_one_of_its_members_is_an_error(path):
    if path in (("v",), ("kind",), ("cpus", 0)):
        return
    found = sent(REPORTS["everything"])
    del place(found, path)[path[-1]]
    with pytest.raises(MessageError, match="report"):
        Report.from_map(found)


@pytest.mark.parametrize("value", ["text", 1.5, [1], ["ab"], {"a": "b"}, None], ids=repr)
@pytest.mark.parametrize("path", paths(sent(REPORTS["everything"])), ids=str)
def test_a_report_with_a_spoilt_member_is_an_error(path, value):
    allowed = value is None and path == ("interval",)
    allowed |= value == "text" and path in (("host",), ("boot_id",))
    allowed |= value == {"a": "b"} and path[-1] in BY_NAME  # a name that is not known
    if allowed or path in (("v",), ("kind",)):
        return
    found = sent(REPORTS["everything"])
    place(found, path)[path[-1]] = value
    with pytest.raises(MessageError, match="report"):
        Report.from_map(found)


@pytest.mark.parametrize("value", ["text", 1.5, None, [1], -1], ids=repr)
def test_a_report_with_a_spoilt_count_is_an_error(value):
    for name in ("counted", "lost", "dropped"):
        found = sent(REPORTS["everything"])
        found["cpus"][0][name]["exec"] = value
        with pytest.raises(MessageError, match="report"):
            Report.from_map(found)


NEWER = sent(REPORTS["what newer agents tell"])
ADDED = (
    ("number",),
    ("charges",),
    ("interval", "zombies"),
    ("interval", "agent"),
    ("interval", "agent", "before"),
    ("interval", "cgroups"),
    ("cpus", 0, "read"),
    ("charges", "labels"),
)


@pytest.mark.parametrize("path", ADDED, ids=str)
def test_a_report_of_an_agent_that_did_not_tell_something_yet_is_read(path):
    found = sent(REPORTS["what newer agents tell"])
    del place(found, path)[path[-1]]
    read = Report.from_map(found)
    found["cpus"][0] = {n: v for n, v in found["cpus"][0].items() if n != "read_to"}
    again = sent(read)
    again["cpus"][0].pop("read_to", None)
    if path == ("charges", "labels"):
        for row in found["charges"]["rows"]:
            row.pop()
        found["charges"]["fields"].pop()
    assert again == found


@pytest.mark.parametrize(
    "path",
    [
        p
        for p in paths(NEWER)
        if p[0] == "charges" or p[1:2] in (("zombies",), ("agent",), ("cgroups",))
    ],
    ids=str,
)
def test_what_newer_agents_tell_is_whole_or_an_error(path):
    if path in ADDED or path[-1] == 0 or "labels" in path or path[-1] in SINCE:
        return
    found = sent(REPORTS["what newer agents tell"])
    del place(found, path)[path[-1]]
    with pytest.raises(MessageError, match="report"):
        Report.from_map(found)


SINCE = tuple(member.name for member in fields(Agent) if member.default is not MISSING)


@pytest.mark.parametrize("name", [name for name in SINCE if name != "before"])
def test_what_an_older_agent_did_not_tell_of_its_cost_is_as_if_there_were_none(name):
    found = sent(REPORTS["what newer agents tell"])
    del found["interval"]["agent"][name]
    agent = Report.from_map(found).interval.agent
    (default,) = (member.default for member in fields(Agent) if member.name == name)
    assert getattr(agent, name) == default


@pytest.mark.parametrize("value", ["text", 7, True, [0.5], {"a": 0.5}], ids=repr)
def test_a_share_that_is_none_is_an_error(value):
    found = sent(REPORTS["what newer agents tell"])
    found["interval"]["agent"]["ring_fill"] = value
    with pytest.raises(MessageError, match="report"):
        Report.from_map(found)


@pytest.mark.parametrize("value", ["text", 1.5, -1, 2**64, True, None, [1], {"a": "b"}], ids=repr)
def test_a_spoilt_charge_is_an_error(value):
    rows = len(NEWER["charges"]["rows"][0])
    for column in range(rows):
        found = sent(REPORTS["what newer agents tell"])
        found["charges"]["rows"][0][column] = value
        if column == NEWER["charges"]["fields"].index("comm") and value == "text":
            continue
        with pytest.raises(MessageError, match="report"):
            Report.from_map(found)


def test_a_charge_of_a_count_that_this_version_does_not_know_is_ignored():
    found = sent(REPORTS["what newer agents tell"])
    found["charges"]["fields"].append("reap")
    for row in found["charges"]["rows"]:
        row.append(1)
    found["charges"]["nobodys"]["reap"] = 1
    assert Report.from_map(found) == REPORTS["what newer agents tell"]


def test_a_key_that_this_version_does_not_know_is_ignored():
    found = sent(REPORTS["everything"])
    for members in (found, found["cpus"][0], found["interval"]):
        members["colour"] = "red"
    assert Report.from_map(found) == REPORTS["everything"]
