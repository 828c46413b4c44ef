"""docs/messages.md names every member of what is really sent, and nothing else."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from taskstream.batch import Label, Labels
from taskstream.charge import Charges, stand_ins
from taskstream.chart.chart import DOCUMENTED
from taskstream.interval import Agent, Interval, Zombies
from taskstream.message.batch_encode import encode_batch
from taskstream.record import COUNTS, KINDS
from taskstream.report import CpuReport, Report
from taskstream.sink.rates import messages
from tests.synthetic import ORIGIN, each_kind, labelled, lives

DOCUMENT = (Path(__file__).parents[2] / "docs/messages.md").read_text()
NAMES = tuple(count.name for count in COUNTS)
COUNTED = tuple(range(len(COUNTS)))
AGENT = Agent(cpu_ns=1, resident_bytes=2, queued=3, dropped=4, forgotten=5, spool_fill=0.5)


def section(title: str) -> str:
    """Return what stands under a heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOCUMENT, re.M | re.S)
    assert found is not None, title
    return found[1]


def tables(title: str) -> list[list[str]]:
    """Return the names in the first column of each table under a heading."""
    found = re.findall(r"^\| --- \|.*\n((?:\|.*\n)+)", section(title), re.M)
    return [
        [name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
        for table in found
    ]


def report() -> dict[str, Any]:
    """Return the map of a report that has every member."""
    interval = Interval(
        start_ns=0,
        end_ns=1,
        wall_ns=2,
        counts=COUNTED,
        received=COUNTED,
        zombies=Zombies(1, 2),
        agent=replace(AGENT, before=AGENT),
        cgroups=((7, "/a", "a"),),
    )
    lost = stand_ins(
        tgid=np.array([7]),
        start_ns=np.array([5]),
        kind=np.array([KINDS["fork"]]),
        comm=np.array([b"a"]),
    )
    charges = Charges(
        lost, np.array([COUNTED]), np.array(COUNTED), Labels([Label()], np.array([0]))
    )
    cpu = CpuReport(0, 1, COUNTED, COUNTED, COUNTED, 0, 1, 2)
    whole = Report(ORIGIN, 1, 0, (cpu,), {}, interval, number=1, charges=charges)
    map_: dict[str, Any] = msgpack.unpackb(msgpack.packb(whole.to_map()))
    return map_


def test_every_member_of_a_report_is_documented() -> None:
    sent = report()
    interval, charges = sent["interval"], sent["charges"]
    columns = [name for name in charges["fields"] if name not in NAMES]
    expected = [sent, sent["cpus"][0], interval, interval["agent"], charges, columns]
    assert [sorted(names) for names in tables("Reports")] == [sorted(names) for names in expected]
    assert all(f"`{name}`" in section("Reports") for name in interval["zombies"])


def test_every_count_of_a_report_is_named() -> None:
    told = re.search(r"The counts are (.*?)\(", section("Reports"), re.S)
    assert told is not None
    assert re.findall(r"`(\w+)`", told[1]) == list(NAMES)
    assert set(report()["charges"]["fields"]) >= set(NAMES)


def test_every_member_of_a_batch_is_documented() -> None:
    (value,) = encode_batch(labelled(each_kind()), shard_count=1, most_bytes=1_000_000).values
    sent = msgpack.unpackb(value)
    title = "A batch per message (`--message batch`)"
    many = msgpack.unpackb(encode_batch(lives(100)).values[0])
    columns = {n for m in (sent, many) for column in m["columns"].values() for n in column}
    ways = {column.get(n) for column in many["columns"].values() for n in ("encoding", "layout")}
    assert [way for way in ways - {None} if f"`{way}`" not in section(title)] == []
    assert [sorted(names) for names in tables(title)] == [sorted(sent), sorted(columns)]
    types = {column["type"] for column in sent["columns"].values()}
    inner = types | {name for group in sent["groups"] for name in group}
    inner |= sent["clock"].keys() | sent["labels"][0].keys()
    assert [name for name in inner if f"`{name}`" not in section(title)] == []


def test_every_member_of_the_rates_is_documented() -> None:
    counted = Interval(start_ns=0, end_ns=1, wall_ns=2, counts=COUNTED, received=COUNTED)
    for sent in messages(counted, ORIGIN, DOCUMENTED):
        assert [sorted(names) for names in tables("Rates")] == [sorted(sent)]
        for name in sent["groups"][0]:
            assert f"`{name}`" in section("Rates")
