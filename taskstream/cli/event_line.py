"""Events for people: a line each; and for machines: a map each."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgpack

from taskstream.batch import Batch
from taskstream.message.encode import EventEncoder
from taskstream.record import flag_names
from taskstream.text import printable

__all__ = ["event_line", "event_maps"]


def event_maps(batch: Batch) -> Iterator[dict[str, Any]]:
    """Yield each event as the map of its message."""
    for value in EventEncoder(batch.origin).encode(batch).values:
        yield msgpack.unpackb(value)


def event_line(event: dict[str, Any]) -> str:
    """Return one event as a line for people."""
    when = datetime.fromtimestamp(event["wall_ns"] / 1e9).astimezone()
    task = (
        f"{event['tgid']}" if event["pid"] == event["tgid"] else f"{event['tgid']}/{event['pid']}"
    )
    flags = [name for name in flag_names(event["flags"]) if not name.endswith("_unknown")]
    parts = [
        when.strftime("%H:%M:%S.%f"),
        event["host"],
        event["kind"].ljust(4),
        task.rjust(8),
        event["comm"].ljust(15),
        _detail(event),
        f"[{' '.join(flags)}]" if flags else "",
    ]
    return printable("  ".join(part for part in parts if part))


def _detail(event: dict[str, Any]) -> str:
    kind = event["kind"]
    if kind == "fork":
        return f"by {event['caller_tgid']} flags {event['clone_flags']:#x}"
    if kind == "exec":
        return " ".join(event.get("argv") or ["(arguments lost)"])
    if kind == "exit":
        how = f"signal {event['signal']}" if event["signal"] else f"status {event['status']}"
        return f"{how} after {(event['boot_ns'] - event['start_ns']) / 1e9:.3f} s"
    if kind == "fail":
        return f"{event['call']} errno {event['errno']}"
    return f"parent {event['ppid']}" if "ppid" in event else ""
