"""ECS: the Elastic Common Schema's process fields, and the event's category.

Pure. https://www.elastic.co/docs/reference/ecs/ecs-process
"""

from typing import Any

from taskstream.vocabulary.term import Term, Vocabulary, always, nested, same, text
from taskstream.vocabulary.value import (
    Event,
    command_line,
    error_name,
    event_uid,
    exit_code,
    has,
    iso,
    process_uid,
    wall_of,
    when_dead,
)

__all__ = ["ECS"]

_VERSION = "9.4.0"


def _type(event: Event) -> list[str]:
    kind = event["kind"]
    if kind == "exit":
        return ["end"] if has(event, "group_dead") else ["change"]
    if kind == "fork" and has(event, "thread"):
        return ["change"]
    return ["info"] if kind in ("free", "task") else ["start"]


def _outcome(event: Event) -> str | None:
    if event["kind"] == "task":
        return None
    return "failure" if event["kind"] == "fail" else "success"


def _leader_name(event: Event) -> str | None:
    return None if has(event, "thread") else event["comm"]


def _frame(_event: Event, values: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    return nested(values, rest, "taskstream")


ECS = Vocabulary(
    "ecs",
    _VERSION,
    (
        Term("@timestamp", ("wall_ns",), iso(wall_of("boot_ns")), "ISO 8601, ns"),
        always("ecs.version", _VERSION),
        always("event.kind", "event"),
        always("event.category", ["process"]),
        Term("event.type", ("kind", "flags"), _type, "see below", whole=False),
        same("event.action", "kind"),
        Term("event.outcome", ("kind",), _outcome, "`success`, `failure`", whole=False),
        always("event.module", "taskstream"),
        always("event.dataset", "taskstream.events"),
        Term(
            "event.id",
            ("host", "boot_id", "cpu", "seq"),
            event_uid,
            "HOST/BOOT_ID/CPU/SEQ",
            whole=False,
        ),
        same("event.sequence", "seq"),
        Term("error.code", ("errno",), error_name, "name, such as `EAGAIN`", whole=False),
        same("host.name", "host"),
        same("host.boot.id", "boot_id"),
        same("container.id", "container"),
        Term(
            "process.entity_id",
            ("host", "boot_id", "tgid", "process_start_ns"),
            process_uid("tgid", "process_start_ns"),
            "HOST/BOOT_ID/PID-START_NS",
            whole=False,
        ),
        same("process.pid", "tgid"),
        same("process.vpid", "pidns_tgid"),
        Term("process.name", ("comm",), _leader_name, "not with thread"),
        same("process.thread.id", "pid"),
        same("process.thread.name", "comm"),
        Term(
            "process.start",
            ("process_start_ns",),
            iso(wall_of("process_start_ns")),
            "ISO 8601, ns",
            whole=False,
        ),
        Term(
            "process.end",
            ("wall_ns",),
            when_dead(iso(wall_of("boot_ns"))),
            "with group_dead: ISO 8601, ns",
        ),
        Term(
            "process.exit_code",
            ("status", "signal"),
            when_dead(exit_code),
            "with group_dead: status, or 128 + signal",
            whole=False,
        ),
        same("process.args", "argv"),
        same("process.args_count", "argc"),
        Term("process.command_line", ("argv",), command_line, "quoted for a shell"),
        same("process.executable", "filename"),
        text("process.real_user.id", "uid"),
        text("process.real_group.id", "gid"),
        same("process.parent.pid", "ppid"),
        Term(
            "process.parent.entity_id",
            ("host", "boot_id", "ppid", "parent_start_ns"),
            process_uid("ppid", "parent_start_ns"),
            "HOST/BOOT_ID/PID-START_NS",
            whole=False,
        ),
        Term(
            "process.parent.start",
            ("parent_start_ns",),
            iso(wall_of("parent_start_ns")),
            "ISO 8601, ns",
            whole=False,
        ),
    ),
    "taskstream.*",
    _frame,
)
"""The Elastic Common Schema."""
