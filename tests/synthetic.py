"""Batches made up for tests, and what is known of a batch.

Every number differs from every other, so that no two columns can be mistaken for one another.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, ExecText, Label, Labels, Origin
from taskstream.record import FIELDS, FLAGS, KIND_NAMES, KINDS, RECORD, VERSION

__all__ = [
    "ORIGIN",
    "WALL_OFFSET_NS",
    "Event",
    "batch",
    "bits",
    "each_kind",
    "event",
    "known",
    "labelled",
    "lives",
    "visible",
]

ORIGIN = Origin("build-7", "5b1d9f0c-7e0a-4c1e-9d55-0a6c2c1b7f11", 3_000_000_000_007)
WALL_OFFSET_NS = 1_790_000_000_000_000_123
"""A wall clock of the year 2026, for an early CLOCK_BOOTTIME."""

Event = tuple[str, dict[str, Any]]

_ARGS_LOST = FLAGS["args_lost"].mask
_ESCAPED = FLAGS["text_escaped"].mask
_TEXT: ExecText = (b"/usr/bin/env", b"env\0-i\0true\0")


def bits(*names: str) -> int:
    """Return ``flags`` with these bits."""
    return sum(FLAGS[name].mask for name in names)


def event(kind: str, **values: Any) -> Event:
    """Describe an event: values of the record's fields, and of filename and argv (bytes)."""
    return kind, values


def visible(kind: str, flags: int) -> list[str]:
    """Name the fields that a record of ``kind`` with ``flags`` knows."""
    hidden = set()
    for flag in FLAGS.values():
        hidden |= set(flag.hides if flags & flag.mask else flag.shows)
    return [f.name for f in FIELDS if (not f.kinds or kind in f.kinds) and f.name not in hidden]


def _record(number: int, kind: str, values: dict[str, Any]) -> NDArray[np.void]:
    record = np.zeros(1, RECORD)
    for position, name in enumerate(visible(kind, values.get("flags", 0)), 1):
        if name not in ("version", "kind", "cpu", "flags", "comm", "call"):
            record[name] = 100 * position + number
    record["version"] = VERSION
    record["kind"] = KINDS[kind]
    record["seq"] = ORIGIN.run_ns + number
    record["boot_ns"] = ORIGIN.run_ns + 1000 * number
    record["comm"] = f"{kind}-{number}".encode()
    if kind == "fail":
        record["call"] = 1 + number % 6
    for name, value in values.items():
        record[name] = value
    return record


def batch(*events: Event, origin: Origin = ORIGIN, wall_offset_ns: int = WALL_OFFSET_NS) -> Batch:
    """Make a batch; unless given, numbers differ, and seq and boot_ns count up."""
    records = np.zeros(len(events), RECORD)
    texts: dict[tuple[int, int], ExecText] = {}
    for number, (kind, given) in enumerate(events):
        values = {n: v for n, v in given.items() if n not in ("filename", "argv")}
        records[number : number + 1] = _record(number, kind, values)
        if kind == "exec" and not values.get("flags", 0) & _ARGS_LOST:
            text = given.get("filename", _TEXT[0]), given.get("argv", _TEXT[1])
            texts[int(records["cpu"][number]), int(records["seq"][number])] = text
    return Batch(origin, records, wall_offset_ns, texts)


def labelled(given: Batch) -> Batch:
    """Give the records three labels in turn; a fourth occurs nowhere."""
    table = [
        Label("/system.slice/größe.service", None, "größe", "web"),
        Label("/nowhere", None, None, None),
        Label("/docker/" + "7" * 64, "7" * 64, None, "other"),
        Label(),
    ]
    rows = np.array([0, 2, 3], np.intp)[np.arange(len(given)) % 3]
    return replace(given, labels=Labels(table, rows))


def each_kind() -> Batch:
    """Make one event of every kind."""
    return batch(*(event(kind) for kind in KINDS))


def lives(
    processes: int, *, cpus: int = 2, origin: Origin = ORIGIN, first_pid: int = 1000
) -> Batch:
    """Make the lives of processes: each is forked, execs, exits and is freed, in that order.

    The processes overlap: all are forked before the first execs. The CPUs take turns; each
    numbers its events without a gap, from ``run_ns`` on.
    """
    order = ("fork", "exec", "exit", "free")
    count = processes * len(order)
    position = np.arange(count)
    records = np.zeros(count, RECORD)
    records["version"] = VERSION
    records["kind"] = np.repeat([KINDS[kind] for kind in order], processes)
    records["cpu"] = position % cpus
    records["seq"] = origin.run_ns + position // cpus
    records["boot_ns"] = origin.run_ns + 1_000_000 * position
    records["pid"] = records["tgid"] = first_pid + position % processes
    records["start_ns"] = records["process_start_ns"] = origin.run_ns + position % processes
    records["flags"][records["kind"] == KINDS["exit"]] = bits("group_dead")
    records["comm"] = [f"task-{pid}".encode() for pid in records["pid"].tolist()]
    texts = {
        (int(row["cpu"]), int(row["seq"])): (b"/bin/task", b"task\0%d\0" % row["pid"])
        for row in records[records["kind"] == KINDS["exec"]]
    }
    return Batch(origin, records, WALL_OFFSET_NS, texts)


def known(batches: Batch | Sequence[Batch]) -> list[dict[str, Any]]:
    """Return all that batches know, one dict per event: what a round trip must preserve.

    Texts are bytes, cut at the first NUL where the kernel ends them so, and argv is a list;
    what flags hide, or belongs to another kind, is not there.
    """
    found = []
    for one in [batches] if isinstance(batches, Batch) else batches:
        labels = one.labels or Labels([Label()], np.zeros(len(one), np.intp))
        for record, row in zip(one.records, labels.rows.tolist(), strict=True):
            kind = KIND_NAMES[int(record["kind"])]
            flags = int(record["flags"]) & ~_ESCAPED
            fate = {name: record[name].item() for name in visible(kind, flags)}
            fate |= {"flags": flags, "comm": bytes(record["comm"]).split(b"\0")[0]}
            fate |= {"origin": one.origin, "wall_ns": fate["boot_ns"] + one.wall_offset_ns}
            fate["label"] = labels.table[row]
            if kind == "exec" and not flags & _ARGS_LOST:
                filename, argv = one.texts[fate["cpu"], fate["seq"]]
                whole = argv.removesuffix(b"\0").split(b"\0") if argv else []
                fate |= {"filename": filename, "argv": whole}
            found.append(fate)
    return found
