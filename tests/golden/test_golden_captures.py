"""Captures that older agents wrote are read as they were meant, for ever.

``capture-vN`` holds files of format N, each beside its readable twin, a list of its whole frames.
"""

import json
from pathlib import Path

import pytest

from taskstream.batch import Batch
from taskstream.capture.content import Header, Index, Loss, Names, Trailer, content_of
from taskstream.capture.frame import Damage, Frame, FrameKind
from taskstream.capture.reader import CaptureFile
from taskstream.report import Report
from tests.golden.capture_maker import frame_twin
from tests.golden.test_golden import meant
from tests.plain import events_of
from tests.plain_capture import frames_of
from tests.synthetic import known

HERE = Path(__file__).parent
GOLDEN = sorted(HERE.glob("capture-v*/*.tsc"))
ENDS_EARLY = {"cut", "killed"}


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
