"""ECS: the Elastic Common Schema's process fields, and the event's category.

Pure. https://www.elastic.co/docs/reference/ecs/ecs-process
"""

from typing import Any

from taskstream.vocabulary.term import (
    Term,
    Vocabulary,
    always,
    ending,
    error,
    event_id,
    moment,
    nested,
    process_id,
    quoted,
    same,
    text,
)
from taskstream.vocabulary.value import (
    Event,
    has,
    iso,
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
        event_id("event.id"),
        same("event.sequence", "seq"),
        error("error.code"),
        same("host.name", "host"),
        same("host.boot.id", "boot_id"),
        same("container.id", "container"),
        process_id("process.entity_id", "tgid", "process_start_ns"),
        same("process.pid", "tgid"),
        same("process.vpid", "pidns_tgid"),
        Term("process.name", ("comm",), _leader_name, "not with thread"),
        same("process.thread.id", "pid"),
        same("process.thread.name", "comm"),
        moment("process.start", "process_start_ns"),
        Term(
            "process.end",
            ("wall_ns",),
            when_dead(iso(wall_of("boot_ns"))),
            "with group_dead: ISO 8601, ns",
        ),
        ending("process.exit_code"),
        same("process.args", "argv"),
        same("process.args_count", "argc"),
        quoted("process.command_line"),
        same("process.executable", "filename"),
        text("process.real_user.id", "uid"),
        text("process.real_group.id", "gid"),
        same("process.parent.pid", "ppid"),
        process_id("process.parent.entity_id", "ppid", "parent_start_ns"),
        moment("process.parent.start", "parent_start_ns"),
    ),
    "taskstream.*",
    _frame,
)
"""The Elastic Common Schema."""
