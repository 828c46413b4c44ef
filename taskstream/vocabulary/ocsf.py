"""OCSF: class Process Activity (1007) of the system category.

Pure. https://schema.ocsf.io/1.8.0/classes/process_activity. The class knows processes that are
launched and that end; of threads, releases and the snapshot it has activity Other to offer.
"""

from typing import Any

from taskstream import __version__
from taskstream.vocabulary.term import (
    Term,
    Vocabulary,
    always,
    ending,
    error,
    event_id,
    nested,
    process_id,
    quoted,
    same,
    text,
)
from taskstream.vocabulary.value import (
    Event,
    has,
    unix_ms,
    wall_of,
    when_dead,
)

__all__ = ["OCSF"]

_VERSION = "1.8.0"
_LAUNCH, _TERMINATE, _OTHER = 1, 2, 99
_FORK, _EXEC = 2, 3
_SUCCESS, _FAILURE = 1, 2
_NAMES = {_LAUNCH: "Launch", _TERMINATE: "Terminate"}
_OTHERS = {"fork": "Create Thread", "exit": "End Thread", "free": "Release", "task": "Running"}


def _activity(event: Event) -> int:
    kind = event["kind"]
    if kind in ("exec", "fail") or (kind == "fork" and not has(event, "thread")):
        return _LAUNCH
    return _TERMINATE if kind == "exit" and has(event, "group_dead") else _OTHER


def _activity_name(event: Event) -> str:
    return _NAMES.get(_activity(event)) or _OTHERS[event["kind"]]


def _launch_type(event: Event) -> int | None:
    if _activity(event) != _LAUNCH:
        return None
    called = event.get("call", "")
    return _EXEC if event["kind"] == "exec" or called.startswith("exec") else _FORK


def _actor(event: Event) -> dict[str, Any]:
    """Return who did it: the caller, the reaper, or the task itself."""
    if event["kind"] == "fork":
        return {"process": {"pid": event["caller_tgid"], "ptid": event["caller_pid"]}}
    if event["kind"] == "free":
        if "reaper_tgid" in event:
            return {"process": {"pid": event["reaper_tgid"]}}
        return {"app_name": "kernel"}
    if event["kind"] == "task":
        return {"app_name": "taskstream"}
    return {"process": {"pid": event["tgid"], "ptid": event["pid"]}}


def _ms(path: str, field: str) -> Term:
    return Term(path, (field,), unix_ms(wall_of(field)), "Unix time, ms", whole=False)


def _frame(_event: Event, values: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    return nested(values, rest, "unmapped")


OCSF = Vocabulary(
    "ocsf",
    _VERSION,
    (
        always("category_uid", 1),
        always("category_name", "System Activity"),
        always("class_uid", 1007),
        always("class_name", "Process Activity"),
        Term("activity_id", ("kind", "flags"), _activity, "see below", whole=False),
        Term("activity_name", ("kind", "flags"), _activity_name, "see below", whole=False),
        Term(
            "type_uid",
            ("kind", "flags"),
            lambda event: 100_700 + _activity(event),
            "100700 + activity_id",
            whole=False,
        ),
        Term("launch_type_id", ("kind", "call"), _launch_type, "2 Fork, 3 Exec", whole=False),
        always("severity_id", 1),
        Term(
            "status_id",
            ("kind",),
            lambda event: _FAILURE if event["kind"] == "fail" else _SUCCESS,
            "1 Success, 2 Failure",
            whole=False,
        ),
        error("status_code"),
        _ms("time", "boot_ns"),
        ending("exit_code"),
        always("metadata.version", _VERSION),
        always("metadata.profiles", ["host", "container", "linux/linux_users"]),
        always("metadata.product.name", "taskstream"),
        always("metadata.product.vendor_name", "taskstream"),
        Term("metadata.product.version", (), lambda _: __version__, "version of taskstream"),
        same("metadata.event_code", "kind"),
        same("metadata.sequence", "seq"),
        event_id("metadata.uid"),
        always("device.type_id", 0),
        same("device.hostname", "host"),
        same("device.boot_uid", "boot_id"),
        Term("actor", ("caller_tgid", "reaper_tgid"), _actor, "see below", whole=False),
        same("process.pid", "tgid"),
        same("process.ptid", "pid"),
        same("process.name", "comm"),
        process_id("process.uid", "tgid", "process_start_ns"),
        _ms("process.created_time", "process_start_ns"),
        Term(
            "process.terminated_time",
            ("boot_ns",),
            when_dead(unix_ms(wall_of("boot_ns"))),
            "with group_dead: Unix time, ms",
            whole=False,
        ),
        same("process.namespace_pid", "pidns_tgid"),
        same("process.path", "filename"),
        quoted("process.cmd_line"),
        text("process.user.uid", "uid"),
        text("process.group.uid", "gid"),
        same("process.container.uid", "container"),
        same("process.parent_process.pid", "ppid"),
        process_id("process.parent_process.uid", "ppid", "parent_start_ns"),
        _ms("process.parent_process.created_time", "parent_start_ns"),
    ),
    "unmapped",
    _frame,
)
"""OCSF, class Process Activity."""
