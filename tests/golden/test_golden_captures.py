"""Captures that older agents wrote are read as they were meant, for ever.

``capture-vN`` holds files of format N, each beside its readable twin, a list of its whole frames.
"""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from taskstream.batch import Batch
from taskstream.capture.content import Header, Index, Loss, Names, Trailer, content_of
from taskstream.capture.frame import Damage, Frame, FrameKind
from taskstream.capture.reader import CaptureFile
from taskstream.report import Report
from tests.command import taskstream
from tests.golden.capture_maker import frame_twin
from tests.golden.test_golden import meant
from tests.plain import events_of
from tests.plain_capture import PlainFrame, frames_of
from tests.synthetic import known

HERE = Path(__file__).parent
GOLDEN = sorted(HERE.glob("capture-v*/*.tsc"))
ENDS_EARLY = {"cut", "killed"}
ENDS_WITH_LOSSES = {*ENDS_EARLY, "lossy"}
COMMON = ("kind", "cpu", "seq", "boot_ns", "pid", "tgid", "uid", "cgroup_id", "comm", "host")


def ids(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def items_of(path: Path) -> list[Frame | Damage]:
    with CaptureFile(path) as file:
        return list(file.items())


def test_there_are_golden_captures_of_every_kind_of_frame():
    kinds = {i.kind for path in GOLDEN for i in items_of(path) if isinstance(i, Frame)}
    assert kinds == set(FrameKind)


@pytest.mark.parametrize("path", GOLDEN, ids=ids)
def test_a_capture_has_the_frames_that_its_twin_says(path):
    twin = json.loads(path.with_suffix(".json").read_text())
    items = items_of(path)
    frames = [item for item in items if isinstance(item, Frame)]
    assert [
        (f.offset, f.size_bytes, f.number, f.events, f.first_ns, f.last_ns) for f in frames
    ] == [
        (t["offset"], t["length"], t["number"], t["events"], t["first_ns"], t["last_ns"])
        for t in twin
    ]
    assert [isinstance(item, Damage) for item in items].count(True) == (path.stem in ENDS_EARLY)
    whole = path.read_bytes()[: twin[-1]["offset"] + twin[-1]["length"]]
    assert [frame_twin(frame) for frame in frames_of(whole)] == twin


@pytest.mark.parametrize("path", GOLDEN, ids=ids)
def test_what_its_frames_say_is_decoded_as_it_was_meant(path):
    twin = json.loads(path.with_suffix(".json").read_text())
    frames = [item for item in items_of(path) if isinstance(item, Frame)]
    for frame, said in zip(frames, twin, strict=True):
        content, map_ = content_of(frame), said["payload"]
        if isinstance(content, Batch):
            expected = map(meant, events_of(frame.payload()))
            order = sorted(expected, key=lambda e: (e["boot_ns"], e["cpu"], e["seq"]))
            assert known(content) == order
        elif isinstance(content, Report):
            if map_["interval"] is not None:
                map_["interval"].setdefault("release_late", True)  # before it was said
            assert content.to_map() == map_
        elif isinstance(content, Header):
            origin = content.origin
            assert [origin.host, origin.boot_id, origin.run_ns] == [
                map_["host"], map_["boot_id"], map_["run_ns"]
            ]  # fmt: skip
            assert content.clock.wall_ns == map_["clock"]["wall_ns"]
        elif isinstance(content, Names):
            assert [list(pair) for pair in content.cgroups.items()] == map_["cgroups"]
            assert [list(pair) for pair in content.groups.items()] == map_["groups"]
        elif isinstance(content, Loss):
            assert (content.events, content.reason) == (map_["events"], map_["reason"])
            assert content.cpus == {c["cpu"]: c["dropped"] for c in map_["cpus"]}
        elif isinstance(content, Index):
            assert [s.offset for s in content.stretches] == [e[0] for e in map_["entries"]]
        else:
            assert isinstance(content, Trailer)
            assert content.received == map_["received"] == (
                sum(map_["written"].values()) + map_["dropped"]
            )  # fmt: skip


def frames_that(path: Path, *kinds: str) -> list[PlainFrame]:
    """Return the whole frames of some kinds, as anybody would read them."""
    last = json.loads(path.with_suffix(".json").read_text())[-1]
    whole = path.read_bytes()[: last["offset"] + last["length"]]
    return [frame for frame in frames_of(whole) if frame.kind in kinds]


def events_that(path: Path) -> list[dict[str, Any]]:
    """Return the events of a capture, as anybody would read them."""
    frames = frames_that(path, "snapshot", "batch")
    return [event for frame in frames for event in events_of(frame.payload)]


def in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events by time, without what they do not know."""
    known = [{n: value for n, value in event.items() if value is not None} for event in events]
    return sorted(known, key=lambda event: (event["boot_ns"], event["cpu"], event["seq"]))


@pytest.mark.parametrize("path", GOLDEN, ids=ids)
def test_a_capture_is_replayed_as_its_frames_say(path):
    lines = taskstream("replay", path, "--to", "json")
    assert lines.code == (3 if path.stem in ENDS_WITH_LOSSES else 0), lines.err
    told = [json.loads(line) for line in lines.lines]
    assert in_order([one for one in told if one["kind"] != "report"]) == in_order(events_that(path))
    intervals = [frame.map["interval"] for frame in frames_that(path, "report")]
    assert len([one for one in told if one["kind"] == "report"]) == len(intervals)
    charts = taskstream("replay", path, "--to", "charts", "--json")
    assert charts.code == lines.code
    drawn = [json.loads(line) for line in charts.lines]
    assert [(one["end_ns"], one["counts"]) for one in drawn] == [
        (interval["end_ns"], interval["counts"]) for interval in intervals
    ]


@pytest.mark.parametrize("path", GOLDEN, ids=ids)
def test_a_capture_is_exported_as_its_frames_say(path, tmp_path):
    expected = in_order(events_that(path))
    for form in ("jsonl", "csv", "parquet"):
        done = taskstream("export", path, "--to", form, "-o", tmp_path / f"events.{form}")
        assert done.code == (3 if path.stem in ENDS_WITH_LOSSES else 0), done.err
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert in_order([json.loads(line) for line in lines]) == expected
    texts = [{name: str(event[name]) for name in COMMON} for event in expected]
    with (tmp_path / "events.csv").open(newline="") as file:
        rows = [{name: row[name] for name in COMMON} for row in csv.DictReader(file)]
    assert sorted(map(str, rows)) == sorted(map(str, texts))
    table = pyarrow.parquet.read_table(tmp_path / "events.parquet", columns=list(COMMON))
    rows = [{name: str(row[name]) for name in COMMON} for row in table.to_pylist()]
    assert sorted(map(str, rows)) == sorted(map(str, texts))
