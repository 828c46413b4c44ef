"""The example messages of ``schemas/examples``: one story, told in both shapes.

A shell forks, its child becomes ``ls`` and ends; then the shell may not fork once more. The
files are part of what the package promises, so they are current: ``python -m tests.example``
writes them, and a test compares.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from taskstream import resource
from taskstream.batch import Batch, Label, Labels, Origin
from taskstream.interval import Interval
from taskstream.message.batch_encode import encode_batch
from taskstream.message.columns import pack
from taskstream.message.encode import EventEncoder
from taskstream.record import CALLS, COUNTS, NO_CPU
from taskstream.report import CpuReport, Report
from tests.synthetic import Event, batch, bits, event

__all__ = ["FOLDER", "STORY", "messages", "twin"]

FOLDER = resource.schema("task_event.toml").parent / "examples"

_PLAIN_ARRAY = re.compile(r"\[[^][{}]*\]")
_SECOND = 10**9
_RUN_NS = 86_400 * _SECOND + 123_456_789
_WALL_OFFSET_NS = 1_790_000_000 * _SECOND
_ORIGIN = Origin("web-3.example", "0b9f3c1e-6a52-4f0e-8d43-5a1b7c9e2f60", _RUN_NS)

_SHELL_NS, _CHILD_NS = 86_000 * _SECOND + 5_000_001, _RUN_NS + 2 * _SECOND
_COMMON = {
    "cgroup_id": 4321,
    "uid": 1000,
    "gid": 1000,
    "pidns": 4_026_531_836,
    "ppid": 2100,
    "parent_start_ns": _SHELL_NS,
}
_CHILD = _COMMON | {
    "pid": 2174,
    "tgid": 2174,
    "pidns_pid": 2174,
    "pidns_tgid": 2174,
    "start_ns": _CHILD_NS,
    "process_start_ns": _CHILD_NS,
}
_SHELL = _COMMON | {
    "pid": 2100,
    "tgid": 2100,
    "pidns_pid": 2100,
    "pidns_tgid": 2100,
    "ppid": 2098,
    "start_ns": _SHELL_NS,
    "process_start_ns": _SHELL_NS,
    "parent_start_ns": _SHELL_NS - 7_000_000,
    "comm": b"bash",
}


def _story() -> Iterator[Event]:
    yield event("task", **_SHELL, cpu=NO_CPU, seq=_RUN_NS, boot_ns=_RUN_NS + 400_000)
    yield event(
        "fork",
        **_CHILD,
        comm=b"bash",
        cpu=1,
        seq=_RUN_NS,
        boot_ns=_CHILD_NS + 20_000,
        clone_flags=0x01200000,
        caller_pid=2100,
        caller_tgid=2100,
    )
    yield event(
        "exec",
        **_CHILD,
        comm=b"ls",
        cpu=1,
        seq=_RUN_NS + 1,
        boot_ns=_CHILD_NS + 900_000,
        old_pid=2174,
        argc=3,
        args_bytes=11,
        filename=b"/usr/bin/ls",
        argv=b"ls\0-l\0/srv\0",
    )
    yield event(
        "exit",
        **_CHILD,
        comm=b"ls",
        cpu=0,
        seq=_RUN_NS,
        boot_ns=_CHILD_NS + 4_100_000,
        flags=bits("group_dead"),
        exit_code=0x0200,
        threads_left=0,
        utime_ns=1_000_000,
        stime_ns=2_000_000,
        runtime_ns=2_871_004,
        minor_faults=103,
        major_faults=0,
        max_rss_bytes=2_883_584,
        read_bytes=0,
        written_bytes=0,
        voluntary_switches=1,
        involuntary_switches=2,
    )
    yield event(
        "free",
        **_CHILD,
        comm=b"ls",
        cpu=0,
        seq=_RUN_NS + 1,
        boot_ns=_CHILD_NS + 11_000_000,
        flags=bits("parent_unknown", "pidns_unknown"),
    )
    yield event(
        "fail",
        **_SHELL,
        cpu=1,
        seq=_RUN_NS + 2,
        boot_ns=_CHILD_NS + 30_000_000,
        call=CALLS["clone"],
        errno=11,
    )


def _of_known(story: Iterator[Event]) -> Iterator[Event]:
    """Leave out of each event what its flags hide."""
    hidden = {"ppid", "parent_start_ns", "pidns", "pidns_pid", "pidns_tgid"}
    for kind, values in story:
        kept = {n: v for n, v in values.items() if kind != "free" or n not in hidden}
        yield kind, kept


def _labelled(story: Batch) -> Batch:
    """Tell of each event that it happened in a login session, to the group of the logins."""
    label = Label(cgroup="/user.slice/user-1000.slice/session-3.scope", app_group="ssh")
    return replace(story, labels=Labels([label], np.zeros(len(story), np.intp)))


STORY: Batch = _labelled(
    batch(*_of_known(_story()), origin=_ORIGIN, wall_offset_ns=_WALL_OFFSET_NS)
)


def _report() -> Report:
    counts = {"fork_process": 1, "exec": 1, "exit_process": 1, "free": 1, "fail_create": 1}
    listed = tuple(counts.get(count.name, 0) for count in COUNTS)
    none = (0,) * len(COUNTS)
    first = tuple(counts[c.name] if c.name in ("exit_process", "free") else 0 for c in COUNTS)
    second = tuple(total - own for total, own in zip(listed, first, strict=True))
    end_ns = _RUN_NS + 5 * _SECOND
    return Report(
        _ORIGIN,
        end_ns + 100_000_000,
        _WALL_OFFSET_NS,
        (
            CpuReport(0, _RUN_NS + 2, first, none, none, 0),
            CpuReport(1, _RUN_NS + 3, second, none, none, 0),
        ),
        interval=Interval(
            start_ns=_RUN_NS,
            end_ns=end_ns,
            wall_ns=end_ns + _WALL_OFFSET_NS,
            counts=listed,
            received=listed,
        ),
    )


def messages() -> dict[str, bytes]:
    """Return every example by its name."""
    values = EventEncoder(_ORIGIN).encode(STORY).values
    found = {msgpack.unpackb(value)["kind"]: value for value in values}
    (found["batch"],) = encode_batch(STORY).values
    found["report"] = pack(_report().to_map())
    return found


def twin(value: bytes) -> str:
    """Return a message as JSON that people can read: plain arrays on a line, bytes in hex."""
    message: dict[str, Any] = msgpack.unpackb(value)
    text = json.dumps(message, indent=2, ensure_ascii=False, default=bytes.hex)
    return _PLAIN_ARRAY.sub(lambda found: " ".join(found[0].split()), text) + "\n"


def _write(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, value in messages().items():
        (folder / f"{name}.msgpack").write_bytes(value)
        (folder / f"{name}.json").write_text(twin(value))


if __name__ == "__main__":
    _write(FOLDER)
