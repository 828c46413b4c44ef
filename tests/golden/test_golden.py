"""Messages that older agents wrote are read as they were meant, for ever.

``vN`` holds messages of schema version N, each beside its readable twin. What the events say is
taken from the twin by this file's own few lines, not by the package.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgpack
import pytest

from taskstream.batch import Label, Origin
from taskstream.message.decode import MessageDecoder
from taskstream.record import FIELDS, KINDS
from tests.golden.maker import add
from tests.plain import events_of
from tests.synthetic import known

HERE = Path(__file__).parent
GOLDEN = sorted(HERE.glob("v*/*.msgpack"))
ESCAPED = 1 << 13
CALLS = ["fork", "vfork", "clone", "clone3", "execve", "execveat"]  # as version 1 had them


def read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return a message and its twin."""
    return path.read_bytes(), json.loads(path.with_suffix(".json").read_text())


def meant(event: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of an event, as ``synthetic.known`` says it."""
    escaped = bool(event["flags"] & ESCAPED)

    def octets(text: str) -> bytes:
        raw = text.encode()
        if escaped:
            raw = re.sub(rb"\\x(..)", lambda found: bytes([int(found[1], 16)]), raw)
        return raw

    texts = ("comm", "filename", "argv", "host", "boot_id")
    columns = {f.wire for f in FIELDS if f.wire not in texts}
    fate = {name: value for name, value in event.items() if name in columns}
    fate["version"] = fate.pop("v")
    fate |= {"kind": list(KINDS).index(event["kind"]) + 1, "flags": event["flags"] & ~ESCAPED}
    fate |= {"wall_ns": event["wall_ns"], "comm": octets(event["comm"])}
    fate["origin"] = Origin(event["host"], event["boot_id"], event["run_ns"])
    fate["label"] = Label(*(event.get(n) for n in ("cgroup", "container", "service", "app_group")))
    if "call" in event:
        fate["call"] = CALLS.index(event["call"]) + 1
    if "argv" in event:
        fate["filename"] = octets(event["filename"])
        fate["argv"] = [octets(argument) for argument in event["argv"]]
    return fate


def test_there_are_golden_messages_of_every_kind_and_shape():
    names = {path.stem for path in GOLDEN if path.parent.name == "v1"}
    assert {f"event-{kind}" for kind in KINDS} <= names
    assert {"batch", "report"} <= names
    assert {"v1/batch", "v2/batch"} <= {f"{p.parent.name}/{p.stem}" for p in GOLDEN}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_message_is_what_its_twin_says(path):
    value, twin = read(path)
    assert json.loads(json.dumps(msgpack.unpackb(value), default=bytes.hex)) == twin
    assert f"v{twin['v']}" == path.parent.name


def said_later(interval: dict[str, Any]) -> None:
    """Add what agents said of an interval since, as it is understood where they did not."""
    interval.setdefault("release_late", True)
    agent = interval.get("agent")
    while agent is not None:
        later = {"ring_fill": 0.0, "spool_fill": None, "spool_dropped": 0, "spool_damaged": 0}
        agent |= later | agent
        agent = agent.get("before")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_message_is_decoded_as_it_was_meant(path):
    value, twin = read(path)
    decoded = MessageDecoder().decode([value])
    assert not decoded.rejected
    if twin["kind"] == "report":
        (report,) = decoded.reports
        said_later(twin["interval"])
        assert report.to_map() == twin
        return
    (found,) = decoded.batches
    expected = sorted(map(meant, events_of(value)), key=lambda e: (e["boot_ns"], e["seq"]))
    assert known(found) == expected


def test_all_golden_messages_are_decoded_together():
    values = [path.read_bytes() for path in GOLDEN]
    decoder = MessageDecoder()
    for _ in range(2):
        decoded = decoder.decode(values)
        assert not decoded.rejected
        events = sum(len(events_of(v)) for v in values if msgpack.unpackb(v)["kind"] != "report")
        assert sum(map(len, decoded.batches)) == events


def test_a_golden_message_is_never_written_over(tmp_path):
    add(tmp_path, "event-fork", msgpack.packb({"v": 1}))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError):
        add(tmp_path, "event-fork", msgpack.packb({"v": 2}))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
