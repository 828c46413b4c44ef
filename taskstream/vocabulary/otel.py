"""OpenTelemetry: a log record with the semantic conventions' process attributes, as OTLP/JSON.

Pure. https://opentelemetry.io/docs/specs/semconv/registry/attributes/process/ and, for the JSON,
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: 64-bit integers are strings.
"""

from typing import Any

from taskstream import __version__
from taskstream.vocabulary.term import Term, Vocabulary, ending, error, moment, same
from taskstream.vocabulary.value import (
    Event,
    iso,
    wall_of,
    when_dead,
)

__all__ = ["OTEL"]

_VERSION = "1.44.0"
_INFO = 9
_RECORD = ("timeUnixNano", "eventName")
_RESOURCE = ("host.name",)


def _command(event: Event) -> str | None:
    argv: list[str] = event.get("argv") or []
    return argv[0] if argv else None


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and value < 1 << 63:
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _frame(_event: Event, values: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    record = {name: values[name] for name in _RECORD} | {
        "severityNumber": _INFO,
        "attributes": _attributes(
            {k: v for k, v in values.items() if k not in _RECORD + _RESOURCE}
            | {f"taskstream.{name}": value for name, value in rest.items()}
        ),
    }
    resource = {name: values[name] for name in _RESOURCE}
    scope = {"name": "taskstream", "version": __version__}
    url = f"https://opentelemetry.io/schemas/{_VERSION}"
    logs = {"scope": scope, "logRecords": [record], "schemaUrl": url}
    resources = {"resource": {"attributes": _attributes(resource)}, "scopeLogs": [logs]}
    return {"resourceLogs": [resources]}


OTEL = Vocabulary(
    "otel",
    _VERSION,
    (
        Term("timeUnixNano", ("wall_ns",), lambda event: str(event["wall_ns"]), "as text"),
        Term("eventName", ("kind",), lambda e: f"taskstream.{e['kind']}", "`taskstream.KIND`"),
        same("host.name", "host"),
        same("container.id", "container"),
        same("process.pid", "tgid"),
        same("process.vpid", "pidns_tgid"),
        same("process.parent_pid", "ppid"),
        same("process.real_user.id", "uid"),
        same("process.linux.cgroup", "cgroup"),
        same("thread.id", "pid"),
        same("thread.name", "comm"),
        moment("process.creation.time", "process_start_ns"),
        Term(
            "process.exit.time",
            ("wall_ns",),
            when_dead(iso(wall_of("boot_ns"))),
            "with group_dead: ISO 8601, ns",
        ),
        ending("process.exit.code"),
        same("process.executable.path", "filename"),
        Term("process.command", ("argv",), _command, "the first", whole=False),
        same("process.command_args", "argv"),
        same("process.args_count", "argc"),
        error("error.type"),
    ),
    "taskstream.*",
    _frame,
)
"""OpenTelemetry's semantic conventions, in a log record."""
