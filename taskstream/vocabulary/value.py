"""What of an event stands under a published name.

Pure. Where a member that it needs is not known, a value is None.
"""

import errno
import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from taskstream.record import FLAGS

__all__ = [
    "Event",
    "Value",
    "command_line",
    "error_name",
    "event_uid",
    "exit_code",
    "has",
    "iso",
    "process_uid",
    "unix_ms",
    "wall_of",
    "when_dead",
]

Event = Mapping[str, Any]
"""The map of an `event` message."""

Value = Callable[[Event], Any]


def has(event: Event, flag: str) -> bool:
    """Tell whether a bit of ``flags`` is set."""
    return bool(event["flags"] & FLAGS[flag].mask)


def process_uid(pid: str, start_ns: str) -> Value:
    """Return the identity of a process as text: host, boot, pid and start time.

    There is none while one of them is not known to the nanosecond.
    """

    def value(event: Event) -> str | None:
        if pid not in event or start_ns not in event:
            return None
        if has(event, "start_coarse"):
            return None
        return f"{event['host']}/{event['boot_id']}/{event[pid]}-{event[start_ns]}"

    return value


def event_uid(event: Event) -> str:
    """Return the identity of an event as text: host, boot, CPU and number."""
    return f"{event['host']}/{event['boot_id']}/{event['cpu']}/{event['seq']}"


def wall_of(field: str) -> Value:
    """Return a member in CLOCK_BOOTTIME as CLOCK_REALTIME, in ns, by the event's own clock pair."""

    def value(event: Event) -> int | None:
        if field not in event:
            return None
        moved: int = event[field] - event["boot_ns"] + event["wall_ns"]
        return moved

    return value


def iso(value: Value) -> Value:
    """Write ns since 1970 as ISO 8601 in UTC, with nine digits of a second."""

    def written(event: Event) -> str | None:
        wall_ns = value(event)
        if wall_ns is None:
            return None
        seconds, ns = divmod(wall_ns, 1_000_000_000)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"

    return written


def when_dead(value: Value) -> Value:
    """Let a value stand only where the whole process is dead."""

    def guarded(event: Event) -> Any:
        return value(event) if event["kind"] == "exit" and has(event, "group_dead") else None

    return guarded


def exit_code(event: Event) -> int:
    """Return how a task ended in one number, as shells do: its status, or 128 and the signal."""
    code: int = event["status"] if not event["signal"] else 128 + event["signal"]
    return code


def error_name(event: Event) -> str | None:
    """Return the name of a failed call's error, such as EAGAIN; its number where it has none."""
    if event["kind"] != "fail":
        return None
    return errno.errorcode.get(event["errno"], str(event["errno"]))


def command_line(event: Event) -> str | None:
    """Return argv as one text, quoted for a shell."""
    return None if event.get("argv") is None else shlex.join(event["argv"])


def unix_ms(value: Value) -> Value:
    """Write ns as whole ms."""

    def written(event: Event) -> int | None:
        wall_ns = value(event)
        return None if wall_ns is None else int(wall_ns // 1_000_000)

    return written
